"""How a text file writes its table: separator, decimal mark, encoding; named, or found in its first lines."""

from __future__ import annotations

import codecs
import csv
import io
from typing import NamedTuple

SEPARATORS = (",", ";", "\t", "|")  # those that are found without being named
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_RECORDS = 100


class Dialect(NamedTuple):
    """Separator, None to find it; decimal mark; encoding, None for UTF-8 or what a byte order mark says."""

    separator: str | None = None
    decimal: str = "."
    encoding: str | None = None


def dialect_of(separator: str | None = None, decimal: str = ".", encoding: str | None = None) -> Dialect:
    r"""A checked dialect.

    >>> dialect_of("tab", ",", "latin1")
    Dialect(separator='\t', decimal=',', encoding='iso8859-1')
    """
    if separator is not None:
        separator = _NAMES.get(separator.lower(), separator) if isinstance(separator, str) else separator
        if not isinstance(separator, str) or len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
            raise ValueError(f"the separator must be one character or 'tab', got {separator!r}: as in --separator ';'")
    if decimal not in (".", ","):
        raise ValueError(f"the decimal mark must be '.' or ',', got {decimal!r}: choose one of these")
    if separator == decimal:
        raise ValueError(f"separator and decimal mark must differ, got {decimal!r} for both: name another one")
    if encoding is not None:
        try:
            found = codecs.lookup(encoding)
            "".encode(found.name)  # not a codec between bytes, such as hex
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"unknown encoding {encoding!r}: name one such as utf-8, latin-1 or cp1252") from error
        encoding = found.name
    return Dialect(separator, decimal, encoding)


def encoding_at(head: bytes, given: str | None) -> tuple[str, int]:
    """The codec, and the length of the byte order mark, of a file that begins with these bytes.

    >>> encoding_at(b"\\xff\\xfea\\0", None), encoding_at(b"a,b", "latin-1")
    (('utf-16-le', 2), ('latin-1', 0))
    """
    for mark, codec in _MARKS:
        if head.startswith(mark) and (given is None or _family(given) == _family(codec)):
            return codec, len(mark)
    return given or "utf-8", 0


def _family(codec: str) -> str:
    """ "utf-16" for "utf-16", "utf_16_le" and so on."""
    return "-".join(codec.lower().replace("_", "-").split("-")[:2])


def separator_in(text: str, whole: bool, usual: str = ",") -> str:
    """The separator of the records in the first part of a file: the usual one if it divides all of them alike.

    whole: the text is all of the file, not cut somewhere.

    >>> separator_in("a;b\\n1,5;2,5\\n", True), separator_in("a,b\\n1;2,3\\n", True), separator_in("a\\n1\\n", True)
    (';', ',', ',')
    """
    candidates = (usual, *(each for each in SEPARATORS if each != usual))
    widths = {each: _widths(text, each, whole) for each in candidates}
    even = [each for each, found in widths.items() if found and found[0] > 1 and len(set(found)) == 1]
    if usual in even:
        return usual
    if even:
        return max(even, key=lambda each: widths[each][0])
    dividing = [each for each, found in widths.items() if found and found[0] > 1]  # at least the first record
    return dividing[0] if dividing else usual


def _widths(text: str, separator: str, whole: bool) -> list[int]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    widths = []
    try:
        for record in reader:
            if record and any(map(str.strip, record)):
                widths.append(len(record))
            if len(widths) > _SAMPLE_RECORDS:
                return widths[:-1]
    except csv.Error:
        return []
    return widths if whole or len(widths) < 2 else widths[:-1]
