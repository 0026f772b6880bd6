"""The preprocessor and the network for a job of `fastbp train`."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, cast

import numpy as np

import fastbp
from fastbp import losses, optimizers
from fastbp.cli.job import PLAIN_SGD_RATE, Recipe, TrainJob
from fastbp.data.splits import guess_task, stratified_split
from fastbp.datasets import Split, Table
from fastbp.preprocessing.options import missing_texts
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.preprocessing.targets import check_numbers, check_repeated, learn_targets, target_array
from fastbp.tables.columns import Columns
from fastbp.tables.kinds import settle
from fastbp.tables.table import table_of
from fastbp.util.types import Array

_LISTED = ("softmax", "sigmoid", "identity")  # the order in messages
_SEVERAL_OUTPUTS = (losses.Quantile, losses.GaussianNLL)  # for each column of y


def _fitting(*targets: str) -> dict[str, str]:
    """The losses for such targets that take one output for each column, and the usual last activation of each."""
    found = [losses.get(name) for name in losses.NAMES]
    found = [loss for loss in found if loss.targets in targets and not isinstance(loss, _SEVERAL_OUTPUTS)]
    last = {loss.name: (loss.last_activations or ("identity",))[0] for loss in found}
    return dict(sorted(last.items(), key=lambda item: _LISTED.index(item[1])))


CLASS_LOSSES, REGRESSION_LOSSES = _fitting("classes", "probabilities", "signs"), _fitting("numbers")
MOST_ONE_HOT, RARE = 10, 3  # maximum number of one-hot categories; minimum frequency of a category


class TrainingData(NamedTuple):
    """Training and test rows, whose kinds of columns were settled together, and their targets."""

    train: Columns
    y_train: Array
    test: Columns
    y_test: Array
    scale: float | None = None

    @staticmethod
    def of(split: Split) -> TrainingData:
        """Rows that were split beforehand."""
        train, test = (table_of(X, split.columns) for X in (split.x_train, split.x_test))
        return TrainingData(train, split.y_train, test, split.y_test, split.scale)


def hold_out(table: Table, job: TrainJob) -> TrainingData:
    """A fifth of the rows as test set, after the kinds of columns are settled on all rows."""
    if table.y is None:
        choices = f", one of {', '.join(table.columns)}" if table.columns else ""
        raise ValueError(f"the data hold no target: pass y in a .npz file, or --target COLUMN for a .csv file{choices}")
    columns = table.features
    if job.task is None:
        check_numbers(table.y, columns.place)
        check_repeated(table.y)
    settled = settle(columns.as_floats(), _categorical(job, table.columns), missing_texts(job.missing))
    train, test = stratified_split(table.y, seed=job.seed, task=job.task)
    return TrainingData(settled.take(train), table.y[train], settled.take(test), table.y[test])


def _categorical(job: TrainJob, names: tuple[str, ...]) -> tuple[str | int, ...]:
    return tuple(int(name) if name.isdigit() and not names else name for name in job.categorical)


def learn(data: TrainingData, job: TrainJob) -> Preprocessor:
    """Fit the preprocessor to the training rows; the classes are those of all targets."""
    y, recipe = target_array(data.y_train), job.recipe
    classes = None
    if (job.task or guess_task(y)) == "classification" and y.dtype.kind != "f":
        classes = learn_targets(np.concatenate([y, target_array(data.y_test)]), "classification", None).classes
    preprocessor = Preprocessor(
        task=job.task,
        categorical=_categorical(job, data.train.names),
        encoding="auto",
        most_one_hot=MOST_ONE_HOT,
        min_frequency=RARE,
        scaling=data.scale or job.scaling,
        clip=recipe.clip,
        classes=classes,
        missing=job.missing,
    )
    return preprocessor.fit(data.train, data.y_train)


def soft_targets(y: Array, preprocessor: Preprocessor, recipe: Recipe) -> Array:
    """Class numbers in the form the loss takes: unchanged, or one column per class, (1 - s) one-hot + s / classes."""
    if not preprocessor.classes or losses.get(recipe.loss).targets == "classes":
        return y
    n_classes, s = len(preprocessor.classes), recipe.label_smoothing
    return ((1.0 - s) * np.eye(n_classes)[y] + s / n_classes).astype(np.float32)


def build(job: TrainJob, n_features: int, y: Array, preprocessor: Preprocessor) -> fastbp.Sequential:
    """The compiled model: embedded codes, hidden layers with one activation, and an output layer for the loss."""
    recipe = job.recipe
    loss = _loss(job, preprocessor)
    codes = preprocessor.cardinalities
    layers: list[fastbp.layers.Layer] = [fastbp.ColumnEmbedding(codes)] if codes else []
    for units in recipe.layers:
        if job.batch_norm:
            layers += [fastbp.Dense(units, use_bias=False), fastbp.BatchNorm(), fastbp.Activation(job.activation)]
        else:
            layers.append(fastbp.Dense(units, job.activation))
        if job.dropout:
            layers.append(fastbp.Dropout(job.dropout))
    last = (CLASS_LOSSES | REGRESSION_LOSSES)[loss]
    layers.append(fastbp.Dense(len(preprocessor.classes or ()) or y.shape[1], last))
    model = fastbp.Sequential(layers, input_size=n_features, seed=job.seed, compute=job.compute)
    steps = recipe.epochs * -(-len(y) // recipe.batch_size)
    model.compile(optimizer=_optimizer(job, recipe, steps), loss=loss)
    return model


def _loss(job: TrainJob, preprocessor: Preprocessor) -> str:
    if not preprocessor.classes and job.loss is None:
        return "mse"
    allowed, task = (CLASS_LOSSES, "classes") if preprocessor.classes else (REGRESSION_LOSSES, "a regression")
    if job.recipe.loss not in allowed:
        raise ValueError(f"--loss {job.recipe.loss} does not fit {task}: choose one of {', '.join(allowed)}")
    return job.recipe.loss


def _optimizer(job: TrainJob, recipe: Recipe, steps: int) -> optimizers.Optimizer:
    rate: Any = fastbp.CosineDecay(recipe.learning_rate, steps) if recipe.schedule == "cosine" else recipe.learning_rate
    if job.optimizer in PLAIN_SGD_RATE:
        momentum = 0.0 if job.optimizer == "sgd" else 0.9
        return fastbp.SGD(rate, momentum=momentum, nesterov=job.optimizer == "nesterov", weight_decay=job.weight_decay)
    chosen: Any = optimizers.get(job.optimizer)
    return cast(optimizers.Optimizer, dataclasses.replace(chosen, learning_rate=rate, weight_decay=job.weight_decay))


def dense_sizes(model: fastbp.Sequential) -> list[int]:
    """Widths of the Dense layers, preceded by the input width of the first."""
    assert model.input_size is not None
    first = model.layers[0]
    inputs = first.units_of(model.input_size) or 0 if isinstance(first, fastbp.ColumnEmbedding) else model.input_size
    return [inputs, *(layer.units for layer in model.layers if isinstance(layer, fastbp.Dense))]
