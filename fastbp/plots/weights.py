"""First-layer weights as images, one per unit."""

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
    """Plot the incoming weights of the first layer's units as images, in the order of the units.

    Parameters
    ----------
    model : Sequential or array-like (inputs, units)
        A model whose inputs are images in row-major order, or such a kernel.
    path : str or path-like, optional
        File to write. Without it the figure is returned.
    shape : tuple of int, optional
        (height, width) of the images; square by default.
    most : int, default 64
        Maximum number of units.

    Returns
    -------
    matplotlib Figure or None
        Negative weights are blue, positive ones red, zeros white, on a common scale that ends at the 99.5th percentile
        of their magnitudes. Units that learned nothing look like noise, as all units do before training.

    Raises
    ------
    ValueError
        If the weights are not known yet, or do not form an image of this shape.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> len(plot_weights(Sequential([Dense(6, "relu"), Dense(1)], input_size=16)).axes)  # six units and a colour bar
    7
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
    """The first kernel of a model, or an array as it is."""
    if not hasattr(model, "get_weights"):
        kernel = np.asarray(model, np.float64)
        if kernel.ndim != 2 or not kernel.size:
            raise ValueError(f"a kernel must be (inputs, units), got shape {kernel.shape}: pass a 2-D array")
        return kernel
    kernels = [W for W in model.get_weights() if W.ndim == 2]
    return np.asarray(kernels[0], np.float64)


def _shape(inputs: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    side = math.isqrt(inputs)
    height, width = (side, side) if shape is None else (count(n, "shape") for n in shape)
    if height * width != inputs:
        got = "no square number" if shape is None else f"shape={(height, width)}"
        raise ValueError(f"{inputs} inputs must make images of shape=(height, width), got {got}: pass one that fits")
    return height, width
