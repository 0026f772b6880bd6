"""Datasets: the bundled data, file formats, splits, and every error message."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import datasets
from fastbp.datasets import Split, Table, read_csv, read_file, read_idx, read_npz, split_table, stratified_split


def write_idx(path: Path, array: np.ndarray) -> None:
    code = {np.dtype("u1"): 0x08, np.dtype(">i4"): 0x0C, np.dtype(">f4"): 0x0D}[array.dtype]
    data = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def image_folder(folder: Path, extension: str = "") -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 3)):
        write_idx(folder / f"{part}-images-idx3-ubyte{extension}", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte{extension}", np.arange(n, dtype=np.uint8))


class TestDigits:
    def test_data_match_scikit_learn(self):
        from sklearn.datasets import load_digits

        theirs, ours = load_digits(), datasets.load_digits()
        np.testing.assert_array_equal(ours.X, theirs.data)
        np.testing.assert_array_equal(ours.y, theirs.target)
        assert ours.X.dtype == np.uint8

    def test_attribution_is_bundled(self):
        text = (Path(datasets.__file__).parent / "bundled" / "ATTRIBUTION.md").read_text(encoding="utf-8")
        assert "CC BY 4.0" in text
        assert "Alpaydin" in text

    def test_20_percent_are_held_out_stratified(self):
        split = datasets.load_named("digits", seed=3)
        assert len(split.x_test) == round(1797 * 0.2)
        share = np.bincount(split.y_test) / np.bincount(np.concatenate([split.y_train, split.y_test]))
        assert abs(share - 0.2).max() < 1 / 170


class TestStratifiedSplit:
    @given(
        counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
        fraction=st.floats(0.1, 0.9),
        seed=st.integers(0, 1000),
    )
    def test_split_partitions_rows_and_keeps_class_proportions(self, counts, fraction, seed):
        y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
        if not 0 < round(len(y) * fraction) < len(y):
            return
        train, test = stratified_split(y, fraction=fraction, seed=seed)
        assert sorted([*train, *test]) == list(range(len(y)))
        assert len(test) == round(len(y) * fraction)
        held_out = np.bincount(y[test], minlength=len(counts))
        share = np.array(counts) * (len(test) / len(y))
        assert (abs(held_out - share) < 1).all()

    def test_regression_is_not_stratified(self):
        y = np.random.default_rng(0).permutation(1000)  # like the target of diabetes: integers, nearly all distinct
        held_out = np.stack([y[stratified_split(y, seed=seed)[1]] for seed in range(20)])
        assert abs(held_out.mean() - 499.5) < 4 * 1000 / np.sqrt(12 * held_out.size)
        few = y % 50
        by_number = stratified_split(few + 0.5, seed=1)
        for task, expected in (("regression", by_number), (None, stratified_split(few, seed=1, task="classification"))):
            for one, other in zip(stratified_split(few, seed=1, task=task), expected, strict=True):
                np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("y", [np.arange(40) % 20, np.arange(10), np.array(list("abcdefghij"))], ids=len)
    def test_seed_breaks_ties_between_classes(self, y):
        """Every class is owed the same fraction of a row; the seed decides which ones get one."""
        chosen = [set(y[stratified_split(y, seed=seed, fraction=0.2)[1]].tolist()) for seed in range(200)]
        classes = np.unique(y).tolist()
        share = np.array([sum(label in each for each in chosen) for label in classes]) / len(chosen)
        expected = round(len(y) * 0.2) / len(classes)
        assert abs(share - expected).max() < 5 * np.sqrt(expected * (1 - expected) / len(chosen))
        again = stratified_split(y, seed=7)
        np.testing.assert_array_equal(again[1], stratified_split(y, seed=7)[1])

    def test_column_and_object_labels_give_the_same_split(self):
        y = np.array(["a"] * 10 + ["b"] * 10)
        for form in (y[:, None], y.astype(object)):
            np.testing.assert_array_equal(stratified_split(form, seed=4)[1], stratified_split(y, seed=4)[1])

    def test_split_is_determined_by_seed(self):
        y = np.arange(100) % 7
        once, again, other = (stratified_split(y, seed=seed)[1] for seed in (1, 1, 2))
        np.testing.assert_array_equal(once, again)
        assert set(once) != set(other)

    def test_strings_are_classes_and_floats_are_not(self):
        y = np.array(["a"] * 10 + ["b"] * 10)
        assert (y[stratified_split(y, fraction=0.5)[1]] == "a").sum() == 5
        assert len(stratified_split(np.random.default_rng(0).random(20), fraction=0.5)[1]) == 10

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_too_few_rows_are_rejected(self, n):
        with pytest.raises(ValueError, match="leaves one part empty"):
            stratified_split(np.zeros(n, int))


class TestNpz:
    def test_X_and_y(self, tmp_path):
        np.savez(tmp_path / "a.npz", X=np.arange(12.0).reshape(3, 2, 2), y=[0, 1, 2], columns=list("abcd"), other="x")
        table = read_npz(tmp_path / "a.npz")
        assert isinstance(table, Table)
        np.testing.assert_array_equal(table.X, np.arange(12.0).reshape(3, 4))
        assert table.columns == ("a", "b", "c", "d")

    def test_train_and_test_parts(self, tmp_path):
        np.savez(
            tmp_path / "a.npz", x_train=np.zeros((4, 2)), y_train=range(4), x_test=np.zeros((3, 2)), y_test=range(3)
        )
        split = read_npz(tmp_path / "a.npz")
        assert isinstance(split, Split)
        assert [len(part) for part in split[:4]] == [4, 4, 3, 3]

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"Z": np.zeros(3)}, "must hold X and y"),
            ({"X": np.zeros((3, 2)), "y": np.zeros(4)}, r"same number of rows, got shapes \(3, 2\) and \(4,\)"),
            ({"X": np.zeros(3), "y": np.zeros(3)}, "rows and columns"),
            ({"X": np.array([["a"]]), "y": np.zeros(1)}, "must hold real numbers"),
            ({"X": np.zeros((1, 1), complex), "y": np.zeros(1)}, "must hold real numbers"),
            ({"X": np.array([[None]]), "y": np.zeros(1)}, "archive of number arrays"),
            ({"x_train": np.zeros((3, 2)), "y_train": np.zeros(3)}, "it holds x_train, y_train"),
            (
                {
                    "x_train": np.zeros((3, 2)),
                    "y_train": np.zeros(3),
                    "x_test": np.zeros((1, 3)),
                    "y_test": np.zeros(1),
                },
                "same number of features",
            ),
        ],
    )
    def test_invalid_archive_is_rejected(self, tmp_path, arrays, message):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match=message):
            read_npz(tmp_path / "a.npz")

    @pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more"])
    def test_damaged_archive_is_rejected(self, tmp_path, content):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot read"):
            read_npz(tmp_path / "a.npz")


class TestCsv:
    TEXT = "width,height,kind\n1,2.5,cat\n3,-4e1,dog\n\n5,6,cat\n"

    def test_features_and_target(self, tmp_path):
        table = read_csv(write_csv(tmp_path / "a.csv", self.TEXT), target="kind")
        np.testing.assert_array_equal(table.X, [[1, 2.5], [3, -40], [5, 6]])
        assert table.y is not None
        assert table.y.tolist() == ["cat", "dog", "cat"]
        assert table.columns == ("width", "height")

    def test_gzip_and_byte_order_mark(self, tmp_path):
        with gzip.open(tmp_path / "a.csv.gz", "wt", encoding="utf-8-sig") as file:
            file.write(self.TEXT)
        table = read_csv(tmp_path / "a.csv.gz", target="kind")
        assert table.columns == ("width", "height")
        assert len(table.X) == 3

    def test_columns_come_in_requested_order(self, tmp_path):
        table = read_csv(write_csv(tmp_path / "a.csv", self.TEXT), columns=["height", "width"])
        np.testing.assert_array_equal(table.X[0], [2.5, 1])

    @pytest.mark.parametrize(("values", "kind"), [("1 2 3", "i"), ("1.5 2 3", "f"), ("1 b 3", "U"), ("1e3 2 3", "f")])
    def test_target_type_is_inferred(self, tmp_path, values, kind):
        lines = "".join(f"0,{value}\n" for value in values.split())
        table = read_csv(write_csv(tmp_path / "a.csv", "x,y\n" + lines), target="y")
        assert table.y is not None
        assert table.y.dtype.kind == kind

    @pytest.mark.parametrize(
        ("text", "target", "message"),
        [
            (TEXT, "weight", "'weight' is not a column of .*: its columns are width, height, kind"),
            ("", "y", "must start with a header row of distinct names"),
            ("a,a\n1,2\n", "a", "header row of distinct names"),
            ("x,y\n", "y", "no rows"),
            ("x,y\n1,2\n3\n", "y", "line 3 of .* has 1 values"),
            ("y\n1\n", "y", "no column besides the target"),
            ("x,y\n1,a\n2,\n", "y", "missing values"),
        ],
    )
    def test_invalid_csv_is_rejected(self, tmp_path, text, target, message):
        with pytest.raises(ValueError, match=message):
            read_csv(write_csv(tmp_path / "a.csv", text), target=target)

    def test_missing_numbers_are_nan(self, tmp_path):
        path = write_csv(tmp_path / "a.csv", "a,b,kind\n1,?,x\n NA ,2,y\n,nan,x\n")
        table = read_csv(path, target="kind")
        assert table.X.dtype == np.float64
        np.testing.assert_array_equal(table.X, [[1, np.nan], [np.nan, 2], [np.nan, np.nan]])

    def test_string_columns_give_an_object_array(self, tmp_path):
        path = write_csv(tmp_path / "a.csv", "a,town,zip,kind\n1,Ulm,007,x\n?,?,12,y\n")
        table = read_csv(path, target="kind", texts=["zip"])
        assert table.X.dtype == object
        assert table.X[0].tolist() == [1.0, "Ulm", "007"]
        assert table.X[1, 1:].tolist() == ["?", "12"]
        assert np.isnan(table.X[1, 0])

    @pytest.mark.parametrize("text", ["a,kind\n1,\n2,x\n", "a,kind\n1,?\n2,x\n"])
    def test_missing_targets_are_rejected_in_training(self, tmp_path, text):
        """Nothing can be learned from such rows, but they can be predicted."""
        path = write_csv(tmp_path / "a.csv", text)
        with pytest.raises(ValueError, match=r"the target column 'kind' .* has missing values"):
            read_csv(path, target="kind")
        assert read_csv(path, target="kind", columns=["a"]).y is None

    def test_prediction_needs_no_target(self, tmp_path):
        path = write_csv(tmp_path / "a.csv", self.TEXT)
        assert read_csv(path, target="price", columns=["width"]).y is None
        table = read_csv(path, target="kind", columns=["height"])
        assert table.y is not None
        assert table.columns == ("height",)

    def test_missing_model_column_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="has no column depth: the model was trained on width, depth"):
            read_csv(write_csv(tmp_path / "a.csv", self.TEXT), columns=["width", "depth"])

    def test_binary_file_is_rejected(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="is not UTF-16-LE: line 1"):
            read_csv(tmp_path / "a.csv")


class TestReadFile:
    @pytest.mark.parametrize(("name", "kind"), [("a.txt", ValueError), ("none.csv", FileNotFoundError)])
    def test_unknown_format_and_missing_file_are_rejected(self, tmp_path, name, kind):
        (tmp_path / "a.txt").touch()
        with pytest.raises(kind, match=r"\.npz|\.csv"):
            read_file(tmp_path / name)

    def test_target_is_rejected_for_an_archive(self, tmp_path):
        np.savez(tmp_path / "a.npz", X=np.zeros((2, 2)), y=[0, 1])
        assert isinstance(read_file(tmp_path / "a.npz"), Table)
        with pytest.raises(ValueError, match=r"is for \.csv"):
            read_file(tmp_path / "a.npz", target="y")


class TestImages:
    @pytest.mark.parametrize("dtype", ["u1", ">i4", ">f4"])
    @pytest.mark.parametrize("name", ["a", "a.gz"])
    def test_idx_round_trip(self, tmp_path, dtype, name):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        write_idx(tmp_path / name, array)
        np.testing.assert_array_equal(read_idx(tmp_path / name), array)

    @pytest.mark.parametrize("cut", [0, 3, 10, 30])
    def test_damaged_idx_is_rejected(self, tmp_path, cut):
        write_idx(tmp_path / "whole", np.zeros((2, 3, 4), np.uint8))
        (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:cut])
        with pytest.raises(ValueError, match=r"not an IDX file|damaged"):
            read_idx(tmp_path / "cut")

    def test_damaged_gzip_is_rejected(self, tmp_path):
        (tmp_path / "a.gz").write_bytes(gzip.compress(b"0123456789")[:-9])
        with pytest.raises(ValueError, match="damaged"):
            read_idx(tmp_path / "a.gz")

    @pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
    @pytest.mark.parametrize("extension", ["", ".gz"])
    def test_images_are_found_in_data_folder(self, tmp_path, monkeypatch, name, extension):
        image_folder(tmp_path / name, extension)
        monkeypatch.setenv("FASTBP_DATA", str(tmp_path))
        split = datasets.load_named(name)
        assert split.x_train.shape == (5, 784)
        assert split.y_test.tolist() == [0, 1, 2]
        assert split.scale == 255

    def test_archive_without_train_and_test_parts_is_rejected(self, tmp_path, monkeypatch):
        np.savez(tmp_path / "mnist.npz", X=np.zeros((2, 2)), y=[0, 1])
        monkeypatch.setenv("FASTBP_DATA", str(tmp_path))
        with pytest.raises(ValueError, match="must hold x_train"):
            datasets.load_mnist()

    def test_missing_images_error_says_how_to_get_them(self, monkeypatch):
        monkeypatch.delenv("FASTBP_DATA", raising=False)
        monkeypatch.setitem(datasets.FOLDERS, "fashion-mnist", ())
        with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
            datasets.load_fashion_mnist()
        with pytest.raises(FileNotFoundError, match="FASTBP_DATA"):
            datasets.load_mnist()

    def test_unknown_name_lists_choices(self):
        with pytest.raises(ValueError, match="choose digits, mnist or fashion-mnist"):
            datasets.load_named("cifar")

    @pytest.mark.data
    def test_real_mnist(self):
        split = datasets.load_mnist()
        assert split.x_train.shape == (60000, 784)
        assert np.bincount(split.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    @pytest.mark.data
    def test_real_fashion_mnist(self):
        split = datasets.load_fashion_mnist()
        assert split.x_train.shape == (60000, 784)
        assert np.bincount(split.y_train).tolist() == [6000] * 10


def test_split_table_needs_a_target():
    with pytest.raises(ValueError, match="--target COLUMN"):
        split_table(Table(np.zeros((5, 2)), None))


def test_archive_needs_no_file_extension(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, X=np.zeros((2, 2)), y=[0, 1])
    (tmp_path / "data").write_bytes(buffer.getvalue())
    assert isinstance(read_npz(tmp_path / "data"), Table)
