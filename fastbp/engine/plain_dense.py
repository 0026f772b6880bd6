"""A dense layer's forward and backward pass on plain arrays: fused kernels for those who bring their own loop.

Each call packs W into panels and runs a plan of one layer, as the engine does for a whole network; the results are the
same bits. Engines are kept for the shapes used last, so a loop allocates nothing but its results.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.engine.arguments import array, writable
from fastbp.engine.custom import keeps_slopes
from fastbp.engine.engine import Engine
from fastbp.engine.memory import EMPTY, aligned
from fastbp.engine.workspace import Workspace
from fastbp.isa.codes import IDENTITY
from fastbp.kernels.passes.loss_layer import LINEAR
from fastbp.kernels.schema import operations as op
from fastbp.kernels.schema.fields import Layer
from fastbp.spec import LayerSpec
from fastbp.util import turns

Array = np.ndarray


class Recent:
    """What was made for the last few keys; a value is with one caller at a time, so threads never share one."""

    KEPT = 8

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()
        turns.at_fork(self._lock.acquire, self._lock.release, self._lock.release)

    @contextmanager
    def borrow(self, key: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """The value kept for a key, or a new one; kept again afterwards unless the call failed."""
        with self._lock:
            value = self._values.pop(key, None)
        value = make() if value is None else value
        yield value
        with self._lock:
            self._values[key] = value
            while len(self._values) > self.KEPT:
                self._values.popitem(last=False)


RECENT = Recent()


def dense_forward(X: Array, W: Array, b: Array | None, activation: str | activations.Activation,
                  out: Array | None = None) -> Array:
    """A = f(X W + b): a dense layer's activations.

    Parameters
    ----------
    X : ndarray (rows, in)
        C-contiguous, float32 or float64; any number of rows.
    W : ndarray (in, out)
        Weights, of the same dtype.
    b : ndarray (out,) or None
        Biases, if any.
    activation : str or Activation
        A name such as "relu", or an object such as ``fastbp.LeakyReLU(0.1)``; "softmax" normalizes each row.
    out : ndarray (rows, out), optional
        Array for the result; must not overlap X, W or b.

    Returns
    -------
    ndarray (rows, out)
        ``out``, or a new array. A row's result has the same bits in any X.

    Raises
    ------
    TypeError
        For anything but arrays of one dtype.
    ValueError
        For mismatched shapes, arrays that are not C-contiguous or have masked values, an ``out`` that is read-only or
        overlaps, and unknown activations.

    See Also
    --------
    dense_backward : The derivatives.

    Notes
    -----
    docs/determinism.md gives the error bound. Keras has weights of this shape, PyTorch (out, in).

    References
    ----------
    Goodfellow et al. 2016, algorithm 6.3.

    Examples
    --------
    >>> X, W, b = np.ones((2, 3)), np.full((3, 1), 0.5), np.array([-1.0])
    >>> dense_forward(X, W, b, "relu").tolist()
    [[0.5], [0.5]]
    """
    curve = activations.get(activation)
    X, W, b = _layer(X, W, b)
    shape = len(X), W.shape[1]
    out = np.empty(shape, X.dtype) if out is None else out
    A = array("out", out, shape, like=("X", X))
    writable("out", A, {"X": X, "W": W, **({} if b is None else {"b": b})})
    if len(X):
        layer = LayerSpec(shape[1], curve.rule, curve.alpha, b is not None)
        key = ("forward", W.shape[0], layer, X.dtype.name)
        with RECENT.borrow(key, lambda: Engine(W.shape[0], [layer], dtype=X.dtype.name)) as engine:
            engine.write_weights([W] if b is None else [W, b])
            engine.predict(X, A)
    return out


def dense_backward(dA: Array, X: Array, W: Array, A: Array, activation: str | activations.Activation,
                   b: Array | None = None) -> tuple[Array, Array, Array]:
    """Derivatives with respect to a dense layer's inputs, weights and biases, from that of its activations.

    ::

        dZ = dA f'(Z)        dX = dZ W'        dW = X' dZ        db = column sums of dZ

    Parameters
    ----------
    dA : ndarray (rows, out)
        Derivative of the loss with respect to A; summed over rows, so a mean over the batch is part of dA.
    X : ndarray (rows, in)
        Inputs.
    W : ndarray (in, out)
        Weights.
    A : ndarray (rows, out)
        The result of `dense_forward`, from which f' is computed.
    activation : str or Activation
        As in `dense_forward`. For "softmax", dZ = A (dA - row sums of dA A).
    b : ndarray (out,), optional
        Biases; required for "gelu", "gelu_tanh", "silu", "mish" and a CustomActivation, whose derivative is not a
        function of A, so that Z is recomputed. Ignored otherwise.

    Returns
    -------
    tuple of ndarray
        dX (rows, in), dW (in, out) and db (out,), new arrays with the same bits for any number of threads.

    Raises
    ------
    TypeError, ValueError
        As `dense_forward`; ValueError if b is required and missing.

    References
    ----------
    Goodfellow et al. 2016, algorithm 6.4.

    Examples
    --------
    >>> X, W, b = np.ones((2, 3)), np.full((3, 1), 0.5), np.array([-1.0])
    >>> A = dense_forward(X, W, b, "relu")
    >>> dX, dW, db = dense_backward(np.ones((2, 1)), X, W, A, "relu")
    >>> dX[0].tolist(), dW[:, 0].tolist(), db.tolist()
    ([0.5, 0.5, 0.5], [2.0, 2.0, 2.0], [2.0])
    """
    curve = activations.get(activation)
    X, W, b = _layer(X, W, b)
    shape = len(X), W.shape[1]
    A, dA = array("A", A, shape, like=("X", X)), array("dA", dA, shape, like=("X", X))
    if keeps_slopes(curve.rule) and b is None:
        raise ValueError(f"b must be given for {curve.name!r}, whose slope is no function of A, got None: "
                         "pass the biases of dense_forward, or np.zeros(W.shape[1], W.dtype) if there were none")
    if not len(X):
        return np.zeros_like(X), np.zeros_like(W), np.zeros(W.shape[1], W.dtype)
    key = ("backward", W.shape, curve, X.dtype.name)
    with RECENT.borrow(key, lambda: Backward(W.shape[0], W.shape[1], curve, X.dtype.name)) as engine:
        engine.write_weights([W, np.zeros(W.shape[1], W.dtype) if b is None else b])
        derivatives: tuple[Array, Array, Array] = engine.run(X, dA, A)
        return derivatives


def _layer(X: Array, W: Array, b: Array | None) -> tuple[Array, Array, Array | None]:
    """The arrays of a layer, checked."""
    X = array("X", X, (None, None))
    W = array("W", W, (X.shape[1], None), like=("X", X))
    if 0 in W.shape:
        raise ValueError(f"W must have an input and an output, got shape {W.shape}: leave the layer out")
    return X, W, None if b is None else array("b", b, (W.shape[1],), like=("X", X))


class Backward(Engine):
    """The plan of `dense_backward`: the layer, and below it an activation standing alone whose deltas are dX."""

    def __init__(self, inputs: int, outputs: int, curve: activations.Activation, dtype: str):
        below = LayerSpec(inputs, use_bias=False, kind="activation")
        super().__init__(inputs, [below, LayerSpec(outputs, curve.rule, curve.alpha)], dtype=dtype)
        self._G = aligned(self.parameters.stride, self.dtype)
        layer = self._layers[1]
        self._runs_forward = layer.slopes
        # with f' = 1 there is nothing to know of A
        self._reads_A = not layer.slopes and (layer.code, layer.output_code) != (IDENTITY, IDENTITY)
        self._prepared: Workspace | None = None

    def run(self, X: Array, dA: Array, A: Array) -> tuple[Array, Array, Array]:
        """dX, dW, db with the weights set before."""
        rows, dX = len(X), np.empty_like(X)
        space = self._prepare(rows)
        numbers = {"n_steps": 1, "loss": LINEAR, "backward": 1, "fused": 0, "train": 0}
        space.run("dense_backward", numbers, P=self.parameters.values, G=self._G, X=X.reshape(-1), y=dA.reshape(-1),
                  weight=A.reshape(-1) if self._reads_A else EMPTY, outputs=dX.reshape(-1), order=np.arange(rows),
                  bounds=np.array([0, rows]))
        for name in ("X", "y", "weight", "outputs"):  # a caller's arrays are not kept alive
            space.point(name, EMPTY)
        dW, db = self.parameters.read(self._G)
        return dX, dW, db

    def _prepare(self, rows: int) -> Workspace:
        """A workspace whose plan is this pass alone: the layer reads X where it was gathered, dX goes out last."""
        space = self._space_for_training(rows, self._workers(rows, None, rows * self._multiply_adds))
        if space is self._prepared:
            return space
        below, layer = space.plan.layers
        layer[[Layer.A, Layer.APITCH]] = below[[Layer.A, Layer.APITCH]]
        deltas = below.copy()
        deltas[[Layer.Z, Layer.ZPITCH]] = below[[Layer.D, Layer.DPITCH]]
        space.point_layers(np.array([below, layer, deltas]))
        steps = [(op.GATHER, 0, 1, op.FIXED), (op.FORWARD, 1, 1, op.HELPING),
                 (op.LOSS, 1, 1, op.FIXED), (op.BACKWARD, 1, 0, op.HELPING),
                 (op.WEIGHTS, 1, 1, op.HELPING), (op.OUTPUT, 2, 1, op.FIXED)]
        if not self._runs_forward:
            del steps[1]
        space.programs["dense_backward"] = np.array(steps, np.int64)
        self._prepared = space
        return space
