"""Losses for classification: two classes with one output each, or several classes with one output per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from fastbp.losses.base import Loss, Smoothed
from fastbp.util.arguments import flag
from fastbp.util.fields import number, numbers, set_fields, smoothing

# ---------------------------------------------------------------- two classes


@final
@dataclass(frozen=True)
class Hinge(Loss):
    """Hinge loss of support vector machines; mean over all elements.

    ::

        L = 1/(n k) sum_ij max(0, 1 - y_ij a_ij)

    a: outputs (n, k) of any last activation, positive for class 1. y: targets (n, k), -1 and 1, or 0 and 1, where 0
    stands for -1.

    Notes
    -----
    Same as Keras's Hinge.

    References
    ----------
    Cortes and Vapnik, "Support-vector networks", 1995.

    Examples
    --------
    >>> Hinge().name
    'hinge'
    """

    name: ClassVar[str] = "hinge"
    targets: ClassVar[str] = "signs"


@final
@dataclass(frozen=True)
class BinaryCrossEntropy(Smoothed):
    """Cross-entropy of sigmoid outputs, computed from the logits; mean over all elements.

    ::

        L = 1/(n k) sum_ij (softplus(z_ij) - y_ij z_ij)

    z: logits (n, k), the last layer before its "sigmoid", or its outputs with "identity". y: targets (n, k) in [0, 1];
    any number of them may be 1 in a row ("multilabel").

    Parameters
    ----------
    label_smoothing : float, optional
        Moves targets towards 1/2, in [0, 1): ``y <- (1 - label_smoothing) y + label_smoothing / 2``.

    Raises
    ------
    ValueError
        If label_smoothing is outside [0, 1).
    TypeError
        If label_smoothing is not a number.

    See Also
    --------
    CrossEntropy : More than two classes that exclude each other.

    Notes
    -----
    Like PyTorch's BCEWithLogitsLoss, with Keras's label_smoothing.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 6.2.2.2.

    Examples
    --------
    >>> model = Sequential([Dense(8, "relu"), Dense(1, "sigmoid")])
    >>> model.compile("adam", BinaryCrossEntropy(label_smoothing=0.1))
    """

    name: ClassVar[str] = "binary_cross_entropy"
    targets: ClassVar[str] = "probabilities"


@final
@dataclass(frozen=True)
class BinaryFocal(Loss):
    """Focal loss of sigmoid outputs, which gives well-classified elements little weight; mean over all elements.

    ::

        L = 1/(n k) sum_ij w_ij q_ij^gamma (softplus(z_ij) - y_ij z_ij)
        q = y (1 - p) + (1 - y) p        p = sigmoid(z)

    z: logits (n, k), the last layer before its "sigmoid", or its outputs with "identity". y: targets (n, k) in [0, 1].
    w is 1, or with apply_class_balancing ``y alpha + (1 - y) (1 - alpha)``.

    Parameters
    ----------
    gamma : float, optional
        Exponent, at least 0; 0 gives the cross-entropy.
    alpha : float, optional
        Weight of class 1, in [0, 1].
    apply_class_balancing : bool, optional
        Whether to weight the classes by alpha.
    label_smoothing : float, optional
        As in `BinaryCrossEntropy`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    Same as Keras's BinaryFocalCrossentropy.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", 2017.

    Examples
    --------
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


# ---------------------------------------------------------------- several classes


@final
@dataclass(frozen=True)
class CrossEntropy(Smoothed):
    """Cross-entropy of softmax outputs, computed from the logits; mean over rows.

    ::

        L = 1/n sum_i (log sum_j exp(z_ij) - z_i,y_i)

    z: logits (n, k), the last layer before its "softmax", or its outputs with "identity". y: class labels (n,), or rows
    of probabilities (n, k).

    Parameters
    ----------
    label_smoothing : float, optional
        Moves targets towards the uniform distribution, in [0, 1): ``y <- (1 - label_smoothing) y + label_smoothing /
        k``.

    Raises
    ------
    ValueError
        If label_smoothing is outside [0, 1).
    TypeError
        If label_smoothing is not a number.

    See Also
    --------
    BinaryCrossEntropy : Two classes, or classes that do not exclude each other.

    Notes
    -----
    Same as PyTorch's CrossEntropyLoss, or Keras's with from_logits=True.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, sections 6.2.2.3 and 7.5.1.

    Examples
    --------
    >>> model = Sequential([Dense(8, "relu"), Dense(3, "softmax")])
    >>> model.compile("adam", CrossEntropy(label_smoothing=0.1))
    >>> history = model.fit(np.eye(3), [0, 1, 2], epochs=2)
    """

    name: ClassVar[str] = "cross_entropy"
    targets: ClassVar[str] = "classes"


@final
@dataclass(frozen=True)
class CategoricalFocal(Loss):
    """Focal loss of softmax outputs, which gives well-classified rows little weight; mean over rows.

    ::

        L = 1/n sum_ij -alpha_j y_ij (1 - p_ij)^gamma log p_ij        p = softmax(z)

    z: logits (n, k), the last layer before its "softmax", or its outputs with "identity". y: class labels (n,), or rows
    of probabilities (n, k).

    Parameters
    ----------
    gamma : float, optional
        Exponent, at least 0.
    alpha : float or tuple of float, optional
        One weight, or one for each of the k classes, at least 0.
    label_smoothing : float, optional
        As in `CrossEntropy`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    Same as Keras's CategoricalFocalCrossentropy; the default alpha of 0.25 scales the whole loss.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", 2017.

    Examples
    --------
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
                f"categorical_focal needs one alpha for each class, got {len(self.alpha)} for {outputs} outputs: "
                "pass one number, or as many as the last layer has units"
            )
        return outputs


@final
@dataclass(frozen=True)
class KLDivergence(Loss):
    """Kullback-Leibler divergence of softmax outputs from targets, computed from the logits; mean over rows.

    ::

        L = 1/n sum_ij y_ij log(y_ij / p_ij)        p = softmax(z)

    z: logits (n, k), the last layer before its "softmax", or its outputs with "identity". y: rows of probabilities (n,
    k), or class labels (n,).

    Notes
    -----
    It is the cross-entropy less the entropy of y, so the gradients are the same. Like Keras's KLDivergence, and
    PyTorch's KLDivLoss(reduction="batchmean") of log-probabilities.

    Examples
    --------
    >>> KLDivergence().name
    'kl_divergence'
    """

    name: ClassVar[str] = "kl_divergence"
    targets: ClassVar[str] = "classes"


@final
@dataclass(frozen=True)
class CategoricalHinge(Loss):
    """Hinge loss for several classes; mean over rows.

    ::

        L = 1/n sum_i max(0, 1 + max_j (1 - y_ij) a_ij - sum_j y_ij a_ij)

    a: outputs (n, k) of any last activation. y: class labels (n,), or rows of probabilities (n, k).

    Notes
    -----
    Like Keras's CategoricalHinge, where the maximum includes the term of the correct class, (1 - 1) a = 0.

    Examples
    --------
    >>> CategoricalHinge().name
    'categorical_hinge'
    """

    name: ClassVar[str] = "categorical_hinge"
    targets: ClassVar[str] = "classes"
