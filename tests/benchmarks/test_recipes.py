"""`python -m benchmarks.recipes` on a tiny table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import recipes

pytestmark = pytest.mark.jit


def tiny() -> recipes.Table:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=200), "c": rng.choice(["a", "b", "c"], 200)})
    X.loc[::9, "x"] = np.nan
    return recipes.Table(X, (X["x"].fillna(0) + (X["c"] == "a")).to_numpy())


TASKS = (
    recipes.Task("quantities", tiny, False),
    recipes.Task("classes", lambda: tiny()._replace(y=np.where(tiny().y > 0.5, "u", "v"), n_train=150), True),
)
SMALL = tuple(peer for peer in recipes.PEERS if peer.name in ("scikit-learn MLP", "HistGradientBoosting"))
OURS = recipes.Peer("fastbp", recipes.of("fastbp", "RealMLP", n_epochs=3, hidden_layer_sizes=(8,)))


def test_the_tables_are_written_only_by_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "TASKS", TASKS)
    monkeypatch.setattr(recipes, "PEERS", (OURS, *SMALL))
    monkeypatch.setattr(recipes, "SEEDS", 2)
    monkeypatch.setattr(recipes, "PAGE", tmp_path / "page.md")
    assert recipes.main(["--seeds", "1", "--only", "classes"]) == 0
    assert not (tmp_path / "page.md").exists()
    assert recipes.main(["--seeds", "2"]) == 0
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.count("| quantities |") == text.count("| classes |") == 2
    assert "| data | fastbp | scikit-learn MLP | HistGradientBoosting |" in text
    assert "classes, seed 1, fastbp: " in capsys.readouterr().out


def test_what_others_refuse_is_prepared() -> None:
    X = pd.DataFrame({"x": [1.0, np.nan, 3.0], "c": ["a", None, "b"]})
    assert recipes.complete(X)["x"].tolist() == [1.0, 2.0, 3.0]
    assert str(recipes.categories(X)["c"].dtype) == "category"
    assert recipes.texts(X)["c"].tolist() == ["a", "missing", "b"]
