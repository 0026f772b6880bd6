"""A multilayer perceptron trained by backpropagation in plain NumPy: a text to read, and an oracle for tests.

It follows Goodfellow, Bengio and Courville, *Deep Learning* (2016), chapter 6, with one difference in notation: each
sample is a row, so weights have the shape (in, out) and products read from left to right. For an array T, dT denotes
the derivative of the loss L with respect to T::

    forward pass, algorithm 6.3     Z = A_below W + b        A = f(Z)        A_below of the first layer is X
    loss, section 6.2               L = sum_i s_i l_i        l_i: loss of row i; s_i = w_i / sum w, unweighted 1/rows
    backward pass, algorithm 6.4    dZ = dA f'(Z)            dW = A_below' dZ
                                    db = column sums of dZ   dA_below = dZ W'
    update, chapter 8               W <- W - step(dW)

A network is a graph of nodes: fully connected layers as above, standalone activations, normalizations, dropout, noise,
the sums of residual blocks, and the embedding of category codes. Everything is computed in the dtype of the arrays.
Arguments are not checked here; callers do that.

Read the modules in this order: `activations`, `losses`, `normalization`, `random`, `network` (forward and backward
pass), `optimizers`, `layerwise`, `updates` and `engine` (the training loop).
"""

from fastbp.reference.activations import ACTIVATIONS, ActivationFunctions
from fastbp.reference.engine import ReferenceEngine
from fastbp.reference.losses import LOSSES, LossFunctions
from fastbp.reference.network import Layer, backward, forward
from fastbp.reference.optimizers import RULES, update
from fastbp.spec import LayerSpec, Report, ScalarFunctions, UpdateSpec

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "RULES",
    "ActivationFunctions",
    "Layer",
    "LayerSpec",
    "LossFunctions",
    "ReferenceEngine",
    "Report",
    "ScalarFunctions",
    "UpdateSpec",
    "backward",
    "forward",
    "update",
]
