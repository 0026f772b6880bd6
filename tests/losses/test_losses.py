"""Every loss in both engines and in `Sequential`: values and gradients against the formulas of PyTorch and Keras,
gradients against finite differences, weights, labels and one-hot rows, extreme outputs, and invalid targets.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastbp
from fastbp import Dense, Sequential, losses
from fastbp.data import sample_weights, targets
from fastbp.engine.engine import Engine
from fastbp.reference import LOSSES, ReferenceEngine
from tests.engine.cases import make_engine, spec
from tests.engine.test_accuracy import central_differences
from tests.losses.cases import CASES, OUTPUTS, PER_CLASS, LossCase, torch_loss

EPS = 2.0**-52
N = 37
jit = pytest.mark.jit
each_case = pytest.mark.parametrize("name", CASES)
each_engine = pytest.mark.parametrize("kind", [pytest.param(Engine, marks=jit, id="engine"), ReferenceEngine])


def rows_of(case: LossCase, rows: int = N, dtype: str = "float64"):
    """X, y, and y as the engine takes it."""
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(rows, 4)).astype(dtype), case.targets(rng, rows)
    return X, y, targets.targets(y, rows, OUTPUTS, case.loss, np.dtype(dtype))


def engine_of(case: LossCase, kind=Engine, dtype: str = "float64"):
    engine = make_engine(4, [spec(5, "tanh"), spec(OUTPUTS, case.last)], dtype=dtype, seed=3, kind=kind)
    engine.configure(case.loss.rule, "sgd", loss_parameters=case.loss.parameters)
    return engine


def torch_gradients(case: LossCase, weights, X, y) -> tuple[float, list[np.ndarray]]:
    parameters = [torch.nn.Parameter(torch.tensor(W)) for W in weights]
    A = torch.tanh(torch.tensor(X) @ parameters[0] + parameters[1])
    loss = torch_loss(case, A @ parameters[2] + parameters[3], torch.tensor(y))
    loss.backward()
    return loss.item(), [W.grad.numpy() for W in parameters]


@each_engine
@each_case
def test_values_and_gradients_match_the_formula(name: str, kind) -> None:
    case = CASES[name]
    X, y, given = rows_of(case)
    engine = engine_of(case, kind)
    expected, expected_gradients = torch_gradients(case, engine.get_weights(), X, y)
    total, gradients = engine.gradients(X, given)
    # two layers of sums of 5, 37 rows, an exponential and a logarithm, all of order 1; 1 - p in the formulas cancels
    assert total == pytest.approx(expected, rel=400 * EPS)
    assert engine.evaluate(X, given) == pytest.approx(expected, rel=400 * EPS)
    for dW, expected_dW in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=0, atol=2000 * EPS)


@each_engine
@each_case
def test_gradients_match_central_differences(name: str, kind) -> None:
    """As in tests/engine/test_accuracy.py; the tolerance allows for the larger third derivatives of fourth powers."""
    case = CASES[name]
    X, _, y = rows_of(case, 7)
    engine = engine_of(case, kind)
    for weight in (None, np.random.default_rng(2).random(7)):
        total, gradients = engine.gradients(X, y, sample_weight=weight)
        assert total == pytest.approx(engine.evaluate(X, y, sample_weight=weight), rel=20 * EPS)
        for dW, expected in zip(gradients, central_differences(engine, X, y, weight), strict=True):
            np.testing.assert_allclose(dW, expected, rtol=0, atol=200 * EPS ** (2 / 3))


@jit
@each_case
def test_float32_matches_float64_up_to_rounding(name: str) -> None:
    """tests/isa has derived bounds for each element of a loss; here errors also pass through two layers."""
    case = CASES[name]
    X, _, y = rows_of(case, dtype="float32")
    narrow, wide = engine_of(case, dtype="float32"), engine_of(case, ReferenceEngine)
    wide.set_weights([W.astype("float64") for W in narrow.get_weights()])
    weight = np.random.default_rng(5).random(N).astype("float32")
    total, gradients = narrow.gradients(X, y, sample_weight=weight)
    wide_y = y if y.ndim == 1 else y.astype("float64")
    expected, expected_gradients = wide.gradients(X.astype("float64"), wide_y, sample_weight=weight.astype("float64"))
    # sums of 5, 6 and 37 products of order 1, with one rounding each, and slopes of at most about 20
    assert total == pytest.approx(expected, rel=100 * 2.0**-24)
    for dW, expected_dW in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=0, atol=400 * 2.0**-24)


@each_engine
@each_case
def test_integer_sample_weights_equal_repeated_rows(name: str, kind) -> None:
    case = CASES[name]
    X, _, y = rows_of(case)
    weight = np.random.default_rng(1).integers(0, 4, N)
    engine = engine_of(case, kind)
    loss, gradients = engine.gradients(X, y, sample_weight=weight.astype("float64"))
    expected, repeated = engine.gradients(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    assert loss == pytest.approx(expected, rel=100 * EPS)
    for dW, expected_dW in zip(gradients, repeated, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=0, atol=400 * EPS)


@each_engine
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].loss.targets == "classes"])
def test_labels_equal_one_hot_rows(name: str, kind) -> None:
    case = CASES[name]
    X, labels = rows_of(case)[0], np.arange(N) % OUTPUTS
    engine = engine_of(case, kind)
    loss, gradients = engine.gradients(X, labels)
    expected, by_row = engine.gradients(X, np.eye(OUTPUTS)[labels])
    assert loss == pytest.approx(expected, rel=20 * EPS)
    for dW, expected_dW in zip(gradients, by_row, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=0, atol=20 * EPS)


@each_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_case
def test_extreme_outputs_give_finite_losses_and_gradients(name: str, dtype: str, kind) -> None:
    """Outputs of +-10^4 before the last activation, with all signs in one row."""
    case = CASES[name]
    engine = make_engine(1, [spec(OUTPUTS, case.last)], dtype=dtype, kind=kind)
    engine.configure(case.loss.rule, "sgd", loss_parameters=case.loss.parameters)
    pattern = np.array([[1e4, -1e4, 0.0, 1e4, -1e4, 1e-4]], dtype)
    if case.loss.name == "gaussian_nll":  # no log-variances whose variance is 0
        pattern[0, 3:] = [1e4, 0, 50]
    if case.loss.rule == "poisson_log":  # a rate of exp(10^4) is infinite
        pattern = np.minimum(pattern, 80)
    engine.set_weights([pattern, np.zeros(OUTPUTS, dtype)])
    for sign in (1, -1) if case.loss.name != "gaussian_nll" and case.loss.rule != "poisson_log" else (1,):
        X = np.full((N, 1), sign, dtype)
        _, _, y = rows_of(case, dtype=dtype)
        loss, gradients = engine.gradients(X, y)
        assert np.isfinite(loss)
        assert all(np.isfinite(dW).all() for dW in gradients)
        assert np.isfinite(engine.evaluate(X, y))


def test_small_variances_are_raised_to_epsilon_but_can_grow() -> None:
    """As in PyTorch, where exp(-10^4) is 0: with a mean that is right and one that is wrong."""
    A = np.array([[1.0, -1e4], [2.0, -1e4]])
    losses_, D = LOSSES["gaussian_nll"].f(A, np.array([[1.0], [1.0]]), *losses.GaussianNLL(epsilon=1e-2).parameters)
    a = torch.tensor(A, requires_grad=True)
    variance = a[:, 1:].exp()
    variance.retain_grad()
    expected = torch.nn.functional.gaussian_nll_loss(a[:, :1], torch.ones(2, 1), variance, eps=1e-2, reduction="none")
    np.testing.assert_allclose(losses_, expected.detach().numpy()[:, 0], rtol=8 * EPS)
    expected.sum().backward()
    np.testing.assert_allclose(D[:, 0], a.grad.numpy()[:, 0], rtol=8 * EPS)
    np.testing.assert_allclose(D[:, 1], 1e-2 * variance.grad.numpy()[:, 0], rtol=8 * EPS)
    assert D[1, 1] < 0  # the variance grows


# ---------------------------------------------------------------- through Sequential


@each_case
def test_fit_lowers_every_loss(name: str) -> None:
    case = CASES[name]
    X, y, _ = rows_of(case)
    model = Sequential([Dense(8, "tanh"), Dense(OUTPUTS, case.last)], seed=1)
    model.compile(fastbp.Adam(0.01), case.loss, ["mae"] if case.loss.targets != "classes" else ["accuracy"])
    history = model.fit(X, y, batch_size=10, epochs=5, sample_weight=np.arange(N) % 3, validation_data=(X, y)).history
    assert history["loss"][-1] < history["loss"][0]
    assert model.evaluate(X, y)["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert all(np.isfinite(values).all() for values in history.values())


@jit
def test_changed_parameters_compile_nothing(capfd) -> None:
    """And they change the loss, in the workspaces that the model already has."""
    X = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
    model = Sequential([Dense(2)])
    values = []
    for delta in (1.0, 0.5, 0.1):
        model.compile("sgd", fastbp.Huber(delta))
        values.append(model.evaluate(X, 3 * X[:, :2])["loss"])
        model.compile("sgd", fastbp.Huber(delta))
        assert model.train_on_batch(X, 3 * X[:, :2]) == pytest.approx(values[-1], rel=1e-5)
    assert values[0] > values[1] > values[2] > 0
    assert "compiling" not in capfd.readouterr().err


QUANTILES = (0.1, 0.5, 0.9)


def test_fitted_quantiles_match_the_data() -> None:
    """Constants fitted to two columns: each output becomes a quantile of its column."""
    rng = np.random.default_rng(4)
    y = np.column_stack([rng.normal(size=2000), 10 + 3 * rng.normal(size=2000)])
    model = Sequential([Dense(6, kernel_initializer="zeros")])
    model.compile(fastbp.SGD(3.0, momentum=0.9), losses.Quantile(QUANTILES), ["mae"])
    model.fit(np.zeros((2000, 1)), y, epochs=150, batch_size=500)
    found = model.predict([[0.0]])[0]
    expected = np.quantile(y, QUANTILES, axis=0).T.ravel()
    np.testing.assert_allclose(found, expected, atol=0.2)  # batches of 500: three standard errors of their quantiles
    medians = found[[1, 4]]
    assert model.evaluate(np.zeros((2000, 1)), y)["mae"] == pytest.approx(np.abs(y - medians).mean(), rel=1e-5)


def test_fitted_means_and_variances_match_the_data() -> None:
    rng = np.random.default_rng(4)
    y = np.column_stack([rng.normal(size=2000), 2 + 0.5 * rng.normal(size=2000)])
    model = Sequential([Dense(4, kernel_initializer="zeros")])
    model.compile(fastbp.Adam(0.1), "gaussian_nll", ["rmse"])
    model.fit(np.zeros((2000, 1)), y, epochs=25, batch_size=500)
    found = model.predict([[0.0]])[0]
    np.testing.assert_allclose(found[:2], y.mean(0), atol=0.05)
    np.testing.assert_allclose(np.exp(found[2:] / 2), y.std(0), rtol=0.05)
    rmse = np.sqrt(np.square(y - found[:2]).mean())
    assert model.evaluate(np.zeros((2000, 1)), y)["rmse"] == pytest.approx(rmse, rel=1e-5)


def test_hinge_accuracy_uses_the_sign_of_outputs() -> None:
    X = np.array([[-2.0], [-0.1], [0.3], [2.0]])
    model = Sequential([Dense(1, kernel_initializer=lambda rng, shape, dtype: np.ones(shape))])
    model.compile("sgd", "hinge", ["accuracy"])
    assert model.evaluate(X, [0, 1, 1, 1])["accuracy"] == 0.75
    assert model.evaluate(X, [-1, 1, 1, 1]) == model.evaluate(X, [0, 1, 1, 1])


CLASSES = ["hinge", "binary_focal", "binary_cross_entropy", "categorical_hinge", "kl_divergence"]


@pytest.mark.parametrize("name", CLASSES)
def test_class_weights_equal_sample_weights(name: str) -> None:
    outputs = 1 if losses.get(name).targets != "classes" else 2
    X, y = np.random.default_rng(3).normal(size=(N, 3)), np.arange(N) % 2
    model = Sequential([Dense(outputs)], dtype="float64")
    model.compile("sgd", name)
    expected = model.evaluate(X, y, sample_weight=np.where(y == 1, 5.0, 0.5))["loss"]
    history = model.fit(X, y, batch_size=N, class_weight={0: 0.5, 1: 5.0}).history
    assert history["loss"][0] == pytest.approx(expected, rel=20 * EPS)


@pytest.mark.parametrize("name", [name for name in losses.NAMES if losses.get(name).targets in ("numbers", "counts")])
def test_regression_losses_refuse_class_weights(name: str) -> None:
    with pytest.raises(ValueError, match=f"class_weight needs one class per row, which {name} with"):
        sample_weights.class_weights({0: 1.0}, np.ones((4, 2)), 2, name)


@pytest.mark.parametrize("metric", ["accuracy", "mae", "auc"])
@pytest.mark.parametrize("loss", ["categorical_focal", "binary_focal", "kl_divergence"])
def test_metrics_of_logits_equal_those_of_probabilities(loss: str, metric: str) -> None:
    X = np.random.default_rng(3).normal(size=(N, 3))
    y = np.eye(3)[np.arange(N) % 3]
    values = []
    for last in ("identity", "sigmoid" if loss == "binary_focal" else "softmax"):
        model = Sequential([Dense(3, last)], dtype="float64", seed=5)
        model.compile("sgd", loss, [metric])
        values.append(model.evaluate(X, y)[metric])
    assert values[0] == pytest.approx(values[1], rel=1e-12)


# ---------------------------------------------------------------- invalid arguments

BAD_Y = {
    "negative count": ("poisson", 1, [1, -2], "y must not be negative for poisson, got -2.0 at row 1"),
    "third class": ("hinge", 1, [1, 2], "y must be -1 or 1, or else 0 or 1, for hinge, got 2.0 at row 1"),
    "0 beside -1": ("hinge", 1, [-1, 0], "got 0.0 at row 1, column 0 besides -1"),
    "above 1": ("binary_focal", 1, [1, 1.5], "y must lie in [0, 1] for binary_focal, got 1.5 at row 1"),
    "row sums": ("kl_divergence", 2, [[1, 0], [1, 1]], "y must have rows that sum to 1 for kl_divergence, but row 1"),
    "label out of range": ("categorical_hinge", 2, [0, 2], "y must hold class labels from 0 to 1"),
    "fractional label": ("categorical_focal", 2, [0, 0.5], "y must hold integer class labels"),
    "columns for quantiles": (losses.Quantile((0.1, 0.9)), 4, np.ones((2, 4)), "y must have shape (2, 2)"),
    "columns for means": ("gaussian_nll", 2, np.ones((2, 2)), "give the last Dense 2 units per target"),
    "NaN": ("mae", 1, [1, np.nan], "y must be finite, got nan"),
}


@pytest.mark.parametrize("case", BAD_Y)
def test_invalid_targets_are_refused_with_value_and_remedy(case: str) -> None:
    loss, outputs, y, message = BAD_Y[case]
    with pytest.raises(ValueError) as caught:
        targets.targets(y, 2, outputs, loss, np.dtype("float32"))
    assert message in str(caught.value)


GOOD_Y = {
    "0 and 1 become signs": ("hinge", 1, [1, 0], [[1], [-1]]),
    "signs are kept": ("hinge", 2, [[1, -1], [-1, -1]], [[1, -1], [-1, -1]]),
    "only ones": ("hinge", 1, [1, 1], [[1], [1]]),
    "one column for two outputs": ("gaussian_nll", 2, [3, 4], [[3], [4]]),
    "one column for three quantiles": (losses.Quantile(QUANTILES), 3, [3, 4], [[3], [4]]),
    "labels": ("categorical_focal", 3, [2, 0], [2, 0]),
    "one-hot rows": ("kl_divergence", 2, [[0, 1], [1, 0]], [1, 0]),
}


@pytest.mark.parametrize("case", GOOD_Y)
def test_targets_are_converted_for_the_loss(case: str) -> None:
    loss, outputs, y, expected = GOOD_Y[case]
    np.testing.assert_array_equal(targets.targets(y, 2, outputs, loss, np.dtype("float32")), expected)


BAD_PARAMETERS = {
    "delta 0": (lambda: losses.Huber(0), ValueError, "delta must be finite and above 0, got 0"),
    "delta infinite": (lambda: losses.Huber(np.inf), ValueError, "delta must be finite"),
    "delta NaN": (lambda: losses.Huber(np.nan), ValueError, "delta must be finite"),
    "delta string": (lambda: losses.Huber("1"), TypeError, "delta must be a number, got '1'"),
    "quantile 1": (lambda: losses.Quantile((0.5, 1)), ValueError, "quantiles must be finite and above 0 and below 1"),
    "no quantiles": (lambda: losses.Quantile(()), ValueError, "quantiles must be one number or several"),
    "quantiles string": (lambda: losses.Quantile("0.5"), TypeError, "quantiles must be a number"),
    "log_input": (lambda: losses.Poisson(log_input=1), TypeError, "log_input must be True or False"),
    "epsilon": (lambda: losses.GaussianNLL(epsilon=0), ValueError, "epsilon must be finite and above 0"),
    "full": (lambda: losses.GaussianNLL(full="yes"), TypeError, "full must be"),
    "smoothing 1": (lambda: losses.CrossEntropy(1.0), ValueError, "label_smoothing must be finite"),
    "smoothing": (lambda: losses.BinaryCrossEntropy(label_smoothing=-0.1), ValueError, "at least 0"),
    "smoothing bool": (lambda: losses.BinaryCrossEntropy(label_smoothing=True), TypeError, "label_smoothing"),
    "gamma": (lambda: losses.BinaryFocal(gamma=-1), ValueError, "gamma must be finite and at least 0"),
    "alpha": (lambda: losses.BinaryFocal(alpha=2), ValueError, "at most 1"),
    "alpha of classes": (lambda: losses.CategoricalFocal(alpha=[1, -1]), ValueError, "alpha must be"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_invalid_parameters_are_refused(case: str) -> None:
    make, error, message = BAD_PARAMETERS[case]
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


BAD_OUTPUTS = {
    "quantiles": (losses.Quantile(QUANTILES), "identity", 4, "use 3 units for each column of y"),
    "means and variances": ("gaussian_nll", "identity", 3, "use two units for each column of y"),
    "activated variances": ("gaussian_nll", "tanh", 4, "change the last layer's activation to 'identity'"),
    "alphas": (losses.CategoricalFocal(alpha=PER_CLASS), "softmax", 3, "got 6 for 3 outputs"),
    "focal": ("binary_focal", "softmax", 3, "activation 'sigmoid', or 'identity' for logits"),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_compile_refuses_outputs_that_do_not_fit_the_loss(case: str) -> None:
    loss, last, outputs, message = BAD_OUTPUTS[case]
    model = Sequential([Dense(outputs, last)])
    with pytest.raises(ValueError) as caught:
        model.compile("sgd", loss)
    assert message in str(caught.value)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", [name for name in CASES if name != "custom"])
def test_loaded_model_resumes_with_its_loss(name: str, tmp_path) -> None:
    case = CASES[name]
    X, y, _ = rows_of(case)
    model = Sequential([Dense(OUTPUTS, case.last)])
    model.compile("adam", case.loss)
    model.fit(X, y)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert loaded.loss == case.loss
    assert loaded.fit(X, y).history == model.fit(X, y).history
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_every_loss_has_a_case() -> None:
    assert {case.loss.name for case in CASES.values()} == {*losses.NAMES, "custom"}
    assert {case.loss.rule for case in CASES.values() if isinstance(case.loss.rule, str)} == set(LOSSES)
