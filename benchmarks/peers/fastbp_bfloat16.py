"""fastbp with operands of bfloat16."""

from __future__ import annotations

from benchmarks.peers.fastbp_model import FastbpModel
from fastbp.cli.bench import Workload


def make(work: Workload, n_threads: int) -> FastbpModel:
    """The peer."""
    return FastbpModel(work, n_threads, compute="bfloat16")
