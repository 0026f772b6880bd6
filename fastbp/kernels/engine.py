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
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from fastbp.isa import LINE
from fastbp.isa.curves_portable import CODES
from fastbp.isa.detect import usable_cores
from fastbp.isa.losses_portable import CODES as LOSSES
from fastbp.isa.rules import RULES
from fastbp.kernels import arena, custom, jit, panels, parallel, plan, program
from fastbp.kernels import interpreter as run
from fastbp.reference import LayerSpec, Report, ScalarFunctions, Treatment
from fastbp.rows import SparseRows

__all__ = ["Engine", "LayerSpec", "Report"]

Array = np.ndarray
Rows = Array | SparseRows
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

    def __init__(self, network: Network, batch: int, dtype: np.dtype, workers: int, training: bool,
                 table: Array, loss_parameters: Sequence[float]):
        lanes = LINE // dtype.itemsize
        n_panels, nodes = plan.ceil_div(batch, lanes), network.nodes
        options = network.options(training)
        alone = not options and program.gathers_alone(nodes, n_panels, lanes, workers)
        self.plan = plan.make(nodes, batch, dtype, workers, training, len(network.settings), alone,
                              network.sparse)
        self.batch, self.workers, self.dtype = batch, workers, dtype
        self.M = aligned(self.plan.workspace, dtype)
        self.M[plan.LOSS_PARAMETERS] = len(loss_parameters)
        self.M[plan.LOSS_PARAMETERS + 1 :][: len(loss_parameters)] = loss_parameters
        self.partials = np.zeros(n_panels)
        self._write_values(nodes)
        self._write_ones(len(nodes))
        modes = ("train", "gradients") if training else ("predict", "evaluate")
        self.programs = {mode: program.program(nodes, mode, n_panels, lanes, workers, **options) for mode in modes}
        self.sync = aligned(max(parallel.words(len(p), workers) for p in self.programs.values()), np.int64)
        self.sums = np.zeros(len(network.pieces) * arena.N_SUMS)
        self.network = network
        self.context = np.zeros(run.CONTEXT, np.int64)
        self.numbers = self.context[2 * len(run.ARRAYS) :]
        self.numbers[[run.SCRATCH, run.SCRATCH_SIZE]] = self.plan.scratch, self.plan.scratch_size
        self.numbers[run.GROUPS] = self.plan.scratch_size - plan.GROUP_LINES * len(network.settings) * lanes
        self.numbers[[run.PENALISED, run.LAMB]] = options.get("penalties", 0), options.get("lamb", 0)
        self.numbers[run.WORKERS] = workers
        self.numbers[run.SPINS] = parallel.SPINS if workers <= usable_cores() else 0
        self._arrays: dict[str, Array] = {}
        self._bounds = np.zeros(2, np.int64)
        self.table = table
        for name in ("sync", "M", "partials", "table", "sums"):
            self.point(name, getattr(self, name))
        self.point("layers", self.plan.layers)
        for name in ("pieces", "settings", "treatment"):
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


EMPTY = np.zeros(0)
NO_RULE = np.zeros((1, 8))  # scalars where nothing is updated
UNTREATED = Treatment()
NOT_TREATED = np.zeros(arena.N_TREATMENT)
NOT_TREATED[arena.ACCUMULATION] = 1
SLOT = {name: slot for slot, name in enumerate(run.ARRAYS)}


class Network:
    """The nodes of an engine, and what is done with their parameters: what its workspaces are made from.

    An array of parameters is a kernel, biases, gamma or beta. A group is what is updated with the same scalars: where
    nothing needs the whole gradient, arrays of one rate and decay; else each array is its own.
    """

    def __init__(self, nodes: list[plan.Node], specs: Sequence[LayerSpec], layout: Array, treatment: Treatment,
                 rule: str, lanes: int, sparse: bool = False, every_weight: bool = False):
        self.lamb, self.sparse = rule == "lamb", sparse
        self.penalties = any(spec.dense and (spec.l1 or spec.l2) for spec in specs)
        limits = any(spec.dense and spec.max_norm for spec in specs)
        plain = treatment._replace(decay_kernels_only=False) == Treatment()
        self.treated = self.lamb or self.penalties or limits or not plain or (sparse and every_weight)
        arrays = [(index, j) for index, spec in enumerate(specs)
                  if spec.dense or nodes[index].columns
                  for j in range(2 if nodes[index].columns or spec.use_bias else 1)]
        settings = {array: _settings(specs[array[0]], array[1], treatment) for array in arrays}
        alike = list(dict.fromkeys(settings.values()))
        number = {array: i if self.treated else alike.index(settings[array]) for i, array in enumerate(arrays)}
        self.nodes = [node._replace(rules=(number.get((i, 0), 0), number.get((i, 1), number.get((i, 0), 0))))
                      for i, node in enumerate(nodes)]
        rows = list(settings.values()) if self.treated else alike
        self.settings = np.zeros((max(1, len(rows)), arena.N_SETTINGS))
        self.settings[:, : arena.FIRST] = rows or [(1.0, 1.0, 0.0, 0.0, 0.0)]
        self.pieces = _pieces(self.nodes, layout, lanes)
        for group in range(len(rows) if self.treated else 0):
            mine = np.flatnonzero((self.pieces[:, [arena.ARRAY, arena.BIAS_ARRAY]] == group).any(axis=1))
            self.settings[group, [arena.FIRST, arena.COUNT]] = (mine[0], len(mine)) if len(mine) else (0, 0)
        self.treatment = np.zeros(arena.N_TREATMENT)
        self.treatment[: arena.AVERAGE] = treatment[: arena.AVERAGE]

    def options(self, training: bool) -> dict[str, bool]:
        """What the program must know, if anything."""
        if training:
            chosen = {"penalties": self.penalties, "treated": self.treated, "lamb": self.lamb, "sparse": self.sparse}
        else:
            chosen = {"penalties": self.penalties, "sparse": self.sparse}
        return {name: True for name, value in chosen.items() if value}


def _settings(spec: LayerSpec, which: int, treatment: Treatment) -> tuple[float, ...]:
    """An array's row but for its pieces: kernels alone have penalties, and decay if only kernels do."""
    kernel = spec.dense and which == 0
    penalties = (spec.l1, spec.l2, spec.max_norm) if kernel else (0.0, 0.0, 0.0)
    return (spec.multiplier, float(kernel or not treatment.decay_kernels_only), *penalties)


def _pieces(nodes: Sequence[plan.Node], layout: Array, lanes: int) -> Array:
    """Runs of lines of parameters, see `arena`."""
    pieces = []
    for index, (node, (offset, pitch)) in enumerate(zip(nodes, layout.tolist(), strict=True)):
        panels, (first, second) = plan.ceil_div(node.outputs, lanes), node.rules
        trained = int(node.trainable)
        if node.dense:
            other = second if node.bias else -1
            pieces += [(index, offset + p * pitch, node.inputs, first, other, trained) for p in range(panels)]
        elif node.columns:
            pieces += [(index, offset + j * pitch, panels, node.rules[j], -1, trained) for j in range(2)]
    return np.array(pieces, np.int64).reshape(-1, arena.N_PIECE)


class Engine:
    """Parameters, optimizer states and the plans of one network; float32 or float64."""

    def __init__(self, input_size: int, layers: Sequence[LayerSpec], *, dtype: str = "float32",
                 key: tuple[int, int] = (0, 0)):
        self.dtype, self.key = np.dtype(dtype), key
        self.input_size, self.output_size = input_size, layers[-1].units
        self.specs = list(layers)
        self.lanes = LINE // self.dtype.itemsize
        self.loss: str | ScalarFunctions = "mse"
        self.rule, self.n_states, self._treatment = "sgd", 0, UNTREATED
        self.loss_parameters: tuple[float, ...] = ()
        self._own = list(dict.fromkeys(s.activation for s in self.specs if isinstance(s.activation, ScalarFunctions)))
        self.steps_trained = self.steps_since_compile = 0  # the second tells when accumulated gradients are due
        self._random = np.array([*key, 0], np.int64)
        self._layout, length = plan.parameter_layout(self._describe(), self.lanes)
        self._layers = self._describe()
        self._network = self._connect()
        self._stride = (length // self.lanes // 64 * 64 + 64 + 21) * self.lanes  # not a multiple of a page: see docs
        self._P = aligned(self._stride, self.dtype)
        self._written = False
        self.steps_trained = 0  # since the engine was made
        self._multiply_adds = sum(x.inputs * x.outputs for x in self._layers if x.dense)
        self._training: Workspace | None = None
        self._idle: list[Workspace] = []

    # -- description ---------------------------------------------------------------------------------------------
    def _describe(self) -> list[plan.Node]:
        described: list[plan.Node] = []
        for index, spec in enumerate(self.specs):
            name, output = spec.activation, "identity"
            if index == len(self.specs) - 1 and (name == "softmax" or self.loss in FUSED_WITH_SIGMOID):
                name, output = "identity", name
            below = index - 1 if spec.below is None else spec.below
            inputs = self.input_size if below < 0 else self.specs[below].units
            bias, skip = spec.dense and spec.use_bias, plan.NOWHERE if spec.skip is None else spec.skip
            # dropout keeps its mask as slopes, which any activation that keeps them will do to apply
            code = CODES[KEEPS_SLOPES[0]] if spec.kind == "dropout" else self._code(name)
            described.append(plan.Node(inputs, spec.units, plan.KINDS.index(spec.kind), code, self._code(output),
                                       keeps_slopes(name), bias, spec.alpha, spec.values, below, skip,
                                       spec.trainable, (0, 0)))
        return described

    def _connect(self) -> Network:
        self._networks: dict[tuple[bool, bool], Network] = {}
        return self._network_for(False, False)

    def _network_for(self, sparse: bool, every_weight: bool) -> Network:
        """The network on dense rows or, if its first layer alone reads the input, on sparse rows where they are.

        every_weight: a step moves also the weights of features that do not occur.
        """
        readers = [node for node in self._layers if plan.INPUT in (node.below, node.skip)]
        sparse = sparse and readers == [self._layers[0]] and self._layers[0].dense
        key = sparse, sparse and every_weight
        if key not in self._networks:
            self._networks[key] = Network(self._layers, self.specs, self._layout, self._treatment, self.rule,
                                          self.lanes, *key)
        return self._networks[key]

    def _code(self, activation: str | ScalarFunctions) -> int:
        if isinstance(activation, str):
            return CODES[activation]
        return custom.activation_code(self._own.index(activation))

    def configure(self, loss: str | ScalarFunctions, rule: str, *, loss_parameters: tuple[float, ...] = (),
                  treatment: Treatment = UNTREATED) -> None:
        """Chooses what train, evaluate and gradients compute: a loss by name, with its parameters (see
        `reference.losses`), or a user's own."""
        wanted = loss, rule, tuple(loss_parameters), treatment
        if wanted != (self.loss, self.rule, self.loss_parameters, self._treatment):
            self.loss, self.rule, self.loss_parameters, self._treatment = wanted
            self._layers, self._training, self._idle = self._describe(), None, []
            self._network = self._connect()

    def _loss_code(self) -> int:
        return custom.OWN_LOSS if isinstance(self.loss, ScalarFunctions) else LOSSES[self.loss]

    def _space(self, network: Network, batch: int, workers: int, training: bool) -> Workspace:
        loss = self.loss if isinstance(self.loss, ScalarFunctions) else None
        table = custom.table(self.dtype.name, self._own, loss)
        return Workspace(network, batch, self.dtype, workers, training, table, self.loss_parameters)

    @property
    def n_parameters(self) -> int:
        return sum((x.inputs + x.bias) * x.outputs if x.dense else x.columns * x.outputs for x in self._layers)

    def _arrays(self) -> list[tuple[plan.Node, int, int]]:
        return [(x, int(offset), int(pitch)) for x, (offset, pitch) in zip(self._layers, self._layout, strict=True)
                if x.dense or x.columns]

    # -- parameters and states -----------------------------------------------------------------------------------
    def _read(self, values: Array, columns: int = 4) -> list[Array]:
        """Copies of an arena's arrays; columns=2: without moving statistics."""
        arrays: list[Array] = []
        for node, offset, pitch in self._arrays():
            if node.dense:
                kernel, bias = panels.unpack(values, offset, pitch, self.lanes, node.inputs, node.outputs)
                arrays += [kernel, bias] if node.bias else [kernel]
            else:
                starts = [offset + j * pitch for j in range(min(columns, node.columns))]
                arrays += [values[start : start + node.outputs].copy() for start in starts]
        return arrays

    def _write(self, values: Array, arrays: Iterable[Array], columns: int = 4) -> None:
        rest = iter(arrays)
        for node, offset, pitch in self._arrays():
            if node.dense:
                kernel = next(rest)
                panels.pack(values, offset, pitch, self.lanes, kernel, next(rest) if node.bias else None)
            else:
                for j in range(min(columns, node.columns)):
                    values[offset + j * pitch :][: node.outputs] = next(rest)

    def _arena(self, index: int) -> Array:
        return self._P[index * self._stride : (index + 1) * self._stride]

    def get_weights(self) -> list[Array]:
        return self._read(self._arena(0))

    def set_weights(self, weights: Iterable[Array]) -> None:
        self._written = True
        self._write(self._arena(0), weights)

    def get_state(self) -> list[list[Array]]:
        """Copies of the optimizer's states, each aligned with get_weights() without moving statistics.

        In this engine's own form. Momentum: v. Adam: m / (1 - beta_1) and v / (1 - beta_2), which saves two
        multiplications a weight. Behind them the average of the weights and the gradient accumulated so far, where the
        treatment has these.
        """
        return [self._read(self._arena(1 + i), 2) for i in range(self.n_states + self._treatment.n_states)]

    def set_state(self, states: Sequence[Sequence[Array]]) -> None:
        self.reset_state(len(states) - self._treatment.n_states)
        for index, state in enumerate(states):
            self._write(self._arena(1 + index), state, 2)

    def reset_state(self, n_states: int) -> None:
        """States of 0, and an average that the first update sets."""
        gradient = self._network.treated and self._treatment.accumulation == 1  # else it is among the extras
        size = (1 + n_states + self._treatment.n_states + gradient) * self._stride
        if size == len(self._P):
            self._P[self._stride :] = 0
        else:
            values = aligned(size, self.dtype)
            if self._written:  # else both are zeros that no memory stands behind yet
                values[: self._stride] = self._arena(0)
            self._P, self._training = values, None
        self.n_states, self.steps_since_compile = n_states, 0

    # -- running ---------------------------------------------------------------------------------------------------
    def _workers(self, batch: int, wanted: int | None) -> int:
        """One worker for small steps: launching and barriers would cost more than a second one brings."""
        worthwhile = batch * self._multiply_adds // (len(self._layers) * WORTH_SHARING)
        return min(worthwhile, THREADS.limit(wanted)) if worthwhile > 1 else 1

    def _inputs(self, X: Rows) -> dict[str, Array]:
        if isinstance(X, SparseRows):
            return {"X": X.values, "starts": X.starts, "columns": X.columns}
        return {"X": X, "starts": EMPTY, "columns": EMPTY}

    def _labels(self, y: Array) -> dict[str, Array]:
        return {"labels": y, "y": EMPTY} if y.ndim == 1 and y.dtype == np.int64 else {"labels": EMPTY, "y": y}

    def train(self, X: Rows, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array, *,
              sample_weight: Array | None = None, outputs: Array | None = None, n_threads: int | None = None) -> Report:
        """Runs len(bounds) - 1 steps of minibatch training; see Report for how it may end early."""
        if self.rule == "muon":
            return self._train_by_arrays(X, y, order, bounds, scalars, losses, sample_weight, outputs, n_threads)
        steps = len(bounds) - 1
        batch = int(bounds[1] - bounds[0]) if steps == 1 else int(np.diff(bounds).max())
        sparse = isinstance(X, SparseRows)
        network = self._network_for(sparse, sparse and (self.rule != "sgd" or bool(scalars[:, 1].any())))
        space = self._space_for_training(batch, self._workers(batch, n_threads), network)
        totals = EMPTY
        if sample_weight is not None:
            totals = np.add.reduceat(sample_weight[order[: bounds[-1]]].astype(np.float64), bounds[:-1])
        large = self._P.nbytes > plan.L2_BYTES
        if scalars.strides[0] == 0:  # one row for all steps
            scalars = scalars[:1]
        if network.treated:
            self._reserve_gradient()
        network.treatment[arena.AVERAGE] = (1 + self.n_states) * self._stride
        self._random[2], space.sync[parallel.STEPS] = self.steps_trained, 0
        try:
            space.run("train", {
                run.N_STEPS: steps, run.LOSS: self._loss_code(), run.BACKWARD: 1, run.FUSED: not network.treated,
                run.TRAIN: 1, run.RULE: self._rule_code(scalars), run.AHEAD: (1 + self.n_states) * large,
                run.STRIDE: self._stride, run.FIRST_STEP: self.steps_since_compile,
            }, P=self._P, G=self._arena(len(self._P) // self._stride - 1) if network.treated else EMPTY,
                order=order, bounds=bounds, scalars=scalars, losses=losses, totals=totals, random=self._random,
                **self._inputs(X), weight=EMPTY if sample_weight is None else sample_weight,
                outputs=EMPTY if outputs is None else outputs, **self._labels(y))
        finally:
            self.steps_trained += int(space.sync[parallel.STEPS])
            self.steps_since_compile += int(space.sync[parallel.STEPS])
        status = int(space.sync[parallel.STATUS] or space.sync[parallel.STATUS + 1])
        return Report(int(space.sync[parallel.STEPS]), (status < 0) + 2 * (status > 0), max(status, 0) - 1)

    def _train_by_arrays(self, X: Rows, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array,
                         sample_weight: Array | None, outputs: Array | None, n_threads: int | None) -> Report:
        """Rules that look at whole matrices: gradients from the engine, updates as the reference makes them."""
        from fastbp.reference.treatment import Updates
        from fastbp.reference.treatment import parameters as arrays_of

        gradient, n = aligned(self._stride, self.dtype), self.n_states + self._treatment.n_states
        most = int(np.diff(bounds).max())
        space = self._space_for_training(most, self._workers(most, n_threads))
        shapes = iter([array.shape for array in self._read(self._arena(0), 2)])
        count = [1 + node.bias if node.dense else min(2, node.columns) for node in self._layers]
        every = arrays_of(self.specs, [[next(shapes) for _ in range(k)] for k in count])
        updates = Updates(every, self.rule, self._treatment)
        updates.steps = self.steps_since_compile
        for s, (start, end) in enumerate(pairwise(bounds.tolist())):
            rows = order[start:end]
            weight = None if sample_weight is None else sample_weight[rows]
            self._random[2] = self.steps_trained
            space.point("treatment", NOT_TREATED)
            self._one_pass(space, "gradients", X[rows], y[rows], losses[s : s + 1], weight,
                           EMPTY if outputs is None else outputs[start:end], backward=1, G=gradient, train=1)
            if not np.isfinite(losses[s]):
                return Report(s, 1, -1)
            W, dW, *states = map(self._flat, (self._arena(0), gradient, *map(self._arena, range(1, n + 1))))
            with np.errstate(all="ignore"):
                layer = updates.step(W, dW, states, scalars[s].tolist(), np.empty_like(W))
            for index, values in enumerate([W, *states]):
                self._write(self._arena(index), [p.of(values) for p in every], 2)
            self.steps_trained, self.steps_since_compile = self.steps_trained + 1, self.steps_since_compile + 1
            if layer >= 0:
                return Report(s + 1, 2, layer)
        return Report(len(bounds) - 1, 0, -1)

    def _flat(self, values: Array) -> Array:
        return np.concatenate([array.reshape(-1) for array in self._read(values, 2)])

    def _rule_code(self, scalars: Array) -> int:
        rule = "adam_decay" if self.rule == "adam" and scalars.reshape(-1)[1] != 0 else self.rule
        rule = "adamw" if rule == "lamb" else rule  # LAMB is AdamW with a rate for every array
        return list(RULES).index(rule)

    def _reserve_gradient(self) -> None:
        """Room for gradients, where reset_state could not know of their need."""
        arenas = 1 + self.n_states + self._treatment.n_states + (self._treatment.accumulation == 1)
        if len(self._P) < arenas * self._stride:
            values = aligned(arenas * self._stride, self.dtype)
            values[: len(self._P)] = self._P
            self._P = values

    def _space_for_training(self, batch: int, workers: int, network: Network | None = None) -> Workspace:
        space, network = self._training, network or self._network
        if space is None or space.batch < batch or space.workers != workers or space.network is not network:
            space = self._training = self._space(network, batch, workers, training=True)
        return space

    def gradients(self, X: Rows, y: Array, *, sample_weight: Array | None = None) -> tuple[float, list[Array | None]]:
        """The mean loss of one batch and its gradient, by the unfused path; parameters and states stay as they are."""
        batch, gradient = len(X), aligned(self._stride, self.dtype)
        network = self._network_for(isinstance(X, SparseRows), False)
        space = self._space(network, batch, self._workers(batch, None), training=True)
        losses = np.zeros(1)
        self._random[2] = self.steps_trained
        space.point("treatment", NOT_TREATED)
        self._one_pass(space, "gradients", X, y, losses, sample_weight, EMPTY, backward=1, G=gradient)
        return float(losses[0]), self._with_gaps(gradient)

    def _with_gaps(self, gradient: Array) -> list[Array | None]:
        """An arena's arrays, None for moving statistics and for what is not trained."""
        arrays: list[Array | None] = []
        rest = iter(self._read(gradient))
        for node, _, _ in self._arrays():
            for j in range(1 + node.bias if node.dense else node.columns):
                array = next(rest)
                arrays.append(array if j < 2 else None)
        return arrays

    def evaluate(self, X: Rows, y: Array, *, sample_weight: Array | None = None, outputs: Array | None = None,
                 n_threads: int | None = None) -> float:
        """The (weighted) mean loss of all rows, in chunks; predictions go to `outputs`."""
        total = weight = 0.0
        for start in range(0, len(X), CHUNK):
            chunk = slice(start, start + CHUNK)
            w = None if sample_weight is None else sample_weight[chunk]
            space = self._borrow(len(X[chunk]), n_threads, isinstance(X, SparseRows))
            losses = np.zeros(1)
            self._one_pass(space, "evaluate", X[chunk], y[chunk], losses, w,
                           EMPTY if outputs is None else outputs[chunk], backward=0, G=EMPTY)
            self._idle.append(space)
            share = float(len(X[chunk]) if w is None else w.sum(dtype=np.float64))
            total, weight = total + share * losses[0], weight + share
        return total / weight if weight else 0.0

    def predict(self, X: Rows, out: Array, *, n_threads: int | None = None) -> None:
        """Rows of X through the network into rows of out."""
        n = len(X)
        chunk = min(n, CHUNK)
        space = self._borrow(chunk, n_threads, isinstance(X, SparseRows))
        bounds = np.append(np.arange(0, n, chunk), n) if n > chunk else space.whole(n)
        space.run("predict", {run.N_STEPS: len(bounds) - 1, run.TRAIN: 0},
                  P=self._P, order=first_rows(n), bounds=bounds, outputs=out, **self._inputs(X))
        self._idle.append(space)

    def _borrow(self, batch: int, n_threads: int | None, sparse: bool) -> Workspace:
        """A workspace nobody uses at the moment."""
        workers, network = self._workers(batch, n_threads), self._network_for(sparse, False)
        try:
            space = self._idle.pop()
        except IndexError:
            space = None
        if space is None or space.batch < batch or space.workers != workers or space.network is not network:
            space = self._space(network, batch, workers, training=False)
        return space

    def _one_pass(self, space: Workspace, mode: str, X: Rows, y: Array, losses: Array, sample_weight: Array | None,
                  outputs: Array, backward: int, G: Array, train: int = 0) -> None:
        totals = EMPTY if sample_weight is None else np.array([sample_weight.sum(dtype=np.float64)])
        numbers = {run.N_STEPS: 1, run.LOSS: self._loss_code(), run.BACKWARD: backward, run.FUSED: 0, run.TRAIN: train,
                   run.RULE: 0}
        space.run(mode, numbers, P=self._P, G=G, random=self._random, **self._inputs(X), order=first_rows(len(X)),
                  bounds=space.whole(len(X)), losses=losses, totals=totals, outputs=outputs,
                  weight=EMPTY if sample_weight is None else sample_weight, **self._labels(y))
