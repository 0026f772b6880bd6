"""What is done to gradients before the update rule and to weights after it: penalties, clipping, constraints, averages.

An update is, in this order: the gradient of loss and penalties, its mean over `accumulation` steps, clipvalue,
clipnorm, global_clipnorm, the rule (with weight decay, and the learning rate of the node), max_norm, the average of
the weights. Goodfellow et al. 2016, sections 7.1, 7.2, 10.11.1 and 8.7.3.
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
# Rules that cannot overflow if the sum of (learning rate * gradient)^2 is finite.
PREDICTABLE = ("sgd", "momentum", "nesterov", "adam", "adamw")


class Parameter(NamedTuple):
    """One array of weights: its place in the flat buffers, its node and its index there, whether it is a kernel or
    embedding table, and the factor of its learning rate."""

    place: slice
    shape: tuple[int, ...]
    layer: int
    spec: LayerSpec
    number: int
    kernel: bool
    multiplier: float

    def of(self, buffer: Array) -> Array:
        """The array as a view of a buffer."""
        return buffer[self.place].reshape(self.shape)


def parameters(specs: Sequence[LayerSpec], shapes: Sequence[Sequence[tuple[int, ...]]]) -> list[Parameter]:
    """The arrays of all nodes, one after another; shapes: the shapes of each node's arrays."""
    found: list[Parameter] = []
    end = 0
    for layer, (spec, arrays) in enumerate(zip(specs, shapes, strict=True)):
        for number, shape in enumerate(arrays):
            start, end = end, end + math.prod(shape)
            kernel, multiplier = spec.is_kernel(number), spec.multiplier_of(number)
            found.append(Parameter(slice(start, end), shape, layer, spec, number, kernel, multiplier))
    return found


class Updates:
    """A rule and an update spec, for flat buffers of weights W, gradients dW and states.

    states: those of the rule, then the weight average (with ema_momentum), then the sum of the gradients so far (with
    accumulation). steps counts the calls of `step`.
    """

    def __init__(self, parameters: Sequence[Parameter], rule: str, update_spec: UpdateSpec) -> None:
        self.rule, self.update_spec, self.steps = rule, update_spec, 0
        self.parameters, self.trained = parameters, [p for p in parameters if p.spec.trainable]
        self.kernels = [p for p in parameters if p.kernel]
        self.runs = self._runs()
        uniform = all(
            p.spec.trainable and p.multiplier == 1 and p.spec.decay is None and not p.spec.max_norm for p in parameters
        )
        self.plain = uniform and rule in PREDICTABLE and update_spec == UpdateSpec()

    def _runs(self) -> list[tuple[slice, float, float]]:
        """What an elementwise rule may update at once: place, the multipliers of learning rate and weight decay."""

        def options(p: Parameter) -> tuple[bool, float, float]:
            return p.spec.trainable, p.multiplier, self._decay_of(p)

        groups = ((key, list(group)) for key, group in groupby(self.parameters, options))
        return [(slice(g[0].place.start, g[-1].place.stop), key[1], key[2]) for key, g in groups if key[0]]

    def _decay_of(self, p: Parameter) -> float:
        """The factor of an array's weight decay."""
        return p.spec.decay_of(p.number, self.update_spec.decay_kernels_only)

    def penalty(self, W: Array) -> float:
        """The sum of l1 sum |W| + l2 sum W^2 over kernels."""
        total = 0.0
        for p in self.kernels:
            if p.spec.l1 or p.spec.l2:
                values = p.of(W).astype(np.result_type(W.dtype, np.float64))
                total += float(p.spec.l1 * np.abs(values).sum() + p.spec.l2 * np.square(values).sum())
        return total

    def reported_decay(self, W: Array, decay: float) -> float:
        """The part of the penalty decay / 2 sum W^2 over kernels that the loss of a step includes."""
        if not self.update_spec.reported_decay:
            return 0.0
        dtype = np.result_type(W.dtype, np.float64)
        return self.update_spec.reported_decay * sum(
            float(decay * self._decay_of(p) / 2 * np.square(p.of(W).astype(dtype)).sum()) for p in self.kernels
        )

    def add_penalty_gradients(self, W: Array, dW: Array) -> None:
        """dW <- dW + l1 sign(W) + 2 l2 W."""
        for p in self.kernels:
            if p.spec.l1:
                p.of(dW)[...] += p.spec.l1 * np.sign(p.of(W))
            if p.spec.l2:
                p.of(dW)[...] += 2 * p.spec.l2 * p.of(W)

    def step(self, W: Array, dW: Array, states: list[Array], row: list[float], T: Array) -> int:
        """One step; returns the node whose weights would have become non-finite, or -1. T: scratch of `update`."""
        self.steps += 1
        update_spec = self.update_spec
        if self.plain and self._is_safe(dW, row):
            update(self.rule, W, dW, states, row, T)
            return -1
        rule_states = states[: len(states) - update_spec.n_states]
        layer = -1
        if update_spec.accumulation > 1:
            layer = self._accumulate(dW, states[-1])
            if self.steps % update_spec.accumulation:
                return layer
            np.multiply(states[-1], 1 / update_spec.accumulation, out=dW)
            states[-1][:] = 0
        self.clip(dW)
        buffers = [W, *rule_states]
        before = [buffer.copy() for buffer in buffers]
        self._apply(W, dW, rule_states, row, T)
        layer = max(layer, self._keep_finite(buffers, before))
        for p in self.trained:
            if p.kernel and p.spec.max_norm:
                limit_norms(p.of(W), p.spec.max_norm)
        if update_spec.ema_momentum:
            self._average(W, states[len(rule_states)])
        return layer

    def _is_safe(self, dW: Array, row: list[float]) -> bool:
        """Whether the rule cannot overflow: the sum of (learning rate * gradient)^2 is finite.

        The check is one cheap pass instead of a copy. Adam with epsilon 0 is excluded: it divides 0 by 0 where all
        gradients so far were 0.
        """
        divides_by_zero = self.rule in ("adam", "adamw") and row[4] == 0
        return row[0] * row[0] * float(dW @ dW) < float(np.finfo(dW.dtype).max) and not divides_by_zero

    def _accumulate(self, dW: Array, total: Array) -> int:
        """total <- total + dW, except for elements that would become non-finite."""
        before = total.copy()
        total += dW
        return self._keep_finite([total], [before])

    def _keep_finite(self, buffers: list[Array], before: list[Array]) -> int:
        """Restore, in all buffers, elements that are non-finite in any; returns the first such node, or -1."""
        bad = ~np.all([np.isfinite(buffer) for buffer in buffers], axis=0)
        for buffer, old in zip(buffers, before, strict=True):
            np.copyto(buffer, old, where=bad)
        return next((p.layer for p in self.parameters if bad[p.place].any()), -1)

    def clip(self, dW: Array) -> None:
        """Clip the elements or the norms of the gradients of all trainable arrays."""
        value, per_array, in_total = self.update_spec[:3]
        gradients = [p.of(dW) for p in self.trained]
        if value:
            for G in gradients:
                np.clip(G, -value, value, out=G)
        if per_array:
            for G in gradients:
                G *= clip_factor(norm(G), per_array)
        if in_total:
            scale = clip_factor(norm(np.array([norm(G) for G in gradients])), in_total)
            for G in gradients:
                G *= scale

    def _apply(self, W: Array, dW: Array, states: list[Array], row: list[float], T: Array) -> None:
        """Apply the rule, array by array or run by run, with the learning rate and decay of each."""
        if self.rule in layerwise.RULES:
            hidden = [p for p in self.kernels if p.spec.dense][1:-1]
            for p in self.trained:
                parts = [p.of(state) for state in states]
                scalars = _row(row, p.multiplier, self._decay_of(p))
                layerwise.update(self.rule, p.of(W), p.of(dW), parts, scalars, hidden=p in hidden)
            return
        for place, multiplier, decay in self.runs:
            parts = [state[place] for state in states]
            update(self.rule, W[place], dW[place], parts, _row(row, multiplier, decay), T)

    def _average(self, W: Array, average: Array) -> None:
        """average <- momentum average + (1 - momentum) W; after the first update W itself."""
        if self.steps <= self.update_spec.accumulation:
            average[:] = W
            return
        average *= self.update_spec.ema_momentum
        average += (1 - self.update_spec.ema_momentum) * W


def _row(row: list[float], multiplier: float, decay: float) -> list[float]:
    return [row[0] * multiplier, row[1] * decay, *row[2:]]


def clip_factor(length: float, most: float) -> float:
    """min(1, most / (length + 1e-6)), as in PyTorch's clip_grad_norm_; NaN if the length is."""
    return most / (length + 1e-6) if not length + 1e-6 <= most else 1.0


def limit_norms(W: Array, most: float) -> None:
    """Scale every column of W, a unit's incoming weights, to a norm of at most `most`. Srebro and Shraibman 2005."""
    largest = np.abs(W).max(axis=0)
    scaled = (W / np.where(largest > 0, largest, 1)).astype(np.result_type(W.dtype, np.float64))
    lengths = largest * np.sqrt(np.square(scaled).sum(axis=0))
    W *= np.where(lengths > most, most / np.where(lengths > 0, lengths, 1), 1).astype(W.dtype)


