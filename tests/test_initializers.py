"""Initializers: distributions, determinism, and error messages."""

import math

import numpy as np
import pytest

from fastbp import initializers
from fastbp.initializers import (
    Constant,
    GlorotUniform,
    HeNormal,
    Orthogonal,
    RandomNormal,
    Zeros,
)

SHAPE = (300, 200)
VARIANCES = {
    "glorot_uniform": 2 / 500,
    "glorot_normal": 2 / 500,
    "he_uniform": 2 / 300,
    "he_normal": 2 / 300,
    "lecun_uniform": 1 / 300,
    "lecun_normal": 1 / 300,
    "random_normal": 0.05**2,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_mean_and_variance(name: str) -> None:
    variance, n = VARIANCES[name], math.prod(SHAPE)
    W = initializers.get(name)(np.random.default_rng(7), SHAPE, "float64")
    # Standard errors over n independent draws: of the mean sqrt(variance / n); of the variance at most
    # variance sqrt(2 / n) (normal; less for uniform). Allow five of them.
    assert abs(W.mean()) <= 5 * math.sqrt(variance / n)
    assert abs(W.var() - variance) <= 5 * variance * math.sqrt(2 / n)
    if name.endswith("uniform"):
        limit = math.sqrt(3 * variance)
        assert np.abs(W).max() <= limit
        assert np.abs(W).max() >= 0.999 * limit
    else:  # not truncated: 1 draw in 370 lies beyond 3 standard deviations
        assert np.abs(W).max() > 3.5 * math.sqrt(variance)


@pytest.mark.parametrize("name", initializers.NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_gives_same_values(name: str, dtype: str) -> None:
    initializer = initializers.get(name)
    first, again, other = (initializer(np.random.default_rng(seed), (30, 20), dtype) for seed in (1, 1, 2))
    assert first.shape == (30, 20)
    assert first.dtype == dtype
    assert first.flags.c_contiguous
    assert first.flags.writeable
    np.testing.assert_array_equal(first, again)
    assert name in ("zeros", "constant") or (first != other).any()


@pytest.mark.parametrize("name", initializers.NAMES)
def test_float32_values_are_rounded_float64(name: str) -> None:
    narrow, wide = (
        initializers.get(name)(np.random.default_rng(3), (17, 9), dtype) for dtype in ("float32", "float64")
    )
    np.testing.assert_array_equal(narrow, wide.astype("float32"))


def test_drawing_in_chunks_gives_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [make(np.random.default_rng(5), (40, 30), "float32") for make in (GlorotUniform(), HeNormal())]
    monkeypatch.setattr(initializers, "DRAWS", 7)
    parts = [make(np.random.default_rng(5), (40, 30), "float32") for make in (GlorotUniform(), HeNormal())]
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("shape", [(50, 50), (70, 20), (20, 70), (1, 9), (9, 1), (1, 1)])
def test_orthogonal_kernels_are_orthonormal(shape: tuple[int, int]) -> None:
    Q = Orthogonal(gain=2.0)(np.random.default_rng(0), shape, "float64") / 2
    gram = Q.T @ Q if shape[0] >= shape[1] else Q @ Q.T
    # Householder QR: columns orthonormal to a small multiple of k^1.5 u, Golub and Van Loan, section 5.2
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=10 * max(shape) ** 1.5 * 2.0**-53)


def test_orthogonal_matrices_are_uniformly_distributed() -> None:
    firsts = [Orthogonal()(np.random.default_rng(seed), (3, 3), "float64")[0, 0] for seed in range(400)]
    # By symmetry the mean is 0 and the variance 1/3; QR that ignores the signs of R has a mean of -0.5.
    assert abs(np.mean(firsts)) <= 5 * math.sqrt(1 / 3 / 400)


def test_constant_initializers() -> None:
    np.testing.assert_array_equal(Zeros()(np.random.default_rng(0), (3,), "float32"), np.zeros(3))
    np.testing.assert_array_equal(Constant(2.5)(np.random.default_rng(0), (3, 2), "float32"), np.full((3, 2), 2.5))
    assert RandomNormal(mean=3.0, stddev=0.0)(np.random.default_rng(0), (2,), "float64").tolist() == [3.0, 3.0]


def test_get_returns_objects_and_rejects_others() -> None:
    mine = HeNormal()
    assert initializers.get(mine) is mine
    with pytest.raises(ValueError, match=r"initializer must be one of glorot_uniform, .* got 'xavier'"):
        initializers.get("xavier")
    for wrong in (None, 1.0, HeNormal, Orthogonal):
        with pytest.raises(TypeError, match=r"write HeNormal\(\), not HeNormal, or use one of glorot_uniform"):
            initializers.get(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal"])
def test_fan_based_initializers_need_a_kernel(name: str) -> None:
    with pytest.raises(ValueError, match=r"got \(5,\): for biases use 'zeros'"):
        initializers.get(name)(np.random.default_rng(0), (5,), "float32")


@pytest.mark.parametrize("make", [lambda v: Constant(v), lambda v: RandomNormal(v), lambda v: Orthogonal(v)])
def test_arguments_must_be_finite_numbers(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="must be finite, got nan"):
        make(float("nan"))
    with pytest.raises(TypeError, match="must be a number, got '1'"):
        make("1")
    with pytest.raises(ValueError, match="stddev must be at least 0, got -1"):
        RandomNormal(stddev=-1)
