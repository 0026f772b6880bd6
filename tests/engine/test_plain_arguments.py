"""The plain kernels and arrays of any form: exact results within the arrays' own memory, or a refusal by name."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import kernels
from fastbp.engine import plain_dense

FRAME = 32  # elements on either side, more than a cache line
ALL = settings(max_examples=200, deadline=None, derandomize=True, database=None)
MOMENTUM = fastbp.SGD(0.5, momentum=0.5)


# ---------------------------------------------------------------- arrays of all forms


def framed(a: np.ndarray) -> np.ndarray:
    """A copy amid NaN, which spoil what is computed of them and show what is written outside."""
    room = np.full(a.size + 2 * FRAME, np.nan, a.dtype)
    room[FRAME : FRAME + a.size] = a.reshape(-1)
    return room[FRAME : FRAME + a.size].reshape(a.shape)


def frame_is_whole(a: Any) -> bool:
    room = a.base if isinstance(a, np.ndarray) and a.base is not None else None
    if room is None or room.ndim != 1 or room.size != a.size + 2 * FRAME:
        return True  # another form
    return bool(np.isnan(room[:FRAME]).all() and np.isnan(room[FRAME + a.size :]).all())


def read_only(a: np.ndarray) -> np.ndarray:
    a = framed(a)
    a.flags.writeable = False
    return a


def misaligned(a: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0" + a.tobytes(), a.dtype, a.size, 1).reshape(a.shape)


FORMS: dict[str, Any] = {
    "amid NaN": framed,
    "read-only": read_only,
    "a matrix": lambda a: a.copy().view(np.matrix) if a.ndim == 2 else a,
    "without masked values": lambda a: np.ma.masked_array(a.copy()),
    "masked": lambda a: np.ma.masked_array(a.copy(), mask=True),
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1],
    "every other": lambda a: np.repeat(a, 2, axis=0)[::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "misaligned": misaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "the other type": lambda a: a.astype("f4" if a.dtype == "f8" else "f8"),
    "half": lambda a: a.astype("f2"),
    "integers": lambda a: a.astype("i8"),
    "complex": lambda a: a.astype("c8"),
    "objects": lambda a: a.astype(object),
    "records": lambda a: a.astype([("x", a.dtype)]),
    "transposed": lambda a: a.T.copy(),
    "shorter": lambda a: a[1:].copy(),
    "longer": lambda a: np.concatenate([a, a]),
    "flat": lambda a: a.reshape(-1),
    "of one dimension more": lambda a: a[None],
    "of no dimension": lambda a: np.array(1, a.dtype),
    "a list": lambda a: a.tolist(),
    "a number": lambda a: 1.0,
    "a string": lambda a: "X",
    "None": lambda a: None,
}


@st.composite
def forms(draw: st.DrawFn, *shapes: tuple[int, ...]) -> list[Any]:
    """An array of small whole numbers for each shape, some of them in a form of their own; all results are exact."""
    dtype, seed = draw(st.sampled_from(["f4", "f8"])), draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    given = []
    for shape in shapes:
        name = draw(st.one_of(*[st.just("amid NaN")] * 4, st.sampled_from(list(FORMS))))
        given.append(FORMS[name](rng.integers(-3, 4, shape).astype(dtype)))
    return given


def fits(a: Any, shape: tuple[int | None, ...], dtype: Any) -> bool:
    """Whether a kernel may read it."""
    return (
        isinstance(a, np.ndarray) and a.dtype == dtype and a.dtype in (np.float32, np.float64)
        and len(a.shape) == len(shape) and all(w in (None, s) for s, w in zip(a.shape, shape, strict=True))
        and a.flags.c_contiguous and a.flags.aligned and not np.ma.is_masked(a)
    )  # fmt: skip


def is_layer(X: Any, W: Any, b: Any) -> bool:
    dtype = getattr(X, "dtype", None)
    return (
        fits(X, (None, None), dtype) and fits(W, (X.shape[1], None), dtype) and 0 not in W.shape
        and (b is None or fits(b, (W.shape[1],), dtype))
    )  # fmt: skip


def plain(*arrays: Any) -> list[Any]:
    return [None if a is None else np.array(a, np.float64) for a in arrays]


def refused(call: Any, *names: str) -> None:
    """One of fastbp's own errors, which begins with the argument and ends with a remedy."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert re.match(rf"({'|'.join(map(re.escape, names))}) must .*, got .*: ", str(caught.value)), caught.value


LAYERS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))


@ALL
@given(st.data(), LAYERS, st.sampled_from(["identity", "relu"]), st.booleans())
def test_forward_is_exact_or_refuses(data, shape, activation, into):
    rows, inputs, outputs = shape
    X, W, b, out = data.draw(forms((rows, inputs), (inputs, outputs), (outputs,), (rows, outputs)))
    out = out if into else None

    def call():
        return kernels.dense_forward(X, W, b, activation, out)

    before = None if out is None else np.array(out)
    good = is_layer(X, W, b) and (out is None or (fits(out, (len(X), W.shape[1]), X.dtype) and out.flags.writeable))
    if good:
        A = call()
        assert out is None or A is out
        wide, kernel, bias = plain(X, W, b)
        Z = wide @ kernel + (0 if bias is None else bias)
        np.testing.assert_array_equal(np.asarray(A), np.maximum(Z, 0) if activation == "relu" else Z)
    else:
        refused(call, "X", "W", "b", "out")
        assert out is None or np.array_equal(before, np.array(out))
    assert all(map(frame_is_whole, (X, W, b, out)))


@ALL
@given(st.data(), LAYERS, st.sampled_from(["identity", "relu"]))
def test_backward_is_exact_or_refuses(data, shape, activation):
    rows, inputs, outputs = shape
    shapes = (rows, outputs), (rows, inputs), (inputs, outputs), (rows, outputs), (outputs,)
    dA, X, W, A, b = data.draw(forms(*shapes))

    def call():
        return kernels.dense_backward(dA, X, W, A, activation, b)

    if is_layer(X, W, b) and all(fits(a, (len(X), W.shape[1]), X.dtype) for a in (dA, A)):
        dZ, wide, kernel, output = plain(dA, X, W, A)
        dZ = dZ * (output > 0) if activation == "relu" else dZ
        for got, expected in zip(call(), (dZ @ kernel.T, wide.T @ dZ, dZ.sum(axis=0)), strict=True):
            assert type(got) is np.ndarray
            np.testing.assert_array_equal(got, expected)
    else:
        refused(call, "dA", "X", "W", "A", "b")
    assert all(map(frame_is_whole, (dA, X, W, A, b)))


@ALL
@given(st.data(), st.one_of(LAYERS.map(lambda shape: shape[:2]), st.tuples(st.integers(0, 1100))))
def test_update_is_exact_or_refuses(data, shape):
    W, grad, velocity = data.draw(forms(shape, shape, shape))
    state = kernels.State([velocity])

    def call():
        return kernels.update(MOMENTUM, W, grad, state)

    known, before = isinstance(W, np.ndarray), [np.array(a) for a in (W, velocity)]
    if known and all(fits(a, W.shape, W.dtype) for a in (W, grad, velocity)) and all(
        a.flags.writeable for a in (W, velocity)
    ):
        w, g, v = plain(W, grad, velocity)
        assert call() is True
        assert state.step == 1
        np.testing.assert_array_equal(np.array(W), w - 0.5 * (0.5 * v + g))
    else:
        refused(call, "W", "grad", "state.arrays[0]")
        assert state.step == 0
        assert all(np.array_equal(old, np.array(a)) for old, a in zip(before, (W, velocity), strict=True))
    assert all(map(frame_is_whole, (W, grad, velocity)))


# ---------------------------------------------------------------- states, and memory that moves

W = np.ones((3, 4), np.float32)
BAD_STATES = {
    "no arrays": (None, 0, TypeError, "state.arrays must be a list of arrays, got NoneType: pass init_state"),
    "an iterator": (iter([W]), 0, TypeError, "state.arrays must be a list of arrays, got list_iterator"),
    "an array": (np.ones((1, 3, 4), np.float32), 0, TypeError, "state.arrays must be a list of arrays, got ndarray"),
    "None among them": ([None], 0, TypeError, r"state.arrays\[0\] must be a NumPy array, got NoneType"),
    "a negative step": ([W.copy()], -1, ValueError, "state.step must be at least 0, got -1"),
    "a fraction of a step": ([W.copy()], 0.5, TypeError, "state.step must be an integer, got 0.5"),
    "no step": ([W.copy()], None, TypeError, "state.step must be an integer, got None"),
    "a step beyond int64": ([W.copy()], 2**64, ValueError, "state.step must be at most .*, got 18446744073709551616"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_states_that_init_state_never_gave(case):
    arrays, step, error, message = BAD_STATES[case]
    changed = W.copy()
    with pytest.raises(error, match=message):
        kernels.update(MOMENTUM, changed, np.ones_like(W), kernels.State(arrays, step))
    assert (changed == 1).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nadam", fastbp.AdamW(fastbp.CosineDecay(0.1, 10))])
def test_the_last_step_that_is_allowed_is_finite(optimizer):
    state, changed = kernels.init_state(optimizer, W), W.copy()
    state.step = 2**53
    assert kernels.update(optimizer, changed, np.ones_like(W), state) is True
    assert np.isfinite(changed).all()
    assert state.step == 2**53 + 1


def test_arrays_that_share_memory_are_refused():
    one = np.zeros_like(W)
    with pytest.raises(ValueError, match=r"state.arrays\[1\] must not overlap state.arrays\[0\]"):
        kernels.update("adam", W.copy(), np.ones_like(W), kernels.State([one, one]))
    room = np.zeros(20, np.float32)
    with pytest.raises(ValueError, match="W must not overlap grad"):
        kernels.update("sgd", room[:12], room[8:], kernels.State())


def moved(a: np.ndarray) -> None:
    """The same array object with the same shape, whose memory is another."""
    start, shape = a.ctypes.data, a.shape
    while a.ctypes.data == start:  # until the allocator has no room behind it
        a.resize((2 * len(a), *shape[1:]), refcheck=False)
    a.resize(shape, refcheck=False)
    assert a.ctypes.data != start


def test_an_array_that_resize_moved_is_read_where_it_is():
    """NumPy keeps the object while its memory moves, so its identity says nothing of where it lies."""
    model = fastbp.Sequential([fastbp.Dense(2)], input_size=3)
    model.compile(fastbp.SGD(0.0), "mse")
    W, b, y = np.ones((3, 2), np.float32), np.zeros(2, np.float32), np.ones((600, 2), np.float32)
    calls = {
        "predict": model.predict,
        "train_on_batch": lambda X: model.train_on_batch(X, y),
        "dense_forward": lambda X: kernels.dense_forward(X, W, b, "identity"),
        "dense_backward": lambda X: kernels.dense_backward(y, X, W, y, "identity")[1],
    }
    for name, call in calls.items():
        X = np.ones((600, 3), np.float32)
        call(X)
        moved(X)
        X[:] = 2.0
        got = call(X)
        np.testing.assert_array_equal(got, call(X.copy()), name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # of Python and of JAX, with running threads
def test_process_forked_while_a_thread_borrows_an_engine_can_borrow_one():
    taken = threading.Event()

    def hold() -> None:
        with plain_dense.RECENT._lock:
            taken.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = os.fork()
    if not child:
        os._exit(not plain_dense.RECENT._lock.acquire(timeout=5))
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
