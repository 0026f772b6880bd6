"""Where training data come from: the bundled digits, MNIST and Fashion-MNIST on disk, ``.npz`` and ``.csv`` files.

Everything here returns plain arrays in the data's own units; a `Preprocessor` scales them and numbers the classes.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import zipfile
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastbp.preprocessing.columns import is_missing, is_number
from fastbp.util.types import Array

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_PARTS = (("train", "images-idx3"), ("train", "labels-idx1"), ("t10k", "images-idx3"), ("t10k", "labels-idx1"))
DIGITS_SCALE = 4.0  # over 20 splits, pixels from 0 to 4 are learnt to 98.0 %, pixels from 0 to 1 to 97.7 %
FOLDERS = {"mnist": (), "fashion-mnist": (Path("/usr/share/datasets/fashion-mnist"),)}
REMEDIES = {
    "mnist": "put mnist.npz (x_train, y_train, x_test, y_test) or a folder mnist/ with the four IDX files of "
    "https://yann.lecun.com/exdb/mnist/ into a folder and name that folder in the environment variable FASTBP_DATA",
    "fashion-mnist": "install Debian's package (apt-get install dataset-fashion-mnist), or put the four IDX files of "
    "https://github.com/zalandoresearch/fashion-mnist into a folder fashion-mnist/ and name the folder that holds it "
    "in the environment variable FASTBP_DATA",
}


class Split(NamedTuple):
    """Training and test rows: X (n, features), y (n,) or (n, outputs); ``columns`` names the features where known."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    columns: tuple[str, ...] = ()
    scale: float | None = None  # what to divide the features by; None: standardise each


class Table(NamedTuple):
    """Rows of one file: X (n, features), y (n,) or None, and the names of the features where the file gives them.

    X holds numbers, NaN where one is missing; objects where there are texts, which a `Preprocessor` takes.
    """

    X: Array
    y: Array | None
    columns: tuple[str, ...] = ()


def load_digits() -> Table:
    """The optical digits set bundled with fastbp: X (1797, 64) uint8 from 0 to 16, y (1797,) digits.

    >>> load_digits().X.shape
    (1797, 64)

    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0; `bundled/ATTRIBUTION.md`.
    """
    with resources.files("fastbp").joinpath("bundled/digits.npz").open("rb") as file, np.load(file) as data:
        return Table(data["X"], data["y"].astype(np.int64))


def load_mnist() -> Split:
    """MNIST's 60,000 training and 10,000 test images, uint8 rows of 784; FileNotFoundError says how to get them."""
    return _load_images("mnist")


def load_fashion_mnist() -> Split:
    """Fashion-MNIST, 60,000 and 10,000 images as `load_mnist`; FileNotFoundError says how to get them."""
    return _load_images("fashion-mnist")


def load_named(name: str, *, seed: int = 0) -> Split:
    """The set called "digits", "mnist" or "fashion-mnist"; of digits, the test is a stratified fifth by ``seed``."""
    if name == "digits":
        table = load_digits()
        return split_table(table, seed=seed, scale=DIGITS_SCALE)
    if name in FOLDERS:
        return _load_images(name)
    raise ValueError(f"unknown data set {name!r}: choose digits, mnist or fashion-mnist, or give a .npz or .csv file")


def split_table(table: Table, *, fraction: float = 0.2, seed: int = 0, scale: float | None = None) -> Split:
    """Hold out ``fraction`` of the rows as the test, stratified where y holds classes (integers, texts, booleans)."""
    if table.y is None:
        known = f", one of {', '.join(table.columns)}" if table.columns else ""
        raise ValueError(f"the data hold no target: give y in a .npz file, or --target COLUMN for a .csv file{known}")
    train, test = stratified_split(table.y, fraction=fraction, seed=seed)
    return Split(table.X[train], table.y[train], table.X[test], table.y[test], table.columns, scale)


def stratified_split(y: Array, *, fraction: float = 0.2, seed: int = 0) -> tuple[Array, Array]:
    """Row numbers (train, test), each shuffled; every class has its share of the test to within one row.

    Classes are the distinct values of an integer, boolean or text y of one dimension; otherwise rows are drawn at
    random. The test has ``round(n * fraction)`` rows: the largest remainders get what rounding down leaves.
    ValueError: fewer than 2 rows, or a fraction that leaves either part empty.

    >>> train, test = stratified_split(np.array([0] * 8 + [1] * 2), fraction=0.5)
    >>> len(train), len(test), int((test >= 8).sum())
    (5, 5, 1)
    """
    n = len(y)
    n_test = round(n * fraction)
    if not 0 < n_test < n:
        raise ValueError(
            f"a test of {fraction:g} of {n} rows leaves one part empty: give more rows or another fraction"
        )
    rng = np.random.default_rng(seed)
    strata = np.unique(y, return_inverse=True)[1] if y.ndim == 1 and y.dtype.kind in "biuUS" else np.zeros(n, np.int64)
    rows = rng.permutation(n)
    rows = rows[np.argsort(strata[rows], kind="stable")]  # class after class, each in random order
    counts = np.bincount(strata)
    quota = _largest_remainders(counts * (n_test / n), n_test)
    starts = np.cumsum(counts) - counts
    place = np.arange(n) - np.repeat(starts, counts)  # of each row within its class
    is_test = place < np.repeat(quota, counts)
    return rng.permutation(rows[~is_test]), rng.permutation(rows[is_test])


def read_npz(path: str | os.PathLike[str]) -> Table | Split:
    """A NumPy archive: X and y (a Table), or x_train, y_train, x_test and y_test (a Split); images become rows.

    y may be missing (a Table to predict from). ValueError: neither set of names, Python objects, lengths that differ.
    """
    arrays = _read_archive(Path(path))
    if "x_train" in arrays or "X_train" in arrays:
        return _split_of(arrays, path)
    X = arrays.get("X", arrays.get("x"))
    if X is None:
        names = ", ".join(arrays) or "nothing"
        raise ValueError(f"{path} must hold X and y, or x_train, y_train, x_test and y_test; it holds {names}")
    y = arrays.get("y")
    X = as_rows(X, f"X of {path}")
    if y is not None:
        _check_lengths(X, y, f"X and y of {path}")
    columns = tuple(str(name) for name in np.ravel(arrays.get("columns", np.zeros(0))))
    return Table(X, y, columns if len(columns) == X.shape[1] else ())


def read_csv(
    path: str | os.PathLike[str], *, target: str | None = None, columns: Sequence[str] = (), texts: Collection[str] = ()
) -> Table:
    """A comma-separated file with a line of names. ``.csv.gz`` works too.

    X is an array of numbers, NaN where one is missing (empty, ``?``, ``NA`` and their like); where a column holds other
    texts, or is one of ``texts``, X holds objects: numbers, and texts as they stand there.
    target: the column to predict (numbers or texts); None reads all columns as features and leaves y None.
    columns: read these columns only, in this order, whatever else the file holds (used to predict); the target may then
    be absent, or have gaps: y is None.
    ValueError: an unknown column, a line of another length; each names line and column.
    """
    names, lines = _read_lines(Path(path))
    if target is not None and target not in names and not columns:
        raise ValueError(f"--target {target!r} is not a column of {path}: its columns are {', '.join(names)}")
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}: the model was trained on {', '.join(columns)}")
    features = tuple(columns) or tuple(name for name in names if name != target)
    if not features:
        raise ValueError(f"{path} has no column besides the target {target!r}: nothing to learn from")
    by_name = dict(zip(names, zip(*lines, strict=True), strict=True))
    values = [_numbers_or_texts(by_name[name], name in texts) for name in features]
    kind = np.float64 if all(column.dtype == np.float64 for column in values) else object
    X = np.stack([column.astype(kind) for column in values], axis=1)
    if target not in by_name or (columns and any(is_missing(value) for value in by_name[target])):
        return Table(X, None, features)
    return Table(X, _target(by_name[target], target, path), features)


def read_file(
    path: str | os.PathLike[str], *, target: str | None = None, columns: Sequence[str] = (), texts: Collection[str] = ()
) -> Table | Split:
    """`read_npz` or `read_csv` by the file's ending; FileNotFoundError and ValueError name the file."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"no file {file}: give digits, mnist, fashion-mnist, or a .npz or .csv file that exists"
        )
    if file.name.endswith((".csv", ".csv.gz")):
        return read_csv(file, target=target, columns=columns, texts=texts)
    if file.suffix == ".npz":
        if target is not None and not columns:
            raise ValueError(f"--target {target!r} belongs to .csv files; in {file} the target is the array y")
        return read_npz(file)
    raise ValueError(f"cannot read {file}: the ending must be .npz, .csv or .csv.gz")


def read_idx(path: str | os.PathLike[str]) -> Array:
    """One array from an IDX file (MNIST's format), gzipped or not; ValueError where header and size disagree."""
    data = _read_bytes(Path(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise ValueError(f"{path} is not an IDX file: it must begin with two zero bytes, a type and a number of axes")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4 : min(start, len(data) // 4 * 4)], ">i4"))
    dtype = np.dtype(IDX_TYPES[data[2]])
    n_bytes = math.prod(shape) * dtype.itemsize
    if len(shape) != data[3] or min(shape, default=0) < 0 or len(data) - start != n_bytes:
        raise ValueError(f"{path} is damaged: its header promises {data[3]} axes of {shape}, it has {len(data)} bytes")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def as_rows(X: Array, what: str) -> Array:
    """X as (n, features) with images laid out in rows; ValueError unless it holds numbers in two axes or more."""
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers, got dtype {X.dtype}: convert or drop the other columns")
    if X.ndim < 2:
        raise ValueError(
            f"{what} must have rows and columns, got shape {X.shape}: use X.reshape(-1, 1) for one feature"
        )
    return X.reshape(len(X), -1)


def _load_images(name: str) -> Split:
    root = os.environ.get("FASTBP_DATA")
    folders = [*([Path(root) / name] if root else []), *FOLDERS[name]]
    if root and (archive := Path(root) / f"{name}.npz").is_file():
        split = read_npz(archive)
        if isinstance(split, Split):
            return split._replace(scale=255.0)
        raise ValueError(f"{archive} must hold x_train, y_train, x_test and y_test")
    for folder in folders:
        files = [_idx_file(folder, *part) for part in IDX_PARTS]
        if all(files):
            x_train, y_train, x_test, y_test = (read_idx(file) for file in files if file)
            named = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
            return _split_of(named, folder)._replace(scale=255.0)
    places = ", ".join(str(folder) for folder in folders) or "nowhere, for FASTBP_DATA is not set"
    raise FileNotFoundError(f"{name} was not found (looked in {places}): {REMEDIES[name]}")


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    names = (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-idx', '.idx')}-ubyte")
    candidates = (folder / (name + ending) for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): get the file again") from error


def _read_archive(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            wanted = ("X", "x", "y", "columns", *(f"{x}_{part}" for x in "Xxy" for part in ("train", "test")))
            return {name: data[name] for name in data.files if name in wanted}
    except (ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"cannot read {path}: it must be a .npz archive of number arrays ({error})") from error


def _split_of(arrays: dict[str, Array], path: object) -> Split:
    (x_train, y_train), (x_test, y_test) = (_part_of(arrays, part, path) for part in ("train", "test"))
    if x_train.shape[1] != x_test.shape[1]:
        shapes = f"{x_train.shape} and {x_test.shape}"
        raise ValueError(f"x_train and x_test of {path} must have as many features, got shapes {shapes}")
    return Split(x_train, y_train, x_test, y_test)


def _part_of(arrays: dict[str, Array], part: str, path: object) -> tuple[Array, Array]:
    X, y = arrays.get(f"x_{part}", arrays.get(f"X_{part}")), arrays.get(f"y_{part}")
    if X is None or y is None:
        raise ValueError(f"{path} must hold x_train, y_train, x_test and y_test; it holds {', '.join(arrays)}")
    _check_lengths(X, y, f"x_{part} and y_{part} of {path}")
    return as_rows(X, f"x_{part} of {path}"), y


def _check_lengths(X: Array, y: Array, what: str) -> None:
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"{what} must have as many rows, got shapes {X.shape} and {y.shape}")


def _largest_remainders(shares: Array, total: int) -> Array:
    quota = np.floor(shares).astype(np.int64)
    left = total - int(quota.sum())
    quota[np.argsort(quota - shares, kind="stable")[:left]] += 1
    return quota


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
            return _checked_lines(csv.reader(file), path)
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error, EOFError) as error:
        raise ValueError(f"cannot read {path}: it must be comma-separated text in UTF-8 ({error})") from error


def _checked_lines(reader: Iterator[list[str]], path: Path) -> tuple[list[str], list[list[str]]]:
    names = [name.strip() for name in next(reader, [])]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path} must begin with a line of distinct column names, got {', '.join(names) or 'nothing'}")
    lines = []
    for number, line in enumerate(reader, start=2):
        if line and len(line) != len(names):
            raise ValueError(
                f"line {number} of {path} has {len(line)} values, its first line names {len(names)} columns"
            )
        if line:
            lines.append(line)
    if not lines:
        raise ValueError(f"{path} holds no rows below its line of names")
    return names, lines


def _numbers_or_texts(values: Sequence[str], text: bool) -> Array:
    """float64 with NaN for what is missing; where a value is another text, or if text, all of them as objects."""
    for read in () if text else (float, _number_or_gap):
        try:
            return np.array([read(value) for value in values])
        except ValueError:  # the second looks at every value, which takes ten times as long
            continue
    return np.array(values, object)


def _number_or_gap(value: str) -> float:
    return math.nan if is_missing(value) else float(value)


def _target(values: Sequence[str], name: str, path: object) -> Array:
    if any(is_missing(value) for value in values):
        raise ValueError(f"the target column {name!r} of {path} has empty values: fill them or drop those rows")
    if not all(is_number(value) for value in values):
        return np.array([value.strip() for value in values])
    try:
        return np.array([int(value) for value in values], np.int64)
    except (ValueError, OverflowError):
        return np.array([float(value) for value in values])
