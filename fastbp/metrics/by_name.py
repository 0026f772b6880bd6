"""Metrics by name, which of two values is better, and the states of several metrics at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbp import losses
from fastbp.metrics import classes, numbers, scores
from fastbp.metrics.base import SIGMOID, SOFTMAX, Metric
from fastbp.util.arguments import did_you_mean, remedy_for
from fastbp.util.public_classes import public_classes
from fastbp.util.types import Array

_METRICS: dict[str, Metric] = {kind.name: kind() for kind in public_classes(classes, numbers, scores)}
NAMES = tuple(_METRICS)
# What else is in the epoch logs: the loss, and the score of the estimators.
_OTHERS = {"loss": "min", "score": "max", "acc": "max", "error": "min", "f1_score": "max", "r2_score": "max"}
_DIRECTIONS = dict.fromkeys(losses.NAMES, "min") | {m.name: str(m.direction) for m in _METRICS.values()} | _OTHERS


def direction_of(name: str, metrics: Iterable[Metric] = ()) -> str | None:
    """Whether a larger value of a metric in the epoch logs is better, "max", or a smaller one, "min"; None if unknown.

    metrics: those of the model, whose own direction holds. Names may start with "val_", and with words of one's own.

    >>> direction_of("val_loss"), direction_of("val_score"), direction_of("val_my_accuracy"), direction_of("kappa")
    ('min', 'max', 'max', None)
    """
    base = name.removeprefix("val_")
    for metric in metrics:
        if metric.name == base and metric.direction is not None:
            return metric.direction
    words = base.split("_")
    ends = ("_".join(words[start:]) for start in range(len(words)))  # the longest first
    found = next((end for end in ends if end in _DIRECTIONS and (end == base or end != "score")), None)
    return None if found is None else _DIRECTIONS[found]


def check_outputs(metrics: Iterable[Metric], loss: str, activation: str) -> None:
    """Raise ValueError for a metric that needs probabilities where the outputs are none."""
    given = activation
    if activation == "identity" and loss in (*SIGMOID, *SOFTMAX):
        given = "sigmoid" if loss in SIGMOID else "softmax"
    for metric in metrics:
        if metric.last_activations is not None and given not in metric.last_activations:
            raise ValueError(
                f"metric {metric.name!r} needs probabilities, from a last layer with activation "
                f"{' or '.join(map(repr, metric.last_activations))}, got {activation!r} with the loss {loss!r}: "
                "change the last layer's activation, or leave the metric out"
            )


def get(metric: str | Metric) -> Metric:
    """Return the metric of that name; Metric objects are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("top_k_accuracy")
    TopKAccuracy(k=5)
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(
            f"metric must be a Metric object or one of {', '.join(NAMES)}, got {metric!r}: {remedy_for(metric)}"
        )
    if metric not in _METRICS:
        meant = did_you_mean(metric, NAMES)
        raise ValueError(f"metric must be one of {', '.join(NAMES)}, got {metric!r}{meant}")
    return _METRICS[metric]


def get_all(metrics: Any) -> tuple[Metric, ...]:
    """The metrics of a list of names or objects; each name may occur once."""
    if isinstance(metrics, str | Metric):
        metrics = (metrics,)
    if not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a list of names or Metric objects, got {metrics!r}: pass ['accuracy']")
    result = tuple(get(metric) for metric in metrics)
    names = [metric.name for metric in result]
    if len(set(names)) < len(names):
        raise ValueError(f"metrics must each be named once, got {', '.join(names)}: remove the duplicates")
    return result


def probabilities(outputs: Array, loss: str, activation: str) -> Array:
    """What metrics are computed from: the outputs, or their probabilities where the outputs are logits."""
    if activation != "identity" or loss not in (*SIGMOID, *SOFTMAX):
        return outputs
    logits = outputs.astype(np.float64)
    if loss in SIGMOID:
        return np.exp(-np.logaddexp(0, -logits))  # sigmoid
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def add_all(
    metrics: Iterable[Metric],
    states: Iterable[Any],
    y: Array,
    outputs: Array,
    weight: Array | None,
    loss: str,
    activation: str,
) -> list[Any]:
    """The states of all metrics after one more block of rows."""
    predictions = probabilities(outputs, loss, activation)
    weights = np.ones(len(outputs)) if weight is None else weight.astype(np.float64)
    return [m.add(state, y, predictions, weights, loss) for m, state in zip(metrics, states, strict=True)]
