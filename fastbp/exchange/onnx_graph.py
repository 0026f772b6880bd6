"""Export to ONNX; needs onnx (extra `onnx`)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastbp.exchange.layer_weights import Part, activation, activation_of, need, parts_of, translation
from fastbp.layers import Activation, BatchNorm, ColumnEmbedding, Dense, Dropout, GaussianNoise, LayerNorm, Residual
from fastbp.model.sequential import Sequential
from fastbp.spec import SELU_ALPHA, SELU_SCALE
from fastbp.util.atomic_write import atomic_write
from fastbp.util.types import Array

OPSET: Final = 18  # the first with Mish and everything else used here; Gelu (20) is composed
IR_VERSION: Final = 8  # of the first release with this opset, for older runtimes
LARGEST = (1 << 31) - (1 << 20)  # maximum bytes of a protobuf message, minus room for the graph


def to_onnx(model: Sequential, path: str | os.PathLike[str] | None = None) -> Any:
    """Convert the model to an ONNX graph for inference, opset 18.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.
    path : str or path-like, optional
        File to write. It is validated by onnx.checker before it replaces an existing one. Weights of 2 GB or more,
        which a single file cannot hold, go into a second file, path + ".data".

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
    graph = Graph(onnx, model.dtype)
    output = graph.layers(parts, "input")
    proto = graph.model(output, parts[0].inputs, parts[-1].units)
    proto.producer_name, proto.producer_version = "fastbp", __version__
    onnx.helper.set_model_props(proto, {"fastbp.version": __version__} | model.metadata)
    if path is None:
        onnx.checker.check_model(proto, full_check=True)
    else:
        _write(onnx, proto, Path(os.fsdecode(path)))
    return proto


def _write(onnx: Any, proto: Any, path: Path) -> None:
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < LARGEST:
        with atomic_write(path) as temporary:
            onnx.checker.check_model(proto, full_check=True)
            temporary.write_bytes(proto.SerializeToString())
        return
    separate = onnx.ModelProto()
    separate.CopyFrom(proto)
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)  # onnx would append to an existing file
    onnx.save_model(separate, path, save_as_external_data=True, location=data.name, size_threshold=0)
    onnx.checker.check_model(str(path), full_check=True)


class Graph:
    """Builds nodes and weights; x is the name of a tensor (batch, width)."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]):
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.prefix = ""

    def layers(self, parts: tuple[Part, ...], x: str) -> str:
        """Apply layers to x."""
        for part in parts:
            translate = translation(LAYERS, part, "ONNX")
            self.prefix = part.name
            x = translate(self, part, x)
        return x

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = f"{self.prefix}.{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, values: Array) -> str:
        """Add an initializer."""
        self.weights[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values, self.dtype), name)
        return name

    def number(self, value: float) -> str:
        """Add a scalar constant."""
        return self.weight(f"constant {value!r}", np.array(value))

    def axis(self) -> str:
        """The feature axis."""
        return self.indices("features", [1])

    def indices(self, name: str, values: int | list[int]) -> str:
        """Add integers: axes or columns."""
        self.weights[name] = self.onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def model(self, output: str, inputs: int, outputs: int) -> Any:
        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        assert self.nodes[-1].output[0] == output  # the last node is the output
        self.nodes[-1].output[0] = "output"
        graph = helper.make_graph(
            self.nodes, "fastbp", [helper.make_tensor_value_info("input", kind, ["batch", inputs])],
            [helper.make_tensor_value_info("output", kind, ["batch", outputs])], list(self.weights.values()),
        )  # fmt: skip
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


# ---------------------------------------------------------------- layers


def _weights(graph: Graph, part: Part) -> list[str]:
    return [graph.weight(f"{part.name}.{name}", values) for name, values in part.weights.items()]


def _dense(graph: Graph, part: Part, x: str) -> str:
    weights = _weights(graph, part)
    return _activation(graph, part, graph.add("Gemm" if len(weights) == 2 else "MatMul", x, *weights))


def _activation(graph: Graph, part: Part, x: str) -> str:
    table = ACTIVATIONS if graph.dtype == np.float32 else ACTIVATIONS | IN_FLOAT64
    return activation(table, part, "ONNX")(graph, x, activation_of(part).alpha)


def _batch_norm(graph: Graph, part: Part, x: str) -> str:
    assert isinstance(part.layer, BatchNorm)
    epsilon = part.layer.epsilon
    if graph.dtype == np.float64:  # an attribute is a float32: 1e-5 would be off by 3e-13
        part = part._replace(weights=part.weights | {"moving_variance": part.weights["moving_variance"] + epsilon})
        epsilon = 0.0
    return graph.add("BatchNormalization", x, *_weights(graph, part), epsilon=epsilon)


def _layer_norm(graph: Graph, part: Part, x: str) -> str:
    assert isinstance(part.layer, LayerNorm)
    if graph.dtype == np.float32:
        return graph.add("LayerNormalization", x, *_weights(graph, part), axis=-1, epsilon=part.layer.epsilon)
    gamma, beta = _weights(graph, part)  # the operator's epsilon is a float32, and its means may be
    axis = graph.axis()
    d = graph.add("Sub", x, graph.add("ReduceMean", x, axis))
    variance = graph.add("ReduceMean", graph.add("Mul", d, d), axis)
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.number(part.layer.epsilon)))
    return graph.add("Add", graph.add("Mul", graph.add("Div", d, deviation), gamma), beta)


def _residual(graph: Graph, part: Part, x: str) -> str:
    above = graph.layers(part.within, x)
    graph.prefix = part.name
    below = graph.add("MatMul", x, *_weights(graph, part)) if part.weights else x
    return graph.add("Add", below, above)


def _embedding(graph: Graph, part: Part, x: str) -> str:
    """The columns without codes, then the embedding of each code."""
    assert isinstance(part.layer, ColumnEmbedding)
    columns = part.layer.columns
    passing = [column for column in range(part.inputs) if column not in columns]
    found = [graph.add("Gather", x, graph.indices(f"{part.name}.passing", passing), axis=1)] if passing else []
    for column, table in zip(columns, _weights(graph, part), strict=True):
        codes = graph.add("Gather", x, graph.indices(f"column {column}", column), axis=1)
        found.append(graph.add("Gather", table, graph.add("Cast", codes, to=graph.onnx.TensorProto.INT64), axis=0))
    return graph.add("Concat", *found, axis=1)


def _nothing(graph: Graph, part: Part, x: str) -> str:
    return x


LAYERS: dict[type, Callable[[Graph, Part, str], str]] = {
    Dense: _dense,
    Activation: _activation,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    Dropout: _nothing,
    GaussianNoise: _nothing,
    Residual: _residual,
    ColumnEmbedding: _embedding,
}


# ---------------------------------------------------------------- activations


def _gelu(g: Graph, z: str, _: float) -> str:
    """z / 2 (1 + erf(z / sqrt 2)), the pattern that runtimes recognise."""
    erf = g.add("Erf", g.add("Mul", z, g.number(math.sqrt(0.5))))
    return g.add("Mul", g.add("Mul", z, g.number(0.5)), g.add("Add", erf, g.number(1.0)))


def _gelu_tanh(g: Graph, z: str, _: float) -> str:
    """z sigmoid(2 u), 2 u = sqrt(8 / pi) z (1 + 0.044715 z^2)."""
    cubic = g.add("Add", g.add("Mul", g.add("Mul", z, z), g.number(0.044715)), g.number(1.0))
    return g.add("Mul", z, g.add("Sigmoid", g.add("Mul", g.add("Mul", z, g.number(math.sqrt(8 / math.pi))), cubic)))


Rule = Callable[[Graph, str, float], str]
ACTIVATIONS: dict[str, Rule] = {
    "identity": lambda g, z, _: z,
    "sigmoid": lambda g, z, _: g.add("Sigmoid", z),
    "tanh": lambda g, z, _: g.add("Tanh", z),
    "relu": lambda g, z, _: g.add("Relu", z),
    "leaky_relu": lambda g, z, alpha: g.add("LeakyRelu", z, alpha=alpha),
    "elu": lambda g, z, alpha: g.add("Elu", z, alpha=alpha),
    "selu": lambda g, z, _: g.add("Selu", z),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, z, _: g.add("Mul", z, g.add("Sigmoid", z)),
    "mish": lambda g, z, _: g.add("Mish", z),
    "softplus": lambda g, z, _: g.add("Softplus", z),
    "softmax": lambda g, z, _: g.add("Softmax", z, axis=-1),
}


# ONNX defines these in float64, but onnxruntime does not implement them: they are composed of what it has.
def _leaky_relu_64(g: Graph, z: str, alpha: float) -> str:
    """max(z, 0) + alpha min(z, 0)."""
    zero = g.number(0.0)
    return g.add("Add", g.add("Max", z, zero), g.add("Mul", g.add("Min", z, zero), g.number(alpha)))


def _expm1(g: Graph, z: str) -> str:
    """exp(z) - 1 = (u - 1) z / log(u), u = exp(z), and z where u is 1: the errors of u cancel. For -700 < z <= 0.

    Higham 2002, section 1.14.1 (the idea is Kahan's).
    """
    u, one = g.add("Exp", z), g.number(1.0)
    is_one = g.add("Equal", u, one)
    log = g.add("Where", is_one, one, g.add("Log", u))
    return g.add("Where", is_one, z, g.add("Div", g.add("Mul", g.add("Sub", u, one), z), log))


def _elu_64(g: Graph, z: str, alpha: float) -> str:
    """max(z, 0) + alpha (exp(min(z, 0)) - 1)."""
    negative = g.add("Max", g.add("Min", z, g.number(0.0)), g.number(-100.0))  # where it is -1 already
    return g.add("Add", g.add("Max", z, g.number(0.0)), g.add("Mul", _expm1(g, negative), g.number(alpha)))


def _selu_64(g: Graph, z: str, _: float) -> str:
    return g.add("Mul", _elu_64(g, z, SELU_ALPHA), g.number(SELU_SCALE))


def _silu_64(g: Graph, z: str, _: float) -> str:
    """z / (1 + exp(-z)): onnxruntime 1.20 fuses z sigmoid(z) into one operation, which it does not have in float64."""
    return g.add("Div", z, g.add("Add", g.add("Exp", g.add("Neg", z)), g.number(1.0)))


def _softplus_64(g: Graph, z: str, _: float) -> str:
    """max(z, 0) + log(1 + e), e = exp(-|z|); log(1 + e) = log(u) e / (u - 1), u = 1 + e, and e where u is 1."""
    e, one = g.add("Exp", g.add("Neg", g.add("Abs", z))), g.number(1.0)
    u = g.add("Add", e, one)
    is_one = g.add("Equal", u, one)
    rest = g.add("Where", is_one, one, g.add("Sub", u, one))
    log = g.add("Where", is_one, e, g.add("Div", g.add("Mul", g.add("Log", u), e), rest))
    return g.add("Add", g.add("Max", z, g.number(0.0)), log)


def _mish_64(g: Graph, z: str, _: float) -> str:
    """z tanh(log(1 + e)) = z n / (n + 2), e = exp(z), n = e (e + 2); above 40 it is z."""
    e, two = g.add("Exp", g.add("Min", z, g.number(40.0))), g.number(2.0)
    n = g.add("Mul", e, g.add("Add", e, two))
    return g.add("Mul", z, g.add("Div", n, g.add("Add", n, two)))


def _gelu_64(g: Graph, z: str, _: float) -> str:
    """z Phi(z), with Phi(-w) = exp(-w^2 / 2) P(w) / Q(w) as in the engine."""
    from fastbp.isa.emitters.activations import GELU_END, TAIL_P, TAIL_Q

    w, one = g.add("Min", g.add("Abs", z), g.number(GELU_END[64])), g.number(1.0)
    bell = g.add("Exp", g.add("Mul", g.add("Mul", w, w), g.number(-0.5)))
    ratio = g.add("Div", _polynomial(g, w, (0.5, *TAIL_P[64])), _polynomial(g, w, (1.0, *TAIL_Q[64])))
    tail = g.add("Mul", bell, ratio)
    phi = g.add("Where", g.add("Less", z, g.number(0.0)), tail, g.add("Sub", one, tail))
    return g.add("Mul", g.add("Max", z, g.number(-GELU_END[64])), phi)


def _polynomial(g: Graph, w: str, coefficients: tuple[float, ...]) -> str:
    """Σ c_k w^k by Horner's rule."""
    *rest, last = coefficients
    result = g.number(last)
    for c in reversed(rest):
        result = g.add("Add", g.add("Mul", result, w), g.number(c))
    return result


IN_FLOAT64: dict[str, Rule] = {
    "leaky_relu": _leaky_relu_64,
    "elu": _elu_64,
    "selu": _selu_64,
    "silu": _silu_64,
    "softplus": _softplus_64,
    "mish": _mish_64,
    "gelu": _gelu_64,
}
