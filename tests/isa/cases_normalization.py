"""Cases of batch and layer normalization; the bounds come from `Rounded`. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import (
    Case,
    Operand,
    assert_within,
    lanes_of,
    writable,
)
from .rounded import Rounded

SIZES = (1, 15, 16, 17, 31, 33, 100)
ALL_PAIRS = [(n, batch) for n in SIZES for batch in SIZES]
FEW_PAIRS = [(n, SIZES[(i + shift) % len(SIZES)]) for i, n in enumerate(SIZES) for shift in (0, 4)]
EPSILON = 1e-5


def levels(terms: int, L: int) -> float:
    """Additions that a term passes through in L partial sums and their reduction tree."""
    return -(-terms // L) + np.log2(L)


class Panels:
    """Rows of a batch by features in panels, with `gap` lines between panels; NaN in lanes without a row."""

    def __init__(self, dtype: str, n: int, batch: int, rows: np.ndarray | None = None, gap: int = 0):
        self.L, self.n, self.batch = lanes_of(dtype), n, batch
        self.panels, self.pitch = -(-batch // self.L), (n + gap) * self.L
        self.operand = Operand(dtype, (self.panels - 1) * self.pitch + n * self.L)
        if rows is None:
            for panel in self.each(self.operand.written):
                panel[:] = True  # lanes without a row may be overwritten
            return
        for q, panel in enumerate(self.each(self.operand.values)):
            here = rows[q * self.L : (q + 1) * self.L]
            panel.reshape(n, self.L)[:, : len(here)] = here.T

    def each(self, values: np.ndarray) -> list[np.ndarray]:
        return [values[q * self.pitch :][: self.n * self.L] for q in range(self.panels)]

    def rows(self) -> np.ndarray:
        parts = [panel.reshape(self.n, self.L).T for panel in self.each(self.operand.values)]
        return np.concatenate(parts)[: self.batch]


class Runs:
    """Values per feature, such as gamma and beta, `pitch` apart; NaN between them."""

    def __init__(self, dtype: str, n: int, count: int, values: np.ndarray | None = None):
        self.n, self.count, self.pitch = n, count, n + 3
        self.operand = Operand(dtype, (count - 1) * self.pitch + n, shift=1)
        for i in range(count):
            if values is None:
                self.part(self.operand.written, i)[:] = True
            else:
                self.part(self.operand.values, i)[:] = values[i]

    def part(self, values: np.ndarray, i: int) -> np.ndarray:
        return values[i * self.pitch :][: self.n]

    def read(self) -> np.ndarray:
        return np.stack([self.part(self.operand.values, i) for i in range(self.count)])


def one(dtype: str, value: float) -> Operand:
    return Operand(dtype, 1, [value], shift=1)


def random(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def normalized(X: np.ndarray, axis: int, gamma: np.ndarray) -> list[Rounded]:
    """x_hat, gamma x_hat + beta, mean, variance and 1 / sqrt(variance + epsilon), with statistics along an axis."""
    x, g, number = Rounded.exact(X), Rounded.exact(gamma), X.shape[axis]
    additions = levels(number, lanes_of(X.dtype))

    def mean_of(values: Rounded) -> Rounded:
        total = values.sum(axis, additions) * (x.constant(1) / x.constant(number))
        return total[np.newaxis] if axis == 0 else total[:, np.newaxis]

    mean = mean_of(x)
    centred = x - mean
    variance = mean_of(centred * centred)
    inverse = x.constant(1) / (variance + x.constant(EPSILON)).sqrt()
    x_hat = centred * inverse
    return [x_hat, x_hat * g[0] + g[1], mean, variance, inverse]


def assert_near(got: np.ndarray, expected: Rounded) -> None:
    assert_within(got, expected.value, 1.01 * expected.error)


def batch_norms(dtype: str, pairs=ALL_PAIRS) -> Iterator[Case]:
    """Also for means far from 0, where a difference of squares would lose the variance."""
    for n, batch in pairs:
        X = random(dtype, batch, n) + np.dtype(dtype).type(100 if n == 17 else 0)
        gamma = random(dtype, 2, n, seed=1)
        A, (Z, F) = Panels(dtype, n, batch, X, gap=3), (Panels(dtype, n, batch, gap=1) for _ in range(2))
        G, S = Runs(dtype, n, 2, gamma), Runs(dtype, n, 3)

        def check(X=X, gamma=gamma, Z=Z, F=F, S=S):
            *outputs, mean, variance, inverse = normalized(X, 0, gamma)
            for panels, expected in zip((F, Z), outputs, strict=True):
                assert_near(panels.rows(), expected)
            for got, expected in zip(S.read(), (mean, variance, inverse), strict=True):
                assert_near(got, expected[0])

        arguments = [n, batch, A.operand, A.pitch, Z.operand, Z.pitch, F.operand, G.operand, G.pitch, S.operand,
                     S.pitch, one(dtype, EPSILON)]  # fmt: skip
        yield Case("batch_norm", dtype, arguments, check, f"{n} features, {batch} rows")


def batch_norm_predictions(dtype: str) -> Iterator[Case]:
    L = lanes_of(dtype)
    for n in SIZES:
        X, gamma = random(dtype, L, n), random(dtype, 4, n, seed=1)
        gamma[3] = np.abs(gamma[3])
        A, Z, G = Panels(dtype, n, L, X), Panels(dtype, n, L), Runs(dtype, n, 4, gamma)

        def check(X=X, gamma=gamma, Z=Z):
            x, g = Rounded.exact(X), Rounded.exact(gamma)
            x_hat = (x - g[2]) * (x.constant(1) / (g[3] + x.constant(EPSILON)).sqrt())
            assert_near(Z.rows(), x_hat * g[0] + g[1])

        arguments = [n, A.operand, Z.operand, G.operand, G.pitch, one(dtype, EPSILON)]
        yield Case("batch_norm_predict", dtype, arguments, check, f"{n} features")


def gains(dtype: str, pairs=ALL_PAIRS) -> Iterator[Case]:
    for n, batch in pairs:
        delta, x_hat = (random(dtype, batch, n, seed=seed) for seed in (2, 3))
        D, F = Panels(dtype, n, batch, delta, gap=1), Panels(dtype, n, batch, x_hat, gap=2)
        G = Runs(dtype, n, 2)

        def check(delta=delta, x_hat=x_hat, G=G, batch=batch):
            d, f, additions = Rounded.exact(delta), Rounded.exact(x_hat), levels(batch, lanes_of(delta.dtype))
            for got, expected in zip(G.read(), (d * f, d), strict=True):
                assert_near(got, expected.sum(0, additions))

        arguments = [n, batch, D.operand, D.pitch, F.operand, F.pitch, G.operand, G.pitch]
        yield Case("gains", dtype, arguments, check, f"{n} features, {batch} rows")


def batch_norm_backwards(dtype: str, pairs=ALL_PAIRS) -> Iterator[Case]:
    """With given sums."""
    for n, batch in pairs:
        delta, x_hat = (random(dtype, batch, n, seed=seed) for seed in (2, 3))
        gamma, inverse, sums = (random(dtype, rows, n, seed=rows) for rows in (1, 1, 2))
        D, F = Panels(dtype, n, batch, delta, gap=1), Panels(dtype, n, batch, x_hat, gap=2)
        E, G = Panels(dtype, n, batch, gap=3), Runs(dtype, n, 2, sums)
        P, S = Runs(dtype, n, 1, gamma), Runs(dtype, n, 1, inverse)

        def check(delta=delta, x_hat=x_hat, gamma=gamma, inverse=inverse, sums=sums, E=E, batch=batch):
            d, f, g, s, t = (Rounded.exact(x) for x in (delta, x_hat, gamma, inverse, sums))
            share = d.constant(1) / d.constant(batch)
            assert_near(E.rows(), g[0] * s[0] * (d - t[1] * share - f * (t[0] * share)))

        arguments = [n, batch, D.operand, D.pitch, F.operand, F.pitch, P.operand, S.operand, G.operand, G.pitch,
                     E.operand, E.pitch]  # fmt: skip
        yield Case("batch_norm_backward", dtype, arguments, check, f"{n} features, {batch} rows")


def layer_norms(dtype: str) -> Iterator[Case]:
    L = lanes_of(dtype)
    for n in SIZES:
        X, gamma = random(dtype, L, n) + np.dtype(dtype).type(100 if n == 17 else 0), random(dtype, 2, n, seed=1)
        A, Z, F = Panels(dtype, n, L, X), Panels(dtype, n, L), Panels(dtype, n, L)
        G, inverse = Runs(dtype, n, 2, gamma), writable(Operand(dtype, L))

        def check(X=X, gamma=gamma, Z=Z, F=F, inverse=inverse):
            *outputs, _, _, factor = normalized(X, 1, gamma)
            for panels, expected in zip((F, Z), outputs, strict=True):
                assert_near(panels.rows(), expected)
            assert_near(inverse.values, factor[:, 0])

        arguments = [n, A.operand, Z.operand, F.operand, G.operand, G.pitch, inverse, one(dtype, EPSILON)]
        yield Case("layer_norm", dtype, arguments, check, f"{n} features")


def layer_norm_backwards(dtype: str) -> Iterator[Case]:
    L = lanes_of(dtype)
    for n in SIZES:
        delta, x_hat = (random(dtype, L, n, seed=seed) for seed in (2, 3))
        gamma, inverse = random(dtype, 1, n, seed=1), random(dtype, L, seed=4)
        D, F, E = Panels(dtype, n, L, delta), Panels(dtype, n, L, x_hat), Panels(dtype, n, L)

        def check(delta=delta, x_hat=x_hat, gamma=gamma, inverse=inverse, E=E, n=n):
            d, f, g, s = (Rounded.exact(x) for x in (delta, x_hat, gamma, inverse[:, np.newaxis]))
            d, additions, share = d * g[0], levels(n, lanes_of(delta.dtype)), d.constant(1) / d.constant(n)
            mean, slant = ((x.sum(1, additions) * share)[:, np.newaxis] for x in (d, d * f))
            assert_near(E.rows(), s * (d - mean - f * slant))

        arguments = [n, D.operand, F.operand, Runs(dtype, n, 1, gamma).operand, Operand(dtype, L, inverse), E.operand]
        yield Case("layer_norm_backward", dtype, arguments, check, f"{n} features")


BY_PAIRS = (batch_norms, gains, batch_norm_backwards)
NORMALIZATION = (*BY_PAIRS, batch_norm_predictions, layer_norms, layer_norm_backwards)
