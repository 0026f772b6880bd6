"""A model taken apart into layers with their weights, and put together again: what all formats share.

Every format has a table LAYERS, from the class of a layer to the function that translates it, and a table of
activations by name. What is not in them, `translation` and `activation` refuse, naming the layer and the remedy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastbp import activations
from fastbp.layers import Activation, Dense, Layer, Residual
from fastbp.layers.graph import PROJECTION, Block, blocks_of, parameters
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array

T = TypeVar("T")


class ExchangeError(ValueError):
    """What a format, or fastbp, cannot hold: a layer, an activation, an option of one."""


class Part(NamedTuple):
    """A layer with its weights by name, such as kernel and bias, in the order of `Sequential.get_weights`.

    name: its place in the list of layers, below a dot within a residual block, such as "2.0". within: the parts of a
    residual block, whose own weights are its projection, if it has one. inputs, units: widths below and above.
    """

    name: str
    layer: Layer
    inputs: int
    units: int
    weights: dict[str, Array]
    within: tuple[Part, ...] = ()

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"layer {self.name}, {type(self.layer).__name__}({self.units})"


def parts_of(model: Any, what: str) -> tuple[Part, ...]:
    """The parts of a model; TypeError for what is none, ValueError where its weights are not known yet."""
    if not isinstance(model, Sequential):
        raise TypeError(f"{what} takes a fastbp.Sequential, but {type(model).__name__} came: pass the model")
    size = model.require_engine(what).input_size
    blocks = blocks_of(model.layers, size)
    weights: dict[int, dict[str, Array]] = defaultdict(dict)
    for parameter, array in zip(parameters(blocks), model.get_weights(), strict=True):
        weights[parameter.block][parameter.name.rpartition(".")[2]] = array
    # An Activation may have become one with the block below it; every other layer has a block of its own.
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
    """The model of such parts, of the dtype of their weights."""
    parts = tuple(parts)
    kernels = [part.weights["kernel"] for part in _all(parts) if isinstance(part.layer, Dense)]
    if not kernels:
        raise ExchangeError("a model of fastbp must hold at least one Dense, but none came: pass a whole network")
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
    """float64 where all kernels have it, else float32, which holds every shorter type."""
    kinds = {array.dtype.name for array in kernels}
    if "float64" in kinds and kinds != {"float64"}:
        raise ExchangeError(
            f"the kernels of a model must have one dtype, but {', '.join(sorted(kinds))} came: convert them to one"
        )
    return "float64" if kinds == {"float64"} else "float32"


# ---------------------------------------------------------------- what tables of translations lack


def translation(table: Mapping[type, T], part: Part, tool: str) -> T:
    """What the table of a format has for a layer; else ExchangeError."""
    found = table.get(type(part.layer))
    if found is None:
        known = ", ".join(sorted(kind.__name__ for kind in table))
        raise ExchangeError(
            f"{tool} must be given layers that it can hold ({known}), but {part.label} came: move a model without it, "
            "or keep this one in fastbp's own file (Sequential.save)"
        )
    return found


def activation_of(part: Part) -> activations.Activation:
    """The activation of a Dense or an Activation."""
    assert isinstance(part.layer, Dense | Activation)
    return activations.get(part.layer.activation)


def activation(table: Mapping[str, T], part: Part, tool: str) -> T:
    """What the table of a format has for an activation; else ExchangeError."""
    wanted = activation_of(part)
    if isinstance(wanted, activations.CustomActivation):
        raise ExchangeError(
            f"{tool} cannot hold functions of your own, but {part.label} has the CustomActivation {wanted.name!r}: "
            f"use one of {', '.join(table)} instead, or keep the model in fastbp's own file (Sequential.save)"
        )
    if wanted.name not in table:
        raise ExchangeError(
            f"{tool} has the activations {', '.join(table)}, but {part.label} has {wanted.name!r}: use one of these, "
            "or keep the model in fastbp's own file (Sequential.save)"
        )
    return table[wanted.name]


def need(module: str, extra: str) -> Any:
    """An optional package, imported now; ImportError with the command that installs it."""
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


def as_floats(values: Any) -> Array:
    """Weights of another library as a C-contiguous float32 or float64 array of their own."""
    if hasattr(values, "detach"):  # a tensor of PyTorch, perhaps on a device, perhaps of a type that NumPy has not
        values = values.detach().cpu()
        values = (values if str(values.dtype) == "torch.float64" else values.float()).numpy()
    array = np.asarray(values)
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")
