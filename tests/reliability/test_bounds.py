"""The assertions that precede every call of compiled code with FASTBP_CHECK=1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.engine.workspace import WORD, Workspace
from fastbp.kernels.schema import bounds
from fastbp.kernels.schema.context import SHARED
from fastbp.kernels.schema.fields import Layer, Operation, Piece

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 9)).astype("f4"), RNG.normal(size=(50, 2)).astype("f4")


def prepared(layers: list[Any], optimizer: str = "adam") -> Workspace:
    """A workspace that has made a step and still points to all of its arrays."""
    model = fastbp.Sequential([*layers, fastbp.Dense(2)])
    model.compile(optimizer, "mse")
    model.train_on_batch(X, Y)
    space = model.require_engine("this test")._training
    assert space is not None
    return space


def check(space: Workspace) -> None:
    bounds.check(space.context, space._arrays, space.dtype, len(space.network.nodes), space.batch)


def layer(index: int, field: int, value: int) -> Callable[[Workspace], None]:
    def change(space: Workspace) -> None:
        space.plan.layers[index, field] = value

    return change


def word(name: str, value: int, own: bool = False) -> Callable[[Workspace], None]:
    def change(space: Workspace) -> None:
        space.context[WORD[name] + SHARED * own] = value

    return change


def shorter(name: str, by: int = 1) -> Callable[[Workspace], None]:
    return lambda space: space.point(name, space._arrays[name][:-by])


CORRUPTIONS: dict[str, tuple[Callable[[Workspace], Any], str]] = {
    "wrong address": (lambda s: word("M", s.context[WORD["M"]] + 64)(s), "M points elsewhere"),
    "wrong length": (word("n_y", 10**6), "y points elsewhere"),
    "order": (lambda s: s.point("order", np.array([50])), "order ends before"),
    "rows": (lambda s: s.point("order", np.arange(1, 51)), "rows 1 50"),
    "negative rows": (lambda s: s.point("order", np.arange(-1, 49)), "rows -1"),
    "bounds": (lambda s: s.point("bounds", np.array([0, 51])), "batches of 51"),
    "decreasing bounds": (lambda s: s.point("bounds", np.array([0, -1])), "batches of -1"),
    "steps": (word("n_steps", 2), "bounds of 2 steps"),
    "targets": (shorter("y"), "targets of 50 rows"),
    "wide targets": (lambda s: s.point("y", np.zeros((50, 3), "f4")), "targets"),
    "dtype of targets": (lambda s: s.point("y", Y.astype("f8")), "y is of float64"),
    "strides": (lambda s: s.point("y", np.zeros((50, 4), "f4")[:, ::2]), "strides"),
    "losses": (lambda s: s.point("losses", np.zeros(0)), "losses of 1"),
    "scalars": (lambda s: s.point("scalars", np.zeros((1, 7))), "scalars"),
    "sample weights": (lambda s: s.point("weight", np.zeros(3, "f4")), "weights of 50 rows"),
    "outputs": (lambda s: s.point("outputs", np.zeros((49, 2), "f4")), "outputs"),
    "workspace": (shorter("M", 16), "groups of worker 0"),
    "sync": (shorter("sync", 8), "sync of 1 workers"),
    "states": (lambda s: s.point("P", s._arrays["P"][: 2 * s.context[WORD["stride"]]]), "states"),
    "no states": (word("stride", 10**6), "states"),
    "scratch": (word("scratch", 10**6, own=True), "scratch of worker 0"),
    "outputs of a node": (layer(0, Layer.Z, 10**7), "node 0: outputs"),
    "pitch of a node": (layer(0, Layer.ZPITCH, 16), "node 0: outputs of"),
    "deltas": (layer(1, Layer.D, -16), "node 1: deltas"),
    "weights of a node": (layer(1, Layer.W, 10**7), "parameters of node 1"),
    "panels": (layer(0, Layer.PANELS, 9), "node 0: panels"),
    "pieces": (lambda s: s.network.pieces.__setitem__((0, Piece.LINES), 10**6), "a piece of node 0"),
    "operation": (lambda s: s.programs["train"].__setitem__((0, Operation.WHAT), 99), "operations"),
    "layer of an operation": (lambda s: s.programs["train"].__setitem__((0, Operation.LAYER), 9), "layers"),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_out_of_bounds_arguments_are_detected(what: str) -> None:
    corrupt, message = CORRUPTIONS[what]
    space = prepared([fastbp.Dense(17, "tanh")])
    check(space)
    corrupt(space)
    with pytest.raises(AssertionError, match=f"out of bounds: .*{message}"):
        check(space)


def test_plain_arrays_must_have_equal_sizes() -> None:
    bounds.same_size({"grad": np.zeros(3)}, 3)
    with pytest.raises(AssertionError, match="grad"):
        bounds.same_size({"grad": np.zeros(2)}, 3)
