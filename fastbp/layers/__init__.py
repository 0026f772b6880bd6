"""The layers of a network; `graph` translates a list of layers into the nodes that an engine runs."""

from fastbp.layers.activation import Activation
from fastbp.layers.base import Layer as Layer
from fastbp.layers.dense import Dense
from fastbp.layers.dropout import Dropout, GaussianNoise
from fastbp.layers.embedding import ColumnEmbedding
from fastbp.layers.normalization import BatchNorm, LayerNorm
from fastbp.layers.parametric import ParametricActivation, PReLU
from fastbp.layers.periodic import PeriodicEmbedding
from fastbp.layers.piecewise import PiecewiseLinearEmbedding
from fastbp.layers.residual import Residual
from fastbp.layers.scale import Scale

__all__ = [
    "Activation",
    "BatchNorm",
    "ColumnEmbedding",
    "Dense",
    "Dropout",
    "GaussianNoise",
    "LayerNorm",
    "PReLU",
    "ParametricActivation",
    "PeriodicEmbedding",
    "PiecewiseLinearEmbedding",
    "Residual",
    "Scale",
]
