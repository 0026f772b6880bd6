"""Does a network learn in all its layers? `diagnose` measures activations, gradients and updates and says what is ill.

What is measured of a layer, over some rows (n, units):

    activation   rms of its outputs A
    signal       rms of A less its mean over the rows, over the rms of A: what tells one row from another
    gradient     rms of dL/dW, its kernel's, penalties taken off
    passed back  rms of dL/dW over the rms of the layer's input. As dL/dW = A_below' dL/dZ, this stands for dL/dZ, the
                 back-propagated gradient of Glorot and Bengio 2010, figure 7; widths and scales of inputs cancel
    dead         share of units of a ReLU or its like whose |f'(z)| is under 0.001 on every row
    saturated    share of sigmoid and tanh units whose |f'(z)| is under a twentieth of its maximum on most rows
    update       |W_after - W| / |W| of the step that the optimizer would make now

The verdicts, the first that holds:

    exploding    a number that is not finite, a hidden activation above 1000 max(1, rms of X), or a gradient passed back
                 that is more than 1000 times that of the last layer
    dead         three quarters of the units or more
    saturated    three quarters of the units or more
    vanishing    a hidden activation below min(1, rms of X) / 1000, a signal below 1/1000 of that of X, or a gradient
                 passed back that is less than 1/1000 of that of a layer above

Why 1000: Glorot and Bengio 2010 and He et al. 2015 ask that the variances of activations and gradients stay the same
from layer to layer. A layer that multiplies them by c does so to the power of the depth, so what is wrong soon goes
beyond any bound, and what is right stays far from it: He-initialised ReLU layers near 1, Glorot-initialised ones at
2^(-1/2) a layer (1000 after 20 layers; He et al. 2015, figure 3, find 22 layers of those slow and 30 not to learn),
sigmoids at less than 1/4 (1000 after five layers, where Glorot and Bengio 2010, section 3, find them hard to train).
Why three quarters: deep in a sound ReLU network, where rows grow alike, half of the units are off for all of them by
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

from fastbp.diagnosis import inspection
from fastbp.diagnosis.inspection import Node, Output
from fastbp.util.html_table import table
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential

FAR = 1e3  # how much larger or smaller is too much
DEAD_SLOPE = 1e-3
SATURATED_SLOPE = 0.05  # of the largest slope: a tanh beyond ±0.975, a sigmoid outside 0.0127 … 0.9873
TOO_MANY = 0.75  # of the units of a layer
LARGE_UPDATE = 0.1  # of the weights, in one step; about 0.001 is usual
VERDICTS = ("exploding", "dead", "saturated", "vanishing", "healthy")  # worst first
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}
ONE_SIDED = ("relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus")
REMEDIES = {
    "exploding": "start from smaller weights (kernel_initializer 'he_normal' with ReLU, 'glorot_uniform' with tanh), "
    "standardise X and y, lower the learning rate, clip gradients by their global norm, or normalise between layers",
    "dead": "lower the learning rate, start biases at zero and kernels from 'he_normal', standardise X, or use "
    "'leaky_relu', 'elu' or 'gelu', which pass some gradient everywhere",
    "saturated": "start from smaller weights (kernel_initializer 'glorot_uniform'), standardise X, lower the learning "
    "rate, normalise between layers, or use a ReLU-like activation",
    "vanishing": "use 'relu' or its like with kernel_initializer 'he_normal' in place of sigmoid or tanh, normalise "
    "between layers (batch or layer normalisation), add residual connections, or use fewer layers",
}


@dataclass(frozen=True)
class LayerDiagnosis:
    """What `diagnose` finds of one layer; the module says what the figures are. NaN where a layer has no such thing."""

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
    """What `diagnose` finds: loss and rows looked at, the layers, and what ails the network, in words.

    verdict: the worst of the layers' verdicts, of "exploding", "dead", "saturated", "vanishing", "healthy".
    findings: a sentence for each ill, naming its layers, with a remedy. `print` shows all in a table, `plot` draws it.
    """

    loss: float
    rows: int
    layers: tuple[LayerDiagnosis, ...]
    verdict: str
    findings: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether no layer is ill."""
        return self.verdict == "healthy"

    def ill(self, verdict: str) -> tuple[int, ...]:
        """The numbers of the layers of this verdict."""
        return tuple(layer.number for layer in self.layers if layer.verdict == verdict)

    def __str__(self) -> str:
        head = f"{self.verdict}: loss {self.loss:.4g} over {self.rows} rows"
        return "\n".join([head, "", *_table(self.layers), "", *self.findings]).rstrip()

    def _repr_html_(self) -> str:
        """What a notebook shows: the same table, and the findings below it."""
        header, *rows = _cells(self.layers)
        caption = f"{self.verdict}: loss {self.loss:.4g} over {self.rows} rows"
        return table(header, rows, caption=caption, notes=self.findings, left=2)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the figures over the layers: into a file, or returned as a figure. Needs matplotlib."""
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
    """Say which layers of a compiled model learn, and what ails the others.

    That is: vanishing or exploding gradients and activations, dead or saturated units.
    X, y: as for fit; of more than `rows` rows so many are taken, evenly spaced. sample_weight: as for fit, of the loss,
    its gradients and the step; outputs are measured of all rows alike. What is measured, the criteria, their reasons
    and their sources stand at the head of the module `fastbp.diagnosis`. The model is not changed: a twin of it is
    looked at and makes the one step. Gradients are those of `Sequential.gradients`.
    Raises TypeError or ValueError for arguments that cannot be right, RuntimeError where compile was not called.

    >>> from fastbp.initializers import RandomNormal
    >>> model = Sequential([Dense(8, "relu", bias_initializer=RandomNormal(-10.0, 0.1)), Dense(1)], input_size=3)
    >>> model.compile("sgd", "mse")
    >>> diagnosis = diagnose(model, np.eye(3), [1.0, 2.0, 3.0])
    >>> diagnosis.verdict, diagnosis.layers[0].dead
    ('dead', 1.0)

    Glorot and Bengio 2010; He et al. 2015; Goodfellow et al. 2016, sections 8.2.4 and 8.2.5.
    """
    few = inspection.some_weighted_rows(model, X, y, sample_weight, rows)
    twin = inspection.twin(model, width=few.X.shape[1])
    network, weights = inspection.nodes_of(twin), twin.get_weights()
    loss, gradients = twin.require_engine("diagnose").gradients(few.X, few.y, sample_weight=few.weight)
    outputs = inspection.outputs(network, weights, few.X)
    after = _after_a_step(twin, few.X, few.y, few.weight)
    fused = _loss_undoes(twin, network[-1])
    figures = []
    for node, output in zip(network, outputs, strict=True):
        shares = (math.nan, math.nan) if node is network[-1] and fused else _shares(node, output)
        first = slice(node.arrays.start, min(node.arrays.start + 1, node.arrays.stop))  # the kernel, or gamma
        figures.append(_figures(node, output, weights[first], after[first], gradients[first], shares))
    layers = _judged(figures, few.X, loss)
    return Diagnosis(loss, len(few.X), layers, _worst(layers), tuple(_findings(layers, few.X, few.y)))


# ---------------------------------------------------------------- figures


def _rms(a: Array) -> float:
    if a.size == 0:
        return math.nan
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _signal(A: Array) -> float:
    """How much rows differ, as a share of the rms; NaN of a single row."""
    if len(A) < 2:
        return math.nan
    with np.errstate(all="ignore"):
        return _ratio(_rms(A - A.mean(axis=0, dtype=np.float64)), _rms(A))


def _figures(
    node: Node,
    output: Output,
    before: Sequence[Array],
    after: Sequence[Array],
    gradients: Sequence[Array | None],
    shares: tuple[float, float],
) -> LayerDiagnosis:
    """The figures of a node with none or one of its arrays: before a step, after it, and its gradient."""
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
    """The shares of dead and of saturated units; NaN where the activation has no such state."""
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
    """Whether the loss works from the logits of the last activation: that it saturates is then as it should be."""
    from fastbp.reference import LOSSES

    loss: Any = model.loss
    known = LOSSES.get(loss.rule)  # not of a user's own
    return known is not None and last.spec.activation in known.fused


def _after_a_step(twin: Sequential, X: Array, y: Array, weight: Array | None) -> list[Array]:
    """The weights after the optimizer's next update; of steps of accumulation it takes several."""
    from fastbp.training.history import DivergenceWarning

    steps = twin.optimizer.gradient_accumulation_steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        for _ in range(steps):
            twin.train_on_batch(X, y, sample_weight=weight)
    return twin.get_weights()


# ---------------------------------------------------------------- verdicts


def _judged(figures: Sequence[LayerDiagnosis], X: Array, loss: float) -> tuple[LayerDiagnosis, ...]:
    x, x_signal = _rms(X), _signal(X)
    last = next((f for f in reversed(figures) if f.passed_back > 0), None)
    top = math.nan if last is None else last.passed_back
    above, judged = 0.0, []
    for layer in reversed(figures):
        if layer.passed_back > above:
            above = layer.passed_back
        hidden = layer.number < len(figures) - 1
        verdict, reason = _verdict(layer, top, above, x, x_signal, hidden=hidden)
        if not hidden and not math.isfinite(loss):
            verdict, reason = "exploding", "the loss of its outputs is not finite"
        judged.append(replace(layer, verdict=verdict, reason=reason))
    return tuple(reversed(judged))


def _verdict(
    layer: LayerDiagnosis, top: float, above: float, x: float, x_signal: float, *, hidden: bool
) -> tuple[str, str]:
    """The verdict on a layer and its reason; comparisons with NaN are false, so what is not there is not ill."""
    if math.isinf(layer.activation) or math.isnan(layer.activation) or math.isinf(layer.gradient):
        return "exploding", "its numbers are not finite"
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
        return "vanishing", f"the gradient passed back is {share} beside that of a layer above"
    if hidden and layer.activation < min(1.0, x) / FAR:
        return "vanishing", f"activations fade to {layer.activation:.1e}"
    if hidden and layer.signal < min(1.0, x_signal) / FAR:
        return "vanishing", f"outputs for different rows differ by {layer.signal:.1e} of their size only"
    return "healthy", ""


def _worst(layers: Sequence[LayerDiagnosis]) -> str:
    return min((layer.verdict for layer in layers), key=VERDICTS.index)


def _findings(layers: Sequence[LayerDiagnosis], X: Array, y: Array) -> list[str]:
    """A sentence for each ill with its layers and a remedy, then what else is worth knowing."""
    result = []
    for verdict, remedy in REMEDIES.items():
        ill = [layer for layer in layers if layer.verdict == verdict]
        if ill:
            worst = _extreme(ill, verdict)
            where = "" if len(ill) == 1 else f" (layer {worst.number})"
            result.append(f"{verdict}: {_names(ill, len(layers))}; {worst.reason}{where}. Remedy: {remedy}.")
    x = _rms(X)
    if not 1 / FAR <= x <= FAR:
        result.append(f"note: the rms of X is {x:.1e}. Remedy: standardise the features.")
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
    """Layers named by kind: ``layers 0–3, 7 (Dense(8, tanh)), 8 (Dense(1, identity))``, or ``all 9 layers``."""
    if len(some) == total > 1:
        return f"all {total} layers"
    kinds: dict[str, list[int]] = {}
    for layer in some:
        kinds.setdefault(layer.label, []).append(layer.number)
    shown = [f"{_numbers(numbers)} ({label})" for label, numbers in kinds.items()]
    return f"layer{'s' if len(some) > 1 else ''} {', '.join(shown[:6] + ['…'][: len(shown) > 6])}"


def _numbers(numbers: Sequence[int]) -> str:
    """Ascending numbers: ``0–3`` for neighbours, ``1, 3, …, 59`` for those of equal distances, as in equal blocks."""
    parts, i = [], 0
    while i < len(numbers):
        step = numbers[i + 1] - numbers[i] if i + 1 < len(numbers) else 1
        end = i
        while end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        if end == i or (step > 1 and end - i < 3):  # too few to see a distance in: name one, go on from the next
            parts.append(str(numbers[i]))
            i += 1
            continue
        first, last = numbers[i], numbers[end]
        parts.append(f"{first}–{last}" if step == 1 else f"{first}, {first + step}, …, {last}")
        i = end + 1
    return ", ".join(parts[:8] + ["…"][: len(parts) > 8])


# ---------------------------------------------------------------- the table

_COLUMNS = ("activation", "signal", "gradient", "passed_back", "dead", "saturated", "update")
_MOST_LINES = 40  # a longer table leaves out layers like their neighbours
_LONGEST_BLOCK = 12  # of layers that repeat together


def _cells(layers: Sequence[LayerDiagnosis]) -> list[list[str]]:
    """The lines of the table, its header first."""
    head = ["layer", "", *(name.replace("_", " ") for name in _COLUMNS), "verdict"]
    cells, left_out = [head], 0
    for layer in layers:
        if _like_its_neighbours(layers, layer.number):
            left_out += 1
            continue
        if left_out:
            cells.append(["…", f"{left_out} more like these", *[""] * len(_COLUMNS), ""])
            left_out = 0
        figures = [_cell(name, getattr(layer, name)) for name in _COLUMNS]
        cells.append([str(layer.number), layer.label, *figures, layer.verdict])
    return cells


def _table(layers: Sequence[LayerDiagnosis]) -> list[str]:
    cells = _cells(layers)
    wide = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        numbers = [cell.rjust(w) for cell, w in zip(row, wide, strict=True)]
        lines.append("  ".join([numbers[0], row[1].ljust(wide[1]), *numbers[2:-1], row[-1]]).rstrip())
    return lines


def _like_its_neighbours(layers: Sequence[LayerDiagnosis], i: int) -> bool:
    """Whether a long table can do without a layer: it stands amid equal ones, or amid equal blocks."""
    if len(layers) <= _MOST_LINES or i < 4 or i >= len(layers) - 4:
        return False
    return any(_repeats(layers, i, period) for period in range(1, _LONGEST_BLOCK + 1))


def _repeats(layers: Sequence[LayerDiagnosis], i: int, period: int) -> bool:
    """Whether two periods before a layer and two after it are alike."""
    first, last = i - 2 * period, i + 2 * period
    if first < 0 or last >= len(layers):
        return False
    kinds = [(layer.label, layer.verdict) for layer in layers[first : last + 1]]
    return kinds[period:] == kinds[:-period]


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0%}" if name in ("dead", "saturated") else f"{value:.2g}"
