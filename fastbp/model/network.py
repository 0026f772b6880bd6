"""The network behind a model: its layers, its engine, and snapshots of both."""

from __future__ import annotations

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
from fastbp.model.building import configured, initial_weights, make_engine
from fastbp.model.precision import check_compute, offered
from fastbp.optimizers import Optimizer
from fastbp.spec import AUTO
from fastbp.storage.snapshot import CompileArguments, Snapshot
from fastbp.training.learning_rates import Rates
from fastbp.training.trainer import Trainer
from fastbp.util import arguments
from fastbp.util.arguments import count
from fastbp.util.turns import Turns

if TYPE_CHECKING:
    from fastbp.engine.engine import Engine


class Network:
    """Layers, an engine once the input size is known, and a trainer once compiled.

    Attributes with a leading underscore are for subclasses only; other parts of fastbp use the methods.
    """

    def __init__(self, layers: Iterable[Layer], input_size: int | None, seed: int, dtype: npt.DTypeLike,
                 compute: str = "float32") -> None:
        self._layers = checked(layers)
        self._blocks = blocks_of(self._layers)  # with all widths once the input size is known
        self._output_size = self._blocks[-1].units or 0  # known, since one of them is a Dense
        self._dtype = arguments.float_dtype(dtype)
        self._compute = check_compute(compute, self._dtype.name)
        self._seed = count(seed, "seed", 0)
        self._input_size: int | None = None
        self._engine: Engine | None = None
        self._arguments: CompileArguments | None = None
        self._trainer: Trainer | None = None
        self.turns = Turns()
        self._inputs: Inputs | None = None
        self._feature_names: tuple[str, ...] | None = None
        self.stop_training = False
        self.metadata: dict[str, str] = {}
        if input_size is not None:
            self.build(count(input_size, "input_size"))

    # ---------------------------------------------------------------- properties

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, as passed to the constructor."""
        return self._layers

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The operations of the graph in topological order; see `fastbp.layers.graph.Block`."""
        return self._blocks

    @property
    def input_size(self) -> int | None:
        """Number of input features; None until known."""
        return self._input_size

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns of the first frame it was trained on, with which later ones are compared; else None."""
        return self._feature_names

    @property
    def output_size(self) -> int:
        """Number of outputs per row."""
        return self._output_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of weights and computations."""
        return self._dtype

    @property
    def compute(self) -> str:
        """How products of dense layers are computed; "auto" until the first step of training has chosen."""
        if self._compute == AUTO and self._engine is not None:
            return self._engine.compute
        return self._compute

    @property
    def seed(self) -> int:
        """Seed of initial weights, shuffling, dropout and noise."""
        return self._seed

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._arguments is not None

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer passed to `compile`; RuntimeError if that was not called, also for `loss` and `metrics`."""
        return self._compile_arguments().optimizer

    @property
    def loss(self) -> Loss:
        """The loss passed to `compile`."""
        return self._compile_arguments().loss

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics passed to `compile`."""
        return self._compile_arguments().metrics

    @property
    def inputs(self) -> Inputs:
        """Converts user data for training; RuntimeError before `compile`."""
        self._compile_arguments()
        assert self._inputs is not None
        return self._inputs

    @property
    def trainer(self) -> Trainer:
        """The trainer; RuntimeError before `compile`, ValueError while the input size is unknown."""
        self._compile_arguments()
        self.require_engine("learning_rate")
        assert self._trainer is not None
        return self._trainer

    def require_engine(self, purpose: str) -> Engine:
        """The engine; ValueError while the shapes of the weights are unknown.

        Parameters
        ----------
        purpose : str
            What needs it, for the message.
        """
        if self._engine is None:
            raise ValueError(
                f"{purpose} needs the weights, whose shapes are not known yet: give Sequential(…, input_size=…), "
                "or call fit or predict first"
            )
        return self._engine

    def build(self, input_size: int) -> Engine:
        """The engine, created with initial weights if there is none yet.

        Parameters
        ----------
        input_size : int
            Number of features.
        """
        with self.turns.state:  # several threads may call a model that is not built yet
            if self._engine is None:
                blocks = blocks_of(self._layers, input_size)
                engine = make_engine(input_size, blocks, self._dtype.name, self._seed, self._compute)
                if self._arguments is not None:  # allocate states before the weights
                    engine = configured(engine, self._arguments)
                engine.write_weights(initial_weights(blocks, self._seed, self._dtype))
                self._adopt(engine, blocks)
        assert self._engine is not None
        return self._engine

    def snapshot(self) -> Snapshot:
        """Copies of weights and optimizer states, with the counters: everything needed to continue from here."""
        with self.turns.state:
            self.turns.check()
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        engine, trainer = self._engine, self._trainer
        weights, states = ([], []) if engine is None else (engine.get_weights(), engine.get_state())
        step, epoch, rate = (0, 0, None) if trainer is None else (trainer.step, trainer.epoch, trainer.rates.changed)
        return Snapshot(
            self._layers, self._input_size, self._seed, self._dtype, self._arguments, step, epoch, weights,
            states if trainer is not None else [], dict(self.metadata),
            0 if engine is None else engine.steps_trained, rate, self._feature_names, self.compute,
        )  # fmt: skip

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Self:
        """A model restored from a snapshot."""
        model = cls(snapshot.layers, input_size=None, seed=snapshot.seed, dtype=snapshot.dtype,
                    compute=offered(snapshot.compute))
        model.metadata = dict(snapshot.metadata)
        model._feature_names = snapshot.feature_names
        if snapshot.arguments is not None:
            model._set_arguments(snapshot.arguments)
        if snapshot.input_size is not None:
            blocks = blocks_of(model._layers, snapshot.input_size)
            engine = make_engine(snapshot.input_size, blocks, snapshot.dtype.name, snapshot.seed, model._compute)
            if snapshot.arguments is not None:
                engine = configured(engine, snapshot.arguments)
            engine.write_weights(snapshot.weights)  # in place: `restore` would need the memory twice
            if snapshot.arguments is not None:
                engine.write_states(snapshot.states)
            engine.steps_trained = snapshot.steps_trained
            model._adopt(engine, blocks)
            if (trainer := model._trainer) is not None:
                trainer.step, trainer.epoch = snapshot.step, snapshot.epoch
                trainer.rates = Rates(trainer.optimizer, snapshot.learning_rate)
        return model

    def name_features(self, names: tuple[str, ...] | None) -> None:
        """Compare the columns of frames with these names from now on, unless there are names already.

        Parameters
        ----------
        names : tuple of str or None
            Names of the features; None changes nothing.
        """
        if self._feature_names is None and names is not None:
            self._feature_names = names
            if self._inputs is not None:
                self._inputs = self._inputs._replace(feature_names=names)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore weights, optimizer states and counters, or nothing if that fails.

        Parameters
        ----------
        snapshot : Snapshot
            Of this model, compiled as it is now.
        """
        with self.turns.state:
            self.turns.wait()
            trainer = self.trainer
            engine = trainer.engine.restored(snapshot.weights, snapshot.states, snapshot.steps_trained)
            rates = Rates(trainer.optimizer, snapshot.learning_rate)
            new = (engine, engine, snapshot.step, snapshot.epoch, rates)
            # one statement without a call, within which no signal is heard
            self._engine, trainer.engine, trainer.step, trainer.epoch, trainer.rates = new

    def refuse_in_fit(self, what: str) -> None:
        """RuntimeError if this is called by a callback of this model's fit; other threads wait for their turn.

        Parameters
        ----------
        what : str
            The method, for the message.
        """
        if self.turns.mine:
            raise RuntimeError(
                f"{what} must not be called while the same model is in fit, got a call from one of its callbacks: set "
                "model.stop_training = True there and call it when fit has returned; callbacks may predict, evaluate, "
                "save, set_weights, set the learning rate and train_on_batch"
            )

    def _compile_arguments(self) -> CompileArguments:
        if self._arguments is None:
            raise RuntimeError(
                "training and evaluating need a loss, and the model has none: call compile first, for example "
                "model.compile('adam', 'mse')"
            )
        return self._arguments

    # ---------------------------------------------------------------- internals

    def _set_arguments(self, chosen: CompileArguments) -> None:
        """Train with these arguments from now on, with a fresh optimizer state."""
        losses.check_output(chosen.loss, self._blocks[-1].activation, self._output_size)
        with self.turns.state:
            self.turns.wait()
            inputs = Inputs(
                self._input_size, self._output_size, self._dtype, self._layers[0], chosen.loss, self._feature_names
            )
            before = self._trainer
            engine = None if self._engine is None else configured(self._engine, chosen)
            trainer = None if engine is None else self._new_trainer(engine, self._blocks, chosen)
            self._put(_arguments=chosen, _inputs=inputs, _engine=engine, _trainer=trainer)
            if before is not None:
                before.retired = True

    def _adopt(self, engine: Engine, blocks: tuple[Block, ...]) -> None:
        """Take over an engine that has its weights and is configured, and the blocks it was built from."""
        trainer, inputs = None, None
        if self._arguments is not None:
            trainer = self._new_trainer(engine, blocks, self._arguments)
            inputs = self.inputs._replace(input_size=engine.input_size)
        self._put(_input_size=engine.input_size, _blocks=blocks, _engine=engine, _trainer=trainer, _inputs=inputs)

    def _put(self, **attributes: Any) -> None:
        """Puts into place what was made aside: by one call into C, in which neither a signal nor another thread is
        heard, so what follows an error is the old network or the new one."""
        vars(self).update(attributes)

    def _new_trainer(self, engine: Engine, blocks: tuple[Block, ...], chosen: CompileArguments) -> Trainer:
        epoch = 0 if self._trainer is None else self._trainer.epoch
        return Trainer(engine, blocks, *chosen, seed=self._seed, epoch=epoch, turns=self.turns)
