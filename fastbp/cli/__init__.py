"""The command line: `main` runs one command, as the shell's ``fastbp`` and ``python -m fastbp`` do."""

from fastbp.cli.commands import main

__all__ = ["main"]
