"""Pictures: what is drawn, that files are written and nothing else is touched, what is said without matplotlib."""

import builtins
import doctest
import subprocess
import sys
import warnings

import numpy as np
import pytest

import fastbp
from fastbp import plots
from fastbp.diagnosis import Diagnosis, LayerDiagnosis
from fastbp.rate_finder import RateSearch

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


DRAWN = {
    "history": lambda path=None: plots.plot_history(HISTORY, path),
    "diagnosis": lambda path=None: diagnosis(5).plot(path),
    "200 layers": lambda path=None: diagnosis(200).plot(path),
    "learning rate": lambda path=None: search().plot(path),
}


@pytest.mark.parametrize("what", DRAWN)
@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_path_gets_a_file(what, ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    assert DRAWN[what](path) is None
    start = path.read_bytes()[:8]
    assert start.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending])
    again = tmp_path / f"again.{ending}"
    assert DRAWN[what](str(again)) is None
    assert again.stat().st_size > 1000


@pytest.mark.parametrize("what", DRAWN)
def test_without_a_path_there_is_a_figure_with_labels(what):
    figure = DRAWN[what]()
    assert figure.axes[-1].get_xlabel()
    for axis in figure.axes:
        assert axis.get_ylabel()
        assert axis.get_legend().get_texts()
    figure.canvas.draw()  # whatever warns while drawing is an error here


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
        assert [text.get_text() for text in axis.get_legend().get_texts()] == [name, f"{name}, validation"]


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
    assert texts[2:] == ["1.0e-03: steepest descent, suggested", "2.0e-02: a tenth of the minimum's"]


def test_nothing_global_is_touched():
    """No pyplot, no backend, no figure kept, no setting changed."""
    program = (
        "import matplotlib, fastbp; before = matplotlib.rcParams.copy();"
        "figure = fastbp.plot_history({'loss': [1.0, 0.5]}); figure.canvas.draw();"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules;"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


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

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "fastbp\[plot\]"'):
        DRAWN[what]()


def test_examples_in_docstrings_run():
    with warnings.catch_warnings():
        assert doctest.testmod(plots).failed == 0
