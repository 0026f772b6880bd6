"""Data on disk: every file format trains to the same bits as arrays, and errors say what is wrong."""

import gzip
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastbp import Dense, Sequential, sources

N, FEATURES, BATCH = 211, 6, 16
X = np.random.default_rng(5).normal(size=(N, FEATURES)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 1)
WEIGHT = np.random.default_rng(6).integers(1, 4, N).astype(np.float32)
BYTES = np.random.default_rng(7).integers(0, 256, (N, 2, 3), dtype=np.uint8)
NAMES = [f"x{i}" for i in range(FEATURES)]


@pytest.fixture(autouse=True)
def no_leaked_threads():
    before = set(threading.enumerate())
    yield
    # pyarrow asks for the current thread, which leaves a dummy entry for threads that Python did not start
    left = {thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)}
    assert left <= before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same rows in files of every format."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("files")
    np.save(path / "X.npy", X)
    np.save(path / "fortran.npy", np.asfortranarray(X.astype(np.float64)))
    np.save(path / "bytes.npy", BYTES)
    np.save(path / "y.npy", Y)
    np.save(path / "w.npy", WEIGHT)
    np.savez(path / "plain.npz", X=X, y=Y, w=WEIGHT)
    np.savez_compressed(path / "packed.npz", images=BYTES, y=Y, X=X.astype(">f8"), w=WEIGHT)
    with h5py.File(path / "data.h5", "w") as file:
        file["X"], file["y"], file["w"] = X, Y, WEIGHT
        file.create_dataset("group/images", data=BYTES, chunks=(10, 2, 3), compression="gzip")
    table = pa.table({"y": Y, **{name: X[:, i] for i, name in enumerate(NAMES)}, "w": WEIGHT})
    pq.write_table(table, path / "data.parquet", row_group_size=50)
    lines = [",".join(map(repr, [int(y), *x.tolist(), float(w)])) for x, y, w in zip(X, Y, WEIGHT, strict=True)]
    header = ",".join(["y", *NAMES, "w"])
    (path / "data.csv").write_text("\n".join([header, *lines]))
    (path / "bare.csv").write_text("\r\n".join([*lines[:99], "", *lines[99:], "", ""]))
    for part, (start, end) in enumerate([(0, 70), (70, 71), (71, N)]):
        (path / f"part{part}.csv").write_text("\n".join([header, *lines[start:end], ""]))
        pq.write_table(table[start:end], path / f"part{part}.parquet")
    with gzip.open(path / "data.csv.gz", "wt", encoding="utf-8-sig") as file:
        file.write("\n".join([header.replace("y,", '"y", '), *lines]))
    return path


def build(metrics=("accuracy",), **options):
    model = Sequential([Dense(8, "tanh"), Dense(3, "softmax")], seed=8, **options)
    model.compile("adam", "cross_entropy", metrics)
    return model


def assert_same(first, second):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def parts(folder, ending):
    return [folder / f"part{part}.{ending}" for part in range(3)]


# sources with sample weights, opened with chunks of n rows
WEIGHTED = {
    "npy": lambda f, n: sources.open(f / "X.npy", f / "y.npy", weight=f / "w.npy", chunk_rows=n),
    "npz": lambda f, n: sources.open(str(f / "plain.npz"), "y", weight="w", chunk_rows=n),
    "compressed npz": lambda f, n: sources.open(f / "packed.npz", "y", weight="w", chunk_rows=n),
    "csv": lambda f, n: sources.open(f / "data.csv", "y", weight="w", chunk_rows=n),
    "csv without header": lambda f, n: sources.open(f / "bare.csv", 0, weight=7, chunk_rows=n),
    "csv.gz": lambda f, n: sources.open(f / "data.csv.gz", "y", weight="w", chunk_rows=n),
    "several csv": lambda f, n: sources.open(parts(f, "csv"), "y", weight="w", chunk_rows=n),
    "parquet": lambda f, n: sources.open(f / "data.parquet", "y", weight="w", chunk_rows=n),
    "several parquet": lambda f, n: sources.open(parts(f, "parquet"), "y", weight="w", chunk_rows=n),
    "hdf5": lambda f, n: sources.open(f / "data.h5", "y", weight="w", chunk_rows=n),
    "arrays": lambda f, n: sources.ArraySource(X, Y, WEIGHT, chunk_rows=n),
    "lists": lambda f, n: sources.ArraySource(X.tolist(), Y.tolist(), WEIGHT.tolist(), chunk_rows=n),
    "Fortran": lambda f, n: sources.ArraySource(np.load(f / "fortran.npy", mmap_mode="r"), Y, WEIGHT, chunk_rows=n),
}
SCALED = {
    "npy": lambda f: sources.open(f / "bytes.npy", f / "y.npy", scale=1 / 255, chunk_rows=7),
    "npz": lambda f: sources.open(f / "packed.npz", "y", features="images", scale=1 / 255, chunk_rows=7),
    "hdf5": lambda f: sources.open(f / "data.h5", "y", features="group/images", scale=1 / 255),
}
FILES = [name for name in WEIGHTED if name not in ("arrays", "lists", "Fortran")]


@pytest.mark.parametrize("rows", [1, 33, 500, None])
@pytest.mark.parametrize("kind", WEIGHTED)
def test_every_format_yields_the_rows_in_order(folder, kind, rows):
    source = WEIGHTED[kind](folder, rows)
    for _ in range(2):
        x, y, w = (np.concatenate(column) for column in zip(*source, strict=True))
        np.testing.assert_array_equal(x.astype(np.float32), X)
        np.testing.assert_array_equal(y, Y)
        np.testing.assert_array_equal(w, WEIGHT)
    assert max(len(chunk[0]) for chunk in source) <= (rows or N)
    assert source.rows == (None if "csv" in kind else N)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_every_format_trains_to_the_same_bits_as_arrays(folder, kind):
    whole, streamed = build(), build()
    expected = whole.fit(X, Y, sample_weight=WEIGHT, batch_size=BATCH, epochs=2, validation_data=(X, Y, WEIGHT))
    source = WEIGHTED[kind](folder, 33)
    history = streamed.fit(source, batch_size=BATCH, epochs=2, validation_data=source)
    assert history.history == expected.history
    assert_same(streamed, whole)
    np.testing.assert_array_equal(streamed.predict(source), whole.predict(X))
    assert streamed.evaluate(source) == whole.evaluate(X, Y, sample_weight=WEIGHT)


@pytest.mark.parametrize("kind", SCALED)
def test_images_are_flattened_and_scaled(folder, kind):
    whole, streamed = build(), build()
    whole.fit(BYTES.reshape(N, -1) * (1 / 255), Y, batch_size=BATCH, epochs=2)
    streamed.fit(SCALED[kind](folder), batch_size=BATCH, epochs=2)
    assert_same(streamed, whole)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_windows_mix_chunks_of_random_access_sources(folder, kind):
    source = WEIGHTED[kind](folder, 10)
    models = [build(), build()]
    for model in models:
        model.fit(source, batch_size=BATCH, epochs=2, shuffle_window=64, n_threads=1)
    assert_same(*models)
    stream, free = models[0].inputs.chunks(source).stream, source.pieces > 1
    assert free == (kind not in ("npz", "compressed npz", "csv", "csv without header", "csv.gz"))
    first = next(stream.windows(64, reversed(range(source.pieces))))[0]
    assert (first.X[0].tolist() != X[0].tolist()) == free


def test_selected_columns_and_several_targets(folder):
    for name in ("data.csv", "data.parquet"):
        source = sources.open(folder / name, ["x1", "w"], features=["x3", "x0"], chunk_rows=100)
        x, y = (np.concatenate(column) for column in zip(*source, strict=True))
        np.testing.assert_array_equal(np.float32(x), X[:, [3, 0]])
        np.testing.assert_array_equal(np.float32(y), np.column_stack([X[:, 1], WEIGHT]))
        (alone,) = zip(*sources.open(folder / name, features=NAMES), strict=True)
        np.testing.assert_array_equal(np.float32(np.concatenate(alone)), X)
    model = Sequential([Dense(2)])
    model.compile("sgd", "mse")
    model.fit(source)
    assert model.predict(sources.open(folder / "data.parquet", features=["x3", "x0"])).shape == (N, 2)


def test_source_without_target_can_only_predict(folder):
    source = sources.open(folder / "X.npy", chunk_rows=50)
    assert build(input_size=FEATURES).predict(source).shape == (N, 3)
    with pytest.raises(ValueError, match=r"chunks must be \(X, y\).*a tuple of 1"):
        build().fit(source)


def test_repr_names_files_and_rows(folder):
    assert repr(sources.open(folder / "X.npy")) == f"ArraySource(X.npy of {N} rows)"
    assert repr(sources.open(parts(folder, "csv"), "y")).startswith("CSV(part0.csv, part1.csv, part2.csv of")
    assert isinstance(sources.open(folder / "data.h5"), sources.Source)


def test_hdf5_chunks_are_multiples_of_chunks_in_the_file(folder, monkeypatch):
    monkeypatch.setattr("fastbp.sources.base.CHUNK_BYTES", 4 * 6 * 37)
    source = sources.open(folder / "data.h5", features="group/images")
    assert {len(X) for (X,) in source} == {30, N % 30}


# ---------------------------------------------------------------- errors


@pytest.fixture
def broken(folder, tmp_path):
    """Files that are each wrong in a different way."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "text.csv").write_text("a,b,y\n1,2,0\n3,red,1\n")
    (tmp_path / "hole.csv").write_text("a,b,y\n1,2,0\n3,,1\n")
    (tmp_path / "short.csv").write_text("a,b,y\n1,2,0\n3,1\n")
    (tmp_path / "nan.csv").write_text("a,b,y\n1,2,0\n3,nan,1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "names.csv").write_text("a,b,y\n")
    (tmp_path / "twice.csv").write_text("a,a,y\n1,2,3\n")
    (tmp_path / "other.csv").write_text("a,c,y\n1,2,3\n")
    np.save(tmp_path / "flat.npy", X[:, 0])
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    (tmp_path / "no.npy").write_bytes(b"no array")
    (tmp_path / "no.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "columns.npz", X=np.asfortranarray(X), y=Y, short=Y[:9], text=np.array(["a"] * N))
    pq.write_table(pa.table({"a": ["x", "y"], "y": [0, 1]}), tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1.0, None], "y": [0, 1]}), tmp_path / "hole.parquet")
    return tmp_path


ERRORS = {
    "extension": (lambda f, b: sources.open("data.txt"), ValueError, "file extension must be .npy, .*got data.txt"),
    "missing file": (lambda f, b: sources.open(b / "none.npy"), FileNotFoundError, "none.npy"),
    "no files": (lambda f, b: sources.open([]), ValueError, "path must name at least one file"),
    "mixed formats": (lambda f, b: sources.open(["a.csv", "b.parquet"]), ValueError, "of one kind, got .csv, .parquet"),
    "several arrays": (lambda f, b: sources.open([f / "X.npy", f / "X.npy"]),
        ValueError, "several files must be tables"),
    "features of npy": (lambda f, b: sources.open(f / "X.npy", features="X"), ValueError, "features must be left out"),
    "missing column": (lambda f, b: sources.open(f / "data.csv", "z"),
        ValueError, "must have a column 'z', but it has y, x0"),
    "missing column of parquet": (lambda f, b: sources.open(f / "data.parquet", "z"), ValueError, "column 'z'"),
    "missing member": (lambda f, b: sources.open(f / "plain.npz", "z"),
        ValueError, "must have a member 'z', but it has X, y, w"),
    "missing dataset": (lambda f, b: sources.open(f / "data.h5", "z"),
        ValueError, "must have a dataset 'z', but it has X, group"),
    "group": (lambda f, b: sources.open(f / "data.h5", features="group"), ValueError, "must have a dataset 'group'"),
    "only a target": (lambda f, b: sources.open(f / "data.csv", [*NAMES, "y", "w"]), ValueError, "must have features"),
    "weight alone": (lambda f, b: sources.open(f / "data.csv", weight="w"), ValueError, "weight needs a target"),
    "lengths": (lambda f, b: sources.ArraySource(X, Y[:-1]), ValueError, r"y must have a row for each of the 211 of X"),
    "lengths of npz": (
        lambda f, b: sources.open(b / "columns.npz", "short", features="y"), ValueError, "equal lengths"
    ),
    "1-D": (lambda f, b: sources.open(b / "flat.npy"), ValueError, "X must have rows and columns.*reshape"),
    "strings in npy": (lambda f, b: sources.open(b / "text.npy"), TypeError, "X must be an array of real numbers.*<U1"),
    "objects in npy": (lambda f, b: sources.open(b / "objects.npy"), ValueError, "must be a .npy file of numbers"),
    "not npy": (lambda f, b: sources.open(b / "no.npy"), ValueError, "must be a .npy file of numbers"),
    "not npz": (lambda f, b: sources.open(b / "no.npz"), ValueError, "must be a .npz archive"),
    "Fortran order in npz": (lambda f, b: sources.open(b / "columns.npz"), ValueError, "is in Fortran order"),
    "strings in npz": (lambda f, b: sources.open(b / "columns.npz", features="text"),
        ValueError, "must hold real numbers"),
    "scale 0": (lambda f, b: sources.open(f / "X.npy", scale=0), ValueError, "scale must be finite and not 0"),
    "scale string": (lambda f, b: sources.open(f / "X.npy", scale="1"), TypeError, "scale must be a number"),
    "chunk_rows 0": (lambda f, b: sources.open(f / "X.npy", chunk_rows=0), ValueError, "chunk_rows must be at least 1"),
    "empty csv": (lambda f, b: sources.open(b / "empty.csv"),
        ValueError, "must start with a header row .* got nothing"),
    "duplicate names": (lambda f, b: sources.open(b / "twice.csv"),

        ValueError, "distinct names, but columns 1 and 2 have the name 'a': rename one"),
    "different columns": (lambda f, b: list(sources.open([b / "names.csv", b / "other.csv"])),
        ValueError, "same columns as .*names.csv"),
    "string in csv": (lambda f, b: build().fit(sources.open(b / "text.csv", "y")), ValueError,
                      "line 3 of .*text.csv: column 'b' must hold finite numbers, got 'red': .*fastbp.Preprocessor"),
    "gap in csv": (lambda f, b: build().fit(sources.open(b / "hole.csv", "y")),
        ValueError, "line 3 of .*hole.csv: column 'b' must hold finite numbers, got ''"),
    "short line": (lambda f, b: build().fit(sources.open(b / "short.csv", "y")),
        ValueError, "line 3 of .* has 2 values, but the header row has 3 names.*'3,1'"),
    "nan in csv": (lambda f, b: build().fit(sources.open(b / "nan.csv", "y")), ValueError,
                   "line 3 of .*nan.csv: column 'b' must hold finite numbers, got 'nan'"),
    "csv without rows": (lambda f, b: build().fit(sources.open(b / "names.csv", "y")),
        ValueError, "must have at least one row"),
    "strings in parquet": (lambda f, b: build().fit(sources.open(b / "text.parquet", "y")), TypeError,
                           "X of text.parquet from row 0 must hold .*column 'a' has type String.*fastbp.Preprocessor"),
    "gap in parquet": (lambda f, b: build().fit(sources.open(b / "hole.parquet", "y")), ValueError,
                       "X of hole.parquet from row 0 must have no missing values.*column 'a' has one at row 1"),
    "bad label": (lambda f, b: build().fit(sources.ArraySource(X, np.where(np.arange(N) == 203, 3, Y), chunk_rows=50)),
                  ValueError, "y of the arrays from row 200 must hold class labels.* row 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_is_wrong_and_where(folder, broken, case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call(folder, broken)


@pytest.mark.parametrize(
    ("package", "extra", "name"), [("pyarrow", "parquet", "data.parquet"), ("h5py", "hdf5", "data.h5")]
)
def test_missing_package_error_names_the_install_command(folder, monkeypatch, package, extra, name):
    for module in [m for m in sys.modules if m == package or m.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=re.escape(f'pip install "fastbp[{extra}]"')):
        sources.open(folder / name)


def test_sources_import_no_optional_package():
    code = "import fastbp, sys; fastbp.sources; print(sorted({'h5py', 'pyarrow', 'narwhals'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
