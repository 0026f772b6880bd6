"""Losses of two classes, one output each, and of several, one output for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from fastbp.losses.base import Loss, Smoothed
from fastbp.util.arguments import flag
from fastbp.util.fields import number, numbers, set_fields, smoothing

# ---------------------------------------------------------------- of two classes


@final
@dataclass(frozen=True)
class Hinge(Loss):
    """The hinge loss of support vector machines; mean over all elements.

        L = 1/(n k) sum_ij max(0, 1 - y_ij a_ij)

    a: outputs (n, k) of any last activation, above 0 for class 1; y: targets (n, k), -1 and 1, or 0 and 1, where 0 is
    taken for -1. Cortes and Vapnik 1995. As Keras's Hinge.

    >>> Hinge().name
    'hinge'
    """

    name: ClassVar[str] = "hinge"
    targets: ClassVar[str] = "signs"


@final
@dataclass(frozen=True)
class BinaryCrossEntropy(Smoothed):
    """Cross-entropy of sigmoid outputs, computed from the logits; mean over all elements.

        L = 1/(n k) sum_ij (softplus(z_ij) - y_ij z_ij)

    z: logits (n, k), the last layer before its "sigmoid", or its outputs where it has "identity"; y: targets (n, k) in
    [0, 1], any number of them 1 in a row ("multilabel"). label_smoothing moves targets towards 1/2:
    y <- (1 - label_smoothing) y + label_smoothing / 2. Raises TypeError or ValueError for a
    label_smoothing outside [0, 1). Goodfellow et al. 2016, section 6.2.2.2. As PyTorch's BCEWithLogitsLoss, with
    Keras's label_smoothing.

    >>> BinaryCrossEntropy().name
    'binary_cross_entropy'
    """

    name: ClassVar[str] = "binary_cross_entropy"
    targets: ClassVar[str] = "probabilities"


@final
@dataclass(frozen=True)
class BinaryFocal(Loss):
    """Focal loss of sigmoid outputs, which counts rows that are right already for little; mean over all elements.

        L = 1/(n k) sum_ij w_ij q_ij^gamma (softplus(z_ij) - y_ij z_ij)      q = y (1 - p) + (1 - y) p, p = sigmoid(z)

    z: logits (n, k), the last layer before its "sigmoid", or its outputs where it has "identity"; y: targets (n, k) in
    [0, 1]. w is 1, or with apply_class_balancing y alpha + (1 - y) (1 - alpha). label_smoothing as in
    BinaryCrossEntropy. Raises TypeError or ValueError for a gamma below 0, and for an alpha outside [0, 1].
    Lin et al. 2017. As Keras's BinaryFocalCrossentropy.

    >>> BinaryFocal(gamma=0) == BinaryFocal(0.0)
    True
    """

    name: ClassVar[str] = "binary_focal"
    targets: ClassVar[str] = "probabilities"
    gamma: float = 2.0
    alpha: float = 0.25
    apply_class_balancing: bool = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(
            self,
            gamma=number(self.gamma, "gamma", least=0),
            alpha=number(self.alpha, "alpha", least=0, most=1),
            apply_class_balancing=flag(self.apply_class_balancing, "apply_class_balancing"),
            label_smoothing=smoothing(self.label_smoothing),
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        balance = (self.alpha, 1 - self.alpha) if self.apply_class_balancing else (1.0, 1.0)
        return self.gamma, self.label_smoothing, *balance


# ---------------------------------------------------------------- of several classes


@final
@dataclass(frozen=True)
class CrossEntropy(Smoothed):
    """Cross-entropy of softmax outputs, computed from the logits; mean over rows.

        L = 1/n sum_i (log sum_j exp(z_ij) - z_i,y_i)

    z: logits (n, k), the last layer before its "softmax", or its outputs where it has "identity"; y: class labels (n,),
    or rows of probabilities (n, k). label_smoothing moves targets towards uniform ones:
    y <- (1 - label_smoothing) y + label_smoothing / k. Raises TypeError or ValueError for a
    label_smoothing outside [0, 1). Goodfellow et al. 2016, sections 6.2.2.3 and 7.5.1. As PyTorch's CrossEntropyLoss,
    or Keras's with from_logits=True.

    >>> CrossEntropy(label_smoothing=0.1).parameters
    (0.1,)
    """

    name: ClassVar[str] = "cross_entropy"
    targets: ClassVar[str] = "classes"


@final
@dataclass(frozen=True)
class CategoricalFocal(Loss):
    """Focal loss of softmax outputs, which counts rows that are right already for little; mean over rows.

        L = 1/n sum_ij -alpha_j y_ij (1 - p_ij)^gamma log p_ij        p = softmax(z)

    z: logits (n, k), the last layer before its "softmax", or its outputs where it has "identity"; y: class labels (n,),
    or rows of probabilities (n, k). alpha: one weight, or one for each of the k classes. label_smoothing as in
    CrossEntropy. Raises TypeError or ValueError for a gamma or alpha below 0.
    Lin et al. 2017. As Keras's CategoricalFocalCrossentropy; its alpha of 0.25 scales the whole loss.

    >>> CategoricalFocal(alpha=(0.5, 1, 2)).parameters
    (2.0, 0.0, 0.5, 1.0, 2.0)
    """

    name: ClassVar[str] = "categorical_focal"
    targets: ClassVar[str] = "classes"
    gamma: float = 2.0
    alpha: float | tuple[float, ...] = 0.25
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(
            self,
            gamma=number(self.gamma, "gamma", least=0),
            alpha=numbers(self.alpha, "alpha", least=0),
            label_smoothing=smoothing(self.label_smoothing),
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        alpha = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        return self.gamma, self.label_smoothing, *alpha

    def columns(self, outputs: int) -> int:
        if isinstance(self.alpha, tuple) and len(self.alpha) != outputs:
            raise ValueError(
                f"categorical_focal needs an alpha for each class, but {len(self.alpha)} came for {outputs} outputs: "
                "pass one number, or as many as the last layer has units"
            )
        return outputs


@final
@dataclass(frozen=True)
class KLDivergence(Loss):
    """Kullback-Leibler divergence of softmax outputs from distributions, computed from the logits; mean over rows.

        L = 1/n sum_ij y_ij log(y_ij / p_ij)        p = softmax(z)

    z: logits (n, k), the last layer before its "softmax", or its outputs where it has "identity"; y: rows of
    probabilities (n, k), or class labels (n,). The cross-entropy less the entropy of y: the gradients are the same.
    As Keras's KLDivergence, and PyTorch's KLDivLoss(reduction="batchmean") of log-probabilities.

    >>> KLDivergence().name
    'kl_divergence'
    """

    name: ClassVar[str] = "kl_divergence"
    targets: ClassVar[str] = "classes"


@final
@dataclass(frozen=True)
class CategoricalHinge(Loss):
    """The hinge loss of several classes; mean over rows.

        L = 1/n sum_i max(0, 1 + max_j (1 - y_ij) a_ij - sum_j y_ij a_ij)

    a: outputs (n, k) of any last activation; y: class labels (n,), or rows of probabilities (n, k). As Keras's
    CategoricalHinge, where the right class's own term (1 - 1) a = 0 is among those that max looks at.

    >>> CategoricalHinge().name
    'categorical_hinge'
    """

    name: ClassVar[str] = "categorical_hinge"
    targets: ClassVar[str] = "classes"
