"""Implementation of `fastbp export`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastbp
from fastbp.cli.output_path import check_output, stem
from fastbp.exchange.inputs.raw_tables import in_units, raw_table
from fastbp.exchange.keras_models import to_keras
from fastbp.exchange.layer_weights import need, parts_of
from fastbp.exchange.numpy_module import to_numpy
from fastbp.exchange.onnx_graph import to_onnx
from fastbp.exchange.sklearn_mlp import to_sklearn
from fastbp.exchange.torch_modules import state_dict
from fastbp.model.sequential import Sequential
from fastbp.util.atomic_write import atomic_write
from fastbp.util.files import shortened

EXAMPLES = """formats, each of which needs the package of that name:
  numpy    NAME.py: a module that needs only NumPy, with predict(X)
  onnx     NAME.onnx: for onnxruntime and other runtimes
  torch    NAME.pt: a state_dict, for torch.load
  keras    NAME.keras: for keras.models.load_model
  sklearn  NAME.joblib: a fitted MLPClassifier or MLPRegressor, for joblib.load

examples:
  fastbp export digits.safetensors --to numpy
  fastbp export digits.safetensors --to onnx --output served/digits.onnx"""


class Format(NamedTuple):
    """The file extension of a format, and the function that writes a model to it."""

    ending: str
    write: Callable[[Sequential, Path], Any]


def export(model: str, to: str, output: str | None) -> int:
    """Run `fastbp export`: load the model, write it, print where; returns the exit code."""
    ending, write = FORMATS[to]
    path = _default(model, ending) if output is None else Path(output)
    if path.suffix != ending:
        raise ValueError(f"--output must end in {ending} for --to {to}, got {path.name!r}: rename it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {os.fspath(path.parent)!r} to write {path.name} to: create it first")
    check_output(path, [model])
    loaded = fastbp.load(model)
    write(loaded, path)
    print(f"wrote {path}" + (f", {path.stat().st_size:,} bytes" if path.is_file() else ""))
    if left := _left_to_do(loaded, model, to):
        print(left)
    return 0


def _default(model: str, ending: str) -> Path:
    """MODEL's name with the format's extension; a module's name has no dots, or it could not be imported."""
    name = stem(model)
    path = Path((name.replace(".", "_") if ending == ".py" else name) + ending)
    if path.exists():
        raise FileExistsError(f"{path} exists already: write --output {path} to replace it, or choose another name")
    return path


def _left_to_do(model: Sequential, name: str, to: str) -> str:
    """One line on the preprocessing and the classes that the format does not carry; empty if it carries all."""
    table = raw_table(model)
    if table is None or to == "numpy":
        return ""
    todo = []
    carries = {"onnx": "raw rows of float64", "sklearn": "raw rows", "keras": "raw rows without missing values"}
    if to == "torch" or table.scaling is None:
        prepared = f"fastbp.Preprocessor.of(fastbp.load({name!r})).transform(rows)"
        todo.append(f"first prepare (scale and encode) rows by {prepared}")
    else:
        shown = f", with the columns {', '.join(table.columns)} in this order" if table.columns else ""
        todo.append(f"takes {carries[to]}{shown}")
    if table.classes and to in ("torch", "keras"):
        todo.append(f"outputs are of the classes {', '.join(map(str, table.classes))} in this order")
    parts = list(parts_of(model, "export"))
    if len(table.y_scale) and (to == "torch" or (to != "onnx" and in_units(parts, table) is parts)):
        todo.append(f"outputs are scaled: prediction = output * {table.y_scale.tolist()} + {table.y_shift.tolist()}")
    return shortened("; ".join(todo))


def _write_onnx(model: Sequential, path: Path) -> None:
    to_onnx(model, path, raw=True)


def _write_torch(model: Sequential, path: Path) -> None:
    torch, state = need("torch", "torch"), state_dict(model)
    with atomic_write(path) as file:
        torch.save(state, file)


def _write_keras(model: Sequential, path: Path) -> None:
    theirs = to_keras(model, raw=True)
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as file:
        whole = Path(folder) / "model.keras"  # Keras takes no open file
        theirs.save(whole)
        with whole.open("rb") as source:
            shutil.copyfileobj(source, file)


def _write_sklearn(model: Sequential, path: Path) -> None:
    mlp = to_sklearn(model, raw=True)
    with atomic_write(path) as file:
        need("joblib", "sklearn").dump(mlp, file)


FORMATS = {
    "numpy": Format(".py", to_numpy),
    "onnx": Format(".onnx", _write_onnx),
    "torch": Format(".pt", _write_torch),
    "keras": Format(".keras", _write_keras),
    "sklearn": Format(".joblib", _write_sklearn),
}
