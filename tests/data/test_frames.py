"""Frames of pandas, polars and pyarrow, tensors of PyTorch and JAX: the same bits as arrays, or a helpful error."""

import decimal
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import fastbp
from fastbp import Dense, Sequential
from fastbp.data import arrays as data
from fastbp.data import sample_weights, targets

F4, F8 = np.dtype("float32"), np.dtype("float64")
N = 60
X = np.random.default_rng(3).normal(size=(N, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 1)
WEIGHT = np.random.default_rng(4).integers(1, 4, N).astype(np.float32)
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module", autouse=True)
def jax_x64():
    with jax.enable_x64(True):
        yield


def memory_mapped(values, path):
    file = path / f"{len(list(path.iterdir()))}.npy"
    np.save(file, values)
    return np.load(file, mmap_mode="r")


FORMS = {
    "pandas": lambda v, p: pd.DataFrame(v, columns=NAMES) if v.ndim == 2 else pd.Series(v),
    "pandas, column by column": lambda v, p: pd.DataFrame({n: v[:, i] for i, n in enumerate(NAMES)})
        if v.ndim == 2 else pd.Series(v),
    "polars": lambda v, p: pl.DataFrame(v, schema=NAMES) if v.ndim == 2 else pl.Series("y", v),
    "pyarrow": lambda v, p: pa.table(list(v.T), names=NAMES) if v.ndim == 2 else pa.chunked_array([v[:9], v[9:]]),
    "pyarrow record batch": lambda v, p: pa.record_batch(list(v.T), names=NAMES) if v.ndim == 2 else pa.array(v),
    "torch": lambda v, p: torch.tensor(v),
    "torch, with gradient": lambda v, p: torch.tensor(v, requires_grad=v.dtype.kind == "f"),
    "torch, transposed": lambda v, p: torch.tensor(np.ascontiguousarray(v.T)).T if v.ndim == 2 else torch.tensor(v),
    "jax": lambda v, p: jax.numpy.asarray(v),
    "memory map": memory_mapped,
}  # fmt: skip


def train(x, y, weight, **options):
    model = Sequential([Dense(8, "tanh"), Dense(3, "softmax")], seed=8, **options)
    model.compile("adam", "cross_entropy", ["accuracy"])
    history = model.fit(x, y, sample_weight=weight, batch_size=16, epochs=2, validation_data=(x, y)).history
    loss = model.train_on_batch(x, y)
    return history, loss, model.evaluate(x, y), model.predict(x), *model.gradients(x, y), *model.get_weights()


def assert_all_same(first, second):
    assert first[:3] == second[:3]
    for a, b in zip(first[3:], second[3:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["float32", "float64", "int8"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_to_the_same_bits_as_arrays(tmp_path, form, kind, dtype):
    values = X.astype(kind) if kind != "int8" else np.int8(10 * X)
    convert = FORMS[form]
    given = convert(values, tmp_path), convert(Y, tmp_path), convert(WEIGHT, tmp_path)
    assert_all_same(train(*given, dtype=dtype), train(values, Y, WEIGHT, dtype=dtype))


@pytest.mark.parametrize("kind", ["float16", "uint8", "uint64", "int16", "bool"])
@pytest.mark.parametrize("form", FORMS)
def test_every_numeric_dtype_is_converted(tmp_path, form, kind):
    values = (X > 0 if kind == "bool" else np.abs(10 * X)).astype(kind)
    for dtype in (F4, F8):
        result = data.features(FORMS[form](values, tmp_path), 3, dtype)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, values.astype(dtype))
    column = np.ascontiguousarray(values[:, 0])
    column[0] = 1
    np.testing.assert_array_equal(sample_weights.weights(FORMS[form](column, tmp_path), N, F4), column.astype(F4))


@pytest.mark.parametrize("form", ["torch", "torch, with gradient", "jax", "memory map"])
def test_contiguous_tensor_of_the_dtype_is_not_copied(tmp_path, form):
    given = FORMS[form](X, tmp_path)
    first, second = (data.features(given, 3, F4) for _ in range(2))
    assert np.shares_memory(first, second)
    address = {"torch": "data_ptr", "jax": "unsafe_buffer_pointer"}.get(form.split(",")[0])
    if address:
        assert first.ctypes.data == getattr(given, address)()


MIXED = {
    "pandas": (pd.DataFrame({"i": [1, 2], "f": np.float32([0.5, 1]), "b": [True, False]}), [[1, 0.5, 1], [2, 1, 0]]),
    "polars": (pl.DataFrame({"i": [1, 2], "f": [0.5, 1.0], "b": [True, False]}), [[1, 0.5, 1], [2, 1, 0]]),
    "pyarrow": (pa.table({"i": [1, 2], "b": [True, False]}), [[1, 1], [2, 0]]),
    "nullable": (pd.DataFrame({"i": pd.array([1, 2], "Int64"), "b": pd.array([True, False], "boolean")}),
        [[1, 1], [2, 0]]),
    "pyarrow in pandas": (pd.DataFrame({"i": pd.array([1, 2], "int64[pyarrow]")}), [[1], [2]]),
    "decimals": (pl.DataFrame({"d": [decimal.Decimal("1.5"), decimal.Decimal("-2")]}), [[1.5], [-2]]),
    "objects": (pd.DataFrame({"o": np.array([1, 2.5], object)}), [[1], [2.5]]),
    "index that does not start at 0": (pd.DataFrame({"x": [1, 2]}, index=[7, 3]), [[1], [2]]),
    "duplicate names": (pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"]), [[1, 2], [3, 4]]),
    "integer names": (pd.DataFrame([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXED)
def test_columns_of_mixed_dtypes_become_one_array(case):
    table, expected = MIXED[case]
    np.testing.assert_array_equal(data.features(table, None, F8), expected)


SPARSE = torch.eye(2).to_sparse()
BAD = {
    "strings": (pd.DataFrame({"x": [1, 2], "city": ["Bonn", "Oslo"]}),
        TypeError, "column 'city' has type String.*fastbp.Preprocessor"),
    "strings of polars": (pl.DataFrame({"city": ["Bonn"]}), TypeError, "column 'city' has type String"),
    "strings of pyarrow": (pa.table({"city": ["Bonn"]}), TypeError, "column 'city' has type String"),
    "categories": (pd.DataFrame({"c": pd.Categorical(["u", "v"])}), TypeError, "column 'c' has type Categorical"),
    "categories of polars": (pl.DataFrame({"c": ["u"]}, {"c": pl.Categorical}),
        TypeError, "column 'c' has type Categorical"),
    "dates": (pd.DataFrame({"d": pd.to_datetime(["2020-01-01"])}), TypeError, "column 'd' has type Datetime"),
    "lists": (pl.DataFrame({"l": [[1.0, 2.0]]}), TypeError, "column 'l' has type List"),
    "mixed objects": (pd.DataFrame({"o": np.array([1, "x"], object)}),
        TypeError, "column 'o' of X .*got 'x' .str. at row 1"),
    "NaN": (pd.DataFrame({"x": [1.0], "y": [np.nan]}), ValueError, "no missing values.* column 'y' has one at row 0"),
    "NA": (pd.DataFrame({"x": pd.array([1, None], "Int64")}), ValueError, "column 'x' has one at row 1.*Preprocessor"),
    "null": (pl.DataFrame({"x": [1, 2, None]}), ValueError, "column 'x' has one at row 2"),
    "null of pyarrow": (pa.table({"x": [1.0, None]}), ValueError, "column 'x' has one at row 1"),
    "NaN of polars": (pl.DataFrame({"x": [1.0, np.nan]}), ValueError, "nan at row 1, column 0"),
    "infinity": (pd.DataFrame({"x": [1.0, np.inf]}), ValueError, "inf at row 1, column 0"),
    "lazy frame": (pl.LazyFrame({"x": [1.0]}), TypeError, "must be in memory, got a LazyFrame: pass X.collect()"),
    "no columns": (pd.DataFrame(index=[0, 1]), ValueError, "at least one row and one column"),
    "no rows": (pl.DataFrame({"x": []}, {"x": pl.Float64}), ValueError, "at least one row and one column"),
    "a series": (pd.Series([1.0, 2.0]), ValueError, "must have two dimensions.*reshape"),
    "another device": (torch.zeros((2, 2), device="meta"),
        ValueError, "must be in CPU memory, got a Tensor on meta"),
    "bfloat16": (torch.zeros((2, 2), dtype=torch.bfloat16), TypeError, "of torch.bfloat16 .*X.float()"),
    "bfloat16 of jax": (jax.numpy.zeros((2, 2), "bfloat16"), TypeError, "bfloat16"),
    "complex": (torch.zeros((2, 2), dtype=torch.complex64), TypeError, "real and imaginary"),
    "sparse": (SPARSE, TypeError, "X.to_dense.*"),
    "NaN in a tensor": (torch.tensor([[1.0, np.nan]]), ValueError, "nan at row 0, column 1"),
    "1-D": (torch.zeros(3), ValueError, "X.reshape"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_non_numeric_data_error_gives_place_and_remedy(case):
    value, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        data.features(value, None, F4)
    assert len(str(caught.value)) < 500


def test_device_that_numpy_cannot_reach_is_named():
    class OnGPU:
        device = "cuda:0"

        def __dlpack__(self, **options):
            raise AssertionError

        def __dlpack_device__(self):
            return 2, 0  # kDLCUDA

    with pytest.raises(ValueError, match=r"got a OnGPU on cuda:0: pass X.cpu\(\) of PyTorch, or jax.device_get\(X\)"):
        data.features(OnGPU(), None, F4)


def test_string_target_column_is_named():
    with pytest.raises(TypeError, match="y must hold numbers or booleans, but column 'kind' has type String"):
        targets.targets(pd.Series(["a", "b"], name="kind"), 2, 3, "cross_entropy", F4)


def test_frames_convert_without_narwhals(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    np.testing.assert_array_equal(data.features(pd.DataFrame(X), 3, F4), X)
    np.testing.assert_array_equal(data.features(pl.DataFrame(X), 3, F4), X)


def test_narwhals_frames_are_accepted():
    import narwhals

    np.testing.assert_array_equal(data.features(narwhals.from_native(pl.DataFrame(X)), 3, F4), X)


def test_torch_data_loader_is_a_source():
    whole, streamed = (Sequential([Dense(3, "softmax")], seed=1) for _ in range(2))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=7)
    for model, given in ((whole, (X, Y)), (streamed, (loader,))):
        model.compile("adam", "cross_entropy")
        model.fit(*given, batch_size=16, epochs=2)
    for a, b in zip(whole.get_weights(), streamed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(streamed.predict(loader), whole.predict(X))


def test_chunks_may_be_frames():
    model = Sequential([Dense(3, "softmax")])
    model.compile("adam", "cross_entropy")
    frame = pl.DataFrame(X, schema=NAMES)
    model.fit(lambda: ((frame[i : i + 7], pl.Series(Y[i : i + 7])) for i in range(0, N, 7)))
    with pytest.raises(TypeError, match=r"X of chunk 0 must hold numbers or booleans, but column 'c' has type String"):
        model.fit([(frame.with_columns(c=pl.lit("x")), Y)])


@pytest.mark.parametrize("form", FORMS)
def test_array_source_accepts_every_form(tmp_path, form):
    source = fastbp.sources.ArraySource(FORMS[form](X, tmp_path), FORMS[form](Y, tmp_path), chunk_rows=7)
    x, y = (np.concatenate(column) for column in zip(*source, strict=True))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_arrays_and_lists_import_no_optional_library():
    code = """
import sys, numpy as np, fastbp
model = fastbp.Sequential([fastbp.Dense(1)])
model.compile("sgd", "mse")
model.fit([[1.0]], [1.0]), model.predict(np.ones((2, 1)))
print(sorted({"narwhals", "pandas", "polars", "pyarrow", "torch", "jax"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
