"""Cases of penalties, clipping, norms and averages on runs of parameters. See cases; bounds come from `Rounded`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import Case, Operand, assert_bits, assert_within, lanes_of, unit, wide, writable
from .rounded import Rounded

LINES = (0, 1, 15, 16, 17, 31, 33, 100)


def lines_of(dtype: str, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, n]).normal(size=(n, lanes_of(dtype))).astype(dtype)


def assert_sum(got: float, terms: np.ndarray, error=0.0) -> None:
    """A float64 sum of positive terms, each a rounded square, in any order; `error` is that of the terms."""
    terms, u = terms.astype(np.longdouble), unit(np.float64)
    error = np.longdouble(np.sum(error)) + (terms.size + 2) * u * (terms.sum() + np.longdouble(np.sum(error)))
    assert_within(np.float64(got), terms.sum(), 1.01 * error)


def prepares(dtype: str) -> Iterator[Case]:
    """Weights of 0 have sign 0; the sum of squares is that of the values written."""
    for n in LINES:
        for share, l1, l2, bound in ((1, 0, 0, np.inf), (0.25, 0.1, 0, np.inf), (0.5, 0.1, 0.02, 0.3), (1, 0, 0.3, 1)):
            g, w = lines_of(dtype, n, 0), lines_of(dtype, n, 1)
            w[w < -1] = 0
            s = np.array([share, l1, l2, bound], dtype)
            G, W, sums = (writable(Operand(dtype, g.size, g)), Operand(dtype, w.size, w),
                          writable(Operand(np.float64, 1)))  # fmt: skip

            def check(g=g, w=w, s=s, G=G, sums=sums):
                gradient, weight, (a, b, c) = Rounded.exact(g), Rounded.exact(w), s[:3]
                scaled = gradient * gradient.constant(float(a)) + weight * weight.constant(float(c))
                whole_gradient = scaled + Rounded.exact(np.sign(w) * b)
                bounds = wide(s[3])
                # clipping magnifies no error
                assert_within(G.lines(), np.clip(whole_gradient.value, -bounds, bounds), 1.01 * whole_gradient.error)
                assert_sum(sums.values[0], wide(G.lines()).astype(np.longdouble) ** 2)

            arguments = [n, G, W, Operand(dtype, 4, s, shift=1), sums]
            yield Case("prepare", dtype, arguments, check, f"{n} lines, {share} {l1} {l2} {bound}")


def squares(dtype: str) -> Iterator[Case]:
    for n in LINES:
        g, total = lines_of(dtype, n, 0), writable(Operand(np.float64, 1))

        def check(g=g, total=total):
            assert_sum(total.values[0], wide(g).astype(np.longdouble) ** 2)

        yield Case("squares", dtype, [n, Operand(dtype, g.size, g), total], check, f"{n} lines")


def penalties(dtype: str) -> Iterator[Case]:
    for n in LINES:
        w, sums = lines_of(dtype, n, 1), writable(Operand(np.float64, 2))

        def check(w=w, sums=sums):
            assert_sum(sums.values[0], np.abs(w).astype(np.longdouble))
            assert_sum(sums.values[1], w.astype(np.longdouble) ** 2)

        yield Case("penalties", dtype, [n, Operand(dtype, w.size, w), sums], check, f"{n} lines")


def limits(dtype: str) -> Iterator[Case]:
    """Lanes within the bound keep their bits, as do units of zero weights. w min(1, c / |w|) has no jump there.

    The norm takes n squares in one chain and a root; then come a quotient and a product. Weights may be so large or
    small that squares in float32, or the quotient, would be inf or 0.
    """
    u = unit(dtype)
    for n in LINES:
        w = lines_of(dtype, n, 1)
        w[:, 1] = 0
        w[:, 2] *= np.dtype(dtype).type(1e-3)
        w[:, 3] *= np.dtype(dtype).type(1e25)
        w[:, 4] *= np.dtype(dtype).type(1e-25)
        w[:, 5] = np.copysign(3e38, w[:, 5])
        for bound in (1e-26, 0.5, 5.0, 1e6):
            W, most = writable(Operand(dtype, w.size, w)), np.array([bound], dtype)

            def check(w=w, W=W, most=most, n=n):
                norms = np.sqrt((wide(w) ** 2).sum(0))
                factors = np.minimum(1, wide(most) / np.where(norms > 0, norms, 1))
                assert_within(W.lines(), wide(w) * factors, 1.01 * ((n + 2) / 2 + 3) * u * np.abs(wide(w) * factors))
                inside = norms < wide(most) * (1 - (n + 4) * u)
                assert_bits(W.lines()[:, inside], w[:, inside])

            yield Case("limit", dtype, [n, W, Operand(dtype, 1, most, shift=1)], check, f"{n} lines within {bound}")


def averages(dtype: str) -> Iterator[Case]:
    """With momentum 0 bit-identical to the weights."""
    for n in LINES:
        for momentum in (0.0, 0.9, 0.999):
            w, m = lines_of(dtype, n, 1), lines_of(dtype, n, 2)
            share, M = np.array([momentum], dtype), writable(Operand(dtype, m.size, m))

            def check(w=w, m=m, share=share, M=M):
                weight, mean, factor = (Rounded.exact(x) for x in (w, m, share))
                expected = weight + factor * (mean - weight)
                assert_within(M.lines(), expected.value, 1.01 * expected.error)
                if share[0] == 0:
                    assert_bits(M.lines(), w)

            arguments = [n, Operand(dtype, w.size, w), M, Operand(dtype, 1, share, shift=1)]
            yield Case("average", dtype, arguments, check, f"{n} lines, {momentum}")


def lambs(dtype: str) -> Iterator[Case]:
    """States are only read; they lie some lines behind the weights."""
    L = lanes_of(dtype)
    for n in LINES:
        for decay in (0.0, 0.1):
            g, w, m, v = (lines_of(dtype, n, seed) for seed in range(4))
            v = v**2
            s, stride = np.array([decay, 0.9, 0.999, 1e-3, 0.7], dtype), (n + 2) * L
            W, sums = Operand(dtype, 2 * stride + n * L), writable(Operand(np.float64, 2))
            for i, values in enumerate((w, m, v)):
                W.values[i * stride :][: n * L] = values.ravel()

            def check(g=g, w=w, m=m, v=v, s=s, sums=sums):
                gradient, weight, old_m, old_v = (Rounded.exact(x) for x in (g, w, m, v))
                decays, beta_1, beta_2, epsilon, alpha = (Rounded.exact(s[i : i + 1]) for i in range(5))
                root = (beta_2 * old_v + gradient * gradient).sqrt()
                direction = decays * weight + alpha * (beta_1 * old_m + gradient) / (root + epsilon)
                size, error = np.abs(direction.value), direction.error
                assert_sum(sums.values[0], w.astype(np.longdouble) ** 2)
                assert_sum(sums.values[1], size**2, 2 * size * error + error**2)

            arguments = [n, Operand(dtype, g.size, g), W, stride, Operand(dtype, 5, s, shift=1), sums]
            yield Case("lamb", dtype, arguments, check, f"{n} lines, decay {decay}")


PARAMETERS = (prepares, squares, penalties, limits, averages, lambs)
