"""The loss functions by name or object, and which activations may stand below each.

`fastbp.reference.LOSSES` holds the equations and their derivatives.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from fastbp.activations import Activation


class Loss:
    """A loss function; abstract: use MSE, CrossEntropy or BinaryCrossEntropy."""

    name: ClassVar[str]


@final
@dataclass(frozen=True)
class MSE(Loss):
    """Mean squared error over all elements.

        L = 1/(n k) sum_ij (a_ij - y_ij)^2

    a: outputs (n, k) of any last activation; y: targets (n, k). Goodfellow et al. 2016, section 5.1.4.

    >>> MSE().name
    'mse'
    """

    name: ClassVar[str] = "mse"


@final
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of softmax outputs, computed from the logits; mean over rows.

        L = 1/n sum_i (log sum_j exp(z_ij) - z_i,y_i)

    z: logits (n, k), the last layer before its "softmax", or its outputs where it has "identity"; y: class labels (n,).
    Goodfellow et al. 2016, section 6.2.2.3. As PyTorch's CrossEntropyLoss, or Keras's with from_logits=True.

    >>> CrossEntropy().name
    'cross_entropy'
    """

    name: ClassVar[str] = "cross_entropy"


@final
@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of sigmoid outputs, computed from the logits; mean over all elements.

        L = 1/(n k) sum_ij (softplus(z_ij) - y_ij z_ij)

    z: logits (n, k), the last layer before its "sigmoid", or its outputs where it has "identity"; y: targets (n, k) in
    [0, 1]. Goodfellow et al. 2016, section 6.2.2.2. As PyTorch's BCEWithLogitsLoss.

    >>> BinaryCrossEntropy().name
    'binary_cross_entropy'
    """

    name: ClassVar[str] = "binary_cross_entropy"


_LOSSES: dict[str, Loss] = {loss.name: loss for loss in (MSE(), CrossEntropy(), BinaryCrossEntropy())}
NAMES = tuple(_LOSSES)

# The activations each loss works from the logits of; None: any.
LAST_ACTIVATIONS: dict[str, tuple[str, ...] | None] = {
    "mse": None,
    "cross_entropy": ("softmax", "identity"),
    "binary_cross_entropy": ("sigmoid", "identity"),
}


def get(loss: str | Loss) -> Loss:
    """The loss of a name; a Loss object is returned as it is.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("mse")
    MSE()
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a Loss object such as MSE(), or one of {', '.join(NAMES)}, but got {loss!r}")
    if loss not in _LOSSES:
        raise ValueError(f"loss must be one of {', '.join(NAMES)}, but got {loss!r}")
    return _LOSSES[loss]


def check_output(loss: str | Loss, last_activation: str | Activation) -> None:
    """Raise ValueError where the loss cannot be computed from the logits of the last activation.

    >>> check_output("cross_entropy", "softmax")
    """
    name = get(loss).name
    activation = last_activation.name if isinstance(last_activation, Activation) else last_activation
    allowed = LAST_ACTIVATIONS[name]
    if allowed is None or activation in allowed:
        return
    fused, logits = allowed
    raise ValueError(
        f"loss {name!r} needs a last layer with activation {fused!r}, or {logits!r} where its outputs are logits, "
        f"but got {activation!r}; change the last layer's activation to {fused!r}, or the loss to {_remedy(activation)}"
    )


def _remedy(activation: str) -> str:
    fitting = [loss for loss, allowed in LAST_ACTIVATIONS.items() if allowed is None or activation in allowed]
    return " or ".join(repr(loss) for loss in reversed(fitting))
