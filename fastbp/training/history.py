"""`History`, which fit returns, and the warning for diverged training."""

from __future__ import annotations

from fastbp.util.html_table import table

_SHOWN = 10  # epochs that a notebook shows


class DivergenceWarning(RuntimeWarning):
    """Training stopped because the loss or a weight would have become infinite or NaN."""


class History:
    """Loss and metrics of every epoch, as returned by fit.

    Attributes
    ----------
    history : dict of str to list of float
        Loss and metrics of every epoch by name; those on validation data have the prefix ``val_``.
    epoch : list of int
        Epoch numbers, from 0.
    stopped : str or None
        Why training stopped early: "early_stopping", "time_limit", "diverged", another callback's reason, or
        "stop_training" if it gave none.

    Notes
    -----
    As Keras's History.

    Examples
    --------
    >>> model = Sequential([Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=3, validation_split=0.5)
    >>> history.epoch, list(history.history)
    ([0, 1, 2], ['loss', 'val_loss'])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.stopped: str | None = None

    def extend(self, first: int, columns: dict[str, list[float]]) -> None:
        """Append the values of epochs first, first + 1, …"""
        self.epoch.extend(range(first, first + len(columns["loss"])))
        for name, values in columns.items():
            self.history.setdefault(name, []).extend(values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"

    def _repr_html_(self) -> str:
        """Shown in notebooks: a selection of evenly spaced epochs including the last, counted from 1."""
        n = len(self.epoch)
        columns = {name: values for name, values in self.history.items() if len(values) == n}
        shown = sorted({n - 1 - round(i * (n - 1) / (_SHOWN - 1)) for i in range(_SHOWN)}) if n else []
        rows = [[str(self.epoch[i] + 1), *(f"{values[i]:.4g}" for values in columns.values())] for i in shown]
        stopped = [] if self.stopped is None else [f"stopped: {self.stopped}"]
        caption = f"History of {n} epoch{'s' * (n != 1)}"
        return table(["epoch", *columns], rows, caption=caption, notes=stopped, left=0)
