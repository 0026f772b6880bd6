"""Text for people on whatever the standard streams are: a terminal, a log, a notebook, or nothing at all.

Training must not end because of a message: characters that a stream cannot encode are replaced, and a stream that is
missing, closed or full is left alone.
"""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# What stands for a character that an encoding lacks; others become \N-style escapes, so that no two names look alike.
_PLAIN = {"²": "2", "×": "x", "±": "+-", "–": "-", "—": "-", "→": "->", "…": "...", "·": "*", "≥": ">=", "≤": "<="}
_HANDLER = "fastbp_plain"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """The error handler: "R²" is "R2" and "é" is "\\xe9" in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    known = _PLAIN.get(character)
    escaped = character.encode("ascii", "backslashreplace").decode("ascii") if known is None else known
    return escaped, error.start + 1


codecs.register_error(_HANDLER, _plain)


def encodable(text: str, encoding: str | None) -> str:
    """The text with the characters replaced that this encoding lacks.

    >>> encodable("R² 0.9", "ascii"), encodable("R² 0.9", "utf-8")
    ('R2 0.9', 'R² 0.9')
    """
    try:
        return text.encode(encoding or "ascii", _HANDLER).decode(encoding or "ascii")
    except LookupError:  # an encoding that Python does not know
        return text.encode("ascii", _HANDLER).decode("ascii")


class Tolerant:
    """A stream whose `write` and `flush` never raise; other attributes are the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, as far as the stream takes it; returns its length."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or no stream
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(encodable(text, getattr(self._stream, "encoding", None) or error.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(message: str, stream: TextIO | None = None) -> None:
    """Print a line to standard error, or to this stream; never raises."""
    target = Tolerant(sys.stderr if stream is None else stream)
    target.write(message + "\n")
    target.flush()


def tell(message: str) -> None:
    """Print a line to standard output; never raises."""
    target = Tolerant(sys.stdout)
    target.write(message + "\n")
    target.flush()


def usable(stream: Any) -> bool:
    """Whether there is a stream to write to, open as far as it says."""
    return stream is not None and not getattr(stream, "closed", False)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; False for one that cannot say."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def in_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter, where a terminal's control characters may mean nothing."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    try:
        return "IPKernelApp" in shell.get_ipython().config
    except AttributeError:
        return False


@contextlib.contextmanager
def replacing() -> Iterator[None]:
    """While it lasts, standard output and error replace what they cannot encode, whoever prints."""
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure") and usable(stream):
            stream.reconfigure(errors=_HANDLER)
            changed.append(stream)
    try:
        yield
    finally:
        for stream in changed:
            with contextlib.suppress(OSError, ValueError):  # what is left in it may not be written any more
                stream.reconfigure(errors="strict")
