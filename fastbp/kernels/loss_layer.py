"""Both ends of a step: rows into panels, and the last layer's panel into losses, deltas and predictions."""

from __future__ import annotations

from typing import NamedTuple

from fastbp.isa.codes import CATEGORICAL, CROSS_ENTROPY, GAUSSIAN_NLL, QUANTILE, SIGMOID, SOFTMAX
from fastbp.kernels import fields as field
from fastbp.kernels.dense import all_deltas, inputs_of
from fastbp.kernels.fields import GRADIENT_LINES
from fastbp.kernels.jit import called, inlined, kernel
from fastbp.kernels.microkernels import activate, gather, loss, scale, scatter, softmax, softmax_slope, zero

# LINEAR: sum of a y, whose derivative by the activations a is y; `dense_backward` gives it any derivative so.
LINEAR = -1
# Lines of a worker's scratch, behind the tile of gradients and the rule's scalars.
ROW_WEIGHTS, ROW_LOSSES, LOG_SUMS, TARGETS = (GRADIENT_LINES + i for i in (1, 2, 3, 8))


class Data(NamedTuple):
    """What a slice reads and writes besides the network."""

    X: object  # rows of the first layer's inputs
    y: object  # rows of targets; empty where labels are used
    labels: object  # a class per row; empty where targets are used
    weight: object  # a weight per row; empty for 1; for LINEAR rows of activations, where forward did not run
    totals: object  # float64: the sum of weights of every step; empty for the number of rows
    order: object  # indices of rows
    outputs: object  # predictions by position in `order`; empty where none are wanted
    loss: int
    backward: bool  # whether deltas are wanted
    partials: object  # float64: the loss of every panel
    random: object  # int64: the key of the random masks, and the number of the first step
    scalars: object  # float64 (steps, 8), or one row for all: the optimizer's
    starts: object  # int64: of sparse rows, where each begins in X and columns; empty for dense ones
    columns: object  # int32: the features of the values in X


@inlined
def panel_rows(batch, q, L):
    return min(L, batch - q * L)


@inlined
def gather_inputs(mem, row, data, first, batch, q):
    K, L = row[field.K], mem.L
    panel = inputs_of(mem, row) + q * row[field.APITCH]
    if data.starts.size:
        gather_sparse(mem, data, K, panel, first + q * L, panel_rows(batch, q, L))
        return
    gather(mem.table, K, panel_rows(batch, q, L), data.X, 0, K, data.order, first + q * L, mem.M, panel)
    for lane in range(L):
        mem.M[panel + K * L + lane] = 1  # the input of the bias


@called
def gather_sparse(mem, data, K, panel, first, rows):
    """Sparse rows in a panel, for nodes that cannot read them where they are; and the input of the bias."""
    M, L = mem.M, mem.L
    zero(mem.table, K, M, panel)
    for lane in range(rows):
        r = data.order[first + lane]
        for i in range(data.starts[r], data.starts[r + 1]):
            M[panel + data.columns[i] * L + lane] += data.X[i]
    for lane in range(L):
        M[panel + K * L + lane] = 1


@inlined
def row_weights(mem, data, scratch, step, first, batch, q):
    """The line of w_i / sum of w for a panel's rows, 0 for lanes without a row; 0 throughout where the sum is 0."""
    L = mem.L
    at = scratch + ROW_WEIGHTS * L
    total = data.totals[step] if data.totals.size else float(batch)
    share = 1.0 / total if total > 0.0 else 0.0
    for lane in range(L):
        mem.M[at + lane] = share if lane < panel_rows(batch, q, L) else 0.0
    if data.weight.size:
        for lane in range(panel_rows(batch, q, L)):
            mem.M[at + lane] = data.weight[data.order[first + q * L + lane]] * share
    return at


@kernel
def loss_and_deltas(mem, row, data, scratch, step, first, batch, q):
    """One panel of the last layer: its rows' losses into `partials`, its deltas, their transposes, its predictions.

    Losses of the first CATEGORICAL codes work from softmax, whose probabilities stand in the place of the deltas.
    """
    table, M, L, N = mem.table, mem.M, mem.L, row[field.N]
    z, d = row[field.Z] + q * row[field.ZPITCH], row[field.D] + q * row[field.DPITCH]
    code, parameters = row[field.OUTPUT_CODE], field.LOSS_PARAMETERS
    if data.loss == LINEAR:
        linear_deltas(mem, row, data, z, d, first, batch, q)
        return
    factors = row_weights(mem, data, scratch, step, first, batch, q)
    losses, sums, targets = scratch + ROW_LOSSES * L, scratch + LOG_SUMS * L, scratch + TARGETS * L
    categorical = data.loss < CATEGORICAL
    if categorical:
        softmax(table, N, M, z, M, d, M, sums)
        if data.outputs.size:
            write_outputs(mem, row, data, d if code == SOFTMAX else z, first, batch, q)
    elif code == SOFTMAX:
        softmax(table, N, M, z, M, z, M, sums)
    if data.y.size == 0 and data.loss == CROSS_ENTROPY and M[parameters + 1] == 0:  # no smoothing
        label_deltas(mem, row, data, z, d, losses, sums, first, batch, q)
        scale(table, N, M, d, M, factors)
    else:
        gather_targets(mem, row, data, targets, first, batch, q)
        loss(table, data.loss, N, M, z, M, targets, M, d, M, factors, M, losses, M, sums, M, parameters)
    if not categorical:
        if data.outputs.size:
            if code == SIGMOID:
                activate(table, SIGMOID, N, M, z, M, z, M, row[field.SINK], M, row[field.ALPHA])
            write_outputs(mem, row, data, z, first, batch, q)
        if code == SOFTMAX:
            softmax_slope(table, N, M, z, M, d)
    finish(mem, row, data, factors, losses, batch, q)


@inlined
def gather_targets(mem, row, data, targets, first, batch, q):
    """The lines of targets of a panel; class labels become one-hot rows."""
    table, M, L, rows = mem.table, mem.M, mem.L, panel_rows(batch, q, mem.L)
    width = row[field.N]
    if data.loss == QUANTILE:
        width //= int(M[field.LOSS_PARAMETERS])
    elif data.loss == GAUSSIAN_NLL:
        width //= 2
    if data.y.size:
        gather(table, width, rows, data.y, 0, width, data.order, first + q * L, M, targets)
        return
    zero(table, width, M, targets)
    for lane in range(rows):
        M[targets + data.labels[data.order[first + q * L + lane]] * L + lane] = 1


@inlined
def linear_deltas(mem, row, data, z, d, first, batch, q):
    """The deltas of a given derivative by the activations, which are gathered too or those of forward."""
    table, M, N, rows = mem.table, mem.M, row[field.N], panel_rows(batch, q, mem.L)
    gather(table, N, rows, data.y, 0, N, data.order, first + q * mem.L, M, d)
    if data.weight.size:
        gather(table, N, rows, data.weight, 0, N, data.order, first + q * mem.L, M, z)
    if row[field.OUTPUT_CODE] == SOFTMAX:
        softmax_slope(table, N, M, z, M, d)
    all_deltas(mem, row, batch, q)


@inlined
def label_deltas(mem, row, data, z, d, losses, sums, first, batch, q):
    """Cross-entropy with class labels: loss = logsum - z[label]; delta = p - 1 at the label."""
    M, L = mem.M, mem.L
    for lane in range(panel_rows(batch, q, L)):
        at = data.labels[data.order[first + q * L + lane]] * L + lane
        M[losses + lane] = M[sums + lane] - M[z + at]
        M[d + at] -= 1


@inlined
def finish(mem, row, data, factors, losses, batch, q):
    """The panel's loss; its deltas times f' where the loss is not fused with the activation; their transposes."""
    M, L = mem.M, mem.L
    total = 0.0
    for lane in range(panel_rows(batch, q, L)):
        total += 1.0 * M[factors + lane] * M[losses + lane]  # in double precision, which float() would not bring
    data.partials[q] = total
    if data.backward:
        all_deltas(mem, row, batch, q)


@kernel
def predict(mem, row, data, first, batch, q):
    """One panel of the last layer as predictions; applies a last activation that the loss would be fused with."""
    M, N = mem.M, row[field.N]
    z = row[field.Z] + q * row[field.ZPITCH]
    if row[field.OUTPUT_CODE] == SOFTMAX:
        softmax(mem.table, N, M, z, M, z, M, row[field.SINK])
    elif row[field.OUTPUT_CODE] == SIGMOID:
        activate(mem.table, SIGMOID, N, M, z, M, z, M, row[field.SINK], M, row[field.ALPHA])
    write_outputs(mem, row, data, z, first, batch, q)


@kernel
def write_outputs(mem, row, data, panel, first, batch, q):
    L, N = mem.L, row[field.N]
    scatter(mem.table, N, panel_rows(batch, q, L), mem.M, panel, data.outputs, (first + q * L) * N, N)
