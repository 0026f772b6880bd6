"""Predictions and probabilities as files, or printed."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
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


def check_ending(output: str) -> None:
    """ValueError unless predictions can be written to such a file; ImportError for Parquet without pyarrow."""
    ending = Path(output).suffix.lower()
    if ending not in (".csv", ".tsv", ".parquet", ".npy", ".npz"):
        raise ValueError(f"cannot write {output}: the file extension must be .csv, .tsv, .parquet, .npy or .npz")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ImportError(
                'writing Parquet needs the package pyarrow: pip install "fastbp[parquet]", or write .csv'
            ) from error


def write_predictions(
    predictions: Array, output: str | None, shares: Array | None = None, classes: Sequence[Any] = ()
) -> None:
    """Print as CSV, or write a file by its ending; shares: the probabilities of the classes."""
    if output is None:
        sys.stdout.write(_as_csv(predictions, shares, classes))
        return
    ending = Path(output).suffix.lower()
    with atomic_write(output) as file:
        if ending == ".npy":
            np.save(file, predictions if shares is None else shares)
        elif ending == ".npz":
            more = {} if shares is None else {"probability": shares, "classes": np.array(classes)}
            np.savez_compressed(file, prediction=predictions, **more)  # type: ignore[arg-type]
        elif ending == ".parquet":
            _write_parquet(_columns(predictions, shares, classes), file)
        else:
            separator = "\t" if ending == ".tsv" else ","
            file.write(_as_csv(predictions, shares, classes, separator).encode())


def _columns(predictions: Array, shares: Array | None, classes: Sequence[Any]) -> list[tuple[str, Array]]:
    """Names and columns of predictions and probabilities."""
    table = predictions.reshape(len(predictions), -1)
    names = ["prediction"] if table.shape[1] == 1 else [f"prediction_{i}" for i in range(table.shape[1])]
    columns = list(zip(names, table.T, strict=True))
    if shares is not None:
        columns += [(f"probability_{label}", column) for label, column in zip(classes, shares.T, strict=True)]
    return columns


def _as_csv(predictions: Array, shares: Array | None, classes: Sequence[Any], separator: str = ",") -> str:
    columns = _columns(predictions, shares, classes)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(name for name, _ in columns)
    writer.writerows(zip(*(column.tolist() for _, column in columns), strict=True))
    return text.getvalue()


def _write_parquet(columns: Sequence[tuple[str, Array]], file: Any) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    arrays = [pa.array(column.tolist() if column.dtype.kind in "UO" else column) for _, column in columns]
    write_table(pa.table(arrays, names=[name for name, _ in columns]), file)
