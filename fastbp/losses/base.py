"""What all losses share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastbp.spec import ScalarFunctions
from fastbp.util.fields import set_fields, smoothing
from fastbp.util.types import Array

CUSTOM = "custom"  # the name of every loss of a user's own


class Loss:
    """A loss function; abstract: use MSE, CrossEntropy or another of this module, or CustomLoss.

    name: what it is called; targets: what y holds, "numbers" "counts" (from 0 up) "probabilities" (from 0 to 1) "signs"
    (-1 and 1, or 0 and 1) or "classes" (labels, or rows of probabilities).
    """

    name: ClassVar[str]
    targets: ClassVar[str] = "numbers"

    @property
    def rule(self) -> str | ScalarFunctions:
        """What an engine knows it by."""
        return self.name

    @property
    def parameters(self) -> tuple[float, ...]:
        """Its parameters as an engine takes them."""
        return ()

    def columns(self, outputs: int) -> int:
        """The columns of y for so many outputs; ValueError where there can be none."""
        return outputs

    def predictions(self, outputs: Array) -> Array:
        """The outputs that stand for y's columns: what metrics look at."""
        return outputs


@dataclass(frozen=True)
class Smoothed(Loss):
    """A loss whose one parameter is label_smoothing; abstract."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=smoothing(self.label_smoothing))

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.label_smoothing,)
