"""Initial values of weights: functions of a generator, a shape and a dtype.

Every initializer draws in float64 and rounds, so float32 and float64 models of the same seed start alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt

from fastbp.util.arguments import did_you_mean
from fastbp.util.types import Array

# Draws per block: the stream is the same, and there is never a float64 copy of a large kernel.
DRAWS = 1 << 20


@runtime_checkable
class Initializer(Protocol):
    """Any callable that makes an array of the given shape and dtype from a generator."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...


@final
@dataclass(frozen=True)
class VarianceScaling:
    """Independent draws with mean 0 and variance scale / fan, so that signals neither fade nor grow with depth.

    ::

        uniform: U(-sqrt(3 scale / fan), +sqrt(3 scale / fan))
        normal:  N(0, scale / fan)

    Parameters
    ----------
    scale : float
        Numerator of the variance: 1 for linear units and tanh, 2 for ReLU.
    fan : {"fan_in", "fan_avg"}
        For a kernel of shape (in, out): `in`, or the mean of in and out.
    distribution : {"uniform", "normal"}
        The distribution of the draws.

    Raises
    ------
    ValueError
        When called for a shape that is not (in, out).

    Notes
    -----
    As in PyTorch, normal draws are not truncated; Keras truncates them.

    Examples
    --------
    >>> HeNormal()(np.random.default_rng(0), (64, 8), "float32").shape
    (64, 8)
    """

    scale: float
    fan: Literal["fan_in", "fan_avg"]
    distribution: Literal["uniform", "normal"]

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        if len(shape) != 2:
            raise ValueError(
                f"variance scaling needs the shape (in, out) of a kernel, got {shape}: for biases use 'zeros', "
                "Constant or RandomNormal"
            )
        fan = shape[0] if self.fan == "fan_in" else (shape[0] + shape[1]) / 2
        deviation = math.sqrt(self.scale / fan)
        if self.distribution == "normal":
            return _draw(lambda size: rng.normal(0.0, deviation, size), shape, dtype)
        limit = math.sqrt(3) * deviation
        return _draw(lambda size: rng.uniform(-limit, limit, size), shape, dtype)


def GlorotUniform() -> VarianceScaling:
    """Glorot's uniform initializer, ``U(-a, a)`` with ``a = sqrt(6 / (in + out))``: for tanh and similar activations.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, equation 16.
    """
    return VarianceScaling(1.0, "fan_avg", "uniform")


def GlorotNormal() -> VarianceScaling:
    """Glorot's normal initializer, ``N(0, 2 / (in + out))``: for tanh and similar activations.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, equation 12.
    """
    return VarianceScaling(1.0, "fan_avg", "normal")


def HeUniform() -> VarianceScaling:
    """He's uniform initializer, ``U(-a, a)`` with ``a = sqrt(6 / in)``: for ReLU.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equation 10.
    """
    return VarianceScaling(2.0, "fan_in", "uniform")


def HeNormal() -> VarianceScaling:
    """He's normal initializer, ``N(0, 2 / in)``: for ReLU.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equation 10.
    """
    return VarianceScaling(2.0, "fan_in", "normal")


def LeCunUniform() -> VarianceScaling:
    """LeCun's uniform initializer, ``U(-a, a)`` with ``a = sqrt(3 / in)``.

    References
    ----------
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, equation 16.
    """
    return VarianceScaling(1.0, "fan_in", "uniform")


def LeCunNormal() -> VarianceScaling:
    """LeCun's normal initializer, ``N(0, 1 / in)``: for SELU.

    References
    ----------
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, equation 16; Klambauer et al., "Self-normalizing neural
    networks", 2017.
    """
    return VarianceScaling(1.0, "fan_in", "normal")


@final
@dataclass(frozen=True)
class RandomNormal:
    """Independent normal draws, ``N(mean, stddev^2)``; any shape.

    Parameters
    ----------
    mean : float, optional
        Mean of the distribution.
    stddev : float, optional
        Standard deviation, at least 0.

    Raises
    ------
    ValueError
        If an argument is not finite, or stddev is negative.
    TypeError
        If an argument is not a number.

    Examples
    --------
    >>> RandomNormal(stddev=0.1)(np.random.default_rng(0), (3,), "float64").dtype
    dtype('float64')
    """

    mean: float = 0.0
    stddev: float = 0.05

    def __post_init__(self) -> None:
        _require_finite("mean", self.mean)
        _require_finite("stddev", self.stddev)
        if self.stddev < 0:
            raise ValueError(f"stddev must be at least 0, got {self.stddev!r}: pass such a number")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return _draw(lambda size: rng.normal(self.mean, self.stddev, size), shape, dtype)


@final
@dataclass(frozen=True)
class Constant:
    """The same value in every element; any shape.

    Parameters
    ----------
    value : float, optional
        The value, finite.

    Raises
    ------
    ValueError
        If the value is not finite.
    TypeError
        If the value is not a number.

    Examples
    --------
    >>> Constant(0.5)(np.random.default_rng(0), (2,), "float32")
    array([0.5, 0.5], dtype=float32)
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        _require_finite("value", self.value)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return np.full(shape, self.value, dtype)


def Zeros() -> Constant:
    """0 in every element: the default for biases."""
    return Constant(0.0)


@final
@dataclass(frozen=True)
class Orthogonal:
    """`gain` times a matrix with orthonormal columns, or rows if it is wide, uniformly distributed (Haar measure).

    Parameters
    ----------
    gain : float, optional
        Factor of the orthogonal matrix.

    Raises
    ------
    ValueError
        If gain is not finite; when called for a shape that is not (in, out).
    TypeError
        If gain is not a number.

    Notes
    -----
    The matrix is the Q of the QR decomposition of a Gaussian matrix, with the diagonal of R made positive (Mezzadri
    2007).

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014.

    Examples
    --------
    >>> Q = Orthogonal()(np.random.default_rng(0), (5, 3), "float64")
    >>> bool(np.allclose(Q.T @ Q, np.eye(3)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_finite("gain", self.gain)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Orthogonal needs the shape (in, out) of a kernel, got {shape}: for biases use 'zeros'")
        Q, R = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
        # Without this the signs of Q depend on the QR routine, and Q is not uniform (Mezzadri 2007).
        Q *= np.where(np.diag(R) < 0, -self.gain, self.gain)
        return np.ascontiguousarray(Q if shape[0] >= shape[1] else Q.T, dtype)


_INITIALIZERS: dict[str, Callable[[], Initializer]] = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LeCunUniform,
    "lecun_normal": LeCunNormal,
    "orthogonal": Orthogonal,
    "zeros": Zeros,
    "constant": Constant,
    "random_normal": RandomNormal,
}
NAMES = tuple(_INITIALIZERS)


def get(initializer: str | Initializer) -> Initializer:
    """Return the initializer of that name with default arguments; callables are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("he_normal")
    VarianceScaling(scale=2.0, fan='fan_in', distribution='normal')
    """
    if isinstance(initializer, str):
        if initializer not in _INITIALIZERS:
            raise ValueError(
                f"initializer must be one of {', '.join(NAMES)}, got {initializer!r}{did_you_mean(initializer, NAMES)}"
            )
        return _INITIALIZERS[initializer]()
    factories: tuple[object, ...] = tuple(_INITIALIZERS.values())
    is_factory = isinstance(initializer, type) or any(initializer is make for make in factories)
    if is_factory or not callable(initializer):
        raise TypeError(
            f"initializer must be a name or a callable (rng, shape, dtype) -> array, got {initializer!r}: "
            f"write HeNormal(), not HeNormal, or use one of {', '.join(NAMES)}"
        )
    return initializer


def _draw(draw: Callable[[int], Array], shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    values = np.empty(math.prod(shape), dtype)
    for start in range(0, values.size, DRAWS):
        part = values[start : start + DRAWS]
        part[:] = draw(part.size)
    return values.reshape(shape)


def _require_finite(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}: pass a float")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}: pass such a number")
