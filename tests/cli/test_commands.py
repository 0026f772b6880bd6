"""The command line: output, files, exit codes, Ctrl-C."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import bench, commands, output_path, train
from fastbp.cli import job as jobs
from fastbp.cli import network as job_network
from fastbp.cli.bench import ROWS, Row, Runner, make_workload, step_flops
from fastbp.cli.commands import main
from fastbp.cli.job import RECIPES, TrainJob
from fastbp.preprocessing.preprocessor import Preprocessor

OPTIONS = ["--layers", "8", "--epochs", "60", "--learning-rate", "0.03", "--quiet"]
TINY = ["--layers", "4", "--epochs", "2", "--batch-size", "8", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def flowers(folder) -> Path:
    """A small file with two linearly separable classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) * [1, 10, 100]
    lines = [f"{a:.6f},{b:.6f},{c:.6f},{'iris' if a > 0 else 'rose'}" for a, b, c in X]
    path = folder / "flowers.csv"
    path.write_text("a,b,c,kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: str) -> int:
    return main(list(map(str, arguments)))


class TestTrainAndPredict:
    def test_classification_from_csv(self, flowers, capsys):
        assert run("train", flowers, "--target", "kind", *OPTIONS) == 0
        out = capsys.readouterr().out
        assert "48 training rows, 12 test rows, 3 features, 2 classes" in out
        assert "network 3-8-2 relu, 50 weights" in out
        for pattern in (
            r"^test accuracy +\d+\.\d\d %$",
            r"^time +\d+\.\d\d s for 60 epochs$",
            r"^samples/s +[\d,]+$",
            r"^speed +\d+\.\d GFLOP/s, \d+\.\d % of this machine's measured peak \(\d+ GFLOP/s, \d+ threads?\)$",
            r"^model +flowers\.safetensors$",
        ):
            assert re.search(pattern, out, re.MULTILINE), pattern

        assert run("predict", "flowers.safetensors", flowers) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "prediction"
        truth = [line.rsplit(",")[-1] for line in flowers.read_text(encoding="utf-8").splitlines()[1:]]
        assert set(lines[1:]) == {"iris", "rose"}
        assert np.mean([a == b for a, b in zip(lines[1:], truth, strict=True)]) > 0.8

    @pytest.mark.parametrize("name", ["out.csv", "out.npy", "out.npz"])
    def test_regression_from_archive(self, folder, capsys, name):
        rng = np.random.default_rng(1)
        X = rng.normal(size=(80, 2))
        y = 1000 + 100 * X @ [[1.0, 0.0], [0.5, 2.0]]
        np.savez("a.npz", X=X, y=y)
        assert run("train", "a.npz", "--layers", "", "--epochs", "200", "--learning-rate", "0.02", "--quiet") == 0
        out = capsys.readouterr().out
        assert "2 targets for regression" in out
        assert re.search(r"test R² +0\.9999|test R² +1\.0", out)
        assert run("predict", "a.safetensors", "a.npz", "--output", name) == 0
        predictions = {
            "out.csv": lambda: np.loadtxt(name, delimiter=",", skiprows=1),
            "out.npy": lambda: np.load(name),
            "out.npz": lambda: _load_prediction(name),
        }[name]()
        np.testing.assert_allclose(predictions, y, atol=2.0)
        assert "R²" in capsys.readouterr().err

    def test_saved_model_loads_with_its_preprocessor(self, flowers):
        run("train", flowers, "--target", "kind", *TINY)
        model = fastbp.load("flowers.safetensors")
        preprocessor = Preprocessor.of(model)
        assert preprocessor is not None
        assert preprocessor.classes == ("iris", "rose")
        assert preprocessor.columns == ("a", "b", "c")

    def test_seed_determines_the_saved_file(self, flowers):
        for name, seed in (("one", 5), ("two", 5), ("three", 6)):
            run("train", flowers, "--target", "kind", *TINY, "--seed", seed, "--output", name)
        one, two, three = (Path(name).read_bytes() for name in ("one", "two", "three"))
        assert one == two
        assert one != three

    @pytest.mark.parametrize("optimizer", jobs.OPTIMIZERS)
    def test_every_optimizer_trains(self, flowers, optimizer):
        assert run("train", flowers, "--target", "kind", *TINY, "--optimizer", optimizer, "--weight-decay", "0.01") == 0

    @pytest.mark.parametrize("activation", jobs.ACTIVATIONS)
    def test_every_activation_trains(self, flowers, activation):
        assert run("train", flowers, "--target", "kind", *TINY, "--activation", activation) == 0

    @pytest.mark.parametrize("loss", job_network.CLASS_LOSSES)
    def test_every_classification_loss_trains(self, flowers, loss):
        assert run("train", flowers, "--target", "kind", *TINY, "--loss", loss) == 0

    def test_model_of_version_0_1_predicts(self, flowers, capsys):
        """Its file stores the fitted preprocessing in another form."""
        model = fastbp.Sequential([fastbp.Dense(2, "softmax")], input_size=3)
        model.set_weights([[[9.0, -9.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]])
        old = {"shift": [0.0] * 3, "scale": [1.0, 10.0, 100.0], "columns": ["a", "b", "c"], "classes": ["iris", "rose"]}
        model.metadata["fastbp.preparation"] = json.dumps(old | {"y_shift": [], "y_scale": []})
        model.save("old.safetensors")
        assert run("predict", "old.safetensors", flowers) == 0
        truth = [line.rsplit(",")[-1] for line in flowers.read_text(encoding="utf-8").splitlines()[1:]]
        assert capsys.readouterr().out.split() == ["prediction", *truth]

    def test_model_without_a_preprocessor_predicts(self, folder, capsys):
        fastbp.Sequential([fastbp.Dense(2)], input_size=3).save("raw.safetensors")
        np.savez("rows.npz", X=np.eye(3))
        assert run("predict", "raw.safetensors", "rows.npz") == 0
        assert capsys.readouterr().out.startswith("prediction_0,prediction_1\n")

    @pytest.mark.jit
    def test_digits_are_trained_and_predicted(self, folder, capsys):
        assert run("train", "digits", "--epochs", "5", "--threads", "1", "--quiet") == 0
        out = capsys.readouterr().out
        assert "digits: 1,438 training rows, 359 test rows, 64 features, 10 classes" in out
        assert "network 64-256-128-10 relu, 50,826 weights" in out
        accuracy = re.search(r"accuracy +([\d.]+) %", out)
        assert accuracy is not None
        assert float(accuracy[1]) > 94
        assert run("predict", "digits.safetensors", "digits", "--output", "p.csv") == 0
        assert capsys.readouterr().err == f"accuracy {accuracy[1]} %\n"  # on the same held-out rows

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(5))
    def test_digits_reach_their_goal(self, folder, capsys, seed):
        assert run("train", "digits", "--quiet", "--seed", seed) == 0
        accuracy = re.search(r"accuracy +([\d.]+) %", capsys.readouterr().out)
        assert accuracy is not None
        assert float(accuracy[1]) >= 97.5


def _load_prediction(name: str) -> np.ndarray:
    with np.load(name) as data:
        return data["prediction"]


@pytest.fixture
def people(folder) -> Path:
    """Numbers and categories with missing values; income depends only on trade, which has twelve categories."""
    rng = np.random.default_rng(0)
    trades = rng.integers(0, 12, 400)
    ages = rng.integers(18, 80, 400)
    lines = [
        f"{'?' if i % 10 == 0 else age},{'' if i % 7 == 0 else rng.choice(['Kiel', 'Ulm'])},trade {trade},"
        f"{100 + trade % 3},{'high' if trade % 3 == 1 else 'low'}"
        for i, (age, trade) in enumerate(zip(ages, trades, strict=True))
    ]
    path = folder / "people.csv"
    path.write_text("age,town,trade,zone,income\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


class TestTablesWithCategories:
    @pytest.mark.jit
    def test_mixed_columns_are_trained_and_predicted(self, people, capsys):
        assert run("train", people, "--target", "income", "--quiet", "--threads", "1", "--epochs", "30") == 0
        out = capsys.readouterr().out
        for pattern in (
            r"people.csv: 320 training rows, 80 test rows, 4 features, 2 classes$",
            r"^age     number         \(x - \S+\) / \S+, and whether it is missing +\d+\.\d %$",
            r"^town    2 categories   3 features +\d+\.\d %$",
            r"^trade   12 categories  codes$",
            r"^zone    number         \(x - \S+\) / \S+$",
            r"^embeddings: trade to 7 dimensions$",
            r"^network 13-128-64-2 relu, 10,276 weights$",
            r"^adam, learning rate 0.002, batch 32, 30 epochs, seed 0$",
            r"^test accuracy  100.00 %$",
        ):
            assert re.search(pattern, out, re.MULTILINE), pattern

        assert run("predict", "people.safetensors", people, "-o", "p.csv") == 0
        assert capsys.readouterr().err == "accuracy 100.00 %\n"
        header, *rows = (line.split(",") for line in people.read_text(encoding="utf-8").splitlines())
        order = [header.index(name) for name in ("zone", "trade", "age", "town")]
        lines = [",".join([*(row[i] for i in order), "more"]) for row in [header, *rows]]
        Path("others.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert run("predict", "people.safetensors", "others.csv", "-o", "q.csv") == 0
        assert capsys.readouterr().err == ""  # no target to score against
        assert Path("q.csv").read_bytes() == Path("p.csv").read_bytes()

    def test_unseen_categories_and_labels_with_trailing_dots(self, people, capsys):
        """As in the test rows of UCI's Adult dataset."""
        run("train", people, "--target", "income", *TINY)
        text = people.read_text(encoding="utf-8").replace("Ulm", "Bonn").replace("high\n", "high.\n")
        Path("new.csv").write_text(text.replace("low\n", "low.\n"), encoding="utf-8")
        capsys.readouterr()
        assert run("predict", "people.safetensors", "new.csv") == 0
        captured = capsys.readouterr()
        assert set(captured.out.split()[1:]) <= {"high", "low"}
        assert captured.err.startswith("accuracy ")

    def test_categorical_option_makes_numbers_categories(self, people, capsys):
        run("train", people, "--target", "income", "--categorical", "zone, age", *TINY)
        out = capsys.readouterr().out
        assert re.search(r"^zone    3 categories +3 features", out, re.MULTILINE)
        assert re.search(r"^age     \d+ categories, \d+\.\d % rare +codes", out, re.MULTILINE)
        assert run("predict", "people.safetensors", people, "-o", "p.csv") == 0

    def test_regression_with_options(self, people, capsys):
        options = ["--dropout", "0.1", "--batch-norm", "--scaling", "robust", "--no-clip", "--schedule", "cosine"]
        assert run("train", people, "--target", "zone", "--task", "regression", *options, *TINY) == 0
        assert "1 target for regression" in capsys.readouterr().out
        model = fastbp.load("people.safetensors")
        kinds = [type(layer).__name__ for layer in model.layers]
        assert kinds == ["ColumnEmbedding", "Dense", "BatchNorm", "Activation", "Dropout", "Dense"]
        preprocessor = Preprocessor.of(model)
        assert preprocessor is not None
        assert (preprocessor.scaling, preprocessor.clip) == ("robust", False)
        assert model.metadata[jobs.TARGET_KEY] == "zone"
        assert run("predict", "people.safetensors", people) == 0
        assert capsys.readouterr().err.startswith("R² ")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--loss", "mse"], "--loss mse does not fit classes: choose one of cross_entropy, categorical_focal"),
            (["--task", "regression", "--loss", "hinge"], "numeric target"),
            (["--categorical", "colour"], "categorical has 'colour', which is not a column of X"),
            (["--dropout", "1"], "rate must be"),
        ],
    )
    def test_invalid_options_are_rejected(self, people, capsys, options, message):
        assert run("train", people, "--target", "income", *options) == 2
        assert message in capsys.readouterr().err

    def test_predict_names_missing_columns(self, people, capsys):
        run("train", people, "--target", "income", *TINY)
        Path("few.csv").write_text("age,town\n3,Ulm\n", encoding="utf-8")
        assert run("predict", "people.safetensors", "few.csv") == 2
        assert "few.csv has no column trade, zone: the model was trained on age, town, trade" in capsys.readouterr().err

    def test_strings_need_a_preprocessor(self, people, capsys):
        fastbp.Sequential([fastbp.Dense(2)], input_size=5).save("raw.safetensors")
        assert run("predict", "raw.safetensors", people) == 2
        assert "has no Preprocessor, so people.csv must contain only numbers" in capsys.readouterr().err.replace(
            f"{people.parent}/", ""
        )

    @pytest.mark.parametrize("loss", job_network.REGRESSION_LOSSES)
    def test_every_regression_loss_trains(self, people, loss):
        arguments = ["--target", "age", "--task", "regression", "--loss", loss, *TINY]
        text = people.read_text(encoding="utf-8").replace("?", "40")
        people.write_text(text, encoding="utf-8")
        assert run("train", people, *arguments) == 0

    @pytest.mark.data
    @pytest.mark.jit
    def test_adult_beats_logistic_regression(self, folder, capsys):
        """Logistic regression on one-hot categories reaches 85.3 %; five seeds gave 85.6 % and more."""
        data = Path(os.environ["FASTBP_DATA"])
        train = data / "adult_train.csv.gz"
        assert run("train", train, "--target", "income", "--quiet", "-o", "adult.safetensors") == 0
        capsys.readouterr()
        assert run("predict", "adult.safetensors", data / "adult_test.csv.gz", "-o", "p.csv") == 0
        accuracy = re.search(r"accuracy ([\d.]+) %", capsys.readouterr().err)
        assert accuracy is not None
        assert float(accuracy[1]) >= 85.3


class TestErrors:
    """Errors are one line on stderr that says what to do, with exit code 2, no traceback and nothing written."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["train", "nowhere.csv"], "no file nowhere.csv"),
            (["train", "flowers.csv", "--target", "colour"], "'colour' is not a column"),
            (["train", "flowers.csv"], "the data hold no target: .* --target COLUMN .*, one of a, b, c, kind"),
            (["train", "flowers.csv", "--target", "kind", "--output", "no/m"], "no folder no"),
            (["train", "flowers.csv", "--target", "kind", "--output", "."], "it is a folder"),
            (["train", "flowers.csv", "--target", "kind", "--learning-rate", "-1", *TINY], "learning_rate"),
            (["train", "flowers.csv", "--target", "kind", "--learning-rate", "nan", *TINY], "learning_rate"),
            (["train", "flowers.csv", "--target", "kind", "--task", "regression"], "numeric target"),
            (["train", "flowers.csv", "--target", "kind", "--label-smoothing", "1"], "below 1, got 1"),
            (["train", "flowers.csv", "--target", "kind", "--label-smoothing", "0.1"], "binary_cross_entropy"),
            (["predict", "flowers.csv", "flowers.csv"], "flowers.csv"),
            (["predict", "none.safetensors", "flowers.csv"], "none.safetensors"),
            (["predict", "none.safetensors", "flowers.csv", "-o", "a.txt"], r"must be \.csv, \.tsv, .*\.npz"),
        ],
    )
    def test_bad_data_and_files(self, flowers, capsys, arguments, message):
        before = sorted(flowers.parent.iterdir())
        assert run(*arguments) == 2
        err = capsys.readouterr().err
        assert re.search(message, err)
        assert err.startswith(f"fastbp {arguments[0]}: ")
        assert err.count("\n") == 1
        assert sorted(flowers.parent.iterdir()) == before

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["fly"],
            ["train"],
            ["train", "digits", "--epochs", "0"],
            ["train", "digits", "--epochs", "1.5"],
            ["train", "digits", "--layers", "4,x"],
            ["train", "digits", "--layers", "0"],
            ["train", "digits", "--seed", "-1"],
            ["train", "digits", "--optimizer", "newton"],
            ["train", "digits", "--batch-size", "-3"],
            ["predict", "model"],
            ["bench", "--rounds", "0"],
        ],
    )
    def test_invalid_options_print_the_usage(self, capsys, arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: fastbp" in capsys.readouterr().err

    def test_rows_of_another_width_are_rejected(self, flowers, folder, capsys):
        run("train", flowers, "--target", "kind", *TINY)
        np.savez("wide.npz", X=np.zeros((2, 5)))
        assert run("predict", "flowers.safetensors", "wide.npz") == 2
        assert "X must have the 3 columns of the training data, got 5" in capsys.readouterr().err

    def test_read_only_folder_is_reported(self, flowers, capsys, monkeypatch):
        monkeypatch.setattr(output_path.os, "access", lambda *arguments: False)
        assert run("train", flowers, "--target", "kind") == 2
        assert "choose another folder" in capsys.readouterr().err

    def test_divergence_is_a_warning(self, flowers, capsys):
        arguments = ["--optimizer", "sgd", "--learning-rate", "1e30", "--task", "regression", *TINY]
        text = flowers.read_text(encoding="utf-8").replace("iris", "1.5").replace("rose", "2.5")
        flowers.write_text(text, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert run("train", flowers, "--target", "kind", *arguments) == 0
        err = capsys.readouterr().err
        assert err.startswith("warning: ")
        assert "Traceback" not in err


class TestHelp:
    @pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["bench"], ["warmup"], ["autotune"], ["info"]])
    def test_every_command_has_help(self, capsys, command):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.startswith("usage: fastbp")

    def test_version(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"fastbp {fastbp.__version__}\n"


class TestInterrupt:
    def test_model_is_saved_if_interrupted_in_training(self, flowers, capsys, monkeypatch):
        fit = fastbp.Sequential.fit

        def interrupted(self, *arguments, **options):
            fit(self, *arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(fastbp.Sequential, "fit", interrupted)
        assert run("train", flowers, "--target", "kind", *TINY) == 130
        assert "saved the model of the last finished step" in capsys.readouterr().out
        assert fastbp.load("flowers.safetensors").predict(np.zeros((1, 3))).shape == (1, 2)

    def test_nothing_is_saved_if_interrupted_before_training(self, flowers, capsys, monkeypatch):
        monkeypatch.setattr(train, "_read", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("train", flowers, "--target", "kind") == 130
        assert capsys.readouterr().err == "interrupted\n"
        assert not Path("flowers.safetensors").exists()

    @pytest.mark.jit
    def test_ctrl_c_in_a_real_process(self, flowers):
        command = [
            sys.executable,
            "-m",
            "fastbp",
            "train",
            "flowers.csv",
            "--target",
            "kind",
            "--epochs",
            "100000000",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(3):  # the third line is printed when everything is compiled and training begins
                process.stdout.readline()
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "saved the model of the last finished step" in out
        assert np.isfinite(fastbp.load("flowers.safetensors").predict(np.zeros((1, 3)))).all()


@pytest.mark.jit
def test_warmup_says_what_it_compiled(capsys):
    assert main(["warmup", "--dtype", "float32"]) == 0
    out = capsys.readouterr().out
    assert "worker         float32" in out
    assert "float64" not in out
    assert main(["warmup", "--dtype", "float32"]) == 0  # the second run finds everything in the cache
    assert "compiled in" not in capsys.readouterr().out


def test_info_describes_the_machine(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    names = [
        "fastbp",
        "instruction set",
        "usable cores",
        "threads",
        "threading layer",
        "cache folder",
        "peak, 1 thread",
    ]
    for name in names:
        assert re.search(rf"^{name} +\S", out, re.MULTILINE), name
    assert re.search(r"peak, 1 thread +\d+ GFLOP/s in float32, measured", out)


class TestBench:
    def test_report(self, capsys, monkeypatch):
        monkeypatch.setattr(bench, "ROWS", (Row((3, 4, 2), 2), Row((3, 2, 1), 1, "sgd", "mse")))
        monkeypatch.setattr(bench, "MAX_STEPS", 20)
        assert main(["bench", "--quick", "--rounds", "2", "--threads", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[2].startswith("3-4-2, 2, Adam")
        assert re.search(r"\d\.\d\d \(\d+\.\d\d to \d+\.\d\d\)$", lines[3])

    def test_quick_rows_are_small(self):
        quick = bench._bench_rows(True)
        assert quick
        assert all(step_flops(row.sizes, row.batch) < 1e8 for row in quick)
        assert len(bench._bench_rows(False)) == len(ROWS) - 1

    def test_flops(self):
        assert step_flops((784, 128, 10), 32) == 2 * 32 * (2 * 784 * 128 + 3 * 128 * 10)

    def test_reference_and_engine_take_the_same_steps(self):
        from fastbp.engine.engine import Engine
        from fastbp.reference import ReferenceEngine
        from fastbp.spec import LayerSpec

        row = Row((5, 7, 3), 4)
        work = make_workload(row, max_steps=6)
        layers = [LayerSpec(units, activation) for units, activation in bench.specs(row)]
        losses = [Runner(kind(5, layers), work).train(20) for kind in (ReferenceEngine, Engine)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)

    def test_workloads_have_only_full_batches(self):
        for row in ROWS:
            if row.data == "random":
                work = make_workload(row, max_steps=3)
                assert len(work.X) == len(work.y) == work.steps * row.batch
                assert [w.shape for w in work.weights[0::2]] == list(zip(row.sizes, row.sizes[1:], strict=False))


def test_every_dataset_has_a_recipe():
    assert set(RECIPES) == set(jobs.NAMED)
    assert TrainJob("digits", epochs=3).recipe.epochs == 3
    assert TrainJob("digits", loss="cross_entropy").recipe.label_smoothing == 0
    assert TrainJob("x.csv", optimizer="sgd").recipe.learning_rate == 0.1


def test_closed_pipe_is_not_an_error(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Path(__file__).open("rb") as file, monkeypatch.context() as patch:
        closed = Closed()
        closed.fileno = file.fileno  # type: ignore[method-assign]
        patch.setattr(sys, "stdout", closed)
        assert main(["info"]) == 0


def test_main_is_the_console_script():
    assert commands.main is fastbp.cli.main is main
