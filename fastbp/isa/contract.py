"""Every argument of every microkernel, by the file that holds its emitter and its twin.

The microkernels work on flat arrays of one element type, float32 or float64. L is the number of elements in a cache
line (16 float32, 8 float64). Lines are aligned; nothing aliases unless said. `across` and `along` are one register tile
with its scalars laid out in two ways (see `emitters.tile`):

        k                       columns lines              C[j][i][:] (+)= sum_k a(i, k) * B[j][k][:]
      +---+---+---+           +----------------+
    i | a |   |   |   times   | B[j][k][0:L]   |  k        start: ZERO, ACCUMULATE (C is read), BIAS_ROWS
      +---+---+---+           +----------------+           (bias[i]), BIAS_COLUMNS (a line, bpitch apart)
                                                           post:  KEEP, APPLY_RELU

Rows and columns are sizes of the instruction set's table; callers cut a grid into those with `kernels.passes.dense`.
What each microkernel computes is said at its emitter, and in loops by its twin.

A row here reads

    gather: features count X[x] pitch indices[first]:int64 P[p]

`count` is an integer; `X[x]` an array and the offset where its operand begins, in elements: two arguments of the twin
and of those who call it, one pointer for the emitted code. Element types other than the microkernel's own stand behind
a colon.
"""

from __future__ import annotations

import re
from typing import NamedTuple

REAL = "real"  # float32 or float64, the element type of the microkernel


class Argument(NamedTuple):
    """An integer, or an array and an offset into it."""

    name: str  # of the integer or of the array
    offset: str = ""  # the name of the array's offset; empty for an integer
    element: str = "int64"


ROWS: dict[str, dict[str, str]] = {
    "tile": {
        "across": "rows columns k A[a] B[b] bpitch C[c] cpitch start bias[o] post ahead[h]",
        "along": "rows columns k A[a] apitch B[b] bpitch C[c] cpitch start bias[o] post ahead[h] pitch stride arrays "
                 "step until stream[f]",
        "outer": "lines rows A[a] B[b] C[c]",
        "peak": "n lines X[x] C[c]",
    },
    "panels": {
        "transpose": "rows columns S[s] T[t]",
        "gather": "features count X[x] pitch indices[first]:int64 more P[p]",
        "scatter": "features count P[p] X[x] pitch",
    },
    "elementwise": {
        "zero": "n T[t]",
        "scale": "n D[d] weights[w]",
        "add": "n A[a] S[s] Z[z]",
    },
    "waves": {
        "waves": "n X[x] W[w] B[b] Z[z]",
        "mix": "n outputs W[w] B[b] C[c] Z[z]",
        "wave_slopes": "n outputs both W[w] X[x]",
        "wave_sums": "n waves outputs X[x] S[s]",
    },
    "softmax": {
        "softmax": "n Z[z] P[p] logsum[o]",
        "softmax_slope": "n P[p] D[d]",
    },
    "losses": {
        "loss": "n Z[z] T[t] D[d] weights[w] losses[o] extra[e] P[p]",
    },
    "normalization": {
        "batch_norm": "n batch A[a] apitch Z[z] zpitch F[f] G[gamma] gpitch S[stats] spitch E[epsilon]",
        "batch_norm_predict": "n A[a] Z[z] G[gamma] gpitch E[epsilon]",
        "batch_norm_backward": "n batch D[d] dpitch F[f] fpitch P[gamma] S[inverse] G[g] gpitch E[e] epitch",
        "gains": "n batch D[d] dpitch F[f] fpitch G[g] gpitch",
        "layer_norm": "n A[a] Z[z] F[f] P[gamma] gpitch S[inverse] E[epsilon]",
        "layer_norm_backward": "n D[d] F[f] P[gamma] S[inverse] E[e]",
    },
    "dropout": {
        "dropout": "n row step node threshold keys[k]:int64 A[a] Z[z] F[f] scale[s]",
        "noise": "n row step node keys[k]:int64 A[a] Z[z] deviation[s]",
    },
    "parameters": {
        "prepare": "n G[g] W[w] S[s] sums[o]:float64",
        "squares": "n G[g] sums[o]:float64",
        "penalties": "n W[w] sums[o]:float64",
        "limit": "n W[w] bound[o]",
        "average": "n W[w] M[m] momentum[o]",
        "lamb": "n G[g] W[w] stride S[s] sums[o]:float64",
    },
    "sparse": {
        "sparse_forward": "n columns[c]:int32 V[v] W[w] wpitch lines panels B[bias] Z[z] zpitch outside[o]:int64",
        "sparse_add": "n columns[c]:int32 V[v] D[d] W[w] lines factor[s] flag[f]:int64 outside[o]:int64",
    },
    "optimizers": {
        "update": "rows columns G[g] gpitch W[w] wpitch stride S[s] flag[f]:int64",
    },
    "activations": {
        "activate": "n Z[z] A[a] slopes[s] alpha[o]",
        "slope": "n A[a] D[d] alpha[o]",
    },
    "products": {
        "products": "rows columns depth A[a]:uint16 apitch astep B[b]:uint16 bpitch bstep alow blow C[c] cpitch start "
                    "streamed ahead[h]:uint16 hstep fetch",
        "begin_tiles": "saved[s]:int64",
        "end_tiles": "saved[s]:int64",
        "tile_peak": "n A[a]:uint16 C[c]",
    },
    "rounding": {
        "finish_outputs": "n columns count C[c] cpitch bias[o] biased post Z[z] zpitch keep P[p]:uint16 ppitch pairs "
                          "R[r]:uint16 halves low",
        "finish_deltas": "n columns count E[e] epitch K[k]:uint16 kpitch masked P[p]:uint16 ppitch pairs T[t]:uint16 "
                         "halves low",
        "round_kernel": "n columns W[w] wpitch F[f]:uint16 fpitch B[b]:uint16 bpitch halves low",
    },
}
# Files whose microkernels work on operands of bfloat16: emitted into a module of their own, when first used.
BFLOAT16 = ("products", "rounding")
# What threads need is inlined where it is used; each returns an integer.
THREADS = {
    "atomic_add": "array[offset]:int64 value",
    "atomic_load": "array[offset]:int64",
    "atomic_store": "array[offset]:int64 value",
    "exchange_if": "array[offset]:int64 expected value",
    "pause": "",
    "yield_thread": "",
    "this_core": "",
    "allowed_cores": "array[offset]:int64",
    "allow_cores": "array[offset]:int64",
    "flush_denormals": "",
    "restore_denormals": "before",
}
_ARGUMENT = re.compile(r"(\w+)(?:\[(\w+)\](?::(\w+))?)?")


def _parsed(row: str) -> tuple[Argument, ...]:
    matches = [_ARGUMENT.fullmatch(word) for word in row.split()]
    return tuple(Argument(m[1], m[2], m[3] or REAL) if m[2] else Argument(m[1]) for m in matches if m)


FILES = {name: file for file, rows in ROWS.items() for name in rows}
CONTRACT = {name: _parsed(row) for rows in (*ROWS.values(), THREADS) for name, row in rows.items()}


def parameters(name: str) -> list[str]:
    """The names of the arguments as callers and twins have them: an array, then its offset."""
    return [part for a in CONTRACT[name] for part in ((a.name, a.offset) if a.offset else (a.name,))]

