"""A model's preprocessing as source code that needs only NumPy.

Only this module knows the metadata of `fastbp train`, and only as JSON text: "fastbp.preparation" (means and
deviations) and "fastbp.preprocessor" (rules for the columns of a table).
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from pprint import pformat
from types import ModuleType
from typing import Any

from fastbp.exchange import numpy_tables
from fastbp.exchange.layer_weights import ExchangeError
from fastbp.tables import dates, values

SCALED, TABLE = "fastbp.preparation", "fastbp.preprocessor"
TABLE_VERSION = 1  # of the format of the rules

_SCALED = '''COLUMNS = {columns}
SHIFT = np.array({shift})
SCALE = np.array({scale})


def prepare(X):
    """The features (n, INPUTS) of X (n, INPUTS) in the data's own units."""
    return (np.asarray(X) - SHIFT) / SCALE
'''
_RAW = '''

def predict_raw(X):
    """{what} for rows in the data's own units."""
    outputs = predict(prepare(X))
    return {predictions}
'''


def source_of(metadata: Mapping[str, str]) -> str:
    """Constants and the functions prepare and predict_raw; empty if the metadata hold no preprocessing.

    Raises ExchangeError for metadata that are damaged or of a later version.
    """
    key = next((key for key in (TABLE, SCALED) if key in metadata), None)
    if key is None:
        return ""
    try:
        content = json.loads(metadata[key])
        return _of_table(content) if key == TABLE else _of_scaled(content)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ExchangeError):
            raise
        raise ExchangeError(
            f"the model's metadata {key!r} cannot be read: {error!r}; use another copy of its file, or delete the entry"
        ) from error


def _of_scaled(content: Mapping[str, Any]) -> str:
    shift, scale = (_text(tuple(map(float, content[name]))) for name in ("shift", "scale"))
    return _SCALED.format(columns=_text(tuple(content["columns"])), shift=shift, scale=scale) + _predictions(
        content["classes"], content["y_shift"], content["y_scale"], flat=False
    )


def _of_table(content: Mapping[str, Any]) -> str:
    if content["version"] != TABLE_VERSION:
        raise ExchangeError(
            f"the model's metadata {TABLE!r} have the version {content['version']!r}, but this fastbp knows "
            f"{TABLE_VERSION}: upgrade fastbp"
        )
    rules = tuple(map(_rule, content["columns"]))
    constants = f"RULES = {_text(rules)}\nCLIP, NAMED = {bool(content['options']['clip'])}, {bool(content['named'])}\n"
    more = ", ".join(repr(text.strip().lower()) for text in content["options"].get("missing", ()))
    constants += f"MORE_MISSING = frozenset([{more}])\n"
    functions = _source_of(values, dates, numpy_tables)
    targets = content["targets"]
    predictions = "" if targets is None else _predictions(
        targets["classes"], targets["shift"], targets["scale"], flat=bool(targets["flat"]),
        bounds=targets.get("bounds", ()),
    )  # fmt: skip
    return constants + functions + predictions


def _source_of(*modules: ModuleType) -> str:
    """The code of modules as that of one, without what they import from NumPy and each other."""
    imports, code = set(), []
    for module in modules:
        source = inspect.getsource(module)
        lines = source.splitlines()
        start = 0
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                start = node.end_lineno or 0
                name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                if name is not None and name.partition(".")[0] not in ("__future__", "fastbp", "numpy"):
                    imports.add("\n".join(lines[node.lineno - 1 : start]))
        code.append("\n".join(lines[start:]).strip("\n"))
    return "\n".join(sorted(imports)) + "\n\n" + "\n\n\n".join(code) + "\n"


def _rule(column: Sequence[Any]) -> tuple[Any, ...]:
    """A column's rule, with the shares of missing and rare values reduced to whether they are positive."""
    kind, name, *rest = column
    if kind == "number":
        fill, shift, scale, indicator, _, *texts = rest
        others = tuple(map(str.lower, texts[0])) if texts else ()
        return kind, name, float(fill), float(shift), float(scale), bool(indicator), others
    if kind == "ignored":
        return kind, name
    if kind == "date":
        fill, numbers, cycles, indicator, _, texts = rest
        parts = tuple((str(part), float(shift), float(scale)) for part, shift, scale in numbers)
        return kind, name, float(fill), parts, tuple(cycles), bool(indicator), tuple(map(str.lower, texts))
    if kind != "category":
        raise ValueError(f"a column is of the kind {kind!r}")
    categories, missing, others, coded, *scales = rest
    scaled = tuple((float(shift), float(scale)) for shift, scale in (scales[0] if scales else ()))
    return kind, name, tuple(map(str, categories)), missing > 0, others > 0, bool(coded), scaled


def _predictions(
    classes: Sequence[Any], shift: Sequence[float], scale: Sequence[float], *, flat: bool,
    bounds: Sequence[Sequence[float]] = (),
) -> str:  # fmt: skip
    """Source of predict_raw, which turns outputs into labels or quantities."""
    if classes:
        constants = f"\nCLASSES = np.array({_text(tuple(classes))})\n"
        chosen = "outputs.argmax(axis=1) if OUTPUTS > 1 else (outputs[:, 0] >= 0.5).astype(int)"
        return constants + _RAW.format(what="Labels (n,)", predictions=f"CLASSES[{chosen}]")
    offset, factor = (_text(tuple(map(float, numbers))) for numbers in (shift, scale))
    constants = f"\nY_SHIFT = np.array({offset})\nY_SCALE = np.array({factor})\n"
    predictions = "outputs * Y_SCALE + Y_SHIFT"
    if bounds:
        low, high = (_text(tuple(map(float, ends))) for ends in zip(*bounds, strict=True))
        constants += f"Y_LOW = np.array({low})\nY_HIGH = np.array({high})\n"
        predictions = "np.clip(outputs, Y_LOW, Y_HIGH) * Y_SCALE + Y_SHIFT"
    what = "Targets (n,)" if flat else f"Targets (n, {len(scale)})"
    return constants + _RAW.format(what=what, predictions=f"({predictions})[:, 0]" if flat else predictions)


def _text(values: tuple[object, ...]) -> str:
    return pformat(values, width=116, compact=True)
