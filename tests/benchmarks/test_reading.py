"""`python -m benchmarks.reading` on files of some kilobytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reading
from benchmarks.reading import Reading
from fastbp.datasets import read_csv


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reading")
    reading.make_files(path, 50_000)
    return path


def test_files_have_the_size_and_the_kinds_of_columns(folder: Path) -> None:
    for name in reading.KINDS:
        assert 50_000 <= (folder / name).stat().st_size < 50_200
        assert (folder / f"{name}.gz").stat().st_size < 35_000
    assert read_csv(folder / "numbers.csv", target="y").X.dtype.kind == "f"
    table = read_csv(folder / "mixed.csv.gz", target="y")
    assert table.X.dtype == object
    assert set(table.y.tolist()) == {"no", "yes"}
    assert table.X[0, 6].startswith("name ")


@pytest.mark.parametrize("name", reading.available())
def test_every_reader(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastbp.tables.text.reader.ARROW", True)  # put back what a reader changes
    for file in reading.FILES:
        assert len(reading.READERS[name][0](folder / file)) > 0


def test_a_reading_in_a_process_of_its_own(folder: Path) -> None:
    found = reading.read_once(folder / "mixed.csv", "fastbp, without")
    assert found.seconds > 0
    assert 0 <= found.memory < 50e6


def test_table_and_goal() -> None:
    fast = {file: [Reading(0.5, 100), Reading(0.7, 300), Reading(9.0, 200)] for file in reading.FILES}
    slow = fast | {"mixed.csv": [Reading(0.5, 400)]}
    text = reading.table({"fastbp, with pyarrow": fast}, 100)
    assert [line.count("|") for line in text.splitlines()] == [10] * 3
    assert "| 0.70 | 2.0 |" in text
    assert reading.met({"fastbp, with pyarrow": fast}, 100)
    assert not reading.met({"fastbp, with pyarrow": slow}, 100)
    assert "it is missed" in reading.page_text({"fastbp, with pyarrow": slow}, 100)


def test_another_size_leaves_the_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(reading, "read_once", lambda path, name: Reading(0.1, 10))
    assert reading.main(["--megabytes", "0.05"]) == 0
    assert not (tmp_path / "page.md").exists()
    monkeypatch.setattr(reading, "MEGABYTES", 0.05)
    assert reading.main([]) == 0
    assert "times the text; it is met" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "round 2, mixed.csv.gz" in capsys.readouterr().out
