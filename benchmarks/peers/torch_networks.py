"""The networks of the rows as PyTorch modules, and their weights in and out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.rows import EPSILON, MOMENTUM
from fastbp.cli.bench import Row
from fastbp.util.types import Array

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class ResidualBlock(nn.Module):
    """relu(x + W2 relu(W1 x + b1) + b2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs of the block."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def make_network(row: Row, weights: Sequence[Array]) -> nn.Sequential:
    """The row's network in training mode, started from these weights; the last layer gives logits."""
    *widths, outputs = row.sizes
    layers: list[nn.Module] = []
    if row.kind == "residual":
        layers = [nn.Linear(*widths[:2]), *(ResidualBlock(width) for width in widths[2::2])]
    else:
        for n_in, n_out in itertools.pairwise(widths):
            layers += _hidden(row, n_in, n_out)
    network = nn.Sequential(*layers, nn.Linear(widths[-1], outputs)).to(getattr(torch, row.dtype))
    for place, array in zip(_arrays(network), weights, strict=True):
        place.copy_(torch.from_numpy(array))
    return network


def _hidden(row: Row, n_in: int, n_out: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(n_in, n_out, bias=row.kind != "batch_norm")]
    if row.kind == "batch_norm":
        layers.append(nn.BatchNorm1d(n_out, eps=EPSILON, momentum=MOMENTUM))
    layers.append(ACTIVATIONS[row.activation]())
    return layers + [nn.Dropout(row.dropout)] * (row.dropout > 0)


def read_weights(network: nn.Module) -> list[Array]:
    """Kernel (in, out) and bias; gamma, beta, moving mean and variance: layer by layer."""
    return [array.numpy().copy() for array in _arrays(network)]


def _arrays(network: nn.Module) -> Iterator[torch.Tensor]:
    """The tensors themselves, kernels as (in, out), without a gradient."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            yield module.weight.detach().T
            if module.bias is not None:
                yield module.bias.detach()
        elif isinstance(module, nn.BatchNorm1d):
            yield from (module.weight.detach(), module.bias.detach(), module.running_mean, module.running_var)
