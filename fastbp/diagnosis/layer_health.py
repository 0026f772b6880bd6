"""`diagnose` measures activations, gradients and updates of all layers and reports what keeps them from learning.

Measured per layer, over some rows (n, units):

    activation   rms of its outputs A
    signal       rms of A minus its mean over the rows, relative to the rms of A: how much rows differ
    gradient     rms of dL/dW of its kernel, without penalties
    passed back  rms of dL/dW over the rms of the layer's input. As dL/dW = A_below' dL/dZ, this stands for dL/dZ, the
                 back-propagated gradient of Glorot and Bengio 2010, figure 7; widths and scales of inputs cancel
    dead         share of units of a ReLU-like activation with |f'(z)| below 0.001 on every row
    saturated    share of sigmoid and tanh units with |f'(z)| below a twentieth of its maximum on most rows
    update       |W_after - W| / |W| for the optimizer's next step

The verdict is the first that applies:

    exploding    a value that is not finite, a hidden activation above 1000 max(1, rms of X), or a gradient passed back
                 of more than 1000 times that of the last layer
    dead         at least three quarters of the units
    saturated    at least three quarters of the units
    vanishing    a hidden activation below min(1, rms of X) / 1000, a signal below 1/1000 of that of X, or a gradient
                 passed back of less than 1/1000 of that of a later layer

Why 1000: Glorot and Bengio 2010 and He et al. 2015 require the variances of activations and gradients to stay the same
from layer to layer. A layer that multiplies them by c does so to the power of the depth, so unhealthy networks soon
exceed any bound and healthy ones stay far from it: He-initialized ReLU layers near 1, Glorot-initialized ones at
2^(-1/2) per layer (1000 after 20 layers; He et al. 2015, figure 3, find that 22 such layers train slowly and 30 not at
all), sigmoids below 1/4 (1000 after five layers, which Glorot and Bengio 2010, section 3, find hard to train). Why
three quarters: deep in a healthy ReLU network, where rows become similar, half of the units are off for all of them by
symmetry, and tanh units of a network trained to a loss near 0 end up saturated, often more than half of them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import NAMES, STEEPEST
from fastbp.diagnosis import inspection, layer_table
from fastbp.diagnosis.inspection import Node, Output
from fastbp.util.html_table import table
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential

FAR = 1e3  # factor that counts as exploding or vanishing
DEAD_SLOPE = 1e-3
SATURATED_SLOPE = 0.05  # of the largest slope: a tanh beyond ±0.975, a sigmoid outside 0.0127 … 0.9873
TOO_MANY = 0.75  # of the units of a layer
LARGE_UPDATE = 0.1  # of the weights, in one step; about 0.001 is usual
VERDICTS = ("exploding", "dead", "saturated", "vanishing", "healthy")  # worst first
ONE_SIDED = {*NAMES} - {*STEEPEST, "identity", "softmax"}
REMEDIES = {
    "exploding": "use smaller initial weights (kernel_initializer 'he_normal' with ReLU, 'glorot_uniform' with tanh), "
    "standardize X and y, lower the learning rate, clip gradients by their global norm, or normalize between layers",
    "dead": "lower the learning rate, start biases at zero and kernels from 'he_normal', standardize X, or use "
    "'leaky_relu', 'elu' or 'gelu', which pass some gradient everywhere",
    "saturated": "use smaller initial weights (kernel_initializer 'glorot_uniform'), standardize X, lower the learning "
    "rate, normalize between layers, or use a ReLU-like activation",
    "vanishing": "use 'relu' or its like with kernel_initializer 'he_normal' in place of sigmoid or tanh, normalize "
    "between layers (batch or layer normalization), add residual connections, or use fewer layers",
}


@dataclass(frozen=True)
class LayerDiagnosis:
    """Measurements and verdict of one layer; `fastbp.diagnosis.layer_health` defines them. NaN if not applicable.

    Attributes
    ----------
    number : int
        Index of the layer, from the input.
    label : str
        Its description, such as "Dense(1, identity)".
    activation, signal, gradient, passed_back, dead, saturated, update : float
        The measurements.
    verdict : str
        "exploding", "dead", "saturated", "vanishing" or "healthy".
    reason : str
        The reason for the verdict.
    """

    number: int
    label: str
    activation: float
    signal: float
    gradient: float
    passed_back: float
    dead: float
    saturated: float
    update: float
    verdict: str = "healthy"
    reason: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`; `print` shows a table, `plot` draws it.

    Attributes
    ----------
    loss : float
        The loss over the rows.
    rows : int
        Number of rows used.
    layers : tuple of LayerDiagnosis
        The layers.
    verdict : str
        The worst verdict of any layer: "exploding", "dead", "saturated", "vanishing" or "healthy".
    findings : tuple of str
        A sentence for each problem, with its layers and a remedy.
    """

    loss: float
    rows: int
    layers: tuple[LayerDiagnosis, ...]
    verdict: str
    findings: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether all layers are healthy."""
        return self.verdict == "healthy"

    def ill(self, verdict: str) -> tuple[int, ...]:
        """Numbers of the layers with this verdict."""
        return tuple(layer.number for layer in self.layers if layer.verdict == verdict)

    def __str__(self) -> str:
        head = f"{self.verdict}: loss {self.loss:.4g} over {self.rows} rows"
        return "\n".join([head, "", *layer_table.lines(self.layers), "", *self.findings]).rstrip()

    def _repr_html_(self) -> str:
        """Shown in notebooks: the same table and findings."""
        header, *rows = layer_table.cells(self.layers)
        caption = f"{self.verdict}: loss {self.loss:.4g} over {self.rows} rows"
        return table(header, rows, caption=caption, notes=self.findings, left=2)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot the measurements by layer, into a file or as a returned figure; see `fastbp.plots.plot_diagnosis`."""
        from fastbp.plots import plot_diagnosis

        return plot_diagnosis(self, path)


def diagnose(
    model: Sequential,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    rows: int = 256,
) -> Diagnosis:
    """Find layers of a compiled model that do not learn, and the reason.

    Detects vanishing and exploding gradients and activations, and dead and saturated units. The module
    `fastbp.diagnosis.layer_health` documents the measurements and the criteria.

    Parameters
    ----------
    model : Sequential
        The compiled model. It is not changed: a copy makes the one training step that is needed.
    X, y : array-like
        As in fit.
    sample_weight : array-like, optional
        As in fit; applies to the loss, its gradients and the step. Outputs are measured over all rows alike.
    rows : int, default 256
        Maximum number of rows; of more, evenly spaced ones are used.

    Returns
    -------
    Diagnosis
        The result. Gradients are those of `Sequential.gradients`.

    Raises
    ------
    TypeError, ValueError
        For invalid arguments.
    RuntimeError
        If compile was not called.

    References
    ----------
    Glorot and Bengio 2010; He et al. 2015; Goodfellow et al. 2016, sections 8.2.4 and 8.2.5.

    Examples
    --------
    >>> from fastbp.initializers import RandomNormal
    >>> model = Sequential([Dense(8, "relu", bias_initializer=RandomNormal(-10.0, 0.1)), Dense(1)], input_size=3)
    >>> model.compile("sgd", "mse")
    >>> diagnosis = diagnose(model, np.eye(3), [1.0, 2.0, 3.0])
    >>> diagnosis.verdict, diagnosis.layers[0].dead
    ('dead', 1.0)
    """
    few = inspection.some_weighted_rows(model, X, y, sample_weight, rows)
    twin = inspection.twin(model, width=few.X.shape[1])
    network, weights = inspection.nodes_of(twin), twin.get_weights()
    loss, gradients = twin.require_engine("diagnose").gradients(few.X, few.y, sample_weight=few.weight)
    outputs = inspection.outputs(network, weights, few.X)
    after = _after_a_step(twin, few.X, few.y, few.weight)
    fused = _loss_undoes(twin, network[-1])
    measured = []
    for node, output in zip(network, outputs, strict=True):
        shares = (math.nan, math.nan) if node is network[-1] and fused else _shares(node, output)
        first = slice(node.arrays.start, min(node.arrays.start + 1, node.arrays.stop))  # the kernel, or gamma
        measured.append(_measurements(node, output, weights[first], after[first], gradients[first], shares))
    layers = _with_verdicts(measured, few.X, loss)
    return Diagnosis(loss, len(few.X), layers, _worst(layers), tuple(_findings(layers, few.X, few.y)))


# ---------------------------------------------------------------- measurements


def _rms(a: Array) -> float:
    if a.size == 0:
        return math.nan
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _signal(A: Array) -> float:
    """How much rows differ, relative to the rms; NaN for a single row."""
    if len(A) < 2:
        return math.nan
    with np.errstate(all="ignore"):
        return _ratio(_rms(A - A.mean(axis=0, dtype=np.float64)), _rms(A))


def _measurements(
    node: Node,
    output: Output,
    before: Sequence[Array],
    after: Sequence[Array],
    gradients: Sequence[Array | None],
    shares: tuple[float, float],
) -> LayerDiagnosis:
    """Measurements of a node and at most one of its arrays: before a step, after it, and its gradient."""
    gradient = passed_back = update = math.nan
    for W, W_after, dW in zip(before, after, gradients, strict=True):
        update = _ratio(_rms(W_after.astype(np.float64) - W), _rms(W))
        penalty = node.spec.l1 * np.sign(W) + 2 * node.spec.l2 * W
        gradient = math.nan if dW is None else _rms(dW - penalty)
        if node.spec.kind == "dense" and node.spec.trainable:
            passed_back = _ratio(gradient, _rms(output.below))
    return LayerDiagnosis(
        node.number, node.label, _rms(output.A), _signal(output.A), gradient, passed_back, *shares, update
    )


def _shares(node: Node, output: Output) -> tuple[float, float]:
    """Shares of dead and of saturated units; NaN if not applicable to the activation."""
    from fastbp.reference import ACTIVATIONS

    name = node.spec.activation
    if name not in STEEPEST and name not in ONE_SIDED:
        return math.nan, math.nan
    with np.errstate(all="ignore"):
        slope = np.abs(ACTIVATIONS[name].derivative(output.Z, output.A, node.spec.alpha).astype(np.float64))
    if name in ONE_SIDED:
        return float((slope < DEAD_SLOPE).all(axis=0).mean()), math.nan
    flat = slope < SATURATED_SLOPE * STEEPEST[name]
    return math.nan, float((flat.mean(axis=0) > 0.5).mean())


def _loss_undoes(model: Sequential, last: Node) -> bool:
    """Whether the loss is computed from the logits of the last activation, whose saturation then does no harm."""
    from fastbp.reference import LOSSES

    loss: Any = model.loss
    reference_loss = LOSSES.get(loss.rule)  # None for a custom loss
    return reference_loss is not None and last.spec.activation in reference_loss.fused


def _after_a_step(twin: Sequential, X: Array, y: Array, weight: Array | None) -> list[Array]:
    """The weights after the optimizer's next update, which takes several steps with gradient accumulation."""
    from fastbp.training.history import DivergenceWarning

    steps = twin.optimizer.gradient_accumulation_steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        for _ in range(steps):
            twin.train_on_batch(X, y, sample_weight=weight)
    return twin.get_weights()


# ---------------------------------------------------------------- verdicts


def _with_verdicts(measured: Sequence[LayerDiagnosis], X: Array, loss: float) -> tuple[LayerDiagnosis, ...]:
    x, x_signal = _rms(X), _signal(X)
    last = next((f for f in reversed(measured) if f.passed_back > 0), None)
    top = math.nan if last is None else last.passed_back
    above, result = 0.0, []
    for layer in reversed(measured):
        if layer.passed_back > above:
            above = layer.passed_back
        hidden = layer.number < len(measured) - 1
        verdict, reason = _verdict(layer, top, above, x, x_signal, hidden=hidden)
        if not hidden and not math.isfinite(loss):
            verdict, reason = "exploding", "the loss is not finite"
        result.append(replace(layer, verdict=verdict, reason=reason))
    return tuple(reversed(result))


def _verdict(
    layer: LayerDiagnosis, top: float, above: float, x: float, x_signal: float, *, hidden: bool
) -> tuple[str, str]:
    """Verdict and reason for a layer; comparisons with NaN are false, so that missing measurements are healthy."""
    if math.isinf(layer.activation) or math.isnan(layer.activation) or math.isinf(layer.gradient):
        return "exploding", "its values are not finite"
    if hidden and layer.activation > FAR * max(1.0, x):
        return "exploding", f"activations grow to {layer.activation:.1e}"
    if layer.passed_back > FAR * top:
        return "exploding", f"the gradient passed back is {layer.passed_back / top:.1e} times that of the last layer"
    if layer.dead >= TOO_MANY:
        return "dead", f"{layer.dead:.0%} of the units pass no gradient for any row"
    if layer.saturated >= TOO_MANY:
        return "saturated", f"{layer.saturated:.0%} of the units are saturated on most rows"
    if layer.passed_back < above / FAR:
        share = f"{layer.passed_back / above:.1e}" if layer.passed_back else "nothing"
        return "vanishing", f"the gradient passed back is {share} of that of a later layer"
    if hidden and layer.activation < min(1.0, x) / FAR:
        return "vanishing", f"activations fade to {layer.activation:.1e}"
    if hidden and layer.signal < min(1.0, x_signal) / FAR:
        return "vanishing", f"outputs of different rows differ by only {layer.signal:.1e} of their size"
    return "healthy", ""


def _worst(layers: Sequence[LayerDiagnosis]) -> str:
    return min((layer.verdict for layer in layers), key=VERDICTS.index)


def _findings(layers: Sequence[LayerDiagnosis], X: Array, y: Array) -> list[str]:
    """A sentence for each problem with its layers and a remedy, then further notes."""
    result = []
    for verdict, remedy in REMEDIES.items():
        ill = [layer for layer in layers if layer.verdict == verdict]
        if ill:
            worst = _extreme(ill, verdict)
            where = "" if len(ill) == 1 else f" (layer {worst.number})"
            result.append(f"{verdict}: {_names(ill, len(layers))}; {worst.reason}{where}. Remedy: {remedy}.")
    x = _rms(X)
    if not 1 / FAR <= x <= FAR:
        result.append(f"note: the rms of X is {x:.1e}. Remedy: standardize the features.")
    large = [layer for layer in layers if layer.update > LARGE_UPDATE]
    if large:
        most = max(layer.update for layer in large)
        result.append(
            f"note: the next update changes the kernels of {_names(large, len(layers))} by up to {most:.0%} of their "
            "size, where about 0.1% is usual. Remedy: lower the learning rate."
        )
    return result


def _extreme(ill: Sequence[LayerDiagnosis], verdict: str) -> LayerDiagnosis:
    if verdict == "vanishing":
        return min(ill, key=lambda layer: layer.passed_back if layer.passed_back >= 0 else math.inf)
    key = {"exploding": "activation", "dead": "dead", "saturated": "saturated"}[verdict]
    return max(ill, key=lambda layer: math.inf if math.isnan(getattr(layer, key)) else getattr(layer, key))


def _names(some: Sequence[LayerDiagnosis], total: int) -> str:
    """Layers grouped by kind: ``layers 0–3, 7 (Dense(8, tanh)), 8 (Dense(1, identity))``, or ``all 9 layers``."""
    if len(some) == total > 1:
        return f"all {total} layers"
    kinds: dict[str, list[int]] = {}
    for layer in some:
        kinds.setdefault(layer.label, []).append(layer.number)
    shown = [f"{_numbers(numbers)} ({label})" for label, numbers in kinds.items()]
    return f"layer{'s' if len(some) > 1 else ''} {', '.join(shown[:6] + ['…'][: len(shown) > 6])}"


def _numbers(numbers: Sequence[int]) -> str:
    """Ascending numbers: ``0–3`` for consecutive ones, ``1, 3, …, 59`` for equal steps, as in repeated blocks."""
    parts, i = [], 0
    while i < len(numbers):
        step = numbers[i + 1] - numbers[i] if i + 1 < len(numbers) else 1
        end = i
        while end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        if end == i or (step > 1 and end - i < 3):  # too few for a regular step: list one, continue with the next
            parts.append(str(numbers[i]))
            i += 1
            continue
        first, last = numbers[i], numbers[end]
        parts.append(f"{first}–{last}" if step == 1 else f"{first}, {first + step}, …, {last}")
        i = end + 1
    return ", ".join(parts[:8] + ["…"][: len(parts) > 8])
