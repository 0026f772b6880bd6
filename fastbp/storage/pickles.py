"""Models in pickles and copies: the contents of a file, plus the functions that a file cannot hold.

A pickle refers to one function of fastbp and passes it plain values, arrays and the user's own objects: it depends on
no class of fastbp, records the version that wrote it, and is validated like a file. Like any pickle it can run code
when loaded, which a file of `Sequential.save` cannot.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from fastbp.activations import CustomActivation
from fastbp.losses import CustomLoss
from fastbp.storage.checkpoint import Contents, versions
from fastbp.storage.errors import CheckpointError
from fastbp.storage.snapshot import Snapshot, from_contents, to_contents
from fastbp.util.version import __version__

VERSION = 1


def to_state(snapshot: Snapshot) -> dict[str, Any]:
    """The state to pickle."""
    objects: list[Any] = []
    contents = to_contents(snapshot, objects=objects)
    return {
        "format": VERSION,
        "versions": versions(),
        "model": contents.model,
        "tensors": contents.tensors,
        "metadata": contents.metadata,
        "objects": [_taken_apart(item) for item in objects],
    }


def snapshot_of(state: dict[str, Any]) -> Snapshot:
    """The snapshot in a pickle; CheckpointError with the reason if it cannot be read."""
    found, origin = state.get("format"), state.get("versions", {}).get("fastbp", "an unknown version")
    if found != VERSION:
        raise CheckpointError(
            f"the pickle, of fastbp {origin}, has the format {found!r}, but this fastbp, {__version__}, reads format "
            f"{VERSION}: upgrade fastbp, or move the model with Sequential.save, whose files are made to last"
        )
    contents = Contents(state["model"], state["tensors"], state["metadata"])
    return from_contents(contents, objects=[_together(item) for item in state["objects"]])


# ---------------------------------------------------------------- functions


def _taken_apart(item: Any) -> dict[str, Any]:
    """A function, user object, CustomActivation or CustomLoss as plain values where possible."""
    kind = type(item).__name__
    if not hasattr(item, "functions"):
        return _referenced(item, "as a learning rate or an initializer")
    parts = [_referenced(function, f"for the {kind} {item.label!r}") for function in item.functions]
    return {"custom": kind, "label": item.label, "functions": parts}


def _referenced(item: Any, use: str) -> dict[str, Any]:
    """The import path of a function, so that a missing one gives a clear error; otherwise the object itself."""
    module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    if module and name and module != "__main__" and not _by_value(module):
        try:
            if _find(module, name) is item:
                return {"module": module, "name": name, "use": use}
        except (AttributeError, ImportError):
            pass
    return {"object": item}


def _by_value(module: str) -> bool:
    """Whether cloudpickle is set to pickle functions of this module by value."""
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        registry = getattr(sys.modules.get(name), "list_registry_pickle_by_value", None)
        if registry is not None and any(f"{module}.".startswith(f"{each}.") for each in registry()):
            return True
    return False


def _find(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _together(item: dict[str, Any]) -> Any:
    """The inverse of `_taken_apart`."""
    if "custom" in item:
        kind = {"CustomActivation": CustomActivation, "CustomLoss": CustomLoss}[item["custom"]]
        return kind(*map(_together, item["functions"]), name=item["label"], check=False)
    if "object" in item:
        return item["object"]
    try:
        return _find(item["module"], item["name"])
    except (AttributeError, ImportError) as error:
        raise CheckpointError(
            f"the pickle needs {item['module']}.{item['name']} {item['use']}, which is not found here ({error}): make "
            "it importable, as it was where the model was pickled"
        ) from error
