"""The public namespace: `dir`, lazy imports, and what type checkers see."""

import ast
import subprocess
import sys
from pathlib import Path

import fastbp

ESTIMATORS = {"MLPClassifier", "MLPRegressor", "RealMLPClassifier", "RealMLPRegressor"}
LAZY = ESTIMATORS | {"datasets", "estimators", "exchange", "kernels", "recipes", "reference", "sources"}


def test_dir_lists_only_public_names():
    shown = dir(fastbp)
    assert shown == sorted(set(shown))
    assert [name for name in shown if name.startswith("_")] == ["__version__"]
    assert set(fastbp.__all__) | LAZY <= set(shown)
    assert not {"importlib", "os", "old_names", "util", "spec", "storage", "TYPE_CHECKING"} & set(shown)
    assert [name for name in shown if not hasattr(fastbp, name)] == []


def test_dir_omits_names_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(fastbp, "find_spec", lambda name: None)  # as if scikit-learn were missing
    assert not {"MLPClassifier", "MLPRegressor"} & set(dir(fastbp))


def test_dir_triggers_no_lazy_import():
    code = "import fastbp, sys; assert 'MLPClassifier' in dir(fastbp); sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_see_lazy_imports():
    tree = ast.parse(Path(fastbp.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    assert {alias.asname for node in block.body for alias in node.names} == LAZY


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(fastbp, "nothing_of_the_kind")
