"""The loss functions by name or object, and which activations may stand below each.

`fastbp.reference.LOSSES` holds the equations and their derivatives. Where PyTorch has a loss, formula and defaults are
PyTorch's; otherwise Keras's. All are means over the rows of a batch, weighted ones Σ w l / Σ w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy.typing as npt

from fastbp.activations import Activation
from fastbp.arguments import flag, instead, meant
from fastbp.functions import Functions, checked_functions
from fastbp.parameters import number, numbers, set_fields, smoothing
from fastbp.reference import ScalarFunctions

Array = npt.NDArray[Any]


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


# ---------------------------------------------------------------- of numbers


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
class MAE(Loss):
    """Mean absolute error over all elements.

        L = 1/(n k) sum_ij |a_ij - y_ij|

    a: outputs (n, k) of any last activation; y: targets (n, k). The derivative where a = y is 0. As PyTorch's L1Loss.

    >>> MAE().name
    'mae'
    """

    name: ClassVar[str] = "mae"


@final
@dataclass(frozen=True)
class Huber(Loss):
    """Huber's loss, squared for small errors and linear for large ones; mean over all elements.

        L = 1/(n k) sum_ij h(a_ij - y_ij)        h(e) = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2)

    a: outputs (n, k) of any last activation; y: targets (n, k). Raises TypeError or ValueError for a delta that is no
    positive number. Huber 1964. As PyTorch's HuberLoss and Keras's.

    >>> Huber(delta=0.5).parameters
    (0.5,)
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        set_fields(self, delta=number(self.delta, "delta", above=0))

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.delta,)


@final
@dataclass(frozen=True)
class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine of the error: a smooth kin of Huber's loss; mean over all elements.

        L = 1/(n k) sum_ij log cosh(a_ij - y_ij)

    a: outputs (n, k) of any last activation; y: targets (n, k). As Keras's LogCosh; small errors keep all their bits.

    >>> LogCosh().name
    'log_cosh'
    """

    name: ClassVar[str] = "log_cosh"


@final
@dataclass(frozen=True)
class Quantile(Loss):
    """The quantile ("pinball") loss, whose minimum is a quantile of y given x; mean over all outputs.

        L = 1/(n k q) sum over rows, targets j and quantiles i of max(tau_i e, (tau_i - 1) e)    e = y_j - a_(j q + i)

    quantiles: a number between 0 and 1, or several. a: outputs (n, k q) of any last activation, the q quantiles of a
    target side by side: with two targets and quantiles (0.1, 0.9) the columns are y_0 at 0.1, y_0 at 0.9, y_1 at 0.1,
    y_1 at 0.9. y: targets (n, k). Metrics look at the quantile nearest to 0.5. The derivative where a = y is 0.
    Raises TypeError or ValueError for quantiles that are no numbers between 0 and 1. Koenker and Bassett 1978.

    >>> Quantile((0.1, 0.5, 0.9)).columns(outputs=3)
    1
    """

    name: ClassVar[str] = "quantile"
    quantiles: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        set_fields(self, quantiles=numbers(self.quantiles, "quantiles", above=0, below=1))

    @property
    def parameters(self) -> tuple[float, ...]:
        return self.quantiles if isinstance(self.quantiles, tuple) else (self.quantiles,)

    def columns(self, outputs: int) -> int:
        q = len(self.parameters)
        if outputs % q:
            raise ValueError(
                f"quantile needs {q} outputs for each target, one for each of its quantiles, but the last layer has "
                f"{outputs}: give it {q} units for each column of y"
            )
        return outputs // q

    def predictions(self, outputs: Array) -> Array:
        nearest = min(range(len(self.parameters)), key=lambda i: abs(self.parameters[i] - 0.5))
        return outputs[:, nearest :: len(self.parameters)]


@final
@dataclass(frozen=True)
class Poisson(Loss):
    """Negative log-likelihood of counts under Poisson distributions, less log y!; mean over all elements.

        L = 1/(n k) sum_ij (a_ij - y_ij log(a_ij + epsilon))        or, with log_input, (exp(a_ij) - y_ij a_ij)

    a: rates (n, k), which a last activation such as "softplus" must keep positive, or with log_input their logarithms,
    of a last activation "identity". y: counts (n, k), not negative; they may be fractions.
    Raises TypeError or ValueError for an epsilon that is no positive number, and for a log_input that is no bool.
    As PyTorch's PoissonNLLLoss, but that log_input is False unless asked for, as in Keras's Poisson.

    >>> Poisson(log_input=True).rule
    'poisson_log'
    """

    name: ClassVar[str] = "poisson"
    targets: ClassVar[str] = "counts"
    log_input: bool = False
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        set_fields(self, log_input=flag(self.log_input, "log_input"), epsilon=number(self.epsilon, "epsilon", above=0))

    @property
    def rule(self) -> str:
        return "poisson_log" if self.log_input else "poisson"

    @property
    def parameters(self) -> tuple[float, ...]:
        return () if self.log_input else (self.epsilon,)


@final
@dataclass(frozen=True)
class GaussianNLL(Loss):
    """Negative log-likelihood of targets under Gaussians, of which the network gives means and variances.

        L = 1/(n k) sum_ij (s_ij + (m_ij - y_ij)^2 exp(-s_ij)) / 2        s = log of the variance

    Outputs (n, 2 k) of activation "identity": k means m, then k log-variances s, so predict gives a standard deviation
    as exp(s / 2). y: targets (n, k). full adds log(2 pi) / 2. Variances below epsilon count as epsilon, but the
    derivative passes, as in PyTorch. Metrics look at the means.
    Raises TypeError or ValueError for an epsilon that is no positive number, and for a full that is no bool.
    Nix and Weigend 1994. The value of PyTorch's GaussianNLLLoss(m, y, exp(s)), which takes variances: one activation
    serves a whole layer here and cannot make half of its outputs positive, and the logarithm neither overflows nor
    divides by 0 (Kendall and Gal 2017, section 3.2).

    >>> GaussianNLL().columns(outputs=6)
    3
    """

    name: ClassVar[str] = "gaussian_nll"
    full: bool = False
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        set_fields(self, full=flag(self.full, "full"), epsilon=number(self.epsilon, "epsilon", above=0))

    @property
    def parameters(self) -> tuple[float, ...]:
        return math.log(self.epsilon), 0.5 * math.log(2 * math.pi) * self.full

    def columns(self, outputs: int) -> int:
        if outputs % 2:
            raise ValueError(
                "gaussian_nll needs an even number of outputs, a mean and a log-variance for each target, but the last "
                f"layer has {outputs}: give it two units for each column of y"
            )
        return outputs // 2

    def predictions(self, outputs: Array) -> Array:
        return outputs[:, : outputs.shape[1] // 2]


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
class BinaryCrossEntropy(Loss):
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
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=smoothing(self.label_smoothing))

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.label_smoothing,)


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
class CrossEntropy(Loss):
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
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=smoothing(self.label_smoothing))

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.label_smoothing,)


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


# ---------------------------------------------------------------- one's own


@final
@dataclass(frozen=True, init=False)
class CustomLoss(Loss):
    """A loss of your own: two functions of an output a and its target y, both numbers; mean over all elements.

        L = 1/(n k) sum_ij function(a_ij, y_ij)

    derivative is that of function by a. Both are compiled by Numba, on float64 numbers, unless they are already: write
    plain arithmetic with the functions of `math`. a: outputs (n, k) of any last activation; y: targets (n, k). name is
    what files call it, the function's own name by default: `fastbp.load` asks for it among custom_objects. Unless check
    is False, the derivative is compared with central differences at some hundred points, of which nine in ten must
    agree: kinks are allowed. Raises TypeError for what is no function, ValueError where the two do not belong together
    (naming the worst point), for a name that a loss of fastbp has, and for a lambda without a name.

    >>> def squared(a, y):
    ...     return (a - y) ** 2
    >>> CustomLoss(squared, lambda a, y: 2 * (a - y)).label
    'squared'
    """

    name: ClassVar[str] = "custom"
    label: str
    functions: Functions = field(repr=False)

    def __init__(
        self,
        function: Callable[[float, float], float],
        derivative: Callable[[float, float], float],
        *,
        name: str | None = None,
        check: bool = True,
    ) -> None:
        label, functions = checked_functions(function, derivative, name, 2, check)
        if label in NAMES:
            raise ValueError(f"a custom loss needs a name of its own, but {label!r} is fastbp's: pass name=")
        set_fields(self, label=label, functions=functions)

    @property
    def rule(self) -> ScalarFunctions:
        return ScalarFunctions(*self.functions)


# ---------------------------------------------------------------- by name


_ALL: tuple[Loss, ...] = (
    MSE(), MAE(), Huber(), LogCosh(), Quantile(), Poisson(), GaussianNLL(), Hinge(), CategoricalHinge(), CrossEntropy(),
    BinaryCrossEntropy(), BinaryFocal(), CategoricalFocal(), KLDivergence(),
)  # fmt: skip
_LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ALL}
NAMES = tuple(_LOSSES)
NAMES_ELSEWHERE = {
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

# The activations each loss works from the logits of; None: any.
_SOFTMAX, _SIGMOID = ("softmax", "identity"), ("sigmoid", "identity")
LAST_ACTIVATIONS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys((*NAMES, CustomLoss.name)),
    "gaussian_nll": ("identity",),
    "cross_entropy": _SOFTMAX,
    "categorical_focal": _SOFTMAX,
    "kl_divergence": _SOFTMAX,
    "binary_cross_entropy": _SIGMOID,
    "binary_focal": _SIGMOID,
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
        raise TypeError(
            "loss must be a Loss object such as MSE() or CustomLoss(function, derivative), or one of "
            f"{', '.join(NAMES)}, but got {loss!r}: {instead(loss)}"
        )
    if loss not in _LOSSES:
        raise ValueError(
            f"loss must be one of {', '.join(NAMES)}, but got {loss!r}{meant(loss, NAMES, NAMES_ELSEWHERE)}"
        )
    return _LOSSES[loss]


def check_output(loss: str | Loss, last_activation: str | Activation, outputs: int | None = None) -> None:
    """Raise ValueError where the loss cannot be computed from the last layer's activation or number of outputs.

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
        needs += f", or {allowed[1]!r} where its outputs are logits"
    raise ValueError(
        f"loss {loss.name!r} needs a last layer with activation {needs}, but got {activation!r}; change the last "
        f"layer's activation to {allowed[0]!r}, or the loss to {_remedy(activation)}"
    )


def _remedy(activation: str) -> str:
    """The usual loss of such outputs."""
    fused = {"softmax": "'cross_entropy' or ", "sigmoid": "'binary_cross_entropy' or "}
    return fused.get(activation, "") + "'mse'"
