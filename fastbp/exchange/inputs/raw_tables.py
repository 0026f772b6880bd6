"""The part of a model's preprocessing that other formats carry: scaled numbers, classes, units of the targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbp.exchange.layer_weights import Part, activation_of
from fastbp.layers import Dense
from fastbp.model.sequential import Sequential
from fastbp.preprocessing.column_rules import Numeric
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.types import Array


class Scaling(NamedTuple):
    """(x - shift) / scale, with fill in the place of a missing x; arrays (columns,) of float64."""

    fill: Array
    shift: Array
    scale: Array


class RawTable(NamedTuple):
    """What turns raw rows into a model's inputs, and its outputs into labels or quantities.

    scaling: None if there is more to do than to scale numbers, as for categories. classes: () for regression, whose
    quantities are outputs * y_scale + y_shift, (outputs,), of outputs within y_bounds, (outputs, 2), if there are any.
    """

    columns: tuple[str, ...]
    scaling: Scaling | None
    classes: tuple[Any, ...]
    y_shift: Array
    y_scale: Array
    y_bounds: Array
    one_output: bool  # of two classes


def raw_table(model: Sequential) -> RawTable | None:
    """From the Preprocessor in a model's metadata, if there is one."""
    preprocessor = Preprocessor.of(model)
    if preprocessor is None:
        return None
    targets, units = preprocessor.targets, (np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    if targets is not None and not targets.classes:
        units = np.array(targets.shift), np.array(targets.scale), np.reshape(targets.bounds, (-1, 2))
    one = model.output_size == 1
    return RawTable(preprocessor.columns, _scaling(preprocessor), preprocessor.classes or (), *units, one)


def _scaling(preprocessor: Preprocessor) -> Scaling | None:
    rules = [rule for rule in preprocessor.rules if isinstance(rule, Numeric) and not rule.indicator]
    if preprocessor.clip or len(rules) < len(preprocessor.rules):
        return None
    return Scaling(*(np.array([getattr(rule, name) for rule in rules], np.float64) for name in Scaling._fields))


def in_units(parts: list[Part], table: RawTable) -> list[Part]:
    """The parts of a regression with the units of the targets merged into the last Dense, if that is linear; without
    the bounds that its outputs may have, which no layer keeps."""
    *below, last = parts
    linear = isinstance(last.layer, Dense) and activation_of(last).name == "identity"
    if not linear or last.units != len(table.y_scale):
        return parts
    kernel = last.weights["kernel"]
    bias = last.weights.get("bias", np.zeros(last.units, kernel.dtype))
    weights = {"kernel": kernel * table.y_scale, "bias": bias * table.y_scale + table.y_shift}
    merged = {name: values.astype(kernel.dtype) for name, values in weights.items()}
    return [*below, last._replace(layer=Dense(last.units), weights=merged)]
