"""HTML for notebooks: well-formed, escaped, without colours, with the same values as the plain text."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import fastbp
from fastbp.diagnosis.gradient_check import ArrayCheck, GradientCheck
from fastbp.diagnosis.layer_health import Diagnosis, LayerDiagnosis
from fastbp.diagnosis.lr_finder import RateSearch
from fastbp.training.history import History

NAN = float("nan")


def model():
    layers = [fastbp.Dense(4, "relu"), fastbp.Residual([fastbp.BatchNorm(), fastbp.Dense(6)]), fastbp.Dense(1)]
    result = fastbp.Sequential(layers, input_size=3)
    result.compile(fastbp.Adam(0.01), "mse")
    return result


def history(epochs, stopped=None):
    result = History()
    columns = {"loss": [1 / (1 + i) for i in range(epochs)], "<b>": [0.5] * epochs}
    if epochs:
        result.extend(0, columns)
    result.stopped = stopped
    return result


def diagnosis():
    layer = LayerDiagnosis(0, "Dense(1, <mine>)", 1.0, NAN, 0.5, 0.1, 0.25, NAN, 0.001)
    return Diagnosis(0.5, 10, (layer,), "healthy", ("note: a < b & c",))


def check():
    array = ArrayCheck("0.kernel", (2, 3), 6, 1e-3, (1, 2), 0.5, 0.4, 1, 0)
    return GradientCheck((array,), 0.5, 1e-5)


def search():
    return RateSearch((0.01, 0.1), (1.0, 0.5), (1.0, 0.5), 0.02, 0.01, False)


SHOWN = {
    "model": model,
    "model not compiled": lambda: fastbp.Sequential([fastbp.Dense(2)]),
    "history": lambda: history(3),
    "long history": lambda: history(500, "early_stopping"),
    "empty history": lambda: history(0),
    "diagnosis": diagnosis,
    "gradient check": check,
    "learning rate search": search,
}


def cells(shown):
    """The cell texts of the table, row by row."""
    tree = ElementTree.fromstring(shown._repr_html_())
    return [[cell.text or "" for cell in row] for row in tree.iter("tr")]


@pytest.mark.parametrize("what", SHOWN)
def test_html_is_well_formed_and_has_no_colours(what):
    shown = SHOWN[what]()
    text = shown._repr_html_()
    tree = ElementTree.fromstring(text)  # unescaped text would not parse
    tags = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert {element.tag for element in tree.iter()} <= tags
    assert not any(word in text for word in ("background", "script", "class="))
    assert text.count("color") == text.count("color: inherit") == 1  # without a doctype, tables do not inherit it
    rows = list(tree.iter("tr"))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert "<" not in repr(shown).partition(" object at ")[0] or what in ("diagnosis", "history", "long history")


def test_model_shows_its_summary():
    built = model()
    lines = [[part for part in line.split("  ") if part.strip()] for line in built.summary().splitlines()]
    flat = [[part.strip() for part in line] for line in lines]
    assert [[cell.strip() for cell in row if cell.strip()] for row in cells(built)] == flat
    assert ["  BatchNorm", "(n, 4)", "16"] in cells(built)  # indented below its block
    text = built._repr_html_()
    assert "Adam(" in text
    assert "loss mse; float32, seed 0" in text


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 500])
def test_history_shows_evenly_spaced_epochs(epochs):
    header, *rows = cells(history(epochs))
    assert header == ["epoch", "loss", "<b>"]
    numbers = [int(row[0]) for row in rows]
    assert len(numbers) == min(epochs, 10)
    assert (numbers[0], numbers[-1]) == (1, epochs)
    assert np.ptp(np.diff(numbers)) <= 1 if len(numbers) > 2 else True
    for number, row in zip(numbers, rows, strict=True):
        assert float(row[1]) == pytest.approx(1 / number, rel=5e-4)  # four digits
    assert "stopped: early_stopping" in history(epochs, "early_stopping")._repr_html_()


def test_returned_history_can_be_shown():
    built = model()
    returned = built.fit(np.eye(3), np.ones(3), epochs=2, validation_split=0.4)
    assert cells(returned)[0] == ["epoch", "loss", "val_loss"]


@pytest.mark.parametrize("shown", [diagnosis(), check()], ids=["diagnosis", "gradient check"])
def test_tables_match_the_plain_text(shown):
    text, tree = str(shown), ElementTree.fromstring(shown._repr_html_())
    for piece in tree.itertext():
        if piece.strip():
            assert piece.strip() in text


def test_search_shows_the_suggested_learning_rate():
    assert ["suggestion", "1.0e-02"] in cells(search())
    assert str(search()) in "".join(ElementTree.fromstring(search()._repr_html_()).itertext())
