"""scikit-learn's own tests of its MLP, from the installed package, with fastbp's estimators in their place."""

import importlib

import pytest

from fastbp import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

# Tests that look at private parts, and why they cannot run.
PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs with arrays for activations and deltas",
}
OWN = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}


def _module():
    """scikit-learn's module of tests, its estimators replaced, also where they are parameters of tests."""
    module = importlib.import_module("sklearn.neural_network.tests.test_mlp")
    theirs = {getattr(module, name): own for name, own in OWN.items() if hasattr(module, name)}
    for name, own in OWN.items():
        setattr(module, name, own)
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


def test_only_what_is_private_is_left_out():
    module = _module()
    assert set(PRIVATE) <= set(vars(module))
    assert module.MLPClassifier is MLPClassifier
    marks = [mark for function in vars(module).values() for mark in getattr(function, "pytestmark", [])]
    given = [value for mark in marks if mark.name == "parametrize" for value in mark.args[1]]
    assert MLPRegressor in [value for value in given if isinstance(value, type)]
    assert not [value for value in given if "sklearn" in getattr(value, "__module__", "")]


@pytest.fixture
def global_random_seed():
    """scikit-learn's conftest has it."""
    return 42
