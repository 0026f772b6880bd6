"""Parameters from a constructor to attributes of the same names, which is all that scikit-learn lets it do."""

from __future__ import annotations

from typing import Any


def set_parameters(estimator: Any, given: dict[str, Any]) -> None:
    """Keep the constructor's arguments, its `locals()`, as attributes."""
    for name, value in given.items():
        if name != "self":
            setattr(estimator, name, value)
