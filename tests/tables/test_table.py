"""The contents of a file: a tuple of three, whose array of objects is made when it is asked for."""

import pickle
import tracemalloc

import numpy as np
import pytest

from fastbp import Preprocessor
from fastbp.cli.job import TrainJob
from fastbp.cli.network import hold_out, learn
from fastbp.datasets import Table, read_csv, split_table
from fastbp.tables.columns import Columns
from fastbp.tables.text import reader as csv_reader

TEXT = "size,town,when,kind\n1,Ulm,2024-05-01,u\n2.5,Kiel,,v\n,?,2024-05-03,u\n4,Ulm,2024-05-04,v\n"
NAMES = ("size", "town", "when")


@pytest.fixture
def table(tmp_path) -> Table:
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    return read_csv(path, target="kind")


def whole(table: Table) -> bool:
    """Whether X was made."""
    return "X" in vars(table)


def check(X: np.ndarray, y: np.ndarray, columns: tuple[str, ...]) -> None:
    assert X.dtype == object
    assert X[1].tolist() == [2.5, "Kiel", ""]
    assert np.isnan(X[2, 0])
    assert y.tolist() == ["u", "v", "u", "v"]
    assert columns == NAMES


WAYS = {
    "names": lambda table: (table.X, table.y, table.columns),
    "unpacking": lambda table: (lambda X, y, columns: (X, y, columns))(*table),
    "indices": lambda table: (table[0], table[1], table[-1]),
    "a slice": lambda table: table[:],
    "a tuple": tuple,
    "a list": list,
    "a sum": lambda table: table.__add__((1,))[:3],
    "a dict": lambda table: table._asdict().values(),
    "pickled": lambda table: pickle.loads(pickle.dumps(table)),
    "made": lambda table: type(table)._make(table),
    "replaced": lambda table: table._replace(y=table.y),
    "named anew": lambda table: table._replace(columns=table.columns),
    "reversed": lambda table: [*reversed([*reversed(table)])],
}


@pytest.mark.parametrize("way", WAYS)
def test_is_a_tuple_of_three(table, way) -> None:
    assert not whole(table)
    check(*WAYS[way](table))
    assert len(table) == 3


def test_is_made_once_and_shown_whole(table) -> None:
    assert table.X is table.X is table[0]
    assert repr(table) == repr(Table(*table))
    assert table == tuple(table)
    assert tuple(table) == table
    with pytest.raises(TypeError, match="unhashable"):
        hash(table)
    with pytest.raises(AttributeError):
        table.y = None


def test_what_is_kept_when_something_is_replaced(table) -> None:
    other = table._replace(y=np.arange(4))
    assert (whole(table), whole(other)) == (False, False)
    assert other.lines[2] == pickle.loads(pickle.dumps(other)).lines[2] == 4
    numbers = table._replace(X=np.zeros((4, 3)))
    assert numbers.lines[3] == 5
    assert numbers.features.matrix is numbers.X
    with pytest.raises((TypeError, ValueError)):
        table._replace(Z=3)


def test_a_table_of_numbers_is_whole(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,3\n4,,6\n")
    table = read_csv(tmp_path / "a.csv", target="y")
    assert table.features.matrix is table.X
    assert type(table) is Table


def test_columns_in_place_of_X(table) -> None:
    assert isinstance(table.features, Columns)
    by_columns = Preprocessor().fit(table.features, table.y)
    features = by_columns.transform(table.features)
    assert not whole(table)
    assert by_columns.columns == NAMES
    np.testing.assert_array_equal(Preprocessor().fit(table.X, table.y).transform(table.X), features)


def test_names_of_rows_are_found_when_rows_without_a_target_are_left_out(tmp_path) -> None:
    """Of the texts of the rows that remain; those of others are no longer in the table."""
    rows = "".join(f"Jo {i},{i % 3},{'' if i == 5 else i}\n" for i in range(20))
    (tmp_path / "a.csv").write_text("who,x,y\n" + rows)
    with pytest.warns(UserWarning, match="without a target"):
        table = read_csv(tmp_path / "a.csv", target="y", drop_missing_target=True)
    with pytest.warns(UserWarning, match="its 19 strings are all different"):
        assert Preprocessor().fit(table.features).columns == ("x",)


# ---------------------------------------------------------------- memory


def traced(call) -> tuple[object, int]:
    """The result of a call, and how much memory it took at most."""
    tracemalloc.start()
    result = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


@pytest.mark.parametrize("arrow", [True, False], ids=["arrow", "plain"])
def test_memory_from_a_mixed_file_to_features(tmp_path, monkeypatch, arrow) -> None:
    """Reading takes codes and numbers; a split a second copy; nothing takes an object for each value."""
    monkeypatch.setattr(csv_reader, "ARROW", arrow)
    path = tmp_path / "a.csv"
    towns = [f"town {i}" for i in range(900)]
    row = [f'{20 + i % 60},"{towns[i * 7 % 900]}",202{i % 5}-03-1{i % 9},K{i % 400:04d},{i / 7:.6f},{i % 2}\n'
           for i in range(60_000)]  # fmt: skip
    path.write_text("age,town,day,code,score,y\n" + "".join(row))
    size = path.stat().st_size
    Preprocessor().fit(read_csv(path).features)  # what is imported is no part of it
    table, peak = traced(lambda: read_csv(path, target="y"))
    assert peak < (3 if arrow else 5) * size  # the plain reader holds a batch of 10,000 rows of strings
    job = TrainJob(str(path), target="y")
    data, peak = traced(lambda: hold_out(table, job))
    assert peak < 2 * size
    preprocessor, peak = traced(lambda: learn(data, job))
    assert peak < 2 * size
    features, peak = traced(lambda: preprocessor.transform(data.train))
    assert peak < features.nbytes + 2 * size
    assert not whole(table)


def test_a_split_has_arrays(table) -> None:
    split = split_table(table._replace(y=np.arange(4)), fraction=0.5)
    assert split.x_train.dtype == object
    assert split.x_train.shape == (2, 3)
