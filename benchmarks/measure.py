"""Ask workers in turn and gather their times: what `benchmarks.compare` stands on."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import can_train, entry
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


def cores_of(n_threads: int) -> list[int]:
    """The cores that workers of so many threads keep to."""
    return sorted(os.sched_getaffinity(0))[:n_threads]


@contextmanager
def busy_cores(n_threads: int) -> Iterator[None]:
    """An endless loop in Python on each of the workers' cores, of the same priority, until the context ends."""
    loop = "while os.getppid() == {parent}: sum(range(100_000))"  # ends with this process, however that ends
    start = "import os; os.sched_setaffinity(0, [{core}])\n" + loop
    processes = [
        subprocess.Popen([sys.executable, "-c", start.format(core=core, parent=os.getpid())])
        for core in cores_of(n_threads)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class WorkerProcess:
    """A `benchmarks.worker` process; use as a context, which ends it.

    All workers see the same cores: the first ``n_threads`` that this process may use. The peer's entry may name
    environment variables. Another version's worker is started from the folder it lies in, with more of them.
    """

    def __init__(
        self, name: str, n_threads: int, *, folder: Path = ROOT, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        variables = {**dict.fromkeys(THREAD_VARIABLES, str(n_threads)), **dict(entry(name).environment)}
        cores = cores_of(n_threads)
        start = f"import os; os.sched_setaffinity(0, {cores}); from benchmarks.worker import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, name, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **variables, **(environment or {})},
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
    """How long to measure: rounds, seconds a turn, threads, and whether the cores are busy with something else."""

    rounds: int = 9
    seconds: float = 0.3
    threads: int = 2
    busy: bool = False


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
    """One row: seconds a step by peer, round after round; what the check found; the machine's peak, measured between
    rounds, in FLOP/s; by peer the resident bytes at the highest, more than before it was made."""

    row: Row
    times: dict[str, list[float]]
    checked: Check
    peaks: list[float]
    memory: dict[str, int | None]

    @property
    def peak(self) -> float:
        """The largest: a measurement halves where the system puts two threads on one core."""
        return max(self.peaks)

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


def peaks(measured: Sequence[Measurement]) -> dict[str, float]:
    """The machine's peak in FLOP/s, by dtype, for all rows of a run: the largest that was measured.

    A step cannot exceed the peak, so one that is faster than all measurements of it is a better measurement.
    """
    found: dict[str, float] = {}
    for m in measured:
        found[m.row.dtype] = max(found.get(m.row.dtype, 0.0), m.peak, *(m.speed(name) for name in m.times))
    return found


def measure(row: Row, names: list[str], plan: Plan) -> Measurement:
    """Check that all peers, fastbp the last, take the same steps, then time them in turn; WorkerError where not.

    Peers that cannot train such a network are left out.
    """
    names = [name for name in names if can_train(name, row)]
    workers = [WorkerProcess(name, plan.threads) for name in names]
    try:
        checked = check_losses(workers, row)
        epochs = [worker.ask("prepare", seconds=plan.seconds, row=row_fields(row))["epochs"] for worker in workers]
        found = [workers[-1].ask("peak", dtype=row.dtype)["flops"]]
        times: dict[str, list[float]] = {name: [] for name in names}
        with busy_cores(plan.threads) if plan.busy else nullcontext():
            for _ in range(plan.rounds):
                for worker, n in zip(workers, epochs, strict=True):
                    time.sleep(SETTLE_SECONDS)
                    times[worker.name].append(worker.ask("train", epochs=n)["seconds"])
                found.append(workers[-1].ask("peak", dtype=row.dtype)["flops"])
        memory = {worker.name: worker.ask("memory")["bytes"] for worker in workers}
        return Measurement(row, times, checked, found, memory)
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)


def row_fields(row: Row) -> dict[str, Any]:
    """The row for a worker: only what differs from the defaults, since an older version's worker knows fewer fields."""
    return {name: value for name, value in row._asdict().items() if value != Row._field_defaults.get(name)}


def check_losses(workers: list[WorkerProcess], row: Row, tolerance: float = TOLERANCE) -> Check:
    """The loss of each after a few steps from the same weights; WorkerError where they disagree by more than the
    tolerance.

    Dropout is left out: every library draws masks of its own.
    """
    steps = 50 if row.batch == 1 else CHECKED_STEPS
    fields = {"row": row_fields(checked_row(row)), "max_steps": steps, "epochs": steps if row.full_batch else 1}
    answers = {worker.name: worker.ask("check", **fields) for worker in workers}
    start = float(answers[workers[0].name]["start"])
    check = Check(start, {name: float(answer["loss"]) for name, answer in answers.items()})
    if not check.disagreement <= tolerance:
        found = ", ".join(f"{name} {loss:.8g}" for name, loss in check.losses.items())
        raise WorkerError(f"{row.title}: the losses after {steps} steps disagree, from {check.start:.8g} to {found}")
    return check
