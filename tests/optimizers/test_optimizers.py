"""Optimizer objects: scalars per step, valid ranges, names."""


import numpy as np
import pytest

import fastbp
from fastbp import optimizers
from fastbp.isa.codes import UPDATE_RULES as COMPILED
from fastbp.optimizers import LAMB, SGD, Adadelta, Adagrad, Adam, AdamW, Lion, Muon, NAdam, RMSprop
from fastbp.reference import RULES
from fastbp.spec import UpdateSpec

MOMENTUM, NESTEROV = SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True)
OBJECTS = [SGD(), MOMENTUM, NESTEROV, Adam(), Adam(weight_decay=0.1), AdamW()]
# object, rule, number of states
OPTIMIZERS = [
    (SGD(), "sgd", 0), (MOMENTUM, "momentum", 1), (NESTEROV, "nesterov", 1), (Adam(), "adam", 2), (AdamW(), "adamw", 2),
    (Adam(amsgrad=True), "amsgrad", 3), (AdamW(amsgrad=True), "amsgrad", 3), (NAdam(), "nadam", 2),
    (RMSprop(), "rmsprop", 1), (RMSprop(momentum=0.9), "rmsprop_momentum", 2),
    (RMSprop(centered=True), "rmsprop_centered", 3), (Adagrad(), "adagrad", 1), (Adadelta(), "adadelta", 2),
    (Lion(), "lion", 1), (LAMB(), "lamb", 2), (Muon(), "muon", 2),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", [each for each, _, _ in OPTIMIZERS], ids=repr)
@pytest.mark.parametrize("n", [1, 2, 300])
def test_scalars_are_rows_the_engine_can_read(optimizer, n):
    table = optimizer.scalars(np.arange(5, 5 + n))
    assert table.shape == (n, optimizers.N_SCALARS)
    assert table.dtype == np.float64
    assert table.strides == (0, 8) or table.flags.c_contiguous  # one row for all steps, or one per step
    assert (table[:, 0] == optimizer.learning_rate).all()
    assert (table[:, 1] == optimizer.weight_decay).all()


def test_adam_bias_corrections_per_step():
    steps = np.array([0, 9, 10**7])
    table = Adam(beta_1=0.9, beta_2=0.999).scalars(steps)
    for row, t in zip(table, steps + 1, strict=True):
        np.testing.assert_allclose(row[5:7], [1 - 0.9**t, 1 - 0.999**t], rtol=1e-13)  # 1 - beta is off by some ulp


def test_schedule_gives_a_learning_rate_per_step():
    table = SGD(lambda steps: 0.1 / (1 + steps)).scalars(np.arange(3))
    np.testing.assert_allclose(table[:, 0], [0.1, 0.05, 0.1 / 3])


def test_schedule_gives_a_weight_decay_per_step():
    table = AdamW(0.5, weight_decay=lambda steps: 0.1 / (1 + steps)).scalars(np.arange(3))
    np.testing.assert_allclose(table[:, 0], 0.5)
    np.testing.assert_allclose(table[:, 1], [0.1, 0.05, 0.1 / 3])


@pytest.mark.parametrize("values", [[1.0], [np.nan] * 3, [-1.0] * 3, "abc"])
def test_schedule_with_invalid_values_is_refused(values):
    with pytest.raises(ValueError, match=r"learning_rate must be|could not convert"):
        SGD(lambda steps: values).scalars(np.arange(3))
    with pytest.raises(ValueError, match=r"weight_decay must be|could not convert"):
        SGD(weight_decay=lambda steps: values).scalars(np.arange(3))


BAD = [
    (lambda: SGD(-1), ValueError, "learning_rate must be at least 0 and finite, got -1: pass"),
    (lambda: SGD(float("nan")), ValueError, "learning_rate"),
    (lambda: SGD(float("inf")), ValueError, "learning_rate"),
    (lambda: SGD("fast"), TypeError, "learning_rate must be a number"),
    (lambda: SGD(momentum=1.0), ValueError, "momentum must be at least 0 and below 1, got 1.0"),
    (lambda: SGD(nesterov=True), ValueError, "momentum must be above 0 with nesterov=True, got 0"),
    (lambda: Adam(beta_1=1.0), ValueError, "beta_1"),
    (lambda: Adam(beta_2=-0.1), ValueError, "beta_2"),
    (lambda: Adam(epsilon=-1e-8), ValueError, "epsilon"),
    (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay"),
    (lambda: Adam(learning_rate=True), TypeError, "learning_rate"),
    (lambda: SGD(clipnorm=0), ValueError, "clipnorm must be above 0 and finite, got 0"),
    (lambda: SGD(clipvalue=-1.0), ValueError, "clipvalue must be above 0"),
    (lambda: SGD(global_clipnorm="1"), TypeError, "global_clipnorm must be a number"),
    (lambda: SGD(clipnorm=1, global_clipnorm=1), ValueError, "at most one .*, got clipnorm and global_clipnorm"),
    (lambda: SGD(gradient_accumulation_steps=0), ValueError, "_steps must be at least 1, got 0"),
    (lambda: SGD(gradient_accumulation_steps=2.0), TypeError, "gradient_accumulation_steps must be an integer"),
    (lambda: SGD(use_ema=1), TypeError, "use_ema must be True or False, got 1"),
    (lambda: SGD(ema_momentum=1.0), ValueError, "ema_momentum"),
    (lambda: SGD(weight_decay_on="biases"), ValueError, "must be 'all' or 'kernels', got 'biases'"),
    (lambda: SGD(weight_decay=float("inf")), ValueError, "weight_decay"),
    (lambda: Adam(amsgrad="yes"), TypeError, "amsgrad"),
    (lambda: NAdam(momentum_decay=-1), ValueError, "momentum_decay"),
    (lambda: NAdam(beta_1=1.0), ValueError, "beta_1"),
    (lambda: RMSprop(rho=1.0), ValueError, "rho"),
    (lambda: RMSprop(momentum=1.0), ValueError, "momentum"),
    (lambda: RMSprop(centered=None), TypeError, "centered"),
    (lambda: Adagrad(initial_accumulator_value=-1), ValueError, "initial_accumulator_value"),
    (lambda: Adagrad(epsilon=-1), ValueError, "epsilon"),
    (lambda: Adadelta(rho=-1), ValueError, "rho"),
    (lambda: Adadelta(epsilon=float("nan")), ValueError, "epsilon"),
    (lambda: Lion(beta_2=1), ValueError, "beta_2"),
    (lambda: LAMB(beta_2=1), ValueError, "beta_2"),
    (lambda: Muon(momentum=1), ValueError, "momentum"),
    (lambda: Muon(adam_lr_ratio=-1), ValueError, "adam_lr_ratio"),
    (lambda: Muon(adam_beta_1=1), ValueError, "adam_beta_1"),
    (lambda: SGD(0.1, 0.9), TypeError, "positional"),
    (lambda: optimizers.Optimizer(0.1), TypeError, "abstract"),
    (lambda: optimizers.get("adamm"), ValueError, "one of sgd, adam, adamw, .* got 'adamm': did you mean 'adam'"),
    (lambda: optimizers.get(3), TypeError, "got 3: pass one of these"),
    (lambda: optimizers.get(Adam), TypeError, r"write Adam\(…\)"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_invalid_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_get_accepts_names_and_objects():
    names = ["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "lion", "lamb", "muon"]
    assert [optimizers.get(name).rule for name in optimizers.NAMES] == names
    assert optimizers.get(OBJECTS[1]) is OBJECTS[1]
    assert all(getattr(fastbp, type(each).__name__) is type(each) for each, _, _ in OPTIMIZERS)
    assert SGD(0.0).learning_rate == 0  # warm-up, frozen layers


@pytest.mark.parametrize(("optimizer", "rule", "n_states"), OPTIMIZERS, ids=repr)
def test_rules_and_state_counts_match_the_engines(optimizer, rule, n_states):
    assert (optimizer.rule, optimizer.n_states) == (rule, n_states)
    assert rule in RULES or rule in ("lamb", "muon")
    assert rule not in COMPILED or COMPILED[rule].n_states == n_states
    assert set(COMPILED) - {"adam_decay"} == set(RULES)


def test_every_optimizer_takes_the_arguments_of_the_update_spec():
    for kind in {type(each) for each, _, _ in OPTIMIZERS}:
        assert kind().update_spec == UpdateSpec()
        assert kind(clipvalue=0.5).update_spec == UpdateSpec(clipvalue=0.5)
        assert kind(clipnorm=2).update_spec == UpdateSpec(clipnorm=2.0)
        assert kind(global_clipnorm=1.0).update_spec == UpdateSpec(global_clipnorm=1.0)
        rest = kind(gradient_accumulation_steps=4, use_ema=True, ema_momentum=0.9, weight_decay_on="kernels")
        assert rest.update_spec == UpdateSpec(accumulation=4, ema_momentum=0.9, decay_kernels_only=True)
        assert rest.update_spec.n_states == 2
        assert kind(weight_decay=0.3).weight_decay == 0.3


def test_repr_omits_default_update_spec():
    assert repr(SGD(0.1)) == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    assert repr(Lion(clipnorm=1.0)).endswith("beta_2=0.99, weight_decay=0.0, clipnorm=1.0)")


@pytest.mark.parametrize("momentum_decay", [0.0, 4e-3, 1.0, 1000.0])
@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9, 0.999])
def test_nadam_momentum_product_needs_no_earlier_steps(beta_1, momentum_decay):
    """Columns 5, (1 - mu_t) / (1 - p_t), and 7, mu_(t+1) / (1 - p_(t+1)), of any single step."""
    t = np.arange(1, 3002)
    mu = beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    p = np.cumprod(mu)
    steps = np.array([2999, 0, 1, 7, 300])
    table = NAdam(beta_1=beta_1, momentum_decay=momentum_decay).scalars(steps)
    # 3,000 roundings of the product, that of 1 - p where p is close to 1
    np.testing.assert_allclose(table[:, 5], ((1 - mu) / (1 - p))[steps], rtol=1e-12)
    np.testing.assert_allclose(table[:, 7], (mu[1:] / (1 - p[1:]))[steps], rtol=1e-12)
