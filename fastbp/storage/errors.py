"""The error for unreadable files."""

from fastbp.util.files import shortened


class CheckpointError(ValueError):
    """A file that cannot be loaded: not written by fastbp, damaged, or of a later version."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))
