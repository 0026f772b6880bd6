"""Losses for regression, quantiles, counts and Gaussian outputs."""

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

    ::

        L = 1/(n k) sum_ij (a_ij - y_ij)^2

    a: outputs (n, k) of any last activation. y: targets (n, k).

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 5.1.4.

    Examples
    --------
    >>> model = Sequential([Dense(8, "relu"), Dense(1)])
    >>> model.compile("adam", MSE())
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2)
    """

    name: ClassVar[str] = "mse"


@final
@dataclass(frozen=True)
class MAE(Loss):
    """Mean absolute error over all elements.

    ::

        L = 1/(n k) sum_ij |a_ij - y_ij|

    a: outputs (n, k) of any last activation. y: targets (n, k).

    Notes
    -----
    Same as PyTorch's L1Loss. The derivative at a = y is 0.

    Examples
    --------
    >>> MAE().name
    'mae'
    """

    name: ClassVar[str] = "mae"


@final
@dataclass(frozen=True)
class Huber(Loss):
    """Huber loss, quadratic for small errors and linear for large ones; mean over all elements.

    ::

        L = 1/(n k) sum_ij h(a_ij - y_ij)        h(e) = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2)

    a: outputs (n, k) of any last activation. y: targets (n, k).

    Parameters
    ----------
    delta : float, optional
        Error at which the loss becomes linear, above 0.

    Raises
    ------
    ValueError
        If delta is not positive.
    TypeError
        If delta is not a number.

    Notes
    -----
    Same as PyTorch's HuberLoss and Keras's Huber.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
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
    """Logarithm of the hyperbolic cosine of the error, a smooth relative of the Huber loss; mean over all elements.

    ::

        L = 1/(n k) sum_ij log cosh(a_ij - y_ij)

    a: outputs (n, k) of any last activation. y: targets (n, k).

    Notes
    -----
    Same as Keras's LogCosh; small errors keep full precision.

    Examples
    --------
    >>> LogCosh().name
    'log_cosh'
    """

    name: ClassVar[str] = "log_cosh"


@final
@dataclass(frozen=True)
class Quantile(Loss):
    """Quantile ("pinball") loss, minimized by a quantile of y given x; mean over all outputs.

    ::

        L = 1/(n k q) sum over rows, targets j and quantiles i of max(tau_i e, (tau_i - 1) e)
        e = y_j - a_(j q + i)

    a: outputs (n, k q) of any last activation, the q quantiles of a target side by side. y: targets (n, k). With two
    targets and quantiles (0.1, 0.9) the columns are y_0 at 0.1, y_0 at 0.9, y_1 at 0.1, y_1 at 0.9.

    Parameters
    ----------
    quantiles : float or tuple of float, optional
        One quantile or several, each between 0 and 1.

    Raises
    ------
    ValueError
        If a quantile is not between 0 and 1.
    TypeError
        If a quantile is not a number.

    Notes
    -----
    Metrics are computed from the quantile nearest to 0.5. The derivative at a = y is 0.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", 1978.

    Examples
    --------
    >>> Quantile((0.1, 0.5, 0.9)).columns(outputs=3)
    1
    >>> model = Sequential([Dense(8, "relu"), Dense(3)])
    >>> model.compile("adam", Quantile((0.1, 0.5, 0.9)))
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2)
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
                f"quantile needs {q} outputs for each target, one for each quantile, but the last layer has {outputs}: "
                f"use {q} units for each column of y"
            )
        return outputs // q

    def predictions(self, outputs: Array) -> Array:
        nearest = min(range(len(self.parameters)), key=lambda i: abs(self.parameters[i] - 0.5))
        return outputs[:, nearest :: len(self.parameters)]


@final
@dataclass(frozen=True)
class Poisson(Loss):
    """Negative log-likelihood of counts under Poisson distributions, without the term log y!; mean over all elements.

    ::

        L = 1/(n k) sum_ij (a_ij - y_ij log(a_ij + epsilon))
        L = 1/(n k) sum_ij (exp(a_ij) - y_ij a_ij)                  with log_input

    a: Poisson rates (n, k), kept positive by a last activation such as "softplus"; with log_input their logarithms,
    from a last activation "identity". y: counts (n, k), at least 0; they may be fractions.

    Parameters
    ----------
    log_input : bool, optional
        Whether the outputs are logarithms of the rates.
    epsilon : float, optional
        Keeps the logarithm finite, above 0.

    Raises
    ------
    ValueError
        If epsilon is not positive.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Like PyTorch's PoissonNLLLoss, except that log_input is False by default, as in Keras's Poisson.

    Examples
    --------
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
    """Negative log-likelihood of targets under Gaussians whose means and variances the network predicts.

    ::

        L = 1/(n k) sum_ij (s_ij + (m_ij - y_ij)^2 exp(-s_ij)) / 2        s = log of the variance

    Outputs (n, 2 k) of activation "identity": k means m, then k log-variances s, so ``exp(s / 2)`` of the predictions
    is a standard deviation. y: targets (n, k).

    Parameters
    ----------
    full : bool, optional
        Whether to add the constant log(2 pi) / 2.
    epsilon : float, optional
        Lower bound on the variances, above 0. As in PyTorch, the derivative ignores it.

    Raises
    ------
    ValueError
        If epsilon is not positive.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Metrics are computed from the means. The value is that of PyTorch's GaussianNLLLoss(m, y, exp(s)), which takes
    variances. Here a layer has a single activation, which cannot make half of its outputs positive, and the logarithm
    neither overflows nor divides by 0 (Kendall and Gal 2017, section 3.2).

    References
    ----------
    Nix and Weigend, "Estimating the mean and variance of the target probability distribution", 1994.

    Examples
    --------
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
                f"layer has {outputs}: use two units for each column of y"
            )
        return outputs // 2

    def predictions(self, outputs: Array) -> Array:
        return outputs[:, : outputs.shape[1] // 2]
