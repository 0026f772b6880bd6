"""NumPy: fastbp's own reference trainer, matrix products by NumPy's BLAS."""

from __future__ import annotations

from benchmarks.peers import Peer
from benchmarks.rows import layer_specs
from fastbp.cli.bench import Runner, Workload
from fastbp.reference import ReferenceEngine
from fastbp.util.types import Array


class NumpyReference:
    """`fastbp.reference` on one workload; the number of threads is the BLAS's, set by environment variables."""

    def __init__(self, work: Workload) -> None:
        self.engine = ReferenceEngine(work.row.sizes[0], layer_specs(work.row), dtype=work.row.dtype)
        self.runner = Runner(self.engine, work)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            self.runner.train(self.runner.work.steps)

    def weights(self) -> list[Array]:
        """The weights now."""
        return self.engine.get_weights()


def make(work: Workload, n_threads: int) -> Peer:
    """The peer; on CSR, which the reference does not take, with SciPy by hand."""
    if work.row.kind == "csr":
        from benchmarks.peers.numpy_csr import NumpyCsr

        return NumpyCsr(work)
    return NumpyReference(work)
