"""Losses by name, and the last activations that each allows."""

from __future__ import annotations

from fastbp.activations import Activation
from fastbp.losses.base import CUSTOM, Loss
from fastbp.losses.classes import (
    BinaryCrossEntropy,
    BinaryFocal,
    CategoricalFocal,
    CategoricalHinge,
    CrossEntropy,
    Hinge,
    KLDivergence,
)
from fastbp.losses.numbers import MAE, MSE, GaussianNLL, Huber, LogCosh, Poisson, Quantile
from fastbp.util.arguments import did_you_mean, remedy_for

_ALL: tuple[Loss, ...] = (
    MSE(), MAE(), Huber(), LogCosh(), Quantile(), Poisson(), GaussianNLL(), Hinge(), CategoricalHinge(), CrossEntropy(),
    BinaryCrossEntropy(), BinaryFocal(), CategoricalFocal(), KLDivergence(),
)  # fmt: skip
_LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ALL}
NAMES = tuple(_LOSSES)
# Names in other libraries, for "did you mean".
ALIASES = {
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "l1": "mae",
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
    "bce": "binary_cross_entropy",
    "pinball": "quantile",
    "kld": "kl_divergence",
}

# The last activations each loss allows, where it is computed from logits; None: any.
_SOFTMAX, _SIGMOID = ("softmax", "identity"), ("sigmoid", "identity")
LAST_ACTIVATIONS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys((*NAMES, CUSTOM)),
    "gaussian_nll": ("identity",),
    "cross_entropy": _SOFTMAX,
    "categorical_focal": _SOFTMAX,
    "kl_divergence": _SOFTMAX,
    "binary_cross_entropy": _SIGMOID,
    "binary_focal": _SIGMOID,
}


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
            f"loss must be one of {', '.join(NAMES)}, got {loss!r}{did_you_mean(loss, NAMES, ALIASES)}"
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
    allowed = LAST_ACTIVATIONS[loss.name]
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
