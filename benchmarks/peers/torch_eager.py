"""PyTorch, eager: modules, autograd, a fused optimizer, batches cut beforehand as views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from fastbp.bench import LEARNING_RATES, Workload
from fastbp.datasets import Array


def make_network(weights: Sequence[Array]) -> nn.Sequential:
    """Linear layers with ReLU between them, started from these weights (kernel, bias, …); the last gives logits."""
    layers: list[nn.Module] = []
    for W, b in zip(weights[0::2], weights[1::2], strict=True):
        linear = nn.Linear(*W.shape)
        linear.weight.data = torch.from_numpy(W.T.copy())
        linear.bias.data = torch.from_numpy(b.copy())
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_optimizer(work: Workload, network: nn.Module) -> torch.optim.Optimizer:
    """SGD or Adam in one fused pass over all parameters."""
    kind = torch.optim.SGD if work.row.optimizer == "sgd" else torch.optim.Adam
    return kind(network.parameters(), lr=LEARNING_RATES[work.row.optimizer], fused=True)


def prepare(
    work: Workload, n_threads: int
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], Callable[..., torch.Tensor]]:
    """Set the threads, let denormals flush to zero, and give the batches and the loss function."""
    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    batches = zip(*(torch.from_numpy(a).split(work.row.batch) for a in (work.X, work.y)), strict=True)
    return list(batches), nn.functional.mse_loss if work.row.loss == "mse" else nn.functional.cross_entropy


def read_weights(network: nn.Module) -> list[Array]:
    """Kernel (in, out) and bias, layer by layer."""
    return [p.detach().numpy().T.copy() for p in network.parameters()]


class TorchEager:
    """The loop of PyTorch's own tutorials."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        self.batches, self.loss = prepare(work, n_threads)
        self.network = make_network(work.weights)
        self.optimizer = make_optimizer(work, self.network)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            for x, y in self.batches:
                self.optimizer.zero_grad(set_to_none=True)
                self.loss(self.network(x), y).backward()
                self.optimizer.step()

    def weights(self) -> list[Array]:
        """The weights now."""
        return read_weights(self.network)


def make(work: Workload, n_threads: int) -> TorchEager:
    """The peer."""
    return TorchEager(work, n_threads)
