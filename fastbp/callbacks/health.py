"""Layer diagnosis during training."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.callbacks.base import Callback, Logs
from fastbp.util.arguments import count
from fastbp.util.types import Array

QUANTITIES = ("activation", "gradient", "passed_back", "update")


class GradientHealth(Callback):
    """Diagnose the layers before training and at the ends of epochs: which learn, which gradients vanish or explode.

    Parameters
    ----------
    X, y : array-like
        Data as for `fit`.
    rows : int, optional
        At most this many rows are used, evenly spaced, the same each time.
    every : int, optional
        Epochs between two diagnoses.

    Attributes
    ----------
    epochs : list of int
        Completed epochs at each diagnosis.
    layers : list of str
        Labels of the layers.
    verdicts : list of list of str
        The verdict on each layer, see `fastbp.diagnose`.

    Raises
    ------
    ValueError or TypeError
        If X, y, rows or every are invalid; for X and y by `fit`, before training.

    See Also
    --------
    fastbp.diagnose : A single diagnosis.

    Notes
    -----
    The arrays `gradient` (rms of dL/dW), `update` (norm of the next step over that of W, about 0.001 in a healthy
    network), `passed_back` and `activation` have a row for each diagnosis and a column for each layer, from the input;
    see `fastbp.diagnosis`. NaN marks what a layer does not have, and diagnoses of non-finite values. `plot` draws them.
    A resumed fit keeps the diagnoses made before the interruption.

    Each diagnosis costs a copy of the model and about three steps on these rows; training itself is not changed by a
    bit. Keras and PyTorch have no equivalent.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, figure 7;
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 8.2.5.

    Examples
    --------
    >>> model = Sequential([*[Dense(4, "sigmoid") for _ in range(8)], Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> health = GradientHealth(np.eye(3), [1.0, 2.0, 3.0])
    >>> history = model.fit(np.eye(3), [1.0, 2.0, 3.0], epochs=2, callbacks=[health])
    >>> health.epochs, health.gradient.shape, health.verdicts[0][0]
    ([0, 1, 2], (3, 9), 'vanishing')
    """

    def __init__(self, X: npt.ArrayLike, y: npt.ArrayLike, *, rows: int = 256, every: int = 1) -> None:
        self._X, self._y = X, y
        self.rows, self.every = count(rows, "rows"), count(every, "every")
        self._reset()

    def _reset(self) -> None:
        self.epochs: list[int] = []
        self.layers: list[str] = []
        self.verdicts: list[list[str]] = []
        self._looks: list[Array] = []  # (quantities, layers) each

    def on_train_begin(self, logs: Logs) -> None:
        self._reset()
        self._diagnose(0)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if (epoch + 1) % self.every == 0:
            self._diagnose(epoch + 1)

    def _diagnose(self, epochs: int) -> None:
        from fastbp.diagnosis.layer_health import diagnose

        diagnosis = diagnose(self.model, self._X, self._y, rows=self.rows)
        self.epochs.append(epochs)
        self.layers = [layer.label for layer in diagnosis.layers]
        self.verdicts.append([layer.verdict for layer in diagnosis.layers])
        self._looks.append(np.array([[getattr(layer, name) for layer in diagnosis.layers] for name in QUANTITIES]))

    def _quantity(self, name: str) -> Array:
        row = QUANTITIES.index(name)
        return np.array([record[row] for record in self._looks]).reshape(len(self._looks), len(self.layers))

    @property
    def activation(self) -> Array:
        """The rms of the layers' outputs, (diagnoses, layers)."""
        return self._quantity("activation")

    @property
    def gradient(self) -> Array:
        """The rms of dL/dW of the layers' kernels, or of dL/dgamma, (diagnoses, layers)."""
        return self._quantity("gradient")

    @property
    def passed_back(self) -> Array:
        """The back-propagated gradient: the rms of dL/dW over that of the layer's input, (diagnoses, layers)."""
        return self._quantity("passed_back")

    @property
    def update(self) -> Array:
        """The norm of the next update over that of the weights, (diagnoses, layers)."""
        return self._quantity("update")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot gradients, updates and verdicts over the epochs, to a file or as the returned figure."""
        from fastbp.plots import plot_gradient_health

        return plot_gradient_health(self, path)

    def get_state(self) -> dict[str, Any]:
        names = ("epochs", "layers", "verdicts")
        return {"looks": list(self._looks), **{name: list(getattr(self, name)) for name in names}}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epochs, self.layers, self.verdicts = list(state["epochs"]), list(state["layers"]), list(state["verdicts"])
        self._looks = [np.asarray(record) for record in state["looks"]]
