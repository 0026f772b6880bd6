"""`python -m benchmarks.estimators` on a tiny dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.datasets import make_regression
from sklearn.preprocessing import StandardScaler

from benchmarks import estimators

pytestmark = pytest.mark.jit

SMALL = (
    estimators.Task(
        "small", "MLPRegressor", lambda: (*make_regression(200, 5, random_state=0), None), StandardScaler,
        {"max_iter": 3, "hidden_layer_sizes": (8,)}, StandardScaler,
    ),
)  # fmt: skip


def test_both_libraries_reach_the_same_score_in_the_same_epochs() -> None:
    found = estimators.run(SMALL[0], 1, 1)
    assert found.scores[0] == pytest.approx(found.scores[1])
    assert found.epochs == (3, 3)
    assert min(found.seconds) > 0
    name, shown, *scores = estimators.describe(SMALL[0], [found, found])[:4]
    assert (name, shown) == ("small", "`MLPRegressor(max_iter=3, hidden_layer_sizes=(8,))`")
    assert scores[0] == scores[1] == f"{found.scores[0]:.4f} ± 0.0000"


def test_table_is_written_only_for_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "TASKS", SMALL)
    monkeypatch.setattr(estimators, "PAGE", tmp_path / "page.md")
    assert estimators.main(["--seeds", "1", "--threads", "1"]) == 0
    assert not (tmp_path / "page.md").exists()  # the table needs all seeds
    assert estimators.main(["--threads", "1"]) == 0
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| small |" in text
    assert "cores, on 1 thread, Python" in text


def test_digits_need_no_data_folder() -> None:
    X, X_test, y, y_test = estimators.split(estimators.TASKS[0], 0)
    assert (X.shape, X_test.shape) == ((1347, 64), (450, 64))
    assert len(y) + len(y_test) == 1797
