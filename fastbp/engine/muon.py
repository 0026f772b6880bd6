"""Training with Muon, whose update looks at whole matrices: gradients from the engine, updates in NumPy.

Hidden kernels move along orthogonalized momentum (Jordan et al. 2024), everything else by AdamW. Around the rule stands
the update spec in its usual order: accumulation, clipping, the rule, max_norm, the average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.spec import LayerSpec, UpdateSpec

Array = np.ndarray
ROUNDS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
MUON_EPSILON, ADAM_EPSILON = 1e-7, 1e-8


class Parameter(NamedTuple):
    """One array: where it lies in the flat ones, whose it is, and as which; kernel: also a table of vectors; the factor
    of its learning rate."""

    place: slice
    shape: tuple[int, ...]
    layer: int
    spec: LayerSpec
    number: int
    kernel: bool
    multiplier: float

    def of(self, flat: Array) -> Array:
        """The array, a view."""
        return flat[self.place].reshape(self.shape)


def parameters(specs: Sequence[LayerSpec], shapes: Sequence[Sequence[tuple[int, ...]]]) -> list[Parameter]:
    """The arrays of all nodes, one after another; shapes: those of each node's arrays."""
    found: list[Parameter] = []
    end = 0
    for layer, (spec, own) in enumerate(zip(specs, shapes, strict=True)):
        for number, shape in enumerate(own):
            start, end = end, end + math.prod(shape)
            kernel, multiplier = spec.is_kernel(number), spec.multiplier_of(number)
            found.append(Parameter(slice(start, end), shape, layer, spec, number, kernel, multiplier))
    return found


class Muon:
    """Steps on flat weights W, their gradients dW and the states: the momenta and squares, then those of the spec."""

    def __init__(self, every: Sequence[Parameter], update_spec: UpdateSpec, steps: int) -> None:
        self.every, self.update_spec, self.steps = every, update_spec, steps
        self.trained = [p for p in every if p.spec.trainable]
        self.hidden = [p for p in every if p.kernel and p.spec.dense][1:-1]

    def step(self, W: Array, dW: Array, states: list[Array], row: list[float]) -> int:
        """One step; returns the node whose weights would have become not finite, or -1."""
        self.steps += 1
        spec, layer = self.update_spec, -1
        own = states[: len(states) - spec.n_states]
        if spec.accumulation > 1:
            layer = self._accumulate(dW, states[-1])
            if self.steps % spec.accumulation:
                return layer
            np.multiply(states[-1], 1 / spec.accumulation, out=dW)
            states[-1][:] = 0
        self._clip(dW)
        buffers = [W, *own]
        kept = [buffer.copy() for buffer in buffers]
        for p in self.trained:
            decay = row[1] * p.spec.decay_of(p.number, spec.decay_kernels_only)
            scalars = [row[0] * p.multiplier, decay, *row[2:]]
            rule = muon if p in self.hidden else adamw
            rule(p.of(W), p.of(dW), [p.of(state) for state in own], scalars)
        layer = max(layer, self._keep_finite(buffers, kept))
        for p in self.trained:
            if p.kernel and p.spec.max_norm:
                limit_norms(p.of(W), p.spec.max_norm)
        if spec.ema_momentum:
            self._average(W, states[len(own)])
        return layer

    def _accumulate(self, dW: Array, total: Array) -> int:
        """total <- total + dW, except where an element would not be finite."""
        kept = total.copy()
        total += dW
        return self._keep_finite([total], [kept])

    def _keep_finite(self, buffers: list[Array], kept: list[Array]) -> int:
        """What is not finite in one buffer is restored in all; the first node with such an element, or -1."""
        bad = ~np.all([np.isfinite(buffer) for buffer in buffers], axis=0)
        for buffer, old in zip(buffers, kept, strict=True):
            np.copyto(buffer, old, where=bad)
        return next((p.layer for p in self.every if bad[p.place].any()), -1)

    def _clip(self, dW: Array) -> None:
        """Bound the elements or the norms of the gradients of trained arrays."""
        value, own, together = self.update_spec[:3]
        gradients = [p.of(dW) for p in self.trained]
        for G in gradients:
            if value:
                np.clip(G, -value, value, out=G)
            if own:
                G *= clip_factor(norm(G), own)
        if together:
            scale = clip_factor(norm(np.array([norm(G) for G in gradients])), together)
            for G in gradients:
                G *= scale

    def _average(self, W: Array, average: Array) -> None:
        """average <- momentum average + (1 - momentum) W; W itself after the first update."""
        if self.steps <= self.update_spec.accumulation:
            average[:] = W
            return
        average *= self.update_spec.ema_momentum
        average += (1 - self.update_spec.ema_momentum) * W


def muon(W: Array, G: Array, states: list[Array], row: list[float]) -> None:
    """m <- momentum m + (1-momentum) g; W <- (1 - rate decay) W - rate s orthogonal(momentum m + (1-momentum) g).

    s = sqrt(max(1, out / in)). As torch.optim.Muon, but in the dtype of W. The second state is not used.
    """
    learning_rate, weight_decay, momentum = row[:3]
    m = states[0]
    _accumulate(m, G, momentum)
    stretch = math.sqrt(max(1.0, W.shape[1] / W.shape[0]))
    step = learning_rate * stretch * orthogonal(momentum * m + (1 - momentum) * G)
    W *= 1 - learning_rate * weight_decay
    W -= step


def adamw(W: Array, G: Array, states: list[Array], row: list[float]) -> None:
    """AdamW for what Muon leaves: its rate is row[3] times Muon's, its factors are in row[4] and row[5]."""
    muon_rate, weight_decay, _, ratio, beta_1, beta_2, correction_1, correction_2 = row[:8]
    learning_rate, (m, v) = ratio * muon_rate, states
    W *= 1 - learning_rate * weight_decay
    _accumulate(m, G, beta_1)
    _accumulate(v, G * G, beta_2)
    T = np.sqrt(v)
    T *= 1 / math.sqrt(correction_2)
    T += ADAM_EPSILON
    np.divide(m, T, out=T)
    T *= learning_rate / correction_1
    W -= T


def _accumulate(average: Array, new: Array, beta: float) -> None:
    average *= beta
    average += new * (1 - beta)


def orthogonal(U: Array) -> Array:
    """Newton and Schulz's rounds for P S Q' -> P Q', of steep slope at 0: singular values end between 0.7 and 1.2.

    X <- a X + b (X X') X + c (X X')^2 X, on the side where X X' is smaller. Jordan et al. 2024.
    """
    a, b, c = COEFFICIENTS
    X = U / max(norm(U), MUON_EPSILON)
    X = X.T if X.shape[0] > X.shape[1] else X
    for _ in range(ROUNDS):
        S = X @ X.T
        X = a * X + (b * S + c * (S @ S)) @ X
    return X.T if U.shape[0] > U.shape[1] else X


def norm(X: Array) -> float:
    """The root of the sum of squares, in float64 at least, without overflow: not finite only where X is not."""
    largest = float(np.abs(X).max(initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    Y: Any = X.astype(np.result_type(X.dtype, np.float64)) / largest
    return largest * math.sqrt(float(np.vdot(Y, Y)))


def clip_factor(length: float, most: float) -> float:
    """min(1, most / (length + 1e-6)), as PyTorch's clip_grad_norm_; NaN where the length is."""
    return most / (length + 1e-6) if not length + 1e-6 <= most else 1.0


def limit_norms(W: Array, most: float) -> None:
    """Every column of W, the incoming weights of a unit, gets a norm of at most `most`. Srebro and Shraibman 2005."""
    largest = np.abs(W).max(axis=0)
    scaled = (W / np.where(largest > 0, largest, 1)).astype(np.result_type(W.dtype, np.float64))
    lengths = largest * np.sqrt(np.square(scaled).sum(axis=0))
    W *= np.where(lengths > most, most / np.where(lengths > 0, lengths, 1), 1).astype(W.dtype)
