"""Predictions and probabilities as files, or printed."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.layers import Activation, Dense
from fastbp.model.sequential import Sequential
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.atomic_write import atomic_write
from fastbp.util.types import Array


def check_probabilities(model: Sequential, preprocessor: Preprocessor | None) -> None:
    """ValueError unless the outputs of a model are the probabilities of known classes."""
    if preprocessor is None or not preprocessor.classes:
        raise ValueError("--proba needs a classification trained by fastbp train: leave it out for other models")
    layer = model.layers[-1]
    name = activations.get(layer.activation).name if isinstance(layer, Dense | Activation) else type(layer).__name__
    if name not in ("softmax", "sigmoid"):
        raise ValueError(f"--proba needs a model that ends in softmax or sigmoid, got {name}: leave it out")


def probabilities(outputs: Array) -> Array:
    """(rows, classes); a single output is the probability of the second of two classes."""
    return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs


def write_predictions(
    predictions: Array, output: str | None, shares: Array | None = None, classes: Sequence[Any] = ()
) -> None:
    """Print as CSV, or write a .csv, .npy or .npz file; shares: the probabilities of the classes."""
    if output is None:
        sys.stdout.write(_as_csv(predictions, shares, classes))
        return
    with atomic_write(output) as file:
        if output.endswith(".npy"):
            np.save(file, predictions if shares is None else shares)
        elif output.endswith(".npz"):
            more = {} if shares is None else {"probability": shares, "classes": np.array(classes)}
            np.savez_compressed(file, prediction=predictions, **more)  # type: ignore[arg-type]
        else:
            file.write(_as_csv(predictions, shares, classes).encode())


def _as_csv(predictions: Array, shares: Array | None, classes: Sequence[Any]) -> str:
    rows = predictions.reshape(len(predictions), -1)
    names = ["prediction"] if rows.shape[1] == 1 else [f"prediction_{i}" for i in range(rows.shape[1])]
    names += [f"probability_{label}" for label in classes]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    more = shares.tolist() if shares is not None else [[]] * len(rows)
    writer.writerows([*row, *beside] for row, beside in zip(rows.tolist(), more, strict=True))
    return text.getvalue()
