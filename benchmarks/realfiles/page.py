"""What the trials found, as tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from benchmarks.realfiles.packages import RealFile
from benchmarks.realfiles.trial import Trial
from benchmarks.tables import machine, markdown_table, versions

HEADER = [
    "package", "files", "trainings", "ended with a model", "refused with a remedy", "failed", "better than a constant",
    "not better, with a warning", "not better, without", "columns of numbers", "of these lost",
]  # fmt: skip
# What a warning or an error is about; the first that fits.
KINDS = {
    "left out: row numbers": "are row numbers",
    "left out: strings that are all different": "are all different",
    "left out: no value in the training rows": "has no value in the training rows",
    "a few values that are no numbers or dates, treated as missing": "treated as missing",
    "becomes categories: many values are not plain numbers": "becomes categories",
    "rows without a target left out": "left out rows without a target",
    "separator found in the first lines": "are separated by",
    "no header row": "has no header row",
    "no better than a constant": "no better than",
    "training diverged": "diverged",
    "not UTF-8": "is not UTF-8",
    "columns with the same name, or without one": "header row of distinct names",
    "ambiguous dates": "day and month",
    "infinite values": "must be finite",
    "a single column": "no column besides the target",
    "all columns left out": "must have a column to learn from",
    "too few rows": "leaves one part empty|must have at least",
    "one class only": "only one class",
    "no target in any row": "has no value in any row",
    "a target of strings that are all different": "a different string in each",
    "a header row alone": "holds no rows below its header row",
    "lines of too few or too many values": "but the header row has",
}


class Tried(NamedTuple):
    """A file, its target and what became of it."""

    file: RealFile
    target: str
    trial: Trial


def kind_of(message: str) -> str:
    """What a message is about; where no kind fits, the message."""
    found = next((kind for kind, pattern in KINDS.items() if re.search(pattern, message)), None)
    return found or message.strip().splitlines()[-1][:100]


def summary(tried: Sequence[Tried]) -> str:
    """The table of packages, and of all."""
    packages = sorted({each.file.package for each in tried})
    rows = [_row(name, [each for each in tried if each.file.package == name]) for name in packages]
    return markdown_table(HEADER, [*rows, _row("all", tried)])


def messages(tried: Sequence[Tried]) -> str:
    """The tables of warnings and of refusals, by kind."""
    warned = Counter(kind_of(warning) for each in tried for warning in each.trial.warnings)
    refused = Counter(kind_of(each.trial.message) for each in tried if each.trial.ending == "refused")
    return f"{_counted('warning', warned)}\n\n{_counted('refusal', refused)}"


def broken(tried: Iterable[Tried]) -> list[str]:
    """A line for each promise that was broken."""
    return [f"{each.file.package}/{each.file.name}, target {each.target!r}: {_fault(each.trial)}" for each in tried
            if each.trial.broken]  # fmt: skip


def page_text(tried: Sequence[Tried]) -> str:
    """The tables, and what they were measured on."""
    here = machine()
    used = ", ".join(f"{k} {v}" for k, v in versions(["fastbp", "numpy", "numba", "pyarrow"]).items())
    return f"""{summary(tried)}

{messages(tried)}

Each file is trained on with its last column as the target, and with its first that does not number the rows, by the
defaults of `fastbp train`. A constant is the mean of the training rows' target, or their most frequent class; scores
are those of the rows held out. A column of numbers has under 5 % other texts, by Python's `csv` and `float`. Run on
{date.today().isoformat()} by `python -m benchmarks.realfiles`, {here["cores"]} cores, Python {here["python"]}; {used}.
"""


def _row(name: str, tried: Sequence[Tried]) -> list[str]:
    trials = [each.trial for each in tried]
    trained = [each for each in trials if each.ending == "trained"]
    warned, silent = sum(each.warned for each in trained), sum(each.silent for each in trained)
    refused = sum(each.ending == "refused" for each in trials)
    numbers = [
        len({each.file.path for each in tried}), len(trials), len(trained), refused,
        len(trials) - len(trained) - refused, len(trained) - warned - silent, warned, silent,
        sum(each.numeric for each in trained), sum(len(each.lost) for each in trained),
    ]  # fmt: skip
    return [name, *(f"{number:,}" for number in numbers)]


def _counted(what: str, counts: Counter[str]) -> str:
    return markdown_table([what, "times"], [[kind, f"{n:,}"] for kind, n in counts.most_common()])


def _fault(trial: Trial) -> str:
    if trial.lost:
        return f"lost the columns of numbers {', '.join(map(repr, trial.lost))}"
    if trial.silent:
        return f"{trial.metric} {trial.score:.4f}, a constant {trial.constant:.4f}, and no warning"
    return f"{trial.ending}: {trial.message.strip()}"
