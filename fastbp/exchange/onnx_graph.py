"""Export to ONNX; needs onnx (extra `onnx`)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from fastbp.exchange.inputs import onnx_tables
from fastbp.exchange.inputs.raw_tables import raw_table
from fastbp.exchange.layer_weights import need, parts_of
from fastbp.exchange.layers import LAYERS
from fastbp.exchange.translation import OnnxGraph
from fastbp.model.sequential import Sequential
from fastbp.util.atomic_write import atomic_write

OPSET: Final = 18  # the first with Mish and everything else used here; Gelu (20) is composed
IR_VERSION: Final = 8  # of the first release with this opset, for older runtimes
LARGEST = (1 << 31) - (1 << 20)  # maximum bytes of a protobuf message, minus room for the graph


def to_onnx(model: Sequential, path: str | os.PathLike[str] | None = None, *, raw: bool = False) -> Any:
    """Convert the model to an ONNX graph for inference, opset 18.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.
    path : str or path-like, optional
        File to write. It is validated by onnx.checker before it replaces an existing one. Weights of 2 GB or more,
        which a single file cannot hold, go into a second file, path + ".data".
    raw : bool, default False
        For a model with a `fastbp.Preprocessor` in its metadata: whether the graph takes raw rows and returns, beside
        "output", the "label" of a classification, one of the classes, or the "prediction" of a regression in its own
        units. Rows are float64, (batch, columns), with NaN for missing values. If there is more to do than to scale
        numbers, as for categories, the graph takes what `Preprocessor.transform` returns.

    Returns
    -------
    onnx.ModelProto
        Input "input" ("batch", features) and output "output" ("batch", outputs), both of the model's dtype, for any
        number of rows. Weights are named by layer, such as "0.kernel". Dropout and GaussianNoise, which do nothing in
        inference, are omitted. The metadata are the model's, and the version of fastbp.

    Raises
    ------
    ExchangeError
        For a CustomActivation and for layers without an ONNX translation.
    ValueError
        If the input size is not known yet.
    ImportError
        If onnx is missing; with the command that installs it.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> graph = to_onnx(Sequential([Dense(3, "relu"), Dense(2, "softmax")], input_size=4)).graph
    >>> [node.op_type for node in graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Softmax']
    """
    onnx = need("onnx", "onnx")
    from fastbp.util.version import __version__

    parts = parts_of(model, "to_onnx")
    graph = OnnxGraph(onnx, model.dtype, LAYERS)
    table = raw_table(model) if raw else None
    scaling = None if table is None else table.scaling
    output = graph.layers(parts, "input" if scaling is None else onnx_tables.scaled(graph, scaling))
    proto = _model(graph, output, parts[0].inputs if scaling is None else len(scaling.scale), parts[-1].units)
    if scaling is not None:
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    if table is not None:
        onnx_tables.add_predictions(graph, proto, table)
    proto.producer_name, proto.producer_version = "fastbp", __version__
    onnx.helper.set_model_props(proto, {"fastbp.version": __version__} | model.metadata)
    if path is None:
        onnx.checker.check_model(proto, full_check=True)
    else:
        _write(onnx, proto, Path(os.fsdecode(path)))
    return proto


def _write(onnx: Any, proto: Any, path: Path) -> None:
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < LARGEST:
        onnx.checker.check_model(proto, full_check=True)
        with atomic_write(path) as file:
            file.write(proto.SerializeToString())
        return
    separate = onnx.ModelProto()
    separate.CopyFrom(proto)
    names = f"{path.name}.data", path.name
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        new = Path(folder, path.name)
        onnx.save_model(separate, new, save_as_external_data=True, location=names[0], size_threshold=0)
        onnx.checker.check_model(str(new), full_check=True)
        for name in names:
            with Path(folder, name).open("rb") as source, atomic_write(path.with_name(name)) as file:
                shutil.copyfileobj(source, file, 1 << 20)


def _model(graph: OnnxGraph, output: str, inputs: int, outputs: int) -> Any:
    helper = graph.onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    assert graph.nodes[-1].output[0] == output  # the last node is the output
    graph.nodes[-1].output[0] = "output"
    made = helper.make_graph(
        graph.nodes, "fastbp", [helper.make_tensor_value_info("input", kind, ["batch", inputs])],
        [helper.make_tensor_value_info("output", kind, ["batch", outputs])], list(graph.initializers.values()),
    )  # fmt: skip
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION)
