"""One file through `fastbp train`, and what became of it."""

from __future__ import annotations

import contextlib
import io
import re
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp
from benchmarks.realfiles.plain_reading import Count, counts_of
from fastbp import datasets
from fastbp.cli.job import TrainJob
from fastbp.cli.train import train
from fastbp.data.splits import stratified_split
from fastbp.preprocessing.column_rules import Ignored, Numeric

_SCORE = re.compile(r"^test (accuracy|R²)\s+(\S+)", re.MULTILINE)
_ROUNDING = {"accuracy": 5e-5, "R²": 5e-5}  # the score is printed with so many digits
_HOME = str(Path(fastbp.__file__).parent)


class Trial(NamedTuple):
    """What became of a file with one of its columns as the target.

    ending: "trained", "refused", "unclear" (refused without a remedy, or not by fastbp), "traceback", "late" or "died".
    lost: columns of numbers, with under 5 % texts, that the network was not given as numbers.
    """

    ending: str
    message: str = ""
    metric: str = ""
    score: float = 0.0
    constant: float = 0.0
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    numeric: int = 0
    seconds: float = 0.0

    @property
    def worse(self) -> bool:
        """Whether a constant predicts the held-out rows better."""
        return self.ending == "trained" and self.score < self.constant - _ROUNDING[self.metric] * max(
            1.0, abs(self.score)
        )

    @property
    def warned(self) -> bool:
        """Whether fastbp said that a constant predicts as well."""
        return any("no better than" in warning for warning in self.warnings)

    @property
    def silent(self) -> bool:
        """Whether a constant predicts better, and fastbp did not say so."""
        return self.worse and not self.warned

    @property
    def broken(self) -> bool:
        """Whether a promise is broken."""
        return self.ending not in ("trained", "refused") or self.silent or bool(self.lost)


def try_file(path: Path, target: str, epochs: int | None) -> Trial:
    """Train on a file as the command line does, and look at what it did."""
    start, output = time.perf_counter(), path.with_suffix(".safetensors")
    said = io.StringIO()
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("always")
        try:
            train(TrainJob(str(path), target=target, epochs=epochs, output=str(output), quiet=True))
        except Exception as error:  # whatever it is: to tell which is what this is for
            return _ended(error, path, time.perf_counter() - start)
    told = [str(each.message) for each in caught]
    told += [line.removeprefix("warning: ") for line in said.getvalue().splitlines() if line.startswith("warning: ")]
    return _trained(path, target, output, said.getvalue(), tuple(told))._replace(seconds=time.perf_counter() - start)


def _ended(error: Exception, path: Path, seconds: float) -> Trial:
    """The trial that ended with this error."""
    message = str(error).replace(f"{path.parent}/", "")
    if not isinstance(error, ValueError | TypeError | OSError | ImportError | MemoryError):
        return Trial("traceback", "".join(traceback.format_exception(error)), seconds=seconds)
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = where.startswith(_HOME) and ": " in message  # what is wrong: what to do
    return Trial("refused" if ours else "unclear", message, seconds=seconds)


def _trained(path: Path, target: str, output: Path, said: str, told: tuple[str, ...]) -> Trial:
    model = fastbp.load(output)
    output.unlink()
    preprocessor = fastbp.Preprocessor.of(model)
    score = _SCORE.search(said)
    assert preprocessor is not None
    assert score is not None
    metric, value = score[1], float(score[2]) / (100 if score[1] == "accuracy" else 1)
    counts = counts_of(path)
    counts.pop(target, None)
    numeric = numeric_columns(counts)
    kept = {rule.name for rule in preprocessor.rules if isinstance(rule, Numeric)}
    left_out = {str(rule.name): rule.why for rule in preprocessor.rules if isinstance(rule, Ignored)}
    lost = [name for name in numeric if name not in kept and left_out.get(name) != "no value in training"]
    constant = constant_score(path, target, metric)
    return Trial("trained", "", metric, value, constant, told, tuple(left_out), tuple(lost), len(numeric))


def numeric_columns(counts: dict[str, Count]) -> list[str]:
    """The columns that hold numbers, without those that only number the rows: the first, or one without a name."""
    first = next(iter(counts), "")
    return [
        name
        for name, count in counts.items()
        if count.numeric and name and not name.startswith("Unnamed: ") and not (name == first and count.counting)
    ]


def constant_score(path: Path, target: str, metric: str) -> float:
    """The score, on the rows that are held out, of the training rows' mean or most frequent class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = datasets.read_file(path, target=target, drop_missing_target=True)
    assert isinstance(table, datasets.Table)
    assert table.y is not None
    train_rows, test_rows = stratified_split(table.y, seed=0)
    y, y_test = table.y[train_rows], table.y[test_rows]
    if metric == "accuracy":
        labels, counts = np.unique(y, return_counts=True)
        return min(float(np.mean(y_test == label)) for label in labels[counts == counts.max()])  # any of them is one
    variance = float(y_test.var())
    return 1.0 - float(np.mean((y_test - y.mean()) ** 2)) / variance if variance else -np.inf
