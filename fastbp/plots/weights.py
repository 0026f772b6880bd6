"""The weights of the first layer, each unit's as a picture of what it looks for."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.plots.figures import done, new_figure
from fastbp.util.arguments import count
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential


def plot_weights(
    model: Sequential | npt.ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    shape: tuple[int, int] | None = None,
    most: int = 64,
) -> Any:
    """Draw the incoming weights of the first layer's units as images, one a unit, in their order.

    model: one whose inputs are images, laid out in rows, or such a kernel (inputs, units). shape: (height, width) of
    the images; without it they are square. most: how many units at most. Blue weights are negative, red ones positive,
    white ones 0; the scale is common to all and ends at the 99.5th percentile of their sizes.
    path: the file to write; without one the figure is returned. Raises ValueError where the weights are not known yet
    or make no image of this shape, ImportError where matplotlib is missing.

    >>> len(plot_weights(Sequential([Dense(6, "relu"), Dense(1)], input_size=16)).axes)  # six units and a scale
    7

    Units that learnt nothing look like noise, as all do before training.
    """
    kernel = _kernel(model)
    height, width = _shape(kernel.shape[0], shape)
    images = kernel[:, : count(most, "most")].T.reshape(-1, height, width)
    columns = math.ceil(math.sqrt(len(images) * height / width))
    columns = min(max(columns, 1), len(images))
    rows = -(-len(images) // columns)
    scale = min(1.0, 9.0 / columns)
    figure = new_figure(max(columns * scale + 1.1, 3.0), max(rows * scale * height / width, 2.0))
    axes = figure.subplots(rows, columns, squeeze=False)
    bound = float(np.quantile(np.abs(images), 0.995)) or 1.0
    for axis in axes.ravel()[len(images) :]:
        axis.remove()
    for axis, image in zip(axes.ravel(), images, strict=False):
        drawn = axis.imshow(image, cmap="RdBu_r", vmin=-bound, vmax=bound)
        axis.set_axis_off()
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure.colorbar(drawn, ax=axes.ravel()[: len(images)].tolist(), shrink=0.8, label="weight")
    return done(figure, path)


def _kernel(model: Any) -> Array:
    """The lowest kernel of a model, or an array as it is."""
    if not hasattr(model, "get_weights"):
        kernel = np.asarray(model, np.float64)
        if kernel.ndim != 2 or not kernel.size:
            raise ValueError(f"a kernel must be (inputs, units), but shape {kernel.shape} came: pass such a one")
        return kernel
    kernels = [W for W in model.get_weights() if W.ndim == 2]
    return np.asarray(kernels[0], np.float64)


def _shape(inputs: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    side = math.isqrt(inputs)
    height, width = (side, side) if shape is None else (count(n, "shape") for n in shape)
    if height * width != inputs:
        came = "they make no square" if shape is None else f"shape={(height, width)} came"
        raise ValueError(f"{inputs} inputs must make images of shape=(height, width), but {came}: pass one that does")
    return height, width
