"""`Sequential`, the model that users compose, train and save; and `fold`."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "_restored":  # pickles of version 0.1.0 name it
        from fastbp.model.sequential import Sequential

        return Sequential.from_snapshot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
