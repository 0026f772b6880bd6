"""CSV files: two readers with the same result, records and lines, dialects, errors."""

import bz2
import gzip
import io
import lzma
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.datasets import Table, read_csv, read_file
from fastbp.tables.text import arrow_batches, plain_batches
from fastbp.tables.text import reader as csv_reader
from fastbp.tables.text.dialect import Dialect, dialect_of, separator_in
from fastbp.tables.text.lines import Lines
from fastbp.tables.text.records import layout_of, rows
from fastbp.tables.values import Coded, as_number, is_missing

READERS = [True, False]


@pytest.fixture(params=READERS, ids=["arrow", "plain"])
def reader(request, monkeypatch):
    """Each of the two readers in turn."""
    monkeypatch.setattr(csv_reader, "ARROW", request.param)
    return request.param


def write(path: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# ---------------------------------------------------------------- two readers, one result

SPELLINGS = st.one_of(
    st.sampled_from(["", "?", " NA ", "nan", "None", "null", "-nan", "0", "-0", "1", "007", "+5", "1.", ".5", "1_0"]),
    st.sampled_from(["0x10", "١", "1\u00a0", "\u20001", "inf", "-Infinity", "1e999", "nan(1)", "1e5", "True"]),
    st.sampled_from(["9007199254740993", 'say "hi"', "a,b", "a;b", "two\nlines", "x\r\ny", "tab\there", "'"]),
    st.sampled_from([" padded ", "ü", "1,5", "1.500,5"]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(repr),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
)  # fmt: skip


def quoted(value: str, always: bool) -> str:
    doubled = value.replace('"', '""')
    special = any(each in value for each in ',;\t|"\r\n') or not value.strip()
    return f'"{doubled}"' if always or special else value


@st.composite
def tables(draw):
    """The text of a table, its separator and its encoding; some texts are damaged."""
    width, height = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    separator, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    kinds = [draw(st.sampled_from(["numbers", "any"])) for _ in range(width)]
    number = st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.sampled_from(["", "NA", "7"]))
    values = [[draw(number if kind == "numbers" else SPELLINGS) for kind in kinds] for _ in range(height)]
    lines = [separator.join(f"name{i}" for i in range(width))]
    lines += [separator.join(quoted(value, draw(st.booleans())) for value in row) for row in values]
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", "  "])))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(['"', "\0", separator, end, '"x"'])) + text[place:]
    return text, separator, draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))


def outcome(path: Path, separator: str, arrow: bool, block: int) -> object:
    """The exact result of reading, or the error message."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "ARROW", arrow)
        patch.setattr(arrow_batches, "BLOCK_BYTES", block)
        patch.setattr(plain_batches, "_ROWS", 5)
        try:
            layout = layout_of(path, Dialect(separator))
            n = len(layout.names)
            found = csv_reader.read(layout, range(n), [0] if n > 2 else [], n - 1)
        except ValueError as error:
            return str(error)
    texts = {place: [column[row] for row in range(len(column))] for place, column in found.texts.items()}
    target = found.target
    exact = target.tobytes() if isinstance(target, np.ndarray) else [target[row] for row in range(len(target))]
    return found.places, found.numbers.tobytes(), texts, exact


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), block=st.sampled_from([1 << 21, 64, 7]))
def test_both_readers_give_the_same_result(tmp_path, table, block):
    text, separator, encoding = table
    path = write(tmp_path / "a.csv", text, encoding)
    assert outcome(path, separator, True, block) == outcome(path, separator, False, block)


def test_block_of_only_spaces(tmp_path):
    """In a file with one column, a line of spaces is a row without a value."""
    path = write(tmp_path / "a.csv", "a\n" + "0.5\n" * 15 + "  ")
    assert outcome(path, ",", True, 32) == outcome(path, ",", False, 32)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(SPELLINGS, min_size=1, max_size=30), arrow=st.booleans())
def test_values_are_read_like_single_values(tmp_path, values, arrow):
    """A column is numeric if all its values are numbers, each bit-identical to float()."""
    path = write(tmp_path / "a.csv", "a,b\r\n" + "".join(f"{quoted(value, False)},x\r\n" for value in values))
    numbers = [as_number(value) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "ARROW", arrow)
        if any(number is None and not is_missing(value) for number, value in zip(numbers, values, strict=True)):
            assert read_csv(path, separator=",").X[:, 0].tolist() == values
        elif any(number is not None and abs(number) == np.inf for number in numbers):
            with pytest.raises(ValueError, match="column 'a' must be finite"):
                read_csv(path, separator=",")
        else:
            expected = np.array([np.nan if number is None else number for number in numbers])
            found = np.array(read_csv(path, separator=",").X[:, 0].tolist())
            assert found.tobytes() == expected.tobytes()


# ---------------------------------------------------------------- records and lines


@pytest.mark.parametrize("block", [1 << 21, 50, 7])
def test_quoted_line_breaks_at_every_block_boundary(reader, tmp_path, monkeypatch, block):
    monkeypatch.setattr(arrow_batches, "BLOCK_BYTES", block)
    rows = [f'{i},"first\nline {i}\r\n","{"x" * i}"' for i in range(40)]
    table = read_csv(write(tmp_path / "a.csv", "a,note,c\n" + "\n".join(rows)))
    assert table.X[:, 0].tolist() == list(range(40))
    assert table.X[7, 1] == "first\nline 7\r\n"
    assert table.lines[3] == 2 + 3 * 3
    assert np.array(table.lines[np.array([1, 5])]).tolist() == [5, 17]


def test_line_numbers_match_those_of_an_editor(reader, tmp_path):
    path = write(tmp_path / "a.csv", '\n\na,b\r\n1,"x\n\ny"\n\n  \n2,z\r3,w')
    table = read_csv(path)
    assert table.X[:, 0].tolist() == [1, 2, 3]
    assert np.asarray(table.lines).tolist() == [4, 9, 10]
    assert len(table.lines) == 3


@pytest.mark.parametrize("wide", [3_000_000, 200_000])
def test_long_lines(reader, tmp_path, wide):
    """Longer than a block and than the limit of Python's csv module."""
    path = write(tmp_path / "a.csv", "a,note,b\n1,x,2\n3," + "y" * wide + ",4\n5,z,6\n")
    table = read_csv(path)
    assert table.X[:, 2].tolist() == [2, 4, 6]
    assert len(table.X[1, 1]) == wide


def test_many_columns(reader, tmp_path):
    names = [f"column{i}" for i in range(20_000)]
    path = write(tmp_path / "a.csv", ",".join(names) + "\n" + (",".join(["1.5"] * 20_000) + "\n") * 3)
    assert read_csv(path).X.shape == (3, 20_000)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_last_line_may_lack_a_line_break(reader, tmp_path, end):
    assert read_csv(write(tmp_path / "a.csv", "a,b\n1,2\n3,4" + end)).X.tolist() == [[1, 2], [3, 4]]


def test_numeric_column_with_a_late_string(reader, tmp_path, monkeypatch):
    """A string far down makes all values strings, as they are written in the file."""
    monkeypatch.setattr(arrow_batches, "BLOCK_BYTES", 500)
    monkeypatch.setattr(plain_batches, "_ROWS", 50)
    values = [f"{i:03}" for i in range(1000)] + ["nil", "1"]
    path = write(tmp_path / "a.csv", "a,b,y\n" + "".join(f"{value},{i},{i % 2}\n" for i, value in enumerate(values)))
    table = read_csv(path, target="y")
    assert table.X[:, 0].tolist() == values
    assert table.X[:, 1].tolist() == list(range(1002))
    assert table.y.tolist() == [i % 2 for i in range(1002)]


# ---------------------------------------------------------------- dialects


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_detected_and_reported(reader, tmp_path, separator, recwarn):
    text = 'x,"z, w",y\n1,2.5,0\n3,"4",1\n'.replace('"z, w"', "z").replace(",", separator)
    assert read_csv(write(tmp_path / "a.csv", text)).X.tolist() == [[1, 2.5, 0], [3, 4, 1]]
    warned = [str(each.message) for each in recwarn]
    assert len(warned) == (separator != ",")
    assert all("--separator" in message for message in warned)
    recwarn.clear()
    assert read_csv(tmp_path / "a.csv", separator=separator).X.shape == (2, 3)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("text", "usual", "found"),
    [
        ("a;b\n1,5;2,5\n", ",", ";"),
        ('"a;b",c\n"x;y",2\n', ",", ","),
        ("a\n1\n2\n", ",", ","),
        ("a,b\tc\n1\t2\n", "\t", "\t"),
        ("a,b\n1,2\n", "\t", ","),
        ("a;b;c\n1;2\n", ",", ";"),  # wrong as well, but its errors are about the intended values
        ("", ",", ","),
    ],
)
def test_separator_in(text, usual, found):
    assert separator_in(text, True, usual) == found


def test_tsv_files_are_separated_by_tabs(reader, tmp_path):
    path = write(tmp_path / "a.TSV", "a\tb,c\n1\t2\n")
    assert read_file(path).columns == ("a", "b,c")


def test_decimal_commas(reader, tmp_path):
    path = write(tmp_path / "a.csv", "a;b;y\n1,5;x;0,25\n-2;y;1e3\nNA;z;7\n")
    table = read_csv(path, target="y", separator=";", decimal=",")
    assert table.X[:2, 0].tolist() == [1.5, -2]
    assert table.y.tolist() == [0.25, 1000, 7]


@pytest.mark.parametrize("late", ["1.500", "1.5"])
def test_decimal_point_among_decimal_commas_is_refused(reader, tmp_path, late):
    path = write(tmp_path / "a.csv", f"a;b\n1,5;2\n{late};3\n")
    with pytest.raises(ValueError, match=rf"line 3 of .*column 'a' must have decimal commas, got '{late}'"):
        read_csv(path, separator=";", decimal=",")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings_are_detected(reader, tmp_path, encoding):
    table = read_csv(write(tmp_path / "a.csv", "größe,ort\n1,Köln\n2,東京\n", encoding))
    assert table.columns == ("größe", "ort")
    assert table.X[:, 1].tolist() == ["Köln", "東京"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "shift-jis"])
def test_other_encodings_can_be_given(reader, tmp_path, encoding, monkeypatch):
    town = "東京" if encoding == "shift-jis" else "Köln"
    path = write(tmp_path / "a.csv", "a,ort\n" + f"1,{town}\n" * 1000, encoding)
    monkeypatch.setattr(arrow_batches, "BLOCK_BYTES", 1001)
    assert set(read_csv(path, encoding=encoding).X[:, 1]) == {town}


def zstandard_pack(data):
    return bytes(pa.Codec("zstd").compress(data))


@pytest.mark.parametrize(
    ("ending", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstandard_pack)],
)
def test_compressed_files(reader, tmp_path, ending, pack):
    data = pack(b"a,b\n" + b"1,2\n" * 9999)
    assert read_csv(write(tmp_path / f"a.csv{ending}", data)).X.shape == (9999, 2)
    for damage in (data[: len(data) // 2], b"a,b\n1,2\n"):
        with pytest.raises(ValueError, match=rf"a\.csv{ending}: it is damaged"):
            read_csv(write(tmp_path / f"a.csv{ending}", damage))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ";;"}, "separator must be one character"),
        ({"separator": '"'}, "separator must be one character"),
        ({"decimal": ";"}, "decimal mark must be"),
        ({"separator": ",", "decimal": ","}, "must differ"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ({"encoding": "hex"}, "unknown encoding 'hex'"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dialect_of(**options)


def test_file_without_a_header_row_warns(reader, tmp_path):
    path = write(tmp_path / "a.csv", "1,2.5,0\n3,4,1\n3,4,1\n")
    with pytest.warns(UserWarning, match="has no header row.*named 0 to 2"):
        table = read_csv(path, target="2")
    assert table.columns == ("0", "1")
    assert table.X.tolist() == [[1, 2.5], [3, 4], [3, 4]]
    assert table.lines[0] == 1


# ---------------------------------------------------------------- errors

ERRORS = {
    "too many values": ("a,b,y\n3,1,0\n4,1,234,1\n", r"line 3 of .* has 4 values, .* 3 names: .*'4,1,234,1'"),
    "after quoted lines": ('a,b\n"1\n\n2",3\n4\n', "line 5 of .* has 1 values"),
    "latin-1": ("a,b\n1,2\ncafé,3\n".encode("latin-1"), "is not UTF-8: line 3 has the byte 0xe9: .*--encoding latin-1"),
    "truncated UTF-8": ("a,b\n1,é".encode()[:-1], "is not UTF-8: line 2 has the byte 0xc3"),
    "far down": (b"a,b\n" + b"1,2\r\n" * 200_000 + b"\xff,2\n", "line 200002 has the byte 0xff"),
    "NUL": (b"a,b\n1,2\n3,\x004\n", "line 3 of .* has a NUL character"),
    "UTF-16 without BOM": ("a,b\n1,2\n".encode("utf-16-le"), "NUL character.*--encoding utf-16"),
    "open quote": ('a,b\n1,2\n3,"4\n5,6\n', "line 3 of .* opens a quote that is never closed, before '4'"),
    "open quote on a second line": ('a,b\n"1\n2","4\n5,6\n', "line 3 of .* opens a quote"),
    "open quote at the end": ('a,b\n1,"', "line 2 of .* opens a quote"),
    "duplicate names": ("a,b,a\n1,2,3\n", "columns 1 and 3 have the name 'a'"),
    "missing names": ("a,,\n1,2,3\n", "columns 2 and 3 have no name"),
    "infinite": ("a,b\n1,2\n3,-inf\n", "line 3 of .*: column 'b' must be finite, got '-inf'"),
    "too large": ("a,b\n1,2\n3,1e999\n", "line 3 of .*: column 'b' must be finite, got '1e999'"),
    "empty": ("", "must start with a header row"),
    "blank": ("\n  \n", "must start with a header row"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_line(reader, tmp_path, case):
    text, message = ERRORS[case]
    with pytest.raises(ValueError, match=message) as caught:
        read_csv(write(tmp_path / "a.csv", text))
    assert len(str(caught.value)) < 500


def test_messages_about_3000_columns_are_short(reader, tmp_path):
    names = ",".join(["a", "a", *map(str, range(3000)), "y"])
    path = write(tmp_path / "a.csv", names + "\n" + ",".join(["1"] * 3003) + "\n")
    for columns, target in ((), "y"), ((), "z"), (("q",), None):
        with pytest.raises(ValueError) as caught:
            read_csv(path, target=target, columns=columns)
        assert len(str(caught.value)) < 500
    names = ",".join(map(str, range(3000)))
    write(path, "x" + names + "\n" + ",".join(["1"] * 3000) + "\n")
    for columns, target in ((), "z"), (("q",), None):
        with pytest.raises(ValueError) as caught:
            read_csv(path, target=target, columns=columns)
        assert len(str(caught.value)) < 500


# ---------------------------------------------------------------- targets


def test_integer_targets_stay_exact(reader, tmp_path):
    values = [2**53 + 1, 2**62 + 1, -5, 7]
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"1,{value}\n" for value in values))
    assert read_csv(path, target="y").y.tolist() == values
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"1,{value}\n2,\n" for value in values))
    with pytest.warns(UserWarning, match="left out rows without a target"):
        table = read_csv(path, target="y", drop_missing_target=True)
    assert table.y.tolist() == values


def test_rows_without_a_target_are_refused_or_dropped(reader, tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"{i},{'?' if i % 7 == 0 else i % 2}\n" for i in range(50)))
    message = r"missing values, written '\?', in 8 of 50 rows \(line 2, line 9, line 16, line 23, line 30, …\)"
    with pytest.raises(ValueError, match=message + ".*drop_missing_target=True"):
        read_csv(path, target="y")
    with pytest.warns(UserWarning, match=message):
        table = read_csv(path, target="y", drop_missing_target=True)
    assert isinstance(table, Table)
    assert table.X[:, 0].tolist() == [i for i in range(50) if i % 7]
    assert table.y.tolist() == [i % 2 for i in range(50) if i % 7]
    assert table.lines[0] == 3
    assert table.lines[6] == 10
    with pytest.raises(ValueError, match="has no value in any row"):
        read_csv(write(path, "x,y\n1,\n2,NA\n"), target="y", drop_missing_target=True)


# ---------------------------------------------------------------- memory


def test_equal_strings_share_memory(reader, tmp_path):
    """About three times the file size, of which X itself takes one pointer per value."""
    words = ["Private", "State-gov", "Self-emp, inc", "Without pay"]
    row = [f'{40 + i % 50},"{words[i % 4]}",town {i % 900},{i / 7:.6f}\n' for i in range(60_000)]
    path = write(tmp_path / "a.csv", "age,work,town,score\n" + "".join(row))
    tracemalloc.start()
    table = read_csv(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.X[4, 1] is table.X[0, 1]
    if reader:
        assert held < 2.5 * path.stat().st_size
        assert peak < 4 * path.stat().st_size


def test_no_file_is_left_open(reader, tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 500_000)
    layout = layout_of(path, Dialect())
    for _ in range(3):
        next(iter(csv_reader.batches(layout, [0])))
    assert sum(1 for _ in rows(layout)) == 500_000
    assert len(Lines(layout, 500_000)) == 500_000


def test_progress_bar_is_shown_on_a_terminal(reader, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from fastbp.tables.text import progress

    monkeypatch.setattr(progress, "_DELAY", 0)
    path = write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 300_000)
    for terminal, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", terminal)
        read_csv(path, progress=True)
        assert ("reading a.csv" in terminal.getvalue()) == shown
    monkeypatch.setattr(sys, "stderr", None)
    read_csv(path, progress=True)


def test_coded_columns_return_their_strings():
    column = Coded(np.array([0, 1, 0]), ["a", "b"])
    assert [column[row] for row in range(3)] == ["a", "b", "a"]
