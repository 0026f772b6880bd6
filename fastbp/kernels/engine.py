"""A network as compiled arenas and plans: what `Sequential` drives.

The engine checks nothing; its callers do. A call fills a context, an array of addresses and numbers, and starts workers
on it. Training has one workspace; predictions take one from a pool, so any number of threads may predict while one
trains.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numba
import numpy as np

from fastbp.isa import LINE
from fastbp.isa.curves_portable import CODES
from fastbp.isa.detect import usable_cores
from fastbp.isa.losses_portable import CODES as LOSSES
from fastbp.isa.rules import RULES
from fastbp.kernels import custom, jit, panels, parallel, plan
from fastbp.kernels import interpreter as run
from fastbp.reference import LayerSpec, Report, ScalarFunctions, Treatment

__all__ = ["Engine", "LayerSpec", "Report"]

Array = np.ndarray
KEEPS_SLOPES = ("gelu", "gelu_tanh", "silu", "mish")
FUSED_WITH_SIGMOID = ("binary_cross_entropy", "binary_focal")
# Rows of a prediction that go through the network at once.
CHUNK = 512
# Multiply-adds of a step, per operation, from which a second worker pays for the barriers.
WORTH_SHARING = 100_000
# Bytes from which an array of a call is let go when the call ends.
WORTH_RELEASING = 1 << 16


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


def keeps_slopes(activation: str | ScalarFunctions) -> bool:
    """Whether f' is no function of the output, or not known to be."""
    return not isinstance(activation, str) or activation in KEEPS_SLOPES


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

    def __init__(self, layers: Sequence[plan.Dense], batch: int, dtype: np.dtype, workers: int, training: bool,
                 table: Array, loss_parameters: Sequence[float]):
        self.plan = plan.make(layers, batch, dtype, workers, training)
        self.batch, self.workers, self.dtype = batch, workers, dtype
        self.M = aligned(self.plan.workspace, dtype)
        start = int(self.plan.layers[0, plan.ALPHA])
        self.M[start : start + len(layers)] = self.plan.alphas
        self.M[plan.LOSS_PARAMETERS] = len(loss_parameters)
        self.M[plan.LOSS_PARAMETERS + 1 :][: len(loss_parameters)] = loss_parameters
        lanes = LINE // dtype.itemsize
        n_panels = plan.ceil_div(batch, lanes)
        self.partials = np.zeros(n_panels)
        self._write_ones()
        modes = ("train", "evaluate") if training else ("predict", "evaluate")
        self.programs = {mode: plan.program(layers, mode, n_panels, lanes, workers) for mode in modes}
        self.sync = aligned(max(parallel.words(len(p), workers) for p in self.programs.values()), np.int64)
        self.context = np.zeros(run.CONTEXT, np.int64)
        self.numbers = self.context[2 * len(run.ARRAYS) :]
        self.numbers[[run.SCRATCH, run.SCRATCH_SIZE]] = self.plan.scratch, self.plan.scratch_size
        self.numbers[run.WORKERS] = workers
        self.numbers[run.SPINS] = parallel.SPINS if workers <= usable_cores() else 0
        self._arrays: dict[str, Array] = {}
        self._bounds = np.zeros(2, np.int64)
        self.table = table
        for name in ("sync", "M", "partials", "table"):
            self.point(name, getattr(self, name))
        self.point("layers", self.plan.layers)
        for name in run.ARRAYS:
            if name not in self._arrays:
                self.point(name, EMPTY)

    def _write_ones(self) -> None:
        """The line behind each panel of activations is the input of the next layer's biases."""
        lanes = LINE // self.dtype.itemsize
        for row in self.plan.layers[:-1]:
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
                run.work(0, self.numbers, *(self._arrays[name].reshape(-1) for name in run.ARRAYS))
        for name in ("X", "y", "outputs"):  # a caller's large arrays are not kept alive
            if name in arrays and arrays[name].nbytes > WORTH_RELEASING:
                self._arrays[name] = EMPTY


EMPTY = np.zeros(0)
SLOT = {name: slot for slot, name in enumerate(run.ARRAYS)}


class Engine:
    """Parameters, optimizer states and the plans of one network; float32 or float64."""

    def __init__(self, input_size: int, layers: Sequence[LayerSpec], *, dtype: str = "float32"):
        self.dtype = np.dtype(dtype)
        self.input_size, self.output_size = input_size, layers[-1].units
        self.specs = list(layers)
        self.lanes = LINE // self.dtype.itemsize
        self.loss: str | ScalarFunctions = "mse"
        self.rule, self.n_states, self.treatment = "sgd", 0, Treatment()
        self.loss_parameters: tuple[float, ...] = ()
        self._own = list(dict.fromkeys(s.activation for s in self.specs if isinstance(s.activation, ScalarFunctions)))
        self._layers = self._describe()
        self._layout, length = plan.parameter_layout(self._layers, self.lanes)
        self._stride = (length // self.lanes // 64 * 64 + 64 + 21) * self.lanes  # not a multiple of a page: see docs
        self._P = aligned(self._stride, self.dtype)
        self._written = False
        self._multiply_adds = sum(x.inputs * x.outputs for x in self._layers if x.dense)
        self._training: Workspace | None = None
        self._idle: list[Workspace] = []

    # -- description ---------------------------------------------------------------------------------------------
    def _describe(self) -> list[plan.Dense]:
        described, inputs = [], self.input_size
        for index, spec in enumerate(self.specs):
            name, output = spec.activation, "identity"
            if index == len(self.specs) - 1 and (name == "softmax" or self.loss in FUSED_WITH_SIGMOID):
                name, output = "identity", name
            described.append(plan.Dense(inputs, spec.units, self._code(name), self._code(output), keeps_slopes(name),
                                        spec.dense, spec.use_bias, spec.alpha))
            inputs = spec.units
        return described

    def _code(self, activation: str | ScalarFunctions) -> int:
        if isinstance(activation, str):
            return CODES[activation]
        return custom.activation_code(self._own.index(activation))

    def configure(self, loss: str | ScalarFunctions, rule: str, *, loss_parameters: tuple[float, ...] = (),
                  treatment: Treatment = Treatment()) -> None:  # noqa: B008 - it is immutable
        """Chooses what train, evaluate and gradients compute: a loss by name, with its parameters (see
        `reference.losses`), or a user's own."""
        wanted = loss, rule, tuple(loss_parameters), treatment
        if wanted != (self.loss, self.rule, self.loss_parameters, self.treatment):
            self.loss, self.rule, self.loss_parameters, self.treatment = wanted
            self._layers, self._training, self._idle = self._describe(), None, []

    def _loss_code(self) -> int:
        return custom.OWN_LOSS if isinstance(self.loss, ScalarFunctions) else LOSSES[self.loss]

    def _space(self, batch: int, workers: int, training: bool) -> Workspace:
        loss = self.loss if isinstance(self.loss, ScalarFunctions) else None
        table = custom.table(self.dtype.name, self._own, loss)
        return Workspace(self._layers, batch, self.dtype, workers, training, table, self.loss_parameters)

    @property
    def n_parameters(self) -> int:
        return sum((x.inputs + x.bias) * x.outputs for x in self._layers if x.dense)

    def _dense(self) -> list[tuple[plan.Dense, int, int]]:
        return [(x, int(offset), int(pitch)) for x, (offset, pitch) in zip(self._layers, self._layout, strict=True)
                if x.dense]

    # -- parameters and states -----------------------------------------------------------------------------------
    def _read(self, arena: Array) -> list[Array]:
        arrays: list[Array] = []
        for layer, offset, pitch in self._dense():
            kernel, bias = panels.unpack(arena, offset, pitch, self.lanes, layer.inputs, layer.outputs)
            arrays += [kernel, bias] if layer.bias else [kernel]
        return arrays

    def _write(self, arena: Array, arrays: Iterable[Array]) -> None:
        rest = iter(arrays)
        for layer, offset, pitch in self._dense():
            kernel = next(rest)
            panels.pack(arena, offset, pitch, self.lanes, kernel, next(rest) if layer.bias else None)

    def _arena(self, index: int) -> Array:
        return self._P[index * self._stride : (index + 1) * self._stride]

    def get_weights(self) -> list[Array]:
        return self._read(self._arena(0))

    def set_weights(self, weights: Iterable[Array]) -> None:
        self._written = True
        self._write(self._arena(0), weights)

    def get_state(self) -> list[list[Array]]:
        """Copies of the optimizer's states, each aligned with get_weights(), in this engine's own form.

        Momentum: v. Adam: m / (1 - beta_1) and v / (1 - beta_2), which saves two multiplications a weight.
        """
        return [self._read(self._arena(1 + i)) for i in range(self.n_states)]

    def set_state(self, states: Sequence[Sequence[Array]]) -> None:
        self.reset_state(len(states))
        for index, state in enumerate(states):
            self._write(self._arena(1 + index), state)

    def reset_state(self, n_states: int) -> None:
        if n_states == self.n_states:
            self._P[self._stride :] = 0
            return
        arena = aligned((1 + n_states) * self._stride, self.dtype)
        if self._written:  # else both are zeros that no memory stands behind yet
            arena[: self._stride] = self._arena(0)
        self._P, self.n_states, self._training = arena, n_states, None

    # -- running ---------------------------------------------------------------------------------------------------
    def _workers(self, batch: int, wanted: int | None) -> int:
        """One worker for small steps: launching and barriers would cost more than a second one brings."""
        worthwhile = batch * self._multiply_adds // (len(self._layers) * WORTH_SHARING)
        return min(worthwhile, THREADS.limit(wanted)) if worthwhile > 1 else 1

    def _labels(self, y: Array) -> dict[str, Array]:
        return {"labels": y, "y": EMPTY} if y.ndim == 1 and y.dtype == np.int64 else {"labels": EMPTY, "y": y}

    def train(self, X: Array, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array, *,
              sample_weight: Array | None = None, outputs: Array | None = None, n_threads: int | None = None) -> Report:
        """Runs len(bounds) - 1 steps of minibatch training; see Report for how it may end early."""
        steps = len(bounds) - 1
        batch = int(bounds[1] - bounds[0]) if steps == 1 else int(np.diff(bounds).max())
        space = self._space_for_training(batch, self._workers(batch, n_threads))
        totals = EMPTY
        if sample_weight is not None:
            totals = np.add.reduceat(sample_weight[order[: bounds[-1]]].astype(np.float64), bounds[:-1])
        arena = self._P.nbytes > plan.L2_BYTES
        if scalars.strides[0] == 0:  # one row for all steps
            scalars = scalars[:1]
        space.run("train", {
            run.N_STEPS: steps, run.LOSS: self._loss_code(), run.BACKWARD: 1, run.FUSED: 1, run.TRAIN: 1,
            run.RULE: self._rule_code(scalars), run.AHEAD: (1 + self.n_states) * arena, run.STRIDE: self._stride,
        }, P=self._P, G=EMPTY, X=X, order=order, bounds=bounds, scalars=scalars, losses=losses, totals=totals,
            weight=EMPTY if sample_weight is None else sample_weight,
            outputs=EMPTY if outputs is None else outputs, **self._labels(y))
        status = int(space.sync[parallel.STATUS] or space.sync[parallel.STATUS + 1])
        return Report(int(space.sync[parallel.STEPS]), (status < 0) + 2 * (status > 0), max(status, 0) - 1)

    def _rule_code(self, scalars: Array) -> int:
        rule = "adam_decay" if self.rule == "adam" and scalars.reshape(-1)[1] != 0 else self.rule
        return list(RULES).index(rule)

    def _space_for_training(self, batch: int, workers: int) -> Workspace:
        space = self._training
        if space is None or space.batch < batch or space.workers != workers:
            space = self._training = self._space(batch, workers, training=True)
        return space

    def gradients(self, X: Array, y: Array, *, sample_weight: Array | None = None) -> tuple[float, list[Array]]:
        """The mean loss of one batch and its gradient, by the unfused path; parameters and states stay as they are."""
        batch, arena = len(X), aligned(self._stride, self.dtype)
        space = self._space(batch, self._workers(batch, None), training=True)
        losses = np.zeros(1)
        self._one_pass(space, "train", X, y, losses, sample_weight, EMPTY, backward=1, G=arena)
        return float(losses[0]), self._read(arena)

    def evaluate(self, X: Array, y: Array, *, sample_weight: Array | None = None, outputs: Array | None = None,
                 n_threads: int | None = None) -> float:
        """The (weighted) mean loss of all rows, in chunks; predictions go to `outputs`."""
        total = weight = 0.0
        for start in range(0, len(X), CHUNK):
            chunk = slice(start, start + CHUNK)
            w = None if sample_weight is None else sample_weight[chunk]
            space = self._borrow(len(X[chunk]), n_threads)
            losses = np.zeros(1)
            self._one_pass(space, "evaluate", X[chunk], y[chunk], losses, w,
                           EMPTY if outputs is None else outputs[chunk], backward=0, G=EMPTY)
            self._idle.append(space)
            share = float(len(X[chunk]) if w is None else w.sum(dtype=np.float64))
            total, weight = total + share * losses[0], weight + share
        return total / weight if weight else 0.0

    def predict(self, X: Array, out: Array, *, n_threads: int | None = None) -> None:
        """Rows of X through the network into rows of out."""
        n = len(X)
        chunk = min(n, CHUNK)
        space = self._borrow(chunk, n_threads)
        bounds = np.append(np.arange(0, n, chunk), n) if n > chunk else space.whole(n)
        space.run("predict", {run.N_STEPS: len(bounds) - 1, run.TRAIN: 0},
                  P=self._P, X=X, order=first_rows(n), bounds=bounds, outputs=out)
        self._idle.append(space)

    def _borrow(self, batch: int, n_threads: int | None) -> Workspace:
        """A workspace nobody uses at the moment."""
        workers = self._workers(batch, n_threads)
        try:
            space = self._idle.pop()
        except IndexError:
            space = None
        if space is None or space.batch < batch or space.workers != workers:
            space = self._space(batch, workers, training=False)
        return space

    def _one_pass(self, space: Workspace, mode: str, X: Array, y: Array, losses: Array, sample_weight: Array | None,
                  outputs: Array, backward: int, G: Array) -> None:
        totals = EMPTY if sample_weight is None else np.array([sample_weight.sum(dtype=np.float64)])
        numbers = {run.N_STEPS: 1, run.LOSS: self._loss_code(), run.BACKWARD: backward, run.FUSED: 0, run.TRAIN: 0}
        space.run(mode, numbers, P=self._P, G=G, X=X, order=first_rows(len(X)), bounds=space.whole(len(X)),
                  losses=losses, totals=totals, weight=EMPTY if sample_weight is None else sample_weight,
                  outputs=outputs, **self._labels(y))
