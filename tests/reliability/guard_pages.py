"""Place every array that enters the engine between two unreadable pages; a stray access kills the process.

    python -m tests.reliability.guard_pages end|start

`end`: each array ends where an unreadable page begins, as closely as its alignment allows; `start`: each begins right
after one. The trainings cover all kinds of layers, dense and sparse rows, embeddings, odd sizes and both dtypes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import fastbp
from fastbp import activations, kernels
from fastbp.data.csr import SparseRows
from fastbp.engine import engine as engines
from fastbp.engine import memory, parameters, plain_dense, plain_update, workspace
from fastbp.isa import LINE

Array = np.ndarray
LIBC = ctypes.CDLL(None, use_errno=True)
UNREADABLE, READABLE = 0, mmap.PROT_READ | mmap.PROT_WRITE


class Guarded:
    """A buffer of the given size between two unreadable pages, freed with the last array that uses it."""

    def __init__(self, size: int, at_end: bool, alignment: int) -> None:
        page = mmap.PAGESIZE
        room = -(-max(size, 1) // page) * page
        self.map = mmap.mmap(-1, room + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        for place in (start, start + page + room):
            if LIBC.mprotect(ctypes.c_void_p(place), page, UNREADABLE):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = page + ((room - size) // alignment * alignment if at_end else 0)
        self.__array_interface__ = {"data": (start + offset, False), "shape": (size,), "typestr": "|u1", "version": 3}


def empty(shape: int | tuple[int, ...], dtype: Any, at_end: bool, alignment: int | None = None) -> Array:
    dtype, shape = np.dtype(dtype), (shape,) if isinstance(shape, int) else shape
    size = int(np.prod(shape)) * dtype.itemsize
    return np.asarray(Guarded(size, at_end, alignment or dtype.itemsize)).view(dtype).reshape(shape)


def guarded(array: Array, at_end: bool) -> Array:
    copy = empty(array.shape, array.dtype, at_end)
    copy[...] = array
    return copy


def guard_the_engine(at_end: bool) -> None:
    """Guard what the engine allocates itself as well, and copy whatever is passed to a run there and back."""

    def aligned(n: int, dtype: Any) -> Array:
        return empty(n, dtype, at_end, LINE)

    for module in (memory, engines, parameters, plain_dense, plain_update, workspace):
        module.aligned = aligned  # type: ignore[attr-defined]
    run, own = workspace.Workspace.run, {"P", "G"}

    def guarded_run(self: Any, mode: str, numbers: dict[str, int], **arrays: Array) -> None:
        inside = {name: array if name in own else guarded(array, at_end) for name, array in arrays.items()}
        for name in ("program", "pieces", "settings", "update_spec", "sums", "partials", "table"):
            kept = self.programs[mode] if name == "program" else self._arrays[name]
            if not isinstance(getattr(kept, "base", None), Guarded):
                kept = guarded(kept, at_end)
            if name == "program":
                self.programs[mode] = kept
            else:
                self.point(name, kept)
        self.partials = self._arrays["partials"]
        run(self, mode, numbers, **inside)
        for name in ("losses", "outputs"):
            if name in arrays:
                arrays[name][...] = inside[name]

    workspace.Workspace.run = guarded_run  # type: ignore[method-assign]


# ---------------------------------------------------------------- trainings

D = fastbp.Dense
LOSSES = ("mse", "cross_entropy", "quantile", "gaussian_nll", "hinge")
NETWORKS: dict[str, list[Any]] = {
    "plain": [D(17, "relu"), D(33, "tanh")],
    "no hidden layer": [],
    "wide": [D(300, "gelu"), D(65, "silu")],
    "normalized": [D(19, use_bias=False), fastbp.BatchNorm(), fastbp.Activation("relu"), fastbp.LayerNorm()],
    "batch norm first": [fastbp.BatchNorm(), D(7, "elu")],
    "random": [fastbp.Dropout(0.3), D(21, "elu"), fastbp.GaussianNoise(0.1), fastbp.Scale()],
    "residual": [D(21, "relu"), fastbp.Residual([D(30, "relu"), D(21)]), fastbp.Residual([D(5, "tanh")])],
    "penalized": [D(13, "softplus", kernel_regularizer=fastbp.L1L2(0.01, 0.01), kernel_constraint=fastbp.MaxNorm(1.0))],
    "waves": [fastbp.PeriodicEmbedding(2, 5), D(18, "relu"), fastbp.PeriodicEmbedding(3, 4, [17], phases=False)],
    "bins": [fastbp.PiecewiseLinearEmbedding({0: (-1.0, 0.0, 1.0)}, 5), D(18, "relu")],
    "embedded": [fastbp.ColumnEmbedding({0: 5, 2: 3000}, 3), D(18, "relu")],
}
OPTIMIZERS = (
    fastbp.SGD(0.01),
    fastbp.SGD(0.01, momentum=0.9),
    fastbp.Adam(0.01, amsgrad=True),
    fastbp.LAMB(0.01),
    fastbp.Muon(0.01),
    fastbp.AdamW(0.01, global_clipnorm=0.1, gradient_accumulation_steps=2, use_ema=True),
)


def last_of(loss: str) -> tuple[Any, Any, int]:
    """The last layer for a loss, the loss, and the number of target columns; 0 for labels."""
    return {
        "mse": (D(3), "mse", 3),
        "cross_entropy": (D(5, "softmax"), "cross_entropy", 0),
        "quantile": (D(6), fastbp.Quantile([0.1, 0.5, 0.9]), 2),
        "gaussian_nll": (D(4), "gaussian_nll", 2),
        "hinge": (D(5), "categorical_hinge", 0),
    }[loss]


def cases() -> Iterator[tuple[str, list[Any], Any, str, str, int, int, bool]]:
    """Combine each network with different optimizers, losses, dtypes, numbers of rows and columns."""
    for number, (name, layers) in enumerate(NETWORKS.items()):
        for turn in range(6):
            optimizer, loss = OPTIMIZERS[(number + turn) % len(OPTIMIZERS)], LOSSES[(number + turn) % len(LOSSES)]
            dtype = ("float32", "float64")[(number + turn // 2) % 2]
            rows, columns = (1, 7, 16, 50, 129, 600)[turn], (3, 16, 17, 31, 5, 100)[(number + turn) % 6]
            for sparse in (False, True):
                yield name, layers, optimizer, loss, dtype, rows, columns, sparse


def train(layers: list[Any], optimizer: Any, loss: str, dtype: str, rows: int, columns: int, sparse: bool,
          at_end: bool) -> None:
    """Train, predict, evaluate and get gradients, with all of the caller's arrays between unreadable pages."""
    rng = np.random.default_rng(0)
    last, chosen, targets = last_of(loss)
    X = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.5)
    if layers and isinstance(layers[0], fastbp.ColumnEmbedding):
        X[:, 0], X[:, 2] = rng.integers(0, 5, rows), rng.integers(0, 3000, rows)
        X[0, [0, 2]] = 4, 2999
    y = rng.normal(size=(rows, targets)).astype(dtype) if targets else rng.integers(0, 5, rows)
    given: Any = guarded(X.astype(dtype), at_end)
    if sparse:
        import scipy.sparse

        S = scipy.sparse.csr_array(X.astype(dtype))
        given = SparseRows(*(guarded(part, at_end) for part in (S.indptr.astype(np.int64), S.indices, S.data)), columns)
    y, weight = guarded(y, at_end), guarded(rng.random(rows).astype(dtype) + 0.1, at_end)
    model = fastbp.Sequential([*layers, last], dtype=dtype, seed=1)
    model.compile(optimizer, chosen, ["accuracy"] if not targets else ["mae"])
    n_threads = 2 if rows == 600 else 1
    with np.errstate(all="ignore"):
        model.fit(given, y, batch_size=min(rows, 50), epochs=2, sample_weight=weight, n_threads=n_threads, verbose=0)
        model.fit(given, y, batch_size=min(rows, 33), n_threads=n_threads, verbose=0)
    model.train_on_batch(given, y)
    model.gradients(given, y, sample_weight=weight)
    model.evaluate(given, y, sample_weight=weight, n_threads=n_threads)
    model.predict(given, n_threads=n_threads)


def plain_kernels(dtype: str, rows: int, inputs: int, outputs: int, at_end: bool) -> None:
    """The kernels for plain arrays, and one step of every optimizer."""
    rng = np.random.default_rng(1)
    X, W, b, dA = (guarded(rng.normal(size=shape).astype(dtype), at_end)
                   for shape in ((rows, inputs), (inputs, outputs), (outputs,), (rows, outputs)))  # fmt: skip
    for activation in activations.NAMES:
        A = kernels.dense_forward(X, W, b, activation, out=empty((rows, outputs), dtype, at_end))
        kernels.dense_backward(dA, X, W, A, activation, b)
    number = guarded(np.ones((), dtype), at_end)
    for optimizer in OPTIMIZERS:
        if optimizer.rule not in ("lamb", "muon"):
            for array in (X, W, b, number):
                state = kernels.init_state(optimizer, array)
                state.arrays = [guarded(each, at_end) for each in state.arrays]
                kernels.update(optimizer, array, guarded(rng.normal(size=array.shape).astype(dtype), at_end), state)


def main(where: str) -> None:
    faulthandler.enable()
    if where in ("after", "before"):  # an access that must kill the process
        array = empty(100, "float32", where == "after")
        place = array.ctypes.data
        ctypes.c_float.from_address(place + array.nbytes if where == "after" else place - 4).value = 1.0
        print("nothing happened")
        return
    at_end = where == "end"
    guard_the_engine(at_end)
    done = 0
    for name, *case in cases():
        print(name, *case[1:], flush=True)
        train(*case, at_end)
        done += 1
    for dtype in ("float32", "float64"):
        for shape in ((0, 3, 5), (1, 1, 1), (7, 3, 17), (16, 32, 8), (40, 33, 16), (513, 5, 3)):
            print("plain", dtype, *shape, flush=True)
            plain_kernels(dtype, *shape, at_end)
            done += 1
    print(f"{done} cases, {where}")


if __name__ == "__main__":
    main(sys.argv[1])
