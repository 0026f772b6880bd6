"""The race to accuracies on MNIST: its images, its recipes on small made-up images, and its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import race
from fastbp.datasets import Split

RECIPE = race.Recipe(0.9, (16, 8), 32, 6, 0.02)


@pytest.fixture(scope="module")
def split() -> Split:
    """Images of a bright block whose place is their class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400).astype(np.uint8)
    images = rng.integers(0, 60, (400, race.SIDE, race.SIDE))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[3 + 8 * row : 8 + 8 * row, 2 + 6 * column : 6 + 6 * column] += 150
    images = images.reshape(400, -1).astype(np.uint8)
    return Split(images[:320], labels[:320], images[320:], labels[320:])


def test_images_are_moved_by_a_pixel() -> None:
    image = np.arange(race.SIDE * race.SIDE, dtype=np.float64)[np.newaxis]
    square = image.reshape(race.SIDE, race.SIDE)
    copies = race.moved(image, 5).reshape(5, race.SIDE, race.SIDE)
    np.testing.assert_array_equal(copies[0], square)
    np.testing.assert_array_equal(copies[1][1:], square[:-1])
    np.testing.assert_array_equal(copies[2][:-1], square[1:])
    np.testing.assert_array_equal(copies[3][:, 1:], square[:, :-1])
    np.testing.assert_array_equal(copies[4][:, :-1], square[:, 1:])
    assert not copies[1][0].any()
    assert not copies[4][:, -1].any()


def test_pixels_are_standardized(split: Split) -> None:
    X, y, scale = race.prepare(RECIPE._replace(moves=3), split.x_train, split.y_train)
    assert X.dtype == np.float32
    assert X.shape == (960, 784)
    np.testing.assert_array_equal(y, np.tile(split.y_train, 3))
    assert abs(float(X[:320].mean())) < 1e-3
    assert float(X[:320].std()) == pytest.approx(1, abs=1e-3)
    assert race.moments(split.x_train) == scale


def test_a_recipe_s_cycle_is_as_long_as_its_training(split: Split) -> None:
    assert RECIPE.schedule(len(split.x_train)).total_steps == 60
    assert RECIPE.schedule(321).total_steps == 66


@pytest.mark.parametrize("library", ["fastbp", "PyTorch"])
def test_every_library_learns_by_a_recipe(library: str, split: Split) -> None:
    by, kind = race.RUNNERS[library]
    finish = by(RECIPE, split, 0, 1, kind)
    assert finish.accuracy >= 0.9
    assert finish.seconds > 0


def test_a_recipe_counts_by_its_median(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                       tmp_path: Path) -> None:
    """The exit code says so; a run of all targets writes the table, beside the peer that is faster."""
    accuracies = {recipe.target: recipe.target + 0.001 for recipe in race.RECIPES}

    def run(recipe: race.Recipe, library: str, seed: int, threads: int) -> race.Finish:
        seconds = {"fastbp": 1.0, "PyTorch": 3.0, "PyTorch compiled": 2.0}[library] + seed / 10
        return race.Finish(seconds, accuracies[recipe.target] + 0.0001 * (seed - 2))

    monkeypatch.setattr(race, "apart", run)
    monkeypatch.setattr(race, "PAGE", tmp_path / "accuracy.md")
    assert race.main([]) == 0
    page = (tmp_path / "accuracy.md").read_text()
    assert "2.20 (2.00 to 2.40), PyTorch compiled | 1.8 (1.7 to 2.0)" in page
    assert page.count("| 98.") == 9  # targets, and accuracies of both
    accuracies[0.984] = 0.9839
    assert race.main(["--targets", "98,98.75"]) == 0
    assert race.main(["--targets", "98.4", "--libraries", "fastbp", "--seeds", "1"]) == 1
    assert "–" in capsys.readouterr().out
