"""A model as layers with their weights, and back: the representation shared by all formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from fastbp import activations
from fastbp.layers import Activation, Dense, Layer, ParametricActivation, Residual
from fastbp.layers.graph import PROJECTION, Block, blocks_of, parameters
from fastbp.model.sequential import Sequential
from fastbp.util.files import shortened
from fastbp.util.types import Array


class ExchangeError(ValueError):
    """A layer, activation or option that the format, or fastbp, does not support."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class Part(NamedTuple):
    """A layer with its weights by name, such as kernel and bias, in the order of `Sequential.get_weights`.

    name: its index in the list of layers, with a dot within a residual block, such as "2.0". within: the parts of a
    residual block, whose own weight is its projection, if any. inputs, units: widths of its input and output.
    """

    name: str
    layer: Layer
    inputs: int
    units: int
    weights: dict[str, Array]
    within: tuple[Part, ...] = ()

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"layer {self.name}, {type(self.layer).__name__}({self.units})"


def parts_of(model: Any, what: str) -> tuple[Part, ...]:
    """The parts of a model; TypeError if it is none, ValueError while its weights are unknown."""
    if not isinstance(model, Sequential):
        raise TypeError(f"{what} takes a fastbp.Sequential, got {type(model).__name__}: pass the model")
    size = model.require_engine(what).input_size
    blocks = blocks_of(model.layers, size)
    weights: dict[int, dict[str, Array]] = defaultdict(dict)
    for parameter, array in zip(parameters(blocks), model.get_weights(), strict=True):
        weights[parameter.block][parameter.name.rpartition(".")[2]] = array
    # An Activation may have been merged into the block before it; every other layer has a block of its own.
    own = ((block, weights[place]) for place, block in enumerate(blocks) if not isinstance(block.layer, Activation))
    return tuple(_parts(model.layers, own, "", size))


def _parts(
    layers: Iterable[Layer], blocks: Iterator[tuple[Block, dict[str, Array]]], prefix: str, width: int
) -> Iterator[Part]:
    for place, layer in enumerate(layers):
        name, inputs = f"{prefix}{place}", width
        within: tuple[Part, ...] = ()
        weights: dict[str, Array] = {}
        if isinstance(layer, Residual):
            within = tuple(_parts(layer.layers, blocks, f"{name}.", width))
        if not isinstance(layer, Activation):
            block, weights = next(blocks)
            if block.name.endswith(PROJECTION):
                weights = {"projection": weights["kernel"]}
                block, _ = next(blocks)
            assert block.units is not None
            width = block.units
        yield Part(name, layer, inputs, width, weights, within)


def model_of(parts: Iterable[Part], *, seed: int = 0, metadata: Mapping[str, str] | None = None) -> Sequential:
    """The model made of these parts, with the dtype of their weights."""
    parts = tuple(parts)
    kernels = [part.weights["kernel"] for part in _all(parts) if isinstance(part.layer, Dense)]
    if not kernels:
        raise ExchangeError("a model must have at least one Dense, got none: pass a complete network")
    network = [part.layer for part in parts]
    model = Sequential(network, input_size=parts[0].inputs, seed=seed, dtype=_dtype(kernels))
    model.set_weights(list(_flat(parts)))
    model.metadata = dict(metadata or {})
    return model


def _all(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        yield part
        yield from _all(part.within)


def _flat(parts: Iterable[Part]) -> Iterator[Array]:
    for part in parts:
        yield from _flat(part.within)
        yield from part.weights.values()


def _dtype(kernels: Iterable[Array]) -> str:
    """float64 if all kernels have it, otherwise float32, which also holds shorter types."""
    kinds = {array.dtype.name for array in kernels}
    if "float64" in kinds and kinds != {"float64"}:
        raise ExchangeError(
            f"the kernels of a model must have one dtype, got {', '.join(sorted(kinds))}: convert them to one"
        )
    return "float64" if kinds == {"float64"} else "float32"


def activation_of(part: Part) -> activations.Activation:
    """The activation of a Dense or an Activation, or the function of a ParametricActivation."""
    assert isinstance(part.layer, Dense | Activation | ParametricActivation)
    return activations.get(part.layer.activation)


def need(module: str, extra: str) -> Any:
    """Import an optional package; ImportError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:  # such as the backend of Keras
            raise ImportError(
                f"this needs {package}, which cannot be imported, because {error}: install that"
                + ", or name another backend in the variable KERAS_BACKEND, such as torch" * (package == "keras")
            ) from error
        raise ImportError(f'this needs {package}, which is missing: pip install "fastbp[{extra}]"') from error


def _of_tensor(tensor: Any) -> Any:
    """A PyTorch tensor as an array; negative and conjugate bits, which NumPy does not know, are resolved."""
    if tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
        kind = "without data, on the device meta" if tensor.is_meta else str(tensor.dtype)
        raise ExchangeError(f"weights must be real numbers, got a tensor {kind}: convert it")
    dense = (tensor.to_dense() if str(tensor.layout) != "torch.strided" else tensor).detach().cpu()
    dense = dense.resolve_conj().resolve_neg()
    return (dense if str(dense.dtype) == "torch.float64" else dense.float()).numpy()


def as_floats(values: Any) -> Array:
    """Weights of another library as a C-contiguous float32 or float64 array, copied; ExchangeError for other kinds."""
    if hasattr(values, "detach"):  # a PyTorch tensor, possibly on a device or of a dtype that NumPy lacks
        values = _of_tensor(values)
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ExchangeError(f"weights must be real numbers, got {array.dtype}: convert them")
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")
