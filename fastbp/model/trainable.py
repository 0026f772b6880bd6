"""Training a network: compile, fit, single steps and gradients."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import losses, optimizers
from fastbp import metrics as measures
from fastbp.model.network import Network
from fastbp.storage.snapshot import CompileArguments
from fastbp.training import fit
from fastbp.training import mixup as mixing
from fastbp.training.fit_state import Job
from fastbp.training.history import History
from fastbp.training.progress import wanted
from fastbp.training.trainer import Trainer
from fastbp.util import arguments
from fastbp.util.arguments import count
from fastbp.util.types import Array


class _DefaultBatchSize(int):
    """The default of 128. If the user did not pass a batch size, having fewer rows is not an error."""


_BATCH_SIZE = _DefaultBatchSize(128)


class TrainableNetwork(Network):
    """A network with the methods that train it; see `Sequential`."""

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: str | losses.Loss | None = None,
        metrics: Iterable[str | measures.Metric] = (),
    ) -> None:
        """Configure training: the optimizer, the loss and the metrics to report.

        Compiling again resets the optimizer state and keeps the weights.

        Parameters
        ----------
        optimizer : str or Optimizer, default "adam"
            A name such as "sgd", "adam" or "adamw", or an object such as ``Adam(1e-3)``.
        loss : str or Loss
            "mse", "cross_entropy" (class labels or rows of probabilities; last activation softmax, or identity for
            logits), "binary_cross_entropy" (sigmoid or identity), another name or object of `fastbp.losses`, or a
            `CustomLoss`.
        metrics : iterable of str or Metric, optional
            Of "accuracy", "top_k_accuracy", "precision", "recall", "f1", "balanced_accuracy", "auc",
            "average_precision", "log_loss", "mae", "rmse", "mape" and "r2".

        Raises
        ------
        ValueError
            For unknown names, for a loss that does not match the last activation or the number of outputs, and for
            "log_loss" of outputs that are no probabilities.
        RuntimeError
            If a callback calls it in the middle of a fit.

        Warns
        -----
        UserWarning
            If the only output is a softmax, which is always 1.

        Notes
        -----
        Whatever is raised, the model is as before, or compiled with the new arguments.

        Examples
        --------
        >>> Sequential([Dense(3, "softmax")]).compile("adam", "cross_entropy", ["accuracy"])
        """
        self.refuse_in_fit("compile")
        if loss is None:
            raise TypeError(f"compile needs a loss, got none: pass loss= one of {', '.join(losses.NAMES)}")
        chosen = CompileArguments(optimizers.get(optimizer), losses.get(loss), measures.get_all(metrics))
        activation = self._blocks[-1].activation.name
        measures.check_outputs(chosen.metrics, chosen.loss.name, activation)
        self._set_arguments(chosen)
        if self._output_size == 1 and (activation == "softmax" or chosen.loss.targets == "classes"):
            warnings.warn(
                "a softmax of one unit is always 1, so the network learns nothing: give the last layer a unit for each "
                "class, or use one unit with 'sigmoid' and the loss 'binary_cross_entropy'",
                stacklevel=2,
            )

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
        drop_last: bool = False,
    ) -> History:
        """Train for a number of epochs, in batches shuffled by the seed and the epoch number.

        Parameters
        ----------
        X : array-like, sparse matrix or source of chunks
            Features (n, input_size): an array, a CPU tensor, or a table of pandas, polars or pyarrow. A C-contiguous
            array of the model's dtype is not copied. A scipy.sparse matrix stays sparse: if a Dense comes first, zeros
            cost nothing, and SGD without weight decay and momentum updates only the weights of features in the batch.
            Without y, a source of chunks (X, y) or (X, y, sample_weight): one of `fastbp.sources`, a list, any
            re-iterable such as a torch DataLoader, or a function that returns an iterator. The columns of a table must
            have the names, in the order, of the first one it was trained on; arrays go by position.
        y : array-like, optional
            Targets (n, outputs), or (n,) for one output or class labels.
        batch_size : int, default 128
            Rows per step.
        epochs : int, default 1
            Passes over the data. Calling fit twice for one epoch equals once for two.
        validation_data : tuple or source, optional
            (X, y), (X, y, sample_weight) or a source of such chunks.
        validation_split : float, default 0
            Fraction of the rows, taken from the end before shuffling, to validate on.
        sample_weight : array-like (n,), optional
            Weights w of the rows; a batch's loss is Σ w l / Σ w.
        class_weight : dict, optional
            {class: weight}.
        shuffle : bool, default True
            Whether to shuffle the rows every epoch.
        callbacks : iterable, optional
            Of `fastbp.callbacks`, or any objects with methods such as ``on_epoch_end(epoch, logs)``.
        verbose : "auto" or int, default "auto"
            0: nothing; 1: a progress bar; 2: a line per epoch; a larger number: a line every so many epochs. "auto":
            a bar on a terminal and in a notebook, a line every few seconds elsewhere. All go to standard error.
        n_threads : int, optional
            Maximum number of threads; by default as many as are worthwhile.
        resume_from : str or path-like, optional
            File of the callback `BackupAndRestore`. An interrupted fit of the same data and arguments continues from
            it, bit for bit. If the file does not exist, training starts from the beginning.
        time_limit : float, optional
            Seconds after which training stops (checked about every 0.1 s); compilation on a fresh machine does not
            count.
        mixup : float, default 0
            Alpha of the Beta distribution from which every step draws how to blend pairs of rows and their targets; 0
            for none. Training metrics then compare outputs with the original targets.
        shuffle_window : int, optional
            Rows per window of a source, by default as many as 64 MiB hold; two windows are held at a time. Rows are
            shuffled within windows, and chunks that can be read in any order are read in random order. If one window
            holds all rows, or with ``shuffle=False``, the result has the same bits as for arrays.
        drop_last : bool, default False
            Whether an epoch leaves out its last rows where they do not fill a batch, as PyTorch's DataLoader can; all
            rows are one batch if there are no more. Of a source, a window of less than a batch is one, too.

        Returns
        -------
        History
            Loss and metrics per epoch: means over its steps, each computed before the update.

        Raises
        ------
        TypeError, ValueError
            For invalid data or arguments, or if they differ from those of the fit to resume; nothing has changed then.
            ValueError also if a callback or another thread changes labels, category codes or a sparse matrix so that
            they are out of range; the weights are those of the last finished step.
        RuntimeError
            If a callback of this model's fit calls it.
        CheckpointError
            If the file to resume from is damaged.

        Warns
        -----
        DivergenceWarning
            If the loss or a weight would no longer be finite; training stops.

        Notes
        -----
        As Keras's fit. After Ctrl-C the weights are those of a finished step. Callbacks may predict, evaluate, save,
        set weights and the learning rate, and train_on_batch, whose steps come in between.

        References
        ----------
        Goodfellow et al. 2016, section 8.1.3; Zhang et al. 2018 (mixup).

        Examples
        --------
        >>> model = Sequential([Dense(1)])
        >>> model.compile(SGD(0.1), "mse")
        >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=500)
        >>> model.predict([[2.0]]).round(2)
        array([[5.]], dtype=float32)
        """
        self.refuse_in_fit("fit")
        with self.turns.fit():
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
                arguments.flag(drop_last, "drop_last"),
            )
            trainer = self._trainer_for(feed.first.X.shape[1])
            self.name_features(feed.names)
            return fit.fit(trainer, job, self)

    def train_on_batch(self, X: Any, y: Any, *, sample_weight: Any = None) -> float:
        """Make one training step on these rows.

        Called with one row at a time this is online learning.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, with any number of rows.

        Returns
        -------
        float
            The loss of the batch before the update.

        Examples
        --------
        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.train_on_batch([[1.0]], [[3.0]])
        9.0
        """
        turns, trainer = self.turns, self._trainer
        if trainer is not None and trainer.again is not None and sample_weight is None:
            with turns.state:
                alone = turns.owner is None and not turns.torn and trainer is self._trainer
                made = trainer.again(X, y) if alone else None
            if made is not None:
                if made[0].status:
                    trainer.warn(made[0], stacklevel=2)
                return made[1]
        if trainer is not None and not trainer.warm:
            trainer.warm_up()
        with turns.state:
            if turns.owner is not None or turns.torn:
                turns.wait()
            rows = self.inputs.rows(X, y, sample_weight)
            trainer = self._trainer or self._trainer_for(rows.X.shape[1])
            if self._feature_names is None and type(X) is not np.ndarray:
                self.name_features(self.inputs.named_after(X).feature_names)
            report, loss = trainer.step_on(rows)
        if report.status:
            trainer.warn(report, stacklevel=2)
        return loss

    def gradients(self, X: Any, y: Any, *, sample_weight: Any = None) -> list[Array | None]:
        """Compute the gradients of the training loss over these rows; nothing is changed.

        The loss includes penalties and uses batch statistics and the dropout masks of the next step.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        list of ndarray or None
            In the order of `get_weights`; None for BatchNorm's moving statistics.

        References
        ----------
        Goodfellow et al. 2016, algorithm 6.4.

        Examples
        --------
        >>> model = Sequential([Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.gradients([[1.0]], [[3.0]])
        [array([[-6.]], dtype=float32), array([-6.], dtype=float32)]
        """
        if self._trainer is not None:
            self._trainer.warm_up()
        with self.turns.state:
            self.turns.check()
            rows = self.inputs.rows(X, y, sample_weight)
            engine = self._trainer_for(rows.X.shape[1]).engine
            return list(engine.gradients(rows.X, rows.y, sample_weight=rows.weight)[1])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; setting it changes that of all later steps.

        A schedule is scaled so that its current value becomes the one set. Compiling again resets it.

        Examples
        --------
        >>> model = Sequential([Dense(1)], input_size=1)
        >>> model.compile(SGD(0.5), "mse")
        >>> model.learning_rate /= 10
        >>> model.learning_rate
        0.05
        """
        return self.trainer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        with self.turns.state:
            self.turns.wait()
            self.trainer.learning_rate = value

    def _trainer_for(self, width: int) -> Trainer:
        """The trainer, built now if this is the first X."""
        self.build(width)
        assert self._trainer is not None  # compile was called: `inputs` has seen to it
        return self._trainer
