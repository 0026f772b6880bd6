"""Pictures: what is drawn, that files are written and nothing else is touched, what is said without matplotlib."""

import builtins
import itertools
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import plots
from fastbp.cli import bench
from fastbp.cli import training_plot as report
from fastbp.cli.commands import main
from fastbp.diagnosis.layer_health import Diagnosis, LayerDiagnosis
from fastbp.diagnosis.lr_finder import RateSearch
from fastbp.plots import figures

pytest.importorskip("matplotlib")

HISTORY = {
    "loss": [2.0, 0.5, 0.1],
    "accuracy": [0.3, 0.8, 0.9],
    "val_loss": [2.1, 0.9, 0.7],
    "val_accuracy": [0.2, 0.7, 0.8],
}
NAN = float("nan")


def diagnosis(n, verdict="vanishing"):
    """One of n layers, in which gradients fade and end in 0, and the last of which has no units to count."""
    layers = [
        LayerDiagnosis(
            i, "Dense(4, tanh)", 0.5, 0.1, 10.0 ** (i - n) if i else 0.0, 10.0 ** (i - n), NAN, 0.25, 1e-3,
            verdict if i < n // 2 else "healthy",
        )
        for i in range(n - 1)
    ]  # fmt: skip
    layers.append(LayerDiagnosis(n - 1, "Dense(1, identity)", 0.1, NAN, 0.1, 0.2, NAN, NAN, 1e-3))
    return Diagnosis(0.3, 256, tuple(layers), verdict, ())


def search():
    rates = np.geomspace(1e-7, 10, 50)
    losses = 2 - np.arange(50) / 30 + 0.1 * np.cos(np.arange(50))
    return RateSearch(tuple(rates), tuple(losses), tuple(np.sort(losses)[::-1]), 1e-3, 2e-2, True)


def health(layers=4, epochs=(0, 1, 2), verdict="vanishing"):
    """A GradientHealth that saw gradients fade towards the input, an exact 0, and at last nothing finite."""
    seen = fastbp.GradientHealth(np.eye(2), [0.0, 1.0])
    seen.layers, seen.epochs = [f"Dense({i + 1}, tanh)" for i in range(layers)], list(epochs)
    figures = np.tile(10.0 ** np.arange(-layers, 0), (4, 1))
    seen._looks = [figures.copy() for _ in epochs]
    seen._looks[0][1, 0], seen._looks[-1][1, 1] = 0.0, np.inf
    seen.verdicts = [[verdict, *["healthy"] * (layers - 1)] for _ in epochs]
    return seen


TIMES = {"10-5-1": {"NumPy": [2e-5, 3e-5], "fastbp": [2e-6, 2e-6]}, "large": {"NumPy": [0.4], "fastbp": [0.3]}}
KERNEL = np.random.default_rng(0).normal(size=(12, 5))
CURVES = {
    "history": lambda path=None: plots.plot_history(HISTORY, path),
    "diagnosis": lambda path=None: diagnosis(5).plot(path),
    "200 layers": lambda path=None: diagnosis(200).plot(path),
    "learning rate": lambda path=None: search().plot(path),
}
DRAWN = CURVES | {
    "confusion": lambda path=None: plots.plot_confusion_matrix([0, 1, 1], [0, 1, 0], path),
    "many classes": lambda path=None: plots.plot_confusion_matrix(np.arange(40), np.arange(40) // 2 * 2, path),
    "predictions": lambda path=None: plots.plot_predictions([1.0, 2.0], [1.0, 2.5], path),
    "many predictions": lambda path=None: plots.plot_predictions(*np.ones((2, 6000, 2)) * [1.0, 2.0], path),
    "gradient health": lambda path=None: plots.plot_gradient_health(health(), path),
    "weights": lambda path=None: plots.plot_weights(KERNEL, path, shape=(3, 4)),
    "speed": lambda path=None: plots.plot_speed(TIMES, path),
}


STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
FILES = [(what, "png") for what in DRAWN] + [(what, end) for what in ("history", "confusion") for end in ("pdf", "svg")]


@pytest.mark.parametrize(("what", "ending"), FILES)
def test_a_path_gets_a_file(what, ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    assert DRAWN[what](path if ending == "png" else str(path)) is None
    assert path.read_bytes().startswith(STARTS[ending])
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("what", CURVES)
def test_without_a_path_there_is_a_figure_with_labels(what):
    figure = DRAWN[what]()
    assert figure.axes[-1].get_xlabel()
    for axis in figure.axes:
        assert axis.get_ylabel()
        assert axis.get_legend().get_texts()


def test_history_draws_what_it_was_given():
    loss, accuracy = plots.plot_history(HISTORY).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")  # from 2.1 to 0.1; from 0.2 to 0.9
    for axis, name in ((loss, "loss"), (accuracy, "accuracy")):
        given, validation = axis.lines
        np.testing.assert_array_equal(given.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(given.get_ydata(), HISTORY[name])
        np.testing.assert_array_equal(validation.get_ydata(), HISTORY[f"val_{name}"])
        assert [line.get_linestyle() for line in axis.lines] == ["-", "--"]
        assert [text.get_text() for text in axis.get_legend().get_texts()] == [f"training {name}", f"validation {name}"]


def test_history_of_a_fit():
    model = fastbp.Sequential([fastbp.Dense(1)])
    model.compile("sgd", "mse", ["mae"])
    history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2)
    assert len(fastbp.plot_history(history).axes) == 2


@pytest.mark.parametrize(
    "columns",
    [
        {"loss": [1.0]},
        {"loss": [1.0, NAN]},
        {"loss": [0.0, 1.0]},
        {"loss": [1.0, float("inf")]},
        {"loss": [NAN]},
        {"mae": [1.0, 2.0]},
    ],
)
def test_histories_with_little_to_show(columns):
    figure = plots.plot_history(columns)
    figure.canvas.draw()
    assert figure.axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("history", "error"), [(3, TypeError), ({}, ValueError), ({"loss": []}, ValueError)])
def test_what_is_no_history_is_refused(history, error):
    with pytest.raises(error, match="history must"):
        plots.plot_history(history)


def test_a_diagnosis_marks_verdicts_and_zeros():
    norms, shares, updates = diagnosis(6).plot().axes
    assert norms.get_yscale() == updates.get_yscale() == "log"
    assert norms.get_ylim()[0] < 1e-5
    assert {text.get_text() for text in norms.get_legend().get_texts()} >= {"vanishing", "exactly 0", "activation, rms"}
    for axis in (norms, shares, updates):
        (band,) = axis.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == (-0.5, 2.5)
    (triangles,) = [line for line in norms.lines if line.get_marker() == "v"]
    assert list(triangles.get_xdata()) == [0]
    assert [text.get_text() for text in shares.get_legend().get_texts()] == ["saturated units"]


def test_nothing_finite_can_be_drawn():
    layer = LayerDiagnosis(0, "Dense(1, identity)", NAN, NAN, float("inf"), NAN, NAN, NAN, NAN, "exploding", "")
    Diagnosis(NAN, 1, (layer,), "exploding", ()).plot().canvas.draw()


def test_the_suggested_rate_is_marked():
    (axis,) = search().plot().axes
    assert axis.get_xscale() == "log"
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[2:] == ["1.0e-03: steepest descent, suggested", "2.0e-02: a tenth of the minimum"]


def test_a_flat_search_suggests_nothing():
    losses = tuple(2 + 0.1 * np.cos(np.arange(50)))
    flat = RateSearch(tuple(np.geomspace(1e-7, 10, 50)), losses, losses, 1e-3, 2e-2, True)
    (axis,) = flat.plot().axes
    assert axis.get_title() == "No learning rate helped: the loss hardly falls"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["loss of a step", "smoothed"]
    assert flat.flat
    assert not search().flat


@pytest.mark.parametrize("columns", [HISTORY, {"loss": np.geomspace(1, 1e-3, 12_000).tolist()}])
def test_legends_hide_no_curve(columns):
    figure = plots.plot_history(columns, title="digits: MSE")
    figure.canvas.draw()
    assert figure.get_suptitle() == "digits: MSE"
    for axis in figure.axes:
        assert axis.get_legend().get_window_extent().y0 >= axis.get_window_extent().y1
    figure = plots.plot_predictions([1.0, 2.0, 4.0], [1.5, 2.0, 3.5])
    figure.canvas.draw()
    (axis,) = figure.axes
    assert axis.get_legend().get_window_extent().y1 <= axis.get_window_extent().y0


def test_thousands_are_separated():
    figure = plots.plot_history({"loss": np.linspace(2, 1, 12_000).tolist()})
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "12,000" in labels
    assert not any("000" in label and "," not in label for label in labels)
    prices = np.linspace(-250_000, 250_000, 9)
    figure = plots.plot_predictions(prices, prices)
    figure.canvas.draw()
    assert "\N{MINUS SIGN}200,000" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_layers_that_are_alike_have_names_that_differ():
    seen = health(layers=3)
    seen.layers = ["Dense(8, tanh)", "Dense(8, tanh)", "Dense(1, identity)"]
    names = [text.get_text() for text in plots.plot_gradient_health(seen).axes[0].get_legend().get_texts()]
    assert names == ["Dense(1, identity)", "1: Dense(8, tanh)", "0: Dense(8, tanh)"]


def test_the_learning_rate_has_a_panel_of_its_own():
    columns = HISTORY | {"learning_rate": [1e-2, 1e-3, 1e-4]}
    _, accuracy, rate = plots.plot_history(columns).axes
    assert (rate.get_ylabel(), rate.get_yscale(), len(accuracy.lines)) == ("learning rate", "log", 2)


# ---------------------------------------------------------------- outcomes


def texts(axis):
    """What the cells of a matrix say, by row and column."""
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axis.texts}


def test_a_confusion_matrix_holds_counts_and_shares():
    truth, predicted = [0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 2, 1, 0, 2]
    matrix, scale = plots.plot_confusion_matrix(truth, predicted, class_names=["ash", "oak", "yew", "fir"]).axes
    assert texts(matrix) == {
        (0, 0): "3\n75.0 %", (0, 2): "1\n25.0 %", (1, 0): "1\n50.0 %", (1, 1): "1\n50.0 %", (2, 2): "1\n100.0 %",
    }  # fmt: skip
    shares = matrix.images[0].get_array()
    np.testing.assert_array_equal(shares[:3], [[0.75, 0, 0.25, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]])
    assert shares.mask[3].all()  # no fir was there
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["ash", "oak", "yew", "fir"]
    assert (matrix.get_xlabel(), matrix.get_ylabel(), scale.get_ylabel()) == ("predicted", "true", "share of the class")
    assert matrix.get_title() == "accuracy 71.4 % of 7 rows"


PREDICTED = {  # the same predictions in the forms in which they come
    "labels": ([0, 1, 1], [0, 1, 0], None),
    "texts": (["no", "yes", "yes"], ["no", "yes", "no"], None),
    "outputs": ([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], None),
    "one output": ([0, 1, 1], [[0.1], [0.8], [0.4]], None),
    "booleans": ([False, True, True], [False, True, False], ["no", "yes"]),
}


@pytest.mark.parametrize("form", PREDICTED)
def test_predictions_come_as_labels_or_outputs(form):
    truth, predicted, names = PREDICTED[form]
    matrix = plots.plot_confusion_matrix(truth, predicted, class_names=names).axes[0]
    assert texts(matrix) == {(0, 0): "1\n100.0 %", (1, 0): "1\n50.0 %", (1, 1): "1\n50.0 %"}


def test_agrees_with_scikit_learn():
    confusion_matrix = pytest.importorskip("sklearn.metrics").confusion_matrix
    truth, predicted = np.random.default_rng(1).integers(0, 26, size=(2, 500))
    counted = {place: int(text) for place, text in texts(plots.plot_confusion_matrix(truth, predicted).axes[0]).items()}
    expected = confusion_matrix(truth, predicted)
    assert counted == {place: n for place, n in np.ndenumerate(expected) if n}


@pytest.mark.parametrize("names", [["a"] * 31, ["a long name of a class"] * 12, [f"c{i}" for i in range(250)]])
def test_names_of_classes_do_not_overlap(names):
    classes = np.arange(len(names))
    figure = plots.plot_confusion_matrix(classes, classes, class_names=names)
    figure.set_dpi(150)
    figure.canvas.draw()
    labels = figure.axes[0].get_yticklabels()
    heights = [label.get_window_extent() for label in labels if label.get_text()]
    assert all(a.y0 >= b.y1 or b.y0 >= a.y1 for a, b in itertools.pairwise(heights))
    assert labels[0].get_fontsize() >= 4.5


def test_predictions_are_drawn_over_the_truth():
    y = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 30.0]])
    first, second = plots.plot_predictions(y, y + np.array([0.5, 0.0]), names=["width", "height"]).axes
    np.testing.assert_array_equal(first.collections[0].get_offsets(), np.column_stack([y[:, 0], y[:, 0] + 0.5]))
    r2 = 1 - 3 * 0.25 / ((y[:, 0] - y[:, 0].mean()) ** 2).sum()
    assert first.get_title() == f"width\nR² {r2:.3f}, root mean square error 0.5"
    assert second.get_title() == "height\nR² 1.000, root mean square error 0"
    assert first.get_xlim() == first.get_ylim()


def test_weights_are_images_in_the_order_of_units():
    *units, scale = plots.plot_weights(KERNEL, shape=(3, 4), most=4).axes
    assert scale.get_ylabel() == "weight"
    for number, axis in enumerate(units):
        np.testing.assert_array_equal(axis.images[0].get_array(), KERNEL[:, number].reshape(3, 4))
    assert len(units) == 4
    low, high = units[0].images[0].get_clim()
    assert -low == high


def test_speeds_are_ratios_round_by_round():
    (axis,) = plots.plot_speed(TIMES).axes
    spread, median = axis.lines[1], axis.lines[2]
    np.testing.assert_allclose(spread.get_xdata(), [10, 15], rtol=1e-12)
    np.testing.assert_allclose(median.get_xdata(), [12.5], rtol=1e-12)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["10-5-1", "large"]
    assert {text.get_text() for text in axis.texts} == {"fastbp", "2 µs", "300 ms"}


WRONG = {
    "lengths": (lambda: plots.plot_confusion_matrix([0, 1], [0]), "and y_pred labels"),
    "no rows": (lambda: plots.plot_confusion_matrix([], []), "shapes"),
    "too few names": (lambda: plots.plot_confusion_matrix([0, 2], [0, 1], class_names=["a", "b"]), "0 to 1"),
    "shapes": (lambda: plots.plot_predictions([1.0, 2.0], [1.0]), r"shapes \(2,\) and \(1,\)"),
    "nothing": (lambda: plots.plot_predictions([], []), "equal shapes"),
    "not finite": (lambda: plots.plot_predictions([1.0, NAN], [1.0, 2.0]), "finite"),
    "names of outputs": (lambda: plots.plot_predictions([1.0], [1.0], names=["a", "b"]), "each of 1 outputs"),
    "no square": (lambda: plots.plot_weights(KERNEL), "12 inputs must make images .* no square"),
    "another shape": (lambda: plots.plot_weights(KERNEL, shape=(2, 5)), "12 inputs"),
    "no kernel": (lambda: plots.plot_weights([1.0, 2.0]), "inputs, units"),
    "not built": (lambda: plots.plot_weights(fastbp.Sequential([fastbp.Dense(1)])), "not known yet"),
    "no base": (lambda: plots.plot_speed({"a": {"NumPy": [1.0]}}), "must include 'fastbp'"),
    "no task": (lambda: plots.plot_speed({}), "at least one task"),
    "rounds": (lambda: plots.plot_speed({"a": {"NumPy": [1.0], "fastbp": [1.0, 2.0]}}), "equal numbers of rounds"),
    "no time": (lambda: plots.plot_speed({"a": {"NumPy": [0.0], "fastbp": [1.0]}}), "positive"),
    "no look": (lambda: plots.plot_gradient_health(fastbp.GradientHealth([[1.0]], [1.0])), "at least one record"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_drawn_is_refused(case):
    draw, text = WRONG[case]
    with pytest.raises(ValueError, match=text):
        draw()


# ---------------------------------------------------------------- gradient health


def test_gradient_health_shows_lines_zeros_and_what_is_not_finite():
    gradients, updates, verdicts = plots.plot_gradient_health(health()).axes
    assert gradients.get_yscale() == updates.get_yscale() == "log"
    lines = [line for line in gradients.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(lines[0].get_ydata(), [NAN, 1e-4, 1e-4])
    (zero,) = [line for line in gradients.lines if line.get_marker() == "v"]
    (lost,) = [line for line in gradients.lines if line.get_marker() == "x"]
    assert (list(zero.get_xdata()), list(lost.get_xdata())) == ([0], [2])
    names = [text.get_text() for text in gradients.get_legend().get_texts()]
    assert names == [f"Dense({i}, tanh)" for i in (4, 3, 2, 1)]  # from the output down
    assert {text.get_text() for text in verdicts.get_legend().get_texts()} == {"vanishing", "healthy"}


@pytest.mark.parametrize(
    ("options", "axes"),
    [({"verdict": "healthy"}, 2), ({"epochs": (0,)}, 3), ({"layers": 30}, 4), ({"epochs": (0, 5, 50)}, 3)],
)
def test_gradient_health_of_other_trainings(options, axes):
    figure = health(**options).plot()
    figure.canvas.draw()
    assert len(figure.axes) == axes


# ---------------------------------------------------------------- from the command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a file of two classes, and one of numbers."""
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("numbers.npz", X=X, y=1000 + 10 * X[:, 0])
    lines = [f"{a:.6f},{b:.6f},{'iris' if a > 0 else 'rose'}" for a, b in X[:, :2]]
    (tmp_path / "flowers.csv").write_text("a,b,kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def train(*arguments):
    return main(["train", *arguments, "--layers", "4", "--epochs", "3", "--quiet", "--plot", "run.png"])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_training_draws_its_curves_and_a_confusion_matrix(folder, capsys, monkeypatch, loss):
    figures = []
    monkeypatch.setattr(report, "done", lambda figure, path: figures.append(figure))
    assert train("flowers.csv", "--target", "kind", "--loss", loss) == 0
    out = capsys.readouterr().out
    assert "plot           run.png" in out
    curves, accuracy, matrix, _ = figures[0].axes
    assert [line.get_label() for line in curves.lines] == ["training loss", "test loss"]
    assert matrix.get_title() == f"accuracy {float(out.split('test accuracy')[1].split()[0]):.1f} % of 12 rows"
    assert [line.get_label() for line in accuracy.lines] == ["training accuracy", "test accuracy"]
    assert figures[0].get_suptitle() == f"flowers.csv: {loss.replace('_', ' ')}"
    assert 100 * accuracy.lines[1].get_ydata()[-1] == pytest.approx(float(matrix.get_title().split()[1]), abs=0.05)
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["iris", "rose"]


def test_training_on_numbers_draws_predictions_in_their_own_unit(folder, monkeypatch):
    figures = []
    monkeypatch.setattr(report, "done", lambda figure, path: figures.append(figure))
    assert train("numbers.npz") == 0
    _, predictions = figures[0].axes
    truth = predictions.collections[0].get_offsets()[:, 0]
    assert 950 < truth.min() < truth.max() < 1050
    assert len(truth) == 12


def test_the_picture_changes_no_bit_of_the_model(folder):
    assert train("flowers.csv", "--target", "kind", "--output", "with") == 0
    assert (folder / "run.png").read_bytes().startswith(STARTS["png"])
    options = ["--layers", "4", "--epochs", "3", "--quiet", "--output", "without"]
    assert main(["train", "flowers.csv", "--target", "kind", *options]) == 0
    assert (folder / "with").read_bytes() == (folder / "without").read_bytes()


def test_a_training_that_ended_within_its_first_epoch_has_no_curves():
    picture = report.TrainingPicture(np.eye(2), np.eye(2), np.arange(2), ["a", "b"])
    matrix, _ = picture.draw(np.eye(2), np.arange(2)).axes
    assert matrix.get_title() == "accuracy 100.0 % of 2 rows"


@pytest.mark.parametrize("command", [["train", "digits"], ["bench"]])
@pytest.mark.parametrize("name", ["picture.doc", "picture"])
def test_a_picture_that_cannot_be_is_refused_before_any_work(folder, capsys, command, name):
    assert main([*command, "--plot", name]) == 2
    assert f"cannot draw {name}: the file extension must be one of" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2


def test_bench_draws_its_ratios(folder, capsys, monkeypatch):
    row = bench.Row((3, 4, 1), 8, "sgd", "mse")
    monkeypatch.setattr(bench, "ROWS", (row,))
    monkeypatch.setattr(bench, "SETTLE_SECONDS", 0.0)
    assert main(["bench", "--quick", "--rounds", "2", "--plot", "bench.svg"]) == 0
    assert "plot bench.svg" in capsys.readouterr().out
    assert (folder / "bench.svg").read_bytes().startswith(STARTS["svg"])


# ---------------------------------------------------------------- what all keep to


def test_nothing_global_is_touched():
    """No pyplot, no backend, no figure kept, no setting changed."""
    program = (
        "import warnings, matplotlib.figure, fastbp; warnings.simplefilter('error');"
        "before = matplotlib.rcParams.copy();"
        "figure = fastbp.plot_history({'loss': [1.0, 0.5]}); figure.canvas.draw();"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules;"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_notebooks_show_a_figure_by_itself():
    assert plots.plot_history(HISTORY)._repr_png_().startswith(STARTS["png"])


def test_import_stays_light():
    program = "import sys, fastbp; assert not {'matplotlib', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PATH": "", "PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("what", DRAWN)
def test_without_matplotlib_the_remedy_is_named(what, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    figures._figure_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "fastbp\[plot\]"'):
        DRAWN[what]()
