"""The training loop: gather a minibatch, forward, loss, backward, update. Goodfellow et al. 2016, section 8.1.3."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.reference.losses import LOSSES, own
from fastbp.reference.network import Layer, Tape, activate, backward, forward, move_statistics, passes
from fastbp.reference.optimizers import BLOCK
from fastbp.reference.random import Draw
from fastbp.reference.updates import Updates, parameters
from fastbp.spec import KINDS, LayerSpec, Report, ScalarFunctions, UpdateSpec

Array = npt.NDArray[Any]
CHUNK = 1024  # rows that predict and evaluate pass forward at a time: their memory does not grow with X


class ReferenceEngine:
    """A network, its weights and its optimizer's state; trains, predicts and differentiates, in plain NumPy.

    input_size: features of X; layers: LayerSpec, lowest first; dtype: any float dtype. Weights and moving statistics
    start at 0. key: two words of 32 bits, of the random masks; steps_trained, which may be set, numbers these.

    >>> engine = ReferenceEngine(2, [LayerSpec(4, "tanh"), LayerSpec(1, "sigmoid")], dtype="float64")
    >>> rng = np.random.default_rng(1)
    >>> engine.set_weights([rng.normal(size=W.shape) for W in engine.get_weights()])
    >>> engine.configure("binary_cross_entropy", "sgd")
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[0], [1], [1], [0.0]])
    >>> steps = 2000
    >>> scalars, losses = np.zeros((steps, 8)), np.empty(steps)
    >>> scalars[:, 0] = 1.0  # the learning rate
    >>> engine.train(X, y, np.tile(np.arange(4), steps), np.arange(0, 4 * steps + 1, 4), scalars, losses)
    Report(steps=2000, status=0, layer=-1)
    >>> A = np.empty_like(y)
    >>> engine.predict(X, A)
    >>> A.round().ravel()
    array([0., 1., 1., 0.])
    """

    def __init__(
        self, input_size: int, layers: Sequence[LayerSpec], *, dtype: str = "float32", key: tuple[int, int] = (0, 0)
    ) -> None:
        self.dtype, self.specs = np.dtype(dtype), list(layers)
        self.key, self.steps_trained = (int(key[0]), int(key[1])), 0
        self.input_size, self.output_size = input_size, layers[-1].units
        self._build(self.specs)
        self._updates = Updates(self._parameters, "sgd", UpdateSpec())
        self.reset_state(0)

    def _build(self, specs: list[LayerSpec]) -> None:
        """Lay the weights of all layers out in one flat arena, their gradients in another: an update is one pass."""
        widths = [*(spec.units for spec in specs), self.input_size]  # of the outputs of nodes 0, 1, …, and last of -1
        below = [number - 1 if spec.below is None else spec.below for number, spec in enumerate(specs)]
        shapes_of = [spec.shapes(widths[node]) for spec, node in zip(specs, below, strict=True)]
        self._shapes = [shape for node in shapes_of for shape in node]
        self._parameters = parameters(specs, shapes_of)
        self.n_parameters = sum(math.prod(shape) for shape in self._shapes)
        self._W, self._dW = np.zeros((2, self.n_parameters), self.dtype)
        self._scratch = np.empty(min(BLOCK, self.n_parameters), self.dtype)
        weights, gradients = iter(self._views(self._W)), iter(self._views(self._dW))
        self._layers = []
        for number, (spec, passing) in enumerate(zip(specs, passes(specs), strict=True)):
            n = len(shapes_of[number])
            own = [next(weights) for _ in range(n)], [next(gradients) for _ in range(n)]
            statistics = [np.zeros(spec.units, self.dtype) for _ in KINDS[spec.kind].statistics]
            self._layers.append(Layer(spec, number, *own, statistics, passing))
        self._trunk, self._rows = self._layers, 0

    def _views(self, arena: Array) -> list[Array]:
        """The arrays, shaped as get_weights() returns them, that lie one after another in an arena."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(arena, ends), self._shapes, strict=True)]

    def get_weights(self) -> list[Array]:
        """Copies: kernel (in, out) and, with use_bias, bias (out,); gamma and beta; moving mean and variance."""
        return [array.copy() for array in self._arrays()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy in arrays shaped as get_weights() returns them."""
        _fill(self._arrays(), weights)

    def _arrays(self) -> list[Array]:
        """Node by node, weights and moving statistics themselves."""
        return [array for layer in self._layers for array in (*layer.weights, *layer.statistics)]

    def get_state(self) -> list[list[Array]]:
        """Copies of the optimizer's states: momentum's v, or Adam's m and v.

        Each is aligned with get_weights() without moving statistics, which no optimizer moves.
        Behind them, with ema_momentum, the average of the weights; with accumulation, the sum of the gradients so far.
        The compiled engine keeps Adam's without their factors, so states are not exchanged between the two.
        """
        return [[view.copy() for view in self._views(state)] for state in self._states]

    def set_state(self, states: Sequence[Sequence[Array]]) -> None:
        """Copy in states as get_state() returns them."""
        self.reset_state(len(states) - self._updates.update_spec.n_states)
        for state, arrays in zip(self._states, states, strict=True):
            _fill(self._views(state), arrays)

    def reset_state(self, n_states: int) -> None:
        """Start the states at 0: n_states of the rule (sgd has none, adam 2), and those of the update spec."""
        self._n_states = n_states
        total = n_states + self._updates.update_spec.n_states
        self._states = [np.zeros(self.n_parameters, self.dtype) for _ in range(total)]

    def configure(
        self,
        loss: str | ScalarFunctions,
        rule: str,
        *,
        loss_parameters: tuple[float, ...] = (),
        update_spec: UpdateSpec = UpdateSpec(),  # noqa: B008 - it is immutable
    ) -> None:
        """Choose what train, evaluate and gradients compute; steps_since_compile starts at 0.

        loss: a name in LOSSES, with its parameters in their order, or a user's own; rule: one in RULES, or "lamb" or
        "muon"; update_spec: what happens around the rule.
        """
        self._loss = LOSSES[loss] if isinstance(loss, str) else own(loss)
        self._loss_parameters = loss_parameters
        self._updates = Updates(self._parameters, rule, update_spec)
        if len(self._states) != self._n_states + update_spec.n_states:
            self.reset_state(self._n_states)
        # A loss that works from logits sees a network that ends in them.
        below, last = self._layers[:-1], self._layers[-1]
        fused = last.spec.activation in self._loss.fused
        self._trunk = [*below, last.ending_in("identity")] if fused else self._layers
        self._rows = 0

    @property
    def steps_since_compile(self) -> int:
        """Steps since configure; every `accumulation` of them make an update. May be set, to resume a training."""
        return self._updates.steps

    @steps_since_compile.setter
    def steps_since_compile(self, steps: int) -> None:
        self._updates.steps = steps

    def train(
        self,
        X: Array,
        y: Array,
        order: Array,
        bounds: Array,
        scalars: Array,
        losses: Array,
        *,
        sample_weight: Array | None = None,
        outputs: Array | None = None,
        n_threads: int | None = None,
    ) -> Report:
        """One step on the rows order[bounds[s]:bounds[s+1]] for every s, until done or diverged.

        X (n, input_size), y (n, output_size) or labels (n,), order int64, bounds int64 (steps + 1,), scalars float64
        (steps, 8) from the optimizer; losses (steps,) is filled with mean losses, outputs (len(order), output_size)
        with the predictions made before each update. n_threads is left to NumPy's BLAS.
        """
        self._reserve(int(np.diff(bounds).max(initial=0)))
        ends: list[int] = bounds.tolist()
        with np.errstate(all="ignore"):
            for s, row in enumerate(scalars.tolist()):
                batch = order[ends[s] : ends[s + 1]]
                x = X.take(batch, axis=0, out=self._X[: len(batch)], mode="clip")  # "raise" would go through a buffer
                w = None if sample_weight is None else sample_weight.take(batch)
                A, tape = forward(x, self._trunk, Draw(self.key, self.steps_trained))
                losses[s], dA = self._loss_and_delta(A, y.take(batch, axis=0), w)
                losses[s] += self._updates.penalty(self._W) + self._updates.reported(self._W, row[1])
                if outputs is not None:
                    outputs[ends[s] : ends[s + 1]] = self._outputs(A)
                if not math.isfinite(losses[s]):
                    return Report(s, 1, -1)
                layer = self._step(dA, tape, row)
                move_statistics(self._trunk, tape)
                self.steps_trained += 1
                if layer >= 0:
                    return Report(s + 1, 2, layer)
        return Report(len(scalars), 0, -1)

    def predict(self, X: Array, out: Array, *, n_threads: int | None = None) -> None:
        """Fill out (n, output_size) with the outputs for X (n, input_size)."""
        with np.errstate(all="ignore"):
            for part in self._chunks(len(X)):
                out[part] = forward(X[part], self._layers)[0]

    def evaluate(
        self,
        X: Array,
        y: Array,
        *,
        sample_weight: Array | None = None,
        outputs: Array | None = None,
        n_threads: int | None = None,
    ) -> float:
        """The mean loss over all rows; nothing is updated. outputs (n, output_size), where given, is filled."""
        weights = np.ones(len(X)) if sample_weight is None else sample_weight.astype(np.float64)
        total = 0.0
        with np.errstate(all="ignore"):
            for part in self._chunks(len(X)):
                A, _ = forward(X[part], self._trunk)
                row_losses, _ = self._loss.f(A, y[part], *self._loss_parameters)
                total += float(weights[part] @ row_losses)
                if outputs is not None:
                    outputs[part] = self._outputs(A)
        return float(_ratio(total, float(weights.sum()))) + self._updates.penalty(self._W)

    def gradients(self, X: Array, y: Array, *, sample_weight: Array | None = None) -> tuple[float, list[Array | None]]:
        """The mean loss over all rows and its gradient; nothing is updated.

        In training mode: by statistics of the batch, with the masks of the next step. Aligned with get_weights(); None
        in the places of moving statistics.
        """
        self._reserve(len(X))
        with np.errstate(all="ignore"):
            A, tape = forward(X, self._trunk, Draw(self.key, self.steps_trained))
            loss, dA = self._loss_and_delta(A, y, sample_weight)
            backward(dA, self._trunk, tape)
            self._updates.add_penalty_gradients(self._W, self._dW)
        gradients: list[Array | None] = []
        for layer in self._layers:
            gradients += [*(gradient.copy() for gradient in layer.gradients), *[None] * len(layer.statistics)]
        return loss + self._updates.penalty(self._W), gradients

    def _loss_and_delta(self, A: Array, y: Array, w: Array | None) -> tuple[float, Array]:
        """L = sum_i w_i l_i / sum_i w_i and its derivative by A."""
        row_losses, dA = self._loss.f(A, y, *self._loss_parameters)
        if w is None:
            dA *= 1 / len(dA)
            return float(row_losses.sum(dtype=np.float64)) / len(dA), dA
        w = w.astype(np.float64)
        total = float(w.sum())
        dA *= _ratio(w, total).astype(self.dtype)[:, np.newaxis]
        return _ratio(float(w @ row_losses), total), dA

    def _step(self, dA: Array, tape: list[Tape], row: list[float]) -> int:
        """Backward and update; returns the layer whose weights would have become not finite, or -1."""
        backward(dA, self._trunk, tape)
        self._updates.add_penalty_gradients(self._W, self._dW)
        return self._updates.step(self._W, self._dW, self._states, row, self._scratch)

    def _outputs(self, A: Array) -> Array:
        """The network's outputs from the trunk's: after the last activation."""
        return A if self._trunk is self._layers else activate(A, self._layers[-1].spec)

    def _chunks(self, rows: int) -> list[slice]:
        self._reserve(min(rows, CHUNK))
        return [slice(start, start + CHUNK) for start in range(0, rows, CHUNK)]

    def _reserve(self, rows: int) -> None:
        """Have the arrays that passes write to hold this many rows; they are kept from call to call."""
        if rows > self._rows:
            self._rows = rows
            self._X = np.empty((rows, self.input_size), self.dtype)
            for layer in (*self._layers, self._trunk[-1]):
                layer.reserve(rows)


def _fill(views: Sequence[Array], arrays: Sequence[Array]) -> None:
    for view, array in zip(views, arrays, strict=True):
        view[:] = array


def _ratio(a: Any, total: float) -> Any:
    """a / total; 0 where all weights are 0: such a batch has nothing to say."""
    return a / total if total else a * 0.0
