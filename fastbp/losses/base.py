"""What all losses share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastbp.spec import ScalarFunctions
from fastbp.util.fields import set_fields, smoothing
from fastbp.util.types import Array

CUSTOM = "custom"  # the name of every user-defined loss


class Loss:
    """Base class of all losses; use MSE, CrossEntropy or another subclass, or CustomLoss.

    Attributes
    ----------
    name : str
        Name of the loss.
    targets : str
        What y holds: "numbers", "counts" (at least 0), "probabilities" (from 0 to 1), "signs" (-1 and 1, or 0 and 1) or
        "classes" (labels, or rows of probabilities).
    """

    name: ClassVar[str]
    targets: ClassVar[str] = "numbers"

    @property
    def rule(self) -> str | ScalarFunctions:
        """The name or functions by which an engine knows the loss."""
        return self.name

    @property
    def parameters(self) -> tuple[float, ...]:
        """The parameters that an engine takes."""
        return ()

    def columns(self, outputs: int) -> int:
        """The number of columns of y for so many outputs; ValueError if that number of outputs is impossible."""
        return outputs

    def predictions(self, outputs: Array) -> Array:
        """The outputs that correspond to the columns of y, from which metrics are computed."""
        return outputs


@dataclass(frozen=True)
class Smoothed(Loss):
    """Base class of losses whose only parameter is label_smoothing."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=smoothing(self.label_smoothing))

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.label_smoothing,)
