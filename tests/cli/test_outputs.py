"""Names of the files that commands write, and files that they must not overwrite."""

import os

import numpy as np
import pytest
import safetensors.numpy

import fastbp
from fastbp.cli.commands import main
from fastbp.cli.output_path import stem

QUICK = ["--epochs", "1", "--quiet"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with the tables of two years, and one of the same name in a subfolder."""
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).normal(size=(40, 2))
    (tmp_path / "old").mkdir()
    for name in ("sales.2023.csv", "sales.2024.csv", "old/sales.2023.csv"):
        lines = [f"{a:.4f},{b:.4f},{'p' if a > 0 else 'q'}" for a, b in X]
        (tmp_path / name).write_text("a,b,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def train(name, *options):
    return main(["train", str(name), "--target", "y", *QUICK, *options])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b.csv", "a.b"), ("x/a.csv.gz", "a"), ("a.b.csv.gz", "a.b"), ("digits", "digits"), ("a.npz", "a"),
     (".hidden.csv", ".hidden"), ("a.gz", "a"), ("2024.01.02.csv", "2024.01.02"), ("m.v1.safetensors", "m.v1")],
)  # fmt: skip
def test_stem_drops_known_extensions(name, expected):
    assert stem(name) == expected


def test_two_tables_give_two_models(folder):
    assert train("sales.2023.csv") == train("sales.2024.csv") == 0
    assert {path.name for path in folder.glob("*.safetensors")} == {"sales.2023.safetensors", "sales.2024.safetensors"}
    assert main(["export", "sales.2023.safetensors", "--to", "numpy"]) == 0
    assert (folder / "sales_2023.py").exists()  # an importable name


def test_training_again_replaces_the_model(folder):
    assert train("sales.2023.csv") == train(folder / "sales.2023.csv") == 0


@pytest.mark.parametrize("given", [True, False])
def test_model_of_other_data_is_replaced_only_if_named(folder, capsys, given):
    assert train("sales.2023.csv") == 0
    before = (folder / "sales.2023.safetensors").read_bytes()
    options = ["-o", "sales.2023.safetensors"] if given else []
    assert train("old/sales.2023.csv", *options) == (0 if given else 2)
    assert given or "it is a model trained on sales.2023.csv: remove it or choose another" in capsys.readouterr().err
    assert given or (folder / "sales.2023.safetensors").read_bytes() == before


def test_model_saved_by_a_user_is_replaced_only_if_named(folder, capsys):
    model = fastbp.Sequential([fastbp.Dense(1)], input_size=2)
    model.save("sales.2023.safetensors")
    assert train("sales.2023.csv") == 2
    assert "not written by fastbp train" in capsys.readouterr().err
    assert train("sales.2023.csv", "-o", "sales.2023.safetensors") == 0


def test_train_never_overwrites_other_files(folder, capsys):
    (folder / "notes.txt").write_text("important", encoding="utf-8")
    for name in ("notes.txt", "sales.2024.csv", "sales.2023.csv"):
        before = (folder / name).read_bytes()
        assert train("sales.2023.csv", "-o", name) == 2
        assert f"cannot write {name}" in capsys.readouterr().err
        assert (folder / name).read_bytes() == before
    safetensors.numpy.save_file({"a": np.zeros(3)}, "notes.txt", {"of": "another program"})
    assert train("sales.2023.csv", "-o", "notes.txt") == 2
    fastbp.Sequential([fastbp.Dense(1)], input_size=2).save("cut")
    os.truncate("cut", os.path.getsize("cut") - 1)
    assert train("sales.2023.csv", "-o", "cut") == 2
    (folder / "empty").touch()  # as mktemp creates it
    assert train("sales.2023.csv", "-o", "empty") == 0


def test_predict_never_overwrites_its_data(folder, capsys):
    assert train("sales.2023.csv", "-o", "m.safetensors") == 0
    os.link("sales.2023.csv", "same.csv")
    before = (folder / "sales.2023.csv").read_bytes()
    for output in ("sales.2023.csv", "./sales.2023.csv", "same.csv"):
        assert main(["predict", "m.safetensors", "sales.2023.csv", "-o", output]) == 2
    assert (folder / "sales.2023.csv").read_bytes() == before
    assert "it is the file to read" in capsys.readouterr().err


def test_plot_and_model_must_be_different_files(folder, capsys):
    pytest.importorskip("matplotlib")
    assert train("sales.2023.csv", "-o", "m.png", "--plot", "./m.png") == 2
    assert "must be two files" in capsys.readouterr().err
    assert train("sales.2023.csv", "--plot", "sales.2023.csv") == 2
    assert not list(folder.glob("*.safetensors"))


def test_export_replaces_a_file_only_if_named(folder, capsys):
    assert train("sales.2023.csv", "-o", "shop.safetensors") == 0
    (folder / "shop.py").write_text("import this\n", encoding="utf-8")
    assert main(["export", "shop.safetensors", "--to", "numpy"]) == 2
    assert "exists already: write --output shop.py to replace it" in capsys.readouterr().err
    assert main(["export", "shop.safetensors", "--to", "numpy", "-o", "shop.py"]) == 0
    assert "def predict" in (folder / "shop.py").read_text(encoding="utf-8")
