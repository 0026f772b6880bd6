"""What the package shows: `dir`, what type checkers see, and that all of it can be had."""

import ast
import subprocess
import sys
from pathlib import Path

import fastbp

LAZY = {"MLPClassifier", "MLPRegressor", "datasets", "estimators", "exchange", "kernels", "reference", "sources"}


def test_dir_shows_what_is_public_and_no_more():
    shown = dir(fastbp)
    assert shown == sorted(set(shown))
    assert [name for name in shown if name.startswith("_")] == ["__version__"]
    assert set(fastbp.__all__) | LAZY <= set(shown)
    assert not {"importlib", "os", "old_names", "util", "spec", "storage", "TYPE_CHECKING"} & set(shown)
    assert [name for name in shown if not hasattr(fastbp, name)] == []


def test_dir_shows_what_can_be_imported(monkeypatch):
    monkeypatch.setattr(fastbp, "find_spec", lambda name: None)  # as without scikit-learn
    assert not {"MLPClassifier", "MLPRegressor"} & set(dir(fastbp))


def test_dir_imports_nothing():
    code = "import fastbp, sys; assert 'MLPClassifier' in dir(fastbp); sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_see_what_is_imported_lazily():
    tree = ast.parse(Path(fastbp.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    assert {alias.asname for node in block.body for alias in node.names} == LAZY


def test_unknown_names_are_attribute_errors():
    assert not hasattr(fastbp, "nothing_of_the_kind")
