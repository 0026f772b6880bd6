"""Coefficients in fastbp/isa/emitters (transcendental, activations): minimax fits by the Remez exchange in 50 digits.

    python tools/minimax.py            prints every table and its largest error; needs mpmath; some ten seconds

A fit minimizes the largest |weight (target - fit)| over the interval, on 700 Chebyshev points. Errors are those of the
coefficients after rounding, in units of 2^-24 (2^-53).
"""

from __future__ import annotations

import mpmath as mp
import numpy as np

mp.mp.dps = 50
DTYPES = {"float32": (np.float32, 24), "float64": (np.float64, 53)}


def grid(low, high, count=700, crowd=None):
    """Chebyshev points of [low, high]; with `crowd`, of s in z = crowd s / (1 - s), for a function that flattens."""
    if crowd is not None:
        top = high / (high + crowd)
        return [crowd * s / (1 - s) for s in grid(mp.mpf(0), top, count)]
    return [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / count) for i in range(count)]


def exchange(error, wanted):
    """The positions of `wanted` extrema of alternating sign, the largest of them among these."""
    runs = []
    for i, e in enumerate(error):
        if runs and (e > 0) == (error[runs[-1]] > 0):
            if abs(e) > abs(error[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > wanted:
        del runs[0 if abs(error[runs[0]]) < abs(error[runs[-1]]) else -1]
    return runs


def remez(points, target, weight, powers, rounds=30):
    """Coefficients c of sum c_i z^powers[i] nearest to target, and the error reached."""
    wanted = len(powers) + 1
    reference = [round(i * (len(points) - 1) / (wanted - 1)) for i in range(wanted)]
    basis = [[z**p for p in powers] for z in points]
    for _ in range(rounds):
        rows = [[*basis[i], (-1) ** n / weight[i]] for n, i in enumerate(reference)]
        c = list(mp.lu_solve(mp.matrix(rows), mp.matrix([target[i] for i in reference])))[:-1]
        error = [w * (t - mp.fdot(c, row)) for w, t, row in zip(weight, target, basis, strict=True)]
        found = exchange(error, wanted)
        peak = max(abs(e) for e in error)
        if len(found) < wanted or peak < min(abs(error[i]) for i in found) * mp.mpf("1.001"):
            break
        reference = found
    assert len(found) == wanted, "lost"
    return c, peak


def rounded(points, target, weight, degree, dtype):
    """`remez`, its coefficients rounded to the type, and the error of the rounded ones."""
    c, _ = remez(points, target, weight, range(degree + 1))
    c = [float(dtype(float(p))) for p in c]
    return c, max(abs(w * (t - mp.polyval(c[::-1], z))) for z, t, w in zip(points, target, weight, strict=True))


def rational(points, target, n, m, rounds=25):
    """(1/2 + z P) / (1 + z Q), P of n and Q of m coefficients, in relative error; returns Q alone."""
    wanted = n + m + 1
    reference = [round(i * (len(points) - 1) / (wanted - 1)) for i in range(wanted)]
    for _ in range(rounds):
        level = mp.mpf(0)
        for _ in range(5):
            rows, right = [], []
            for k, i in enumerate(reference):
                z, f, s = points[i], target[i], (-1) ** k * target[i]
                rows.append([*(z**j for j in range(1, n + 1)), *(-(f - s * level) * z**j for j in range(1, m + 1)), s])
                right.append(f - mp.mpf(1) / 2)
            solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix(right)))
            level = solution[-1]
        p, q = solution[:n], solution[n:-1]
        error = [1 - fraction(z, p, q) / f for z, f in zip(points, target, strict=True)]
        found, peak = exchange(error, wanted), max(abs(e) for e in error)
        if len(found) < wanted or peak < min(abs(error[i]) for i in found) * mp.mpf("1.01"):
            break
        reference = found
    return q, peak


def fraction(z, p, q):
    return (mp.mpf(1) / 2 + mp.polyval([*p[::-1], 0], z)) / (1 + mp.polyval([*q[::-1], 0], z))


def fit_exp(dtype, degree):
    """H of exp(r) = 1 + r + r^2 H(r), |r| <= ln 2 / 2, relative to exp(r) - 1."""
    half = mp.log(2) / 2 * mp.mpf("1.0001")
    z = grid(-half, half)
    return rounded(z, [(mp.expm1(r) - r) / r**2 for r in z], [r**2 / abs(mp.expm1(r)) for r in z], degree, dtype)


def fit_log(dtype, degree):
    """P of log(1 + f) = f - f^2/2 + f^3 P(f), sqrt(1/2) <= 1 + f <= sqrt(2), relative to log(1 + f)."""
    z = grid(mp.sqrt("0.5") * mp.mpf("0.99999") - 1, mp.sqrt(2) * mp.mpf("1.00001") - 1)
    return rounded(
        z, [(mp.log1p(f) - f + f**2 / 2) / f**3 for f in z], [abs(f**3 / mp.log1p(f)) for f in z], degree, dtype
    )


def fit_erf(dtype, degree, top):
    """Q of erf(v) = 1 - exp(-2 v / sqrt(pi) - v^2 Q(v)), 0 <= v <= top, relative to erf(v)."""
    z = grid(mp.mpf(0), mp.mpf(top))
    t = [-mp.log(mp.erfc(v)) for v in z]
    weight = [v**2 * mp.exp(-a) / mp.erf(v) for a, v in zip(t, z, strict=True)]
    return rounded(z, [(a / v - 2 / mp.sqrt(mp.pi)) / v for a, v in zip(t, z, strict=True)], weight, degree, dtype)


def fit_sine(dtype, degree):
    """S of sin(2 pi u) = u (2 pi + u^2 S(u^2)), |u| <= 1/4, relative."""
    z = grid(mp.mpf(0), mp.mpf("0.0625001"))
    t = [mp.sin(2 * mp.pi * mp.sqrt(v)) / mp.sqrt(v) for v in z]
    return rounded(z, [(a - 2 * mp.pi) / v for a, v in zip(t, z, strict=True)],
                   [v / a for a, v in zip(t, z, strict=True)], degree, dtype)


def fit_tail(dtype, n, m, top):
    """P, Q of Phi(-z) exp(z^2/2) = (1/2 + z P(z)) / (1 + z Q(z)), 0 <= z <= top, relative."""
    z = grid(mp.mpf(0), mp.mpf(top), crowd=mp.mpf(2))
    f = [mp.erfc(v / mp.sqrt(2)) / 2 * mp.exp(v**2 / 2) for v in z]
    q = [float(dtype(float(c))) for c in rational(z, f, n, m)[0]]
    goal = [a * (1 + mp.polyval([*q[::-1], 0], v)) for a, v in zip(f, z, strict=True)]
    weight = [v / a for a, v in zip(goal, z, strict=True)]
    p, peak = rounded(z, [(a - mp.mpf(1) / 2) / v for a, v in zip(goal, z, strict=True)], weight, n - 1, dtype)
    return (p, q), peak


FITS = [  # name, fit, its arguments after the dtype: degrees, and the end of the interval
    ("transcendental.EXP", fit_exp, {"float32": (4,), "float64": (10,)}),
    ("transcendental.LOG", fit_log, {"float32": (7,), "float64": (18,)}),
    ("transcendental.ERF", fit_erf, {"float32": (7, 3.95), "float64": (23, 6)}),
    ("transcendental.SINE", fit_sine, {"float32": (4,), "float64": (8,)}),
    ("activations.TAIL_P, TAIL_Q", fit_tail, {"float32": (5, 5, 14), "float64": (10, 11, 39)}),
]

if __name__ == "__main__":
    for name, fit, cases in FITS:
        for kind, case in cases.items():
            dtype, digits = DTYPES[kind]
            coefficients, error = fit(dtype, *case)
            print(f"{name}, {kind}, degree {case[0]}: error {float(error * 2**digits):.2f}\n    {coefficients}")
