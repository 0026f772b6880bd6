"""What is wrong with a file."""


class CheckpointError(ValueError):
    """A file that fastbp cannot load: not its own, damaged, or of a later version."""
