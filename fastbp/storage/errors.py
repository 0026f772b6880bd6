"""The error for unreadable files."""


class CheckpointError(ValueError):
    """A file that cannot be loaded: not written by fastbp, damaged, or of a later version."""
