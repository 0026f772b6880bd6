"""The version of fastbp, which files and pickles name."""

__version__ = "0.1.0"
