"""When a small network's products become straight code: once its training has taken long enough to pay for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastbp.engine.planning.plan import Node, Plan
from fastbp.isa.codes import ELEMENTWISE
from fastbp.kernels import jit, native, straight
from fastbp.kernels.microkernels import PORTABLE
from fastbp.kernels.schema import context
from fastbp.kernels.schema.fields import Operation, length

Array = np.ndarray
# Multiply-adds of a step's forward pass up to which loops and branches count: 64-100-10 with 128 rows.
MOST = 1_000_000
# Seconds of training before code that was kept is loaded, in 2 ms, and before new code is made, in 0.1 to 0.5 s.
WORTH_LOADING, WORTH_MAKING = 0.02, 0.5
NONE = np.zeros((0, length(Operation)), np.int64)


class StraightSteps:
    """The straight code of a workspace's training steps; general: there is more to them, or several workers."""

    def __init__(self, nodes: Sequence[Node], plan: Plan, batch: int, dtype: np.dtype, general: bool):
        dense = all(node.dense and node.code < len(ELEMENTWISE) and node.below == i - 1 for i, node in enumerate(nodes))
        work = batch * sum(node.inputs * node.outputs for node in nodes)
        self.possible = not general and dense and work <= MOST and jit.JIT and not PORTABLE
        self.seconds = 0.0  # of training so far
        self._layers, self._batch, self._bits = plan.layers, batch, 8 * dtype.itemsize
        self._made: dict[tuple[int, int], tuple[Array, native.Code]] = {}
        self._lacking: set[tuple[int, int]] = set()  # what is not kept on disk

    def program(self, general: Array, words: Array, numbers: Mapping[str, int]) -> Array:
        """The program in straight code of a call with these numbers, or one without operations.

        general: the interpreted program; words: the first worker's own words of the context.
        """
        if not self.possible or self.seconds < WORTH_LOADING or numbers["ahead"] or not numbers["fused"]:
            return NONE
        what = numbers["rule"], numbers["stride"]
        if what not in self._made:
            make = self.seconds >= WORTH_MAKING
            if what in self._lacking and not make:
                return NONE
            own = dict(zip(context.FIXED, words.tolist(), strict=False))
            step = straight.Step(self._bits, self._batch, self._layers, general, *what,
                                 own["scratch"], own["groups"], own["flag"], own["tiles"])
            if not make and not native.is_kept(step.key()):
                self._lacking.add(what)
                return NONE
            self._made[what] = straight.program(step)
        return self._made[what][0]
