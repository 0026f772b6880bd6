"""The parameter buffer: weights and, behind them, the optimizer's states and a gradient, in copies of one layout.

Kernels (inputs, outputs) and biases (outputs,) become panels, and back again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np

from fastbp.engine.memory import aligned
from fastbp.engine.planning import plan
from fastbp.spec import UpdateSpec

Array = np.ndarray


class Parameters:
    """Weights and states of all nodes, as lines of panels; `stride` elements lie between the copies."""

    def __init__(self, nodes: Sequence[plan.Node], dtype: np.dtype, lanes: int):
        self.nodes, self.dtype, self.lanes = nodes, dtype, lanes
        self.layout, length = plan.parameter_layout(nodes, lanes)
        self.stride = (length // lanes // 64 * 64 + 64 + 21) * lanes  # not a multiple of a page: see docs
        self.values = aligned(self.stride, dtype)
        self.n_states = 0
        self._written = False
        self.version = 0  # of the weights: how often they were written from outside compiled code
        self._operands, self._rounded = np.zeros(0, np.uint16), -1

    def operands(self, words: int) -> Array:
        """Room for the kernels as operands of bfloat16."""
        if len(self._operands) != words:
            self._operands, self._rounded = aligned(words, np.uint16), -1
        return self._operands

    def stale(self) -> bool:
        """Whether the kernels were written since they became operands."""
        return self._rounded != self.version

    def rounded(self, version: int) -> None:
        """Compiled code has seen to the operands of this version."""
        self._rounded = version

    def copy_at(self, index: int) -> Array:
        """The weights (0), a state (1, 2, ...) or the gradient (-1)."""
        index %= len(self.values) // self.stride
        return self.values[index * self.stride : (index + 1) * self.stride]

    def arrays(self) -> list[tuple[plan.Node, int, int]]:
        """The nodes that have parameters, with the offset and the pitch of these."""
        return [(x, int(offset), int(pitch)) for x, (offset, pitch) in zip(self.nodes, self.layout, strict=True)
                if x.arrays]

    def read(self, values: Array, columns: int = 4) -> list[Array]:
        """Copies of a buffer's arrays; columns=2: without moving statistics."""
        arrays: list[Array] = []
        for node, offset, pitch in self.arrays():
            if node.dense:
                kernel, bias = unpack(values, offset, pitch, self.lanes, node.inputs, node.outputs)
                arrays += [kernel, bias] if node.bias else [kernel]
            elif node.tables:
                arrays += [table.copy() for table in tables_of(values, offset, self.lanes, node)]
            else:
                starts = [offset + j * pitch for j in range(min(columns, node.columns))]
                arrays += [values[start : start + node.outputs].copy() for start in starts]
        return arrays

    def read_flat(self, values: Array) -> Array:
        """All arrays without moving statistics, one behind the other."""
        return np.concatenate([array.reshape(-1) for array in self.read(values, 2)])

    def read_gradient(self, values: Array) -> list[Array | None]:
        """A buffer's arrays, None for moving statistics."""
        arrays: list[Array | None] = []
        rest = iter(self.read(values))
        for node, _, _ in self.arrays():
            for j in range(max(node.arrays, node.columns)):
                array = next(rest)
                arrays.append(array if j < node.arrays else None)
        return arrays

    def write(self, values: Array, arrays: Iterable[Array], columns: int = 4) -> None:
        """The inverse of `read`."""
        self.version += 1
        rest = iter(arrays)
        for node, offset, pitch in self.arrays():
            if node.dense:
                kernel = next(rest)
                pack(values, offset, pitch, self.lanes, kernel, next(rest) if node.bias else None)
            elif node.tables:
                for table in tables_of(values, offset, self.lanes, node):
                    table[:] = next(rest)
            else:
                for j in range(min(columns, node.columns)):
                    values[offset + j * pitch :][: node.outputs] = next(rest)

    def write_weights(self, weights: Iterable[Array]) -> None:
        """One after the other, in place: for a buffer that nobody uses yet."""
        self._written = True
        self.write(self.copy_at(0), weights)

    def set_weights(self, weights: Iterable[Array]) -> None:
        """All of them or, whatever is raised meanwhile, none: the last step is one copy, which nothing interrupts."""
        values = self.copy_at(0).copy()
        self.write(values, weights)
        self._written = True
        self.version += 1
        np.copyto(self.copy_at(0), values)

    def write_states(self, states: Iterable[Iterable[Array]]) -> None:
        for index, state in enumerate(states):
            self.write(self.copy_at(1 + index), state, 2)

    def _size(self, n_states: int, update_spec: UpdateSpec, unfused: bool) -> int:
        """Weights, states and, for updates that need all of it, the gradient; accumulated, it is among the states."""
        copies = 1 + n_states + update_spec.n_states + (unfused and update_spec.accumulation == 1)
        return copies * self.stride

    def with_states(self, n_states: int, update_spec: UpdateSpec, unfused: bool) -> Parameters:
        """The same weights with states of 0, and an average that the first update sets; these stay as they are."""
        other, size = self._other(), self._size(n_states, update_spec, unfused)
        other.n_states = n_states
        if size > self.stride or len(self.values) > self.stride:  # weights alone are shared: there is nothing to clear
            other.values = aligned(size, self.dtype)
            if self._written:  # else both are zeros that no memory stands behind yet
                other.copy_at(0)[:] = self.copy_at(0)
        return other

    def _other(self) -> Parameters:
        """The same, with operands of its own to come."""
        other = copy.copy(self)
        other._operands, other._rounded = np.zeros(0, np.uint16), -1
        return other

    def copied(self) -> Parameters:
        """The same in a buffer of its own."""
        other = self._other()
        other.values = aligned(len(self.values), self.dtype)
        other.values[:] = self.values
        return other

    def copy_from(self, other: Parameters) -> None:
        """Everything, from a buffer of the same size."""
        self.version += 1
        np.copyto(self.values, other.values)

    def reserve_gradient(self, update_spec: UpdateSpec) -> None:
        """Room for gradients, where reset_states could not know of their need."""
        size = self._size(self.n_states, update_spec, True)
        if len(self.values) < size:
            values = aligned(size, self.dtype)
            values[: len(self.values)] = self.values
            self.values = values


def pack(arena: Array, offset: int, pitch: int, lanes: int, kernel: Array, bias: Array | None) -> None:
    """Writes a layer's parameters: panel p, line k holds kernel[k, p*lanes : (p+1)*lanes]; biases follow, a line."""
    inputs, outputs = kernel.shape
    panels = _panels(arena, offset, pitch, lanes, outputs)
    for p in range(len(panels)):
        columns = slice(p * lanes, min((p + 1) * lanes, outputs))
        width = columns.stop - columns.start
        panels[p, :inputs, :width] = kernel[:, columns]
        if bias is not None:
            panels[p, inputs, :width] = bias[columns]


def unpack(arena: Array, offset: int, pitch: int, lanes: int, inputs: int, outputs: int) -> tuple[Array, Array]:
    """A layer's kernel and bias, as copies."""
    panels = _panels(arena, offset, pitch, lanes, outputs)
    rows = panels[:, : inputs + 1].transpose(1, 0, 2).reshape(inputs + 1, -1)[:, :outputs]
    return rows[:inputs].copy(), rows[inputs].copy()  # rows is a view of the arena where nothing had to move


def tables_of(arena: Array, offset: int, lanes: int, node: plan.Node) -> list[Array]:
    """An embedding's tables, (codes, length of a vector), as views."""
    views = []
    for size, (_, codes, width) in zip(plan.table_sizes(node, lanes), node.tables, strict=True):
        views.append(arena[offset : offset + codes * width].reshape(codes, width))
        offset += size
    return views


def _panels(arena: Array, offset: int, pitch: int, lanes: int, outputs: int) -> Array:
    n = plan.ceil_div(outputs, lanes)
    return arena[offset : offset + n * pitch].reshape(n, pitch // lanes, lanes)
