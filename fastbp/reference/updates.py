"""What happens to gradients before the rule and to weights after it: penalties, clipping, limits, averages.

An update is, in this order: the gradient of loss and penalties, their mean over `accumulation` steps, clipvalue,
clipnorm, global_clipnorm, the rule (with weight decay, at the node's own rate), max_norm, the average of the weights.
Goodfellow et al. 2016, sections 7.1, 7.2, 10.11.1 and 8.7.3.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.reference import layerwise
from fastbp.reference.layerwise import norm
from fastbp.reference.optimizers import update
from fastbp.spec import LayerSpec, UpdateSpec

Array = npt.NDArray[Any]
# Rules that cannot overflow where the squares of all gradients times the rate have a finite sum.
PREDICTABLE = ("sgd", "momentum", "nesterov", "adam", "adamw")


class Parameter(NamedTuple):
    """One array of weights: where it lies in the flat arenas, and whose it is; kernel: also a table of vectors."""

    place: slice
    shape: tuple[int, ...]
    layer: int
    spec: LayerSpec
    kernel: bool

    def of(self, arena: Array) -> Array:
        """The array, a view."""
        return arena[self.place].reshape(self.shape)


def parameters(specs: Sequence[LayerSpec], shapes: Sequence[Sequence[tuple[int, ...]]]) -> list[Parameter]:
    """The arrays of all nodes, one after another; shapes: those of each node's arrays."""
    found: list[Parameter] = []
    end = 0
    for layer, (spec, own) in enumerate(zip(specs, shapes, strict=True)):
        for number, shape in enumerate(own):
            start, end = end, end + math.prod(shape)
            found.append(Parameter(slice(start, end), shape, layer, spec, spec.is_kernel(number)))
    return found


class Updates:
    """A rule and the update spec around it, for arenas of weights W, their gradients dW and the states.

    states: those of the rule, then with ema_momentum the average, then with accumulation the gradients' sum so far.
    steps counts the calls of `step`.
    """

    def __init__(self, every: Sequence[Parameter], rule: str, update_spec: UpdateSpec) -> None:
        self.rule, self.update_spec, self.steps = rule, update_spec, 0
        self.every, self.trained = every, [p for p in every if p.spec.trainable]
        self.kernels = [p for p in every if p.kernel]
        self.runs = self._runs()
        alike = all(p.spec.trainable and p.spec.multiplier == 1 and not p.spec.max_norm for p in every)
        self.plain = alike and rule in PREDICTABLE and update_spec == UpdateSpec()

    def _runs(self) -> list[tuple[slice, float, bool]]:
        """What an elementwise rule may do at once: place, multiplier of the rate, whether weights decay."""

        def kind(p: Parameter) -> tuple[bool, float, bool]:
            return p.spec.trainable, p.spec.multiplier, p.kernel or not self.update_spec.decay_kernels_only

        groups = ((key, list(group)) for key, group in groupby(self.every, kind))
        return [(slice(g[0].place.start, g[-1].place.stop), key[1], key[2]) for key, g in groups if key[0]]

    def penalty(self, W: Array) -> float:
        """Sum of l1 sum |W| + l2 sum W^2 over kernels."""
        total = 0.0
        for p in self.kernels:
            if p.spec.l1 or p.spec.l2:
                values = p.of(W).astype(np.result_type(W.dtype, np.float64))
                total += float(p.spec.l1 * np.abs(values).sum() + p.spec.l2 * np.square(values).sum())
        return total

    def reported(self, W: Array, decay: float) -> float:
        """The part of the penalty decay / 2 sum W^2 over kernels that a step's loss includes."""
        if not self.update_spec.reported_decay:
            return 0.0
        wide = np.result_type(W.dtype, np.float64)
        return self.update_spec.reported_decay * sum(
            float(decay / 2 * np.square(p.of(W).astype(wide)).sum()) for p in self.kernels
        )

    def add_penalty_gradients(self, W: Array, dW: Array) -> None:
        """dW <- dW + l1 sign(W) + 2 l2 W."""
        for p in self.kernels:
            if p.spec.l1:
                p.of(dW)[...] += p.spec.l1 * np.sign(p.of(W))
            if p.spec.l2:
                p.of(dW)[...] += 2 * p.spec.l2 * p.of(W)

    def step(self, W: Array, dW: Array, states: list[Array], row: list[float], T: Array) -> int:
        """One step; returns the node whose weights would have become not finite, or -1. T: scratch of `update`."""
        self.steps += 1
        update_spec = self.update_spec
        if self.plain and self._is_safe(dW, row):
            update(self.rule, W, dW, states, row, T)
            return -1
        own = states[: len(states) - update_spec.n_states]
        layer = -1
        if update_spec.accumulation > 1:
            layer = self._accumulate(dW, states[-1])
            if self.steps % update_spec.accumulation:
                return layer
            np.multiply(states[-1], 1 / update_spec.accumulation, out=dW)
            states[-1][:] = 0
        self.clip(dW)
        arenas = [W, *own]
        kept = [arena.copy() for arena in arenas]
        self._apply(W, dW, own, row, T)
        layer = max(layer, self._keep_finite(arenas, kept))
        for p in self.trained:
            if p.kernel and p.spec.max_norm:
                limit_norms(p.of(W), p.spec.max_norm)
        if update_spec.ema_momentum:
            self._average(W, states[len(own)])
        return layer

    def _is_safe(self, dW: Array, row: list[float]) -> bool:
        """Where the squares of all gradients times the rate have a finite sum, these rules cannot overflow: one cheap
        pass instead of a copy. Not Adam with epsilon 0, which divides 0 by 0 where all gradients so far were 0."""
        divides_by_zero = self.rule in ("adam", "adamw") and row[4] == 0
        return row[0] * row[0] * float(dW @ dW) < float(np.finfo(dW.dtype).max) and not divides_by_zero

    def _accumulate(self, dW: Array, total: Array) -> int:
        """total <- total + dW, but for elements that would not be finite."""
        kept = total.copy()
        total += dW
        return self._keep_finite([total], [kept])

    def _keep_finite(self, arenas: list[Array], kept: list[Array]) -> int:
        """What is not finite in one of the arenas is as before in all; the first node with such an element, or -1."""
        bad = ~np.all([np.isfinite(arena) for arena in arenas], axis=0)
        for arena, old in zip(arenas, kept, strict=True):
            np.copyto(arena, old, where=bad)
        return next((p.layer for p in self.every if bad[p.place].any()), -1)

    def clip(self, dW: Array) -> None:
        """Bound the elements or the norms of the gradients of what is trained."""
        value, own, together = self.update_spec[:3]
        gradients = [p.of(dW) for p in self.trained]
        if value:
            for G in gradients:
                np.clip(G, -value, value, out=G)
        if own:
            for G in gradients:
                G *= factor(norm(G), own)
        if together:
            scale = factor(norm(np.array([norm(G) for G in gradients])), together)
            for G in gradients:
                G *= scale

    def _apply(self, W: Array, dW: Array, states: list[Array], row: list[float], T: Array) -> None:
        """The rule, array by array or run by run, with the rate and the decay of each."""
        if self.rule in layerwise.RULES:
            hidden = [p for p in self.kernels if p.spec.dense][1:-1]
            for p in self.trained:
                decays = p.kernel or not self.update_spec.decay_kernels_only
                own = [p.of(state) for state in states]
                scalars = _row(row, p.spec.multiplier, decays)
                layerwise.update(self.rule, p.of(W), p.of(dW), own, scalars, hidden=p in hidden)
            return
        for place, multiplier, decays in self.runs:
            parts = [state[place] for state in states]
            update(self.rule, W[place], dW[place], parts, _row(row, multiplier, decays), T)

    def _average(self, W: Array, average: Array) -> None:
        """average <- momentum average + (1 - momentum) W; W itself after the first update."""
        if self.steps <= self.update_spec.accumulation:
            average[:] = W
            return
        average *= self.update_spec.ema_momentum
        average += (1 - self.update_spec.ema_momentum) * W


def _row(row: list[float], multiplier: float, decays: bool) -> list[float]:
    return [row[0] * multiplier, row[1] if decays else 0.0, *row[2:]]


def factor(length: float, most: float) -> float:
    """min(1, most / (length + 1e-6)), as PyTorch's clip_grad_norm_; NaN where the length is."""
    return most / (length + 1e-6) if not length + 1e-6 <= most else 1.0


def limit_norms(W: Array, most: float) -> None:
    """Every column of W, the incoming weights of a unit, gets a norm of at most `most`. Srebro and Shraibman 2005."""
    largest = np.abs(W).max(axis=0)
    scaled = (W / np.where(largest > 0, largest, 1)).astype(np.result_type(W.dtype, np.float64))
    lengths = largest * np.sqrt(np.square(scaled).sum(axis=0))
    W *= np.where(lengths > most, most / np.where(lengths > 0, lengths, 1), 1).astype(W.dtype)


