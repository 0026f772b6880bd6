"""The nodes of a network with what is done to their parameters, in the form that plans and kernels want."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbp.engine.planning import plan
from fastbp.kernels.passes import updates as columns
from fastbp.kernels.schema.fields import Piece, Settings, length
from fastbp.spec import LayerSpec, UpdateSpec

Array = np.ndarray
PIECE = 1024  # lines of a table that a worker takes at a time


class Network:
    """The nodes of an engine, and what is done with their parameters: what its workspaces are made from.

    An array of parameters is a kernel, biases, gamma or beta. A group is what is updated with the same scalars: where
    nothing needs the whole gradient, arrays of one rate and decay; else each array is its own.
    """

    def __init__(self, nodes: list[plan.Node], specs: Sequence[LayerSpec], layout: Array, update_spec: UpdateSpec,
                 rule: str, lanes: int, sparse: bool = False, every_weight: bool = False):
        self.lamb, self.sparse = rule == "lamb", sparse
        self.penalties = any(spec.l1 or spec.l2 for spec in specs)
        self.reports = update_spec.reported_decay != 0
        limits = any(spec.dense and spec.max_norm for spec in specs)
        plain = update_spec._replace(decay_kernels_only=False, reported_decay=0.0) == UpdateSpec()
        self.treated = self.lamb or self.penalties or limits or not plain or (sparse and every_weight)
        arrays = [(index, j) for index, node in enumerate(nodes) for j in range(node.arrays)]
        settings = {array: _settings(specs[array[0]], array[1], update_spec) for array in arrays}
        alike = list(dict.fromkeys(settings.values()))
        number = {array: i if self.treated else alike.index(settings[array]) for i, array in enumerate(arrays)}
        self.nodes = [node._replace(rules=tuple(number.get((i, j), number.get((i, 0), 0))
                                                for j in range(max(2, node.arrays)))) for i, node in enumerate(nodes)]
        rows = list(settings.values()) if self.treated else alike
        self.settings = np.zeros((max(1, len(rows)), length(Settings)))
        self.settings[:, : Settings.FIRST] = rows or [(1.0, 1.0, 0.0, 0.0, 0.0)]
        kernels = {group for (index, j), group in number.items() if specs[index].dense and j == 0}
        own = list(kernels)
        self.settings[own, Settings.REPORTED] = update_spec.reported_decay * self.settings[own, Settings.DECAYS]
        self.pieces = _pieces(self.nodes, layout, lanes)
        runs = -(-self.pieces[:, Piece.LINES] // columns.RUN)
        self.n_sums = len(self.pieces) * columns.N_SUMS + int(runs.sum())
        self.pieces[:, Piece.RUNS] = self.n_sums - np.cumsum(runs[::-1])[::-1]
        for group in range(len(rows) if self.treated else 0):
            mine = np.flatnonzero((self.pieces[:, [Piece.ARRAY, Piece.BIAS_ARRAY]] == group).any(axis=1))
            self.settings[group, [Settings.FIRST, Settings.COUNT]] = (mine[0], len(mine)) if len(mine) else (0, 0)
        self.update_spec = np.zeros(columns.N_UPDATE_SPEC)
        self.update_spec[: columns.AVERAGE] = update_spec[: columns.AVERAGE]

    def first_pieces(self) -> Array:
        """The number of every node's first piece, if it has any."""
        return np.searchsorted(self.pieces[:, Piece.NODE], np.arange(len(self.nodes)))

    def options(self, training: bool) -> dict[str, bool]:
        """What the program must know, if anything."""
        if training:
            chosen = {"penalties": self.penalties, "treated": self.treated, "lamb": self.lamb, "sparse": self.sparse,
                      "reported": self.reports}
        else:
            chosen = {"penalties": self.penalties, "sparse": self.sparse}
        return {name: True for name, value in chosen.items() if value}


def _settings(spec: LayerSpec, which: int, update_spec: UpdateSpec) -> tuple[float, ...]:
    """An array's row but for its pieces: kernels and tables alone have penalties, and decay if only kernels do."""
    kernel = spec.is_kernel(which)
    penalties = (spec.l1, spec.l2, spec.max_norm) if kernel else (0.0, 0.0, 0.0)
    return (spec.multiplier_of(which), spec.decay_of(which, update_spec.decay_kernels_only), *penalties)


def _pieces(nodes: Sequence[plan.Node], layout: Array, lanes: int) -> Array:
    """Runs of lines of parameters, see `arena`."""
    pieces = []
    for index, (node, (offset, pitch)) in enumerate(zip(nodes, layout.tolist(), strict=True)):
        panels, (first, second, *_) = plan.ceil_div(node.outputs, lanes), node.rules
        trained = int(node.trainable)
        if node.dense:
            other = second if node.bias else -1
            pieces += [(index, offset + p * pitch, node.inputs, first, other, trained, 0) for p in range(panels)]
        elif node.columns:
            pieces += [(index, offset + j * pitch, panels, node.rules[j], -1, trained, 0) for j in range(node.arrays)]
        for size, rule in zip(plan.table_sizes(node, lanes), node.rules, strict=False):
            pieces += [(index, offset + start, min(PIECE, size // lanes - start // lanes), rule, -1, trained, 0)
                       for start in range(0, size, PIECE * lanes)]
            offset += size
    return np.array(pieces, np.int64).reshape(-1, length(Piece))
