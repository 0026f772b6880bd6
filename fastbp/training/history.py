"""What a fit reports, and the warning of one that diverged."""

from __future__ import annotations

from fastbp.util.html_table import table

_SHOWN = 10  # epochs that a notebook shows


class DivergenceWarning(RuntimeWarning):
    """Training stopped since a loss or a weight would have become infinite or not a number."""


class History:
    """What fit reports.

    history: the loss and the metrics of every epoch by name, those on validation data with ``val_`` before the name;
    epoch: the numbers of the epochs, from 0. As Keras's. stopped: why training was stopped,
    "early_stopping", "time_limit", "diverged", another callback's reason, "stop_training" where it gave none; or None.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.stopped: str | None = None

    def extend(self, first: int, columns: dict[str, list[float]]) -> None:
        """Note down the figures of epochs first, first + 1, …"""
        self.epoch.extend(range(first, first + len(columns["loss"])))
        for name, values in columns.items():
            self.history.setdefault(name, []).extend(values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"

    def _repr_html_(self) -> str:
        """What a notebook shows: some epochs, evenly spaced, the last among them; epochs are counted from 1."""
        n = len(self.epoch)
        columns = {name: values for name, values in self.history.items() if len(values) == n}
        shown = sorted({n - 1 - round(i * (n - 1) / (_SHOWN - 1)) for i in range(_SHOWN)}) if n else []
        rows = [[str(self.epoch[i] + 1), *(f"{values[i]:.4g}" for values in columns.values())] for i in shown]
        stopped = [] if self.stopped is None else [f"stopped: {self.stopped}"]
        caption = f"History of {n} epoch{'s' * (n != 1)}"
        return table(["epoch", *columns], rows, caption=caption, notes=stopped, left=0)
