"""The version of fastbp, recorded in files and pickles."""

__version__ = "0.1.0"
