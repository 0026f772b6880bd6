"""A network as a parameter buffer and plans: what `Sequential` drives.

The engine checks nothing; its callers do. A call fills a context, an array of addresses and numbers, and starts workers
on it. Training has one workspace; predictions take one from a pool, so any number of threads may predict while one
trains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import count, pairwise
from typing import Any, TypeGuard

import numpy as np

from fastbp.data.csr import SparseRows
from fastbp.engine import custom, muon
from fastbp.engine.arguments import changed, dropout_rates, inputs_of, targets_of
from fastbp.engine.bfloat16 import operands, precision, trial
from fastbp.engine.memory import EMPTY, aligned, first_rows
from fastbp.engine.network import Network
from fastbp.engine.parameters import Parameters
from fastbp.engine.planning import plan, tuning
from fastbp.engine.threads import THREADS
from fastbp.engine.workspace import FEW, Workspace
from fastbp.isa import LINE
from fastbp.isa.codes import ACTIVATIONS, FUSED_WITH_SIGMOID, KEEPS_SLOPES, LOSSES, RULE_CODES, UPDATE_RULES
from fastbp.kernels import warm_up
from fastbp.kernels.passes import updates as columns
from fastbp.kernels.schema import fields as field
from fastbp.spec import AUTO, LayerSpec, Report, ScalarFunctions, UpdateSpec

Array = np.ndarray
Rows = Array | SparseRows
# Rows of a prediction that go through the network at once.
CHUNK = 512
# Numbers of a few rows that are copied for a prediction or a step.
WORTH_COPYING = 4096
# Bytes of a workspace for gradients up to which it is kept for the next call.
WORTH_KEEPING = 1 << 26
# Multiply-adds of a call, times those that are worth sharing, from which it pays to wake other workers: some 0.3 ms.
WORTH_WAKING = 300
UNTREATED = UpdateSpec()
NOT_TREATED = np.zeros(columns.N_UPDATE_SPEC)
NOT_TREATED[columns.ACCUMULATION] = 1


class Engine:
    """Parameters, optimizer states and the plans of one network; float32 or float64."""

    def __init__(self, input_size: int, layers: Sequence[LayerSpec], *, dtype: str = "float32",
                 key: tuple[int, int] = (0, 0), compute: str = "float32"):
        self.dtype, self.key = np.dtype(dtype), key
        self.compute = precision.resolve(compute, self.dtype.name)
        self.input_size, self.output_size = input_size, layers[-1].units
        self.specs = list(layers)
        self.lanes = LINE // self.dtype.itemsize
        self.loss: str | ScalarFunctions = "mse"
        self.rule, self._update_spec = "sgd", UNTREATED
        self.loss_parameters: tuple[float, ...] = ()
        self._own = list(dict.fromkeys(s.activation for s in self.specs if isinstance(s.activation, ScalarFunctions)))
        self.steps_trained = self.steps_since_compile = 0  # the second tells when accumulated gradients are due
        self._random = np.array([*key, 0], np.int64)
        self._layers = self._describe(self.loss)
        self.parameters = Parameters(self._layers, self.dtype, self.lanes)
        self._network = self._connect(self._layers, self.rule, self._update_spec)
        self._networks = {(False, False): self._network}
        self.n_parameters = sum(x.size for x in self._layers)
        self._multiply_adds = sum(x.inputs * x.outputs for x in self._layers if x.dense)
        self._training: Workspace | None = None
        self._other: Workspace | None = None  # for training, too, with another number of workers
        self._idle: list[Workspace] = []
        self._gradient_space: Workspace | None = None

    # -- description ---------------------------------------------------------------------------------------------
    def _describe(self, loss: str | ScalarFunctions) -> list[plan.Node]:
        described: list[plan.Node] = []
        self._schedules, numbers = [spec.schedule for spec in self.specs if spec.schedule is not None], count()
        for index, spec in enumerate(self.specs):
            name, output = spec.activation, "identity"
            if index == len(self.specs) - 1 and (name == "softmax" or loss in FUSED_WITH_SIGMOID):
                name, output = "identity", name
            below = index - 1 if spec.below is None else spec.below
            inputs = self.input_size if below < 0 else self.specs[below].units
            bias, skip = spec.dense and spec.use_bias, field.NOWHERE if spec.skip is None else spec.skip
            # dropout keeps its mask as slopes, which any activation that keeps them will do to apply
            code = ACTIVATIONS[KEEPS_SLOPES[0]] if spec.kind == "dropout" else self._code(name)
            values = spec.values if spec.schedule is None else (*spec.values, next(numbers))
            described.append(plan.Node(inputs, spec.units, field.code_of(spec.kind), code, self._code(output),
                                       custom.keeps_slopes(name), bias, spec.alpha, values, below, skip,
                                       spec.trainable, (0, 0), plan.tables_of(spec), ACTIVATIONS[spec.function],
                                       spec.waves, spec.edges))
        return described

    def _connect(self, layers: list[plan.Node], rule: str, update_spec: UpdateSpec, *how: bool) -> Network:
        return Network(layers, self.specs, self.parameters.layout, update_spec, rule, self.lanes, *how)

    def _network_for(self, sparse: bool, every_weight: bool) -> Network:
        """The network on dense rows or, if its first layer alone reads the input, on sparse rows where they are.

        every_weight: a step moves also the weights of features that do not occur.
        """
        if not sparse:
            return self._network
        readers = [node for node in self._layers if field.INPUT in (node.below, node.skip)]
        sparse = readers == [self._layers[0]] and self._layers[0].dense
        key = sparse, sparse and every_weight
        if key not in self._networks:
            self._networks[key] = self._connect(self._layers, self.rule, self._update_spec, *key)
        return self._networks[key]

    def _code(self, activation: str | ScalarFunctions) -> int:
        if isinstance(activation, str):
            return ACTIVATIONS[activation]
        return custom.activation_code(self._own.index(activation))

    def configure(self, loss: str | ScalarFunctions, rule: str, *, loss_parameters: tuple[float, ...] = (),
                  update_spec: UpdateSpec = UNTREATED) -> None:
        """Chooses what train, evaluate and gradients compute: a loss by name, with its parameters (see
        `reference.losses`), or a user's own."""
        wanted = loss, rule, tuple(loss_parameters), update_spec
        if wanted == (self.loss, self.rule, self.loss_parameters, self._update_spec):
            return
        layers = self._describe(loss)
        network = self._connect(layers, rule, update_spec)
        self._put(loss=loss, rule=rule, loss_parameters=wanted[2], _update_spec=update_spec, _layers=layers,
                  _networks={(False, False): network}, _network=network)

    def _put(self, **attributes: Any) -> None:
        """Puts into place what was made aside: all of it by one call into C, which no signal interrupts. Workspaces,
        which are made for what it replaces and keep that alive, are let go."""
        vars(self).update(attributes, _training=None, _other=None, _idle=[], _gradient_space=None)

    def configured(self, loss: str | ScalarFunctions, rule: str, n_states: int, *,
                   loss_parameters: tuple[float, ...] = (), update_spec: UpdateSpec = UNTREATED) -> Engine:
        """Another engine, of the same weights and counters, with these arguments of `configure` and states of 0.

        This one stays as it is, so whoever fails to make the other still has it."""
        needed = 2 if rule in ("lamb", "muon") else UPDATE_RULES[rule].n_states
        if n_states < needed:
            raise ValueError(f"n_states must be at least {needed} for the rule {rule!r}, got {n_states}: correct it in "
                             "the optimizer")
        other = copy.copy(self)
        other._put(_random=self._random.copy(), _networks=dict(self._networks))
        other.configure(loss, rule, loss_parameters=loss_parameters, update_spec=update_spec)
        other.reset_state(n_states)
        return other

    def scratch(self) -> Engine:
        """Another engine whose steps, by SGD, leave this one's parameters alone."""
        other = self.configured(self.loss, "sgd", 0, loss_parameters=self.loss_parameters)
        other.parameters = other.parameters.copied()
        return other

    def restored(self, weights: Iterable[Array], states: Sequence[Sequence[Array]], steps_trained: int) -> Engine:
        """Another engine configured as this one, which stays as it is, with other contents."""
        other, parameters = copy.copy(self), self._with_states(len(states) - self._update_spec.n_states)
        if parameters.values is self.parameters.values:
            parameters = parameters.copied()
        other._put(_random=self._random.copy(), parameters=parameters, steps_trained=steps_trained)
        parameters.write_weights(weights)
        parameters.write_states(states)
        return other

    def _loss_code(self) -> int:
        return custom.OWN_LOSS if isinstance(self.loss, ScalarFunctions) else LOSSES[self.loss]

    def _space(self, network: Network, batch: int, workers: int, training: bool) -> Workspace:
        self.warm_up()
        loss = self.loss if isinstance(self.loss, ScalarFunctions) else None
        table = custom.table(self.dtype.name, self._own, loss, self._rounds)
        return Workspace(network, batch, self.dtype, workers, training, table, self.loss_parameters,
                         self.compute if self._rounds else "float32")

    @property
    def _rounds(self) -> bool:
        """Whether operands of products are bfloat16."""
        return self.compute not in ("float32", AUTO)

    def _run(self, space: Workspace, mode: str, numbers: dict[str, int], parameters: Parameters,
             **arrays: Array) -> None:
        """A call with these parameters, whose kernels are rounded first where they have changed since the last one."""
        if self._schedules and numbers.get("backward"):
            arrays["rates"] = dropout_rates(self._schedules, self.steps_since_compile, numbers["n_steps"],
                                            self._update_spec.accumulation)
        if not self._rounds:
            space.run(mode, numbers, P=parameters.values, **arrays)
            return
        version, words = parameters.version, operands.kernel_layout(self._layers)[1]
        V = parameters.operands(words * (1 + (self.compute == "bfloat16x3")))
        space.run(mode, {**numbers, "stale": parameters.stale()}, P=parameters.values, V=V, **arrays)
        parameters.rounded(version)

    def warm_up(self) -> None:
        """Compile, or load from the cache, what a step runs, which the first step would else do."""
        warm_up.ready(self.dtype.name, THREADS.parallel(), self._rounds)

    # -- parameters and states -----------------------------------------------------------------------------------
    def get_weights(self) -> list[Array]:
        return self.parameters.read(self.parameters.copy_at(0))

    def set_weights(self, weights: Iterable[Array]) -> None:
        """All of them or, where something is raised, none."""
        self.parameters.set_weights(weights)

    def write_weights(self, weights: Iterable[Array]) -> None:
        """One array at a time, so that they need not all be held at once: for an engine that nobody uses yet."""
        self.parameters.write_weights(weights)

    def write_states(self, states: Sequence[Sequence[Array]]) -> None:
        """In place, as write_weights, after it."""
        n_states = len(states) - self._update_spec.n_states
        if n_states != self.n_states:
            self.reset_state(n_states)
        self.parameters.write_states(states)

    @property
    def n_states(self) -> int:
        return self.parameters.n_states

    def get_state(self) -> list[list[Array]]:
        """Copies of the optimizer's states, each aligned with get_weights() without moving statistics.

        In this engine's own form. Momentum: v. Adam: m / (1 - beta_1) and v / (1 - beta_2), which saves two
        multiplications a weight. Behind them the average of the weights and the gradient accumulated so far, where the
        update spec has these.
        """
        n = self.n_states + self._update_spec.n_states
        return [self.parameters.read(self.parameters.copy_at(1 + i), 2) for i in range(n)]

    def set_state(self, states: Sequence[Sequence[Array]]) -> None:
        parameters = self._with_states(len(states) - self._update_spec.n_states)
        parameters.write_states(states)
        self._put(parameters=parameters, steps_since_compile=0)

    def reset_state(self, n_states: int) -> None:
        """States of 0, and an average that the first update sets."""
        self._put(parameters=self._with_states(n_states), steps_since_compile=0)

    def _with_states(self, n_states: int) -> Parameters:
        return self.parameters.with_states(n_states, self._update_spec, self._network.treated)

    # -- running ---------------------------------------------------------------------------------------------------
    def _workers(self, batch: int, wanted: int | None, once: int = 0) -> int:
        """One worker for small steps, whose barriers would cost more than a second one brings, and for small calls, in
        which another one would hardly wake up; once: the multiply-adds of a call that is all there is, else 0."""
        sharing = tuning.current().worth_sharing
        if 0 < once < WORTH_WAKING * sharing:
            return 1
        worthwhile = batch * self._multiply_adds // (len(self._layers) * sharing)
        return THREADS.startable(min(worthwhile, THREADS.limit(wanted))) if worthwhile > 1 else 1

    def train(self, X: Rows, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array, *,
              sample_weight: Array | None = None, outputs: Array | None = None, n_threads: int | None = None) -> Report:
        """Runs len(bounds) - 1 steps of minibatch training; see Report for how it may end early."""
        if self.compute == AUTO:
            self._put(compute=trial.chosen(self, int(np.diff(bounds).max()), n_threads))
        if self.rule == "muon":
            return self._train_with_muon(X, y, order, bounds, scalars, losses, sample_weight, outputs, n_threads)
        steps, sparse = len(bounds) - 1, isinstance(X, SparseRows)
        batch = int(bounds[1] - bounds[0]) if steps == 1 else int(np.diff(bounds).max())
        network = self._network_for(sparse, sparse and (self.rule != "sgd" or bool(scalars[:, 1].any())))
        workers = self._workers(batch, n_threads, 3 * batch * self._multiply_adds * (steps == 1))
        space = self._space_for_training(batch, workers, network)
        alone = steps == 1 and sample_weight is None and outputs is None and space.workers == 1 and not (
            self._rounds or self._schedules)
        if alone and self._are_few(X) and space.repeats(X, y, order, bounds, scalars, losses, self._rule_code(scalars)):
            return self._stepped(space, X, y, lambda: space.repeat(X, y, self.steps_since_compile))
        totals = EMPTY if sample_weight is None else np.add.reduceat(
            sample_weight[order[: bounds[-1]]].astype(np.float64), bounds[:-1])
        large = self.parameters.values.nbytes > plan.L2_BYTES
        if scalars.strides[0] == 0:  # one row for all steps
            scalars = scalars[:1]
        if network.treated:
            self.parameters.reserve_gradient(self._update_spec)
        network.update_spec[columns.AVERAGE] = (1 + self.n_states) * self.parameters.stride
        numbers = {
            "n_steps": steps, "loss": self._loss_code(), "backward": 1, "fused": not network.treated,
            "train": 1, "rule": self._rule_code(scalars), "ahead": (1 + self.n_states) * large,
            "stride": self.parameters.stride, "first_step": self.steps_since_compile,
        }  # fmt: skip

        def run() -> None:
            self._run(space, "train", numbers, self.parameters,
                      G=self.parameters.copy_at(-1) if network.treated else EMPTY,
                      order=order, bounds=bounds, scalars=scalars, losses=losses, totals=totals, random=self._random,
                      **inputs_of(X), weight=EMPTY if sample_weight is None else sample_weight,
                      outputs=EMPTY if outputs is None else outputs, **targets_of(y))

        report = self._stepped(space, X, y, run)
        if alone and self._are_few(X) and report.status == 0:
            space.remember(X, y, numbers["rule"])
        return report

    @staticmethod
    def _are_few(X: Rows) -> TypeGuard[Array]:
        """Whether X is so short that its rows are copied, which takes less time than to find out where they lie."""
        return type(X) is np.ndarray and len(X) <= FEW and X.size <= WORTH_COPYING

    def _stepped(self, space: Workspace, X: Rows, y: Array, run: Callable[[], None]) -> Report:
        """What became of the steps that `run` makes; they are counted whatever is raised."""
        self._random[2] = self.steps_trained
        space.begin()
        try:
            run()
        finally:
            done = space.made()
            self.steps_trained += done
            self.steps_since_compile += done
        status = space.status()
        if (status or type(X) is not np.ndarray) and space.outside():
            raise changed(X, y, self.specs, self.output_size)
        if status > 0 and self._update_spec.accumulation > 1:
            self.parameters.copy_at(-1)[:] = 0  # what is infinite shall not be added to, nor be saved
        return Report(done, (status < 0) + 2 * (status > 0), max(status, 0) - 1)

    def _train_with_muon(self, X: Rows, y: Array, order: Array, bounds: Array, scalars: Array, losses: Array,
                         sample_weight: Array | None, outputs: Array | None, n_threads: int | None) -> Report:
        """Gradients from the engine, updates in NumPy (see `muon`)."""
        n, spare = self.n_states + self._update_spec.n_states, self.parameters.copied()
        gradient, most = aligned(spare.stride, self.dtype), int(np.diff(bounds).max())
        space = self._space_for_training(most, self._workers(most, n_threads))
        shapes = iter([array.shape for array in spare.read(spare.copy_at(0), 2)])
        every = muon.parameters(self.specs, [[next(shapes) for _ in range(node.arrays)] for node in self._layers])
        optimizer = muon.Muon(every, self._update_spec, self.steps_since_compile)
        for s, (start, end) in enumerate(pairwise(bounds.tolist())):
            rows = order[start:end]
            weight = None if sample_weight is None else sample_weight[rows]
            # a step is made in the spare buffer, which then changes places with the other
            spare.copy_from(self.parameters)
            self._random[2] = self.steps_trained
            space.point("update_spec", NOT_TREATED)
            loss = self._one_pass(space, "gradients", X[rows], y[rows], weight, spare,
                                  EMPTY if outputs is None else outputs[start:end], backward=1, G=gradient, train=1,
                                  of=(X, y))
            if not np.isfinite(loss):
                losses[s] = loss
                return Report(s, 1, -1)
            W, dW, *states = map(spare.read_flat, (spare.copy_at(0), gradient, *map(spare.copy_at, range(1, n + 1))))
            with np.errstate(all="ignore"):
                layer = optimizer.step(W, dW, states, scalars[s].tolist())
            for index, values in enumerate([W, *states]):
                spare.write(spare.copy_at(index), [p.of(values) for p in every], 2)
            number, since = self.steps_trained + 1, self.steps_since_compile + 1
            own = self.parameters
            # no call within, so no signal is heard in between
            self.parameters, losses[s], self.steps_trained, self.steps_since_compile = spare, loss, number, since
            spare = own
            if layer >= 0:
                return Report(s + 1, 2, layer)
        return Report(len(bounds) - 1, 0, -1)

    def _rule_code(self, scalars: Array) -> int:
        rule = "adam_decay" if self.rule == "adam" and (scalars[0, 1] or scalars[:, 1].any()) else self.rule
        rule = "adamw" if rule == "lamb" else rule  # LAMB is AdamW with a rate for every array
        return RULE_CODES[rule]

    def _space_for_training(self, batch: int, workers: int, network: Network | None = None) -> Workspace:
        network = network or self._network
        for space in (self._training, self._other):  # single steps may have fewer workers than those of a fit
            if space and space.batch >= batch and space.workers == workers and space.network is network:
                break
        else:
            space = self._space(network, batch, workers, training=True)
        if space is not self._training:
            replaced, self._training = self._training, space
            self._other = replaced if replaced and replaced.workers != workers else None
        return space

    def gradients(self, X: Rows, y: Array, *, sample_weight: Array | None = None,
                  n_threads: int | None = None) -> tuple[float, list[Array | None]]:
        """The mean loss of one batch and its gradient, by the unfused path; parameters and states stay as they are."""
        batch, gradient = len(X), aligned(self.parameters.stride, self.dtype)
        network = self._network_for(isinstance(X, SparseRows), False)
        workers = self._workers(batch, n_threads, 3 * batch * self._multiply_adds)
        space, self._gradient_space = self._gradient_space, None  # nobody else's while it is used
        if space is None or space.batch < batch or space.workers != workers or space.network is not network:
            space = self._space(network, batch, workers, training=True)
        self._random[2] = self.steps_trained
        space.point("update_spec", NOT_TREATED)
        loss = self._one_pass(space, "gradients", X, y, sample_weight, self.parameters, EMPTY, backward=1,
                              G=gradient)
        if space.M.nbytes <= WORTH_KEEPING:  # quasi-Newton methods ask again and again
            self._gradient_space = space
        return loss, self.parameters.read_gradient(gradient)

    def evaluate(self, X: Rows, y: Array, *, sample_weight: Array | None = None, outputs: Array | None = None,
                 n_threads: int | None = None) -> float:
        """The (weighted) mean loss of all rows, in chunks; predictions go to `outputs`."""
        total = weight = 0.0
        for start in range(0, len(X), CHUNK):
            chunk = slice(start, start + CHUNK)
            w = None if sample_weight is None else sample_weight[chunk]
            space = self._borrow(len(X[chunk]), n_threads, isinstance(X, SparseRows), len(X[chunk]))
            loss = self._one_pass(space, "evaluate", X[chunk], y[chunk], w, self.parameters,
                                  EMPTY if outputs is None else outputs[chunk], backward=0, G=EMPTY, of=(X, y))
            self._idle.append(space)
            share = float(len(X[chunk]) if w is None else w.sum(dtype=np.float64))
            total, weight = total + share * loss, weight + share
        return total / weight if weight else 0.0

    def predict(self, X: Rows, out: Array, *, n_threads: int | None = None) -> None:
        """Rows of X through the network into rows of out."""
        n = len(X)
        if self._are_few(X) and not self._rounds:
            space = self._borrow(n, n_threads, False, n)
            space.predict_few(self.parameters.values, X, out)
            self._give_back(space, X)
            return
        chunk = min(n, CHUNK)
        space = self._borrow(chunk, n_threads, isinstance(X, SparseRows), n)
        bounds = np.append(np.arange(0, n, chunk), n) if n > chunk else space.whole(n)
        self._run(space, "predict", {"n_steps": len(bounds) - 1, "train": 0}, self.parameters, order=first_rows(n),
                  bounds=bounds, outputs=out, **inputs_of(X))
        self._give_back(space, X)

    def _give_back(self, space: Workspace, X: Rows) -> None:
        """After a prediction for X: an error if that was changed meanwhile."""
        if space.outside():
            raise changed(X, None, self.specs, self.output_size)
        self._idle.append(space)

    def _borrow(self, batch: int, n_threads: int | None, sparse: bool, rows: int) -> Workspace:
        """A workspace nobody uses at the moment, for so many rows, a batch at a time."""
        workers, network = self._workers(batch, n_threads, rows * self._multiply_adds), self._network_for(sparse, False)
        try:
            space = self._idle.pop()
        except IndexError:
            space = None
        if space is None or space.batch < batch or space.workers != workers or space.network is not network:
            space = self._space(network, batch, workers, training=False)
        return space

    def _one_pass(self, space: Workspace, mode: str, X: Rows, y: Array, sample_weight: Array | None, P: Parameters,
                  outputs: Array, backward: int, G: Array, train: int = 0,
                  of: tuple[Rows, Array] | None = None) -> float:
        """The loss of these rows with the parameters P; of: the X and y that they are part of, for errors."""
        losses = np.zeros(1)
        totals = EMPTY if sample_weight is None else np.array([sample_weight.sum(dtype=np.float64)])
        numbers = {"n_steps": 1, "loss": self._loss_code(), "backward": backward, "fused": 0, "train": train,
                   "rule": 0}
        self._run(space, mode, numbers, P, G=G, random=self._random,
                  **inputs_of(X), order=first_rows(len(X)), bounds=space.whole(len(X)), losses=losses,
                  totals=totals, outputs=outputs, weight=EMPTY if sample_weight is None else sample_weight,
                  **targets_of(y))
        if space.outside():
            raise changed(*(of or (X, y)), self.specs, self.output_size)
        return float(losses[0])
