"""Schedules against PyTorch's schedulers, or Keras's formula where PyTorch has none; invalid arguments; saving."""

import math
import warnings

import numpy as np
import pytest
import torch

import fastbp
from fastbp.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    CosineLog,
    ExponentialDecay,
    FlatCosine,
    OneCycle,
    PiecewiseConstant,
    PolynomialDecay,
    StepDecay,
    Warmup,
)

torch_schedules = torch.optim.lr_scheduler
T = np.arange(60)

# ours, PyTorch's, and the number of updates for which they agree
PAIRS = {
    "step": (StepDecay(0.3, 7), lambda o: torch_schedules.StepLR(o, 7), 60),
    "step 0.5": (StepDecay(0.3, 4, 0.5), lambda o: torch_schedules.StepLR(o, 4, 0.5), 60),
    "piecewise": (
        PiecewiseConstant([5, 20, 21], [0.3, 0.03, 0.003, 0.0003]),
        lambda o: torch_schedules.MultiStepLR(o, [5, 20, 21]),
        60,
    ),
    "exponential": (ExponentialDecay(0.3, 1, 0.9), lambda o: torch_schedules.ExponentialLR(o, 0.9), 60),
    "polynomial": (PolynomialDecay(0.3, 40), lambda o: torch_schedules.PolynomialLR(o, 40), 60),
    "polynomial 2": (PolynomialDecay(0.3, 40, power=2.0), lambda o: torch_schedules.PolynomialLR(o, 40, 2.0), 60),
    "linear": (
        PolynomialDecay(0.3, 40, end_learning_rate=0.1),
        lambda o: torch_schedules.LinearLR(o, 1.0, 1 / 3, 40),
        60,
    ),
    "cosine": (CosineDecay(0.3, 40), lambda o: torch_schedules.CosineAnnealingLR(o, 40), 41),
    "cosine alpha": (CosineDecay(0.3, 40, 0.2), lambda o: torch_schedules.CosineAnnealingLR(o, 40, 0.06), 41),
    "restarts": (CosineDecayRestarts(0.3, 9), lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 9), 60),
    "restarts 2": (
        CosineDecayRestarts(0.3, 5, 2.0, alpha=0.1),
        lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 5, 2, 0.03),
        60,
    ),
    "one cycle": (OneCycle(0.3, 60), lambda o: torch_schedules.OneCycleLR(o, 0.3, 60), 60),
    "one cycle, linear": (
        OneCycle(0.3, 60, 0.45, 10.0, 100.0, "linear"),
        lambda o: torch_schedules.OneCycleLR(
            o, 0.3, 60, pct_start=0.45, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
        60,
    ),
    "one cycle, no rise": (OneCycle(0.3, 60, 0.0), lambda o: torch_schedules.OneCycleLR(o, 0.3, 60, pct_start=0.0), 60),
    "warm-up": (Warmup(0.3, 10), lambda o: torch_schedules.LinearLR(o, total_iters=10), 60),
    "warm-up and cosine": (
        Warmup(CosineDecay(0.3, 30), 10, 0.1),
        lambda o: torch_schedules.SequentialLR(
            o, [torch_schedules.LinearLR(o, 0.1, total_iters=10), torch_schedules.CosineAnnealingLR(o, 30)], [10]
        ),
        41,
    ),
}
SCHEDULES = [*(ours for ours, _, _ in PAIRS.values()), CosineLog(0.3, 40), CosineLog(0.3, 7, 1), FlatCosine(0.3, 40),
             FlatCosine(0.3, 9, 1.0), FlatCosine(0.3, 9, 0.0)]  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_learning_rates_match_pytorch(name):
    ours, make, n = PAIRS[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The epoch parameter")  # SequentialLR's own use of it
        schedule, expected = make(optimizer), []
        for _ in range(n):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    # PyTorch multiplies by a factor up to 60 times, with two roundings each; atol is for a cosine near -1
    np.testing.assert_allclose(ours(T[:n]), expected, rtol=1e-12, atol=0.3 * 1e-14)


KERAS = {
    "exponential": (ExponentialDecay(0.3, 7, 0.5), lambda t: 0.3 * 0.5 ** (t / 7)),
    "staircase": (ExponentialDecay(0.3, 7, 0.5, staircase=True), lambda t: 0.3 * 0.5 ** (t // 7)),
    "polynomial": (
        PolynomialDecay(0.3, 40, 0.01, 1.5),
        lambda t: (0.3 - 0.01) * (1 - min(t, 40) / 40) ** 1.5 + 0.01,
    ),
    "cosine": (
        CosineDecay(0.3, 40, 0.2),
        lambda t: 0.3 * (0.8 * 0.5 * (1 + math.cos(math.pi * min(t, 40) / 40)) + 0.2),
    ),
    "warm-up": (Warmup(0.3, 20, 0.0), lambda t: 0.3 * min(t / 20, 1)),
}


def keras_restarts(t, first, t_mul, m_mul, alpha):
    """Step through the cycles, instead of taking a logarithm."""
    height, length = 0.3, float(first)
    while t >= length:
        t, length, height = t - length, length * t_mul, height * m_mul
    return height * (alpha + (1 - alpha) * 0.5 * (1 + math.cos(math.pi * t / length)))


@pytest.mark.parametrize("name", KERAS)
def test_learning_rates_match_keras_formulas(name):
    ours, formula = KERAS[name]
    np.testing.assert_allclose(ours(T), [formula(int(t)) for t in T], rtol=1e-14)


@pytest.mark.parametrize("arguments", [(3, 2.0, 0.9, 0.0), (10, 1.5, 0.5, 0.1), (4, 3.0, 1.0, 0.0), (7, 1.0, 0.8, 0.2)])
def test_restarts_match_keras_formula(arguments):
    # powers of 1.5 are exact here, so both see a restart that falls on an update
    t = np.arange(3000)
    expected = [keras_restarts(int(n), *arguments) for n in t]
    np.testing.assert_allclose(CosineDecayRestarts(0.3, *arguments)(t), expected, rtol=1e-9, atol=1e-9)


def test_restarts_fall_on_exact_updates():
    for first in (1, 2, 3, 7, 100, 1000):
        for t_mul in (2.0, 3.0, 10.0):
            starts = [0.0]
            while starts[-1] < 1e9:
                starts.append(starts[-1] + first * t_mul ** (len(starts) - 1))
            rates = CosineDecayRestarts(1.0, first, t_mul, 0.5)(np.array(starts))
            np.testing.assert_array_equal(rates, 0.5 ** np.arange(len(starts)))
            before = CosineDecayRestarts(1.0, first, t_mul)(np.array(starts[1:]) - 1)
            assert first == 1 or (before <= 0.51).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_learning_rates_do_not_depend_on_shape_of_steps(schedule):
    rates = schedule(T)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [schedule(np.array([t]))[0] for t in T])
    np.testing.assert_array_equal(schedule(T[::-1].reshape(6, 10)), rates[::-1].reshape(6, 10))
    assert schedule(7) == rates[7]
    far = schedule(np.array([10**6, 10**9, 10**15]))
    assert (np.isfinite(far) & (far >= 0)).all()
    table = fastbp.Adam(schedule).scalars(T)
    np.testing.assert_array_equal(table[:, 0], rates)


def test_logarithmic_cycles_double_their_lengths():
    """The maxima lie at 2.8, 12.2, 31.0 and 68.8 % of the training."""
    schedule, n = CosineLog(0.04, 15_000), np.arange(15_000)
    rates = schedule(n)
    np.testing.assert_allclose(schedule(1000 * np.array([0, 1, 3, 7, 15, 16])), 0, atol=1e-15)
    peaks = 1 + np.flatnonzero((rates[1:-1] > rates[:-2]) & (rates[1:-1] >= rates[2:]))
    np.testing.assert_allclose(peaks / 15_000, (2 ** (np.arange(4) + 0.5) - 1) / 15, atol=1 / 15_000)
    np.testing.assert_allclose(rates[peaks], 0.04, rtol=1e-6)
    expected = [0.02 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t / 15_000))) for t in range(0, 15_000, 37)]
    np.testing.assert_allclose(rates[::37], expected, rtol=1e-12, atol=1e-17)


def test_flat_cosine_falls_in_the_second_half():
    rates = FlatCosine(0.02, 100)(np.arange(150))
    np.testing.assert_array_equal(rates[:51], 0.02)
    expected = [0.01 * (1 + math.cos(math.pi * (2 * t / 100 - 1))) for t in range(50, 101)]
    np.testing.assert_allclose(rates[50:101], expected, atol=1e-17)
    np.testing.assert_array_equal(rates[100:], 0)
    assert FlatCosine(0.02, 100, 1.0)(np.array([0, 99, 100])).tolist() == [0.02, 0.02, 0.0]


def test_one_cycle_of_one_and_two_updates():
    assert OneCycle(1.0, 1)(np.arange(2)).tolist() == [4e-6, 4e-6]
    assert OneCycle(1.0, 2, 1.0, 10.0)(np.arange(3)).tolist() == [0.1, 1.0, 1e-5]


INVALID = [
    (lambda: StepDecay(-0.1, 3), ValueError, "initial_learning_rate must be at least 0 and finite, got -0.1"),
    (lambda: StepDecay("fast", 3), TypeError, "initial_learning_rate must be a number, got 'fast'"),
    (lambda: StepDecay(float("nan"), 3), ValueError, "initial_learning_rate"),
    (lambda: StepDecay(0.1, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: StepDecay(0.1, 2.5), TypeError, "decay_steps must be an integer, got 2.5"),
    (lambda: StepDecay(0.1, 2, 1.5), ValueError, "decay_rate must be from 0 to 1, got 1.5"),
    (lambda: PiecewiseConstant([3, 2], [1, 2, 3]), ValueError, r"boundaries must increase, got \[3, 2\]"),
    (lambda: PiecewiseConstant([3], [1]), ValueError, "one more than boundaries, got 1 and 1"),
    (lambda: PiecewiseConstant(3, [1]), TypeError, "boundaries must be a list, got 3"),
    (lambda: PiecewiseConstant([3], [1, -1]), ValueError, "values must be at least 0"),
    (lambda: ExponentialDecay(0.1, 3, -0.1), ValueError, "decay_rate"),
    (lambda: ExponentialDecay(0.1, 3, 0.1, 1), TypeError, "staircase must be True or False, got 1"),
    (lambda: PolynomialDecay(0.1, 3, power=-1), ValueError, "power"),
    (lambda: PolynomialDecay(0.1, 3, end_learning_rate=-1), ValueError, "end_learning_rate"),
    (lambda: CosineDecay(0.1, 3, 1.1), ValueError, "alpha must be from 0 to 1"),
    (lambda: CosineDecayRestarts(0.1, 3, 0.5), ValueError, "t_mul must be at least 1"),
    (lambda: CosineDecayRestarts(0.1, 3, 1.0, 2.0), ValueError, "m_mul"),
    (lambda: OneCycle(0.1, 3, 2.0), ValueError, "pct_start must be from 0 to 1"),
    (lambda: CosineLog(0.1, 3, 0), ValueError, "cycles must be at least 1, got 0"),
    (lambda: CosineLog(0.1, 0), ValueError, "total_steps must be at least 1, got 0"),
    (lambda: FlatCosine(0.1, 3, 1.5), ValueError, "flat must be from 0 to 1, got 1.5"),
    (lambda: OneCycle(0.1, 3, div_factor=0), ValueError, "div_factor must be greater than 0"),
    (lambda: OneCycle(0.1, 3, anneal_strategy="log"), ValueError, "must be 'cos' or 'linear', got 'log'"),
    (lambda: Warmup("slow", 3), TypeError, "or a number, got 'slow'"),
    (lambda: Warmup(0.1, 3, -1), ValueError, "start_factor"),
    (lambda: Warmup(0.1, True), TypeError, "warmup_steps must be an integer, got True"),
]


@pytest.mark.parametrize(("make", "error", "message"), INVALID)
def test_invalid_arguments_are_rejected(make, error, message):
    with pytest.raises(error, match=message):
        make()


def model_with(optimizer):
    model = fastbp.Sequential([fastbp.Dense(2)], input_size=3)
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedules_are_saved_with_the_model(schedule, tmp_path):
    optimizer = fastbp.RMSprop(schedule, momentum=0.5, clipnorm=2.0, use_ema=False, weight_decay_on="kernels")
    model_with(optimizer).save(tmp_path / "model")
    assert fastbp.load(tmp_path / "model").optimizer == optimizer


def test_schedule_with_a_function_is_saved_as_its_value(tmp_path):
    model = model_with(fastbp.SGD(Warmup(lambda steps: 0.3 / (1.0 + steps), 10, 0.5)))
    with pytest.warns(UserWarning, match=r"learning_rate is a function.*step 0, 0\.15"):
        model.save(tmp_path / "model")
    assert fastbp.load(tmp_path / "model").optimizer.learning_rate == 0.15


def test_schedules_of_weight_decay_are_saved_and_followed(tmp_path):
    """A step of rate 1/2 and decay 1 halves weights whose gradient is 0, one of decay 0 changes nothing."""
    optimizer = fastbp.AdamW(0.5, weight_decay=PiecewiseConstant([1], [1.0, 0.0]))
    model = model_with(optimizer)
    model.save(tmp_path / "model")
    X, y = np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32)
    for one in (model, fastbp.load(tmp_path / "model")):
        assert one.optimizer == optimizer
        one.set_weights([np.ones_like(W) if W.ndim == 2 else np.zeros_like(W) for W in one.get_weights()])
        for _ in range(3):
            one.train_on_batch(X, y)
        assert all(((0.5 if W.ndim == 2 else 0.0) == W).all() for W in one.get_weights())


def test_weight_decay_function_is_saved_as_its_value(tmp_path):
    model = model_with(fastbp.AdamW(weight_decay=lambda steps: 0.3 / (1.0 + steps)))
    with pytest.warns(UserWarning, match=r"weight_decay is a function.*step 0, 0\.3"):
        model.save(tmp_path / "model")
    assert fastbp.load(tmp_path / "model").optimizer.weight_decay == 0.3


def test_training_follows_the_schedule():
    """The learning rate is 0 from the second update on."""
    model = model_with(fastbp.SGD(PiecewiseConstant([1], [0.1, 0.0])))
    X, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    before = model.get_weights()[0]
    model.fit(X, y, batch_size=4, epochs=1, verbose=0)
    once = model.get_weights()[0]
    model.fit(X, y, batch_size=4, epochs=3, verbose=0)
    assert (before != once).any()
    np.testing.assert_array_equal(model.get_weights()[0], once)
