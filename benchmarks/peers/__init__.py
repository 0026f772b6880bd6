"""The trainers that are compared, one small module each, every one written as its best users would write it.

A peer is made from a workload and a number of threads; it then trains whole passes over the data, in the order they
lie in, without shuffling, and gives its weights. It computes the loss of every step, as a watched training run would.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fastbp.cli.bench import Row, Workload
from fastbp.util.types import Array


class Peer(Protocol):
    """One trainer at work on one workload."""

    def train(self, epochs: int) -> None:
        """Train so many passes over the data, going on from where it is; returns when all work is done."""

    def weights(self) -> list[Array]:
        """The weights now, as an engine's get_weights(): kernel (in, out) and bias (out,), layer by layer."""


class Entry(NamedTuple):
    """A peer's name in tables, the distributions whose versions it names, and the module that makes it.

    environment: variables that its process starts with.
    """

    title: str
    distributions: tuple[str, ...]
    module: str
    environment: tuple[tuple[str, str], ...] = ()


# XLA's newer emitters of fused loops. Without them jaxlib 0.10 took 1.1 to 1.5 times as long on ten of the rows, but
# 0.6 to 0.7 of the time on 24-8-2 (one core, AVX-512). XNNPACK, YNNPACK and oneDNN off, or the old runtime, changed no
# time by more than two runs differ.
FUSIONS_OFF = (("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false"),)

PEERS = {
    "numpy": Entry("NumPy", ("numpy",), "numpy_reference"),
    "sklearn": Entry("scikit-learn", ("scikit-learn",), "sklearn_mlp"),
    "torch": Entry("PyTorch", ("torch",), "torch_eager"),
    "torch-compile": Entry("PyTorch compiled", ("torch",), "torch_compiled"),
    "jax": Entry("JAX", ("jax", "jaxlib"), "jax_scan"),
    "jax-plain": Entry("JAX, fusions off", ("jax", "jaxlib"), "jax_scan", FUSIONS_OFF),
    "fastbp": Entry("fastbp", ("fastbp", "numba"), "fastbp_model"),
}
# Those whose operands are rounded to bfloat16, which `benchmarks.bfloat16` compares.
ROUNDED = {
    "torch-bfloat16": Entry("PyTorch autocast", ("torch",), "torch_autocast"),
    "fastbp-bfloat16": Entry("fastbp bfloat16", ("fastbp", "numba"), "fastbp_bfloat16"),
    "fastbp-bfloat16x3": Entry("fastbp bfloat16x3", ("fastbp", "numba"), "fastbp_bfloat16x3"),
}


def entry(name: str) -> Entry:
    """What stands of the peer in the tables above."""
    return (PEERS | ROUNDED)[name]


def can_train(name: str, row: Row) -> bool:
    """Whether the peer can train such a network.

    scikit-learn has no normalization, residual blocks or dropout, no Huber loss, no AdamW and no clipping, nor two
    outputs for two classes.
    """
    if name != "sklearn":
        return True
    two_classes = row.loss == "cross_entropy" and row.sizes[-1] == 2
    plain = row.kind in ("dense", "csr") and not row.dropout and not row.global_clipnorm
    return plain and row.loss != "huber" and row.optimizer != "adamw" and not two_classes


def make_peer(name: str, work: Workload, n_threads: int) -> Peer:
    """The peer called ``name``, ready to train ``work``; ImportError where its packages are missing."""
    module = importlib.import_module(f"benchmarks.peers.{entry(name).module}")
    make: Callable[[Workload, int], Peer] = module.make
    return make(work, n_threads)


def fastest(makers: Sequence[Callable[[], Peer]]) -> Peer:
    """A fresh peer of the kind that trains a pass in the least time, for those with several good ways."""
    best = makers[0] if len(makers) == 1 else min(makers, key=lambda make: _seconds(make()))
    return best()


def _seconds(peer: Peer) -> float:
    peer.train(1)  # compiles
    times = []
    for _ in range(3):
        start = time.perf_counter()
        peer.train(1)
        times.append(time.perf_counter() - start)
    return min(times)
