"""Building an engine for a graph, and its initial weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.data import arrays
from fastbp.layers.graph import Block, parameters, specs_of
from fastbp.storage.snapshot import CompileArguments
from fastbp.util.random_streams import Purpose, generator, mask_key
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.engine.engine import Engine


def make_engine(input_size: int, blocks: tuple[Block, ...], dtype: str, seed: int, compute: str) -> Engine:
    """The engine for a graph: the one place that chooses the class."""
    from fastbp.engine.engine import Engine  # imports Numba, which `import fastbp` should not

    return Engine(input_size, specs_of(blocks), dtype=dtype, key=mask_key(seed), compute=compute)


def configured(engine: Engine, chosen: CompileArguments) -> Engine:
    """An engine of the same weights for the arguments of compile, with a zero optimizer state."""
    loss, optimizer = chosen.loss, chosen.optimizer
    return engine.configured(
        loss.rule, optimizer.rule, optimizer.n_states, loss_parameters=loss.parameters,
        update_spec=optimizer.update_spec,
    )  # fmt: skip


def initial_weights(blocks: tuple[Block, ...], seed: int, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yield one array at a time, so that no two copies of all weights are held."""
    streams: dict[int, np.random.Generator] = {}
    for block, name, shape, initializer, *_ in parameters(blocks):
        stream = streams.setdefault(block, generator(seed, Purpose.INITIALIZE, block))
        values = initializer(stream, shape, dtype)
        yield arrays.arrays([values], [(name, shape)], dtype, "the initializer's values")[0]
