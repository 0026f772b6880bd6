"""Implementation of `fastbp train`: data in, a trained and saved model out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

import fastbp
from fastbp import datasets
from fastbp.callbacks.stopping import EarlyStopping
from fastbp.cli.bench import step_flops
from fastbp.cli.job import CATEGORIES_RECIPE, FEWEST_STEPS, MOST_EPOCHS, NAMED, SEED_KEY, TARGET_KEY, TrainJob
from fastbp.cli.network import TrainingData, build, dense_sizes, hold_out, learn, soft_targets
from fastbp.cli.output_path import DATA_KEY, check_model_output, check_output
from fastbp.cli.rows import hold_out_validation, without_columns
from fastbp.cli.scoring import no_better_than_constant, score
from fastbp.cli.training_plot import TrainingPicture
from fastbp.datasets import Split
from fastbp.plots.figures import check_picture
from fastbp.preprocessing.column_rules import Numeric
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.console import say, tell
from fastbp.util.types import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def counted(n: int, noun: str) -> str:
    """ "1 epoch", "2 epochs"."""
    return f"{n:,} {noun}" + "s" * (n != 1)


class Prepared(NamedTuple):
    """Features and targets as the network gets them, and what is reported of them.

    y_train: of all training rows, those to validate on included, before label smoothing. y_given: of the test rows, in
    the units of the data.
    """

    X: Array
    y: Array
    validation: tuple[Array, Array] | None
    x_test: Array
    y_test: Array
    y_train: Array
    y_given: Array


class Outcome(NamedTuple):
    """How training ended."""

    seconds: float
    epochs: int
    interrupted: bool


def train(job: TrainJob) -> int:
    """Run `fastbp train`: load, train, save, report; returns the exit code, 130 after Ctrl-C (the model is saved)."""
    check_output(job.path, [job.data])
    check_model_output(job.path, job.data, job.output is not None)
    if job.plot is not None:
        check_output(Path(job.plot), [job.data])
        if Path(job.plot).resolve() == job.path.resolve():
            raise ValueError(f"--plot and --output must be two files, got {job.plot} for both: rename one")
        check_picture(job.plot)
    job, preprocessor, rows = _prepare(job)
    X, y, x_test, y_test = rows.X, rows.y, rows.x_test, rows.y_test
    job = _with_rate(job, X, y, preprocessor)
    model = build(job, X.shape[1], y, preprocessor)
    _print_header(job, rows, preprocessor, model)
    _warm_up(job, X, y, preprocessor)
    tell(_training_options(job))
    picture = None
    if job.plot is not None:
        soft = soft_targets(y_test, preprocessor, job.recipe)
        seen = X, y if y.ndim == 1 else y.argmax(axis=1)
        title = f"{Path(job.data).name}: {model.loss.name.replace('_', ' ')}"
        picture = TrainingPicture(x_test, soft, y_test, preprocessor.classes or (), train=seen, title=title)
    outcome = _fit(model, X, y, job, [] if picture is None else [picture], rows.validation)
    model.metadata |= {**preprocessor.to_metadata(), SEED_KEY: str(job.seed), DATA_KEY: job.data}
    if job.target is not None:
        model.metadata[TARGET_KEY] = job.target
    model.save(job.path)
    if picture is not None:
        outputs = model.predict(x_test)
        if preprocessor.classes:
            picture.draw(outputs, y_test, job.plot)
        else:  # in the target's original units
            picture.draw(preprocessor.inverse_target(outputs), rows.y_given.reshape(outputs.shape), job.plot)
    _print_report(job, preprocessor, model, (x_test, y_test), len(X), outcome)
    if doubt := no_better_than_constant(preprocessor, model.predict(x_test), y_test, rows.y_train):
        say(f"warning: {doubt}")
    return 130 if outcome.interrupted else 0


def _prepare(job: TrainJob) -> tuple[TrainJob, Preprocessor, Prepared]:
    """Read the data and learn from the training rows; the table itself is freed. The job has the recipe for them."""
    held_out = job.held_out
    data = _read(job)
    job = _for_categories(job, data)
    preprocessor = learn(data, job)
    X, y_train = preprocessor.transform(data.train), preprocessor.transform_target(data.y_train)
    x_test, y_test = preprocessor.transform(data.test), preprocessor.transform_target(data.y_test)
    y = soft_targets(y_train, preprocessor, job.recipe)
    X, y, validation = hold_out_validation(X, y, preprocessor.classes is not None, held_out, job.seed)
    return job, preprocessor, Prepared(X, y, validation, x_test, y_test, y_train, data.y_test)


def _read(job: TrainJob) -> TrainingData:
    data: datasets.Table | Split
    if job.data in NAMED:
        data = datasets.load_named(job.data, seed=job.seed)
    else:
        data = datasets.read_file(job.data, **job.reading)
    data = without_columns(data, job.drop, job.data)
    return TrainingData.of(data) if isinstance(data, Split) else hold_out(_with_classes(data, job.task), job)


def _for_categories(job: TrainJob, data: TrainingData) -> TrainJob:
    """For tables with categories, the job with their recipe: 12 epochs, or 150 steps if that is more."""
    if not job.categorical and not any(kind.kind == "category" for kind in data.train.kinds):
        return job
    rows = data.train.rows
    size = CATEGORIES_RECIPE.batch_size
    while size > 32 and rows < 100 * size:
        size //= 2
    epochs = min(max(CATEGORIES_RECIPE.epochs, FEWEST_STEPS * size // rows), MOST_EPOCHS)
    return dataclasses.replace(job, base=CATEGORIES_RECIPE._replace(batch_size=size, epochs=epochs))


def _with_classes(table: datasets.Table, task: str | None) -> datasets.Table:
    """The table with float labels converted to integers if ``--task classification`` declares them classes."""
    if task == "classification" and table.y is not None and table.y.dtype.kind == "f":
        if (table.y != np.round(table.y)).any():
            raise ValueError("--task classification needs integers or strings as the target, got fractions")
        return table._replace(y=table.y.astype(np.int64))
    return table


def _warm_up(job: TrainJob, X: Array, y: Array, preprocessor: Preprocessor) -> None:
    """Load or compile the engine before timing starts, with a model that is discarded."""
    build(job, X.shape[1], y, preprocessor).train_on_batch(X[:1], y[:1])


def _with_rate(job: TrainJob, X: Array, y: Array, preprocessor: Preprocessor) -> TrainJob:
    """The job with the learning rate that `find_learning_rate` suggests, if that is wanted and there is one."""
    if job.learning_rate != "auto":
        return job
    search = fastbp.find_learning_rate(
        build(job, X.shape[1], y, preprocessor), X, y, batch_size=min(job.recipe.batch_size, len(X)), seed=job.seed
    )
    if search.flat:
        say(f"warning: {search}; the learning rate is the default, {job.recipe.learning_rate:g}")
        return dataclasses.replace(job, learning_rate=None)
    return dataclasses.replace(job, learning_rate=search.suggestion)


def _fit(
    model: fastbp.Sequential,
    X: NDArray[np.float32],
    y: Array,
    job: TrainJob,
    callbacks: Sequence[fastbp.Callback],
    validation: tuple[Array, Array] | None,
) -> Outcome:
    recipe = job.recipe
    batch_size = min(recipe.batch_size, len(X)) if job.batch_size is None else recipe.batch_size
    start, interrupted, epochs = time.perf_counter(), False, recipe.epochs
    if job.early_stopping:
        stopping = EarlyStopping(patience=job.patience, restore_best_weights=True)
        callbacks = [*callbacks, stopping]
    verbose = 0 if job.quiet else "auto"
    try:
        history = model.fit(
            X, y, batch_size=batch_size, epochs=recipe.epochs, n_threads=job.threads, verbose=verbose,
            callbacks=callbacks, validation_data=validation,
        )  # fmt: skip
        epochs = len(history.epoch)
    except KeyboardInterrupt:
        interrupted = True
    return Outcome(time.perf_counter() - start, epochs, interrupted)


def _print_header(job: TrainJob, data: Prepared, preprocessor: Preprocessor, model: fastbp.Sequential) -> None:
    sizes, classes = dense_sizes(model), preprocessor.classes
    kind = f"{len(classes)} classes" if classes else f"{counted(sizes[-1], 'target')} for regression"
    rows = f"{len(data.y_train):,} training rows, {len(data.y_test):,} test rows"
    features = sum(rule.width > 0 for rule in preprocessor.rules)
    n_weights = sum(w.size for w in model.get_weights())
    tell(f"{job.data}: {rows}, {counted(features, 'feature')}, {kind}")
    if any(not isinstance(rule, Numeric) or rule.missing for rule in preprocessor.rules):
        tell(str(preprocessor))
    if preprocessor.cardinalities:
        layer = cast(fastbp.ColumnEmbedding, model.layers[0])
        names = preprocessor.feature_names
        embedded = ", ".join(f"{names[column]} to {width}" for column, _, width in layer.tables)
        tell(f"embeddings: {embedded} dimensions")
    tell(f"network {'-'.join(map(str, sizes))} {job.activation}, {n_weights:,} weights")


def _training_options(job: TrainJob) -> str:
    recipe = job.recipe
    epochs = counted(recipe.epochs, "epoch")
    rate, size = recipe.learning_rate, recipe.batch_size
    most = "at most " * job.early_stopping
    return f"{job.optimizer}, learning rate {rate:.4g}, batch {size}, {most}{epochs}, seed {job.seed}"


def _print_report(
    job: TrainJob,
    preprocessor: Preprocessor,
    model: fastbp.Sequential,
    test: tuple[Array, Array],
    n: int,
    outcome: Outcome,
) -> None:
    name, value = score(preprocessor, model.predict(test[0]), test[1])
    tell(f"test {name:<10}{value}")
    if outcome.interrupted:
        tell(f"interrupted after {outcome.seconds:.2f} s: saved the model of the last finished step")
    else:
        rate = n * outcome.epochs / outcome.seconds
        flops = rate * step_flops(dense_sizes(model), 1)
        tell(f"{'time':<15}{outcome.seconds:.2f} s for {counted(outcome.epochs, 'epoch')}")
        tell(f"{'samples/s':<15}{rate:,.0f}")
        tell(f"{'speed':<15}{flops / 1e9:.1f} GFLOP/s{_share_of_peak(flops, job.threads)}")
    tell(f"{'model':<15}{job.path}")
    if job.plot is not None:
        tell(f"{'plot':<15}{job.plot}")


def _share_of_peak(flops: float, threads: int | None) -> str:
    from fastbp.engine.peak import measured_peak
    from fastbp.isa.targets.detect import usable_cores

    n_threads = min(threads or usable_cores(), usable_cores())
    peak = measured_peak("float32", n_threads)
    share = f"{100 * flops / peak:.1f} % of this machine's measured peak"
    return f", {share} ({peak / 1e9:.0f} GFLOP/s, {counted(n_threads, 'thread')})"
