"""Full-batch L-BFGS: scipy's, on the engine's gradients."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result
from threadpoolctl import ThreadpoolController

from fastbp.data.arrays import Rows
from fastbp.engine.engine import Engine
from fastbp.estimators.architecture import OutputDesign
from fastbp.util.console import tell
from fastbp.util.types import Array

_CHUNK_BYTES = 1 << 25  # of the activations of a chunk
_CHUNK_ROWS = 256


@functools.cache
def _blas() -> ThreadpoolController:
    """The loaded BLAS libraries, including scipy's by now."""
    return ThreadpoolController()


class Objective:
    """The penalized loss over all rows and its gradient, as functions of a flat float64 vector of weights.

        J(w) = gradient_scale L(w) + alpha / 2 sum W^2 / (rows, or their weights)

    L is accumulated over chunks of rows, which bounds the memory. The engine is always float64: a line search does not
    tolerate float32's rounding.
    """

    def __init__(
        self, engine: Engine, rows: Rows, design: OutputDesign, alpha: float, constant: float, n_threads: int | None
    ) -> None:
        self.engine, self.rows, self.design, self.n_threads = engine, rows, design, n_threads
        self.shapes = [array.shape for array in engine.get_weights()]
        self.splits = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        n = len(rows.X)
        self.weight = float(n) if rows.weight is None else float(rows.weight.sum(dtype=np.float64))
        self.alpha, self.constant = alpha / self.weight, constant
        width = engine.input_size + 2 * sum(spec.units for spec in engine.specs)
        self.chunk = max(_CHUNK_ROWS, _CHUNK_BYTES // (8 * width) // _CHUNK_ROWS * _CHUNK_ROWS)
        # Chunks of another dtype are not kept: each is converted when used, then freed.
        kept = n <= self.chunk or rows.X.dtype == engine.dtype
        self.parts = list(self._parts()) if kept else []

    def _parts(self) -> Iterator[tuple[Any, Array, Array | None, float]]:
        """All rows in chunks."""
        return (self._part(slice(start, start + self.chunk)) for start in range(0, len(self.rows.X), self.chunk))

    def _part(self, part: slice) -> tuple[Any, Array, Array | None, float]:
        """A slice of rows in the engine's form, and its share of the total weight."""
        X, y, weight = self.rows
        w = None if weight is None else weight[part].astype(np.float64, copy=False)
        own = X[part]
        if own.dtype != self.engine.dtype:
            own = own.astype(self.engine.dtype)
        target = y[part] if y.dtype == np.int64 else y[part].astype(self.engine.dtype, copy=False)
        total = float(len(target)) if w is None else float(w.sum())
        return own, target, w, total / self.weight

    def pack(self, weights: list[Array]) -> Array:
        """Concatenate arrays into one vector."""
        return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in weights])

    def unpack(self, vector: Array) -> list[Array]:
        """Split a vector into arrays."""
        return [part.reshape(shape) for part, shape in zip(np.split(vector, self.splits), self.shapes, strict=True)]

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """J and its gradient."""
        weights = self.unpack(vector)
        self.engine.set_weights(weights)
        total, gradient, c = 0.0, np.zeros(len(vector)), self.design.gradient_scale
        for X, y, w, share in self.parts or self._parts():
            if share:
                loss, found = self.engine.gradients(X, y, sample_weight=w, n_threads=self.n_threads)
                total += share * loss
                gradient += c * share * self.pack(found)  # type: ignore[arg-type]
        self.mean = total
        squares = 0.0
        for array, slope in zip(weights, self.unpack(gradient), strict=True):
            if array.ndim == 2:
                squares += float(np.vdot(array, array))
                slope += self.alpha * array
        self.penalty = 0.5 * self.alpha * squares
        return c * total + self.penalty + self.constant, gradient

    @property
    def loss(self) -> float:
        """The loss that scikit-learn reports, for the last call."""
        return self.design.loss_scale * self.mean + self.penalty + self.constant


def minimize(objective: Objective, weights: list[Array], estimator: Any) -> list[Array]:
    """Weights at a minimum; sets n_iter_ and loss_, and warns if it was not reached, as scikit-learn does.

    Runs with one BLAS thread, because the last bits of scipy's dot products depend on the number of threads.
    """
    iterations = 0

    def print_iteration(intermediate_result: Any) -> None:
        nonlocal iterations
        iterations += 1
        tell(f"Iteration {iterations}, loss = {intermediate_result.fun:.8f}")

    with _blas().limit(limits=1):
        result = scipy.optimize.minimize(
            objective,
            objective.pack(weights),
            method="L-BFGS-B",
            jac=True,
            callback=print_iteration if estimator.verbose else None,
            options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        )
        objective(result.x)
    estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = objective.loss
    return objective.unpack(result.x)
