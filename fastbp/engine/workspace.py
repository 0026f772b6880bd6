"""The memory of a slice of work.

A workspace holds activations, deltas and scratch for batches of one size, and the context through which workers find
them: an array of addresses and numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from fastbp.engine.bfloat16 import operands
from fastbp.engine.memory import EMPTY, address, aligned, first_rows
from fastbp.engine.network import Network
from fastbp.engine.planning import plan, program, straight
from fastbp.engine.threads import THREADS
from fastbp.isa import LINE
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import jit, parallel, worker
from fastbp.kernels.schema import bounds, context
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema.fields import Layer, Operation
from fastbp.kernels.schema.operations import HELPING

Array = np.ndarray
WORD = {name: place.word for name, place in context.PLACES.items()}
FIRST_STEP = WORD["first_step"]
DROPOUT, LAYER_NORM = map(field.code_of, ("dropout", "layer_norm"))
# Bytes from which an array of a call is let go when the call ends.
WORTH_RELEASING = 1 << 16
# What callers may own, and so may resize between two calls: the same array then lies elsewhere.
CALLERS = frozenset({"X", "y", "labels", "weight", "outputs", "starts", "columns"})
FEW = 16  # rows of a prediction that are copied
NO_RULE = np.zeros((1, 8))  # scalars where nothing is updated
EMPTY_WORDS, EMPTY_LINES = np.zeros(0, np.uint16), np.zeros(0, np.int64)


class Workspace:
    """Activations, deltas and scratch for batches of one size, the context that points to them, and its programs."""

    def __init__(self, network: Network, batch: int, dtype: np.dtype, workers: int, training: bool,
                 table: Array, loss_parameters: Sequence[float], compute: str = "float32"):
        lanes = LINE // dtype.itemsize
        n_panels, nodes = plan.ceil_div(batch, lanes), network.nodes
        options, bfloat16 = network.options(training), {"float32": 0, "bfloat16": 1}.get(compute, 2)
        if bfloat16:
            options["bfloat16"] = True
        plain = not options.keys() - {"reported"}
        alone = plain and program.gathers_alone(nodes, n_panels, lanes, workers)
        self.plan = plan.make(nodes, batch, dtype, workers, training, len(network.settings), alone,
                              network.sparse, bfloat16)
        self.batch, self.workers, self.dtype = batch, workers, dtype
        self._dtype_name = str(self.dtype.name)  # NumPy takes 2 µs to find it
        self.M = aligned(self.plan.workspace, dtype)
        self.M[field.LOSS_PARAMETERS] = len(loss_parameters)
        self.M[field.LOSS_PARAMETERS + 1 :][: len(loss_parameters)] = loss_parameters
        self.partials = np.zeros(n_panels)
        self.plan.layers[: len(nodes), Layer.PIECE] = network.first_pieces()
        self._write_values(nodes)
        self._write_ones(len(nodes))
        modes = ("train", "gradients") if training else ("predict", "evaluate")
        self.programs = {mode: program.program(nodes, mode, n_panels, lanes, workers, **options) for mode in modes}
        fixed = not any((program[:, Operation.SPLIT] == HELPING).any() for program in self.programs.values())
        self.sync = aligned(max(parallel.words(len(p), workers) for p in self.programs.values()), np.int64)
        self.sums = np.zeros(network.n_sums)
        self.network = network
        self.straight = straight.StraightSteps(nodes, self.plan, batch, dtype, workers > 1 or not plain)
        self.context = aligned(context.words(workers), np.int64)
        self._first_worker = address(self.context) + 8 * context.SHARED
        self.set_numbers({
            "penalized": bool(options.keys() & {"penalties", "reported"}), "lamb": options.get("lamb", 0),
            "n_workers": workers, "spins": parallel.SPINS if workers <= usable_cores() else 0,
            "claims": workers > 1 and plain and fixed, "straight_rows": batch,
            "run_node": THREADS.address("node", dtype.name), "run_update": THREADS.address("update", dtype.name),
        })
        self.H, self.saved = EMPTY_WORDS, EMPTY_LINES
        if bfloat16:
            self._add_operands(n_panels, training, compute)
        groups = self.plan.scratch_size - field.GROUP_LINES * len(network.settings) * lanes
        for me in range(workers):
            scratch = self.plan.scratch + me * self.plan.scratch_size
            own = self.context[context.SHARED + me * context.OWN :]
            own[: len(context.FIXED)] = (address(self.context), me, scratch, scratch + groups,
                                         parallel.FLAGS + me * parallel.WORDS,
                                         self.plan.tiles + me * self.plan.tiles_size)
        self._arrays: dict[str, Array] = {}
        self._bounds = np.zeros(2, np.int64)
        self._numbers: dict[str, int] = {}  # of the last call
        self._few: tuple[Array, Array] | None = None  # rows and predictions of `predict_few`
        self._few_parameters: Array | None = None  # with which it is ready
        self.step: tuple[Array, Array, int] | None = None  # rows, targets and rule of `repeat`, when it is ready
        self.table = table
        for name in ("sync", "M", "partials", "table", "sums", "H", "saved"):
            self.point(name, getattr(self, name))
        self.point_layers(self.plan.layers)
        for name in ("pieces", "settings", "update_spec"):
            self.point(name, getattr(network, name))
        for name in context.ARRAYS:
            if name not in self._arrays:
                self.point(name, NO_RULE if name == "scalars" else straight.NONE if name == "straight" else EMPTY)

    def _add_operands(self, panels: int, training: bool, compute: str) -> None:
        """Room for activations and deltas as operands of bfloat16; of "bfloat16x3" twice, with what rounding leaves."""
        network = self.network
        words, ones = operands.place(self.plan.layers, network.nodes, panels, training, network.sparse)
        split, kernels = compute == "bfloat16x3", operands.kernel_layout(network.nodes)[1]
        self.H = aligned(words * (1 + split), np.uint16)
        for start, pitch, n in ones:
            for at in range(start, start + n * pitch, pitch):
                self.H[at : at + operands.LINE] = operands.ONE
        self.saved = aligned(parallel.WORDS * self.workers, np.int64)
        self.set_numbers({
            "bfloat16": 1, "run_products": THREADS.address("products", self._dtype_name),
            "operands_low": words if split else 0, "kernels_low": kernels if split else 0,
            "streams_operands": self.H.nbytes > operands.MOST_CACHED,
            "streams_kernels": 2 * kernels * (1 + split) > operands.MOST_CACHED,
        })

    def _write_values(self, nodes: Sequence[plan.Node]) -> None:
        for index, node in enumerate(nodes):
            values = (1 / (1 - node.values[0]),) if node.kind == DROPOUT else node.values
            if node.kind == LAYER_NORM:
                values = (0.0, *values)  # epsilon stands where it does for batches
            at = self.plan.values + plan.VALUES * index
            self.M[at : at + 1 + len(values)] = node.alpha, *values
            self._write_edges(index, node)

    def _write_edges(self, index: int, node: plan.Node) -> None:
        """The edges of each column's bins, and 1 over the widths of these; 0 for a width that the type cannot tell."""
        first = self.plan.layers[index, Layer.TABLES]
        for table, given in zip(self.plan.layers[first:], node.edges, strict=False):
            edges = np.array(given, self.dtype)
            widths = np.diff(edges)
            inverse = np.divide(1, widths, out=np.zeros_like(widths), where=widths > 0)
            at = table[field.Table.EDGES]
            self.M[at : at + len(edges) + len(widths)] = np.concatenate([edges, inverse])

    def _write_ones(self, nodes: int) -> None:
        """The line behind each panel of activations is the input of the next layer's biases."""
        lanes = LINE // self.dtype.itemsize
        for row in self.plan.layers[: nodes - 1]:
            for q in range(len(self.partials)):
                at = row[Layer.Z] + q * row[Layer.ZPITCH] + row[Layer.N] * lanes
                self.M[at : at + lanes] = 1

    def whole(self, n: int) -> Array:
        """The bounds of one step of n rows."""
        self._bounds[1] = n
        return self._bounds

    def point(self, name: str, array: Array, moved: bool = False) -> None:
        """Lets the context's `name` be this array, which is kept alive; moved: it may lie elsewhere than before."""
        if moved or self._arrays.get(name) is not array:
            word, place, n = WORD[name], address(array), len(array)
            # no call within, so no signal is heard in between: an array that is kept is the one that is pointed to
            self._arrays[name], self.context[word], self.context[word + 1] = array, place, n

    def point_layers(self, rows: Array) -> None:
        """Rows of nodes and, behind them, of tables."""
        self.point("layers", rows)
        self.point("tables", rows)

    def set_numbers(self, numbers: dict[str, int]) -> None:
        for name, number in numbers.items():
            self.context[WORD[name]] = number

    def run(self, mode: str, numbers: dict[str, int], **arrays: Array) -> None:
        self._few_parameters = self.step = None
        self._point_all(mode, numbers, arrays)
        start = time.perf_counter()
        self._start()
        self.straight.seconds += time.perf_counter() - start
        for name in ("X", "y", "outputs", "starts", "columns"):  # a caller's large arrays are not kept alive
            if name in arrays and arrays[name].nbytes > WORTH_RELEASING:
                self.point(name, EMPTY)

    def predict_few(self, parameters: Array, X: Array, out: Array) -> None:
        """A prediction of few rows, which are copied: finding out where arrays lie takes longer."""
        n = len(X)
        if self._few is None:
            rows = min(self.batch, FEW)
            self._few = (np.zeros((rows, X.shape[1]), self.dtype), np.zeros((rows, out.shape[1]), self.dtype))
        inputs, outputs = self._few
        if self._few_parameters is not parameters:
            self._few_parameters = None
            self._point_all("predict", {"n_steps": 1, "train": 0}, {
                "P": parameters, "order": first_rows(len(inputs)), "bounds": self._bounds, "outputs": outputs,
                "X": inputs, "starts": EMPTY, "columns": EMPTY})
            self._few_parameters = parameters
        inputs[:n], self._bounds[1] = X, n
        self._start()
        out[:] = outputs[:n]

    def remember(self, X: Array, y: Array, rule: int) -> None:
        """After a step of few rows: the next one like it copies its rows to where this lets the context point."""
        rows, targets = (np.zeros((min(self.batch, FEW), *a.shape[1:]), a.dtype) for a in (X, y))
        self.point("X", rows)
        self.point("y" if len(self._arrays["y"]) else "labels", targets)
        self.step = rows, targets, rule

    def repeats(self, X: Array, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array,
                rule: int) -> bool:
        """Whether a step differs from the last one in its rows and its number alone."""
        step, known = self.step, self._arrays
        return (step is not None and step[2] == rule and len(X) <= len(step[0])
                and y.dtype is step[1].dtype and y.shape[1:] == step[1].shape[1:]
                and known["order"] is order and known["bounds"] is bounds
                and known["scalars"] is scalars and known["losses"] is losses)

    def repeat(self, X: Array, y: Array, number: int) -> None:
        assert self.step is not None
        rows, targets, _ = self.step
        rows[: len(X)], targets[: len(y)] = X, y
        self.context[FIRST_STEP] = number
        self._numbers = {}
        self._start()

    def begin(self) -> None:
        """No step is made yet, whatever is raised before one is."""
        self.sync[parallel.STEPS] = 0

    def made(self) -> int:
        """How many steps the last run has made."""
        return int(self.sync.item(parallel.STEPS))

    def status(self) -> int:
        """0; 1 + the number of a node whose update was refused; below 0 where a loss was not finite."""
        return int(self.sync.item(parallel.STATUS) or self.sync.item(parallel.STATUS + 1))

    def _point_all(self, mode: str, numbers: dict[str, int], arrays: dict[str, Array]) -> None:
        known = self._arrays
        for name, array in arrays.items():
            if known[name] is not array or (array is not EMPTY and name in CALLERS):
                self.point(name, array, moved=True)
        self.point("program", self.programs[mode])
        self.point("straight", self._straight_program(numbers) if mode == "train" else straight.NONE)
        if numbers != self._numbers:
            self._numbers = {}  # until all of them are set
            self.set_numbers(numbers)
            self._numbers = numbers

    def _start(self) -> None:
        self.sync.fill(0)
        if bounds.CHECK:
            bounds.check(self.context, self._arrays, self.dtype, len(self.network.nodes), self.batch)
        if jit.JIT:
            THREADS.run(self._dtype_name, self._first_worker, self.workers)
        else:
            with np.errstate(all="ignore"):  # what is not finite is told by the status
                worker.work(context.PlainContext(self.context, self._arrays, self.dtype))

    def _straight_program(self, numbers: dict[str, int]) -> Array:
        return self.straight.program(self.programs["train"], self.context[context.SHARED :], numbers)

    def outside(self) -> bool:
        """Whether the last run met a label, a code or a column that is out of range."""
        return bool(self.sync.item(parallel.OUTSIDE) or self.sync.item(parallel.OUTSIDE + 1))
