"""`find_learning_rate`: the loss during a short training with a rising learning rate."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.diagnosis import inspection
from fastbp.training.history import DivergenceWarning
from fastbp.util import arguments
from fastbp.util.arguments import count
from fastbp.util.html_table import table
from fastbp.util.random_streams import Shuffler
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential

SMOOTHING = 0.98  # as in fastai
DIVERGED = 4.0  # times the smallest smoothed loss so far, as in fastai
BEGUN = 0.1  # share of the fall from the highest to the lowest smoothed loss
SKIPPED = 10  # first steps, whose smoothed loss is an average of few batches


@dataclass(frozen=True)
class RateSearch:
    """The result of `find_learning_rate`; `print` summarizes it, `plot` draws it.

    Attributes
    ----------
    rates, losses, smoothed : tuple of float
        Learning rate, loss and smoothed loss of each step.
    steepest : float
        The learning rate at which the smoothed loss falls fastest over the logarithm of the rate, once a tenth of the
        fall is done.
    tenth_of_minimum : float
        A tenth of the learning rate at which the smoothed loss is smallest.
    diverged : bool
        Whether the search ended because the loss grew.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth_of_minimum: float
    diverged: bool

    @property
    def suggestion(self) -> float:
        """The suggested learning rate: the smaller of `steepest` and `tenth_of_minimum`."""
        return min(self.steepest, self.tenth_of_minimum)

    @property
    def flat(self) -> bool:
        """Whether no learning rate lowered the loss by a tenth and more than its noise; the suggestion is void then.

        Compared are the mean of the first steps and the lowest mean of five.
        """
        first = np.array(self.losses[:SKIPPED])
        best = np.convolve(self.losses, np.full(5, 0.2), "valid").min(initial=math.inf)
        noise = 2.5 * first.std() / math.sqrt(5)  # how far the lowest of a hundred means of five lies below the mean
        return not first.mean() - best > max(0.1 * abs(first.mean()), noise)

    def __str__(self) -> str:
        end = "diverged" if self.diverged else "had not diverged: try a higher `high`"
        after = f"after {len(self.rates)} steps, at {self.rates[-1]:.1e}, training {end}"
        if self.flat:
            return (
                "no learning rate helped: the loss hardly falls at any; raise `steps`, scale X and y, or see "
                f"fastbp.diagnose; {after}"
            )
        return (
            f"learning rate {self.suggestion:.1e}: the loss falls fastest at {self.steepest:.1e}, a tenth of the rate "
            f"of its minimum is {self.tenth_of_minimum:.1e}; {after}"
        )

    def _repr_html_(self) -> str:
        """Shown in notebooks: the candidate learning rates and the summary."""
        rows = [
            ("suggestion", f"{self.suggestion:.1e}"),
            ("steepest descent", f"{self.steepest:.1e}"),
            ("a tenth of the minimum", f"{self.tenth_of_minimum:.1e}"),
        ]
        if self.flat:
            rows = [("suggestion", "none")]
        return table(("learning rate", ""), rows, caption="RateSearch", notes=[str(self)])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot the loss over the learning rate, into a file or as a returned figure."""
        from fastbp.plots import plot_learning_rate

        return plot_learning_rate(self, path)


def find_learning_rate(
    model: Sequential,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 128,
    seed: int = 0,
) -> RateSearch:
    """Learning rate range test: train a copy of a compiled model with a learning rate that rises at every step.

    ::

        rate_t = low (high / low)^(t / (steps - 1))        s_t = (1 - β) Σ_i β^(t-i) l_i / (1 - β^(t+1)),  β = 0.98

    l are the losses of the steps, s the smoothed losses. The test stops when s exceeds four times its minimum or is not
    finite.

    Parameters
    ----------
    model : Sequential
        The compiled model. It is not changed; the copy starts from its weights with a fresh optimizer state.
    X, y : array-like
        As in fit.
    low, high : float, default 1e-7, 10
        First and last learning rate, low < high.
    steps : int, default 100
        Number of steps, at least 20.
    batch_size : int, default 128
        Rows per step.
    seed : int, default 0
        Seed of the batches; one seed gives the same result.

    Returns
    -------
    RateSearch
        The result.

    Raises
    ------
    TypeError, ValueError
        For invalid arguments.
    RuntimeError
        If compile was not called.

    References
    ----------
    Smith 2017, section 3.3; smoothing and stopping as in fastai.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(256, 4))
    >>> model = Sequential([Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> search = find_learning_rate(model, X, X.sum(axis=1), batch_size=32)
    >>> 0.001 < search.suggestion < 1
    True
    """
    low, high = _rates(low, high)
    steps, seed = count(steps, "steps", 2 * SKIPPED), count(seed, "seed", 0)
    rows = model.inputs.rows(X, y, None)
    size = arguments.batch_size(batch_size, len(rows.X), given=False)
    twin = inspection.twin(model, width=rows.X.shape[1])
    optimizer, loss = twin.optimizer, twin.loss
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    rising = dataclasses.replace(optimizer, learning_rate=lambda t: rates[np.minimum(t, steps - 1)])
    twin.compile(rising, loss)
    micro_steps = optimizer.gradient_accumulation_steps
    batches = _batches(len(rows.X), size, seed)
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    while len(losses) < steps and not diverged:
        batch_loss, finished = _update(twin, rows.X, rows.y, batches, micro_steps)
        if not math.isfinite(batch_loss):
            diverged = True
            break
        losses.append(batch_loss)
        average = SMOOTHING * average + (1 - SMOOTHING) * batch_loss
        smoothed.append(average / (1 - SMOOTHING ** len(losses)))
        diverged = not finished or smoothed[-1] > DIVERGED * min(smoothed)
    return _found(rates, losses, smoothed, diverged)


def _rates(low: float, high: float) -> tuple[float, float]:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{name} must be a number, got {value!r}: pass a learning rate such as 1e-3")
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be 0 < low < high, got {low!r} and {high!r}: pass e.g. 1e-7 and 10")
    return float(low), float(high)


def _batches(n: int, size: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """An endless stream of batches of equal size, each epoch in a new order."""
    shuffler, epoch = Shuffler(seed, n), 0
    while True:
        order = shuffler.order(epoch)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]
        epoch += 1


def _update(
    twin: Sequential, X: Array, y: Array, batches: Iterator[npt.NDArray[np.int64]], micro_steps: int
) -> tuple[float, bool]:
    """Mean loss of the steps of one update, and whether the weights stayed finite."""
    total = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)
        for _ in range(micro_steps):
            rows = next(batches)
            try:
                total += twin.train_on_batch(X[rows], y[rows])
            except DivergenceWarning:
                return math.nan, False
    return total / micro_steps, True


def _found(rates: Array, losses: list[float], smoothed: list[float], diverged: bool) -> RateSearch:
    """Find the learning rates from the smoothed losses, ignoring the first steps."""
    if len(losses) < 2:
        raise ValueError(
            f"the loss is not finite from step {len(losses) + 1} on, at learning rate {rates[len(losses)]:g}: "
            "lower `low`, scale X and y, or see fastbp.diagnose"
        )
    first = min(SKIPPED, len(losses) // 2)
    s = np.array(smoothed)
    least = first + int(s[first:].argmin())
    # Early slopes are those of single batches: look for the steepest one during the last fall, to the minimum.
    top = float(s[first : least + 1].max())
    begun = first + int(np.flatnonzero(s[first : least + 1] >= top - BEGUN * (top - s[least]))[-1])
    steepest = begun + int(np.gradient(s)[begun : least + 1].argmin())  # rates are evenly spaced in their logarithm
    used = tuple(rates[: len(losses)].tolist())
    return RateSearch(used, tuple(losses), tuple(smoothed), float(rates[steepest]), float(rates[least]) / 10, diverged)
