"""The memory of a slice of work and the threads that do it.

A workspace holds activations, deltas and scratch for batches of one size, and the context through which workers find
them: an array of addresses and numbers.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from fastbp.isa import LINE
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import interpreter as run
from fastbp.kernels import jit, parallel, plan, program
from fastbp.kernels.network import Network

Array = np.ndarray
# Bytes from which an array of a call is let go when the call ends.
WORTH_RELEASING = 1 << 16
EMPTY = np.zeros(0)
NO_RULE = np.zeros((1, 8))  # scalars where nothing is updated
SLOT = {name: slot for slot, name in enumerate(run.ARRAYS)}


def aligned(n: int, dtype: Any) -> Array:
    """n zeros that start on a cache line."""
    lanes = LINE // np.dtype(dtype).itemsize
    whole = np.zeros(n + lanes, dtype)
    return whole[-(whole.ctypes.data // whole.itemsize) % lanes :][:n]


def first_rows(n: int) -> Array:
    """0, 1, 2, ... up to n - 1 at least: one array for all calls, because many small ones would each make their own."""
    global _rows
    if len(_rows) < n:
        _rows = np.arange(max(n, 2 * len(_rows)))
    return _rows


_rows = np.arange(1024)


def address(array: Array) -> int:
    return array.__array_interface__["data"][0]


class Threads:
    """One parallel slice at a time; none in a forked child, whose OpenMP runtime did not survive the fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.lock, self.forked = threading.Lock(), True

    def limit(self, wanted: int | None) -> int:
        """How many workers a slice may have."""
        if self.forked or not jit.JIT:
            return 1
        most = int(numba.config.NUMBA_NUM_THREADS)
        if wanted is None:
            return min(usable_cores(), most)
        if wanted > most:
            warnings.warn(f"n_threads={wanted} is more than Numba may start: using {most}. "
                          f"Set NUMBA_NUM_THREADS={wanted} before the first import.", RuntimeWarning, stacklevel=4)
        return min(wanted, most)

    def run(self, dtype: str, context: Array, workers: int) -> None:
        entry = run.serial_entry(dtype)
        if workers == 1:
            entry.ctypes(0, address(context))
            return
        with self.lock:
            before = numba.get_num_threads()
            numba.set_num_threads(workers)
            try:
                run.parallel_entry()(entry.address, address(context), workers)
            finally:
                numba.set_num_threads(before)


THREADS = Threads()


class Workspace:
    """Activations, deltas and scratch for batches of one size, the context that points to them, and its programs."""

    def __init__(self, network: Network, batch: int, dtype: np.dtype, workers: int, training: bool,
                 table: Array, loss_parameters: Sequence[float]):
        lanes = LINE // dtype.itemsize
        n_panels, nodes = plan.ceil_div(batch, lanes), network.nodes
        options = network.options(training)
        alone = not options.keys() - {"reported"} and program.gathers_alone(nodes, n_panels, lanes, workers)
        self.plan = plan.make(nodes, batch, dtype, workers, training, len(network.settings), alone,
                              network.sparse)
        self.batch, self.workers, self.dtype = batch, workers, dtype
        self.M = aligned(self.plan.workspace, dtype)
        self.M[plan.LOSS_PARAMETERS] = len(loss_parameters)
        self.M[plan.LOSS_PARAMETERS + 1 :][: len(loss_parameters)] = loss_parameters
        self.partials = np.zeros(n_panels)
        self.plan.layers[: len(nodes), plan.PIECE] = network.first_pieces()
        self._write_values(nodes)
        self._write_ones(len(nodes))
        modes = ("train", "gradients") if training else ("predict", "evaluate")
        self.programs = {mode: program.program(nodes, mode, n_panels, lanes, workers, **options) for mode in modes}
        self.sync = aligned(max(parallel.words(len(p), workers) for p in self.programs.values()), np.int64)
        self.sums = np.zeros(network.n_sums)
        self.network = network
        self.context = np.zeros(run.CONTEXT, np.int64)
        self.numbers = self.context[2 * len(run.ARRAYS) :]
        self.numbers[[run.SCRATCH, run.SCRATCH_SIZE]] = self.plan.scratch, self.plan.scratch_size
        self.numbers[run.GROUPS] = self.plan.scratch_size - plan.GROUP_LINES * len(network.settings) * lanes
        self.numbers[run.PENALISED] = bool(options.keys() & {"penalties", "reported"})
        self.numbers[run.LAMB] = options.get("lamb", 0)
        self.numbers[run.WORKERS] = workers
        self.numbers[run.SPINS] = parallel.SPINS if workers <= usable_cores() else 0
        self._arrays: dict[str, Array] = {}
        self._bounds = np.zeros(2, np.int64)
        self.table = table
        for name in ("sync", "M", "partials", "table", "sums"):
            self.point(name, getattr(self, name))
        self.point("layers", self.plan.layers)
        for name in ("pieces", "settings", "update_spec"):
            self.point(name, getattr(network, name))
        for name in run.ARRAYS:
            if name not in self._arrays:
                self.point(name, NO_RULE if name == "scalars" else EMPTY)

    def _write_values(self, nodes: Sequence[plan.Node]) -> None:
        for index, node in enumerate(nodes):
            values = (1 / (1 - node.values[0]),) if node.kind == plan.DROPOUT else node.values
            if node.kind == plan.LAYER_NORM:
                values = (0.0, *values)  # epsilon stands where it does for batches
            at = self.plan.values + plan.VALUES * index
            self.M[at : at + 1 + len(values)] = node.alpha, *values

    def _write_ones(self, nodes: int) -> None:
        """The line behind each panel of activations is the input of the next layer's biases."""
        lanes = LINE // self.dtype.itemsize
        for row in self.plan.layers[: nodes - 1]:
            for q in range(len(self.partials)):
                at = row[plan.Z] + q * row[plan.ZPITCH] + row[plan.N] * lanes
                self.M[at : at + lanes] = 1

    def whole(self, n: int) -> Array:
        """The bounds of one step of n rows."""
        self._bounds[1] = n
        return self._bounds

    def point(self, name: str, array: Array) -> None:
        """Lets the context's `name` be this array, which is kept alive."""
        if self._arrays.get(name) is not array:
            self._arrays[name] = array
            slot = 2 * SLOT[name]
            self.context[slot] = address(array)
            self.context[slot + 1] = array.size

    def run(self, mode: str, numbers: dict[int, int], **arrays: Array) -> None:
        for name, array in arrays.items():
            self.point(name, array)
        self.point("program", self.programs[mode])
        for place, number in numbers.items():
            self.numbers[place] = number
        self.sync[:] = 0
        if jit.JIT:
            THREADS.run(self.dtype.name, self.context, self.workers)
        else:
            with np.errstate(all="ignore"):  # what is not finite is told by the status
                shaped = (self._arrays[name].reshape(run.SHAPES.get(name, -1)) for name in run.ARRAYS)
                run.work(0, self.numbers, *shaped)
        for name in ("X", "y", "outputs", "starts", "columns"):  # a caller's large arrays are not kept alive
            if name in arrays and arrays[name].nbytes > WORTH_RELEASING:
                self._arrays[name] = EMPTY
