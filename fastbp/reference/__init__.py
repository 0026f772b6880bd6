"""A multilayer perceptron trained by backpropagation, whole, in plain NumPy: to be read, to test against, to be beaten.

Notation of Goodfellow, Bengio and Courville, *Deep Learning* (2016), chapter 6, with one sample a row, so that
weights are (in, out) and every product is read from left to right. dT is the derivative of the loss by T.

    forward, algorithm 6.3        Z = A_below W + b       A = f(Z)            A_below of the lowest layer is X
    loss, section 6.2             L = sum_i s_i l_i       s_i = w_i / sum w   l_i: loss of row i; 1/rows unweighted
    backward, algorithm 6.4       dZ = dA f'(Z)           dW = A_below' dZ    db = column sums of dZ, dA_below = dZ W'
    update, chapter 8             W <- W - step(dW)

A layer is a node of a graph: dense as above, an activation alone, a normalisation, dropout, noise, the sum of a
residual block, or the embedding of codes. Everything is computed in the dtype of its arrays. Nothing here is checked:
callers do.

Read in this order: `activations`, `losses`, `normalization`, `random`, `network` (forward and backward), `optimizers`,
`engine` (training).
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
