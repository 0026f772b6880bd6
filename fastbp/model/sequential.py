"""`Sequential`, the network that users compose, train, ask and save."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import losses, optimizers
from fastbp import metrics as measures
from fastbp.data import arrays
from fastbp.data.batch_schedule import chunks
from fastbp.data.inputs import features, predict_chunks
from fastbp.data.streams import is_source
from fastbp.layers.base import Layer
from fastbp.layers.graph import blocks_of, check_statistics, parameters
from fastbp.layers.summary import summary, summary_rows
from fastbp.model.network import Network
from fastbp.storage import checkpoint, pickles
from fastbp.storage.snapshot import CompileArguments, to_contents
from fastbp.training import fit
from fastbp.training import mixup as mixing
from fastbp.training.fit_state import Job
from fastbp.training.history import History
from fastbp.training.progress import wanted
from fastbp.training.trainer import Trainer, evaluate
from fastbp.util import arguments
from fastbp.util.arguments import count
from fastbp.util.html_table import table
from fastbp.util.types import Array

_ONE_CALL = 1 << 24  # multiply-adds of a predict not worth cutting up


class _DefaultBatchSize(int):
    """128 where the user did not say: then that there are fewer rows is no mistake of theirs."""


_BATCH_SIZE = _DefaultBatchSize(128)


class Sequential(Network):
    """A multilayer perceptron: layers one above another.

    layers: lowest first, of Dense, Activation, BatchNorm, LayerNorm, Dropout, GaussianNoise and Residual, the first may
    be a ColumnEmbedding; at least one Dense. input_size: features a row; left out, the first X tells.
    seed: of initial weights, shuffling and random masks; one seed gives the same bits on any number of threads.
    dtype: "float32" or "float64", of weights and computations.
    metadata: a dict of strings of your own, which save and load carry along.
    Raises TypeError or ValueError for what is no list of layers, and for numbers out of range.

    >>> model = Sequential([Dense(4, "tanh"), Dense(1, "sigmoid")], input_size=2)
    >>> model.predict([[0.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)

    Goodfellow et al. 2016, chapter 6. Names as in Keras's Sequential, numbers and formulas as in PyTorch.
    """

    def __init__(
        self, layers: Iterable[Layer], *, input_size: int | None = None, seed: int = 0, dtype: npt.DTypeLike = "float32"
    ) -> None:
        super().__init__(layers, input_size, seed, dtype)

    # ---------------------------------------------------------------- training

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: str | losses.Loss | None = None,
        metrics: Iterable[str | measures.Metric] = (),
    ) -> None:
        """Choose how to train: the optimizer, the loss it lowers, and the metrics to report beside it.

        optimizer: "sgd", "adam", "adamw" or an object such as Adam(1e-3). loss: "mse", "cross_entropy" (class labels or
        rows of probabilities; last activation softmax, or identity for logits), "binary_cross_entropy" (sigmoid, or
        identity), another name or an object of fastbp.losses, or a CustomLoss. metrics: of accuracy, top_k_accuracy,
        mae, rmse, r2, auc. Compiling again starts the optimizer anew and keeps the weights. Raises ValueError for
        unknown names and for a loss that does not fit the last activation or the number of outputs.

        >>> Sequential([Dense(3, "softmax")]).compile("adam", "cross_entropy", ["accuracy"])
        """
        if loss is None:
            raise TypeError(f"compile needs a loss, but none came: pass loss= one of {', '.join(losses.NAMES)}")
        self._set_arguments(CompileArguments(optimizers.get(optimizer), losses.get(loss), measures.get_all(metrics)))

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        batch_size: int = _BATCH_SIZE,
        epochs: int = 1,
        validation_data: Any = None,
        validation_split: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Any] = (),
        verbose: str | int = "auto",
        n_threads: int | None = None,
        resume_from: str | os.PathLike[str] | None = None,
        time_limit: float | None = None,
        mixup: float = 0.0,
        shuffle_window: int | None = None,
    ) -> History:
        """Train for a number of epochs, each over all rows in batches, in an order drawn from the seed and the epoch.

        X: (n, input_size) of real numbers: an array, a tensor on the CPU, a table of pandas, polars or pyarrow;
        C-contiguous and of the model's dtype it is not copied. A scipy.sparse matrix stays sparse: if a Dense comes
        first, zeros cost nothing, and with SGD without weight decay or momentum only the weights of features that occur
        in a batch are touched. y: (n, outputs), or (n,) for one output or for class labels.
        Or, without y, X is a source of chunks (X, y) or (X, y, sample_weight): one of `fastbp.sources`, a list,
        anything to iterate over again and again, such as a torch DataLoader, or a function that returns an iterator.
        Two windows of shuffle_window rows are then held at a time, by default of as many as 64 MiB hold. Rows are
        shuffled within windows, and chunks that can be read in any order come in one drawn from seed and epoch; if one
        window holds all, or with shuffle=False, the bits are those of arrays.
        validation_data: (X, y), (X, y, weights) or a source; validation_split: the last
        fraction of the rows, taken before shuffling. sample_weight: (n,); class_weight: {class: weight}. callbacks:
        of `fastbp.callbacks`, or any objects with a method such as on_epoch_end(epoch, logs). verbose: 1 shows a
        progress bar, 0 nothing, "auto" a bar on a terminal. n_threads: at most so many; by default, as many as pay.
        resume_from: a file that the callback BackupAndRestore wrote; the interrupted fit of the same data and arguments
        goes on from it to the bits of one never interrupted. Where there is no such file training starts anew.
        mixup: alpha of the Beta distribution from which every step draws how to blend its rows with each other and
        their targets alike, 0 for none; metrics of training then compare outputs with the targets before.
        time_limit: seconds after which training stops, at the end of a slice of some 0.1 s; history.stopped says so.
        Compiling on a fresh machine does not count.
        The loss and metrics of an epoch are those of its steps, each before its update. The rows of a batch weigh
        Σ w l / Σ w. fit twice for one epoch equals fit for two. After Ctrl-C the weights are those of a finished step.
        Raises TypeError or ValueError, before anything changed, for data and arguments that cannot be right or are not
        those of the fit to resume, CheckpointError where its file is damaged; warns with DivergenceWarning, and stops,
        where the loss or a weight would no longer be finite.

        >>> model = Sequential([Dense(1)])
        >>> model.compile(SGD(0.1), "mse")
        >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=500)
        >>> model.predict([[2.0]]).round(2)
        array([[5.]], dtype=float32)

        As Keras's fit. Goodfellow et al. 2016, section 8.1.3.
        """
        inputs, epochs = self.inputs, count(epochs, "epochs")
        feed, held_out = inputs.training_feeds(
            X, y, sample_weight, class_weight, validation_data, validation_split, epochs, shuffle_window
        )
        given = batch_size is not _BATCH_SIZE
        job = Job(
            feed,
            held_out,
            arguments.batch_size(batch_size, feed.rows, given=given),
            epochs,
            arguments.flag(shuffle, "shuffle"),
            arguments.callbacks(callbacks),
            wanted(verbose),
            arguments.threads(n_threads),
            None if resume_from is None else os.fsdecode(resume_from),
            arguments.seconds(time_limit, "time_limit"),
            mixing.check(mixup, feed.first, inputs.loss.name, self._layers[0]),
        )
        return fit.fit(self._trainer_for(feed.first.X.shape[1]), job, self)

    def train_on_batch(self, X: Any, y: Any, *, sample_weight: Any = None) -> float:
        """Make one step on these rows, of any number from 1, and return their loss before it.

        Arguments, errors and the warning as in fit. A row at a time this is online learning.

        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.train_on_batch([[1.0]], [[3.0]])
        9.0
        """
        rows = self.inputs.rows(X, y, sample_weight)
        trainer = self._trainer or self._trainer_for(rows.X.shape[1])
        report, loss = trainer.step_on(rows)
        if report.status:
            trainer.warn(report, stacklevel=2)
        return loss

    def gradients(self, X: Any, y: Any, *, sample_weight: Any = None) -> list[Array | None]:
        """The gradient of the loss over these rows by every weight, aligned with get_weights; nothing changes.

        As in training: of the loss that fit reports, penalties included, with statistics of these rows and the random
        masks of the next step. None in the places of BatchNorm's moving statistics.

        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.gradients([[1.0]], [[3.0]])
        [array([[-6.]], dtype=float32), array([-6.], dtype=float32)]

        Goodfellow et al. 2016, algorithm 6.4.
        """
        rows = self.inputs.rows(X, y, sample_weight)
        engine = self._trainer_for(rows.X.shape[1]).engine
        return list(engine.gradients(rows.X, rows.y, sample_weight=rows.weight)[1])

    # ---------------------------------------------------------------- asking

    def predict(self, X: Any, *, n_threads: int | None = None) -> Array:
        """The outputs (n, outputs) for X (n, input_size): after the last activation, the same bits for a row in any X.

        X: as for fit; of a source's chunks, which here may also be X alone, a few are held at a time.

        >>> Sequential([Dense(2, kernel_initializer="zeros")]).predict([[1.0, 2.0, 3.0]])
        array([[0., 0.]], dtype=float32)
        """
        if type(X) is not np.ndarray and is_source(X):
            return self._predict_source(X, n_threads)
        rows = features(X, self._input_size, self._dtype, self._layers[0])
        engine = self._engine or self.build(rows.shape[1])
        if n_threads is not None:
            n_threads = arguments.threads(n_threads)
        outputs = np.empty((len(rows), self._output_size), self._dtype)
        if len(rows) * engine.n_parameters <= _ONE_CALL:
            engine.predict(rows, outputs, n_threads=n_threads)
            return outputs
        for part in chunks(len(rows), 2.0 * engine.n_parameters):
            engine.predict(rows[part], outputs[part], n_threads=n_threads)
        return outputs

    def evaluate(
        self, X: Any, y: Any = None, *, sample_weight: Any = None, n_threads: int | None = None
    ) -> dict[str, float]:
        """The loss and the metrics of compile over all rows, by name.

        X, y: as for fit; a source of chunks without y.

        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse", ["mae"])
        >>> model.evaluate([[1.0], [2.0]], [3.0, -1.0])
        {'loss': 5.0, 'mae': 2.0}
        """
        n_threads = arguments.threads(n_threads)
        feed = self.inputs.feed(X, y, sample_weight)
        return evaluate(self._trainer_for(feed.first.X.shape[1]), feed, n_threads)

    def summary(self) -> str:
        """A table of the layers, their output shapes and parameters.

        >>> print(Sequential([Dense(4, "relu"), Dense(1)], input_size=2).summary())
        layer               output shape  parameters
        Dense(4, relu)      (n, 4)                12
        Dense(1, identity)  (n, 1)                 5
        total                                     17
        """
        return summary(self._blocks, self._input_size)

    # ---------------------------------------------------------------- weights and files

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer.

        Dense: kernel (in, out) and, with use_bias, bias (out,). BatchNorm: gamma, beta, moving_mean, moving_variance.
        LayerNorm: gamma, beta. ColumnEmbedding: its tables (codes, dimension), by column. Residual: those of its layers
        and, where it has a projection, its kernel.
        Raises ValueError where the input size is not known yet.
        """
        return self.require_engine("get_weights").get_weights()

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights by copies of these, in the order and shapes of get_weights; the optimizer's state stays.

        Raises TypeError or ValueError, before anything changed, for another number of arrays, another shape, and
        for what is no finite number, or a negative moving variance.

        >>> model = Sequential([Dense(1)], input_size=2)
        >>> model.set_weights([[[1.0], [2.0]], [3.0]])
        >>> model.predict([[10.0, 100.0]])
        array([[213.]], dtype=float32)
        """
        engine = self.require_engine("set_weights")
        wanted = parameters(self._blocks)
        values = arrays.arrays(weights, [(p.name, p.shape) for p in wanted], self._dtype, "weights")
        check_statistics(wanted, values)
        engine.set_weights(values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file: weights, layers, optimizer with its state, counters, metadata.

        The format is safetensors. A crash or a full disk leaves the old file or the new one, whole. Functions cannot be
        written: a CustomLoss or CustomActivation is saved as its name, for load to find among its custom_objects, a
        learning rate computed by one as its value now, with a warning, and initializers of your own, whose work is
        done, as the default. Adam's states are in fastbp's own form, m / (1 - beta_1) and
        v / (1 - beta_2).
        Raises ValueError where the input size is not known yet, OSError where the file cannot be written.
        """
        self.require_engine("save")
        checkpoint.write(path, to_contents(self.snapshot()))

    def averaged(self) -> Sequential:
        """A copy with the average of the weights that an optimizer with use_ema keeps; statistics are as they are.

        It is compiled as this model is, and its training would start anew. Before the first update the average is 0.
        Raises ValueError where no average is kept.

        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile(SGD(0.25, use_ema=True, ema_momentum=0.5), "mse")
        >>> _ = model.train_on_batch([[1.0]], [[1.0]]), model.train_on_batch([[1.0]], [[1.0]])
        >>> model.get_weights()[0], model.averaged().get_weights()[0]
        (array([[0.5]], dtype=float32), array([[0.5]], dtype=float32))

        Polyak and Juditsky 1992. Keras puts the average into the model itself when fit ends.
        """
        if not self.optimizer.update_spec.ema_momentum:
            raise ValueError("averaged needs an average, but the optimizer keeps none: compile with use_ema=True")
        snapshot = self.snapshot()
        wanted = parameters(blocks_of(self._layers, self.require_engine("averaged").input_size))
        average = iter(snapshot.states[self.optimizer.n_states])
        weights = [old if p.statistic else next(average) for p, old in zip(wanted, snapshot.weights, strict=True)]
        copy = Sequential.from_snapshot(snapshot._replace(weights=weights, arguments=None, states=[]))
        copy.compile(self.optimizer, self.loss, self.metrics)
        return copy

    # ---------------------------------------------------------------- what it is made of

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; setting it changes that of all steps to come.

        A schedule is then multiplied by what makes its value now the one that was set. Compiling again undoes it.

        >>> model = Sequential([Dense(1)], input_size=1)
        >>> model.compile(SGD(0.5), "mse")
        >>> model.learning_rate /= 10
        >>> model.learning_rate
        0.05
        """
        return self.trainer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.trainer.learning_rate = value

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (pickles.to_state(self.snapshot()),)  # for copies and other processes

    def __repr__(self) -> str:
        given = f"input_size={self._input_size}, seed={self._seed}, dtype={self._dtype.name!r}"
        return f"Sequential({list(self._layers)!r}, {given})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary, and how it is trained."""
        header, *rows = summary_rows(self._blocks, self._input_size)
        how = f"{self.optimizer!r}, loss {self.loss.name}" if self.compiled else "not compiled"
        note = f"{how}; {self._dtype.name}, seed {self._seed}"
        return table(header, rows, caption="Sequential", notes=[note], left=2)

    def _trainer_for(self, width: int) -> Trainer:
        """The trainer, built where this is the first X."""
        self.build(width)
        assert self._trainer is not None  # compile was called: `inputs` has seen to it
        return self._trainer

    def _predict_source(self, source: Any, n_threads: int | None) -> Array:
        def predict(X: Array) -> Array:
            return self.predict(X, n_threads=n_threads)

        outputs = predict_chunks(source, self._input_size, self._dtype, predict)
        return np.concatenate(outputs) if outputs else np.empty((0, self._output_size), self._dtype)


def restored(state: dict[str, Any]) -> Sequential:
    """The model of a pickle."""
    return Sequential.from_snapshot(pickles.snapshot_of(state))
