"""Snapshots of a model: everything needed to continue, in memory and as the contents of a file."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp import losses, metrics, optimizers, schedules
from fastbp.data.arrays import finite
from fastbp.layers.base import Layer
from fastbp.layers.graph import Parameter, blocks_of, check_statistics, checked, parameters
from fastbp.optimizers.base import SCHEDULED
from fastbp.spec import COMPUTE
from fastbp.storage.checkpoint import Contents
from fastbp.storage.configs import from_config, to_config
from fastbp.storage.errors import CheckpointError
from fastbp.util.arguments import count, float_dtype
from fastbp.util.types import Array


class CompileArguments(NamedTuple):
    """The arguments of compile."""

    optimizer: optimizers.Optimizer
    loss: losses.Loss
    metrics: tuple[metrics.Metric, ...]


class Snapshot(NamedTuple):
    """The parts of a model; weights and states are empty if the input size is None.

    step counts from compile; epoch and steps_trained, which numbers the dropout masks, from when the model was built.
    """

    layers: tuple[Layer, ...]
    input_size: int | None
    seed: int
    dtype: np.dtype[Any]
    arguments: CompileArguments | None
    step: int
    epoch: int
    weights: list[Array]
    states: list[list[Array]]
    metadata: dict[str, str]
    steps_trained: int = 0  # since the model was built; step restarts when compiled again
    learning_rate: float | None = None  # see learning_rates.Rates.changed
    feature_names: tuple[str, ...] | None = None
    compute: str = "float32"


def to_contents(snapshot: Snapshot, *, warn: bool = True, objects: list[Any] | None = None) -> Contents:
    """The contents of a file; optionally with a warning if something cannot be saved.

    objects: collects what a file cannot hold but a pickle can, see `configs.to_config`.
    """
    arguments, rate = snapshot.arguments, snapshot.learning_rate
    if objects is None and arguments is not None:
        arguments, rate = _writable(arguments, snapshot.step, rate, warn)
    model: dict[str, Any] = {
        "layers": [to_config(layer, objects) for layer in snapshot.layers],
        "input_size": snapshot.input_size,
        "seed": snapshot.seed,
        "dtype": snapshot.dtype.name,
        "optimizer": None if arguments is None else to_config(arguments.optimizer, objects),
        "loss": None if arguments is None else to_config(arguments.loss, objects),
        "metrics": [] if arguments is None else [to_config(metric, objects) for metric in arguments.metrics],
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "steps_trained": snapshot.steps_trained,
        "learning_rate": rate,
    }
    if snapshot.compute != "float32":
        model["compute"] = snapshot.compute
    if snapshot.feature_names is not None:
        model["feature_names"] = list(snapshot.feature_names)
    wanted = _wanted(snapshot.layers, snapshot.input_size)
    tensors = dict(zip((p.name for p in wanted), snapshot.weights, strict=True))
    names = [p.name for p in wanted if not p.statistic]
    for number, state in enumerate(snapshot.states):
        tensors |= zip((_state_name(number, name) for name in names), state, strict=True)
    return Contents(model, tensors, snapshot.metadata)


def _wanted(network: tuple[Layer, ...], input_size: int | None) -> list[Parameter]:
    """The weight arrays; none while the input size is unknown."""
    return [] if input_size is None else parameters(blocks_of(network, input_size))


def _state_name(number: int, name: str) -> str:
    return f"optimizer.{number}.{name}"


def _is_function(rate: Any) -> bool:
    return callable(rate) and not _is_schedule(rate)


def _writable(
    arguments: CompileArguments, step: int, factor: float | None, warn: bool
) -> tuple[CompileArguments, float | None]:
    """The arguments with functions for learning rate and weight decay replaced by their current values, and the factor
    of the learning rate that remains."""
    optimizer: Any = arguments.optimizer
    for column, name in enumerate(SCHEDULED):
        if not _is_function(getattr(optimizer, name)):
            continue
        now = float(optimizer.scalars(np.array([step]))[0, column])
        if name == "learning_rate":
            now, factor = now * (1.0 if factor is None else factor), None
        if warn:
            warnings.warn(
                f"{name} is a function, which a file cannot hold: its value at step {step}, {now:g}, is saved "
                "instead; compile again after fastbp.load to continue with the function",
                stacklevel=4,
            )
        optimizer = dataclasses.replace(optimizer, **{name: now})
    return arguments._replace(optimizer=optimizer), factor


def _is_schedule(rate: Any) -> bool:
    """Whether a learning rate is one of fastbp's schedules, and so are any schedules inside it."""
    if vars(schedules).get(type(rate).__name__) is not type(rate):
        return False
    parts = [getattr(rate, field.name) for field in dataclasses.fields(rate)]
    return all(not callable(part) or _is_schedule(part) for part in parts)


def from_contents(
    contents: Contents, custom: Mapping[str, Any] | None = None, objects: Sequence[Any] | None = None
) -> Snapshot:
    """The snapshot in a file, with all parts checked for consistency; otherwise CheckpointError.

    custom: the user's own losses and activations by name. objects: what a pickle holds beside the file's contents; only
    in a pickle may the input size be None.
    """
    try:
        return _from_contents(contents, custom, objects)
    except CheckpointError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the file describes an invalid model: {error}") from error


def _from_contents(contents: Contents, custom: Mapping[str, Any] | None, objects: Sequence[Any] | None) -> Snapshot:
    model, tensors = contents.model, dict(contents.tensors)
    network = checked([from_config(config, custom, objects or ()) for config in model["layers"]])
    dtype, input_size = float_dtype(model["dtype"]), model["input_size"]
    if input_size is not None or objects is None:
        input_size = count(input_size, "input_size")
    blocks, wanted = blocks_of(network, input_size), _wanted(network, input_size)
    weights = [_tensor(tensors, p.name, p.shape, dtype) for p in wanted]
    check_statistics(wanted, weights)
    arguments = _compile_arguments(model, custom, objects or ())
    if arguments is not None:
        losses.check_output(arguments.loss, blocks[-1].activation)
    states = [
        [_tensor(tensors, _state_name(number, p.name), p.shape, dtype) for p in wanted if not p.statistic]
        for number in range(arguments.optimizer.n_states + arguments.optimizer.update_spec.n_states if arguments else 0)
    ]
    if tensors:
        raise CheckpointError(f"the file holds the tensor {next(iter(tensors))[:50]!r}, which its model does not have")
    model = {"steps_trained": model["step"], "learning_rate": None} | model  # files of version 0.1.0 lack them
    seed, *counts = (count(model[name], name, 0) for name in ("seed", "step", "epoch", "steps_trained"))
    if max(counts) >= 1 << 62:
        raise CheckpointError(f"the file counts {max(counts)} steps, which is impossible")
    step, epoch, steps_trained = counts
    return Snapshot(
        network, input_size, seed, dtype, arguments, step, epoch, weights, states, contents.metadata,
        steps_trained, rate_set(model["learning_rate"]), _names(model.get("feature_names"), input_size),
        _compute(model.get("compute", "float32")),
    )  # fmt: skip


def _compute(given: Any) -> str:
    """How products are computed."""
    if given not in (*COMPUTE, "auto"):
        raise CheckpointError(f"the file's compute is {str(given)[:50]!r}, which must be one of {', '.join(COMPUTE)}")
    return str(given)


def _names(given: Any, input_size: int | None) -> tuple[str, ...] | None:
    """Names of the features: none, or as many as there are."""
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or len(given) != input_size:
        raise CheckpointError(f"the file's feature names are {str(given)[:50]}, which must be {input_size} strings")
    return tuple(given)


def rate_set(value: Any) -> float | None:
    """Validate a learning rate that was set: None, or finite and at least 0."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf):
        return None if value is None else float(value)
    raise CheckpointError(f"the file's learning rate is {str(value)[:50]}, which must be finite and at least 0")


def _compile_arguments(
    model: dict[str, Any], custom: Mapping[str, Any] | None, objects: Sequence[Any]
) -> CompileArguments | None:
    if model["optimizer"] is None:
        return None
    optimizer, loss = (from_config(model[part], custom, objects) for part in ("optimizer", "loss"))
    measures = [from_config(config, custom, objects) for config in model["metrics"]]
    return CompileArguments(optimizers.get(optimizer), losses.get(loss), metrics.get_all(measures))


def _tensor(tensors: dict[str, Array], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Remove a tensor from those of the file and check it."""
    tensor = tensors.pop(name, None)
    if tensor is None:
        raise CheckpointError(f"the file lacks the tensor {name!r}, which its model needs")
    if tensor.shape != shape or tensor.dtype != dtype:
        raise CheckpointError(
            f"the file's tensor {name!r} is {tensor.dtype} {tensor.shape}, but its model needs {dtype} {shape}"
        )
    if not finite(tensor):
        raise CheckpointError(f"the file's tensor {name!r} holds infinities or NaN")
    return tensor
