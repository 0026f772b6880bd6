"""From a data set's own units to what a network is trained on, and back: scaling, class numbers, names of columns.

A `Preparation` is learnt from the training rows alone and travels with the saved model: predictions need nothing else.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.datasets import Array, Split

MAX_INTEGER_CLASSES = 100  # more distinct integers than this are taken for a quantity, not for classes
METADATA_KEY = "fastbp.preparation"
TASKS = ("classification", "regression")


class Preparation(NamedTuple):
    """What was learnt from the training rows: features become (x - shift) / scale, labels become class numbers.

    classes: the labels in the order of the outputs, or () for regression, where targets become (y - y_shift) / y_scale.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    columns: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()
    y_shift: tuple[float, ...] = ()
    y_scale: tuple[float, ...] = ()

    def features(self, X: Array, what: str = "X") -> NDArray[np.float32]:
        """X (n, features) scaled, float32; ValueError where it holds NaN, infinity or another number of features."""
        n = max(len(self.shift), len(self.scale))
        if n > 1 and X.shape[1] != n:
            raise ValueError(f"{what} must have the {n} features the model was trained on, got {X.shape[1]}")
        _check_finite(X, what, self.columns)
        if self.shift == (0.0,):
            divided: NDArray[np.float32] = np.divide(X, np.float32(self.scale[0]), dtype=np.float32)
            return divided
        return _scaled(X, self.shift, self.scale)

    def targets(self, y: Array, what: str = "y") -> Array:
        """Class numbers, int64 (n,), or scaled targets, float32 (n, outputs); ValueError for a label never seen."""
        if not self.classes:
            _check_finite(y, what)
            return _scaled(y.reshape(len(y), -1), self.y_shift, self.y_scale)
        known = np.array(self.classes)
        labels = np.ravel(y)
        place: Array = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        if (wrong := known[place] != labels).any():
            raise ValueError(f"{what} holds the class {labels[wrong][0]}, the model knows {_listed(self.classes)}")
        return place

    def answers(self, outputs: Array) -> Array:
        """The network's outputs (n, outputs) as labels (n,), or as targets (n, outputs) in their own units."""
        if self.classes:
            labels: Array = np.array(self.classes)[outputs.argmax(axis=1)]
            return labels
        answers: Array = outputs * np.array(self.y_scale) + np.array(self.y_shift)
        return answers

    def to_metadata(self) -> dict[str, str]:
        """Strings for the saved model's metadata; `from_metadata` restores them exactly."""
        return {METADATA_KEY: json.dumps(self._asdict())}

    @staticmethod
    def from_metadata(metadata: dict[str, str]) -> Preparation | None:
        """The preparation a model was saved with, or None; ValueError where its text is damaged."""
        text = metadata.get(METADATA_KEY)
        if text is None:
            return None
        try:
            return Preparation(**{name: tuple(value) for name, value in json.loads(text).items()})
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the model's metadata {METADATA_KEY!r} are damaged: {error}") from error


def learn(split: Split, task: str | None = None) -> Preparation:
    """Learn the preparation from the training rows; ``task`` None takes texts, booleans and few integers for classes.

    >>> split = Split(np.array([[1.0], [3.0]]), np.array(["no", "yes"]), np.array([[2.0]]), np.array(["yes"]))
    >>> learn(split).classes
    ('no', 'yes')
    """
    y = split.y_train[:, 0] if split.y_train.ndim == 2 and split.y_train.shape[1] == 1 else split.y_train
    shift, scale = (
        ((0.0,), (split.scale,)) if split.scale else _standard(split.x_train, "the training rows", split.columns)
    )
    if (task or guess_task(y)) == "regression":
        if y.dtype.kind not in "biuf":
            raise ValueError(
                f"regression needs a numeric target, got texts such as {y.flat[0]!r}: use --task classification"
            )
        y_shift, y_scale = _standard(y.reshape(len(y), -1), "the target")
        return Preparation(shift, scale, split.columns, (), y_shift, y_scale)
    classes = np.unique(np.concatenate([np.ravel(y), np.ravel(split.y_test)]))
    if len(classes) < 2:
        raise ValueError(f"the target holds one class only ({classes[0]}): classification needs two or more")
    return Preparation(shift, scale, split.columns, tuple(classes.tolist()))


def guess_task(y: Array) -> str:
    """ "classification" for texts, booleans and at most 100 distinct integers in one dimension, else "regression"."""
    if y.ndim != 1 or y.dtype.kind == "f":
        return "regression"
    if y.dtype.kind in "iu" and len(np.unique(y)) > MAX_INTEGER_CLASSES:
        return "regression"
    return "classification"


def _standard(X: Array, what: str, columns: tuple[str, ...] = ()) -> tuple[tuple[float, ...], tuple[float, ...]]:
    _check_finite(X, what, columns)
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-12 * np.abs(mean)  # rounding alone gives a constant column a tiny deviation
    return tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist())


def _check_finite(X: Array, what: str, columns: tuple[str, ...] = ()) -> None:
    if X.dtype.kind != "f" or (finite := np.isfinite(X)).all():
        return
    row, *rest = (int(i) for i in np.argwhere(~finite)[0])
    name = f", column {columns[rest[0]]!r}" if rest and columns else f", column {rest[0]}" if rest else ""
    count = int((~finite).sum())
    raise ValueError(
        f"{what} must be finite, got {count} values that are not (first: row {row}{name}): fill or drop them"
    )


def _scaled(X: Array, shift: tuple[float, ...], scale: tuple[float, ...]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = ((X - np.array(shift)) / np.array(scale)).astype(np.float32)
    return result


def _listed(labels: tuple[Any, ...]) -> str:
    shown = ", ".join(str(label) for label in labels[:12])
    return shown + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
