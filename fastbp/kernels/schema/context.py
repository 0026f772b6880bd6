"""The context: everything a worker reads, described once.

From the schema come the layout of the int64 words that the host fills, the attributes that compiled code sees (`c.M` is
a pointer, `c.n_order` a length, `c.batch` a number, `c.layers[i].K` a field of a row), and the same attributes for
plain Python, where an array stands for a pointer.

    words    [address, length of each array] [numbers] [padding] [worker 0: own numbers] [worker 1] ...

A context is the address of a worker's own numbers, the first of which is the address of the shared words.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastbp.isa import LINE
from fastbp.kernels.schema.fields import Layer, Operation, Piece, Settings, Table, length

# Arrays: their elements' type, "real" for the network's own, or the class that names the fields of their rows.
ARRAYS: dict[str, Any] = {
    "sync": "int64",  # see `parallel`
    "program": Operation,
    "straight": Operation,  # the same for steps of straight_rows rows, where there is such code
    "layers": Layer,
    "tables": Table,  # the same rows as layers, those of tables behind the others
    "bounds": "int64",  # of the steps in `order`
    "labels": "int64",  # a class per row; empty where targets are used
    "order": "int64",  # indices of rows
    "table": "int64",  # addresses of the microkernels
    "random": "int64",  # the key of the random masks, and the number of the first step
    "pieces": Piece,
    "partials": "float64",  # the loss of every panel
    "totals": "float64",  # the sum of weights of every step; empty for the number of rows
    "scalars": "float64",  # (steps, 8), or one row for all: the optimizer's
    "losses": "float64",  # of the steps
    "rates": "float64",  # of dropouts whose rate changes, of all steps one after another
    "settings": Settings,  # a row for every array of parameters
    "update_spec": "float64",
    "sums": "float64",  # of pieces, see `updates`
    "P": "real",  # parameters, and behind them the optimizer's states
    "M": "real",  # workspace
    "G": "real",  # the gradient, laid out as the parameters; empty on the fused path
    "X": "real",  # rows of the first layer's inputs
    "y": "real",  # rows of targets; empty where labels are used
    "weight": "real",  # a weight per row; empty for 1; for LINEAR rows of activations, where forward did not run
    "outputs": "real",  # predictions by position in `order`; empty where none are wanted
    "starts": "int64",  # of sparse rows, where each begins in X and columns; empty for dense ones
    "columns": "int32",  # the features of the values in X
    "H": "uint16",  # activations and deltas as operands of bfloat16, see `passes.bfloat16`; empty without
    "V": "uint16",  # kernels as such operands
    "saved": "int64",  # a line for each worker, see `begin_tiles`
}
# Numbers that hold for a call.
NUMBERS = (
    "n_steps", "loss", "backward", "fused", "rule", "ahead", "stride", "n_workers", "spins", "train", "penalized",
    "lamb", "first_step", "run_node", "run_update",
    "bfloat16", "run_products", "stale", "operands_low", "kernels_low",
    "streams_operands", "streams_kernels", "straight_rows", "claims",
)  # fmt: skip
# A worker's own: first what the host writes, then what changes from step to step.
FIXED = ("shared", "me", "scratch", "groups", "flag", "tiles")
CHANGING = (
    "workers", "parts", "part", "phase", "gathered", "step", "first", "batch", "panels", "accumulates", "updates",
    "first_update",
)  # fmt: skip
WORDS = LINE // 8
SHARED = -(-(2 * len(ARRAYS) + len(NUMBERS)) // WORDS) * WORDS
OWN = -(-(len(FIXED) + len(CHANGING)) // WORDS) * WORDS


class Place(NamedTuple):
    """Where an attribute stands, and what it is: "int64" for a number, else an array's kind as a pointer."""

    word: int
    own: bool  # in the worker's own words
    pointer: Any  # the kind of the elements it points to, or None for a number
    changes: bool  # within a call


PLACES = {
    **{name: Place(2 * i, False, kind, False) for i, (name, kind) in enumerate(ARRAYS.items())},
    **{f"n_{name}": Place(2 * i + 1, False, None, False) for i, name in enumerate(ARRAYS)},
    **{name: Place(2 * len(ARRAYS) + i, False, None, False) for i, name in enumerate(NUMBERS)},
    **{name: Place(i, True, None, i >= len(FIXED)) for i, name in enumerate(FIXED + CHANGING)},
}


def words(workers: int) -> int:
    """How many words a context has."""
    return SHARED + workers * OWN


class PlainContext(SimpleNamespace):
    """The context of plain Python: the same attributes, with arrays for pointers and tuples for rows."""

    def __init__(self, words: np.ndarray, arrays: dict[str, Any], dtype: Any):
        super().__init__(L=LINE // np.dtype(dtype).itemsize)
        for name, place in PLACES.items():
            setattr(self, name, int(words[place.word + (SHARED if place.own else 0)]))
        for name, kind in ARRAYS.items():
            array = arrays[name]
            setattr(self, name, array.reshape(-1) if isinstance(kind, str) else plain_rows(array, kind))


def plain_rows(array: np.ndarray, kind: type) -> list[SimpleNamespace]:
    fields = {name: place for name, place in vars(kind).items() if not name.startswith("_")}
    rows = array.reshape(-1, length(kind)).tolist()
    return [SimpleNamespace(**{name: row[place] for name, place in fields.items()}) for row in rows]
