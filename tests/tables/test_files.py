"""Tables in files of every format, chosen by extension."""

import datetime
import re
import sys

import numpy as np
import pytest

from fastbp.cli.commands import main
from fastbp.datasets import read_file
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.tables.columns import Columns
from fastbp.tables.kinds import settle

COLUMNS = {"a": [1, 2, 3, 4], "b": [0.5, None, 2.0, 1.0], "town": ["Ulm", None, "Kiel, north", "Ulm"],
           "ok": [True, False, None, True], "y": ["u", "v", "u", "v"]}  # fmt: skip


def check(table):
    assert table.columns == ("a", "b", "town", "ok")
    assert table.X[:, 0].tolist() == [1, 2, 3, 4]
    assert np.isnan(table.X[1, 1])
    assert table.X[:, 2].tolist() == ["Ulm", None, "Kiel, north", "Ulm"]
    assert table.X[:, 3].tolist() == [True, False, None, True]
    assert table.y.tolist() == ["u", "v", "u", "v"]


def write_parquet(path, columns=COLUMNS):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.table(columns), path)


def write_excel(path, rows):
    from openpyxl import Workbook

    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def test_parquet(tmp_path):
    write_parquet(tmp_path / "a.PARQUET")
    check(read_file(tmp_path / "a.PARQUET", target="y"))


def test_parquet_errors(tmp_path):
    import pyarrow as pa

    path = tmp_path / "a.parquet"
    write_parquet(path, {"a": pa.array([[1], [2]]), "y": [0, 1]})
    with pytest.raises(TypeError, match=r"column 'a' of .* must hold numbers, .* got list"):
        read_file(path, target="y")
    write_parquet(path, {"a": [1, 2, 3], "y": [0, None, 1]})
    with pytest.raises(ValueError, match=r"missing values in 1 of 3 rows \(row 1\)"):
        read_file(path, target="y")
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="no Parquet file, or damaged"):
        read_file(path)


def test_excel(tmp_path):
    write_excel(tmp_path / "a.xlsx", [(*COLUMNS, None), *zip(*COLUMNS.values(), strict=True), (None,) * 6])
    table = read_file(tmp_path / "a.xlsx", target="y")
    check(table)
    assert table.lines[0] == 2


def test_excel_dates_are_those_of_csv(tmp_path):
    days = [datetime.date(2020 + i % 3, 1 + i % 12, 28) for i in range(30)]
    write_excel(tmp_path / "a.xlsx", [("day", "y"), *[(day, i % 7) for i, day in enumerate(days)], (None, 1)])
    lines = "".join(f"{day},{i % 7}\n" for i, day in enumerate(days))
    (tmp_path / "a.csv").write_text(f"day,y\n{lines},1\n", encoding="utf-8")
    tables = [read_file(tmp_path / f"a.{ending}", target="y") for ending in ("xlsx", "csv")]
    found = [Preprocessor().fit(table.features, table.y).transform(table.features) for table in tables]
    assert found[0].shape[1] > 1
    np.testing.assert_array_equal(*found)


def test_excel_times_of_day_are_refused(tmp_path):
    write_excel(tmp_path / "a.xlsx", [("t", "y"), (datetime.time(12, 30), 1), (None, 2)])
    with pytest.raises(TypeError, match=r"column 't' .* must hold numbers, strings, booleans or dates, got .*time"):
        read_file(tmp_path / "a.xlsx", target="y")


def test_messages_about_excel_name_rows_of_the_sheet(tmp_path):
    values = [(i, i % 3) for i in range(40)]
    write_excel(tmp_path / "a.xlsx", [("a", "y"), (None, None), *values[:20], ("nil", 1), *values[20:], (7, None)])
    with pytest.warns(UserWarning, match=r"in 1 of 42 rows \(row 44\)"):
        table = read_file(tmp_path / "a.xlsx", target="y", drop_missing_target=True)
    with pytest.warns(UserWarning, match="'nil' at row 23"):
        settle(Columns(table.columns, list(table.X.T), None, table.lines))
    assert np.asarray(table.lines).tolist() == [*range(3, 44)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "first sheet is empty"),
        ([("a", "b")], "no rows below"),
        ([("a", "a"), (1, 2)], "columns 1 and 2 have the name 'a'"),
        ([("a", "b"), (1, 2, 3)], "row 2 of .* more values"),
    ],
)
def test_invalid_excel_sheets_are_refused(tmp_path, rows, message):
    write_excel(tmp_path / "a.xlsx", rows)
    with pytest.raises(ValueError, match=message):
        read_file(tmp_path / "a.xlsx")


def test_damaged_excel_files_are_refused(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK no workbook")
    with pytest.raises(ValueError, match="no Excel workbook, or damaged"):
        read_file(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("package", "name", "extra"), [("pyarrow", "a.parquet", "parquet"), ("openpyxl", "a.xlsx", "excel")]
)
def test_missing_packages_name_the_pip_command(tmp_path, monkeypatch, package, name, extra):
    for module in [m for m in sys.modules if m == package or m.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).touch()
    with pytest.raises(ImportError, match=re.escape(f'pip install "fastbp[{extra}]"')):
        read_file(tmp_path / name)


def test_any_file_can_be_read_with_a_given_separator(tmp_path):
    (tmp_path / "iris.data").write_text("a b\n1 2\n3 4\n")
    with pytest.raises(ValueError, match="--separator"):
        read_file(tmp_path / "iris.data")
    assert read_file(tmp_path / "iris.data", separator=" ").X.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("ending", [".CSV", ".tsv", ".parquet"])
def test_command_line_reads_and_writes_every_format(tmp_path, monkeypatch, capsys, ending):
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(80, 2))
    table = pd.DataFrame(x, columns=["x", "z"]).assign(y=np.where(x[:, 0] > 0, 'Adult, "1" egg', "pos\n2"))
    if ending == ".parquet":
        table.to_parquet("t" + ending)
    else:
        table.to_csv("t" + ending, index=False, sep="\t" if ending == ".tsv" else ",")
    assert main(["train", "t" + ending, "--target", "y", "-q", "--epochs", "40", "-o", "m.safetensors"]) == 0
    assert main(["predict", "m.safetensors", "t" + ending, "-o", "p" + ending.lower()]) == 0
    read = {".parquet": pd.read_parquet, ".tsv": lambda path: pd.read_csv(path, sep="\t"), ".csv": pd.read_csv}
    found = read[ending.lower()]("p" + ending.lower())["prediction"]
    assert set(found) == set(table["y"])
    assert (found == table["y"]).mean() > 0.8


def test_predict_takes_separator_and_decimal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i},5;{i % 2}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("x;y\n" + rows.replace(",5;7\n", ",5;\n"), encoding="utf-16")
    options = ["--separator", ";", "--decimal", ","]
    assert main(["train", "t.csv", "--target", "y", "-q", "--epochs", "2", *options]) == 0
    assert main(["predict", "t.safetensors", "t.csv", *options, "-o", "p.csv"]) == 0
    assert "accuracy" in capsys.readouterr().err


@pytest.mark.filterwarnings("default:left out rows")
def test_rows_without_a_target_can_be_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{'' if i == 7 else i % 2}\n" for i in range(50)))
    assert main(["train", "t.csv", "--target", "y", "-q", "--epochs", "1", "--no-drop-missing-target"]) == 2
    assert "in 1 of 50 rows (line 9)" in capsys.readouterr().err
    assert main(["train", "t.csv", "--target", "y", "-q", "--epochs", "1", "-o", "m.safetensors"]) == 0
    assert "left out rows without a target" in capsys.readouterr().err
