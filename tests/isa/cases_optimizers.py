"""Cases of the update rules, against the published formulas in higher precision. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastbp.isa.codes import LIMIT, N_SCALARS, UPDATE_RULES
from fastbp.isa.emitters.optimizers import TINY

from .cases import (
    Case,
    Operand,
    assert_bits,
    assert_within,
    lanes_of,
    normal_lines,
    unit,
    wide,
    writable,
)

SCALARS = {
    "sgd": (0.999, -0.1), "momentum": (0.01, 0.9, -0.1), "nesterov": (0.01, 0.9, -0.1),
    "adam": (0.0, 0.9, 0.999, 1e-7, -0.03), "adam_decay": (0.01, 0.9, 0.999, 1e-7, -0.03),
    "adamw": (0.9999, 0.9, 0.999, 1e-7, -0.03), "amsgrad": (0.01, 0.9, 0.999, 1e-7, -0.03, 0.9999),
    "nadam": (0.01, 0.9, 0.999, 1e-7, -0.03, 0.8), "rmsprop": (0.01, 0.99, 0.01, 1e-7, -0.03),
    "rmsprop_momentum": (0.01, 0.99, 0.01, 1e-7, -0.03, 0.9), "rmsprop_centered": (0.01, 0.9, 0.1, 1e-7, -0.03, 0.9),
    "adagrad": (0.01, 0.1, 1e-7, -0.03), "adadelta": (0.01, 0.9, 0.1, 1e-6, -1.0),
    "lion": (0.999, 0.9, 0.1, 0.99, 0.01, 0.03),
}  # fmt: skip
SAFE = {"float32": 1e32, "float64": 1e290}
# The states of each rule: a holds any numbers, n none below 0.
KINDS = {"momentum": "a", "nesterov": "a", "rmsprop": "n", "rmsprop_momentum": "na", "rmsprop_centered": "naa",
         "adagrad": "n", "adadelta": "nn", "lion": "a", "amsgrad": "ann", "sgd": ""}  # fmt: skip


class Exact:
    """A number in higher precision and its bound: every product and every sum rounds once, by u of its magnitude."""

    def __init__(self, value, u: float, error=0.0):
        self.value, self.u, self.error = value, u, error

    def __add__(self, other: Exact) -> Exact:
        size = abs(self.value) + abs(other.value)
        return Exact(self.value + other.value, self.u, self.error + other.error + self.u * size)

    def __mul__(self, other: Exact | float) -> Exact:
        if not isinstance(other, Exact):
            return Exact(self.value * other, self.u, abs(other) * self.error + self.u * abs(self.value * other))
        value = self.value * other.value
        error = abs(self.value) * other.error + abs(other.value) * self.error + self.error * other.error
        return Exact(value, self.u, error + self.u * abs(value))

    def over_root(self, square: Exact, epsilon: float) -> Exact:
        """self / (sqrt(square) + epsilon): the root halves a relative error; root, sum and quotient by estimates cost
        2 ULP or 4 u, and one product."""
        bottom = np.sqrt(square.value) + epsilon
        relative = square.error / (2 * square.value) + 6 * self.u
        return Exact(self.value / bottom, self.u, self.error / bottom + abs(self.value / bottom) * relative)


def exact_rule(rule: str, g, w, states, s) -> list[Exact]:
    """New weights and states."""
    u = unit(w.dtype)
    tiny = Exact(TINY[8 * w.itemsize] + 0 * wide(g), u)
    g, w, old = Exact(wide(g), u), Exact(wide(w), u), [Exact(wide(x), u) for x in states]
    if rule == "sgd":
        return [w * s[0] + g * s[1]]
    if rule == "lion":
        return exact_lion(g, w, old[0], s)
    if rule == "adamw":
        w = w * s[0]
    elif rule != "adam":
        g = w * s[0] + g
    if rule in ("momentum", "nesterov"):
        velocity = old[0] * s[1] + g
        step = velocity * s[1] + g if rule == "nesterov" else velocity
        return [step * s[2] + w, velocity]
    if rule == "adagrad":
        total = g * g + old[0]
        return [g.over_root(total + Exact(s[1], u), s[2]) * s[3] + w, total]
    if rule == "adadelta":
        v, epsilon = g * s[2] * g + old[0] * s[1], Exact(s[3], u)
        top, bottom = old[1] + epsilon, v + epsilon
        root = np.sqrt(top.value / bottom.value)
        step = Exact(root, u, root * ((top.error / top.value + bottom.error / bottom.value + u) / 2 + u)) * g
        return [step * s[4] + w, v, step * s[2] * step + old[1] * s[1]]
    if rule.startswith("rmsprop"):
        return exact_rmsprop(rule, g, w, old, s, tiny)
    m, v = old[0] * s[1] + g, old[1] * s[2] + g * g + tiny
    if rule == "amsgrad":
        w, largest = w * s[5], Exact(np.maximum(old[2].value, v.value), u, v.error)
        return [m.over_root(largest, s[3]) * s[4] + w, m, v, largest]
    top = m * s[5] + g if rule == "nadam" else m
    return [top.over_root(v, s[3]) * s[4] + w, m, v]


def exact_rmsprop(rule: str, g: Exact, w: Exact, old: list[Exact], s, tiny: Exact) -> list[Exact]:
    v, new = g * s[2] * g + old[0] * s[1] + tiny, []
    variance = v
    if rule == "rmsprop_centered":
        mean = g * s[2] + old[2] * s[1]
        variance = v + mean * mean * -1.0
        variance, new = Exact(np.maximum(variance.value, tiny.value), g.u, variance.error), [mean]
    quotient = g.over_root(variance, s[3])
    if rule == "rmsprop":
        return [quotient * s[4] + w, v]
    velocity = old[1] * s[5] + quotient
    return [velocity * s[4] + w, v, velocity, *new]


def exact_lion(g: Exact, w: Exact, m: Exact, s) -> list[Exact]:
    """An average that rounds to the other side of 0 flips the sign of the step."""
    average = g * s[2] + m * s[1]
    either = (abs(average.value) <= average.error) & (average.value != 0)
    return [w * s[0] + Exact(-s[5] * np.sign(average.value), g.u, 2 * s[5] * either), g * s[4] + m * s[3]]


def update_case(rule: str, g: np.ndarray, w: np.ndarray, states: list[np.ndarray], label: str, gap: int = 0) -> Case:
    """g, w and states: (columns, lines, L); in memory `gap` lines lie between columns."""
    dtype, (columns, rows, L) = w.dtype.name, w.shape
    scalars = np.full(N_SCALARS, np.nan, dtype)
    scalars[: len(SCALARS[rule])], scalars[LIMIT] = SCALARS[rule], SAFE[dtype]
    G, pitch = Operand(dtype, columns * (rows + gap) * L), (rows + gap) * L
    G.values.reshape(columns, rows + gap, L)[:, :rows] = g
    old = np.stack([w, *states])
    W = Operand(dtype, len(old) * columns * pitch)
    runs = W.values.reshape(len(old), columns, rows + gap, L)[:, :, :rows]
    runs[:] = old
    W.written.reshape(len(old), columns, rows + gap, L)[:, :, :rows] = True
    flag = writable(Operand(np.int64, 1, [0]))

    def check():
        with np.errstate(all="ignore"):
            new = exact_rule(rule, g, w, states, wide(scalars))
        kept = ~np.all([abs(number.value) <= np.finfo(dtype).max for number in new], axis=0)
        assert flag.values[0] == kept.any()
        for got, before, exact in zip(runs, old, new, strict=True):
            assert_bits(got[kept], before[kept])
            bound = 1.01 * np.broadcast_to(exact.error, exact.value.shape)
            assert_within(got[~kept], exact.value[~kept], bound[~kept])

    arguments = [rows, columns, G, pitch, W, pitch, columns * pitch, Operand(dtype, scalars.size, scalars), flag]
    return Case(f"update_{rule}", dtype, arguments, check, label)


def random_update(rule: str, dtype: str, columns: int, rows: int):
    rng, L = np.random.default_rng([10, rows]), lanes_of(dtype)
    g, w, *states = (normal_lines(rng, dtype, columns * rows).reshape(columns, rows, L) for _ in range(5))
    kinds = KINDS.get(rule, "an")
    states = [x**2 if kind == "n" else x for x, kind in zip(states, kinds, strict=False)]
    if rule == "rmsprop_centered":  # the mean of squares exceeds the square of the mean
        states[0] += states[2] ** 2 + np.array(0.1, dtype)
    return g, w, states


def updates(dtype: str, longest: int = 1000) -> Iterator[Case]:
    for rule in UPDATE_RULES:
        for columns, rows, gap in ((1, 1, 0), (1, 3, 1), (2, 8, 0), (3, 16, 2), (1, longest, 0)):
            g, w, states = random_update(rule, dtype, columns, rows)
            yield update_case(rule, g, w, states, f"{columns} runs of {rows} lines", gap)
            zeros = [np.zeros_like(x) for x in (g, *states)]
            yield update_case(rule, zeros[0], w, zeros[1:], f"{columns} runs of {rows} lines, no gradient", gap)


def non_finite_updates(dtype: str) -> Iterator[Case]:
    """Non-finite gradients, or gradients with non-finite squares, in some lanes, which alone keep their values."""
    rng, big = np.random.default_rng(11), {"float32": 1e30, "float64": 1e300}[dtype]
    for rule in UPDATE_RULES:
        for name, value in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": big}.items():
            g, w, states = random_update(rule, dtype, 2, 5)
            g[rng.uniform(size=g.shape) < 0.1] = value
            yield update_case(rule, g, w, states, name, gap=1)
        g, w, states = random_update(rule, dtype, 1, 3)
        w[0, 1, 2] = np.inf
        g[0, 0, 0] = big
        yield update_case(rule, g, w, states, "a weight that is not finite")


OPTIMIZERS = (updates, non_finite_updates)
