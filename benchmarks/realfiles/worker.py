"""A process that trains on one file after another; it is ended and started again where a file takes too long."""

from __future__ import annotations

import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from benchmarks.realfiles.trial import Trial, try_file


class Worker:
    """The process, which has the engine compiled before the first file's time begins; use as a context."""

    def __init__(self) -> None:
        self._start()

    def ask(self, path: Path, target: str, epochs: int | None, seconds: float) -> Trial:
        """What became of a file within the time limit."""
        self._connection.send((path, target, epochs))
        try:
            if self._connection.poll(seconds):
                trial: Trial = self._connection.recv()
                return trial
            ending, message = "late", f"took more than {seconds:g} s"
        except EOFError:
            ending, message = "died", "the process that trained ended"
        self._end()
        self._start()
        return Trial(ending, message)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()  # ready

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def serve(connection: Connection) -> None:
    """Answer questions until the process is ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "first.csv")
        path.write_text("x,y\n" + "".join(f"{i},{i % 7}.5\n" for i in range(50)), encoding="utf-8")
        try_file(path, "y", 1)
    connection.send("ready")
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        connection.send(try_file(*question))
