"""The two layers of fastbp that PyTorch has not, as modules of it; imported only where PyTorch is wanted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
    """A = X P + F(X), F the layers and P the projection, a Linear without bias; without one, A = X + F(X)."""

    def __init__(self, layers: nn.Sequential, projection: nn.Linear | None = None):
        super().__init__()
        self.layers = layers
        self.projection = projection

    def forward(self, X: Any) -> Any:
        """A for X."""
        below = X if self.projection is None else self.projection(X)
        return below + self.layers(X)


class GaussianNoise(nn.Module):
    """A = X + stddev N with N standard normal, in training; elsewhere A = X."""

    def __init__(self, stddev: float):
        super().__init__()
        self.stddev = stddev

    def forward(self, X: Any) -> Any:
        """A for X."""
        return X + self.stddev * torch.randn_like(X) if self.training else X

    def extra_repr(self) -> str:
        """Its argument."""
        return f"stddev={self.stddev:g}"
