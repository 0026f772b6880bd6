"""Losses of numbers and of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fastbp.losses.base import Loss
from fastbp.util.arguments import flag
from fastbp.util.fields import number, numbers, set_fields
from fastbp.util.types import Array


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
