"""fastbp's estimators compared with scikit-learn's on real data: ``python -m benchmarks.estimators`` writes a table.

Both get the same parameters, random_state and preprocessed rows, and are fitted in turn, in an order that alternates
between seeds. Only `fit` is timed, in a process that has fitted each once before. The data are in the folder named by
the environment variable FASTBP_DATA; digits come with scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import neural_network
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import fastbp
from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions

PAGE = ROOT / "docs" / "estimators.md"
SEEDS = 5
WARM_UP_ROWS = 300
HEADER = ["data", "parameters", "score, scikit-learn", "score, fastbp", "epochs", "seconds, scikit-learn",
          "seconds, fastbp", "times as fast"]  # fmt: skip


class Task(NamedTuple):
    """A dataset: its loader, its preprocessing, and the estimators' parameters.

    load returns X, y and the test set, or None if the dataset has none.
    """

    name: str
    estimator: str
    load: Callable[[], tuple[Any, Any, tuple[Any, Any] | None]]
    prepare: Callable[[], Any]
    parameters: dict[str, Any]
    prepare_y: Callable[[], Any] | None = None


class Run(NamedTuple):
    """Score, epochs and seconds of scikit-learn and fastbp for one seed."""

    scores: tuple[float, float]
    epochs: tuple[int, int]
    seconds: tuple[float, float]


# ---------------------------------------------------------------- data


def folder() -> Path:
    """Where the data are."""
    return Path(os.environ.get("FASTBP_DATA", "."))


def digits() -> tuple[Any, Any, None]:
    """The digits that come with scikit-learn."""
    return (*load_digits(return_X_y=True), None)


def archive(name: str) -> tuple[Any, Any, None]:
    """X and y of an .npz file, numbers in float64."""
    with np.load(folder() / f"{name}.npz") as file:
        y = file["y"]
        return file["X"].astype(np.float64), y.astype(np.float64) if y.dtype.kind == "f" else y, None


def adult() -> tuple[Any, Any, tuple[Any, Any]]:
    """Adult income: numbers and categories, with a test set."""
    import pandas as pd

    parts = []
    for part in ("train", "test"):
        table = pd.read_csv(folder() / f"adult_{part}.csv.gz")
        y = table.pop("income").str.rstrip(".").to_numpy(dtype=object)
        parts.append((table, y))
    return (*parts[0], parts[1])


def encoder() -> Any:
    """Numbers are standardized, categories become columns of 0 and 1."""
    import pandas as pd

    def is_text(table: Any) -> list[Any]:
        return [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]

    def is_number(table: Any) -> list[Any]:
        return [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]

    categories = OneHotEncoder(handle_unknown="ignore")
    return make_column_transformer((categories, is_text), (StandardScaler(), is_number))


def imputed() -> Any:
    """Median imputation, then standardization."""
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


TASKS = (
    Task("digits", "MLPClassifier", digits, MinMaxScaler, {}),
    Task("letter", "MLPClassifier", lambda: archive("letter"), StandardScaler, {"max_iter": 50}),
    Task("adult", "MLPClassifier", adult, encoder, {"early_stopping": True}),
    Task(
        "california", "MLPRegressor", lambda: archive("california_housing"), imputed,
        {"early_stopping": True, "hidden_layer_sizes": (100, 50)}, StandardScaler,
    ),
)  # fmt: skip


# ---------------------------------------------------------------- measuring


def split(task: Task, seed: int) -> tuple[Any, Any, Any, Any]:
    """Preprocessed training and test rows; a quarter is held out if the dataset has no test set."""
    X, y, test = task.load()
    if test is None:
        stratify = y if task.estimator == "MLPClassifier" else None
        X, X_test, y, y_test = train_test_split(X, y, random_state=seed, stratify=stratify)
    else:
        X_test, y_test = test
    prepare = task.prepare()
    X, X_test = prepare.fit_transform(X), prepare.transform(X_test)
    if task.prepare_y is not None:
        scale = task.prepare_y()
        y, y_test = (method(values.reshape(-1, 1)).ravel() for method, values in
                     ((scale.fit_transform, y), (scale.transform, y_test)))  # fmt: skip
    return X, X_test, y, y_test


def run(task: Task, seed: int, threads: int | None) -> Run:
    """Fit both on one seed's rows."""
    X, X_test, y, y_test = split(task, seed)
    both: dict[str, Any] = {
        "scikit-learn": getattr(neural_network, task.estimator)(random_state=seed, **task.parameters),
        "fastbp": getattr(fastbp, task.estimator)(random_state=seed, n_threads=threads, **task.parameters),
    }
    seconds = {}
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name in sorted(both, reverse=seed % 2 == 1):
            type(both[name])(max_iter=1, n_iter_no_change=1).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
            began = time.perf_counter()
            both[name].fit(X, y)
            seconds[name] = time.perf_counter() - began
    theirs, ours = both.values()
    return Run(
        (theirs.score(X_test, y_test), ours.score(X_test, y_test)),
        (theirs.n_iter_, ours.n_iter_),
        (seconds["scikit-learn"], seconds["fastbp"]),
    )


def describe(task: Task, runs: Sequence[Run]) -> list[str]:
    """One row of the table: means and deviations of scores, medians of seconds and of their ratios."""
    scores = list(zip(*(each.scores for each in runs), strict=True))
    seconds = [statistics.median(each.seconds[i] for each in runs) for i in (0, 1)]
    ratio = statistics.median(each.seconds[0] / each.seconds[1] for each in runs)
    epochs = [statistics.fmean(each.epochs[i] for each in runs) for i in (0, 1)]
    shown = ", ".join(f"{name}={value}" for name, value in task.parameters.items())
    return [
        task.name,
        f"`{task.estimator}({shown})`",
        *(f"{statistics.fmean(own):.4f} ± {spread(own):.4f}" for own in scores),
        f"{epochs[0]:.0f}" if epochs[0] == epochs[1] else f"{epochs[0]:.1f}, {epochs[1]:.1f}",
        *(f"{value:.2f}" for value in seconds),
        f"{ratio:.1f}",
    ]


def spread(values: Sequence[float]) -> float:
    """The standard deviation, 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


# ---------------------------------------------------------------- the page


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen datasets; a run of all with all seeds writes the table."""
    args = make_parser().parse_args(argv)
    rows = []
    for task in TASKS:
        if args.only in (None, task.name):
            runs = [run(task, seed, args.threads) for seed in range(args.seeds)]
            rows.append(describe(task, runs))
            print(" | ".join(rows[-1]), flush=True)
    if args.only is None and args.seeds == SEEDS:
        replace_generated(PAGE, "benchmarks.estimators", page_text(rows, args.threads), title="Estimators")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=[task.name for task in TASKS], metavar="NAME", help="default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"default: {SEEDS}")
    parser.add_argument("--threads", type=int, metavar="N", help="of each (default: each library's own choice)")
    return parser


def page_text(rows: Sequence[Sequence[str]], threads: int | None) -> str:
    """The table, and where it was measured."""
    here = machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions(["fastbp", "numpy", "numba", "scikit-learn", "scipy"]).items())
    each = "each library's own choice of threads" if threads is None else f"on {threads} thread{'s' * (threads > 1)}"
    return f"""{markdown_table(HEADER, rows, left=2)}

Scores are accuracies, and R² of california, on rows held out: means ± standard deviations over {SEEDS} seeds, each of
which splits the data, where they have no test rows of their own, and starts the networks. Seconds are medians of
`fit` in float64; the last column is the median of the seeds' ratios.

Measured on {date.today().isoformat()} by `python -m benchmarks.estimators` on {here["processor"]},
{here["cores"]} cores, {each}, Python {here["python"]}; {packages}.
"""


if __name__ == "__main__":
    sys.exit(main())
