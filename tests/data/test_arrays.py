"""Input arrays: every supported form gives the same bits, anything else an error with a remedy."""

import tracemalloc
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fastbp.data import arrays as data
from fastbp.data import sample_weights, targets
from fastbp.util import arguments

F4, F8 = np.dtype("float32"), np.dtype("float64")
MSE, CE, BCE = "mse", "cross_entropy", "binary_cross_entropy"


class ConvertibleFrame:
    """Like a data frame: converts itself through `__array__`."""

    def __init__(self, X):
        self._X = X

    def __array__(self, dtype=None, copy=None):
        return np.array(self._X, dtype)


class ConvertibleSparse:
    def toarray(self):
        return np.eye(2)


def misaligned(X):
    raw = np.empty(X.nbytes + 1, np.uint8)[1:]
    result = raw.view(X.dtype).reshape(X.shape)
    result[:] = X
    return result


def read_only(X):
    X.setflags(write=False)
    return X


SMALL = np.arange(24).reshape(8, 3) % 7
NUMBERS = np.random.default_rng(5).normal(size=(8, 3))
FORMS = {
    "C": lambda X: X,
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "negative strides": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "misaligned": misaligned,
    "read-only": lambda X: read_only(X.copy()),
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "list": lambda X: X.tolist(),
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "table": ConvertibleFrame,
    "objects": lambda X: X.astype(object),
    "subclass": lambda X: X.view(type("Subclass", (np.ndarray,), {})),
}
KINDS = ("float16", "float32", "float64", "longdouble", "int8", "uint64", "int32", "bool")
UNSUPPORTED = {("big-endian", "longdouble"), ("objects", "longdouble")}


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize(("form", "kind"), [(f, k) for f in FORMS for k in KINDS if (f, k) not in UNSUPPORTED])
def test_every_form_of_X_equals_a_contiguous_copy(form, kind, dtype):
    X = NUMBERS.astype(kind) if np.dtype(kind).kind == "f" else SMALL.astype(kind)
    result = data.features(FORMS[form](X), 3, dtype)
    assert result.dtype is dtype
    assert result.flags.c_contiguous
    assert result.flags.aligned
    np.testing.assert_array_equal(result, X.astype(dtype))


def test_broadcast_rows_are_expanded():
    X = np.broadcast_to(np.float32([1, 2, 3]), (5, 3))
    np.testing.assert_array_equal(data.features(X, 3, F4), np.tile(np.float32([1, 2, 3]), (5, 1)))


@pytest.mark.parametrize("rows", [1, 100, 20_000], ids=str)
@pytest.mark.parametrize("form", ["plain", "read-only", "memory-mapped", "table"])
def test_contiguous_X_of_the_dtype_is_not_copied(tmp_path, form, rows):
    X = np.ones((rows, 3), np.float32)
    if form == "read-only":
        read_only(X)
    elif form == "memory-mapped":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    given = X
    if form == "table":
        given = type("Table", (), {"__array__": lambda self, dtype=None, copy=None: X})()
    assert np.shares_memory(data.features(given, 3, F4), X)


RAGGED = [[1.0, 2.0], [3.0]]
BAD_X = {
    "NaN": ([[1, np.nan, 3]], ValueError, "nan at row 0, column 1"),
    "+inf": (np.array([[1, 2, 3], [1, 2, np.inf]], np.float32), ValueError, "inf at row 1, column 2"),
    "-inf": ([[1, 2, -np.inf]], ValueError, "-inf at row 0"),
    "infinities that cancel": ([[np.inf, 0, -np.inf]], ValueError, "inf at row 0, column 0"),
    "1-D": (np.ones(3), ValueError, "X.reshape(1, -1)"),
    "3-D": (np.ones((2, 3, 1)), ValueError, "X.reshape(len(X), -1)"),
    "scalar": (3.0, ValueError, "two dimensions"),
    "empty list": ([], ValueError, "two dimensions"),
    "no rows": (np.ones((0, 3)), ValueError, "(0, 3)"),
    "no columns": (np.ones((3, 0)), ValueError, "(3, 0)"),
    "width": (np.ones((2, 4)), ValueError, "input_size=4"),
    "ragged": (RAGGED, ValueError, "rows of one length"),
    "strings": ([["a", "b", "c"]], TypeError, "encode strings"),
    "bytes": (np.array([[b"a", b"b", b"c"]]), TypeError, "encode strings"),
    "numbers as strings": (np.array([["1", "2", "3"]], object), TypeError, "'1' (str) at row 0, column 0"),
    "complex": (np.ones((2, 3), complex), TypeError, "real and imaginary"),
    "None": (None, TypeError, "None"),
    "None inside": ([[1.0, None, 3.0]], TypeError, "None (NoneType) at row 0, column 1"),
    "dates": (np.zeros((2, 3), "datetime64[s]"), TypeError, "convert it to numbers"),
    "records": (np.zeros((2, 3), "i4,f4"), TypeError, "real numbers"),
    "dict": ({"a": [1]}, TypeError, "dict"),
    "an object with toarray": (ConvertibleSparse(), TypeError, "X.toarray()"),
    "masked": (np.ma.masked_equal(np.ones((2, 3)), 1), ValueError, "masked"),
    "huge long doubles": (np.full((1, 3), np.longdouble("1e4000")), ValueError, "too large"),
    "huge Python integers": ([[10**400, 1, 2]], ValueError, "float64"),
}


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_error_gives_value_and_remedy(case, dtype):
    X, error, text = BAD_X[case]
    with pytest.raises(error) as caught:
        data.features(X, 3, dtype)
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.startswith("X ")
    assert text in message
    assert len(message) < 500


def test_overflow_of_float32_suggests_float64():
    X = [[1, 2, -1e39]]
    with pytest.raises(ValueError, match=r"-1e.39 at row 0, column 2.*dtype='float64'"):
        data.features(X, 3, F4)
    assert data.features(X, 3, F8)[0, 2] == -1e39


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 15, data.SHORT, data.SHORT + 1, data._CHUNK + 17])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_non_finite_element_is_found_anywhere(size, place, bad):
    X = np.zeros((size, 1), np.float32)
    row = {"first": 0, "middle": size // 2, "last": size - 1}[place]
    X[row] = bad
    with pytest.raises(ValueError, match=f"row {row}, column 0"):
        data.features(X, 1, F4)


@pytest.mark.parametrize("size", [10, 10 * data.SHORT])
@pytest.mark.parametrize("value", [3e38, -3e38])
def test_finite_numbers_with_overflowing_sum_are_accepted(size, value):
    X = np.full((size, 1), value, np.float32)
    assert data.features(X, 1, F4) is X


def test_check_for_finite_numbers_needs_little_memory():
    X = np.full((4_000_000, 2), 3e38, np.float32)  # overflows, so both passes are made
    tracemalloc.start()
    assert data.finite(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


SOFT = [[0.25, 0.5, 0.25], [0, 0.5, 0.5]]
# loss, outputs, y, what the engine gets
GOOD_Y = {
    "mse rows": (MSE, 2, [[1, 2], [3, 4]], np.float32([[1, 2], [3, 4]])),
    "mse column": (MSE, 1, [[1], [3]], np.float32([[1], [3]])),
    "mse flat": (MSE, 1, [1, 3], np.float32([[1], [3]])),
    "labels": (CE, 3, [2, 0], np.int64([2, 0])),
    "labels uint64": (CE, 3, np.uint64([2, 0]), np.int64([2, 0])),
    "labels int8": (CE, 3, np.int8([2, 0]), np.int64([2, 0])),
    "labels big-endian": (CE, 3, np.array([2, 0], ">i2"), np.int64([2, 0])),
    "labels strided": (CE, 3, np.int64([2, 9, 0, 9])[::2], np.int64([2, 0])),
    "labels float": (CE, 3, [2.0, 0.0], np.int64([2, 0])),
    "labels bool": (CE, 2, [True, False], np.int64([1, 0])),
    "labels in a column": (CE, 3, [[2], [0]], np.int64([2, 0])),
    "one-hot": (CE, 3, np.eye(3)[[2, 0]], np.int64([2, 0])),
    "one-hot integers": (CE, 3, np.eye(3, dtype=int)[[2, 0]], np.int64([2, 0])),
    "soft labels": (CE, 3, SOFT, np.float32(SOFT)),
    "binary flat": (BCE, 1, [1, 0], np.float32([[1], [0]])),
    "binary bool": (BCE, 1, [True, False], np.float32([[1], [0]])),
    "binary rows": (BCE, 2, [[0.5, 1], [0, 0]], np.float32([[0.5, 1], [0, 0]])),
}


@pytest.mark.parametrize("case", GOOD_Y)
def test_targets_are_converted_for_the_loss(case):
    loss, outputs, y, expected = GOOD_Y[case]
    result = targets.targets(y, 2, outputs, loss, F4)
    assert result.dtype == expected.dtype
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, expected)


BAD_Y = {
    "length": (MSE, 1, [1, 2, 3], ValueError, "each of the 2 rows"),
    "scalar": (MSE, 1, 3, ValueError, "each of the 2 rows"),
    "None": (MSE, 1, None, TypeError, "None"),
    "NaN": (MSE, 1, [1, np.nan], ValueError, "nan at row 1"),
    "inf": (MSE, 1, np.float32([[np.inf], [0]]), ValueError, "inf at row 0"),
    "flat for two outputs": (MSE, 2, [1, 2], ValueError, "(2, 2)"),
    "wide": (MSE, 1, [[1, 2], [3, 4]], ValueError, "(2, 1) or (2,)"),
    "3-D": (MSE, 2, np.ones((2, 2, 1)), ValueError, "(2, 2, 1)"),
    "strings": (CE, 3, ["a", "b"], TypeError, "encode"),
    "complex": (MSE, 1, [1j, 2j], TypeError, "complex"),
    "label too large": (CE, 3, [0, 3], ValueError, "from 0 to 2"),
    "label negative": (CE, 3, [-1, 0], ValueError, "-1 at row 0"),
    "label fractional": (CE, 3, [0, 0.5], ValueError, "0.5 at row 1"),
    "label NaN": (CE, 3, [0, np.nan], ValueError, "nan at row 1"),
    "label beyond int64": (CE, 3, np.uint64([0, 2**63]), ValueError, "from 0 to 2"),
    "rows that do not sum to 1": (CE, 2, [[0.5, 0.5], [1, 1]], ValueError, "row 1 sums to 2"),
    "negative probability": (CE, 2, [[-0.5, 1.5], [0, 1]], ValueError, "[0, 1]"),
    "one-hot of another width": (CE, 3, np.eye(2), ValueError, "(2, 3) or (2,)"),
    "±1 for binary": (BCE, 1, [-1, 1], ValueError, "[0, 1]"),
    "classes for binary": (BCE, 1, [0, 2], ValueError, "2.0 at row 1"),
}


@pytest.mark.parametrize("case", BAD_Y)
def test_bad_targets_error_gives_value_and_remedy(case):
    loss, outputs, y, error, text = BAD_Y[case]
    with pytest.raises(error) as caught:
        targets.targets(y, 2, outputs, loss, F4)
    assert str(caught.value).startswith("y ")
    assert text in str(caught.value)


BAD_WEIGHTS = {
    "length": ([1, 2, 3], ValueError, "(2,)"),
    "2-D": ([[1], [2]], ValueError, "(2,)"),
    "negative": ([1, -1], ValueError, "-1.0 at row 1"),
    "all zero": ([0, 0], ValueError, "positive"),
    "NaN": ([1, np.nan], ValueError, "nan at row 1"),
    "strings": (["a", "b"], TypeError, "encode"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_sample_weights_error_gives_value(case):
    value, error, text = BAD_WEIGHTS[case]
    with pytest.raises(error) as caught:
        sample_weights.weights(value, 2, F4)
    assert str(caught.value).startswith("sample_weight ")
    assert text in str(caught.value)


LABELS, BINARY = np.array([0, 2, 1, 2]), np.array([[1], [0], [1], [1.0]])
SOFT_LABELS = np.array([[0.8, 0.2, 0], [0, 0.4, 0.6], [0.1, 0.8, 0.1], [0, 0, 1.0]])


@pytest.mark.parametrize(
    ("y", "outputs", "loss", "given", "expected"),
    [
        (LABELS, 3, CE, {0: 2.0, 1: 3, 2: 0}, [2, 0, 3, 0]),
        (LABELS, 3, CE, {1: 3.0}, [1, 1, 3, 1]),
        (LABELS, 3, CE, {np.int64(2): np.float32(0.5)}, [1, 0.5, 1, 0.5]),
        (SOFT_LABELS, 3, CE, {0: 2.0, 1: 3.0, 2: 4.0}, [2, 4, 3, 4]),
        (BINARY, 1, BCE, {0: 5.0}, [1, 5, 1, 1]),
    ],
)
def test_class_weights_become_sample_weights(y, outputs, loss, given, expected):
    np.testing.assert_array_equal(sample_weights.class_weights(given, y, outputs, loss), expected)


@pytest.mark.parametrize(
    ("given", "outputs", "loss", "error"),
    [
        ({3: 1.0}, 3, CE, ValueError),
        ({-1: 1.0}, 3, CE, ValueError),
        ({True: 1.0}, 3, CE, ValueError),
        ({"a": 1.0}, 3, CE, ValueError),
        ({0: -1.0}, 3, CE, ValueError),
        ({0: np.nan}, 3, CE, ValueError),
        ({0: "heavy"}, 3, CE, ValueError),
        ([1.0, 2.0], 3, CE, TypeError),
        ({0: 1.0}, 3, BCE, ValueError),
        ({0: 1.0}, 1, MSE, ValueError),
    ],
)
def test_bad_class_weights_are_rejected(given, outputs, loss, error):
    with pytest.raises(error, match="class_weight"):
        sample_weights.class_weights(given, LABELS if loss == CE else BINARY, outputs, loss)


@pytest.mark.parametrize(
    ("n", "fraction", "cut"), [(10, 0.2, 8), (10, 0.25, 7), (3, 0.5, 1), (7, 0.99, 0), (10, 0, 10)]
)
def test_split_takes_the_last_rows_as_keras_does(n, fraction, cut):
    rows = data.Rows(np.arange(n)[:, None], np.arange(n), np.arange(n) + 1)
    if cut == 0:
        with pytest.raises(ValueError, match="leaves 0 to train"):
            data.split(rows, fraction)
        return
    train, held_out = data.split(rows, fraction)
    np.testing.assert_array_equal(train.X[:, 0], np.arange(cut))
    assert np.shares_memory(train.X, rows.X)
    if fraction:
        np.testing.assert_array_equal(held_out.y, np.arange(cut, n))
        np.testing.assert_array_equal(held_out.weight, np.arange(cut, n) + 1)
    else:
        assert held_out is None


@pytest.mark.parametrize("fraction", [1, 1.0, -0.1, np.nan, "0.2", None, True])
def test_bad_split_is_rejected(fraction):
    rows = data.Rows(np.ones((4, 1)), np.ones(4), None)
    with pytest.raises(ValueError, match="validation_split"):
        data.split(rows, fraction)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_counts_may_be_any_integer_type(value):
    assert arguments.count(value, "epochs") == 3
    assert type(arguments.count(value, "epochs")) is int


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, ValueError) for value in (0, -1, np.int64(0), -(10**30))),
        *((value, TypeError) for value in (2.5, 2.0, "2", None, True, np.bool_(True), [2], np.nan, Fraction(4, 2))),
        (Decimal(2), TypeError),
    ],
)
def test_bad_counts_are_rejected(value, error):
    with pytest.raises(error, match=r"^batch_size must be .*got .*: "):
        arguments.count(value, "batch_size")
