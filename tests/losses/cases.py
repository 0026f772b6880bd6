"""Every loss, also with non-default parameters: a last activation, targets, and PyTorch's or Keras's formula.

`formula(a, y, loss)` is the mean loss of a batch in PyTorch, given the outputs of the last layer, before the activation
if the loss is fused with it; y are the targets as the user gives them, labels as int64. Where PyTorch has no such loss,
it is the formula of Keras 3, `keras/src/losses/losses.py`, written in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

import fastbp
from fastbp import losses

Tensor = torch.Tensor
OUTPUTS = 6


class LossCase(NamedTuple):
    """last: the last activation; targets(rng, rows): y; formula: see above."""

    loss: losses.Loss
    last: str
    targets: Callable[[np.random.Generator, int], np.ndarray]
    formula: Callable[[Tensor, Tensor, Any], Tensor]


def numbers(columns: int = OUTPUTS):
    return lambda rng, rows: rng.normal(size=(rows, columns))


def labels(rng, rows):
    return rng.integers(0, OUTPUTS, rows)


def distributions(rng, rows):
    return rng.dirichlet(np.ones(OUTPUTS), rows)


def binary(rng, rows):
    return rng.integers(0, 2, (rows, OUTPUTS)).astype(float)


def signs(rng, rows):
    return 2 * binary(rng, rows) - 1


def counts(rng, rows):
    return rng.poisson(3, (rows, OUTPUTS)).astype(float)


def rows_of(y: Tensor, like: Tensor) -> Tensor:
    return functional.one_hot(y, like.shape[1]).to(like.dtype) if y.ndim == 1 else y


def pinball(a: Tensor, y: Tensor, loss: losses.Quantile) -> Tensor:
    """The loss of Koenker and Bassett; column j q + i is quantile i of target j."""
    columns = []
    for j in range(y.shape[1]):
        for i, tau in enumerate(loss.parameters):
            error = y[:, j] - a[:, j * len(loss.parameters) + i]
            columns.append(torch.maximum(tau * error, (tau - 1) * error))
    return torch.stack(columns).mean()


def gaussian(a: Tensor, y: Tensor, loss: losses.GaussianNLL) -> Tensor:
    means, variances = a[:, : y.shape[1]], a[:, y.shape[1] :].exp()
    return functional.gaussian_nll_loss(means, y, variances, full=loss.full, eps=loss.epsilon)


def hinge(a: Tensor, y: Tensor, loss: losses.Hinge) -> Tensor:
    signs = 2 * y - 1 if bool((y >= 0).all()) else y  # as Keras converts 0 and 1
    return torch.clamp(1 - signs * a, min=0).mean()


def categorical_hinge(a: Tensor, y: Tensor, loss: losses.CategoricalHinge) -> Tensor:
    y = rows_of(y, a)
    return torch.clamp(1 + ((1 - y) * a).max(1).values - (y * a).sum(1), min=0).mean()


def binary_focal(z: Tensor, y: Tensor, loss: losses.BinaryFocal) -> Tensor:
    y = y * (1 - loss.label_smoothing) + 0.5 * loss.label_smoothing
    p = torch.sigmoid(z)
    crossentropy = -(y * torch.log(p) + (1 - y) * torch.log(1 - p))
    value = (1 - (y * p + (1 - y) * (1 - p))) ** loss.gamma * crossentropy
    if loss.apply_class_balancing:
        value = (y * loss.alpha + (1 - y) * (1 - loss.alpha)) * value
    return value.mean()


def categorical_focal(z: Tensor, y: Tensor, loss: losses.CategoricalFocal) -> Tensor:
    y = rows_of(y, z)
    y = y * (1 - loss.label_smoothing) + loss.label_smoothing / z.shape[1]
    p = torch.softmax(z, 1)
    alpha = torch.tensor(loss.parameters[2:], dtype=z.dtype)
    return (alpha * (1 - p) ** loss.gamma * -y * torch.log(p)).sum(1).mean()


def cross_entropy(z: Tensor, y: Tensor, loss: losses.CrossEntropy) -> Tensor:
    return functional.cross_entropy(z, y, label_smoothing=loss.label_smoothing)


def binary_cross_entropy(z: Tensor, y: Tensor, loss: losses.BinaryCrossEntropy) -> Tensor:
    smoothing = loss.label_smoothing
    return functional.binary_cross_entropy_with_logits(z, y * (1 - smoothing) + 0.5 * smoothing)


def divergence(z: Tensor, y: Tensor, loss: losses.KLDivergence) -> Tensor:
    return functional.kl_div(torch.log_softmax(z, 1), rows_of(y, z), reduction="batchmean")


def poisson(a: Tensor, y: Tensor, loss: losses.Poisson) -> Tensor:
    return functional.poisson_nll_loss(a, y, log_input=loss.log_input, eps=loss.epsilon)


PER_CLASS = tuple(0.25 * (j + 1) for j in range(OUTPUTS))
CASES: dict[str, LossCase] = {
    "mse": LossCase(losses.MSE(), "tanh", numbers(), lambda a, y, _: functional.mse_loss(a, y)),
    "mae": LossCase(losses.MAE(), "identity", numbers(), lambda a, y, _: functional.l1_loss(a, y)),
    "mae of softmax": LossCase(losses.MAE(), "softmax", distributions, lambda a, y, _: functional.l1_loss(a, y)),
    "huber": LossCase(
        losses.Huber(), "identity", numbers(), lambda a, y, c: functional.huber_loss(a, y, delta=c.delta)
    ),
    "huber 0.3": LossCase(
        losses.Huber(0.3), "tanh", numbers(), lambda a, y, c: functional.huber_loss(a, y, delta=c.delta)
    ),
    "log_cosh": LossCase(losses.LogCosh(), "identity", numbers(), lambda a, y, _: torch.log(torch.cosh(a - y)).mean()),
    "median": LossCase(losses.Quantile(), "identity", numbers(), pinball),
    "quantiles": LossCase(losses.Quantile((0.1, 0.5, 0.8)), "identity", numbers(2), pinball),
    "poisson": LossCase(losses.Poisson(), "softplus", counts, poisson),
    "poisson log_input": LossCase(losses.Poisson(log_input=True), "identity", counts, poisson),
    "gaussian_nll": LossCase(losses.GaussianNLL(), "identity", numbers(3), gaussian),
    "gaussian_nll full": LossCase(losses.GaussianNLL(full=True, epsilon=1e-3), "identity", numbers(3), gaussian),
    "hinge": LossCase(losses.Hinge(), "tanh", signs, hinge),
    "hinge of 0 and 1": LossCase(losses.Hinge(), "identity", binary, hinge),
    "categorical_hinge": LossCase(losses.CategoricalHinge(), "identity", labels, categorical_hinge),
    "categorical_hinge soft": LossCase(losses.CategoricalHinge(), "softmax", distributions, categorical_hinge),
    "cross_entropy": LossCase(losses.CrossEntropy(), "softmax", labels, cross_entropy),
    "cross_entropy soft": LossCase(losses.CrossEntropy(), "identity", distributions, cross_entropy),
    "cross_entropy smoothed": LossCase(losses.CrossEntropy(0.1), "softmax", labels, cross_entropy),
    "cross_entropy soft smoothed": LossCase(losses.CrossEntropy(0.1), "softmax", distributions, cross_entropy),
    "binary_cross_entropy": LossCase(losses.BinaryCrossEntropy(), "sigmoid", binary, binary_cross_entropy),
    "binary_cross_entropy smoothed": LossCase(losses.BinaryCrossEntropy(0.2), "identity", binary, binary_cross_entropy),
    "binary_focal": LossCase(losses.BinaryFocal(), "sigmoid", binary, binary_focal),
    "binary_focal balanced": LossCase(
        losses.BinaryFocal(1.5, 0.3, apply_class_balancing=True, label_smoothing=0.1), "identity", binary, binary_focal
    ),
    "categorical_focal": LossCase(losses.CategoricalFocal(), "softmax", labels, categorical_focal),
    "categorical_focal per class": LossCase(
        losses.CategoricalFocal(1.5, PER_CLASS, 0.1), "identity", distributions, categorical_focal
    ),
    "kl_divergence": LossCase(losses.KLDivergence(), "softmax", distributions, divergence),
    "kl_divergence labels": LossCase(losses.KLDivergence(), "identity", labels, divergence),
    "custom": LossCase(
        fastbp.CustomLoss(lambda a, y: (a - y) ** 4, lambda a, y: 4 * (a - y) ** 3, name="fourth"),
        "tanh",
        numbers(),
        lambda a, y, _: ((a - y) ** 4).mean(),
    ),
}
LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "tanh": torch.tanh,
    "softplus": lambda z: functional.softplus(z, threshold=700),
    "softmax": lambda z: torch.softmax(z, 1),
}


def torch_loss(case: LossCase, Z: Tensor, y: Tensor) -> Tensor:
    """The loss as a function of what the last layer computes before its activation."""
    fused = case.last in (losses.LAST_ACTIVATIONS[case.loss.name] or ())
    return case.formula(Z if fused else LAST[case.last](Z), y, case.loss)
