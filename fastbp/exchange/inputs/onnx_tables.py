"""Nodes of an ONNX graph for raw rows: scaling before the network, labels or quantities after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.exchange.inputs.raw_tables import RawTable, Scaling
from fastbp.exchange.translation import OnnxGraph
from fastbp.util.types import Array


def scaled(graph: OnnxGraph, scaling: Scaling) -> str:
    """The network's input: raw rows scaled in float64, as by a Preprocessor, then rounded to the model's dtype."""
    graph.prefix = "preprocessing"
    fill, shift, scale = (_constant(graph, f"preprocessing.{n}", v) for n, v in scaling._asdict().items())
    present = graph.add("Where", graph.add("IsNaN", "input"), fill, "input")
    X = graph.add("Div", graph.add("Sub", present, shift), scale)
    return graph.add("Cast", X, to=graph.onnx.helper.np_dtype_to_tensor_dtype(graph.dtype))


def _constant(graph: OnnxGraph, name: str, values: Array) -> str:
    graph.initializers[name] = graph.onnx.numpy_helper.from_array(values, name)
    return name


def add_predictions(graph: OnnxGraph, proto: Any, table: RawTable) -> None:
    """Add a second output: "label" (batch,), or "prediction" (batch, outputs) in float64."""
    if not table.classes and not len(table.y_scale):
        return
    first = len(graph.nodes)
    shape: list[Any]
    known = set(graph.initializers)
    graph.prefix = "predictions"
    if table.classes:
        name, shape = "label", ["batch"]
        classes = np.array(table.classes)
        classes = classes.astype(object if classes.dtype.kind == "U" else np.int64)
        graph.add("Gather", _constant(graph, "classes", classes), _class_numbers(graph, table), axis=0)
        kind = graph.onnx.TensorProto.STRING if classes.dtype == object else graph.onnx.TensorProto.INT64
    else:
        name, shape, kind = "prediction", ["batch", len(table.y_scale)], graph.onnx.TensorProto.DOUBLE
        wide = graph.add("Cast", "output", to=kind)
        if len(table.y_bounds):
            wide = graph.add("Max", wide, _constant(graph, "target low", table.y_bounds[:, 0]))
            wide = graph.add("Min", wide, _constant(graph, "target high", table.y_bounds[:, 1]))
        product = graph.add("Mul", wide, _constant(graph, "target scale", table.y_scale))
        graph.add("Add", product, _constant(graph, "target shift", table.y_shift))
    graph.nodes[-1].output[0] = name
    proto.graph.node.extend(graph.nodes[first:])
    proto.graph.initializer.extend(v for k, v in graph.initializers.items() if k not in known)
    proto.graph.output.append(graph.onnx.helper.make_tensor_value_info(name, kind, shape))


def _class_numbers(graph: OnnxGraph, table: RawTable) -> str:
    """The largest output, or whether a single one is at least 1/2, as int64 (batch,)."""
    if table.one_output:
        above = graph.add("GreaterOrEqual", "output", graph.number(0.5))
        numbers = graph.add("Cast", above, to=graph.onnx.TensorProto.INT64)
        return graph.add("Squeeze", numbers, graph.axis())
    return graph.add("ArgMax", "output", axis=1, keepdims=0)
