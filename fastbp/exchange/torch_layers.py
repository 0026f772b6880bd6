"""PyTorch modules for layers that PyTorch does not have; imported only when needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fastbp.spec import Waves


class Residual(nn.Module):
    """A = X P + F(X), with F the layers and P a Linear without bias; A = X + F(X) without a projection."""

    def __init__(self, layers: nn.Sequential, projection: nn.Linear | None = None):
        super().__init__()
        self.layers = layers
        self.projection = projection

    def forward(self, X: Any) -> Any:
        """Compute A."""
        below = X if self.projection is None else self.projection(X)
        return below + self.layers(X)


class ColumnEmbedding(nn.Module):
    """A = [columns without codes, E1[X[:, c1]], E2[X[:, c2]], …], tables of (column, codes, dimension)."""

    def __init__(self, in_features: int, tables: Iterable[tuple[int, int, int]], dtype: Any = None):
        super().__init__()
        self.in_features, self.tables = in_features, tuple(tables)
        self.columns = [column for column, *_ in self.tables]
        self.passing = [column for column in range(in_features) if column not in self.columns]
        self.embeddings = nn.ModuleList(nn.Embedding(codes, width, dtype=dtype) for _, codes, width in self.tables)

    def forward(self, X: Any) -> Any:
        """Compute A."""
        pairs = zip(self.columns, self.embeddings, strict=True)
        return torch.cat([X[:, self.passing], *(table(X[:, column].long()) for column, table in pairs)], 1)


class Scale(nn.Module):
    """A = X * weight."""

    def __init__(self, num_features: int, dtype: Any = None):
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features, dtype=dtype))

    def forward(self, X: Any) -> Any:
        """Compute A."""
        return X * self.weight

    def extra_repr(self) -> str:
        """Shown in repr."""
        return f"{self.num_features}"


class ParametricActivation(nn.Module):
    """A = X + weight (f(X) - X), f a module."""

    def __init__(self, num_features: int, function: nn.Module, dtype: Any = None):
        super().__init__()
        self.num_features, self.function = num_features, function
        self.weight = nn.Parameter(torch.ones(num_features, dtype=dtype))

    def forward(self, X: Any) -> Any:
        """Compute A."""
        return X + self.weight * (self.function(X) - X)

    def extra_repr(self) -> str:
        """Shown in repr."""
        return f"{self.num_features}"


class PeriodicEmbedding(nn.Module):
    """A = [other columns, what the waves of each column become]; the arguments are those of `fastbp.spec.Waves`."""

    def __init__(self, in_features: int, columns: Iterable[int], frequencies: int, outputs: int, phases: bool,
                 keeps: bool, relu: bool, dtype: Any = None):  # fmt: skip
        super().__init__()
        self.in_features = in_features
        self.waves = (tuple(columns), frequencies, outputs, phases, keeps, relu)
        self.passing = [column for column in range(in_features) if column not in self.waves[0]]
        for name, shape in Waves(*self.waves).shapes.items():
            setattr(self, name, nn.Parameter(torch.empty(shape, dtype=dtype)))

    def forward(self, X: Any) -> Any:
        """Compute A."""
        columns, _, outputs, phases, keeps, relu = self.waves
        x = X[:, columns].unsqueeze(2)
        turns = x * self.frequencies + (self.phases / (2 * torch.pi) if phases else 0)
        angles = 2 * torch.pi * (turns - turns.round())
        waves = angles.cos() if phases else torch.cat([angles.cos(), angles.sin()], 2)
        kernel = self.kernel.reshape(len(columns), -1, outputs)
        Z = torch.einsum("rch,cho->rco", waves, kernel) + self.bias
        Z = torch.cat([Z.relu() if relu else Z, *[x] * keeps], 2)
        return torch.cat([X[:, self.passing], Z.flatten(1)], 1)


class PiecewiseLinearEmbedding(nn.Module):
    """A = [other columns, x w + b + e V of each column]; tables: w, b and V of each column, one row each."""

    def __init__(self, in_features: int, columns: Iterable[int], edges: Iterable[Iterable[float]], dimension: int,
                 dtype: Any = None):  # fmt: skip
        super().__init__()
        self.in_features, self.columns, self.dimension = in_features, tuple(columns), dimension
        self.edges = tuple(map(tuple, edges))
        self.passing = [column for column in range(in_features) if column not in self.columns]
        self.tables = nn.ModuleList(nn.Embedding(len(own) + 1, dimension, dtype=dtype) for own in self.edges)

    def forward(self, X: Any) -> Any:
        """Compute A."""
        parts = [X[:, self.passing]]
        for column, own, table in zip(self.columns, self.edges, self.tables, strict=True):
            x, edges = X[:, column].contiguous(), torch.as_tensor(own, dtype=X.dtype, device=X.device)
            w, b, V = table.weight[0], table.weight[1], table.weight[2:]
            k = (torch.searchsorted(edges[:-1].contiguous(), x, right=True) - 1).clamp(0)
            share = ((x - edges[k]) / (edges[k + 1] - edges[k])).unsqueeze(1)
            parts.append(x.unsqueeze(1) * w + b + (V.cumsum(0) - V)[k] + share * V[k])
        return torch.cat(parts, 1)


class GaussianNoise(nn.Module):
    """A = X + stddev N in training, with N standard normal; A = X in evaluation."""

    def __init__(self, stddev: float):
        super().__init__()
        self.stddev = stddev

    def forward(self, X: Any) -> Any:
        """Compute A."""
        return X + self.stddev * torch.randn_like(X) if self.training else X

    def extra_repr(self) -> str:
        """Shown in repr."""
        return f"stddev={self.stddev:g}"
