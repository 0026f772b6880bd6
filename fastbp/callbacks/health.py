"""Which layers learn, watched over a whole training."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.callbacks.base import Callback, Logs
from fastbp.util.arguments import count
from fastbp.util.types import Array

FIGURES = ("activation", "gradient", "passed_back", "update")


class GradientHealth(Callback):
    """Diagnose the layers on the same rows before training and at the ends of epochs: who learns, vanishes, explodes.

    X, y: as for fit; of more than `rows` rows so many are taken, evenly spaced, the same each time. every: epochs from
    one look to the next. Each look costs a copy of the model and about three steps on these rows; its
    figures are those of `fastbp.diagnose`. Training itself is not changed by a bit.
    After training, with a row for each look and a column for each layer, from the input: `gradient`, rms of dL/dW;
    `update`, |W_after - W| / |W| of the step to come, 0.001 or so where all is well; `passed_back` and `activation`,
    see `fastbp.diagnosis`; `verdicts`. epochs: how many were done at each look; layers: the layers' labels. NaN is in
    the place of what a layer has not, and of a look at what is not a number. `plot` draws it. What a resumed fit saw
    before its interruption is kept.
    Raises TypeError or ValueError, by fit and before training, for X, y, rows or every that cannot be right.

    >>> model = Sequential([*[Dense(4, "sigmoid") for _ in range(8)], Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> health = GradientHealth(np.eye(3), [1.0, 2.0, 3.0])
    >>> history = model.fit(np.eye(3), [1.0, 2.0, 3.0], epochs=2, callbacks=[health])
    >>> health.epochs, health.gradient.shape, health.verdicts[0][0]
    ([0, 1, 2], (3, 9), 'vanishing')

    Glorot and Bengio 2010, figure 7; Goodfellow et al. 2016, section 8.2.5. Keras and PyTorch have none.
    """

    def __init__(self, X: npt.ArrayLike, y: npt.ArrayLike, *, rows: int = 256, every: int = 1) -> None:
        self._X, self._y = X, y
        self.rows, self.every = count(rows, "rows"), count(every, "every")
        self._reset()

    def _reset(self) -> None:
        self.epochs: list[int] = []
        self.layers: list[str] = []
        self.verdicts: list[list[str]] = []
        self._looks: list[Array] = []  # (figures, layers) each

    def on_train_begin(self, logs: Logs) -> None:
        self._reset()
        self._look(0)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if (epoch + 1) % self.every == 0:
            self._look(epoch + 1)

    def _look(self, epochs: int) -> None:
        from fastbp.diagnosis.layer_health import diagnose

        found = diagnose(self.model, self._X, self._y, rows=self.rows)
        self.epochs.append(epochs)
        self.layers = [layer.label for layer in found.layers]
        self.verdicts.append([layer.verdict for layer in found.layers])
        self._looks.append(np.array([[getattr(layer, name) for layer in found.layers] for name in FIGURES]))

    def _figure(self, name: str) -> Array:
        place = FIGURES.index(name)
        return np.array([look[place] for look in self._looks]).reshape(len(self._looks), len(self.layers))

    @property
    def activation(self) -> Array:
        """The rms of the layers' outputs, (looks, layers)."""
        return self._figure("activation")

    @property
    def gradient(self) -> Array:
        """The rms of dL/dW of the layers' kernels, or of dL/dgamma, (looks, layers)."""
        return self._figure("gradient")

    @property
    def passed_back(self) -> Array:
        """The back-propagated gradient: the rms of dL/dW over that of the layer's input, (looks, layers)."""
        return self._figure("passed_back")

    @property
    def update(self) -> Array:
        """The size of the next update beside that of the weights, (looks, layers)."""
        return self._figure("update")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw gradients, updates and verdicts over the epochs: into a file, or returned as a figure."""
        from fastbp.plots import plot_gradient_health

        return plot_gradient_health(self, path)

    def get_state(self) -> dict[str, Any]:
        names = ("epochs", "layers", "verdicts")
        return {"looks": list(self._looks), **{name: list(getattr(self, name)) for name in names}}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epochs, self.layers, self.verdicts = list(state["epochs"]), list(state["layers"]), list(state["verdicts"])
        self._looks = [np.asarray(look) for look in state["looks"]]
