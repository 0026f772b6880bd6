"""Ask workers in turn and gather their times: what `benchmarks.compare` stands on."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import can_train
from benchmarks.rows import checked_row, row_flops
from fastbp.cli.bench import SETTLE_SECONDS, Row

ROOT = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# Of the change that the checked steps make to the loss. Most agree to 1e-6; but where a ReLU's input is rounded to the
# other side of zero in one library, Adam's first step, which is as large for any gradient, moves thousands of weights
# the other way: 1 % after two steps of the deepest net, 16 % after four.
TOLERANCE = 0.02
CHECKED_STEPS = 2  # 50 with batches of one row


class WorkerError(RuntimeError):
    """A worker answered with an error or died."""


class WorkerProcess:
    """A `benchmarks.worker` process; use as a context, which ends it.

    All workers see the same cores: the first ``n_threads`` that this process may use. Another version's worker is
    started from the folder it lies in, with more environment variables.
    """

    def __init__(
        self, name: str, n_threads: int, *, folder: Path = ROOT, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        cores = sorted(os.sched_getaffinity(0))[:n_threads]
        start = f"import os; os.sched_setaffinity(0, {cores}); from benchmarks.worker import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, name, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(n_threads)), **(environment or {})},
        )

    def ask(self, question: str, **fields: Any) -> dict[str, Any]:
        """The answer; WorkerError with what the worker said where it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"ask": question, **fields}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"the worker died: {self._last_words()}"}
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        return (self.process.communicate()[1] or "").strip()[-500:]

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


class Plan(NamedTuple):
    """How long to measure: rounds, seconds a turn, threads."""

    rounds: int = 9
    seconds: float = 0.3
    threads: int = 2


class Check(NamedTuple):
    """The loss before and, by peer, after the checked steps."""

    start: float
    losses: dict[str, float]

    @property
    def disagreement(self) -> float:
        """The largest difference from the first peer's loss, as a share of the change it saw."""
        reference = next(iter(self.losses.values()))
        worst: float = np.max([abs(loss - reference) for loss in self.losses.values()])  # NaN where there is one
        return worst / abs(self.start - reference)


class Measurement(NamedTuple):
    """One row: seconds a step by peer, round after round; what the check found; the machine's peak in FLOP/s."""

    row: Row
    times: dict[str, list[float]]
    checked: Check
    peak: float

    def microseconds(self, name: str) -> float:
        """The median time of a step."""
        return statistics.median(self.times[name]) * 1e6

    def speed(self, name: str) -> float:
        """FLOP/s at the median time."""
        return row_flops(self.row) / (self.microseconds(name) * 1e-6)

    @property
    def best_peer(self) -> str | None:
        """The peer with the least median time; None where fastbp ran alone."""
        peers = [name for name in self.times if name != "fastbp"]
        return min(peers, key=self.microseconds) if peers else None

    def ratios(self) -> list[float]:
        """The best peer's time over fastbp's in each round: neighbours in time, so that slow spells cancel."""
        best = self.best_peer
        if best is None or "fastbp" not in self.times:
            return []
        return [peer / ours for peer, ours in zip(self.times[best], self.times["fastbp"], strict=True)]


def measure(row: Row, names: list[str], plan: Plan) -> Measurement:
    """Check that all peers, fastbp the last, take the same steps, then time them in turn; WorkerError where not.

    Peers that cannot train such a network are left out.
    """
    names = [name for name in names if can_train(name, row)]
    workers = [WorkerProcess(name, plan.threads) for name in names]
    try:
        fields = {"row": row._asdict()}
        checked = check_losses(workers, row)
        epochs = [worker.ask("prepare", seconds=plan.seconds, **fields)["epochs"] for worker in workers]
        peak = workers[-1].ask("peak")["flops"]
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(plan.rounds):
            for worker, n in zip(workers, epochs, strict=True):
                time.sleep(SETTLE_SECONDS)
                times[worker.name].append(worker.ask("train", epochs=n)["seconds"])
        return Measurement(row, times, checked, peak)
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)


def check_losses(workers: list[WorkerProcess], row: Row, tolerance: float = TOLERANCE) -> Check:
    """The loss of each after a few steps from the same weights; WorkerError where they disagree by more than the
    tolerance.

    Dropout is left out: every library draws masks of its own.
    """
    steps = 50 if row.batch == 1 else CHECKED_STEPS
    answers = {worker.name: worker.ask("check", row=checked_row(row)._asdict(), max_steps=steps) for worker in workers}
    start = float(answers[workers[0].name]["start"])
    check = Check(start, {name: float(answer["loss"]) for name, answer in answers.items()})
    if not check.disagreement <= tolerance:
        found = ", ".join(f"{name} {loss:.8g}" for name, loss in check.losses.items())
        raise WorkerError(f"{row.title}: the losses after {steps} steps disagree, from {check.start:.8g} to {found}")
    return check
