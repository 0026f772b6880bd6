"""The preparation in a model's metadata as source text for a module of NumPy alone: the one place that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pprint import pformat

from fastbp.preparation import Preparation

TEMPLATE = '''
COLUMNS = {columns}
SHIFT = np.array({shift})
SCALE = np.array({scale})
{constants}

def predict_raw(X):
    """{what} for X (n, {inputs}), both in the units of the data that the network was trained on."""
    outputs = predict((np.asarray(X) - SHIFT) / SCALE)
    return {answers}
'''


def source_of(metadata: Mapping[str, str], inputs: int) -> str:
    """Constants and a function predict_raw, which calls predict; empty where the metadata hold no preparation."""
    preparation = Preparation.from_metadata(dict(metadata))
    if preparation is None:
        return ""
    if preparation.classes:
        what, answers = "Labels (n,)", "CLASSES[outputs.argmax(axis=1)]"
        constants = f"CLASSES = np.array({_text(preparation.classes)})\n"
    else:
        what, answers = f"Targets (n, {len(preparation.y_scale)})", "outputs * Y_SCALE + Y_SHIFT"
        constants = (
            f"Y_SHIFT = np.array({_text(preparation.y_shift)})\nY_SCALE = np.array({_text(preparation.y_scale)})\n"
        )
    return TEMPLATE.format(
        columns=_text(preparation.columns), shift=_text(preparation.shift), scale=_text(preparation.scale),
        constants=constants, what=what, inputs=inputs, answers=answers,
    )  # fmt: skip


def _text(values: tuple[object, ...]) -> str:
    return pformat(values, width=116, compact=True)
