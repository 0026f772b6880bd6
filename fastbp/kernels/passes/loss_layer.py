"""Both ends of a step: rows into panels, and the last layer's panel into losses, deltas and predictions."""

from __future__ import annotations

from fastbp.isa.codes import CATEGORICAL, CROSS_ENTROPY, GAUSSIAN_NLL, QUANTILE, SIGMOID, SOFTMAX
from fastbp.kernels.jit import inlined_part, part
from fastbp.kernels.microkernels import activate, gather, loss, scale, scatter, softmax, softmax_slope, zero
from fastbp.kernels.parallel import OUTSIDE
from fastbp.kernels.passes.dense import all_deltas, inputs_of
from fastbp.kernels.passes.operands import round_inputs
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema.fields import GRADIENT_LINES

# LINEAR: sum of a y, whose derivative by the activations a is y; `dense_backward` gives it any derivative so.
LINEAR = -1
# Lines of a worker's scratch, behind the tile of gradients and the rule's scalars.
ROW_WEIGHTS, ROW_LOSSES, LOG_SUMS, TARGETS = (GRADIENT_LINES + i for i in (1, 2, 3, 8))


@inlined_part
def panel_rows(c, q):
    return min(c.L, c.batch - q * c.L)


@inlined_part
def gather_inputs(c, row, q):
    K, L = row.K, c.L
    panel = inputs_of(c, row) + q * row.APITCH
    if c.n_starts:
        gather_sparse(c, K, panel, q)
    else:
        first = c.first + q * L
        more = max(0, min(L, c.n_order - first - L))
        gather(c.table, K, panel_rows(c, q), c.X, 0, K, c.order, first, more, c.M, panel)
        for lane in range(L):
            c.M[panel + K * L + lane] = 1  # the input of the bias
    if c.bfloat16:
        round_inputs(c, row, q, panel)


@inlined_part
def outside(c):
    """Notes that this step read a label, a code or a column that is out of range."""
    c.sync[OUTSIDE + (c.step & 1)] = 1


@part
def gather_sparse(c, K, panel, q):
    """Sparse rows in a panel, for nodes that cannot read them where they are; and the input of the bias."""
    M, L = c.M, c.L
    zero(c.table, K, M, panel)
    for lane in range(panel_rows(c, q)):
        r = c.order[c.first + q * L + lane]
        for i in range(c.starts[r], c.starts[r + 1]):
            column = c.columns[i]
            if 0 <= column < K:
                M[panel + column * L + lane] += c.X[i]
            else:
                outside(c)
    for lane in range(L):
        M[panel + K * L + lane] = 1


@inlined_part
def row_weights(c, q):
    """The line of w_i / sum of w for a panel's rows, 0 for lanes without a row; 0 throughout where the sum is 0."""
    L = c.L
    at = c.scratch + ROW_WEIGHTS * L
    total = c.totals[c.step] if c.n_totals else float(c.batch)
    share = 1.0 / total if total > 0.0 else 0.0
    for lane in range(L):
        c.M[at + lane] = share if lane < panel_rows(c, q) else 0.0
    if c.n_weight:
        for lane in range(panel_rows(c, q)):
            c.M[at + lane] = c.weight[c.order[c.first + q * L + lane]] * share
    return at


@inlined_part
def loss_and_deltas(c, row, q):
    """One panel of the last layer: its rows' losses into `partials`, its deltas, their transposes, its predictions.

    Losses of the first CATEGORICAL codes work from softmax, whose probabilities stand in the place of the deltas.
    """
    table, M, L, N = c.table, c.M, c.L, row.N
    z, d = row.Z + q * row.ZPITCH, row.D + q * row.DPITCH
    code, parameters = row.OUTPUT_CODE, field.LOSS_PARAMETERS
    if c.loss == LINEAR:
        linear_deltas(c, row, z, d, q)
        return
    factors = row_weights(c, q)
    losses, sums, targets = c.scratch + ROW_LOSSES * L, c.scratch + LOG_SUMS * L, c.scratch + TARGETS * L
    categorical = c.loss < CATEGORICAL
    if categorical:
        softmax(table, N, M, z, M, d, M, sums)
        if c.n_outputs:
            write_outputs(c, row, d if code == SOFTMAX else z, q)
    elif code == SOFTMAX:
        softmax(table, N, M, z, M, z, M, sums)
    if c.n_y == 0 and c.loss == CROSS_ENTROPY and M[parameters + 1] == 0:  # no smoothing
        label_deltas(c, row, z, d, losses, sums, q)
        scale(table, N, M, d, M, factors)
    else:
        gather_targets(c, row, targets, q)
        loss(table, c.loss, N, M, z, M, targets, M, d, M, factors, M, losses, M, sums, M, parameters)
    if not categorical:
        if c.n_outputs:
            if code == SIGMOID:
                activate(table, SIGMOID, N, M, z, M, z, M, row.SINK, M, row.ALPHA)
            write_outputs(c, row, z, q)
        if code == SOFTMAX:
            softmax_slope(table, N, M, z, M, d)
    finish(c, row, factors, losses, q)


@inlined_part
def gather_targets(c, row, targets, q):
    """The lines of targets of a panel; class labels become one-hot rows."""
    table, M, L, rows = c.table, c.M, c.L, panel_rows(c, q)
    width = row.N
    if c.loss == QUANTILE:
        width //= int(M[field.LOSS_PARAMETERS])
    elif c.loss == GAUSSIAN_NLL:
        width //= 2
    if c.n_y:
        gather(table, width, rows, c.y, 0, width, c.order, c.first + q * L, 0, M, targets)
        return
    zero(table, width, M, targets)
    for lane in range(rows):
        M[targets + label_at(c, c.first + q * L + lane, width) * L + lane] = 1


@inlined_part
def label_at(c, place, classes):
    """The class of the row at a place in the order; 0 where it is none."""
    label = c.labels[c.order[place]]
    if 0 <= label < classes:
        return label
    outside(c)
    return 0


@inlined_part
def linear_deltas(c, row, z, d, q):
    """The deltas of a given derivative by the activations, which are gathered too or those of forward."""
    table, M, N, rows = c.table, c.M, row.N, panel_rows(c, q)
    gather(table, N, rows, c.y, 0, N, c.order, c.first + q * c.L, 0, M, d)
    if c.n_weight:
        gather(table, N, rows, c.weight, 0, N, c.order, c.first + q * c.L, 0, M, z)
    if row.OUTPUT_CODE == SOFTMAX:
        softmax_slope(table, N, M, z, M, d)
    all_deltas(c, row, q)


@inlined_part
def label_deltas(c, row, z, d, losses, sums, q):
    """Cross-entropy with class labels: loss = logsum - z[label]; delta = p - 1 at the label."""
    M, L = c.M, c.L
    for lane in range(panel_rows(c, q)):
        at = label_at(c, c.first + q * L + lane, row.N) * L + lane
        M[losses + lane] = M[sums + lane] - M[z + at]
        M[d + at] -= 1


@inlined_part
def finish(c, row, factors, losses, q):
    """The panel's loss; its deltas times f' where the loss is not fused with the activation; their transposes."""
    M, total = c.M, 0.0
    for lane in range(panel_rows(c, q)):
        total += 1.0 * M[factors + lane] * M[losses + lane]  # in double precision, which float() would not bring
    c.partials[q] = total
    if c.backward:
        all_deltas(c, row, q)


@inlined_part
def predict(c, row, q):
    """One panel of the last layer as predictions; applies a last activation that the loss would be fused with."""
    M, N = c.M, row.N
    z = row.Z + q * row.ZPITCH
    if row.OUTPUT_CODE == SOFTMAX:
        softmax(c.table, N, M, z, M, z, M, row.SINK)
    elif row.OUTPUT_CODE == SIGMOID:
        activate(c.table, SIGMOID, N, M, z, M, z, M, row.SINK, M, row.ALPHA)
    write_outputs(c, row, z, q)


@inlined_part
def write_outputs(c, row, panel, q):
    L, N = c.L, row.N
    scatter(c.table, N, panel_rows(c, q), c.M, panel, c.outputs, (c.first + q * L) * N, N)
