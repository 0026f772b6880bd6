"""Assertions, before compiled code runs, that all it is pointed to lies inside the arrays that own it.

With FASTBP_CHECK=1 every call is preceded by `check`. It knows what the passes read and write of a plan, not what that
was made from, so that an error of the plan's shows as well as one of the context. What lies in the caller's arrays and
may change at any time (labels, category codes, columns of sparse rows) is compared in compiled code, always.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.isa import LINE
from fastbp.isa.codes import GAUSSIAN_NLL, QUANTILE, UPDATE_RULES
from fastbp.isa.microkernels import SLOTS
from fastbp.kernels import parallel
from fastbp.kernels.schema import context, fields, operations
from fastbp.kernels.schema.fields import TILES_LINES, TILES_PAIRS, Layer, Operation, Piece, Settings, Table

Array = np.ndarray
CHECK = os.environ.get("FASTBP_CHECK", "") == "1"
WORD = {name: place.word for name, place in context.PLACES.items()}
N_STATES = tuple(rule.n_states for rule in UPDATE_RULES.values())
LINEAR = -1  # see `passes.loss_layer`
VALUES = 4  # numbers of a node, see `engine.planning.plan`
EMBEDDINGS = EMBEDDING, PERIODIC, PIECEWISE = tuple(map(fields.code_of, ("embedding", "periodic", "piecewise")))


def holds(condition: Any, what: str, *numbers: Any) -> None:
    """Also where Python runs without its own assertions."""
    if not condition:
        raise AssertionError(f"out of bounds: {what} {' '.join(map(str, numbers))}".rstrip())


def inside(what: str, start: int, size: int, end: int) -> None:
    holds(start >= 0 and start + size <= end, f"{what} from {start} on, {size} of {end}")


def check(words: Array, arrays: Mapping[str, Array], dtype: np.dtype, nodes: int, batch: int) -> None:
    """Raises AssertionError unless every access of a call stays within its array.

    nodes: how many rows of layers are those of nodes; batch: the most rows of a step.
    """
    pointed_to(words, arrays, dtype)
    c = Call(words, arrays, dtype, nodes, batch)
    c.check_steps()
    c.check_program()
    for index in range(nodes):
        c.check_node(index)
    c.check_parameters()


def pointed_to(words: Array, arrays: Mapping[str, Array], dtype: np.dtype) -> None:
    """The context's addresses and lengths are those of arrays that are kept alive, of the types that it names."""
    for name, kind in context.ARRAYS.items():
        array, word = arrays[name], WORD[name]
        place = array.__array_interface__["data"][0]
        holds((words[word], words[word + 1]) == (place, len(array)), f"{name} points elsewhere than to its array")
        if not array.size:
            continue
        wanted = dtype if kind == "real" else kind if isinstance(kind, str) else np.int64
        holds(array.dtype == (np.float64 if kind is Settings else wanted), f"{name} is of", array.dtype)
        holds(array.flags.c_contiguous and array.flags.aligned, f"{name} has the strides", array.strides)
        if not isinstance(kind, str):
            holds(array.ndim == 2 and array.shape[1] == (fields.ROW if kind is Table else fields.length(kind)),
                  f"{name} has the shape", array.shape)
    for name in ("M", "P", "G", "sync"):
        holds(not arrays[name].size or words[WORD[name]] % LINE == 0, f"{name} is not aligned")


class Call:
    """One call's context, with its numbers as attributes."""

    def __init__(self, words: Array, arrays: Mapping[str, Array], dtype: np.dtype, nodes: int, batch: int) -> None:
        self.words, self.arrays, self.nodes, self.L = words, arrays, nodes, LINE // dtype.itemsize
        self.panels = -(-batch // self.L)
        self.batch, self.rows = batch, arrays["layers"]
        for name in context.NUMBERS:
            setattr(self, name, int(words[WORD[name]]))
        program = arrays["program"]
        self.does = set(program[:, Operation.WHAT].tolist())
        if operations.CHAIN in self.does:
            self.does |= {operations.GATHER, operations.FORWARD, operations.LOSS, operations.BACKWARD}
        self.last = self.rows[program[-1, Operation.LAYER]] if operations.OUTPUT in self.does else self.rows[nodes - 1]

    def __getattr__(self, name: str) -> Any:  # the context's numbers
        raise AttributeError(name)

    def check_steps(self) -> None:
        """The arrays of steps and those of rows."""
        a, n = self.arrays, self.n_steps
        bounds = a["bounds"][: n + 1]
        sizes = np.diff(bounds)
        holds(n >= 1 and len(bounds) == n + 1 and bounds[0] >= 0, "bounds of", n, "steps")
        holds(sizes.min() >= 1 and sizes.max() <= self.batch, "batches of", sizes.min(), "to", sizes.max(), "rows")
        if self.backward:
            scheduled = -1 - int(self.rows[: self.nodes, Layer.THRESHOLD].min())
            holds(len(a["rates"]) >= (scheduled + 1) * n, "rates of", n, "steps")
        used = a["order"][bounds[0] : bounds[-1]]
        holds(len(used) == bounds[-1] - bounds[0], "order ends before", bounds[-1])
        if not len(used):
            return
        first, last = int(used.min()), int(used.max())
        width = int(self.rows[0, Layer.K])
        if len(a["starts"]):
            starts = a["starts"]
            holds(first >= 0 and last + 1 < len(starts), "rows", first, last, "of", len(starts) - 1)
            holds((np.diff(starts) >= 0).all() and starts[0] >= 0, "row pointers fall")
            holds(starts[-1] <= min(len(a["columns"]), len(a["X"])), "row pointers beyond the values")
        else:
            holds(first >= 0 and (last + 1) * width <= a["X"].size, "rows", first, last, "of", a["X"].shape)
        self.check_targets(last + 1)
        outputs, N = a["outputs"], int(self.last[Layer.N])
        if len(outputs) or operations.OUTPUT in self.does:
            inside("outputs", int(bounds[0]) * N, (int(bounds[-1]) - int(bounds[0])) * N, outputs.size)
        if operations.LOSS in self.does and self.loss != LINEAR:
            holds(len(a["losses"]) >= n, "losses of", n, "steps")
            holds(not len(a["totals"]) or len(a["totals"]) >= n, "totals of", n, "steps")
            holds(len(a["partials"]) >= self.panels, "partials")
        if self.train:
            holds(a["scalars"].ndim == 2 and a["scalars"].shape[1] == 8, "scalars", a["scalars"].shape)
            holds(len(a["scalars"]) == 1 or len(a["scalars"]) >= n, "scalars of", n, "steps")

    def check_targets(self, rows: int) -> None:
        a, N = self.arrays, int(self.rows[self.nodes - 1, Layer.N])
        if operations.LOSS not in self.does:
            return
        weights = rows * N if self.loss == LINEAR else rows
        holds(not len(a["weight"]) or a["weight"].size >= weights, "weights of", rows, "rows")
        if not len(a["y"]):
            holds(len(a["labels"]) >= rows, "labels of", rows, "rows")
            return
        shared = int(a["M"][fields.LOSS_PARAMETERS]) if self.loss == QUANTILE else 1 + (self.loss == GAUSSIAN_NLL)
        width = N // shared  # outputs for each target
        holds(a["y"].size >= rows * width, "targets of", rows, "rows of", width, "but", a["y"].shape)
        holds(a["y"].ndim == 1 or a["y"].shape[1] == width, "targets", a["y"].shape, "for", width)

    def check_program(self) -> None:
        """What operations there are, the words that workers share, and each worker's own."""
        a, program = self.arrays, self.arrays["program"]
        holds(program[:, Operation.WHAT].min() >= 0 and max(self.does) <= operations.APPLY, "operations", self.does)
        holds(program[:, Operation.LAYER].min() >= 0 and program[:, Operation.LAYER].max() < len(self.rows), "layers")
        holds(len(a["sync"]) >= parallel.words(len(program), self.n_workers), "sync of", self.n_workers, "workers")
        holds(len(self.words) >= context.words(self.n_workers), "contexts of", self.n_workers, "workers")
        holds(len(a["table"]) >= len(SLOTS), "microkernels")
        holds(len(a["random"]) >= 3 or not self.backward or self.loss == LINEAR, "random keys")
        groups = fields.GROUP_LINES * len(a["settings"]) * self.L
        waiting = self.waiting_sums()
        for me in range(self.n_workers):
            own = self.words[context.SHARED + me * context.OWN :][: len(context.FIXED)].tolist()
            shared, number, scratch, group, flag, tiles = own
            holds(shared == self.words.__array_interface__["data"][0] and number == me, "the context of worker", me)
            inside(f"scratch of worker {me}", scratch, fields.SCRATCH_LINES * self.L, group)
            inside(f"groups of worker {me}", group, groups, len(a["M"]))
            inside(f"flag of worker {me}", flag, 1, len(a["sync"]))
            inside(f"waiting sums of worker {me}", tiles, waiting, len(a["M"]))
            if self.bfloat16:
                inside(f"sums of worker {me}", tiles, TILES_LINES * TILES_PAIRS * self.L, len(a["M"]))
                inside(f"configuration of worker {me}", parallel.WORDS * me, parallel.WORDS, len(a["saved"]))

    def waiting_sums(self) -> int:
        """How many sums of a weight gradient wait for more rows of the batch."""
        if self.bfloat16 or not (self.backward and self.fused and self.batch > fields.DEEP):
            return 0
        return self.L * int((self.rows[:, Layer.WEIGHTS_SIZE] * self.rows[:, Layer.WEIGHTS_OUTPUTS]).max())

    def panel(self, what: str, start: int, pitch: int, lines: int, count: int | None = None) -> None:
        """Panels of so many lines in the workspace."""
        count = self.panels if count is None else count
        holds(lines * self.L <= pitch, what, "of", lines, "lines", pitch, "apart")
        inside(what, start, count * pitch, len(self.arrays["M"]))

    def check_node(self, index: int) -> None:
        """Where a node's outputs, deltas and parameters lie."""
        L, M, row = self.L, len(self.arrays["M"]), self.rows[index].tolist()
        N, K, what = row[Layer.N], row[Layer.K], f"node {index}:"
        holds(row[Layer.PANELS] == -(-N // L) and row[Layer.BLOCKS] == -(-K // L), what, "panels")
        reads = K + 1 if row[Layer.IS_DENSE] and not row[Layer.SPARSE] else 0
        rounded = self.bfloat16 and row[Layer.IS_DENSE] and not row[Layer.SPARSE]
        if rounded:
            self.check_operands(row, what)
        if index == 0 and row[Layer.APITCH] == 0:  # every worker gathers at one place
            inside(f"{what} inputs", row[Layer.A], self.n_workers * row[Layer.OWN], M)
            holds(row[Layer.OWN] >= (K + 1) * L, what, "inputs of", K, "lines")
        elif not (row[Layer.SPARSE] or rounded):
            start = row[Layer.A] + (self.n_workers - 1) * row[Layer.OWN]
            self.panel(f"{what} inputs", start, row[Layer.APITCH], reads or K)
        self.panel(f"{what} outputs", row[Layer.Z], row[Layer.ZPITCH], N + (index < self.nodes - 1))
        inside(f"{what} sink", row[Layer.SINK], N * L, M)
        inside(f"{what} values", row[Layer.ALPHA], VALUES, M)
        if row[Layer.F] >= 0:
            self.panel(f"{what} slopes", row[Layer.F], row[Layer.ZPITCH], N)
        if self.backward:
            self.panel(f"{what} deltas", row[Layer.D], row[Layer.DPITCH], N)
            if row[Layer.IS_DENSE]:
                self.panel(f"{what} transposed deltas", row[Layer.DT], row[Layer.TPITCH], self.panels * L, -(-N // L))
            if row[Layer.SKIP_D] >= 0:
                self.panel(f"{what} deltas past it", row[Layer.SKIP_D], row[Layer.DPITCH], N)
            for target in (row[Layer.BELOW], row[Layer.SKIP]):
                holds(target < len(self.rows), what, "sends to", target)
        elif operations.LOSS in self.does and index == self.nodes - 1:
            self.panel(f"{what} deltas", row[Layer.D], row[Layer.DPITCH], N)

    def check_operands(self, row: list[int], what: str) -> None:
        """Where the operands of a dense node lie, all of them in the first half where they are split."""
        H, V = len(self.arrays["H"]), len(self.arrays["V"])
        H, V = (self.operands_low or H), (self.kernels_low or V)
        halves, N, K = -(-self.panels // 2), row[Layer.N], row[Layer.K]

        def panels(name: str, place: int, count: int, steps: int, end: int) -> None:
            start, pitch = row[place], row[place + 1]
            holds(-(-steps // 32) * 512 <= pitch, what, name, "of", steps, "steps", pitch, "apart")
            inside(f"{what} {name}", start, count * pitch, end)

        panels("inputs in pairs", Layer.IN_PAIRS, self.panels, K, H)
        panels("kernel's rows", Layer.KERNEL_ROWS, -(-N // 16), K, V)
        panels("kernel's columns", Layer.KERNEL_COLUMNS, -(-K // 16), N, V)
        if self.backward:
            panels("inputs in rows", Layer.IN_ROWS, -(-(K + 1) // 16), 32 * halves, H)
            panels("deltas turned", Layer.DELTA_TURNED, -(-N // 16), 32 * halves, H)
            if row[Layer.DELTA_PAIRS] >= 0:
                panels("deltas in pairs", Layer.DELTA_PAIRS, self.panels, N, H)
            holds(row[Layer.DELTA_PAIRS] >= 0 or row[Layer.BELOW] < 0, what, "sends deltas that are no operands")

    def check_parameters(self) -> None:
        """Weights, states and gradients, and the pieces of them."""
        a, L, n = self.arrays, self.L, len(self.arrays["settings"])
        moves = self.train and (self.fused or operations.APPLY in self.does)
        stride, end = (self.stride if moves else a["P"].size), 0
        for index, row in enumerate(self.rows[: self.nodes].tolist()):
            what, size = f"parameters of node {index}", 0
            if row[Layer.IS_DENSE]:
                holds((row[Layer.K] + 1) * L <= row[Layer.WPITCH], what, "panels", row[Layer.WPITCH], "apart")
                size = row[Layer.PANELS] * row[Layer.WPITCH]
            elif row[Layer.KIND] in EMBEDDINGS:
                end = max(end, self.check_tables(row, stride))
            elif row[Layer.ARRAYS]:
                size = row[Layer.ARRAYS] * row[Layer.WPITCH]
            inside(what, row[Layer.W], size, stride)
            end = max(end, row[Layer.W] + size)
        for piece in a["pieces"].tolist():
            lines = piece[Piece.LINES] + (piece[Piece.BIAS_ARRAY] >= 0)
            inside(f"a piece of node {piece[Piece.NODE]}", piece[Piece.PLACE], lines * L, stride)
            holds(max(piece[Piece.ARRAY], piece[Piece.BIAS_ARRAY]) < n, "settings of array", piece[Piece.ARRAY])
        if a["G"].size or (self.backward and not self.fused):
            holds(a["G"].size >= end, "the gradient")
        copies = 1 + N_STATES[self.rule] if moves else 1
        holds(a["P"].size >= copies * stride, "states: ", a["P"].size, "elements for", copies, "copies of", stride)

    def check_tables(self, row: list[int], stride: int) -> int:
        """Returns where the last one ends."""
        end = 0
        for table in self.arrays["tables"][row[Layer.TABLES] :][: row[Layer.N_TABLES]].tolist():
            codes, width = table[Table.CODES], table[Table.WIDTH]
            size = -(-codes * width // self.L) * self.L
            inside("a table", table[Table.PLACE], size, stride)
            end = max(end, table[Table.PLACE] + size)
            holds(table[Table.SHARE] * table[Table.UNITS] >= codes, "the units of a table", table[Table.UNITS])
            if row[Layer.KIND] == PIECEWISE:
                inside("edges of bins", table[Table.EDGES], 2 * codes - 3, self.arrays["M"].size)
            if row[Layer.KIND] != PERIODIC:
                self.check_column(row, table, width)
        if row[Layer.KIND] == PERIODIC:  # its tables are matrices; the rows behind them are its columns
            n, behind = codes, row[Layer.TABLES] + row[Layer.N_TABLES]
            for column in self.arrays["tables"][behind : behind + n].tolist():
                self.check_column(row, column, (row[Layer.N] - row[Layer.K]) // n + 1)
        return end

    def check_column(self, row: list[int], table: list[int], width: int) -> None:
        """Where an embedded column stands, and its outputs."""
        holds(0 <= table[Table.COLUMN] < row[Layer.K], "the column of a table", table[Table.COLUMN])
        holds(table[Table.START] + width <= row[Layer.N], "the outputs of a table", table[Table.START])


def same_size(arrays: Mapping[str, Array], size: int) -> None:
    """For plain updates: arrays of numbers that are walked through together."""
    for name, array in arrays.items():
        holds(array.ndim == 1 and array.size == size and array.flags.c_contiguous, name, array.shape, "for", size)
