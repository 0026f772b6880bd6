"""The network behind a model: its layers, the engine built for them, and what is saved of both."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fastbp import losses
from fastbp.data.inputs import Inputs
from fastbp.layers.base import Layer
from fastbp.layers.graph import Block, blocks_of, checked
from fastbp.losses import Loss
from fastbp.metrics import Metric
from fastbp.model.building import configure, initial_weights, make_engine
from fastbp.optimizers import Optimizer
from fastbp.storage.snapshot import CompileArguments, Snapshot
from fastbp.training.trainer import Trainer
from fastbp.util import arguments
from fastbp.util.arguments import count

if TYPE_CHECKING:
    from fastbp.engine.engine import Engine

_building = threading.Lock()  # many threads may ask a model that none has built yet


class Network:
    """Layers, and once the input size is known an engine; once compiled, a trainer of it.

    The attributes with a leading underscore are for its subclass alone; other parts of fastbp use its methods.
    """

    def __init__(self, layers: Iterable[Layer], input_size: int | None, seed: int, dtype: npt.DTypeLike) -> None:
        self._layers = checked(layers)
        self._blocks = blocks_of(self._layers)  # once the input size is known, with all widths
        self._output_size = self._blocks[-1].units or 0  # known, as one of them is a Dense
        self._dtype = arguments.float_dtype(dtype)
        self._seed = count(seed, "seed", 0)
        self._input_size: int | None = None
        self._engine: Engine | None = None
        self._arguments: CompileArguments | None = None
        self._trainer: Trainer | None = None
        self._inputs: Inputs | None = None
        self.stop_training = False
        self.metadata: dict[str, str] = {}
        if input_size is not None:
            self.build(count(input_size, "input_size"))

    # ---------------------------------------------------------------- what it is made of

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers as they were given."""
        return self._layers

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The operations of its graph, each after those it reads; see `fastbp.layers.graph.Block`."""
        return self._blocks

    @property
    def input_size(self) -> int | None:
        """Features of a row; None until known."""
        return self._input_size

    @property
    def output_size(self) -> int:
        """Outputs of a row."""
        return self._output_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of weights and computations."""
        return self._dtype

    @property
    def seed(self) -> int:
        """What initial weights, shuffling and random masks are drawn from."""
        return self._seed

    @property
    def compiled(self) -> bool:
        """Whether it knows how to train."""
        return self._arguments is not None

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of compile; RuntimeError where that was not called. So are `loss` and `metrics`."""
        return self._compile_arguments().optimizer

    @property
    def loss(self) -> Loss:
        """The loss of compile."""
        return self._compile_arguments().loss

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of compile."""
        return self._compile_arguments().metrics

    @property
    def inputs(self) -> Inputs:
        """What it takes to train on; RuntimeError before compile."""
        self._compile_arguments()
        assert self._inputs is not None
        return self._inputs

    @property
    def trainer(self) -> Trainer:
        """What trains it; RuntimeError before compile, ValueError where the input size is not known."""
        self._compile_arguments()
        self.require_engine("learning_rate")
        assert self._trainer is not None
        return self._trainer

    def require_engine(self, purpose: str) -> Engine:
        """The engine; ValueError, naming the purpose, where the shapes of weights are not known yet."""
        if self._engine is None:
            raise ValueError(
                f"{purpose} needs the weights, whose shapes are not known yet: give Sequential(…, input_size=…), "
                "or call fit or predict first"
            )
        return self._engine

    def build(self, input_size: int) -> Engine:
        """The engine; where there is none yet, a new one for so many features, with initial weights."""
        with _building:
            if self._engine is None:
                blocks = blocks_of(self._layers, input_size)
                engine = make_engine(input_size, blocks, self._dtype.name, self._seed)
                if self._arguments is not None:  # room for states before there are weights to move
                    configure(engine, self._arguments)
                engine.set_weights(initial_weights(blocks, self._seed, self._dtype))
                self._adopt(engine, blocks)
        assert self._engine is not None
        return self._engine

    def snapshot(self) -> Snapshot:
        """All that it takes to go on from here: copies of weights and states, and counters."""
        engine, trainer = self._engine, self._trainer
        weights, states = ([], []) if engine is None else (engine.get_weights(), engine.get_state())
        step, epoch, rate = (0, 0, None) if trainer is None else (trainer.step, trainer.epoch, trainer.rates.changed)
        return Snapshot(
            self._layers, self._input_size, self._seed, self._dtype, self._arguments, step, epoch, weights,
            states if trainer is not None else [], dict(self.metadata),
            0 if engine is None else engine.steps_trained, rate,
        )  # fmt: skip

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Self:
        """The model that a snapshot was taken of."""
        model = cls(snapshot.layers, input_size=None, seed=snapshot.seed, dtype=snapshot.dtype)
        model.metadata = dict(snapshot.metadata)
        if snapshot.arguments is not None:
            model._set_arguments(snapshot.arguments)
        if snapshot.input_size is not None:
            blocks = blocks_of(model._layers, snapshot.input_size)
            engine = make_engine(snapshot.input_size, blocks, snapshot.dtype.name, snapshot.seed)
            engine.set_weights(snapshot.weights)
            model._adopt(engine, blocks)
            model.restore_state(snapshot)
        return model

    def restore_state(self, snapshot: Snapshot) -> None:
        """Take over a snapshot's optimizer states and counters; its weights are in place."""
        assert self._engine is not None
        self._engine.steps_trained = snapshot.steps_trained
        if self._trainer is not None:
            self._engine.set_state(snapshot.states)
            self._trainer.step, self._trainer.epoch = snapshot.step, snapshot.epoch
            self._trainer.rates.changed = snapshot.learning_rate

    def _compile_arguments(self) -> CompileArguments:
        if self._arguments is None:
            raise RuntimeError(
                "training and evaluating need a loss, and the model has none: call compile first, for example "
                "model.compile('adam', 'mse')"
            )
        return self._arguments

    # ---------------------------------------------------------------- within

    def _set_arguments(self, chosen: CompileArguments) -> None:
        """Train so from now on, with an optimizer that has not made a step."""
        losses.check_output(chosen.loss, self._blocks[-1].activation, self._output_size)
        self._arguments = chosen
        self._inputs = Inputs(self._input_size, self._output_size, self._dtype, self._layers[0], chosen.loss)
        if self._engine is not None:
            self._trainer = self._new_trainer(self._engine, chosen)

    def _adopt(self, engine: Engine, blocks: tuple[Block, ...]) -> None:
        """Take an engine that has its weights, and the blocks it was made of."""
        self._input_size, self._blocks = engine.input_size, blocks
        if self._arguments is not None:
            self._trainer = self._new_trainer(engine, self._arguments)
            self._inputs = self.inputs._replace(input_size=engine.input_size)
        self._engine = engine  # last: other threads look at it

    def _new_trainer(self, engine: Engine, chosen: CompileArguments) -> Trainer:
        """A trainer with an optimizer that has not made a step."""
        configure(engine, chosen)
        epoch = 0 if self._trainer is None else self._trainer.epoch
        return Trainer(engine, self._blocks, *chosen, seed=self._seed, epoch=epoch)
