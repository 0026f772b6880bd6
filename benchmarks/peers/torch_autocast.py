"""PyTorch with products in bfloat16: `torch.autocast` around the loss, eager or compiled, whichever is faster."""

from __future__ import annotations

import torch

from benchmarks.peers import Peer, fastest
from benchmarks.peers.torch_eager import TorchEager
from fastbp.cli.bench import Workload


class TorchAutocast(TorchEager):
    """Weights and the optimizer's states in float32, operands of products rounded by autocast."""

    def __init__(self, work: Workload, n_threads: int, compiled: bool) -> None:
        super().__init__(work, n_threads)
        exact = self.loss_of

        def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return exact(x, y)

        self.loss_of = torch.compile(loss_of, fullgraph=True, dynamic=False) if compiled else loss_of


def make(work: Workload, n_threads: int) -> Peer:
    """The faster of the two."""
    return fastest([lambda: TorchAutocast(work, n_threads, False), lambda: TorchAutocast(work, n_threads, True)])
