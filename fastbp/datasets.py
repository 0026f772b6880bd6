"""Datasets: the bundled digits, MNIST and Fashion-MNIST on disk, and ``.npz`` and ``.csv`` files.

All functions return plain arrays in the units of the data; a `Preprocessor` scales features and encodes classes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastbp.data.idx import read_idx
from fastbp.data.splits import stratified_split
from fastbp.tables.columns import in_matrix
from fastbp.tables.file_targets import Named, gaps_in, labelled
from fastbp.tables.table import Table as Table
from fastbp.tables.table_files import LISTED, ending_of, read_table, read_text
from fastbp.tables.text.dialect import dialect_of
from fastbp.tables.values import MISSING
from fastbp.tables.wanted import FileTable, Wanted
from fastbp.util.files import check_member, of_system, open_regular, shortened
from fastbp.util.types import Array

IDX_PARTS = (("train", "images-idx3"), ("train", "labels-idx1"), ("t10k", "images-idx3"), ("t10k", "labels-idx1"))
DIGITS_SCALE = 4.0  # mean test accuracy over 20 splits: 98.0 % with pixels from 0 to 4, 97.7 % from 0 to 1
FOLDERS = {"mnist": (), "fashion-mnist": (Path("/usr/share/datasets/fashion-mnist"),)}
REMEDIES = {
    "mnist": "put mnist.npz (x_train, y_train, x_test, y_test) or a folder mnist/ with the four IDX files of "
    "https://yann.lecun.com/exdb/mnist/ into a folder and name that folder in the environment variable FASTBP_DATA",
    "fashion-mnist": "install Debian's package (apt-get install dataset-fashion-mnist), or put the four IDX files of "
    "https://github.com/zalandoresearch/fashion-mnist into a folder fashion-mnist/ and name the folder that holds it "
    "in the environment variable FASTBP_DATA",
}


class Split(NamedTuple):
    """Training and test set.

    Parameters
    ----------
    x_train : array, shape (n, features)
        Training inputs.
    y_train : array, shape (n,) or (n, outputs)
        Training targets.
    x_test, y_test : array
        The test set, in the same form.
    columns : tuple of str, optional
        Names of the features, where known.
    scale : float, optional
        Divisor of the features; None to standardize each feature.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    columns: tuple[str, ...] = ()
    scale: float | None = None


def load_digits() -> Table:
    """Load the optical digits dataset that is bundled with fastbp.

    Returns
    -------
    Table
        X (1797, 64), uint8 from 0 to 16; y (1797,), the digits.

    References
    ----------
    E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0; see `bundled/ATTRIBUTION.md`.

    Examples
    --------
    >>> load_digits().X.shape
    (1797, 64)
    """
    with resources.files("fastbp").joinpath("bundled/digits.npz").open("rb") as file, np.load(file) as data:
        return Table(data["X"], data["y"].astype(np.int64))


def load_mnist() -> Split:
    """Load MNIST from disk.

    Returns
    -------
    Split
        60,000 training and 10,000 test images, as uint8 rows of 784 pixels, and their digits.

    Raises
    ------
    FileNotFoundError
        If the files are missing; the message says how to get them.
    """
    return _load_images("mnist")


def load_fashion_mnist() -> Split:
    """Load Fashion-MNIST from disk: 60,000 training and 10,000 test images, in the same form as `load_mnist`.

    Raises FileNotFoundError if the files are missing; the message says how to get them.

    See Also
    --------
    load_mnist
    """
    return _load_images("fashion-mnist")


def load_named(name: str, *, seed: int = 0) -> Split:
    """Load a dataset by name.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist"}
        The dataset.
    seed : int, optional
        Seed of the split of "digits", whose test set is a stratified 20 % of the rows.

    Returns
    -------
    Split
        Training and test set.

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the files are missing; the message says how to get them.
    """
    if name == "digits":
        table = load_digits()
        return split_table(table, seed=seed, scale=DIGITS_SCALE, task="classification")
    if name in FOLDERS:
        return _load_images(name)
    raise ValueError(f"unknown dataset {name!r}: choose digits, mnist or fashion-mnist, or pass a .npz or .csv file")


def split_table(
    table: Table, *, fraction: float = 0.2, seed: int = 0, scale: float | None = None, task: str | None = None
) -> Split:
    """Hold out a fraction of the rows as a test set, stratified if y holds classes.

    Parameters
    ----------
    table : Table
        The data, with targets.
    fraction : float, optional
        Fraction of the rows in the test set.
    seed : int, optional
        Seed of the shuffle.
    scale : float, optional
        Divisor of the features, passed on to the result.
    task : {"classification", "regression"}, optional
        By default strings, booleans and integers with at most 100 distinct values are classes.

    Returns
    -------
    Split
        Training and test set.

    Raises
    ------
    ValueError
        If there are no targets, fewer than 2 rows, or either part would be empty.
    """
    if table.y is None:
        choices = f", one of {', '.join(table.columns)}" if table.columns else ""
        raise ValueError(f"the data hold no target: pass y in a .npz file, or --target COLUMN for a .csv file{choices}")
    train, test = stratified_split(table.y, fraction=fraction, seed=seed, task=task)
    return Split(table.X[train], table.y[train], table.X[test], table.y[test], table.columns, scale)


def read_npz(path: str | os.PathLike[str]) -> Table | Split:
    """Read a NumPy archive.

    Parameters
    ----------
    path : path-like
        An ``.npz`` file with X and, optionally, y, or with x_train, y_train, x_test and y_test. Images become rows.

    Returns
    -------
    Table or Split
        A Table for X and y, where y is None if missing; a Split for the other names.

    Raises
    ------
    ValueError
        If the file has neither set of names, holds Python objects, or lengths differ.
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
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    columns: Sequence[str] = (),
    texts: Collection[str] = (),
    separator: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    drop_missing_target: bool = False,
    missing: Collection[str] = MISSING,
    progress: bool = False,
) -> Table:
    """Read a comma-separated file with a header row; compressed ones (.gz, .bz2, .xz, .zst) work too.

    A file whose first row holds only numbers has no header row: its columns are named "0", "1", …

    Parameters
    ----------
    path : path-like
        The file.
    target : str, optional
        Column to predict (numbers or strings); without it all columns are features and y is None.
    columns : sequence of str, optional
        Read only these columns as features, in this order. For prediction: the target may then be absent or have
        missing values, and y is None.
    texts : collection of str, optional
        Columns to read as strings even if they hold numbers.
    separator : str, optional
        The character between values, or "tab". By default ``,``, ``;``, tab or ``|``, whichever divides the first lines
        evenly; a warning says so if it is not the comma (in .tsv files the tab).
    decimal : {".", ","}, optional
        The decimal mark.
    encoding : str, optional
        By default UTF-8, or UTF-16 and UTF-32 with a byte order mark.
    drop_missing_target : bool, optional
        Whether to leave out rows without a target, with a warning, instead of refusing them.
    missing : collection of str, optional
        Strings that mean a missing value, in lower case; by default the empty string, ``?``, ``NA`` and the like.
    progress : bool, optional
        Whether to show a bar on a terminal if reading takes longer than a moment.

    Returns
    -------
    Table
        X is an array of numbers, NaN where one is missing. If a column holds strings, X has dtype object: numbers, and
        strings as they are in the file. Integers as targets are exact.

    Raises
    ------
    ValueError
        If a column is unknown, a line has the wrong length, a number is infinite or the file is damaged; the message
        gives the line as an editor counts, and the column.

    Notes
    -----
    With pyarrow (extra ``csv`` or ``parquet``) it is about ten times as fast as without, with the same result.
    """
    wanted = Wanted(target, columns, texts, missing, progress)
    dialect = dialect_of(separator, decimal, encoding)
    return _table(Path(path), read_text(Path(path), wanted, dialect), wanted, drop_missing_target)


def read_file(
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    columns: Sequence[str] = (),
    texts: Collection[str] = (),
    separator: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    drop_missing_target: bool = False,
    missing: Collection[str] = MISSING,
    progress: bool = False,
) -> Table | Split:
    """Read a file by its extension, in upper or lower case: `read_npz`, `read_csv`, Parquet or Excel.

    Parameters
    ----------
    path : path-like
        A .npz, .csv, .tsv (also .gz, .bz2, .xz, .zst), .parquet or .xlsx file; with a separator, any extension is
        text.
    target, columns, texts, separator, decimal, encoding, drop_missing_target, missing, progress
        As in `read_csv`; in a ``.npz`` file the target is the array y.

    Returns
    -------
    Table or Split
        The contents.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read; the message names it.
    ImportError
        For Parquet without pyarrow (extra ``parquet``) and Excel without openpyxl (extra ``excel``).
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: pass digits, mnist, fashion-mnist, or an existing .npz or .csv file")
    dialect = dialect_of(separator, decimal, encoding)
    if ending_of(file) or separator is not None:
        wanted = Wanted(target, columns, texts, missing, progress)
        return _table(file, read_table(file, wanted, dialect), wanted, drop_missing_target)
    if file.suffix.lower() == ".npz":
        if target is not None and not columns:
            raise ValueError(f"--target {target!r} is for .csv files only; in {file} the target is the array y")
        return read_npz(file)
    raise ValueError(
        f"cannot read {file}: the extension must be .npz, {LISTED}; name the separator of a text file with separator= "
        "(--separator) to read it by any name"
    )


def as_rows(X: Array, what: str) -> Array:
    """X as (n, features), images flattened; ValueError unless it holds numbers in at least two axes."""
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
    searched = ", ".join(str(folder) for folder in folders) or "nowhere: FASTBP_DATA is not set"
    raise FileNotFoundError(f"{name} was not found (searched {searched}): {REMEDIES[name]}")


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    names = (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-idx', '.idx')}-ubyte")
    candidates = (folder / (name + ending) for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_archive(path: Path) -> dict[str, Array]:
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as data:
            wanted = ("X", "x", "y", "columns", *(f"{x}_{part}" for x in "Xxy" for part in ("train", "test")))
            names = [name for name in data.files if name in wanted]
            for name in names:
                check_member(data.zip, f"{name}.npy")
            return {name: data[name] for name in names}
    except Exception as error:  # zipfile, zlib and NumPy each have errors of their own
        if of_system(error):
            raise
        message = f"cannot read {path}: it must be a .npz archive of number arrays ({error})"
        raise ValueError(shortened(message)) from error


def _split_of(arrays: dict[str, Array], path: object) -> Split:
    (x_train, y_train), (x_test, y_test) = (_part_of(arrays, part, path) for part in ("train", "test"))
    if x_train.shape[1] != x_test.shape[1]:
        shapes = f"{x_train.shape} and {x_test.shape}"
        raise ValueError(f"x_train and x_test of {path} must have the same number of features, got shapes {shapes}")
    return Split(x_train, y_train, x_test, y_test)


def _part_of(arrays: dict[str, Array], part: str, path: object) -> tuple[Array, Array]:
    X, y = arrays.get(f"x_{part}", arrays.get(f"X_{part}")), arrays.get(f"y_{part}")
    if X is None or y is None:
        raise ValueError(f"{path} must hold x_train, y_train, x_test and y_test; it holds {', '.join(arrays)}")
    _check_lengths(X, y, f"x_{part} and y_{part} of {path}")
    return as_rows(X, f"x_{part} of {path}"), y


def _check_lengths(X: Array, y: Array, what: str) -> None:
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"{what} must have the same number of rows, got shapes {X.shape} and {y.shape}")


def _table(path: Path, found: FileTable, wanted: Wanted, drop: bool) -> Table:
    """A file's columns, and its targets."""
    features, column = found.features, found.target
    y = None
    if column is not None and wanted.columns and gaps_in(column, wanted.missing).any():
        column = None  # rows to predict
    if column is not None:
        y, rows = labelled(column, Named(str(wanted.target), path, features.place), drop, wanted.missing)
        if rows is not None:
            features = features.take(rows)
    return Table.of(in_matrix(features), y)
