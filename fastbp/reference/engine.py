"""The training loop: minibatch, forward pass, loss, backward pass, update. Goodfellow et al. 2016, section 8.1.3."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.reference.losses import LOSSES, custom_loss
from fastbp.reference.network import Layer, Tape, activate, backward, forward, move_statistics, passes
from fastbp.reference.optimizers import BLOCK
from fastbp.reference.random import Draw
from fastbp.reference.updates import Updates, parameters
from fastbp.spec import KINDS, LayerSpec, Report, ScalarFunctions, UpdateSpec

Array = npt.NDArray[Any]
CHUNK = 1024  # rows per forward pass of predict and evaluate, whose memory does not grow with X


class ReferenceEngine:
    """A network with its weights and optimizer states; it trains, predicts and differentiates in plain NumPy.

    Parameters
    ----------
    input_size : int
        Number of features of X.
    layers : sequence of LayerSpec
        The nodes, from input to output.
    dtype : str, optional
        Any float dtype.
    key : tuple of (int, int), optional
        Two 32-bit words: the key of the random masks and noise.

    Notes
    -----
    Weights and moving statistics start at 0. `steps_trained`, which may be set, numbers the random masks.

    Examples
    --------
    Learn the exclusive or, the example of Goodfellow et al. 2016, section 6.1:

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
        self,
        input_size: int,
        layers: Sequence[LayerSpec],
        *,
        dtype: str = "float32",
        key: tuple[int, int] = (0, 0),
        compute: str = "float32",
    ) -> None:
        if compute != "float32":
            raise ValueError(f"the reference rounds no operands of products, but compute is {compute!r}: leave it out")
        self.compute = compute
        self.dtype, self.specs = np.dtype(dtype), list(layers)
        self.key, self.steps_trained = (int(key[0]), int(key[1])), 0
        self.input_size, self.output_size = input_size, layers[-1].units
        self._build(self.specs)
        self._updates = Updates(self._parameters, "sgd", UpdateSpec())
        self.reset_state(0)

    def _build(self, specs: list[LayerSpec]) -> None:
        """Lay out all weights in one flat buffer and all gradients in another, so that an update is one pass."""
        widths = [*(spec.units for spec in specs), self.input_size]  # of nodes 0, 1, …, and of node -1, the input
        below = [number - 1 if spec.below is None else spec.below for number, spec in enumerate(specs)]
        shapes_of = [spec.shapes(widths[node]) for spec, node in zip(specs, below, strict=True)]
        self._shapes = [shape for node in shapes_of for shape in node]
        self._parameters = parameters(specs, shapes_of)
        self.n_parameters = sum(math.prod(shape) for shape in self._shapes)
        self._W, self._dW = np.zeros((2, self.n_parameters), self.dtype)
        self._scratch = np.empty(min(BLOCK, self.n_parameters), self.dtype)
        weights, gradients = iter(self._views(self._W)), iter(self._views(self._dW))
        self._layers = []
        for number, (spec, needed) in enumerate(zip(specs, passes(specs), strict=True)):
            n = len(shapes_of[number])
            arrays = [next(weights) for _ in range(n)], [next(gradients) for _ in range(n)]
            statistics = [np.zeros(spec.units, self.dtype) for _ in KINDS[spec.kind].statistics]
            self._layers.append(Layer(spec, number, *arrays, statistics, needed))
        self._trunk, self._rows = self._layers, 0

    def _views(self, buffer: Array) -> list[Array]:
        """Views of consecutive parts of a flat buffer, in the shapes of the learned arrays."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(buffer, ends), self._shapes, strict=True)]

    def get_weights(self) -> list[Array]:
        """Copies of all arrays, node by node.

        Returns
        -------
        list of arrays
            Kernel (in, out) and, with use_bias, bias (out,); gamma and beta; moving mean and variance; embedding
            tables.
        """
        return [array.copy() for array in self._arrays()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy in arrays of the shapes that get_weights() returns."""
        _fill(self._arrays(), weights)

    def _arrays(self) -> list[Array]:
        """The weights and moving statistics themselves, node by node."""
        return [array for layer in self._layers for array in (*layer.weights, *layer.statistics)]

    def get_state(self) -> list[list[Array]]:
        """Copies of the optimizer's states, such as momentum's v or Adam's m and v.

        Each state is a list like get_weights(), without moving statistics, which no optimizer updates. The states of
        the rule are followed by the weight average (with ema_momentum) and the sum of the gradients so far (with
        accumulation).

        Notes
        -----
        The compiled engine stores Adam's states without their factors, so states cannot be exchanged between the two.
        """
        return [[view.copy() for view in self._views(state)] for state in self._states]

    def set_state(self, states: Sequence[Sequence[Array]]) -> None:
        """Copy in states as returned by get_state()."""
        self.reset_state(len(states) - self._updates.update_spec.n_states)
        for state, arrays in zip(self._states, states, strict=True):
            _fill(self._views(state), arrays)

    def reset_state(self, n_states: int) -> None:
        """Set all states to 0: n_states of the rule (0 for sgd, 2 for adam), and those of the update spec."""
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
        """Choose the loss and the update; sets steps_since_compile to 0.

        Parameters
        ----------
        loss : str or ScalarFunctions
            A name in LOSSES, or a user-defined loss.
        rule : str
            A name in RULES, or "lamb" or "muon".
        loss_parameters : tuple of float, optional
            Parameters of the loss, in the order of its function.
        update_spec : UpdateSpec, optional
            What is done to gradients before the rule and to weights after it.
        """
        self._loss = LOSSES[loss] if isinstance(loss, str) else custom_loss(loss)
        self._loss_parameters = loss_parameters
        self._updates = Updates(self._parameters, rule, update_spec)
        if len(self._states) != self._n_states + update_spec.n_states:
            self.reset_state(self._n_states)
        # A loss computed from logits is fused with the last activation: its network ends in logits.
        below, last = self._layers[:-1], self._layers[-1]
        fused = last.spec.activation in self._loss.fused
        self._trunk = [*below, last.ending_in("identity")] if fused else self._layers
        self._rows = 0

    @property
    def steps_since_compile(self) -> int:
        """Steps since configure; every `accumulation` of them make one update. May be set, to resume training."""
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
        """Train for len(bounds) - 1 steps, unless the loss or the weights diverge.

        Parameters
        ----------
        X : array, shape (n, input_size)
            Inputs.
        y : array, shape (n, output_size) or (n,)
            Targets or class labels.
        order : array of int64
            Row indices; step s uses the rows ``order[bounds[s]:bounds[s+1]]``.
        bounds : array of int64, shape (steps + 1,)
            Limits of the batches in order.
        scalars : array of float64, shape (steps, 8)
            The optimizer's scalars, with the learning rate first.
        losses : array, shape (steps,)
            Filled with the mean loss of each step.
        sample_weight : array, shape (n,), optional
            Weights of the rows.
        outputs : array, shape (len(order), output_size), optional
            Filled with the predictions made before each update.
        n_threads : int, optional
            Ignored: NumPy's BLAS decides.

        Returns
        -------
        Report
            Completed steps, and why training ended.
        """
        self._reserve(int(np.diff(bounds).max(initial=0)))
        ends: list[int] = bounds.tolist()
        with np.errstate(all="ignore"):
            for s, row in enumerate(scalars.tolist()):
                batch = order[ends[s] : ends[s + 1]]
                x = X.take(batch, axis=0, out=self._X[: len(batch)], mode="clip")  # mode "raise" would copy
                w = None if sample_weight is None else sample_weight.take(batch)
                A, tape = forward(x, self._trunk, self._draw())  # algorithm 6.3
                losses[s], dA = self._loss_and_delta(A, y.take(batch, axis=0), w)
                losses[s] += self._updates.penalty(self._W) + self._updates.reported_decay(self._W, row[1])
                if outputs is not None:
                    outputs[ends[s] : ends[s + 1]] = self._outputs(A)
                if not math.isfinite(losses[s]):
                    return Report(s, 1, -1)
                layer = self._step(dA, tape, row)  # algorithm 6.4, then the update
                move_statistics(self._trunk, tape)
                self.steps_trained += 1
                if layer >= 0:
                    return Report(s + 1, 2, layer)
        return Report(len(scalars), 0, -1)

    def _draw(self) -> Draw:
        """Of the next step."""
        updates = self._updates.steps // self._updates.update_spec.accumulation
        return Draw(self.key, self.steps_trained, updates)

    def predict(self, X: Array, out: Array, *, n_threads: int | None = None) -> None:
        """Fill out (n, output_size) with the network's outputs for X (n, input_size)."""
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
        """The mean loss over all rows; nothing is updated.

        Parameters
        ----------
        X, y, sample_weight, n_threads
            As in `train`.
        outputs : array, shape (n, output_size), optional
            Filled with the predictions.

        Returns
        -------
        float
            The loss, with penalties.
        """
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

        The network is in training mode: statistics of the batch, and the random masks of the next step.

        Parameters
        ----------
        X, y, sample_weight
            As in `train`.

        Returns
        -------
        loss : float
            The loss, with penalties.
        gradients : list of arrays or None
            Aligned with get_weights(); None for moving statistics.
        """
        self._reserve(len(X))
        with np.errstate(all="ignore"):
            A, tape = forward(X, self._trunk, self._draw())
            loss, dA = self._loss_and_delta(A, y, sample_weight)
            backward(dA, self._trunk, tape)
            self._updates.add_penalty_gradients(self._W, self._dW)
        gradients: list[Array | None] = []
        for layer in self._layers:
            gradients += [*(gradient.copy() for gradient in layer.gradients), *[None] * len(layer.statistics)]
        return loss + self._updates.penalty(self._W), gradients

    def _loss_and_delta(self, A: Array, y: Array, w: Array | None) -> tuple[float, Array]:
        """L = sum_i w_i l_i / sum_i w_i and its derivative with respect to A."""
        row_losses, dA = self._loss.f(A, y, *self._loss_parameters)
        if w is None:
            dA *= 1 / len(dA)
            return float(row_losses.sum(dtype=np.float64)) / len(dA), dA
        w = w.astype(np.float64)
        total = float(w.sum())
        dA *= _ratio(w, total).astype(self.dtype)[:, np.newaxis]
        return _ratio(float(w @ row_losses), total), dA

    def _step(self, dA: Array, tape: list[Tape], row: list[float]) -> int:
        """Backward pass and update; returns the layer whose weights would have become non-finite, or -1."""
        backward(dA, self._trunk, tape)
        self._updates.add_penalty_gradients(self._W, self._dW)
        return self._updates.step(self._W, self._dW, self._states, row, self._scratch)

    def _outputs(self, A: Array) -> Array:
        """The network's outputs from those of the trunk, which may lack the last activation."""
        return A if self._trunk is self._layers else activate(A, self._layers[-1].spec)

    def _chunks(self, rows: int) -> list[slice]:
        self._reserve(min(rows, CHUNK))
        return [slice(start, start + CHUNK) for start in range(0, rows, CHUNK)]

    def _reserve(self, rows: int) -> None:
        """Allocate arrays for this many rows; they are reused by later calls."""
        if rows > self._rows:
            self._rows = rows
            self._X = np.empty((rows, self.input_size), self.dtype)
            for layer in (*self._layers, self._trunk[-1]):
                layer.reserve(rows)


def _fill(views: Sequence[Array], arrays: Sequence[Array]) -> None:
    for view, array in zip(views, arrays, strict=True):
        view[:] = array


def _ratio(a: Any, total: float) -> Any:
    """a / total; 0 if all weights are 0: such a batch contributes nothing."""
    return a / total if total else a * 0.0
