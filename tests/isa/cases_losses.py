"""Cases of the losses over a panel, against the reference's formulas in higher precision. See cases.

The bounds follow each value and slope through its operations, u for every rounding, 4 u for an exponential, a logarithm
or a hyperbolic tangent, and leave room for second-order terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastbp.isa.codes import CATEGORICAL
from fastbp.isa.codes import LOSSES as CODES
from fastbp.reference import LOSSES

from .cases import Case, Operand, assert_within, lanes_of, unit, wide, writable

LINES = (1, 2, 3, 8, 10, 16, 17, 33)


class Panel(NamedTuple):
    """Exact operands, one row per line, and what the bounds need."""

    z: Any
    t: Any
    u: float
    parameters: tuple[float, ...]


Bounds = tuple[Any, Any]  # of values and slopes, line by line, relative to the row's share


# -- bounds --------------------------------------------------------------------------------------------------------
def mse(c: Panel) -> Bounds:
    e = np.abs(c.z - c.t)
    return 5 * c.u * e**2, 6 * c.u * e


def mae(c: Panel) -> Bounds:
    e = np.abs(c.z - c.t)
    return 3 * c.u * e, np.full(e.shape, 3 * c.u)


def huber(c: Panel) -> Bounds:
    e = np.abs(c.z - c.t)
    kept = np.minimum(e, c.parameters[0])
    return 6 * c.u * kept * (e + kept), 4 * c.u * kept


def log_cosh(c: Panel) -> Bounds:
    """Small errors: twice the relative error of exp(-|e|) - 1, 5 u, and as much again for its denominator."""
    e = np.abs(c.z - c.t)
    return np.where(e < 1, 24 * c.u * e**2, 12 * c.u * e), 9 * c.u * np.tanh(e)


def poisson(c: Panel) -> Bounds:
    rate = c.z + c.parameters[0]
    return c.u * (4 * np.abs(c.z) + c.t * (2 + 8 * np.abs(np.log(rate)))), 5 * c.u * (1 + c.t / rate)


def poisson_log(c: Panel) -> Bounds:
    rate = np.exp(c.z)
    return 8 * c.u * (rate + np.abs(c.t * c.z)), 8 * c.u * (rate + c.t)


def hinge(c: Panel) -> Bounds:
    return 4 * c.u * (1 + np.abs(c.t * c.z)), np.full(c.z.shape, 3 * c.u)


def quantile(c: Panel) -> Bounds:
    e = np.repeat(c.t, len(c.parameters), axis=0) - c.z
    return 5 * c.u * np.abs(e), np.full(e.shape, 5 * c.u)


def gaussian_nll(c: Panel) -> Bounds:
    """exp(-s/2) of an argument rounded once is off by (|s| / 2 + 4) u, and so is r."""
    half = len(c.z) // 2
    s = np.maximum(c.z[half:], c.parameters[0])
    narrow, k = np.exp(-s / 2), np.abs(s) / 2 + 6
    r = np.abs(c.z[:half] - c.t) * narrow
    of_value = c.u * ((2 * k + 6) * r**2 + 6 * np.abs(s) + 6 * abs(c.parameters[1]))
    slopes = np.concatenate([(2 * k + 6) * r * narrow, (2 * k + 6) * r**2 + 4])
    return 2 * np.concatenate([of_value, 0 * of_value]), 2 * c.u * slopes


def binary(c: Panel) -> tuple[Any, Any]:
    """The error of softplus(z) - t z for targets rounded twice by smoothing, and softplus(z) - t z itself."""
    soft, positive = np.log1p(np.exp(-np.abs(c.z))), np.maximum(c.z, 0)
    return c.u * (9 * soft + 3 * positive + 6 * np.abs(c.z * c.t)), positive - c.t * c.z + soft


def smoothed(c: Panel, smoothing: float, classes: int) -> Panel:
    return c._replace(t=c.t * (1 - smoothing) + smoothing / classes)


def binary_cross_entropy(c: Panel) -> Bounds:
    c = smoothed(c, c.parameters[0], 2)
    return binary(c)[0] + 3 * c.u * binary(c)[1], c.u * (8 / (1 + np.exp(-c.z)) + 6 * c.t)


def binary_focal(c: Panel) -> Bounds:
    """1 - t of a smoothed target t has an error of 2 u, relatively 2 u / (1 - t); q^gamma magnifies it."""
    gamma, smoothing, positive, negative = c.parameters
    c = smoothed(c, smoothing, 2)
    p, rest = 1 / (1 + np.exp(-c.z)), 1 / (1 + np.exp(c.z))
    q = np.maximum(c.t * rest + (1 - c.t) * p, np.finfo(c.z.dtype).tiny)
    of_t = 4 / np.maximum(np.minimum(c.t, 1 - c.t), 1e-2 if smoothing else 1)
    k = gamma * (12 + of_t + 5 * np.minimum(-np.log(q), 710)) + of_t + 24
    weight = (c.t * positive + (1 - c.t) * negative) * q**gamma
    of_value, value = binary(c)
    turn = gamma * np.abs(1 - 2 * c.t) * p * rest / q
    slope = turn * value + (1 - c.t) * p + c.t * rest
    return weight * (of_value + k * c.u * value), weight * (turn * of_value + 2 * k * c.u * slope)


def log_sums(c: Panel) -> tuple[Any, Any, Any]:
    """log sum exp(z), l = -log p, and the error of l: both logsum and the difference are rounded."""
    top = c.z.max(0)
    logsum = top + np.log(np.exp(c.z - top).sum(0))
    loss = logsum - c.z
    return logsum, loss, c.u * (2 * np.abs(logsum) + 2 * np.abs(loss))


def cross_entropy(c: Panel) -> Bounds:
    c = smoothed(c, c.parameters[0], len(c.z))
    _, loss, of_loss = log_sums(c)
    p, total = np.exp(-loss), c.t.sum(0)
    return c.t * (of_loss + 6 * c.u * loss), c.u * ((len(c.z) + 8) * p * total + 6 * c.t)


def kl_divergence(c: Panel) -> Bounds:
    entropy = c.t * np.abs(np.log(np.where(c.t > 0, c.t, 1)))
    values, slopes = cross_entropy(c._replace(parameters=(0.0,)))
    return values + 8 * c.u * entropy, slopes


def categorical_focal(c: Panel) -> Bounds:
    """An error d in l is an error p d in q = 1 - p; where l itself is small, (q + d)^gamma bounds its effect."""
    gamma, smoothing, *alpha = c.parameters
    c = smoothed(c, smoothing, len(c.z))
    _, loss, d = log_sums(c)
    p, q = np.exp(-loss), np.maximum(-np.expm1(-loss), np.finfo(c.z.dtype).tiny)
    scale = np.reshape(alpha, (-1, 1)) * c.t
    k = 5 * gamma * np.minimum(-np.log(q), 710) + 24
    steep = (gamma + 1) * (gamma + 2) * np.maximum(1, loss) * d
    of_value = scale * (steep * (q + d) ** gamma * np.maximum(1, loss) + k * c.u * q**gamma * loss)
    G = scale * q**gamma * (gamma * p * loss / q + 1)
    of_G = k * c.u * G + scale * (gamma > 0) * steep * (q + d) ** max(gamma - 1, 0)
    return of_value, of_G + p * of_G.sum(0) + (len(c.z) + 8) * c.u * p * G.sum(0) + 4 * c.u * G


def categorical_hinge(c: Panel) -> Bounds:
    size = np.abs(c.t * c.z).sum(0) + np.abs(c.z).max(0) + 1
    values = np.zeros(c.z.shape, c.z.dtype)
    values[0] = (len(c.z) + 4) * c.u * size
    return values, np.full(c.z.shape, 3 * c.u)


BOUNDS: dict[str, Callable[[Panel], Bounds]] = {
    function.__name__: function
    for function in (
        mse, mae, huber, log_cosh, poisson, poisson_log, hinge, quantile, gaussian_nll, binary_cross_entropy,
        binary_focal, cross_entropy, kl_divergence, categorical_focal, categorical_hinge,
    )
}  # fmt: skip
# Parameters to try, by loss.
PARAMETERS: dict[str, list[tuple[float, ...]]] = {
    "huber": [(1.0,), (0.3,)],
    "quantile": [(0.5,), (0.1, 0.5, 0.8)],
    "poisson": [(1e-8,)],
    "gaussian_nll": [(-13.8, 0.0), (-2.0, 0.9)],
    "binary_cross_entropy": [(0.0,), (0.25,)],
    "binary_focal": [(2.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0), (1.5, 0.25, 0.25, 0.75)],
    "cross_entropy": [(0.0,), (0.25,)],
    "categorical_focal": [(2.0, 0.0, 0.25), (0.0, 0.0, 1.0), (1.0, 0.25, 0.5)],
}


# -- operands ------------------------------------------------------------------------------------------------------
def widths(name: str, parameters: tuple[float, ...], n: int) -> tuple[int, int]:
    """The numbers of lines of z and of targets, about n."""
    if name == "quantile":
        return n * len(parameters), n
    return (2 * n, n) if name == "gaussian_nll" else (n, n)


def inputs(name: str, rng: np.random.Generator, dtype: str, shape: tuple[int, int], scale: float) -> np.ndarray:
    z = (scale * rng.normal(size=shape)).astype(dtype)
    if name == "poisson":
        z = np.abs(z)
    return np.minimum(z, 20) if name == "poisson_log" else z


def targets(name: str, rng: np.random.Generator, dtype: str, shape: tuple[int, int], hard: bool) -> np.ndarray:
    n, lanes = shape
    if name == "hinge":
        return rng.choice([-1.0, 1.0], shape).astype(dtype)
    if name.startswith("poisson"):
        return rng.poisson(3.0, shape).astype(dtype)
    if CODES[name] <= CODES["categorical_hinge"]:
        t = np.zeros(shape)
        t[rng.integers(0, n, lanes), np.arange(lanes)] = 1
        return (t if hard else rng.dirichlet(np.ones(n), lanes).T).astype(dtype)
    if name.startswith("binary"):
        return (rng.integers(0, 2, shape) if hard else rng.uniform(size=shape)).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def loss_case(name: str, z: np.ndarray, t: np.ndarray, weights: np.ndarray, parameters, label: str) -> Case:
    """One panel: row losses, slopes times sample weights, and nothing else written."""
    dtype, lanes, u = z.dtype.name, z.shape[1], unit(z.dtype)
    given = np.array([len(parameters), *parameters], dtype)
    exact_parameters = tuple(float(p) for p in given[1:])
    panel = Panel(wide(z), wide(t), u, exact_parameters)
    with np.errstate(all="ignore"):
        losses, slopes = LOSSES[name].f(panel.z.T, panel.t.T, *exact_parameters)
        values_bound, slopes_bound = BOUNDS[name](panel)
    rowwise = CODES[name] <= CODES["categorical_hinge"]
    share = 1.0 if rowwise else 1.0 / len(z)
    d, extra = np.full(z.shape, np.nan), np.full(lanes, np.nan)
    if CODES[name] < CATEGORICAL:
        logsum, minus_log, _ = log_sums(panel)
        d, extra = np.exp(-minus_log), logsum
    terms = np.abs(losses) + share * values_bound.sum(0)
    loss_bound = 1.01 * (share * values_bound.sum(0) + (len(z) + 4) * u * terms)
    factor = np.abs(wide(weights))
    exact_d = slopes.T * wide(weights)
    d_bound = 1.01 * (factor * share * slopes_bound + 4 * u * np.abs(exact_d))
    assert np.isfinite(losses).all()
    assert np.isfinite(exact_d).all()

    Z, T = Operand(dtype, z.size, z), Operand(dtype, t.size, t)
    D, row_losses = writable(Operand(dtype, z.size, d.astype(dtype))), writable(Operand(dtype, lanes))
    W, E = Operand(dtype, lanes, weights), Operand(dtype, lanes, extra.astype(dtype))

    def check():
        assert_within(row_losses.values, losses, loss_bound)
        assert_within(D.lines(), exact_d, d_bound)

    arguments = [len(z), Z, T, D, W, row_losses, E, Operand(dtype, given.size, given, shift=1)]
    return Case(f"loss_{name}", dtype, arguments, check, f"{parameters} {label}")


def cases_of(name: str, dtype: str, lines=LINES) -> Iterator[Case]:
    lanes = lanes_of(dtype)
    for parameters in PARAMETERS.get(name, [()]):
        for n in lines:
            rng = np.random.default_rng([30, n])
            n_z, n_t = widths(name, parameters, n)
            for scale, hard in ((1, False), (8, True)):
                z = inputs(name, rng, dtype, (n_z, lanes), scale)
                t = targets(name, rng, dtype, (n_t, lanes), hard)
                weights = rng.normal(size=(1, lanes)).astype(dtype)
                yield loss_case(name, z, t, weights, parameters, f"n={n} times {scale}")


def extremes_of(name: str, dtype: str) -> Iterator[Case]:
    """Outputs of +-10^4, 0 and values between them, in random order, with hard and soft targets."""
    lanes = lanes_of(dtype)
    for parameters in PARAMETERS.get(name, [()]):
        for n in (2, 3, 5):
            rng = np.random.default_rng([31, n])
            n_z, n_t = widths(name, parameters, n)
            z = rng.choice([1e4, -1e4, 0.0, 30.0, -30.0, 1e-3], (n_z, lanes)).astype(dtype)
            if name == "poisson":
                z = np.abs(z)
            if name == "poisson_log":
                z = np.minimum(z, 30)
            if name == "gaussian_nll":  # a precision of exp(10^4) overflows
                z[n_t:] = np.abs(z[n_t:])
            for hard in (True, False):
                t = targets(name, rng, dtype, (n_t, lanes), hard)
                yield loss_case(name, z, t, np.ones((1, lanes), dtype), parameters, f"extremes n={n} {hard=}")


def impossible(dtype: str) -> Iterator[Case]:
    """A logit of -inf whose target is 0 adds nothing to the loss; rows without a target have zero loss."""
    lanes = lanes_of(dtype)
    rng = np.random.default_rng(32)
    for name in ("cross_entropy", "kl_divergence"):
        parameters = (0.0,) if name == "cross_entropy" else ()
        for n in LINES:
            z = inputs(name, rng, dtype, (n, lanes), 5)
            t = targets(name, rng, dtype, (n, lanes), hard=True)
            weights = np.ones((1, lanes), dtype)
            yield loss_case(name, z, np.zeros_like(t), weights, parameters, f"n={n} no target")
            lowest = np.where(t == 0, np.array(-1e30, dtype), z)
            case = loss_case(name, lowest, t, weights, parameters, f"n={n} impossible")
            Z = case.operands()[0]
            Z.values[np.ravel(t) == 0] = -np.inf
            yield case
