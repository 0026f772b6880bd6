"""Losses by name, and the last activations that each allows."""

from __future__ import annotations

from fastbp.activations import Activation
from fastbp.losses import classes, numbers
from fastbp.losses.base import CUSTOM, Loss
from fastbp.util.arguments import did_you_mean, remedy_for
from fastbp.util.public_classes import public_classes

_LOSSES: dict[str, Loss] = {kind.name: kind() for kind in public_classes(numbers, classes)}
NAMES = tuple(_LOSSES)
# The last activations that each loss allows; None: any.
LAST_ACTIVATIONS = {**{loss.name: loss.last_activations for loss in _LOSSES.values()}, CUSTOM: None}


def get(loss: str | Loss) -> Loss:
    """Return the loss of that name; Loss objects are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("mse")
    MSE()
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            "loss must be a Loss object such as MSE() or CustomLoss(function, derivative), or one of "
            f"{', '.join(NAMES)}, got {loss!r}: {remedy_for(loss)}"
        )
    if loss not in _LOSSES:
        raise ValueError(
            f"loss must be one of {', '.join(NAMES)}, got {loss!r}{did_you_mean(loss, NAMES)}"
        )
    return _LOSSES[loss]


def check_output(loss: str | Loss, last_activation: str | Activation, outputs: int | None = None) -> None:
    """Raise ValueError if the last layer's activation or number of outputs does not fit the loss.

    >>> check_output("cross_entropy", "softmax")
    """
    loss = get(loss)
    if outputs is not None:
        loss.columns(outputs)
    activation = last_activation.name if isinstance(last_activation, Activation) else last_activation
    allowed = loss.last_activations
    if allowed is None or activation in allowed:
        return
    needs = repr(allowed[0])
    if len(allowed) > 1:
        needs += f", or {allowed[1]!r} for logits"
    raise ValueError(
        f"loss {loss.name!r} needs a last layer with activation {needs}, got {activation!r}: change the last layer's "
        f"activation to {allowed[0]!r}, or the loss to {_remedy(activation)}"
    )


def _remedy(activation: str) -> str:
    """The usual loss for such outputs."""
    fused = {"softmax": "'cross_entropy' or ", "sigmoid": "'binary_cross_entropy' or "}
    return fused.get(activation, "") + "'mse'"
