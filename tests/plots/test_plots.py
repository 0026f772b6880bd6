"""Plots: what is drawn and written, no change of global state, and the message without matplotlib."""

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
    """A diagnosis of n layers whose gradients vanish, down to exactly 0; the last has no units to count."""
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
    """A GradientHealth that recorded vanishing gradients, an exact 0, and finally a value that is not finite."""
    seen = fastbp.GradientHealth(np.eye(2), [0.0, 1.0])
    seen.layers, seen.epochs = [f"Dense({i + 1}, tanh)" for i in range(layers)], list(epochs)
    figures = np.tile(10.0 ** np.arange(-layers, 0), (4, 1))
    seen._looks = [figures.copy() for _ in epochs]
    seen._looks[0][1, 0], seen._looks[-1][1, 1] = 0.0, np.inf
    seen.verdicts = [[verdict, *["healthy"] * (layers - 1)] for _ in epochs]
    return seen


TIMES = {"10-5-1": {"NumPy": [2e-5, 3e-5], "fastbp": [2e-6, 2e-6]}, "large": {"NumPy": [0.4], "fastbp": [0.3]}}
KERNEL = np.random.default_rng(0).normal(size=(12, 5))
IMPORTANCES = [[0.1, 0.3], [-0.01, 0.01], [0.6, 0.6]]
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
    "importances": lambda path=None: plots.plot_importances(IMPORTANCES, ["a", "b", "c"], path),
    "speed": lambda path=None: plots.plot_speed(TIMES, path),
}


STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
FILES = [(what, "png") for what in DRAWN] + [(what, end) for what in ("history", "confusion") for end in ("pdf", "svg")]


@pytest.mark.parametrize(("what", "ending"), FILES)
def test_path_writes_a_file(what, ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    assert DRAWN[what](path if ending == "png" else str(path)) is None
    assert path.read_bytes().startswith(STARTS[ending])
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("what", CURVES)
def test_without_a_path_a_labelled_figure_is_returned(what):
    figure = DRAWN[what]()
    assert figure.axes[-1].get_xlabel()
    for axis in figure.axes:
        assert axis.get_ylabel()
        assert axis.get_legend().get_texts()


def test_history_draws_the_given_values():
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


def test_history_of_a_fit_is_drawn():
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
def test_short_and_non_finite_histories_are_drawn(columns):
    figure = plots.plot_history(columns)
    figure.canvas.draw()
    assert figure.axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("history", "error"), [(3, TypeError), ({}, ValueError), ({"loss": []}, ValueError)])
def test_invalid_histories_are_refused(history, error):
    with pytest.raises(error, match="history must"):
        plots.plot_history(history)


def test_diagnosis_marks_verdicts_and_zeros():
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


def test_diagnosis_without_finite_values_is_drawn():
    layer = LayerDiagnosis(0, "Dense(1, identity)", NAN, NAN, float("inf"), NAN, NAN, NAN, NAN, "exploding", "")
    Diagnosis(NAN, 1, (layer,), "exploding", ()).plot().canvas.draw()


def test_suggested_learning_rate_is_marked():
    (axis,) = search().plot().axes
    assert axis.get_xscale() == "log"
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[2:] == ["1.0e-03: steepest descent, suggested", "2.0e-02: a tenth of the minimum"]


def test_flat_search_suggests_nothing():
    losses = tuple(2 + 0.1 * np.cos(np.arange(50)))
    flat = RateSearch(tuple(np.geomspace(1e-7, 10, 50)), losses, losses, 1e-3, 2e-2, True)
    (axis,) = flat.plot().axes
    assert axis.get_title() == "No learning rate helped: the loss hardly falls"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["loss of a step", "smoothed"]
    assert flat.flat
    assert not search().flat


@pytest.mark.parametrize("columns", [HISTORY, {"loss": np.geomspace(1, 1e-3, 12_000).tolist()}])
def test_legends_do_not_cover_curves(columns):
    figure = plots.plot_history(columns, title="digits: MSE")
    figure.canvas.draw()
    assert figure.get_suptitle() == "digits: MSE"
    for axis in figure.axes:
        assert axis.get_legend().get_window_extent().y0 >= axis.get_window_extent().y1
    figure = plots.plot_predictions([1.0, 2.0, 4.0], [1.5, 2.0, 3.5])
    figure.canvas.draw()
    (axis,) = figure.axes
    assert axis.get_legend().get_window_extent().y1 <= axis.get_window_extent().y0


def test_axis_labels_have_thousands_separators():
    figure = plots.plot_history({"loss": np.linspace(2, 1, 12_000).tolist()})
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "12,000" in labels
    assert not any("000" in label and "," not in label for label in labels)
    prices = np.linspace(-250_000, 250_000, 9)
    figure = plots.plot_predictions(prices, prices)
    figure.canvas.draw()
    assert "\N{MINUS SIGN}200,000" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_identical_layers_get_distinct_names():
    seen = health(layers=3)
    seen.layers = ["Dense(8, tanh)", "Dense(8, tanh)", "Dense(1, identity)"]
    names = [text.get_text() for text in plots.plot_gradient_health(seen).axes[0].get_legend().get_texts()]
    assert names == ["Dense(1, identity)", "1: Dense(8, tanh)", "0: Dense(8, tanh)"]


def test_learning_rate_has_its_own_panel():
    columns = HISTORY | {"learning_rate": [1e-2, 1e-3, 1e-4]}
    _, accuracy, rate = plots.plot_history(columns).axes
    assert (rate.get_ylabel(), rate.get_yscale(), len(accuracy.lines)) == ("learning rate", "log", 2)


# ---------------------------------------------------------------- predictions and weights


def cells(axis):
    """The texts of the cells of a matrix, by row and column."""
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axis.texts}


def test_confusion_matrix_shows_counts_and_percentages():
    truth, predicted = [0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 2, 1, 0, 2]
    matrix, scale = plots.plot_confusion_matrix(truth, predicted, class_names=["ash", "oak", "yew", "fir"]).axes
    assert cells(matrix) == {
        (0, 0): "3\n75.0 %", (0, 2): "1\n25.0 %", (1, 0): "1\n50.0 %", (1, 1): "1\n50.0 %", (2, 2): "1\n100.0 %",
    }  # fmt: skip
    shares = matrix.images[0].get_array()
    np.testing.assert_array_equal(shares[:3], [[0.75, 0, 0.25, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]])
    assert shares.mask[3].all()  # there is no fir in the data
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["ash", "oak", "yew", "fir"]
    assert (matrix.get_xlabel(), matrix.get_ylabel(), scale.get_ylabel()) == ("predicted", "true", "share of the class")
    assert matrix.get_title() == "accuracy 71.4 % of 7 rows"


PREDICTED = {  # the same predictions in every accepted form
    "labels": ([0, 1, 1], [0, 1, 0], None),
    "strings": (["no", "yes", "yes"], ["no", "yes", "no"], None),
    "outputs": ([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], None),
    "one output": ([0, 1, 1], [[0.1], [0.8], [0.4]], None),
    "booleans": ([False, True, True], [False, True, False], ["no", "yes"]),
}


@pytest.mark.parametrize("form", PREDICTED)
def test_predictions_may_be_labels_or_outputs(form):
    truth, predicted, names = PREDICTED[form]
    matrix = plots.plot_confusion_matrix(truth, predicted, class_names=names).axes[0]
    assert cells(matrix) == {(0, 0): "1\n100.0 %", (1, 0): "1\n50.0 %", (1, 1): "1\n50.0 %"}


def test_confusion_matrix_matches_scikit_learn():
    confusion_matrix = pytest.importorskip("sklearn.metrics").confusion_matrix
    truth, predicted = np.random.default_rng(1).integers(0, 26, size=(2, 500))
    counted = {place: int(text) for place, text in cells(plots.plot_confusion_matrix(truth, predicted).axes[0]).items()}
    expected = confusion_matrix(truth, predicted)
    assert counted == {place: n for place, n in np.ndenumerate(expected) if n}


@pytest.mark.parametrize("names", [["a"] * 31, ["a long name of a class"] * 12, [f"c{i}" for i in range(250)]])
def test_class_names_do_not_overlap(names):
    classes = np.arange(len(names))
    figure = plots.plot_confusion_matrix(classes, classes, class_names=names)
    figure.set_dpi(150)
    figure.canvas.draw()
    labels = figure.axes[0].get_yticklabels()
    heights = [label.get_window_extent() for label in labels if label.get_text()]
    assert all(a.y0 >= b.y1 or b.y0 >= a.y1 for a, b in itertools.pairwise(heights))
    assert labels[0].get_fontsize() >= 4.5


def test_predictions_are_drawn_against_true_values():
    y = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 30.0]])
    first, second = plots.plot_predictions(y, y + np.array([0.5, 0.0]), names=["width", "height"]).axes
    np.testing.assert_array_equal(first.collections[0].get_offsets(), np.column_stack([y[:, 0], y[:, 0] + 0.5]))
    r2 = 1 - 3 * 0.25 / ((y[:, 0] - y[:, 0].mean()) ** 2).sum()
    assert first.get_title() == f"width\nR² {r2:.3f}, root mean square error 0.5"
    assert second.get_title() == "height\nR² 1.000, root mean square error 0"
    assert first.get_xlim() == first.get_ylim()


def test_weights_are_drawn_as_one_image_per_unit():
    *units, scale = plots.plot_weights(KERNEL, shape=(3, 4), most=4).axes
    assert scale.get_ylabel() == "weight"
    for number, axis in enumerate(units):
        np.testing.assert_array_equal(axis.images[0].get_array(), KERNEL[:, number].reshape(3, 4))
    assert len(units) == 4
    low, high = units[0].images[0].get_clim()
    assert -low == high


def test_speed_ratios_are_computed_per_round():
    (axis,) = plots.plot_speed(TIMES).axes
    spread, median = axis.lines[1], axis.lines[2]
    np.testing.assert_allclose(spread.get_xdata(), [10, 15], rtol=1e-12)
    np.testing.assert_allclose(median.get_xdata(), [12.5], rtol=1e-12)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["10-5-1", "large"]
    assert {text.get_text() for text in axis.texts} == {"fastbp", "2 µs", "300 ms"}


def test_importances_are_sorted_with_their_spread():
    (axis,) = plots.plot_importances({"importances": np.array(IMPORTANCES)}, ["a", "b", "c"], most=2).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["c", "a"]
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [0.6, 0.2])
    (lines,) = axis.collections
    np.testing.assert_allclose([each[:, 0] for each in lines.get_segments()], [[0.6, 0.6], [0.1, 0.3]])
    assert axis.yaxis_inverted()  # the largest is on top
    assert "score" in axis.get_xlabel()


INVALID = {
    "unequal lengths": (lambda: plots.plot_confusion_matrix([0, 1], [0]), "and y_pred labels"),
    "no rows": (lambda: plots.plot_confusion_matrix([], []), "shapes"),
    "too few names": (lambda: plots.plot_confusion_matrix([0, 2], [0, 1], class_names=["a", "b"]), "0 to 1"),
    "unequal shapes": (lambda: plots.plot_predictions([1.0, 2.0], [1.0]), r"shapes \(2,\) and \(1,\)"),
    "empty": (lambda: plots.plot_predictions([], []), "equal shapes"),
    "not finite": (lambda: plots.plot_predictions([1.0, NAN], [1.0, 2.0]), "finite"),
    "too many names": (lambda: plots.plot_predictions([1.0], [1.0], names=["a", "b"]), "each of 1 outputs"),
    "not square": (lambda: plots.plot_weights(KERNEL), "12 inputs must make images .* no square"),
    "wrong shape": (lambda: plots.plot_weights(KERNEL, shape=(2, 5)), "12 inputs"),
    "not a kernel": (lambda: plots.plot_weights([1.0, 2.0]), "inputs, units"),
    "not built": (lambda: plots.plot_weights(fastbp.Sequential([fastbp.Dense(1)])), "not known yet"),
    "one repeat without its axis": (lambda: plots.plot_importances([0.1, 0.2], ["a", "b"]), "columns, repeats"),
    "too few columns": (lambda: plots.plot_importances([[0.1]], ["a", "b"]), "each of 1 columns, got 2"),
    "no score": (lambda: plots.plot_importances([[NAN]], ["a"]), "importances must be finite"),
    "no fastbp": (lambda: plots.plot_speed({"a": {"NumPy": [1.0]}}), "must include 'fastbp'"),
    "no task": (lambda: plots.plot_speed({}), "at least one task"),
    "rounds": (lambda: plots.plot_speed({"a": {"NumPy": [1.0], "fastbp": [1.0, 2.0]}}), "equal numbers of rounds"),
    "zero time": (lambda: plots.plot_speed({"a": {"NumPy": [0.0], "fastbp": [1.0]}}), "positive"),
    "no record": (lambda: plots.plot_gradient_health(fastbp.GradientHealth([[1.0]], [1.0])), "at least one record"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_are_refused(case):
    draw, message = INVALID[case]
    with pytest.raises(ValueError, match=message):
        draw()


# ---------------------------------------------------------------- gradient health


def test_gradient_health_marks_zeros_and_non_finite_values():
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
def test_gradient_health_number_of_panels(options, axes):
    figure = health(**options).plot()
    figure.canvas.draw()
    assert len(figure.axes) == axes


# ---------------------------------------------------------------- command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with one file for classification and one for regression."""
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("numbers.npz", X=X, y=1000 + 10 * X[:, 0])
    lines = [f"{a:.6f},{b:.6f},{'iris' if a > 0 else 'rose'}" for a, b in X[:, :2]]
    (tmp_path / "flowers.csv").write_text("a,b,kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def train(*arguments):
    return main(["train", *arguments, "--layers", "4", "--epochs", "3", "--quiet", "--plot", "run.png"])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_train_draws_curves_and_a_confusion_matrix(folder, capsys, monkeypatch, loss):
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


def test_train_draws_regression_predictions_in_original_units(folder, monkeypatch):
    figures = []
    monkeypatch.setattr(report, "done", lambda figure, path: figures.append(figure))
    assert train("numbers.npz") == 0
    _, predictions = figures[0].axes
    truth = predictions.collections[0].get_offsets()[:, 0]
    assert 950 < truth.min() < truth.max() < 1050
    assert len(truth) == 12


def test_plotting_does_not_change_the_model(folder):
    assert train("flowers.csv", "--target", "kind", "--output", "with") == 0
    assert (folder / "run.png").read_bytes().startswith(STARTS["png"])
    options = ["--layers", "4", "--epochs", "3", "--quiet", "--output", "without"]
    assert main(["train", "flowers.csv", "--target", "kind", *options]) == 0
    assert (folder / "with").read_bytes() == (folder / "without").read_bytes()


def test_run_without_a_finished_epoch_has_no_curves():
    picture = report.TrainingPicture(np.eye(2), np.eye(2), np.arange(2), ["a", "b"])
    matrix, _ = picture.draw(np.eye(2), np.arange(2)).axes
    assert matrix.get_title() == "accuracy 100.0 % of 2 rows"


@pytest.mark.parametrize("command", [["train", "digits"], ["bench"]])
@pytest.mark.parametrize("name", ["picture.doc", "picture"])
def test_unsupported_plot_file_is_refused_before_any_work(folder, capsys, command, name):
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


# ---------------------------------------------------------------- common to all plots


def test_plots_change_no_global_state():
    """No pyplot, no backend, no registered figure, no changed setting."""
    program = (
        "import warnings, matplotlib.figure, fastbp; warnings.simplefilter('error');"
        "before = matplotlib.rcParams.copy();"
        "figure = fastbp.plot_history({'loss': [1.0, 0.5]}); figure.canvas.draw();"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules;"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_notebooks_display_figures():
    assert plots.plot_history(HISTORY)._repr_png_().startswith(STARTS["png"])


def test_import_does_not_load_matplotlib():
    program = "import sys, fastbp; assert not {'matplotlib', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PATH": "", "PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("what", DRAWN)
def test_missing_matplotlib_names_the_pip_command(what, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    figures._figure_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "fastbp\[plot\]"'):
        DRAWN[what]()
