"""Training targets: class names to numbers, quantities to standardized numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.data.splits import MAX_INTEGER_CLASSES, distinct_in, guess_task
from fastbp.tables.columns import FEW
from fastbp.tables.kinds import FEWEST_IDS
from fastbp.tables.values import ABSENT, OTHER, Coded, Numbers, as_text, is_missing, numbers_in, places_in
from fastbp.util.types import Array

TASKS = ("classification", "regression")


class Targets(NamedTuple):
    """classes: labels in the order of the outputs, or () for quantities, which become (y - shift) / scale.

    flat: quantities were one-dimensional, and are returned so. bounds: (lowest, highest) scaled quantities of each
    target, between which outputs are kept; () for none.
    """

    classes: tuple[Any, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    flat: bool
    bounds: tuple[tuple[float, float], ...] = ()

    def transform(self, y: Any) -> Array:
        """Class numbers (rows,), int64, or scaled quantities (rows, targets), float32."""
        values = target_array(y)
        if self.classes:
            return self._numbers(values)
        values = _as_quantities(values)
        columns = values.reshape(len(values), -1)
        if columns.shape[1] != len(self.shift):
            raise ValueError(f"y must have {len(self.shift)} targets per row, got {columns.shape[1]}: pass all of them")
        _check_quantities(columns)
        scaled: Array = ((columns - np.array(self.shift)) / np.array(self.scale)).astype(np.float32)
        return scaled

    def _numbers(self, values: Array) -> Array:
        distinct, places = _distinct(values)
        labels = np.empty(len(distinct), object)
        labels[:] = distinct
        numbers = places_in(labels, [str(label) for label in self.classes], ())
        for number, label in zip(numbers, distinct, strict=True):
            if number in (OTHER, ABSENT):
                shown = ", ".join(map(str, self.classes[:12]))
                more = f" and {len(self.classes) - 12} more" if len(self.classes) > 12 else ""
                row = int((places == distinct.index(label)).argmax())
                raise ValueError(
                    f"y must hold classes of the training data, {shown}{more}, got {label!r} at row {row}: drop the "
                    "row, or fit again with it"
                )
        found: Array = numbers.astype(np.int64)[places]
        return found

    def inverse(self, outputs: Array) -> Array:
        """Labels (rows,), or quantities in their original units."""
        wanted = len(self.classes) or len(self.shift)
        allowed = (1, 2) if len(self.classes) == 2 else (wanted,)
        if outputs.ndim != 2 or outputs.shape[1] not in allowed:
            raise ValueError(
                f"outputs must have shape (rows, {wanted}), got {outputs.shape}: pass the result of predict"
            )
        if self.classes:
            chosen = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)
            labels: Array = np.array(self.classes)[chosen]
            return labels
        if self.bounds:
            outputs = np.clip(outputs, *np.array(self.bounds).T)
        quantities: Array = outputs * np.array(self.scale) + np.array(self.shift)
        return quantities[:, 0] if self.flat else quantities

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        bounds = {"bounds": self.bounds} if self.bounds else {}
        return {"classes": self.classes, "shift": self.shift, "scale": self.scale, "flat": self.flat, **bounds}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Targets:
        """The inverse of `to_json`; ValueError for an invalid value."""
        shift, scale = (tuple(map(float, value[name])) for name in ("shift", "scale"))
        bounds = tuple((float(low), float(high)) for low, high in value.get("bounds", ()))
        classes = tuple(value["classes"])
        fits = len(classes) >= 2 if classes else 0 < len(shift) == len(scale)
        if not fits or not all(map(math.isfinite, shift + scale)) or 0.0 in scale:
            raise ValueError("its targets have neither classes nor a scale")
        if not all(isinstance(label, str | int | float) for label in classes):
            raise TypeError("its classes are neither strings nor numbers")
        if bounds and (len(bounds) != len(shift) or not all(low <= high for low, high in bounds)):
            raise ValueError("its targets have no bounds in order")
        return Targets(classes, shift, scale, bool(value["flat"]), bounds)


def learn_targets(y: Any, task: str | None, classes: tuple[Any, ...] | None, clamp: bool = False) -> Targets:
    """Classes, or location and scale, of training targets; task None infers the task.

    clamp: whether quantities have bounds, the lowest and the highest ones.
    """
    values = target_array(y)
    if task is None and not classes:
        check_numbers(values)
    if (task or ("classification" if classes else guess_task(values))) == "regression":
        values = _as_quantities(values)
        if values.dtype.kind not in "biuf":
            other = _numbers_among(values).others[0]
            raise ValueError(
                f"regression needs a numeric target, got strings such as {other!r}: use task='classification' "
                "(--task classification), or leave out the rows without a number"
            )
        columns = values.reshape(len(values), -1)
        _check_quantities(columns)
        mean, deviation = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
        scale = np.where(deviation <= 1e-12 * np.abs(mean), 1.0, deviation)  # constant up to rounding
        ends = (np.stack([columns.min(axis=0), columns.max(axis=0)], axis=1) - mean[:, None]) / scale[:, None]
        bounds = tuple((low, high) for low, high in ends.tolist()) if clamp else ()
        return Targets((), tuple(mean.tolist()), tuple(scale.tolist()), values.ndim == 1, bounds)
    distinct = _distinct(values)[0]
    known = _spelled(distinct) if classes is None else classes
    if len(known) < 2:
        raise ValueError(f"y has only one class ({known[0]}): classification needs two or more")
    targets = Targets(known, (), (), True)
    targets.transform(values)  # checks that all are among the given classes
    return targets


def target_array(y: Any) -> Array:
    """y as numbers, booleans or strings in one dimension, or numbers in two; a single column becomes one dimension."""
    values: Array = np.asarray(y)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"y must have shape (rows,) or (rows, targets), got {values.shape}: reshape it")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "O":
        values = of_objects(values)
    if values.dtype.kind in "UT":
        labels, places = distinct_in(values.reshape(-1))
        stripped = np.array([text.strip() for text in labels.tolist()])
        if (gaps := np.array(list(map(is_missing, stripped.tolist())))).any():
            row = int(gaps[places].argmax())
            raise ValueError(f"y must have a class for each row, but row {row} has none: drop the row")
        values = stripped[places].reshape(values.shape)
    if values.dtype.kind not in "biufUT":
        raise TypeError(f"y must hold numbers, strings or booleans, got {values.dtype}: convert it")
    return values


def of_objects(values: Array) -> Array:
    """Objects of one type as an array."""
    flat = values.reshape(-1).tolist()
    gaps = [row for row, value in enumerate(flat) if not isinstance(value, str) and is_missing(value)]
    if gaps:
        raise ValueError(f"y must have a target for each row, but row {gaps[0]} has none: drop the row")
    kinds = {bool if isinstance(v, bool | np.bool_) else str if isinstance(v, str) else float for v in flat}
    if len(kinds) > 1:
        raise TypeError(f"y must hold values of one type, got {flat[0]!r} among others: convert them to strings")
    try:
        return np.array(flat).reshape(values.shape)
    except (ValueError, TypeError) as error:
        raise TypeError(f"y must hold numbers, strings or booleans (NumPy says: {error})") from error


def _distinct(values: Array) -> tuple[list[Any], Array]:
    """The distinct labels as Python values, and the index of each row's label."""
    if values.ndim != 1:
        raise ValueError(f"y must hold one class per row, got shape {values.shape}: pass labels, not rows of 0 and 1")
    if values.dtype.kind == "f":
        if not (np.isfinite(values) & (np.floor(values) == values)).all():
            row = int((~(np.isfinite(values) & (np.floor(values) == values))).argmax())
            raise ValueError(
                f"y must hold integers or strings as classes, got {values[row]} at row {row}: use "
                "task='regression' (--task regression) for quantities"
            )
        values = values.astype(np.int64)
    distinct, places = distinct_in(values)
    return distinct.tolist(), places


def _spelled(labels: list[Any]) -> tuple[Any, ...]:
    """The classes; where one has several spellings, such as 1 and 1.0, or TRUE and true, the one of `as_text`."""
    if not all(isinstance(label, str) for label in labels):
        return tuple(labels)
    spellings: dict[str | None, list[str]] = {}
    for label in labels:
        spellings.setdefault(as_text(label, ()), []).append(label)
    return tuple(sorted(found[0] if len(found) == 1 else str(text) for text, found in spellings.items()))


def check_numbers(y: Array, place: Callable[[int], str] = "row {}".format) -> None:
    """ValueError for a few strings among quantities, which would make a class of every number."""
    if y.ndim != 1 or y.dtype.kind not in "UTO":
        return
    numbers, rows, others = _numbers_among(y)
    known = numbers[~np.isnan(numbers)]
    quantities = len(np.unique(known)) > MAX_INTEGER_CLASSES or (known != np.floor(known)).any()
    if quantities and 0 < len(rows) < FEW * len(y):
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise ValueError(
            f"y holds numbers, but got {str(others[0])!r:.60} at {place(int(rows[0]))}{more}: correct it, leave the "
            "row out, name what stands for a missing value (--missing), or use task='classification' (--task "
            "classification)"
        )


def check_repeated(y: Array) -> None:
    """ValueError if every row has a string of its own: those are names of the rows, and no class can be learned."""
    if y.ndim == 1 and y.dtype.kind in "UT" and FEWEST_IDS <= len(y) == len(distinct_in(y)[0]):
        raise ValueError(
            f"y has a different string in each of its {len(y):,} rows, such as {str(y[0])[:60]!r}: choose another "
            "column as the target (--target), or state the task (--task)"
        )


def _numbers_among(values: Array) -> Numbers:
    """Targets, row by row, as numbers."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "O":
        return numbers_in(flat)
    labels, places = distinct_in(flat)
    return numbers_in(Coded(places, labels.tolist()))


def _as_quantities(values: Array) -> Array:
    """Strings that are all numbers as numbers; anything else unchanged."""
    if values.dtype.kind not in "UT":
        return values
    numbers, others, _ = _numbers_among(values)
    return values if len(others) else np.asarray(numbers).reshape(values.shape)


def _check_quantities(columns: Array) -> None:
    if columns.dtype.kind not in "biuf":
        raise ValueError(f"y must hold numbers, got {str(columns.flat[0])!r}: pass the quantity of the training data")
    if columns.dtype.kind == "f" and not (finite := np.isfinite(columns)).all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"y must be finite, got {columns[row, column]} at row {row}: drop or correct it")
