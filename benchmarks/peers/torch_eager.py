"""PyTorch, eager: modules, autograd, a fused optimizer, batches cut beforehand as views."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.peers import Peer, fastest
from benchmarks.peers.torch_networks import make_network, read_weights
from fastbp.cli.bench import LEARNING_RATES, WEIGHT_DECAY, Workload
from fastbp.util.types import Array

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "cross_entropy": nn.functional.cross_entropy, "mse": nn.functional.mse_loss, "huber": nn.functional.huber_loss
}  # fmt: skip


def make_optimizer(work: Workload, network: nn.Module) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW in one fused pass over all parameters."""
    rate = LEARNING_RATES[work.row.optimizer]
    if work.row.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, fused=True)
    kind = torch.optim.SGD if work.row.optimizer == "sgd" else torch.optim.Adam
    return kind(network.parameters(), lr=rate, fused=True)


def prepare(
    work: Workload, n_threads: int
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], Callable[..., torch.Tensor]]:
    """Set the threads, let denormals flush to zero, and give the batches and the loss function."""
    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    batches = zip(*(torch.from_numpy(a).split(work.row.batch) for a in (work.X, work.y)), strict=True)
    return list(batches), LOSSES[work.row.loss]


class TorchEager:
    """The loop of PyTorch's own tutorials."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        self.batches, loss = prepare(work, n_threads)
        network = self.network = make_network(work.row, work.weights)
        self.parameters = list(network.parameters())
        self.optimizer = make_optimizer(work, network)
        self.clipnorm = work.row.global_clipnorm

        def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(network(x), y)

        self.loss_of: Callable[..., torch.Tensor] = loss_of

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            for x, y in self.batches:
                self.optimizer.zero_grad(set_to_none=True)
                self.loss_of(x, y).backward()
                if self.clipnorm:
                    nn.utils.clip_grad_norm_(self.parameters, self.clipnorm, foreach=True)
                self.optimizer.step()

    def weights(self) -> list[Array]:
        """The weights now."""
        return read_weights(self.network)


def make(work: Workload, n_threads: int) -> Peer:
    """The peer; on CSR the fastest of three ways."""
    if work.row.kind == "csr":
        from benchmarks.peers import torch_csr

        return fastest(torch_csr.eager_ways(work, n_threads))
    return TorchEager(work, n_threads)
