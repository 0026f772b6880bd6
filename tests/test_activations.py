"""Activations and losses by name: accepted names, and error messages for others."""

import dataclasses

import pytest

from fastbp import activations, losses
from fastbp.activations import CELU, ELU, Activation, LeakyReLU
from fastbp.losses import MSE, BinaryCrossEntropy, CrossEntropy
from fastbp.reference import ACTIVATIONS, LOSSES


@pytest.mark.parametrize("name", activations.NAMES)
def test_activation_by_name(name: str) -> None:
    activation = activations.get(name)
    assert activation.name == name
    assert activations.get(activation) is activation
    assert name == "softmax" or name in ACTIVATIONS


def test_parametric_activations_have_alpha() -> None:
    assert activations.get("leaky_relu") == LeakyReLU() == Activation("leaky_relu", 0.01)
    assert activations.get("elu") == ELU() == Activation("elu", 1.0)
    assert activations.get("celu") == CELU() == Activation("celu", 1.0)
    assert LeakyReLU(1).alpha == 1.0
    assert isinstance(LeakyReLU(1).alpha, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ELU().alpha = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("wrong", ["Relu6", "", "softmin", "ReLU"])
def test_unknown_activation_lists_valid_names(wrong: str) -> None:
    with pytest.raises(ValueError, match="activation must be one of") as error:
        activations.get(wrong)
    assert repr(wrong) in str(error.value)
    assert all(name in str(error.value) for name in activations.NAMES)


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [("linear", "identity"), ("logistic", "sigmoid"), ("swish", "silu"), ("ReLU", "relu"), ("Hardswish", "hard_swish")],
)
def test_names_from_other_frameworks_get_suggestions(foreign: str, ours: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{ours}'"):
        activations.get(foreign)


@pytest.mark.parametrize("wrong", [None, 3, abs, LeakyReLU, ["relu"]])
def test_activation_of_wrong_type_is_rejected(wrong: object) -> None:
    with pytest.raises(TypeError, match="activation must be an Activation object or one of identity"):
        activations.get(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_alpha_must_be_finite(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha of 'leaky_relu' must be finite"):
        LeakyReLU(alpha)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1e-40])
def test_alpha_of_celu_must_be_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha of 'celu' must be at least 1e-37, got"):
        CELU(alpha)


def test_invalid_alpha_is_rejected() -> None:
    with pytest.raises(TypeError, match="alpha of 'elu' must be a number, got '1'"):
        ELU("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'tanh' has no alpha, got 0\.5"):
        Activation("tanh", 0.5)


@pytest.mark.parametrize("loss", [MSE(), CrossEntropy(), BinaryCrossEntropy()])
def test_loss_by_name_and_object(loss: losses.Loss) -> None:
    assert losses.get(loss.name) == loss
    assert losses.get(loss) is loss
    assert loss.name in LOSSES


def test_unknown_loss_lists_valid_names() -> None:
    with pytest.raises(
        ValueError, match=r"loss must be one of mse, mae, .*, cross_entropy, binary_.*, got 'crossentropy'"
    ):
        losses.get("crossentropy")


@pytest.mark.parametrize("wrong", [None, 3, MSE])
def test_loss_of_wrong_type_is_rejected(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"loss must be a Loss object such as MSE\(\)"):
        losses.get(wrong)  # type: ignore[arg-type]


SOFTMAX, SIGMOID = ("cross_entropy", "categorical_focal", "kl_divergence"), ("binary_cross_entropy", "binary_focal")
COMPATIBLE = {*((loss, "softmax") for loss in SOFTMAX), *((loss, "sigmoid") for loss in SIGMOID)}
ANY_ACTIVATION = set(losses.NAMES) - {*SOFTMAX, *SIGMOID, "gaussian_nll"}


@pytest.mark.parametrize("activation", activations.NAMES)
@pytest.mark.parametrize("loss", losses.NAMES)
def test_compatibility_of_losses_and_last_activations(loss: str, activation: str) -> None:
    if loss in ANY_ACTIVATION or activation == "identity" or (loss, activation) in COMPATIBLE:
        losses.check_output(loss, activation)
        losses.check_output(losses.get(loss), activations.get(activation))
    else:
        with pytest.raises(ValueError, match=r"change the last layer's activation to .*, or the loss to .*'mse'"):
            losses.check_output(loss, activation)


def test_incompatible_loss_error_suggests_losses() -> None:
    with pytest.raises(ValueError, match="or the loss to 'binary_cross_entropy' or 'mse'"):
        losses.check_output("cross_entropy", "sigmoid")
