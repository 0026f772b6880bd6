"""Estimators for tables compared with others on real data: ``python -m benchmarks.recipes`` writes two tables.

Every estimator gets the raw frame, as far as it takes one, with its defaults, and is fitted in turn; the order changes
with the seed. The time is that of `fit`, from the raw frame to the best weights, in a process in which each has been
fitted on a few rows before. Networks hold out a fifth of the training rows; a fifth of all rows is for the test, or the
file that comes with the data. The data are in the folder named by the environment variable FASTBP_DATA. It needs
pytabkit, lightgbm, xgboost and catboost; a run of all writes the tables.
"""

from __future__ import annotations

import argparse
import importlib
import math
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
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions

PAGE = ROOT / "docs" / "tables.md"
SEEDS = 5
WARM_UP_ROWS = 300
PACKAGES = ("fastbp", "numpy", "scikit-learn", "torch", "pytabkit", "lightgbm", "xgboost", "catboost")


class Table(NamedTuple):
    """A dataset: X, a frame, y, and the number of its first rows that are for training, if it has test rows."""

    X: Any
    y: Any
    n_train: int | None = None


class Task(NamedTuple):
    """A dataset by name: its loader, and whether y is classes."""

    name: str
    load: Callable[[], Table]
    classes: bool


class Peer(NamedTuple):
    """An estimator: how it is made for classes or quantities and a seed, and what its X is."""

    name: str
    make: Callable[[bool, int], Any]
    prepare: Callable[[Any], Any] = lambda X: X


# ---------------------------------------------------------------- data


def folder() -> Path:
    """Where the data are."""
    return Path(os.environ.get("FASTBP_DATA", "."))


def archive(name: str) -> Table:
    """X and y of an .npz file."""
    with np.load(folder() / f"{name}.npz") as file:
        X = pd.DataFrame(file["X"].astype(np.float64), columns=[f"x{i}" for i in range(file["X"].shape[1])])
        return Table(X, file["y"])


def california() -> Table:
    """Median house values in units of 100,000 dollars."""
    with np.load(folder() / "california_housing.npz") as file:
        X = pd.DataFrame(file["X"].astype(np.float64), columns=file["columns"].tolist())
        return Table(X, file["y"].astype(np.float64) / 1e5)


def adult() -> Table:
    """Incomes, with the test rows that come with them."""
    train, test = (pd.read_csv(folder() / f"adult_{part}.csv.gz", na_values="?") for part in ("train", "test"))
    whole = pd.concat([train, test], ignore_index=True)
    y = whole.pop("income").str.rstrip(".").to_numpy(dtype=object)
    return Table(whole, y, len(train))


def diamonds() -> Table:
    """The logarithm of the price."""
    X = pd.read_csv(folder() / "diamonds.csv.gz")
    return Table(X, np.log(X.pop("price").to_numpy(dtype=np.float64)))


TASKS = (
    Task("california", california, False),
    Task("adult", adult, True),
    Task("diamonds", diamonds, False),
    Task("bike", lambda: archive("bike"), False),
    Task("letter", lambda: archive("letter"), True),
    Task("shuttle", lambda: archive("shuttle"), True),
)


# ---------------------------------------------------------------- estimators


def of(module: str, name: str, seed_name: str = "random_state", **options: Any) -> Callable[[bool, int], Any]:
    """Makes estimators whose class names end in Classifier and Regressor."""

    def make(classes: bool, seed: int) -> Any:
        kind = getattr(importlib.import_module(module), name + ("Classifier" if classes else "Regressor"))
        return kind(**{seed_name: seed}, **options)

    return make


def categories(X: Any) -> Any:
    """Texts as pandas' categories."""
    texts = [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]
    return X.astype(dict.fromkeys(texts, "category"))


def complete(X: Any) -> Any:
    """Categories, and missing numbers replaced by medians."""
    X = categories(X)
    numbers = [name for name in X if pd.api.types.is_numeric_dtype(X[name])]
    return X.assign(**{name: X[name].fillna(X[name].median()) for name in numbers})


def features(X: Any) -> Any:
    """What fastbp's Preprocessor makes of a frame with its defaults."""
    from fastbp import Preprocessor

    return Preprocessor().fit_transform(X)


def texts(X: Any) -> Any:
    """Missing texts as a text of their own."""
    return X.assign(**{name: X[name].fillna("missing") for name in X if not pd.api.types.is_numeric_dtype(X[name])})


def catboost(classes: bool, seed: int) -> Any:
    """CatBoost, told which columns are texts."""
    module = importlib.import_module("catboost")
    base: Any = module.CatBoostClassifier if classes else module.CatBoostRegressor

    class WithTexts(base):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            named = [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]
            return super().fit(X, y, cat_features=named)

    return WithTexts(random_seed=seed, verbose=0, allow_writing_files=False)


PEERS = (
    Peer("fastbp RealMLP", of("fastbp", "RealMLP")),
    Peer("fastbp RealMLP small", of("fastbp", "RealMLP", size="small")),
    Peer("pytabkit RealMLP-TD", of("pytabkit", "RealMLP_TD_", device="cpu", n_threads=2), complete),
    Peer("pytabkit RealMLP-TD-S", of("pytabkit", "RealMLP_TD_S_", device="cpu", n_threads=2), complete),
    Peer("scikit-learn MLP", of("sklearn.neural_network", "MLP", early_stopping=True), features),
    Peer("HistGradientBoosting", of("sklearn.ensemble", "HistGradientBoosting"), categories),
    Peer("LightGBM", of("lightgbm", "LGBM", verbose=-1), categories),
    Peer("XGBoost", of("xgboost", "XGB", enable_categorical=True), categories),
    Peer("CatBoost", catboost, texts),
)


# ---------------------------------------------------------------- measuring


class Fitted(NamedTuple):
    """The error on the test rows, a share or a root mean square, and the seconds of `fit`."""

    error: float
    seconds: float


def split(task: Task, seed: int) -> tuple[Any, Any, Any, Any]:
    """Training and test rows."""
    table = task.load()
    if table.n_train is not None:
        n = table.n_train
        return table.X[:n], table.X[n:], table.y[:n], table.y[n:]
    found: tuple[Any, Any, Any, Any] = tuple(
        train_test_split(
            table.X, table.y, test_size=0.2, random_state=seed, stratify=table.y if task.classes else None
        )
    )
    return found


def fitted(peer: Peer, task: Task, seed: int, parts: tuple[Any, Any, Any, Any]) -> Fitted:
    """Fit one estimator. Preparation is not timed, and sees all rows, so that these have the same columns."""
    X, X_test, y, y_test = parts
    prepared = peer.prepare(pd.concat([X, X_test], ignore_index=True))
    X, X_test = prepared[: len(X)], prepared[len(X) :]
    if task.classes:
        labels = np.unique(y)
        y, y_test = np.searchsorted(labels, y), np.searchsorted(labels, y_test)
    estimator = peer.make(task.classes, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - began
        predicted = np.ravel(estimator.predict(X_test))
    if task.classes:
        return Fitted(float(np.mean(predicted != y_test)), seconds)
    return Fitted(math.sqrt(float(np.mean((predicted - y_test) ** 2))), seconds)


def measured(task: Task, peers: Sequence[Peer], seeds: int) -> dict[str, list[Fitted]]:
    """All estimators on one dataset, seed by seed."""
    results: dict[str, list[Fitted]] = {peer.name: [] for peer in peers}
    for seed in range(seeds):
        parts = split(task, seed)
        for peer in peers if seed % 2 == 0 else peers[::-1]:
            if seed == 0:
                X, X_test, y, y_test = (part[:WARM_UP_ROWS] for part in parts)
                fitted(peer, task, seed, (X, X_test, y, y_test))
            results[peer.name].append(fitted(peer, task, seed, parts))
            last = results[peer.name][-1]
            print(f"{task.name}, seed {seed}, {peer.name}: {last.error:.4f}, {last.seconds:.1f} s", flush=True)
    return results


# ---------------------------------------------------------------- the page


def rows_of(all_results: dict[str, dict[str, list[Fitted]]], names: Sequence[str]) -> tuple[list[list[str]], ...]:
    """The rows of the table of errors and of that of seconds; the best error of a dataset is bold."""
    errors, seconds = [], []
    for task, results in all_results.items():
        means = {name: statistics.fmean(each.error for each in results[name]) for name in names}
        best = min(means.values())
        cells = []
        for name in names:
            spread = statistics.stdev([each.error for each in results[name]]) if len(results[name]) > 1 else 0.0
            cell = f"{means[name]:.4f} ± {spread:.4f}"
            cells.append(f"**{cell}**" if means[name] == best else cell)
        errors.append([task, *cells])
        seconds.append([task, *(f"{statistics.median(each.seconds for each in results[name]):.1f}" for name in names)])
    return errors, seconds


def page_text(all_results: dict[str, dict[str, list[Fitted]]], names: Sequence[str], seeds: int) -> str:
    """Both tables, and where they were measured."""
    errors, seconds = rows_of(all_results, names)
    here, header = machine(), ["data", *names]
    packages = ", ".join(f"{name} {version}" for name, version in versions(PACKAGES).items())
    return f"""Errors on the test rows, the share of wrong classes or the root mean squared error (california: 100,000
dollars, diamonds: logarithm of the price), means ± standard deviations over {seeds} seeds, which split the data and
start the estimators:

{markdown_table(header, errors)}

Seconds of `fit`, from the raw frame to the best weights, medians:

{markdown_table(header, seconds)}

Measured on {date.today().isoformat()} by `python -m benchmarks.recipes` on {here["processor"]}, {here["cores"]} cores,
Python {here["python"]}; {packages}.
All have their defaults, but that scikit-learn's MLP stops early, on features of fastbp's Preprocessor, and pytabkit
gets two threads; missing numbers are replaced by medians of all rows for pytabkit, which refuses them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen datasets and estimators."""
    args = make_parser().parse_args(argv)
    tasks = [task for task in TASKS if args.only in (None, task.name)]
    peers = [peer for peer in PEERS if args.peers is None or peer.name in args.peers]
    results = {task.name: measured(task, peers, args.seeds) for task in tasks}
    text = page_text(results, [peer.name for peer in peers], args.seeds)
    print(text)
    if len(tasks) == len(TASKS) and len(peers) == len(PEERS) and args.seeds == SEEDS:
        replace_generated(PAGE, "benchmarks.recipes", text, title="Estimators for tables")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=[task.name for task in TASKS], metavar="NAME", help="default: all datasets")
    parser.add_argument(
        "--peers", nargs="+", choices=[peer.name for peer in PEERS], metavar="NAME", help="default: all estimators"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"default: {SEEDS}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
