"""Cases of softmax, update rules and activations, which work lane by lane. See cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastbp.isa.codes import ACTIVATIONS, LIMIT, N_SCALARS, UPDATE_RULES
from fastbp.isa.codes import ELEMENTWISE as NAMES
from fastbp.isa.emitters.optimizers import TINY
from fastbp.isa.twins import activations as twins

from .cases import Case, Operand, assert_bits, assert_within, lanes_of, unit, whole, wide

LINES = (1, 2, 3, 8, 10, 16, 17, 33, 100)


def normal_lines(rng: np.random.Generator, dtype: str, n: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.normal(size=(n, lanes_of(dtype)))).astype(dtype)


def sum_error(n: int, dtype: str) -> float:
    """Relative error of the sum of n positive terms by L partial sums and their tree: one rounding per level."""
    L = lanes_of(dtype)
    return (-(-n // L) + np.log2(L)) * unit(dtype)


# -- softmax -------------------------------------------------------------------------------------------------------
def exact_softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = wide(z)
    top = z.max(0)
    e = np.exp(z - top)
    return e / e.sum(0), top + np.log(e.sum(0))


def softmax_case(z: np.ndarray, label: str, in_place: bool = False) -> Case:
    """p_i: exp of a rounded difference x_i, |x_i| u, is within 2 ULP, 4 u; so is every term of the sum; a division."""
    dtype, n, u = z.dtype.name, len(z), unit(z.dtype)
    Z = Operand(dtype, z.size, z)
    P = whole(Z if in_place else Operand(dtype, z.size))
    logsum = whole(Operand(dtype, z.shape[1]))
    p, total = exact_softmax(z)
    x = np.abs(wide(z) - wide(z).max(0))
    terms = np.where(p > 0, x, 0) * u + 4 * u
    of_sum = (p * terms).sum(0) + sum_error(n, dtype)

    def check():
        assert_within(P.lines(), p, 1.01 * p * (terms + of_sum + u))
        log_error = of_sum + 4 * u * np.abs(total - wide(z).max(0)) + u * np.abs(total)
        assert_within(logsum.values, total, 1.01 * log_error)

    return Case("softmax", dtype, [n, Z, P, logsum], check, label)


def softmaxes(dtype: str) -> Iterator[Case]:
    rng, L = np.random.default_rng(4), lanes_of(dtype)
    for n in LINES:
        for scale in (1, 30, 1000):
            yield softmax_case(normal_lines(rng, dtype, n, scale), f"n={n} times {scale}", in_place=scale == 30)
    big = float(np.finfo(dtype).max) / 4
    for name, column in {
        "equal": [3.0] * 5, "far apart": [-big, 0, 1, 2, big], "huge": [big, big, -big, big / 2, 0],
        "impossible": [-np.inf, 1, 2, 3, -np.inf], "all low": [-1e4, -1e4 - 1, -1e4 + 2, -2e4, -1e4],
    }.items():  # fmt: skip
        yield softmax_case(np.repeat(np.array(column, dtype)[:, None], L, 1), name)


def softmax_slopes(dtype: str) -> Iterator[Case]:
    """d <- p (d - s), s = sum of d p: s is off by (terms of a chain + 2) u times the sum of |d p|."""
    rng, u = np.random.default_rng(5), unit(dtype)
    for n in LINES:
        p = exact_softmax(normal_lines(rng, dtype, n))[0].astype(dtype)
        d = normal_lines(rng, dtype, n, 10)
        P, D = Operand(dtype, p.size, p), whole(Operand(dtype, d.size, d))
        p, d = wide(p), wide(d)
        exact = p * (d - (d * p).sum(0))
        of_sum = (sum_error(n, dtype) + 2 * u) * np.abs(d * p).sum(0)
        bound = 1.01 * (p * of_sum + 2 * u * np.abs(exact))
        yield Case("softmax_slope", dtype, [n, P, D], within(D, exact, bound), f"n={n}")


def within(operand: Operand, exact: np.ndarray, bound: np.ndarray) -> Callable[[], None]:
    return lambda: assert_within(operand.values.reshape(np.shape(exact)), exact, bound)


def scales(dtype: str) -> Iterator[Case]:
    rng = np.random.default_rng(6)
    for n in LINES:
        d, factors = normal_lines(rng, dtype, n), normal_lines(rng, dtype, 1)
        D, W = whole(Operand(dtype, d.size, d)), Operand(dtype, factors.size, factors)
        expected = np.ravel(d * factors)  # one rounding: the same everywhere
        yield Case("scale", dtype, [n, D, W], lambda D=D, e=expected: assert_bits(D.values, e), f"n={n}")


# -- update rules --------------------------------------------------------------------------------------------------
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
# Of each rule's states: any number, or no less than 0.
KINDS = {"momentum": "a", "nesterov": "a", "rmsprop": "n", "rmsprop_momentum": "na", "rmsprop_centered": "naa",
         "adagrad": "n", "adadelta": "nn", "lion": "a", "amsgrad": "ann", "sgd": ""}  # fmt: skip


class Exact:
    """A number in wider arithmetic and its bound: every product and every sum rounds once, by u of its size."""

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
        """self / (sqrt(square) + epsilon): the root halves a relative error; 2 ULP, 4 u, for root, sum and quotient by
        estimates; one product."""
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
    """An average that may be rounded to the other side of 0 makes a step of the other sign."""
    average = g * s[2] + m * s[1]
    either = (abs(average.value) <= average.error) & (average.value != 0)
    return [w * s[0] + Exact(-s[5] * np.sign(average.value), g.u, 2 * s[5] * either), g * s[4] + m * s[3]]


def update_case(rule: str, g: np.ndarray, w: np.ndarray, states: list[np.ndarray], label: str, apart: int = 0) -> Case:
    """g, w and states: (columns, lines, L); in memory columns lie `apart` lines further apart than they must."""
    dtype, (columns, rows, L) = w.dtype.name, w.shape
    scalars = np.full(N_SCALARS, np.nan, dtype)
    scalars[: len(SCALARS[rule])], scalars[LIMIT] = SCALARS[rule], SAFE[dtype]
    G, pitch = Operand(dtype, columns * (rows + apart) * L), (rows + apart) * L
    G.values.reshape(columns, rows + apart, L)[:, :rows] = g
    old = np.stack([w, *states])
    W = Operand(dtype, len(old) * columns * pitch)
    runs = W.values.reshape(len(old), columns, rows + apart, L)[:, :, :rows]
    runs[:] = old
    W.written.reshape(len(old), columns, rows + apart, L)[:, :, :rows] = True
    flag = whole(Operand(np.int64, 1, [0]))

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
    if rule == "rmsprop_centered":  # the mean of squares is more than the square of the mean
        states[0] += states[2] ** 2 + np.array(0.1, dtype)
    return g, w, states


def updates(dtype: str, longest: int = 1000) -> Iterator[Case]:
    for rule in UPDATE_RULES:
        for columns, rows, apart in ((1, 1, 0), (1, 3, 1), (2, 8, 0), (3, 16, 2), (1, longest, 0)):
            g, w, states = random_update(rule, dtype, columns, rows)
            yield update_case(rule, g, w, states, f"{columns} runs of {rows} lines", apart)
            dead = [np.zeros_like(x) for x in (g, *states)]
            yield update_case(rule, dead[0], w, dead[1:], f"{columns} runs of {rows} lines, no gradient", apart)


def spoilt_updates(dtype: str) -> Iterator[Case]:
    """Gradients that are not finite, or whose squares are not: in some lanes only, which alone keep what they had."""
    rng, big = np.random.default_rng(11), {"float32": 1e30, "float64": 1e300}[dtype]
    for rule in UPDATE_RULES:
        for name, value in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": big}.items():
            g, w, states = random_update(rule, dtype, 2, 5)
            g[rng.uniform(size=g.shape) < 0.1] = value
            yield update_case(rule, g, w, states, name, apart=1)
        g, w, states = random_update(rule, dtype, 1, 3)
        w[0, 1, 2] = np.inf
        g[0, 0, 0] = big
        yield update_case(rule, g, w, states, "a weight that was not finite before")


# -- activations ---------------------------------------------------------------------------------------------------
ALPHA = {"leaky_relu": 0.01, "elu": 1.3}


def pointwise(function: Callable[..., object], *arguments) -> np.ndarray:
    return np.array([function(*values) for values in zip(*(np.ravel(a).tolist() for a in arguments), strict=True)])


def activation_inputs(dtype: str, n: int) -> np.ndarray:
    z = normal_lines(np.random.default_rng([12, n]), dtype, n, 3)
    z[0, :7] = [0.0, -0.0, np.inf, -np.inf, 100.0, -100.0, 1e-6]
    return z


def activations(dtype: str) -> Iterator[Case]:
    """|error| <= 4 eps (2 |f| + |z f'|): two roundings of f and one of an argument, here and in the float64 twin."""
    eps = float(np.finfo(dtype).eps)
    for name in NAMES:
        code, alpha = ACTIVATIONS[name], np.full(1, ALPHA.get(name, 0.0), dtype)
        for n, in_place in ((1, False), (5, False), (7, True)):
            z, pair = activation_inputs(dtype, n), code >= twins.GELU
            parameter = float(alpha[0])
            f = pointwise(lambda x, c=code, p=parameter: twins.activation(c, x, p), z)
            if pair:
                df = pointwise(lambda x, c=code: twins.activation_and_slope(c, x)[1], z)
            else:
                df = pointwise(lambda a, c=code, p=parameter: twins.slope_from_output(c, a, p), f)
            with np.errstate(invalid="ignore"):
                bound = 4 * eps * (2 * np.abs(f) + np.nan_to_num(np.abs(np.ravel(wide(z)) * df)))
            Z = Operand(dtype, z.size, z)
            A, slopes = whole(Z if in_place else Operand(dtype, z.size)), Operand(dtype, z.size)
            slopes.written[:] = pair

            def check(A=A, slopes=slopes, f=f, bound=bound, df=df, pair=pair):
                assert_within(A.values, f, bound)
                if pair:
                    assert_within(slopes.values, df, 8 * eps * np.maximum(np.abs(df), 1))

            arguments = [n, Z, A, slopes, Operand(dtype, 1, alpha, shift=1)]
            yield Case(f"activate_{name}", dtype, arguments, check, f"n={n}")


def slopes(dtype: str) -> Iterator[Case]:
    eps = float(np.finfo(dtype).eps)
    for name in NAMES:
        code, alpha = ACTIVATIONS[name], np.full(1, ALPHA.get(name, 0.0), dtype)
        for n in (1, 5):
            d = activation_inputs(dtype, n)
            known = np.random.default_rng(13).uniform(0 if name == "softplus" else -1, 1, d.shape).astype(dtype)
            known[0, 4], d[0, 2:4] = 0.0, 1.0
            if code >= twins.GELU:
                df = np.ravel(wide(known)).astype(np.float64)
            else:
                p = float(alpha[0])
                df = pointwise(lambda a, c=code, p=p: twins.slope_from_output(c, a, p), known)
            A, D = Operand(dtype, known.size, known), whole(Operand(dtype, d.size, d))
            exact = np.ravel(wide(d)) * df
            bound = 4 * eps * np.maximum(np.abs(df), 1) * np.abs(np.ravel(wide(d)))
            arguments = [n, A, D, Operand(dtype, 1, alpha, shift=1)]
            yield Case(f"slope_{name}", dtype, arguments, within(D, exact, bound), f"n={n}")


ELEMENTWISE = (
    softmaxes, softmax_slopes, scales, updates, spoilt_updates,
    activations, slopes,
)  # fmt: skip
