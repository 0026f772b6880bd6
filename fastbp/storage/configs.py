"""Layers, optimizers and other configuration objects to and from JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.storage.errors import CheckpointError
from fastbp.storage.registry import class_of, name_of


def to_config(item: Any, objects: list[Any] | None = None) -> dict[str, Any]:
    """A frozen dataclass as its registered name and its fields; a custom object as its own name.

    objects: a list that collects what JSON cannot hold (functions, objects of the user's own), each replaced by its
    index. Without it these are dropped.
    """
    if hasattr(item, "functions"):
        if objects is not None:
            return _kept(item, objects)
        return {"custom": item.label, "class": name_of(type(item))}
    names = [field.name for field in dataclasses.fields(item) if field.init]
    return {"class": name_of(type(item)), "config": {name: _value(getattr(item, name), objects) for name in names}}


def _kept(item: Any, objects: list[Any]) -> dict[str, Any]:
    objects.append(item)
    return {"object": len(objects) - 1}


def _value(value: Any, objects: list[Any] | None) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("fastbp."):
        return to_config(value, objects)
    if isinstance(value, tuple | list):
        return [_value(item, objects) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return None if objects is None else _kept(value, objects)  # files hold no code


def from_config(
    config: Any, custom: Mapping[str, Any] | None = None, objects: Sequence[Any] = ()
) -> Any:
    """The object that `to_config` described, of a registered class; otherwise CheckpointError.

    A field that is None takes the class's default and a list becomes a tuple. Custom objects are looked up by name,
    others by their index in objects.
    """
    try:
        if "custom" in config:
            return _custom(config["custom"], class_of(config["class"]), custom or {})
        if "object" in config:
            return objects[config["object"]]
        fields = config["config"].items()
        values = {key: _restored(value, custom, objects) for key, value in fields if value is not None}
        return class_of(config["class"])(**values)
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"the file describes an invalid object: {error!r} in {_excerpt(config)}") from error


def with_defaults(config: Any) -> Any:
    """A description that `to_config` made, maybe of an earlier version, with the defaults of fields that are new."""
    if isinstance(config, list):
        return [with_defaults(item) for item in config]
    if not (isinstance(config, dict) and {"class", "config"} <= config.keys()):
        return config
    fields = {field.name: field.default for field in dataclasses.fields(class_of(config["class"])) if field.init}
    new = {name: _value(value, None) for name, value in fields.items() if value is not dataclasses.MISSING}
    return {**config, "config": {**new, **{name: with_defaults(value) for name, value in config["config"].items()}}}


def _excerpt(config: Any) -> str:
    try:
        return str(config)[:200]
    except RecursionError:
        return "layers nested too deeply"


def _restored(
    value: Any, custom: Mapping[str, Any] | None, objects: Sequence[Any]
) -> Any:
    if isinstance(value, list):
        return tuple(_restored(item, custom, objects) for item in value)
    return from_config(value, custom, objects) if isinstance(value, dict) else value


def _custom(name: Any, kind: type, custom: Mapping[str, Any]) -> Any:
    found = custom.get(name)
    if isinstance(found, kind):
        return found
    given = ", ".join(map(repr, custom)) or "nothing"
    got = f"got {found!r} for it" if name in custom else f"custom_objects holds {given}"
    raise CheckpointError(
        f"the model uses the {kind.__name__} {str(name)[:100]!r}, whose functions are not saved in files, and {got}: "
        f"pass fastbp.load(path, custom_objects={{{str(name)[:100]!r}: {kind.__name__}(function, derivative)}})"
    )
