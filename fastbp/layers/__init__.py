"""The layers of a network; `graph` translates a list of layers into the nodes that an engine runs."""

from fastbp.layers import activation, dense, dropout, embedding, normalization, residual
from fastbp.layers.activation import *
from fastbp.layers.base import Layer
from fastbp.layers.dense import *
from fastbp.layers.dropout import *
from fastbp.layers.embedding import *
from fastbp.layers.normalization import *
from fastbp.layers.residual import *

__all__ = ["Layer"]
__all__ += activation.__all__
__all__ += dense.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += normalization.__all__
__all__ += residual.__all__
