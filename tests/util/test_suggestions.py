"""Suggested names: for names of other libraries, other spellings and typos; and none for other names."""

import pytest

import fastbp
from fastbp import activations, initializers, losses, metrics, optimizers
from fastbp.util.arguments import suggestions

EXPECTED = {
    activations.NAMES: {
        "Relu": ["relu"], "LeakyReLU": ["leaky_relu"], "leakyrelu": ["leaky_relu"], "swish": ["silu"], "SiLU": ["silu"],
        "linear": ["identity"], "logistic": ["sigmoid"], "sig": ["sigmoid"], "tahn": ["tanh"], "GELU": ["gelu"],
        "hardtanh": [], "hard_sigmoid": [], "glu": [], "hard-swish": ["hard_swish"],
    },
    losses.NAMES: {
        "bce": ["binary_cross_entropy"], "BCELoss": ["binary_cross_entropy"], "MSELoss": ["mse"], "l2": ["mse"],
        "l1": ["mae"], "categorical_crossentropy": ["cross_entropy"], "CrossEntropyLoss": ["cross_entropy"],
        "binary_crossentropy": ["binary_cross_entropy"], "msle": [], "mape": [], "squared_hinge": [],
        "mean_squared_error": ["mse"], "SmoothL1Loss": ["huber"], "kld": ["kl_divergence"],
    },
    optimizers.NAMES: {
        "rprop": [], "adamax": [], "Adma": ["adam"], "lbfgs": [], "momentum": ["sgd"], "RMSProp": ["rmsprop"],
    },
    metrics.NAMES: {"acc": ["accuracy"], "roc_auc": ["auc"], "r2_score": ["r2"], "top5": ["top_k_accuracy"]},
    initializers.NAMES: {
        "xavier": ["glorot_uniform", "glorot_normal"], "kaiming": ["he_uniform", "he_normal"],
        "kaiming_normal": ["he_normal"], "he": ["he_uniform", "he_normal"], "XavierUniform": ["glorot_uniform"],
        "uniform": [],
    },
}  # fmt: skip


@pytest.mark.parametrize(("valid", "name"), [(valid, name) for valid, names in EXPECTED.items() for name in names])
def test_suggestions(valid, name):
    assert suggestions(name, valid) == EXPECTED[valid][name]


CALLS = {
    "lr": (lambda: fastbp.Adam(lr=0.1), "Adam has no argument 'lr': did you mean 'learning_rate'"),
    "betas": (lambda: fastbp.Adam(betas=(0.9, 0.99)), "'beta_1' or 'beta_2'"),
    "init": (lambda: fastbp.Dense(3, init="he"), "'kernel_initializer'"),
    "n_units": (lambda: fastbp.Dense(n_units=3), "'units'"),
    "p": (lambda: fastbp.Dropout(p=0.5), "'rate'"),
    "input_dim": (lambda: fastbp.Sequential([fastbp.Dense(1)], input_dim=3), "'input_size'"),
    "unknown": (lambda: fastbp.EarlyStopping(early=3), "no argument 'early', only monitor, min_delta, patience"),
    "compile": (
        lambda: fastbp.Sequential([fastbp.Dense(1)]).compile("adam", criterion="mse"),
        "compile has no argument 'criterion': did you mean 'loss'",
    ),
    "batch hook": (lambda: fastbp.LambdaCallback(on_batch_end=print), "'on_batch_end', which is never called"),
    "misspelled hook": (lambda: fastbp.LambdaCallback(on_epoch_edn=print), "'on_epoch_end'"),
}


@pytest.mark.parametrize("case", CALLS)
def test_constructors_suggest_the_argument(case):
    call, message = CALLS[case]
    with pytest.raises(TypeError, match=message):
        call()


def test_other_constructor_errors_are_unchanged():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'units'"):
        fastbp.Dense()
    with pytest.raises(TypeError, match="learning_rate must be"):
        fastbp.Adam(learning_rate="fast")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Linear", "Dense"),
        ("BatchNormalization", "BatchNorm"),
        ("MSELoss", "MSE"),
        ("adam", "Adam"),
        ("MLP", "Sequential"),
    ],
)
def test_package_suggests_the_attribute(name, expected):
    with pytest.raises(AttributeError, match=f"no attribute '{name}': did you mean '{expected}'"):
        getattr(fastbp, name)
    assert not hasattr(fastbp, "__path_to_nowhere__")
