"""scikit-learn's own MLP tests, from the installed package, run on fastbp's estimators."""

import importlib

import pytest

from fastbp import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

# Tests that use private attributes, and why they cannot run.
PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs with arrays for activations and deltas",
}
OURS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}


def _module():
    """scikit-learn's test module with its estimators replaced, including those in parametrize marks."""
    module = importlib.import_module("sklearn.neural_network.tests.test_mlp")
    theirs = {getattr(module, name): ours for name, ours in OURS.items() if hasattr(module, name)}
    for name, ours in OURS.items():
        setattr(module, name, ours)
    for function in vars(module).values():
        for mark in getattr(function, "pytestmark", []):
            if mark.name == "parametrize":
                mark.args[1][:] = [theirs.get(value, value) if isinstance(value, type) else value
                                   for value in mark.args[1]]  # fmt: skip
    return module


globals().update(
    {
        name: value
        for name, value in vars(_module()).items()
        if (name.startswith("test_") and name not in PRIVATE) or name.endswith("datasets")
    }
)


def test_only_private_tests_are_left_out():
    module = _module()
    assert set(PRIVATE) <= set(vars(module))
    assert module.MLPClassifier is MLPClassifier
    marks = [mark for function in vars(module).values() for mark in getattr(function, "pytestmark", [])]
    given = [value for mark in marks if mark.name == "parametrize" for value in mark.args[1]]
    assert MLPRegressor in [value for value in given if isinstance(value, type)]
    assert not [value for value in given if "sklearn" in getattr(value, "__module__", "")]


@pytest.fixture
def global_random_seed():
    """As in scikit-learn's conftest."""
    return 42
