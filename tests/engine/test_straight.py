"""Straight code of small networks: the interpreter's bits, kept on disk, and only where it pays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastbp.engine.engine import Engine
from fastbp.engine.planning import straight
from fastbp.isa.codes import ELEMENTWISE
from fastbp.kernels import jit, native
from fastbp.kernels.microkernels import PORTABLE
from fastbp.spec import UpdateSpec
from tests.engine.cases import OPTIMIZERS, everything, make_data, make_engine, spec, train

pytestmark = [pytest.mark.jit, pytest.mark.skipif(PORTABLE, reason="emitted code alone")]
WIDTHS = (
    ((10, 5, 1), 1), ((10, 32, 1), 32), ((13, 50, 50, 1), 20), ((30, 100, 2), 50), ((64, 100, 10), 64),
    ((1, 1), 1), ((3, 17, 16, 15, 2), 33), ((40, 3), 7), ((4, 8, 8, 8, 8, 4), 16),
    ((30, 40, 2), 3), ((6, 20, 3), 600), ((4, 32, 16, 4), 257),
)  # fmt: skip


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Straight code from the first call on, kept in an empty folder."""
    monkeypatch.setattr(straight, "WORTH_LOADING", 0.0)
    monkeypatch.setattr(straight, "WORTH_MAKING", 0.0)
    monkeypatch.setattr(native, "folder", lambda: tmp_path)
    return tmp_path


def both(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Engine], run: Callable[[Engine], object]) -> None:
    """The same bits and the same reports by the interpreter and by straight code."""
    found = []
    for most in (0, 10**9):
        monkeypatch.setattr(straight, "MOST", most)
        engine = make()
        found.append((run(engine), [a.tobytes() for a in everything(engine)]))
        assert bool(engine._training.straight._made) == bool(most)  # type: ignore[union-attr]
    assert found[0] == found[1]


def several_slices(optimizer: str, loss: str, batch: int, inputs: int, outputs: int,
                   dtype: str = "float32") -> Callable[[Engine], object]:
    """Training in two slices on shuffled rows, whose last batches are smaller."""
    rows = 3 * batch + max(1, batch // 2)
    X, y = make_data(rows, inputs, outputs, loss=loss, dtype=dtype)
    bounds = [0, batch, 2 * batch, 3 * batch, rows]
    order = np.random.default_rng(3).permutation(rows)

    def run(engine: Engine) -> object:
        found = [train(engine, X, y, optimizer, bounds, order=order, first=first) for first in (0, 4)]
        return [(report, losses.tobytes()) for report, losses in found]

    return run


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("widths", "batch"), WIDTHS, ids=str)
def test_bits_are_those_of_the_interpreter(widths: tuple[int, ...], batch: int, dtype: str, at_once: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    loss = "cross_entropy" if widths[-1] > 2 else "mse"
    last = spec(widths[-1], "softmax" if widths[-1] > 2 else "identity")
    layers = [*(spec(units, "relu") for units in widths[1:-1]), last]
    both(monkeypatch, lambda: make_engine(widths[0], layers, dtype=dtype, loss=loss, optimizer="adam"),
         several_slices("adam", loss, batch, widths[0], widths[-1], dtype))


@pytest.mark.parametrize("activation", ELEMENTWISE)
def test_every_activation(activation: str, at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [spec(20, activation, use_bias=False), spec(5, activation), spec(2, activation)]
    both(monkeypatch, lambda: make_engine(7, layers), several_slices("sgd", "mse", 18, 7, 2))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str, at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [spec(18, "tanh"), spec(3)]
    both(monkeypatch, lambda: make_engine(5, layers, optimizer=optimizer), several_slices(optimizer, "mse", 16, 5, 3))


def test_frozen_layers_and_rates_of_their_own(at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [spec(18, "relu", trainable=False), spec(9, "relu", multiplier=0.5), spec(3)]
    both(monkeypatch, lambda: make_engine(5, layers, optimizer="adam"), several_slices("adam", "mse", 16, 5, 3))


def test_divergence_is_reported_alike(at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose update is refused names its layer; one whose loss is infinite is dropped."""
    for factor in (1e18, 1e30):
        def run(engine: Engine, factor: float = factor) -> object:
            X, y = make_data(64, 5, 3)
            report, losses = train(engine, X * np.float32(factor), y, "sgd", [0, 16, 32, 48, 64])
            assert report.steps < 4
            return report, losses.tobytes()

        both(monkeypatch, lambda: make_engine(5, [spec(18, "relu"), spec(3)]), run)


def test_other_rules_and_batches_have_code_of_their_own(at_once: Path) -> None:
    engine = make_engine(5, [spec(18, "relu"), spec(3)], optimizer="adam")
    for batch, optimizer in ((16, "adam"), (16, "adam decay"), (16, "adam"), (8, "adam"), (32, "adam")):
        several_slices(optimizer, "mse", batch, 5, 3)(engine)
    assert len(list(at_once.iterdir())) == 3  # both rules at 16 rows, where 8 are interpreted, and one at 32


def test_larger_and_other_networks_are_interpreted(at_once: Path) -> None:
    for layers, options in (
        ([spec(1000, "relu"), spec(3)], {"update_spec": UpdateSpec()}),
        ([spec(18, "relu"), spec(3)], {"update_spec": UpdateSpec(global_clipnorm=1.0)}),
        ([spec(18, kind="scale"), spec(3)], {}),
    ):
        inputs = 300 if layers[0].units == 1000 else 18
        engine = make_engine(inputs, layers, **options)
        several_slices("sgd", "mse", 32, inputs, 3)(engine)
    assert not list(at_once.iterdir())


def test_short_trainings_are_interpreted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code is made after WORTH_MAKING seconds of training; from then on other processes load it sooner."""
    monkeypatch.setattr(native, "folder", lambda: tmp_path)
    run = several_slices("sgd", "mse", 16, 5, 3)

    def after(seconds: float) -> bool:
        engine = make_engine(5, [spec(18, "relu"), spec(3)])
        run(engine)
        engine._training.straight.seconds = seconds  # type: ignore[union-attr]
        run(engine)
        return bool(engine._training.straight._made)  # type: ignore[union-attr]

    assert not after(straight.WORTH_MAKING / 2)
    assert after(straight.WORTH_MAKING)
    assert after(straight.WORTH_LOADING)
    assert not after(0.0)


def test_damaged_code_is_made_again(at_once: Path) -> None:
    run = several_slices("sgd", "mse", 16, 5, 3)

    def trained() -> list[bytes]:
        engine = make_engine(5, [spec(18, "relu"), spec(3)])
        run(engine)
        return [a.tobytes() for a in everything(engine)]

    expected, (path,) = trained(), at_once.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        path.write_bytes(damaged)
        assert trained() == expected
        assert path.read_bytes() == whole


def test_nothing_is_kept_where_no_code_is(at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "folder", lambda: None)
    engine = make_engine(5, [spec(18, "relu"), spec(3)])
    several_slices("sgd", "mse", 16, 5, 3)(engine)
    assert engine._training.straight._made  # type: ignore[union-attr]
    assert jit.JIT
    assert not list(at_once.iterdir())
