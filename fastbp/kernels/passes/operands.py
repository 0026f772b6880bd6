"""What the products of `bfloat16` read, rounded by those who write it: activations, deltas and kernels.

Every operand is panels, 16 lines high, of blocks of 1 KiB for 32 steps of what its product adds up (see
`emitters.products`), a line being 32 words of bfloat16; panels lie a PITCH apart:

    activations  OUT_PAIRS       [batch panel][32 units][pair of units][16 rows, 2 units]       forward adds up units
                 OUT_ROWS        [panel of units][32 rows][unit][32 rows]                       weights add up rows
    deltas       DELTA_PAIRS     as OUT_PAIRS                                                   backward adds up units
                 DELTA_TURNED    [panel of units][32 rows][pair of rows][16 units, 2 rows]      weights add up rows
    kernels      KERNEL_ROWS     [panel of outputs][32 inputs][output][32 inputs]               forward adds up inputs
                 KERNEL_COLUMNS  [panel of inputs][32 outputs][input][32 outputs]               backward adds up outputs

Nothing of them is packed by a pass of its own: whoever finishes a panel rounds it while it is in the first-level cache.
What lies behind the last unit, and in the rows behind the last of the batch, is zero where a product adds it up.
"""

from __future__ import annotations

from fastbp.isa.codes import HALVES, KEEP, NEITHER, PADDED, STREAMED, WHOLE
from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import finish_deltas, finish_outputs, round_kernel
from fastbp.kernels.schema import fields as field

LINE, BLOCK, HALF = 32, 512, 256  # words
PANEL = 16  # lines of float32, rows of a panel


@part
def halves_of(c, q, columns):
    """How much of a line of rows a panel of the batch fills: the last one of an odd number also writes the zeros."""
    if columns == 2 or (q % 2 == 0 and q == c.panels - 1):
        return STREAMED if c.streams_operands else WHOLE
    return HALVES


@part
def round_panel(c, n, q, columns, z, zpitch, pairs, pairs_pitch, rows, rows_pitch):
    """The operands of n units of one or two batch panels: lines at z, in float32.

    pairs, rows: where those of the first of these units begin; a negative number: there are none of rows.
    """
    halves = halves_of(c, q, columns) if rows >= 0 else NEITHER
    for start in range(0, n, PANEL):
        at = z + start * PANEL
        finish_outputs(c.table, min(PANEL, n - start), columns, c.batch - q * PANEL, c.M, at, zpitch, c.M, at, 0,
                       KEEP, c.M, at, 0, 0, c.H, pairs + q * pairs_pitch + start * PANEL, pairs_pitch, 1,
                       c.H, rows + start // PANEL * rows_pitch + q // 2 * BLOCK + q % 2 * PANEL, halves, c.operands_low)


@part
def round_outputs(c, row, unit, n, q, columns):
    """The operands of n units, from a multiple of 16 on, of one or two batch panels of a node's outputs."""
    if row.OUT_PAIRS < 0:
        return
    rows = row.OUT_ROWS + unit // PANEL * row.OUT_ROWS_PITCH if row.OUT_ROWS >= 0 else -1
    round_panel(c, n, q, columns, row.Z + q * row.ZPITCH + unit * PANEL, row.ZPITCH,
                row.OUT_PAIRS + unit * PANEL, row.OUT_PAIRS_PITCH, rows, row.OUT_ROWS_PITCH)


@part
def round_block(c, row, b):
    """A block of 16 units in all batch panels."""
    for q in range(c.panels):
        round_outputs(c, row, b * PANEL, min(PANEL, row.N - b * PANEL), q, 1)


@part
def round_inputs(c, row, q, panel):
    """The operands of a batch panel of the network's inputs, of which layer 0 is told."""
    if row.FED_PAIRS < 0:
        return
    round_panel(c, row.K, q, 1, panel, 0, row.FED_PAIRS, row.FED_PAIRS_PITCH, row.FED_ROWS, row.FED_ROWS_PITCH)


@part
def round_deltas(c, row, b, q, columns, height, e, pitch, masked):
    """The operands of a block of deltas in M at e; masked: times ReLU's slope, which the pairs of its outputs tell."""
    pairs = 0
    if row.DELTA_PAIRS >= 0:
        pairs = PADDED if b == row.PANELS - 1 and b % 2 == 0 else 1
    known = row.OUT_PAIRS + q * row.OUT_PAIRS_PITCH + b * HALF if masked else 0
    turned = row.DELTA_TURNED + b * row.DELTA_TURNED_PITCH + q // 2 * BLOCK + q % 2 * HALF
    finish_deltas(c.table, height, columns, c.batch - q * PANEL, c.M, e, pitch, c.H, known, row.OUT_PAIRS_PITCH,
                  masked, c.H, max(0, row.DELTA_PAIRS) + q * row.DELTA_PAIRS_PITCH + b * HALF,
                  row.DELTA_PAIRS_PITCH, pairs, c.H, turned, halves_of(c, q, columns), c.operands_low)


@part
def round_lines(c, row, p, columns, k):
    """The operands of 32 lines of a kernel, or of those that are left, in one or two panels."""
    n = min(LINE, row.K - k)
    if n <= 0:  # a line of biases
        return
    halves = HALVES
    if columns == 2 or (p % 2 == 0 and p == row.PANELS - 1):
        halves = STREAMED if c.streams_kernels else WHOLE
    backward = row.KERNEL_COLUMNS + k // PANEL * row.KERNEL_COLUMNS_PITCH + p // 2 * BLOCK + p % 2 * PANEL
    round_kernel(c.table, n, columns, c.P, row.W + p * row.WPITCH + k * PANEL, row.WPITCH,
                 c.V, row.KERNEL_ROWS + p * row.KERNEL_ROWS_PITCH + k * PANEL, row.KERNEL_ROWS_PITCH,
                 c.V, backward, row.KERNEL_COLUMNS_PITCH, halves, c.kernels_low)


@part
def round_piece(c, i):
    """The operands of a piece of the parameters, if it is a panel of a kernel that has any."""
    piece = c.pieces[i]
    row = c.layers[piece.NODE]
    if row.IS_DENSE and not row.SPARSE:
        p = (piece.PLACE - row.W) // row.WPITCH
        for k in range(0, row.K, LINE):
            round_lines(c, row, p, 1, k)


TILES = field.TILES_LINES * PANEL  # floats of 2 x 2 tiles of sums
