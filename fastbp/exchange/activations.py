"""The activations in all formats: the table ACTIVATIONS, and the functions that its rows name.

A row's fields say what an activation is called, or how it is made where a name does not do. "": the format needs
nothing (the identity). None: the format does not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.exchange.layer_weights import Part, activation_of
from fastbp.exchange.translation import KerasLayers, OnnxGraph, wrong
from fastbp.spec import SELU_ALPHA, SELU_SCALE

# ---------------------------------------------------------------- NumPy; the functions are copied into modules


def sigmoid(Z):
    """1 / (1 + exp(-z)), without overflow."""
    E = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1, E) / (1 + E)


def tanh(Z):
    """tanh(z)."""
    return np.tanh(Z)


def softsign(Z):
    """z / (1 + |z|)."""
    return Z / (1 + np.abs(Z))


def relu(Z):
    """max(z, 0)."""
    return np.maximum(Z, 0)


def relu6(Z):
    """min(max(z, 0), 6)."""
    return np.clip(Z, 0, 6)


def leaky_relu(Z, alpha):
    """z where z > 0, else alpha z."""
    return np.where(Z > 0, Z, alpha * Z)


def elu(Z, alpha):
    """z where z > 0, else alpha (exp(z) - 1)."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0)))


def celu(Z, alpha):
    """z where z > 0, else alpha (exp(z / alpha) - 1)."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0) / alpha))


def selu(Z):
    """ELU with the scale and the alpha of Klambauer et al. 2017."""
    return 1.0507009873554805 * elu(Z, 1.6732632423543772)


def gelu(Z):
    """z Phi(z), with Phi the normal CDF."""
    return Z * (0.5 * _erfc(Z * -math.sqrt(0.5))).astype(Z.dtype)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def gelu_tanh(Z):
    """z (1 + tanh(u)) / 2 = z sigmoid(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3)."""
    return Z * sigmoid((math.sqrt(8 / math.pi) * Z) * (1 + 0.044715 * Z * Z))


def silu(Z):
    """z sigmoid(z)."""
    return Z * sigmoid(Z)


def hard_swish(Z):
    """z relu6(z + 3) / 6."""
    return Z * relu6(Z + 3) / 6


def mish(Z):
    """z tanh(softplus(z))."""
    return Z * np.tanh(softplus(Z))


def softplus(Z):
    """log(1 + exp(z))."""
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def softmax(Z):
    """exp(z_j) / sum_k exp(z_k) of each row."""
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- ONNX


def _onnx_gelu(g: OnnxGraph, z: str, _: float) -> str:
    """z / 2 (1 + erf(z / sqrt 2)), the pattern that runtimes recognize."""
    erf = g.add("Erf", g.add("Mul", z, g.number(math.sqrt(0.5))))
    return g.add("Mul", g.add("Mul", z, g.number(0.5)), g.add("Add", erf, g.number(1.0)))


def _onnx_gelu_tanh(g: OnnxGraph, z: str, _: float) -> str:
    """z sigmoid(2 u), 2 u = sqrt(8 / pi) z (1 + 0.044715 z^2)."""
    cubic = g.add("Add", g.add("Mul", g.add("Mul", z, z), g.number(0.044715)), g.number(1.0))
    return g.add("Mul", z, g.add("Sigmoid", g.add("Mul", g.add("Mul", z, g.number(math.sqrt(8 / math.pi))), cubic)))


def _onnx_relu6(g: OnnxGraph, z: str, _: float) -> str:
    return g.add("Clip", z, g.number(0.0), g.number(6.0))


# ONNX defines these in float64, but onnxruntime does not implement them: they are composed of what it has.
def _onnx_leaky_relu_64(g: OnnxGraph, z: str, alpha: float) -> str:
    """max(z, 0) + alpha min(z, 0)."""
    zero = g.number(0.0)
    return g.add("Add", g.add("Max", z, zero), g.add("Mul", g.add("Min", z, zero), g.number(alpha)))


def _onnx_expm1(g: OnnxGraph, z: str) -> str:
    """exp(z) - 1 = (u - 1) z / log(u), u = exp(z), and z where u is 1: the errors of u cancel. For -700 < z <= 0.

    Higham 2002, section 1.14.1 (the idea is Kahan's).
    """
    u, one = g.add("Exp", z), g.number(1.0)
    is_one = g.add("Equal", u, one)
    log = g.add("Where", is_one, one, g.add("Log", u))
    return g.add("Where", is_one, z, g.add("Div", g.add("Mul", g.add("Sub", u, one), z), log))


def _onnx_elu_64(g: OnnxGraph, z: str, alpha: float) -> str:
    """max(z, 0) + alpha (exp(min(z, 0)) - 1)."""
    negative = g.add("Max", g.add("Min", z, g.number(0.0)), g.number(-100.0))  # where it is -1 already
    return g.add("Add", g.add("Max", z, g.number(0.0)), g.add("Mul", _onnx_expm1(g, negative), g.number(alpha)))


def _onnx_celu_64(g: OnnxGraph, z: str, alpha: float) -> str:
    """max(z, 0) + alpha (exp(min(z, 0) / alpha) - 1)."""
    scaled = g.add("Div", g.add("Min", z, g.number(0.0)), g.number(alpha))
    rest = _onnx_expm1(g, g.add("Max", scaled, g.number(-100.0)))  # where it is -1 already
    return g.add("Add", g.add("Max", z, g.number(0.0)), g.add("Mul", rest, g.number(alpha)))


def _onnx_softsign_64(g: OnnxGraph, z: str, _: float) -> str:
    return g.add("Div", z, g.add("Add", g.add("Abs", z), g.number(1.0)))


def _onnx_hard_swish_64(g: OnnxGraph, z: str, alpha: float) -> str:
    """z relu6(z + 3) / 6."""
    inner = _onnx_relu6(g, g.add("Add", z, g.number(3.0)), alpha)
    return g.add("Div", g.add("Mul", z, inner), g.number(6.0))


def _onnx_selu_64(g: OnnxGraph, z: str, _: float) -> str:
    return g.add("Mul", _onnx_elu_64(g, z, SELU_ALPHA), g.number(SELU_SCALE))


def _onnx_silu_64(g: OnnxGraph, z: str, _: float) -> str:
    """z / (1 + exp(-z)): onnxruntime 1.20 fuses z sigmoid(z) into one operation, which it does not have in float64."""
    return g.add("Div", z, g.add("Add", g.add("Exp", g.add("Neg", z)), g.number(1.0)))


def _onnx_softplus_64(g: OnnxGraph, z: str, _: float) -> str:
    """max(z, 0) + log(1 + e), e = exp(-|z|); log(1 + e) = log(u) e / (u - 1), u = 1 + e, and e where u is 1."""
    e, one = g.add("Exp", g.add("Neg", g.add("Abs", z))), g.number(1.0)
    u = g.add("Add", e, one)
    is_one = g.add("Equal", u, one)
    rest = g.add("Where", is_one, one, g.add("Sub", u, one))
    log = g.add("Where", is_one, e, g.add("Div", g.add("Mul", g.add("Log", u), e), rest))
    return g.add("Add", g.add("Max", z, g.number(0.0)), log)


def _onnx_mish_64(g: OnnxGraph, z: str, _: float) -> str:
    """z tanh(log(1 + e)) = z n / (n + 2), e = exp(z), n = e (e + 2); above 40 it is z."""
    e, two = g.add("Exp", g.add("Min", z, g.number(40.0))), g.number(2.0)
    n = g.add("Mul", e, g.add("Add", e, two))
    return g.add("Mul", z, g.add("Div", n, g.add("Add", n, two)))


def _onnx_gelu_64(g: OnnxGraph, z: str, _: float) -> str:
    """z Phi(z), with Phi(-w) = exp(-w^2 / 2) P(w) / Q(w) as in the engine."""
    from fastbp.isa.emitters.activations import GELU_END, TAIL_P, TAIL_Q

    w, one = g.add("Min", g.add("Abs", z), g.number(GELU_END[64])), g.number(1.0)
    bell = g.add("Exp", g.add("Mul", g.add("Mul", w, w), g.number(-0.5)))
    ratio = g.add("Div", _onnx_polynomial(g, w, (0.5, *TAIL_P[64])), _onnx_polynomial(g, w, (1.0, *TAIL_Q[64])))
    tail = g.add("Mul", bell, ratio)
    phi = g.add("Where", g.add("Less", z, g.number(0.0)), tail, g.add("Sub", one, tail))
    return g.add("Mul", g.add("Max", z, g.number(-GELU_END[64])), phi)


def _onnx_polynomial(g: OnnxGraph, w: str, coefficients: tuple[float, ...]) -> str:
    """Σ c_k w^k by Horner's rule."""
    *rest, last = coefficients
    result = g.number(last)
    for c in reversed(rest):
        result = g.add("Add", g.add("Mul", result, w), g.number(c))
    return result


# ---------------------------------------------------------------- PyTorch and Keras, where there are options


def _torch_softmax(module: Any, where: str) -> str:
    if module.dim not in (1, -1):
        raise wrong(where, f"is a softmax along the axis {module.dim}", "pass dim=1")
    return "softmax"


def _torch_softplus(module: Any, where: str) -> str:
    if module.beta != 1 or module.threshold < 20:
        raise wrong(where, f"has beta={module.beta} and threshold={module.threshold}", "pass 1 and at least 20")
    return "softplus"


def _keras_relu(layer: Any) -> str | activations.Activation:
    if type(layer).__name__ == "Relu":  # the operation has no options
        return "relu"
    if layer.max_value is not None or layer.threshold:
        raise wrong(layer.name, f"has max_value={layer.max_value} and threshold={layer.threshold}", "leave them out")
    return activations.LeakyReLU(float(layer.negative_slope)) if layer.negative_slope else "relu"


def _keras_softmax(layer: Any) -> str:
    if layer.axis not in (-1, 1):
        raise wrong(layer.name, f"is a softmax along the axis {layer.axis}", "pass axis=-1")
    return "softmax"


def _keras_leaky_relu(build: KerasLayers, part: Part, X: Any) -> Any:
    alpha = activation_of(part).alpha
    return build.layer("LeakyReLU", part, "_activation", negative_slope=alpha)(X)


def _keras_elu(build: KerasLayers, part: Part, X: Any) -> Any:
    return build.layer("ELU", part, "_activation", alpha=activation_of(part).alpha)(X)


def _keras_celu(build: KerasLayers, part: Part, X: Any) -> Any:
    """An operation, as no Keras layer has alpha."""
    return build.keras.ops.celu(X, alpha=activation_of(part).alpha)


def _keras_gelu_tanh(build: KerasLayers, part: Part, X: Any) -> Any:
    """An operation, as no Keras layer has the approximation."""
    return build.keras.ops.gelu(X, approximate=True)


# ---------------------------------------------------------------- the table

Ours = str | activations.Activation
OnnxRule = Callable[[OnnxGraph, str, float], str]
KerasRule = Callable[[KerasLayers, Part, Any], Any]


@dataclass(frozen=True)
class ActivationExchange:
    """The translations of one activation.

    onnx: an operator, or what adds nodes for z and alpha. onnx_float64: the same where float64 needs another.
    numpy: a function of this file, which takes alpha if the activation has one.
    torch: a class of torch.nn. torch_options: its arguments, for alpha. from_torch: what a module of the class is, by
    its name in messages; by default the activation of the row. The first of several rows with a class reads it.
    torch_function: the function or method that does the same, by default that with the name of the row.
    keras: a function of keras.activations, or what applies it. keras_function: what Keras's function with the name of
    the row is, where `keras` is no name. keras_classes: layers and operations. from_keras: as from_torch.
    sklearn, sklearn_output: the names in hidden layers and in the last one.
    """

    onnx: str | OnnxRule | None = None
    onnx_float64: OnnxRule | None = None
    numpy: str | None = None
    torch: str | None = None
    torch_options: Callable[[float], dict[str, Any]] = lambda alpha: {}
    from_torch: Callable[[Any, str], Ours] | None = None
    torch_function: str | None = None
    keras: str | KerasRule | None = None
    keras_function: activations.Activation | None = None
    keras_classes: tuple[str, ...] = ()
    from_keras: Callable[[Any], Ours] | None = None
    sklearn: str | None = None
    sklearn_output: str | None = None


ACTIVATIONS = {
    "identity": ActivationExchange(
        onnx="", numpy="", torch="", keras="linear", sklearn="identity", sklearn_output="identity",
    ),
    "sigmoid": ActivationExchange(
        onnx="Sigmoid", numpy="sigmoid", torch="Sigmoid", keras="sigmoid", keras_classes=("Sigmoid",),
        sklearn="logistic", sklearn_output="logistic",
    ),
    "tanh": ActivationExchange(
        onnx="Tanh", numpy="tanh", torch="Tanh", keras="tanh", keras_classes=("Tanh",), sklearn="tanh",
    ),
    "softsign": ActivationExchange(
        onnx="Softsign", onnx_float64=_onnx_softsign_64, numpy="softsign", torch="Softsign", keras="softsign",
        keras_classes=("Softsign",),
    ),
    "relu": ActivationExchange(
        onnx="Relu", numpy="relu", torch="ReLU", keras="relu", keras_classes=("ReLU", "Relu"), from_keras=_keras_relu,
        sklearn="relu",
    ),
    "relu6": ActivationExchange(
        onnx=_onnx_relu6, numpy="relu6", torch="ReLU6", keras="relu6", keras_classes=("Relu6",),
    ),
    "leaky_relu": ActivationExchange(
        onnx=lambda g, z, alpha: g.add("LeakyRelu", z, alpha=alpha),
        onnx_float64=_onnx_leaky_relu_64,
        numpy="leaky_relu",
        torch="LeakyReLU",
        torch_options=lambda alpha: {"negative_slope": alpha},
        from_torch=lambda module, where: activations.LeakyReLU(module.negative_slope),
        keras=_keras_leaky_relu,
        keras_function=activations.LeakyReLU(0.2),
        keras_classes=("LeakyReLU", "LeakyRelu"),
        from_keras=lambda layer: activations.LeakyReLU(float(layer.negative_slope)),
    ),
    "elu": ActivationExchange(
        onnx=lambda g, z, alpha: g.add("Elu", z, alpha=alpha),
        onnx_float64=_onnx_elu_64,
        numpy="elu",
        torch="ELU",
        torch_options=lambda alpha: {"alpha": alpha},
        from_torch=lambda module, where: activations.ELU(module.alpha),
        keras=_keras_elu,
        keras_function=activations.ELU(1.0),
        keras_classes=("ELU", "Elu"),
        from_keras=lambda layer: activations.ELU(float(layer.alpha)),
    ),
    "celu": ActivationExchange(
        onnx=lambda g, z, alpha: g.add("Celu", z, alpha=alpha),
        onnx_float64=_onnx_celu_64,
        numpy="celu",
        torch="CELU",
        torch_options=lambda alpha: {"alpha": alpha},
        from_torch=lambda module, where: activations.CELU(module.alpha),
        keras=_keras_celu,
        keras_function=activations.CELU(1.0),
        keras_classes=("Celu",),
        from_keras=lambda operation: activations.CELU(float(operation.alpha)),
    ),
    "selu": ActivationExchange(
        onnx="Selu", onnx_float64=_onnx_selu_64, numpy="selu", torch="SELU", keras="selu", keras_classes=("Selu",),
    ),
    "gelu": ActivationExchange(
        onnx=_onnx_gelu,
        onnx_float64=_onnx_gelu_64,
        numpy="gelu",
        torch="GELU",
        from_torch=lambda module, where: "gelu" if module.approximate == "none" else "gelu_tanh",
        keras="gelu",
        keras_classes=("Gelu",),
        from_keras=lambda operation: "gelu_tanh" if operation.approximate else "gelu",
    ),
    "gelu_tanh": ActivationExchange(
        onnx=_onnx_gelu_tanh,
        numpy="gelu_tanh",
        torch="GELU",
        torch_options=lambda alpha: {"approximate": "tanh"},
        keras=_keras_gelu_tanh,
    ),
    "silu": ActivationExchange(
        onnx=lambda g, z, _: g.add("Mul", z, g.add("Sigmoid", z)), onnx_float64=_onnx_silu_64, numpy="silu",
        torch="SiLU", keras="silu", keras_classes=("Silu",),
    ),
    "hard_swish": ActivationExchange(
        onnx="HardSwish", onnx_float64=_onnx_hard_swish_64, numpy="hard_swish", torch="Hardswish",
        torch_function="hardswish", keras="hard_silu", keras_classes=("HardSilu",),
    ),
    "mish": ActivationExchange(
        onnx="Mish", onnx_float64=_onnx_mish_64, numpy="mish", torch="Mish", keras="mish", keras_classes=("Mish",),
    ),
    "softplus": ActivationExchange(
        onnx="Softplus",
        onnx_float64=_onnx_softplus_64,
        numpy="softplus",
        torch="Softplus",
        torch_options=lambda alpha: {"threshold": 40.0},  # linear above it; the default, 20, would cost 2e-9
        from_torch=_torch_softplus,
        keras="softplus",
        keras_classes=("Softplus",),
    ),
    "softmax": ActivationExchange(
        onnx=lambda g, z, _: g.add("Softmax", z, axis=-1),
        numpy="softmax",
        torch="Softmax",
        torch_options=lambda alpha: {"dim": 1},
        from_torch=_torch_softmax,
        keras="softmax",
        keras_classes=("Softmax",),
        from_keras=_keras_softmax,
        sklearn_output="softmax",
    ),
}  # fmt: skip
