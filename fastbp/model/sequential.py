"""`Sequential`, the model that users build, train, evaluate and save."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.data import arrays
from fastbp.data.batch_schedule import chunks
from fastbp.data.inputs import features, predict_chunks
from fastbp.data.streams import is_source
from fastbp.layers.base import Layer
from fastbp.layers.graph import blocks_of, check_statistics, parameters
from fastbp.layers.summary import summary, summary_rows
from fastbp.model.trainable import TrainableNetwork
from fastbp.storage import checkpoint, pickles
from fastbp.storage.snapshot import to_contents
from fastbp.training.trainer import evaluate
from fastbp.util import arguments
from fastbp.util.html_table import table
from fastbp.util.types import Array

_ONE_CALL = 1 << 24  # multiply-adds up to which predict runs in one call


class Sequential(TrainableNetwork):
    """A multilayer perceptron: a stack of layers.

    Parameters
    ----------
    layers : iterable of Layer
        From input to output, at least one a `Dense`; a `ColumnEmbedding` must be the first.
    input_size : int, optional
        Number of features. Inferred from the first X if not given.
    seed : int, default 0
        Seed of initial weights, shuffling, dropout and noise. One seed gives the same bits on any number of threads.
    dtype : {"float32", "float64"}, default "float32"
        Data type of weights and computations.
    compute : {"float32", "bfloat16", "bfloat16x3", "auto"}, default "float32"
        How products of dense layers are computed: on operands of float32, rounded to bfloat16, or as sums of two
        bfloat16 each, nearly as exact as float32. Weights, sums and all else stay float32. "auto" takes float32 or
        bfloat16, whichever a few trial steps show to be faster, when training begins.

    Attributes
    ----------
    metadata : dict of str to str
        Your own strings, kept by `save` and `load`.
    feature_names : tuple of str or None
        Names of the columns of the first frame it was trained on; later frames must have the same in the same order.
    stop_training : bool
        Set it to True in a callback to stop `fit`.

    Raises
    ------
    TypeError, ValueError
        If layers is not a list of layers, or a number is out of range; ValueError if this machine cannot compute so.

    Notes
    -----
    Names as in Keras's Sequential; defaults and formulas as in PyTorch.

    References
    ----------
    Goodfellow et al. 2016, chapter 6.

    Examples
    --------
    >>> model = Sequential([Dense(4, "tanh"), Dense(1, "sigmoid")], input_size=2)
    >>> model.predict([[0.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        input_size: int | None = None,
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        compute: str = "float32",
    ) -> None:
        super().__init__(layers, input_size, seed, dtype, compute)

    # ---------------------------------------------------------------- prediction

    def predict(self, X: Any, *, n_threads: int | None = None) -> Array:
        """Compute the outputs for X; a row gives the same bits in any X.

        Parameters
        ----------
        X : array-like, sparse matrix or source of chunks
            Features (n, input_size), as in `fit`; chunks of a source may be X alone.
        n_threads : int, optional
            Maximum number of threads.

        Returns
        -------
        ndarray (n, outputs)
            The outputs after the last activation.

        Examples
        --------
        >>> Sequential([Dense(2, kernel_initializer="zeros")]).predict([[1.0, 2.0, 3.0]])
        array([[0., 0.]], dtype=float32)
        """
        if type(X) is not np.ndarray and is_source(X):
            return self._predict_source(X, n_threads)
        rows = features(X, self._input_size, self._dtype, self._layers[0], "X", self._feature_names)
        engine = self._engine or self.build(rows.shape[1])
        if n_threads is not None:
            n_threads = arguments.threads(n_threads)
        self.turns.check()
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
        """Compute the loss and the metrics over all rows.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; a source of chunks without y.
        n_threads : int, optional
            Maximum number of threads.

        Returns
        -------
        dict of str to float
            "loss" and each metric by name.

        Examples
        --------
        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse", ["mae"])
        >>> model.evaluate([[1.0], [2.0]], [3.0, -1.0])
        {'loss': 5.0, 'mae': 2.0}
        """
        n_threads = arguments.threads(n_threads)
        trainer = self._trainer  # before the targets are converted: it knows if they do not fit any more
        feed = self.inputs.feed(X, y, sample_weight)
        return evaluate(trainer or self._trainer_for(feed.first.X.shape[1]), feed, n_threads)

    def summary(self) -> str:
        """Table of the layers, their output shapes and parameter counts.

        Examples
        --------
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

        Dense: kernel (in, out) and, with use_bias, bias (out,). ColumnEmbedding: its tables (codes, dimension), by
        column. Residual: the weights of its layers, then the kernel of its projection, if any. Others: arrays (units,),
        such as gamma and beta, in the order in which the notes of the layer list them.

        Raises
        ------
        ValueError
            If the input size is not known yet.
        """
        engine = self.require_engine("get_weights")
        with self.turns.state:
            self.turns.check()
            return engine.get_weights()

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights by copies of these arrays; the optimizer state is kept.

        Parameters
        ----------
        weights : list of array-like
            In the order and shapes of `get_weights`.

        Raises
        ------
        TypeError, ValueError
            For a wrong number of arrays, wrong shapes, values that are not finite, or negative moving variances.
            Nothing has changed then.

        Examples
        --------
        >>> model = Sequential([Dense(1)], input_size=2)
        >>> model.set_weights([[[1.0], [2.0]], [3.0]])
        >>> model.predict([[10.0, 100.0]])
        array([[213.]], dtype=float32)
        """
        engine = self.require_engine("set_weights")
        wanted = parameters(self._blocks)
        values = arrays.arrays(weights, [(p.name, p.shape) for p in wanted], self._dtype, "weights")
        check_statistics(wanted, values)
        with self.turns.state:
            self.turns.wait()
            engine.set_weights(values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a safetensors file: weights, layers, optimizer and its state, counters, metadata.

        The write is atomic: after a crash or on a full disk there is either the old file or the new one.

        Parameters
        ----------
        path : str or path-like
            The file to write.

        Raises
        ------
        ValueError
            If the input size is not known yet.
        OSError
            If the file cannot be written.

        See Also
        --------
        fastbp.load : Reads the file.

        Notes
        -----
        Functions cannot be saved. A CustomLoss or CustomActivation is saved as its name, which `load` looks up in its
        custom_objects; a learning rate computed by a function as its current value, with a warning; custom
        initializers, which are not needed any more, as the default. Adam's states are saved as fastbp keeps them, m /
        (1 - beta_1) and v / (1 - beta_2).
        """
        self.require_engine("save")
        checkpoint.write(path, to_contents(self.snapshot()))

    def averaged(self) -> Sequential:
        """Copy of the model with the averaged weights of an optimizer with use_ema; moving statistics are unchanged.

        The copy is compiled as this model is, with a fresh optimizer state. Before the first update the average is 0.

        Returns
        -------
        Sequential
            The copy.

        Raises
        ------
        ValueError
            If the optimizer keeps no average.

        Notes
        -----
        Keras overwrites the model's weights by the average when fit ends.

        References
        ----------
        Polyak and Juditsky 1992.

        Examples
        --------
        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile(SGD(0.25, use_ema=True, ema_momentum=0.5), "mse")
        >>> _ = model.train_on_batch([[1.0]], [[1.0]]), model.train_on_batch([[1.0]], [[1.0]])
        >>> model.get_weights()[0], model.averaged().get_weights()[0]
        (array([[0.5]], dtype=float32), array([[0.5]], dtype=float32))
        """
        if not self.optimizer.update_spec.ema_momentum:
            raise ValueError("averaged needs an average, which the optimizer does not keep: compile with use_ema=True")
        snapshot = self.snapshot()
        wanted = parameters(blocks_of(self._layers, self.require_engine("averaged").input_size))
        average = iter(snapshot.states[self.optimizer.n_states])
        weights = [old if p.statistic else next(average) for p, old in zip(wanted, snapshot.weights, strict=True)]
        copy = Sequential.from_snapshot(snapshot._replace(weights=weights, arguments=None, states=[]))
        copy.compile(self.optimizer, self.loss, self.metrics)
        return copy

    # ---------------------------------------------------------------- pickling and display

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (pickles.to_state(self.snapshot()),)  # for copies and other processes

    def __repr__(self) -> str:
        return self.summary()  # layers in full would be a paragraph each

    def _repr_html_(self) -> str:
        """Shown in notebooks: the summary, and how the model is trained."""
        header, *rows = summary_rows(self._blocks, self._input_size)
        how = f"{self.optimizer!r}, loss {self.loss.name}" if self.compiled else "not compiled"
        note = f"{how}; {self._dtype.name}, seed {self._seed}"
        return table(header, rows, caption="Sequential", notes=[note], left=2)

    def _predict_source(self, source: Any, n_threads: int | None) -> Array:
        def predict(X: Array) -> Array:
            return self.predict(X, n_threads=n_threads)

        outputs = predict_chunks(source, self._input_size, self._dtype, self._feature_names, predict)
        return np.concatenate(outputs) if outputs else np.empty((0, self._output_size), self._dtype)


def restored(state: dict[str, Any]) -> Sequential:
    """A model from the state in a pickle."""
    return Sequential.from_snapshot(pickles.snapshot_of(state))
