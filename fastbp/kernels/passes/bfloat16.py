"""The three products of a dense layer on operands of bfloat16, in units of work, with sums and all else in float32.

    forward   Z = f(W A + b)          backward  D' = (W^T D) * f'(Z')          weights   W <- update(W, A D^T)

A block of 2 x 2 tiles, 32 rows of the one operand by 32 of the other, adds up STEPS blocks of the contraction at a time
for a few blocks in turn: so the first operand stays in the first-level cache, the second streams from the next one at
half the tiles' pace, and the sums never leave the first. Then each block is finished where it lies: bias, activation or
slope, update, and the operands of whoever reads it. The order of the sums is that of the contraction, so no bit depends
on the units. `c` is the context, `row` a layer's fields.
"""

from __future__ import annotations

from fastbp.isa.codes import ACCUMULATE, ACTIVATIONS, APPLY_RELU, KEEP, NEITHER, STREAM_A, STREAM_B, ZERO
from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import activate, add, finish_outputs, products, slope, update
from fastbp.kernels.passes.dense import activation, deltas
from fastbp.kernels.passes.loss_layer import gather_inputs, loss_and_deltas
from fastbp.kernels.passes.nodes import copy
from fastbp.kernels.passes.operands import (
    BLOCK,
    HALF,
    LINE,
    PANEL,
    TILES,
    halves_of,
    round_deltas,
    round_lines,
    round_outputs,
)
from fastbp.kernels.passes.updates import clips, square_runs
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema import operations as op

RELU_CODE, IDENTITY_CODE = ACTIVATIONS["relu"], ACTIVATIONS["identity"]
STEPS = 8  # blocks of 32 steps, of which two rows of tiles fill 16 KiB; half as many of operands that are two each
CHUNK = field.TILES_CHUNK
COLUMN = TILES // 2  # floats of a column of tiles
SPAN = 2 * field.TILES_PAIRS  # batch panels, or tiles of inputs, whose sums are kept at once


@part
def run_products(c, what, layer, unit):
    """One unit of one of the three."""
    row = c.layers[layer]
    if what == op.CHAIN:
        chain(c, layer, unit * field.CHAIN_PANELS, min((unit + 1) * field.CHAIN_PANELS, c.panels))
    elif what == op.FORWARD:
        size, share = row.FORWARD_SIZE, row.FORWARD_SHARE
        n = (c.panels + share - 1) // share
        p, q = unit // n * size, unit % n * share
        kernel_products(c, row, what, p, min(p + size, row.PANELS), q, min(q + share, c.panels))
    elif what == op.BACKWARD:
        size, share = row.BACKWARD_SIZE, row.BACKWARD_SHARE
        n = (c.panels + share - 1) // share
        b, q = unit // n * size, unit % n * share
        kernel_products(c, row, what, b, min(b + size, row.BLOCKS), q, min(q + share, c.panels))
    else:
        size, panels = row.WEIGHTS_SIZE, row.WEIGHTS_OUTPUTS
        k, p = unit // row.WEIGHTS_SHARE * size, unit % row.WEIGHTS_SHARE * panels
        weights(c, row, p, min(p + panels, row.PANELS), k, min(k + size, row.K + row.BIAS))


@part
def chain(c, last, q0, q1):
    """Some batch panels from the gathered inputs through all layers up to the loss, and their deltas back down.

    What a layer writes the next one reads from the second-level cache, and nobody waits for anybody.
    """
    for q in range(q0, q1):
        gather_inputs(c, c.layers[0], q)
    for i in range(last + 1):
        kernel_products(c, c.layers[i], op.FORWARD, 0, c.layers[i].PANELS, q0, q1)
    for q in range(q0, q1):
        loss_and_deltas(c, c.layers[last], q)
    for i in range(last, 0, -1):
        kernel_products(c, c.layers[i], op.BACKWARD, 0, c.layers[i].BLOCKS, q0, q1)


@part
def steps_of(c):
    """How many blocks of a contraction are added up at once."""
    return STEPS // 2 if c.operands_low else STEPS


@part
def sums_at(c, long, group, whole):
    """Where a block's sums lie: among those of a group, or, while a long contraction goes by in chunks, of a unit."""
    return c.tiles + (whole if long else group) * TILES


@part
def kernel_products(c, row, what, r0, r1, q0, q1):
    """Forward or backward of a layer: rows r0 ... r1 of the kernel's panels, of outputs or of inputs, by batch panels
    q0 ... q1, even numbers or the ends."""
    if what == op.FORWARD:
        depth, kernels, pitch = (row.K + LINE - 1) // LINE, row.KERNEL_ROWS, row.KERNEL_ROWS_PITCH
        operands, spread = row.IN_PAIRS, row.IN_PAIRS_PITCH
    else:
        depth, kernels, pitch = (row.N + LINE - 1) // LINE, row.KERNEL_COLUMNS, row.KERNEL_COLUMNS_PITCH
        operands, spread = row.DELTA_PAIRS, row.DELTA_PAIRS_PITCH
    pairs, long, some = (q1 - q0 + 1) // 2, depth > CHUNK, steps_of(c)
    fetch = (LINE + pairs - 1) // pairs  # of the next panels' lines
    for chunk in range(0, depth, CHUNK):
        upto = min(chunk + CHUNK, depth)
        for r in range(r0, r1, 2):
            rows, kernel, more = min(2, r1 - r), kernels + r * pitch, r + 2 < r1
            for first in range(q0, q1, SPAN):
                end = min(first + SPAN, q1)
                for k in range(chunk, upto, some):
                    steps, a = min(some, upto - k), kernel + k * BLOCK
                    for q in range(first, end, 2):
                        sums = sums_at(c, long, (q - first) // 2, (r - r0) // 2 * pairs + (q - q0) // 2)
                        line = (q - q0) // 2 * fetch
                        products(c.table, rows, min(2, end - q), steps, c.V, a, pitch, BLOCK,
                                 c.H, operands + q * spread + k * BLOCK, spread, BLOCK, c.kernels_low,
                                 c.operands_low, c.M, sums, COLUMN, ACCUMULATE if k else ZERO,
                                 STREAM_B, c.V, a + (2 + line // PANEL) * pitch + line % PANEL * LINE, BLOCK,
                                 fetch if more else 0)
                if upto == depth:
                    for q in range(first, end, 2):
                        sums = sums_at(c, long, (q - first) // 2, (r - r0) // 2 * pairs + (q - q0) // 2)
                        for i in range(rows):
                            finish(c, row, what, r + i, q, min(2, end - q), sums + i * TILES // 4)


@part
def finish(c, row, what, r, q, columns, sums):
    """What is done with a panel of sums in one or two batch panels."""
    if what == op.FORWARD:
        outputs(c, row, r, q, columns, sums)
    else:
        inputs(c, row, c.layers[row.BELOW], r, q, columns, sums)


@part
def outputs(c, row, p, q, columns, sums):
    """Bias and activation of a panel of outputs in one or two batch panels, and its operands."""
    n, code, z = min(PANEL, row.N - p * PANEL), row.CODE, row.Z + q * row.ZPITCH + p * PANEL * PANEL
    post, simple = APPLY_RELU if code == RELU_CODE else KEEP, code in (IDENTITY_CODE, RELU_CODE)
    wanted = simple and row.OUT_PAIRS >= 0
    finish_outputs(c.table, n, columns, c.batch - q * PANEL, c.M, sums, COLUMN,
                   c.P, row.W + p * row.WPITCH + row.K * PANEL, 1, post, c.M, z, row.ZPITCH, row.KEEPS,
                   c.H, row.OUT_PAIRS + q * row.OUT_PAIRS_PITCH + p * HALF, row.OUT_PAIRS_PITCH, wanted,
                   c.H, row.OUT_ROWS + p * row.OUT_ROWS_PITCH + q // 2 * BLOCK,
                   halves_of(c, q, columns) if wanted and row.OUT_ROWS >= 0 else NEITHER, c.operands_low)
    if not simple:
        for j in range(columns):
            at = z + j * row.ZPITCH
            activation(c, row, n, at, at)
        round_outputs(c, row, p * PANEL, n, q, columns)


@part
def inputs(c, row, below, b, q, columns, sums):
    """The deltas of a block of inputs, of which only operands remain where nobody else has deltas for it."""
    height = min(PANEL, row.K - b * PANEL)
    if below.IS_DENSE and not (below.SPARSE or below.RAW or below.SKIP_D >= 0):
        masked = below.CODE == RELU_CODE and not below.KEEPS
        if below.CODE != IDENTITY_CODE and not masked:
            known = (below.F if below.F >= 0 else below.Z) + q * below.ZPITCH + b * PANEL * PANEL
            for j in range(columns):
                slope(c.table, below.CODE, height, c.M, known + j * below.ZPITCH, c.M, sums + j * COLUMN,
                      c.M, below.ALPHA)
        round_deltas(c, below, b, q, columns, height, sums, COLUMN, masked)
        return
    for j in range(columns):
        e = below.D + (q + j) * below.DPITCH + b * PANEL * PANEL
        if below.RAW == field.ADDED:
            add(c.table, height, c.M, e, c.M, sums + j * COLUMN, c.M, e)
        else:
            copy(c, row, height, sums + j * COLUMN, e)
        if not below.RAW:
            deltas(c, below, b, q + j, height)


@part
def weights(c, row, p0, p1, k0, k1):
    """The gradient of panels p0 ... p1, lines k0 ... k1 of the kernel and its bias, and their update.

    Behind the last unit of the inputs' rows stands a line of ones, so the bias is one more input.
    """
    depth, pitch, spread = (c.panels + 1) // 2, row.DELTA_TURNED_PITCH, row.IN_ROWS_PITCH
    blocks, long, some = (k1 - k0 + LINE - 1) // LINE, depth > CHUNK, steps_of(c)
    for chunk in range(0, depth, CHUNK):
        upto = min(chunk + CHUNK, depth)
        for p in range(p0, p1, 2):
            columns, turned = min(2, p1 - p), row.DELTA_TURNED + p * pitch
            for first in range(k0, k1, SPAN * PANEL):
                end = min(first + SPAN * PANEL, k1)
                for n in range(chunk, upto, some):
                    steps = min(some, upto - n)
                    for k in range(first, end, LINE):
                        rows = 1 if end - k <= PANEL else 2
                        sums = sums_at(c, long, (k - first) // LINE, (p - p0) // 2 * blocks + (k - k0) // LINE)
                        products(c.table, rows, columns, steps,
                                 c.H, row.IN_ROWS + k // PANEL * spread + n * BLOCK, spread, BLOCK,
                                 c.H, turned + n * BLOCK, pitch, BLOCK, c.operands_low, c.operands_low,
                                 c.M, sums, COLUMN, ACCUMULATE if n else ZERO,
                                 STREAM_A, c.H, turned, 0, 0)
                if upto == depth:
                    for k in range(first, end, LINE):
                        sums = sums_at(c, long, (k - first) // LINE, (p - p0) // 2 * blocks + (k - k0) // LINE)
                        change(c, row, p, columns, k, min(LINE, end - k), sums)
    if not c.fused and c.train and clips(c):
        square_runs(c, row, p0, p1, k0, k1)


@part
def change(c, row, p, columns, k, lines, sums):
    """The update of some lines of a kernel by their gradient, and their operands; or the gradient to its buffer."""
    w = row.W + p * row.WPITCH + k * PANEL
    if not c.fused:
        for j in range(columns):
            at, there = sums + j * COLUMN, w + j * row.WPITCH
            if c.accumulates:
                add(c.table, lines, c.G, there, c.M, at, c.G, there)
            else:
                copy_out(c, row, lines, at, there)
        return
    bias = 1 if row.BIAS and k + lines == row.K + 1 and row.BIAS_RULE != row.KERNEL_RULE else 0
    update(c.table, c.rule, lines - bias, columns, c.M, sums, COLUMN, c.P, w, row.WPITCH, c.stride,
           c.M, c.groups + row.KERNEL_RULE, c.sync, c.flag)
    if bias:
        last = (lines - 1) * PANEL
        update(c.table, c.rule, 1, columns, c.M, sums + last, COLUMN, c.P, w + last, row.WPITCH, c.stride,
               c.M, c.groups + row.BIAS_RULE, c.sync, c.flag)
    round_lines(c, row, p, columns, k)


@part
def copy_out(c, row, lines, source, target):
    """Lines of the workspace to the gradient."""
    activate(c.table, IDENTITY_CODE, lines, c.M, source, c.G, target, c.M, row.SINK, c.M, row.ALPHA)
