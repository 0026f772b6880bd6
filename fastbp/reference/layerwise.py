"""Update rules that depend on a whole kernel or bias: LAMB and Muon.

As in `optimizers`, W and its states change in place; here they have the shapes of `get_weights`, a kernel (in, out).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.reference.optimizers import accumulate, adamw

Array = npt.NDArray[Any]
RULES = ("lamb", "muon")
ROUNDS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
MUON_EPSILON, ADAM_EPSILON = 1e-7, 1e-8


def norm(X: Array) -> float:
    """The root of the sum of squares, in float64 or better; scaled by the largest element, it cannot overflow."""
    largest = float(np.abs(X).max(initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    Y = X.astype(np.result_type(X.dtype, np.float64)) / largest
    return largest * math.sqrt(float(np.vdot(Y, Y)))


def lamb(W: Array, G: Array, states: list[Array], row: list[float]) -> None:
    """r = m/c1 / (sqrt(v/c2) + epsilon) + weight_decay W; W <- W - learning_rate |W| / |r| r. You et al. 2020.

    m, v, c1 and c2 are Adam's. The trust ratio |W| / |r| is 1 if either norm is 0; a quotient with v = epsilon = 0 is
    0.
    """
    learning_rate, weight_decay, beta_1, beta_2, epsilon, correction_1, correction_2 = row[:7]
    m, v = states
    T = np.empty_like(W)
    accumulate(m, G, beta_1, T)
    accumulate(v, G * G, beta_2, T)
    root = np.sqrt(v / correction_2) + epsilon
    R = np.divide(m / correction_1, root, out=np.zeros_like(W), where=root != 0) + weight_decay * W
    size, length = norm(W), norm(R)
    trust = size / length if size and length else 1.0
    W -= learning_rate * trust * R


def orthogonal(U: Array) -> Array:
    """Newton-Schulz iteration from P S Q' (the singular value decomposition) towards P Q'.

    X <- a X + b (X X') X + c (X X')^2 X, on the side where X X' is smaller. The coefficients make the slope at 0 steep;
    the singular values end between 0.7 and 1.2. Jordan et al. 2024.
    """
    a, b, c = COEFFICIENTS
    X = U / max(norm(U), MUON_EPSILON)
    X = X.T if X.shape[0] > X.shape[1] else X
    for _ in range(ROUNDS):
        S = X @ X.T
        X = a * X + (b * S + c * (S @ S)) @ X
    return X.T if U.shape[0] > U.shape[1] else X


def muon(W: Array, G: Array, states: list[Array], row: list[float]) -> None:
    """m <- momentum m + (1 - momentum) g; W <- (1 - learning_rate decay) W - learning_rate s orthogonal(u).

    u = momentum m + (1 - momentum) g, s = sqrt(max(1, out / in)). Like torch.optim.Muon, but in the dtype of W. The
    second state is unused.
    """
    learning_rate, weight_decay, momentum = row[:3]
    m = states[0]
    accumulate(m, G, momentum, np.empty_like(W))
    stretch = math.sqrt(max(1.0, W.shape[1] / W.shape[0]))
    step = learning_rate * stretch * orthogonal(momentum * m + (1 - momentum) * G)
    W *= 1 - learning_rate * weight_decay
    W -= step


def muon_adamw(W: Array, G: Array, states: list[Array], row: list[float]) -> None:
    """AdamW for all other arrays; its learning rate is row[3] times Muon's, row[4] and row[5] are beta_1 and beta_2."""
    learning_rate, weight_decay, _, ratio, beta_1, beta_2, correction_1, correction_2 = row[:8]
    adam_row = [ratio * learning_rate, weight_decay, beta_1, beta_2, ADAM_EPSILON, correction_1, correction_2]
    adamw(W, G, states, adam_row, np.empty_like(W))


def update(rule: str, W: Array, G: Array, states: list[Array], row: list[float], *, hidden: bool) -> None:
    """One step on one array; hidden: whether it is a kernel between two others."""
    if rule == "lamb":
        lamb(W, G, states, row)
    elif hidden:
        muon(W, G, states, row)
    else:
        muon_adamw(W, G, states, row)
