"""Arithmetic in a wider type with a bound on rounding errors: a running error analysis.

Every result is rounded by u of its magnitude; errors of operands are propagated by the derivatives, with second-order
terms. A multiply-add rounds once where the analysis counts two roundings, so the bound holds for both.
"""

from __future__ import annotations

import numpy as np

from .cases import unit, wide


class Rounded:
    """Values in higher precision, bounds on the errors of the computed ones, and the unit roundoff u of the latter."""

    def __init__(self, value, error, u: float):
        self.value, self.u = value, u
        self.error = error + u * (np.abs(value) + error)

    @classmethod
    def exact(cls, values: np.ndarray) -> Rounded:
        """Operands, which have no error."""
        result = cls(wide(values), 0.0, unit(values.dtype))
        result.error = np.zeros_like(result.value)
        return result

    def like(self, value, error=0.0) -> Rounded:
        return Rounded(value, error, self.u)

    def constant(self, value: float) -> Rounded:
        """A number that the type may not represent exactly."""
        return self.like(self.value.dtype.type(value))

    def __getitem__(self, index) -> Rounded:
        result = self.like(self.value[index])
        result.error = self.error[index]
        return result

    def __neg__(self) -> Rounded:
        result = self.like(-self.value)
        result.error = self.error
        return result

    def __add__(self, other: Rounded) -> Rounded:
        return self.like(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Rounded) -> Rounded:
        return self + -other

    def __mul__(self, other: Rounded) -> Rounded:
        sizes = np.abs(self.value) + self.error, np.abs(other.value) + other.error
        return self.like(self.value * other.value, self.error * sizes[1] + sizes[0] * other.error)

    def __truediv__(self, other: Rounded) -> Rounded:
        value = self.value / other.value
        return self.like(value, (self.error + np.abs(value) * other.error) / (np.abs(other.value) - other.error))

    def sqrt(self) -> Rounded:
        """|sqrt(a + e) - sqrt(a)| <= |e| / sqrt(a), and <= sqrt |e|."""
        root = np.sqrt(self.value)
        safe = np.where(root > 0, root, 1)
        return self.like(root, np.where(root > 0, np.minimum(self.error / safe, np.sqrt(self.error)), self.error**0.5))

    def log(self) -> Rounded:
        """An argument of relative error r gives r / (1 - r); the function is accurate to 2 ULP or 4 u."""
        relative = self.error / self.value
        value = np.log(self.value)
        return self.like(value, relative / (1 - relative) + 3 * self.u * np.abs(value))

    def sum(self, axis: int, roundings: float) -> Rounded:
        """A sum in which no term passes through more than `roundings` additions."""
        total, size = self.value.sum(axis), (np.abs(self.value) + self.error).sum(axis)
        result = self.like(total)
        result.error = self.error.sum(axis) + roundings * self.u / (1 - roundings * self.u) * size
        return result
