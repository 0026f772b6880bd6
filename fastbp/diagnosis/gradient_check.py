"""`check_gradients` compares gradients with finite differences of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.diagnosis import inspection
from fastbp.diagnosis.inspection import Node
from fastbp.spec import KINDS
from fastbp.util.arguments import count
from fastbp.util.html_table import table
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential

# A central difference has an error of h^2 |L'''| / 6 and a rounding error of u |L| / h; the sum is smallest for h of
# order u^(1/3) times the scale on which the loss bends: that of the weight, or of its array if the weight is near 0;
# for weights added to the outputs of a layer, that of the outputs.
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
ROUNDING = 32 * float(np.finfo(np.float64).eps)  # relative rounding error of a loss: a sum over rows and units
TOLERANCE = 1e-5
SMALLER_STEPS = (0.03, 0.001)  # tried in turn: a small enough step stays on one side of a kink


@dataclass(frozen=True)
class ArrayCheck:
    """The check of one array of weights.

    Attributes
    ----------
    name : str
        Name of the array, such as "0.kernel".
    shape : tuple of int
        Its shape.
    checked : int
        Number of weights checked.
    error : float
        Largest relative error among the weights without a kink.
    index : tuple of int
        Where that error is.
    gradient, difference : float
        The gradient and the finite difference there.
    kinks : int
        Number of weights with a kink of the loss within the step.
    too_small : int
        Number of weights whose gradient is hidden by rounding in differences of the loss.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    error: float
    index: tuple[int, ...]
    gradient: float
    difference: float
    kinks: int
    too_small: int


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradients`; `print` shows a table.

    Attributes
    ----------
    arrays : tuple of ArrayCheck
        The check of each array of weights.
    loss : float
        The loss.
    tolerance : float
        The relative error up to which gradients count as correct.
    """

    arrays: tuple[ArrayCheck, ...]
    loss: float
    tolerance: float

    @property
    def error(self) -> float:
        """The largest relative error."""
        return float(np.max([0.0, *(array.error for array in self.arrays)]))  # NaN stays NaN

    @property
    def ok(self) -> bool:
        """Whether no error exceeds the tolerance."""
        return all(array.error <= self.tolerance for array in self.arrays)

    def raise_if_wrong(self) -> None:
        """Raise AssertionError with the table unless `ok`."""
        if not self.ok:
            raise AssertionError(f"gradients and differences of the loss disagree\n{self}")

    def _cells(self) -> list[tuple[str, ...]]:
        """Rows of the table, starting with the header."""
        rows: list[tuple[str, ...]] = [("array", "shape", "checked", "kinks", "too small", "error", "")]
        for array in self.arrays:
            shape, verdict = " × ".join(map(str, array.shape)), "ok" if array.error <= self.tolerance else "WRONG"
            counts = (str(array.checked), str(array.kinks), str(array.too_small))
            rows.append((array.name, shape, *counts, f"{array.error:.1e}", verdict))
        return rows

    def _head(self) -> str:
        word = "correct" if self.ok else "WRONG"
        return f"gradients {word}: largest relative error {self.error:.1e}, tolerance {self.tolerance:.0e}"

    def _notes(self) -> list[str]:
        """What is wrong, and what the columns mean."""
        lines = []
        for array in self.arrays:
            if array.error > self.tolerance:
                lines.append(
                    f"{array.name}{list(array.index)}: gradient {array.gradient:.10g}, "
                    f"difference {array.difference:.10g}"
                )
        if any(array.kinks for array in self.arrays):
            lines.append(
                "kinks: weights at which the loss is not smooth (ReLU at 0, |W| of L1): the one-sided differences "
                "disagree, and the gradient lies between them; they do not count as errors"
            )
        if any(array.too_small for array in self.arrays):
            lines.append("too small: gradients hidden by rounding errors in differences of the loss")
        return lines

    def __str__(self) -> str:
        rows = self._cells()
        wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [self._head(), ""]
        for row in rows:
            name, shape, *numbers, _ = (cell.rjust(w) for cell, w in zip(row, wide, strict=True))
            lines.append("  ".join([row[0].ljust(len(name)), row[1].ljust(len(shape)), *numbers, row[-1]]).rstrip())
        return "\n".join([*lines, *self._notes()])

    def _repr_html_(self) -> str:
        """Shown in notebooks: the same table and notes."""
        header, *rows = self._cells()
        return table(header, rows, caption=self._head(), notes=self._notes(), left=2)


class Point(NamedTuple):
    """The loss near one weight, by steps of h: left, right and central difference quotients, and their uncertainty."""

    left: float
    right: float
    central: float
    noise: float


def check_gradients(
    model: Sequential, X: npt.ArrayLike, y: npt.ArrayLike, *, n: int = 10, seed: int = 0, rows: int = 64,
    tolerance: float = TOLERANCE,
) -> GradientCheck:  # fmt: skip
    """Compare the gradients of a compiled model with central differences of its loss, in float64.

    ::

        dL/dw ≈ (L(w + h) - L(w - h)) / 2h        h = u^(1/3) scale, u = 2^-52

    scale is the larger of abs(w) and the rms of its array; for biases, gamma and beta, of their layer's outputs
    instead. The relative error is abs(gradient - difference) over the larger of the two or, if both are smaller, over
    the smallest value that rounding lets a difference resolve at this tolerance.

    Parameters
    ----------
    model : Sequential
        The compiled model. It is not changed: the check uses a float64 copy. L is the training loss, with penalties and
        the dropout masks of the next step.
    X, y : array-like
        As in fit.
    n : int, default 10
        Weights checked per array: the one with the largest gradient, and random ones. Each costs two passes through the
        network, or a few more near a kink.
    seed : int, default 0
        Seed for choosing the weights.
    rows : int, default 64
        Maximum number of rows; of more, evenly spaced ones are used.
    tolerance : float, default 1e-5
        The relative error up to which ``ok`` is true.

    Returns
    -------
    GradientCheck
        The result.

    Raises
    ------
    TypeError, ValueError
        For invalid arguments.
    RuntimeError
        If compile was not called.

    Notes
    -----
    Like PyTorch's gradcheck, which checks every element and does not handle kinks.

    References
    ----------
    Goodfellow et al. 2016, section 11.5; Press et al. 2007, section 5.7.

    Examples
    --------
    >>> model = Sequential([Dense(5, "tanh"), Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> check_gradients(model, np.eye(3), [1.0, 2.0, 3.0]).ok
    True
    """
    n, seed = count(n, "n"), count(seed, "seed", 0)
    X, y = inspection.some_rows(model, X, y, rows)
    twin = inspection.twin(model, width=X.shape[1], dtype="float64")
    X, y = inspection.some_rows(twin, X, y, rows)
    engine, network = twin.require_engine("check_gradients"), inspection.nodes_of(twin)
    gradients = engine.gradients(X, y)[1]
    weights = twin.get_weights()
    outputs = inspection.outputs(network, weights, X)
    rng = np.random.default_rng(seed)

    # Without layers that behave differently in training, evaluate gives the same loss for an eighth of the work.
    steady = not any(KINDS[node.spec.kind].batch or KINDS[node.spec.kind].random for node in network)

    def loss_now() -> float:
        engine.set_weights(weights)
        return float(engine.evaluate(X, y) if steady else engine.gradients(X, y)[0])

    loss, checks = loss_now(), []
    for node, name, position in _trainable(network):
        W, dW = weights[position], gradients[position]
        assert dW is not None  # only moving statistics have none
        places = _sample(dW, n, rng)
        scale = _rms(W if W.ndim > 1 else outputs[node].Z)
        checks.append(_check(name, W, dW, places, scale, loss, loss_now, tolerance))
    return GradientCheck(tuple(checks), loss, tolerance)


def _trainable(network: list[Node]) -> list[tuple[int, str, int]]:
    """Node, name and position in get_weights() of every array with a gradient: no moving statistics, nothing frozen."""
    return [
        (node.number, f"{node.name}.{name}", position)
        for node in network
        if node.spec.trainable
        for name, position in zip(node.spec.parameters, range(node.arrays.start, node.arrays.stop), strict=False)
    ]


def _rms(a: Array) -> float:
    return float(np.sqrt(np.mean(np.square(a)))) or 1.0


def _sample(dW: Array, n: int, rng: np.random.Generator) -> list[int]:
    """Positions in the flat array: that of the largest gradient, and others drawn without replacement."""
    largest = int(np.abs(dW).argmax())
    drawn = rng.permutation(dW.size)[:n] if dW.size < 1 << 16 else rng.choice(dW.size, n, replace=False, shuffle=False)
    return list(dict.fromkeys([largest, *drawn.tolist()]))[:n]


def _check(
    name: str, W: Array, dW: Array, places: list[int], scale: float, loss: float, loss_now: Callable[[], float],
    tolerance: float,
) -> ArrayCheck:  # fmt: skip
    flat, kinks, too_small = W.reshape(-1), 0, 0
    worst = (-1.0, places[0], 0.0, 0.0)
    for place in places:
        gradient = float(dW.reshape(-1)[place])
        h = STEP * max(scale, abs(float(flat[place])))
        point = _differences(flat, place, h, loss, loss_now)
        error = _error(gradient, point, tolerance)
        for factor in SMALLER_STEPS:
            # Smaller steps suffer more from rounding: use one only if its noise is below the discrepancy.
            if error <= tolerance or point.noise / factor > abs(gradient - point.central) / 2:
                break
            closer = _error(gradient, _differences(flat, place, h * factor, loss, loss_now), tolerance)
            error = closer if closer <= tolerance else error
        too_small += max(abs(gradient), abs(point.central)) < point.noise
        if error > tolerance and _between(gradient, point, tolerance):
            kinks += 1
        elif error > worst[0] or np.isnan(error):
            worst = (error, place, gradient, point.central)
    error, place, gradient, difference = worst
    index = tuple(int(i) for i in np.unravel_index(place, W.shape))
    return ArrayCheck(name, W.shape, len(places), max(error, 0.0), index, gradient, difference, kinks, too_small)


def _differences(flat: Array, place: int, h: float, loss: float, loss_now: Callable[[], float]) -> Point:
    """Differences of the loss with respect to the weight flat[place], which is restored afterwards."""
    w = float(flat[place])
    above, below = w + h, w - h  # rounded, so divide by the actual distance
    try:
        flat[place] = above
        loss_above = loss_now()
        flat[place] = below
        loss_below = loss_now()
    finally:
        flat[place] = w
    central = (loss_above - loss_below) / (above - below)
    noise = ROUNDING * max(abs(loss), abs(loss_above), abs(loss_below)) / h
    return Point((loss - loss_below) / (w - below), (loss_above - loss) / (above - w), central, noise)


def _error(gradient: float, point: Point, tolerance: float) -> float:
    """abs(gradient - difference) relative to the larger, or to the size below which rounding hides such an error."""
    size = max(abs(gradient), abs(point.central), point.noise / tolerance)
    return abs(gradient - point.central) / size if size else 0.0


def _between(gradient: float, point: Point, tolerance: float) -> bool:
    """Whether the one-sided slopes disagree and the gradient lies between them: at a kink any such value is right."""
    low, high = sorted((point.left, point.right))
    slack = tolerance * max(abs(low), abs(high)) + point.noise
    return high - low > 2 * slack and low - slack <= gradient <= high + slack
