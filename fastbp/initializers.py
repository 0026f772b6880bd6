"""The first values of weights: functions of a generator, a shape and a dtype.

Every initializer draws in float64 and rounds, so a float32 and a float64 model of one seed start alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt

from fastbp.util.arguments import meant
from fastbp.util.types import Array

# Draws are made this many at a time: the stream is the same, and no float64 copy of a large kernel is ever held.
DRAWS = 1 << 20


@runtime_checkable
class Initializer(Protocol):
    """Anything that makes an array of a shape and dtype from a generator."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...


@final
@dataclass(frozen=True)
class VarianceScaling:
    """Independent draws with mean 0 and variance scale / fan, so that signals neither fade nor grow with depth.

        uniform: U(-sqrt(3 scale / fan), +sqrt(3 scale / fan))        normal: N(0, scale / fan)

    shape is (in, out); fan is `in` or the mean of in and out. Normal draws are not truncated: as in PyTorch, unlike
    Keras. Raises ValueError when called for a shape that is not (in, out).

    >>> HeNormal()(np.random.default_rng(0), (64, 8), "float32").shape
    (64, 8)
    """

    scale: float
    fan: Literal["fan_in", "fan_avg"]
    distribution: Literal["uniform", "normal"]

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        if len(shape) != 2:
            raise ValueError(
                f"an initializer that scales with the fan needs the shape (in, out) of a kernel, but got {shape}; "
                f"for biases use 'zeros', Constant or RandomNormal"
            )
        fan = shape[0] if self.fan == "fan_in" else (shape[0] + shape[1]) / 2
        deviation = math.sqrt(self.scale / fan)
        if self.distribution == "normal":
            return _draw(lambda size: rng.normal(0.0, deviation, size), shape, dtype)
        limit = math.sqrt(3) * deviation
        return _draw(lambda size: rng.uniform(-limit, limit, size), shape, dtype)


def GlorotUniform() -> VarianceScaling:
    """U(-a, a), a = sqrt(6 / (in + out)): for tanh and the like. Source: Glorot and Bengio 2010, equation 16."""
    return VarianceScaling(1.0, "fan_avg", "uniform")


def GlorotNormal() -> VarianceScaling:
    """N(0, 2 / (in + out)). Source: Glorot and Bengio 2010, equation 12."""
    return VarianceScaling(1.0, "fan_avg", "normal")


def HeUniform() -> VarianceScaling:
    """U(-a, a), a = sqrt(6 / in): for ReLU. Source: He et al. 2015, equation 10."""
    return VarianceScaling(2.0, "fan_in", "uniform")


def HeNormal() -> VarianceScaling:
    """N(0, 2 / in): for ReLU. Source: He et al. 2015, equation 10."""
    return VarianceScaling(2.0, "fan_in", "normal")


def LeCunUniform() -> VarianceScaling:
    """U(-a, a), a = sqrt(3 / in). Source: LeCun et al. 1998, equation 16."""
    return VarianceScaling(1.0, "fan_in", "uniform")


def LeCunNormal() -> VarianceScaling:
    """N(0, 1 / in): for SELU. Source: LeCun et al. 1998, equation 16; Klambauer et al. 2017."""
    return VarianceScaling(1.0, "fan_in", "normal")


@final
@dataclass(frozen=True)
class RandomNormal:
    """N(mean, stddev^2) in every element; any shape.

    >>> RandomNormal(stddev=0.1)(np.random.default_rng(0), (3,), "float64").dtype
    dtype('float64')
    """

    mean: float = 0.0
    stddev: float = 0.05

    def __post_init__(self) -> None:
        _require_finite("mean", self.mean)
        _require_finite("stddev", self.stddev)
        if self.stddev < 0:
            raise ValueError(f"stddev must be 0 or more, but got {self.stddev!r}")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return _draw(lambda size: rng.normal(self.mean, self.stddev, size), shape, dtype)


@final
@dataclass(frozen=True)
class Constant:
    """One value in every element; any shape.

    >>> Constant(0.5)(np.random.default_rng(0), (2,), "float32")
    array([0.5, 0.5], dtype=float32)
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        _require_finite("value", self.value)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return np.full(shape, self.value, dtype)


def Zeros() -> Constant:
    """0 in every element: what biases start from."""
    return Constant(0.0)


@final
@dataclass(frozen=True)
class Orthogonal:
    """gain times a matrix with orthonormal columns, or rows where it is wide, uniform among these (Haar).

    shape is (in, out). Source: Saxe, McClelland and Ganguli 2014; Q of a Gaussian matrix's QR, with R's diagonal made
    positive. Raises ValueError when called for a shape that is not (in, out).

    >>> Q = Orthogonal()(np.random.default_rng(0), (5, 3), "float64")
    >>> bool(np.allclose(Q.T @ Q, np.eye(3)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_finite("gain", self.gain)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Orthogonal needs a kernel's shape (in, out), but got {shape}; for biases use 'zeros'")
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
    """The initializer of a name, with default arguments; an object that can be called is returned as it is.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("he_normal")
    VarianceScaling(scale=2.0, fan='fan_in', distribution='normal')
    """
    if isinstance(initializer, str):
        if initializer not in _INITIALIZERS:
            raise ValueError(
                f"initializer must be one of {', '.join(NAMES)}, but got {initializer!r}{meant(initializer, NAMES)}"
            )
        return _INITIALIZERS[initializer]()
    factories: tuple[object, ...] = tuple(_INITIALIZERS.values())
    uncalled = isinstance(initializer, type) or any(initializer is make for make in factories)
    if uncalled or not callable(initializer):
        raise TypeError(
            f"initializer must be a name or an object called with (rng, shape, dtype), but got {initializer!r}; "
            f"write HeNormal(), not HeNormal; valid names: {', '.join(NAMES)}"
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
        raise TypeError(f"{name} must be a number, but got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, but got {value!r}")
