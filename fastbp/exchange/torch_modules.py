"""Export of models, and exchange of weights, with PyTorch; needs torch (extra `torch`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.exchange.layer_weights import ExchangeError, Part, activation_of, as_floats, need, parts_of
from fastbp.exchange.layers import LAYERS
from fastbp.exchange.translation import TorchModules, translation
from fastbp.layers import Activation, Dense
from fastbp.model.sequential import Sequential
from fastbp.util.files import check_regular, reading
from fastbp.util.types import Array

BATCHES = "num_batches_tracked"


def to_torch(model: Sequential) -> Any:
    """Convert the model to a torch.nn.Sequential in eval mode, with the same weights and dtype, on the CPU.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.

    Returns
    -------
    torch.nn.Sequential
        A Dense becomes a Linear and, unless its activation is the identity, an activation module. Layers that PyTorch
        does not have, such as Residual, become modules of `fastbp.exchange.torch_layers`. trainable=False becomes
        requires_grad=False. Regularizers, constraints, learning-rate multipliers, loss and optimizer are not kept.

    Raises
    ------
    ExchangeError
        For a CustomActivation and for layers without a translation.
    ValueError
        If the input size is not known yet.
    ImportError
        If torch is missing; with the command that installs it.

    Notes
    -----
    A last softmax is part of the module; PyTorch's CrossEntropyLoss expects logits, so use ``to_torch(model)[:-1]``
    with it.

    Examples
    --------
    >>> to_torch(Sequential([Dense(3, "tanh"), Dense(1)], input_size=2))
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): Tanh()
      (2): Linear(in_features=3, out_features=1, bias=True)
    )
    """
    torch = need("torch", "torch")
    parts = parts_of(model, "to_torch")
    module = TorchModules(torch, getattr(torch, model.dtype.name), LAYERS).sequence(parts)
    module.load_state_dict(_tensors(torch, model, parts))
    for entry in _entries(parts):
        if not getattr(entry.part.layer, "trainable", True) and not entry.name.startswith("moving_"):
            module.get_parameter(entry.key).requires_grad_(False)
    return module.eval()


def state_dict(model: Sequential) -> dict[str, Any]:
    """The weights as tensors, with the names and layout, (out, in), of ``to_torch(model).state_dict()``.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known. Errors as in `to_torch`.

    Returns
    -------
    dict of str to torch.Tensor
        The state dict.

    Examples
    --------
    >>> {name: tuple(tensor.shape) for name, tensor in state_dict(Sequential([Dense(3)], input_size=2)).items()}
    {'0.weight': (3, 2), '0.bias': (3,)}
    """
    return _tensors(need("torch", "torch"), model, parts_of(model, "state_dict"))


def load_state_dict(
    model: Sequential, state: Mapping[str, Any] | str | os.PathLike[str], *, by: str = "name"
) -> None:
    """Replace the model's weights by those of a PyTorch state_dict.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.
    state : dict of str to tensor or array, or path-like
        The state dict, or a file of torch.save that holds one; no code in it is run.
    by : {"name", "order"}, default "name"
        "name" uses the names of ``state_dict(model)``; "order" takes the entries in order whatever their names, for
        modules other than nn.Sequential, such as one with fc1 and fc2. Shapes must match in either case.

    Raises
    ------
    ExchangeError
        For missing or surplus names and for wrong shapes. Nothing has changed then. Other errors as in `to_torch` and
        `Sequential.set_weights`.
    ValueError
        For a file that is damaged or holds anything but tensors.

    Examples
    --------
    >>> model = Sequential([Dense(1)], input_size=2)
    >>> load_state_dict(model, {"fc.weight": np.array([[1.0, 2.0]]), "fc.bias": np.array([3.0])}, by="order")
    >>> model.predict([[10.0, 100.0]])
    array([[213.]], dtype=float32)
    """
    if by not in ("name", "order"):
        raise ValueError(f"by must be 'name' or 'order', got {by!r}: pass one of these")
    if isinstance(state, str | os.PathLike):
        return _load_file(model, Path(state), by)
    parts = parts_of(model, "load_state_dict")
    entries = list(_entries(parts))
    given = {name: as_floats(value) for name, value in state.items() if not name.endswith(BATCHES)}
    if by == "order" and len(given) == len(entries):
        given = dict(zip((entry.key for entry in entries), given.values(), strict=True))
    wanted = [entry.key for entry in entries]
    if missing := [key for key in wanted if key not in given]:
        raise ExchangeError(_missing(missing, wanted, state))
    if extra := [key for key in given if key not in wanted]:
        raise ExchangeError(f"the model has no {extra[0]!r}, which the state has: its names are {', '.join(wanted)}")
    arrays = []
    for entry in entries:
        array = given[entry.key].T if entry.transposed else given[entry.key]
        if array.shape != entry.values.shape:
            raise ExchangeError(
                f"{entry.key} of {entry.part.label} must have PyTorch's shape "
                f"{entry.values.shape[:: -1 if entry.transposed else 1]}, got {given[entry.key].shape}: "
                "pass the state of a module with these layers"
            )
        arrays.append(array)
    model.set_weights(arrays)
    return None


def _load_file(model: Sequential, path: Path, by: str) -> None:
    state = _state_in(path)
    try:
        load_state_dict(model, state, by=by)
    except ValueError as error:
        raise ExchangeError(f"{path}: {error}") from error


def _state_in(path: Path) -> Mapping[str, Any]:
    """The state dict in a file of torch.save."""
    torch = need("torch", "torch")
    check_regular(path)
    with reading(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise ValueError(f"it holds {type(state).__name__}, not a state dict")
    return state


def _missing(missing: list[str], wanted: list[str], state: Mapping[str, Any]) -> str:
    given = ", ".join(map(str, state)) or "nothing"
    return (
        f"the state must hold {', '.join(wanted)}, but {missing[0]!r} is missing; got {given}: rename the entries, or "
        f"pass by='order' for {len(wanted)} entries in this order"
    )


class Entry(NamedTuple):
    """An array of a layer: its name in fastbp and in the state_dict, and whether PyTorch stores it transposed."""

    part: Part
    name: str
    key: str
    values: Array
    transposed: bool


def _entries(parts: Iterable[Part], prefix: str = "") -> Iterator[Entry]:
    """Every array in the order of `Sequential.get_weights`, with its name in `to_torch(model).state_dict()`."""
    place = 0
    for part in parts:
        yield from _entries(part.within, f"{prefix}{place}.layers.")
        translation(LAYERS, part, "to_torch", "PyTorch")  # or an error that names the layer
        row = LAYERS[type(part.layer)]
        names = row.torch_names(part)
        for name, values in part.weights.items():
            yield Entry(part, name, f"{prefix}{place}.{names[name]}", values, name in row.torch_transposed)
        place += _n_modules(part)


def _n_modules(part: Part) -> int:
    """How many modules of a Sequential a layer becomes: an activation is a module of its own, the identity none."""
    if isinstance(part.layer, Dense | Activation):
        return isinstance(part.layer, Dense) + (activation_of(part).name != "identity")
    return 1


def _tensors(torch: Any, model: Sequential, parts: Iterable[Part]) -> dict[str, Any]:
    """As module.state_dict(): the batch count after the statistics of each BatchNorm, a projection after F."""
    state = {}
    for entry in _entries(parts):
        values = np.array(entry.values.T if entry.transposed else entry.values, order="C")
        state[entry.key] = torch.from_numpy(values)
        if entry.name == "moving_variance":
            place = entry.key.rpartition(".")[0]
            state[f"{place}.{BATCHES}"] = torch.tensor(model.require_engine("state_dict").steps_trained)
    return state
