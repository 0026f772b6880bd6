"""fastbp with two bfloat16 for each operand."""

from __future__ import annotations

from benchmarks.peers.fastbp_model import FastbpModel
from fastbp.cli.bench import Workload


def make(work: Workload, n_threads: int) -> FastbpModel:
    """The peer."""
    return FastbpModel(work, n_threads, compute="bfloat16x3")
