"""NumPy: fastbp's own reference trainer, matrix products by NumPy's BLAS."""

from __future__ import annotations

from fastbp.bench import Runner, Workload, specs
from fastbp.datasets import Array
from fastbp.reference import LayerSpec, ReferenceEngine


class NumpyReference:
    """`fastbp.reference` on one workload; the number of threads is the BLAS's, set by environment variables."""

    def __init__(self, work: Workload) -> None:
        layers = [LayerSpec(units, activation) for units, activation in specs(work.row)]
        self.engine = ReferenceEngine(work.row.sizes[0], layers)
        self.runner = Runner(self.engine, work)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            self.runner.train(self.runner.work.steps)

    def weights(self) -> list[Array]:
        """The weights now."""
        return self.engine.get_weights()


def make(work: Workload, n_threads: int) -> NumpyReference:
    """The peer."""
    return NumpyReference(work)
