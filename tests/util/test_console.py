"""Messages on all kinds of streams."""

import io
import sys

import pytest

from fastbp.util.console import Tolerant, encodable, replacing, say


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", "R2 0.9, -5 %, \\u57ce\\u5e02, \\xe9"),
        ("cp1252", "R² 0.9, –5 %, \\u57ce\\u5e02, é"),
        ("gbk", "R2 0.9, –5 %, 城市, é"),
        ("utf-8", "R² 0.9, –5 %, 城市, é"),
        ("no such encoding", "R2 0.9, -5 %, \\u57ce\\u5e02, \\xe9"),
    ],
)
def test_unencodable_characters_are_replaced(encoding, text):
    assert encodable("R² 0.9, –5 %, 城市, é", encoding) == text


def test_distinct_names_stay_distinct():
    assert len({encodable(name, "ascii") for name in ("城", "市", "é", "è")}) == 4


def test_say_writes_to_standard_error(capsys):
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_say_without_standard_error_prints_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    say("hello")
    assert capsys.readouterr().out == ""


def test_replacing_is_limited_to_its_context(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with replacing():
        print("R²")
    assert (stream.buffer.getvalue(), stream.errors) == (b"R2\n", "strict")
    with pytest.raises(UnicodeEncodeError):
        stream.write("R²")


def test_other_attributes_come_from_the_stream():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    assert Tolerant(stream).encoding == "ascii"
    assert not hasattr(Tolerant(None), "fileno")
