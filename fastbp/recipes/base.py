"""The shared base of estimators on tables: raw rows to features, members to train, their predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from threading import Event
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp.callbacks import EarlyStopping
from fastbp.estimators.checked_data import refuse_masked
from fastbp.layers import Layer
from fastbp.losses import Loss
from fastbp.model.sequential import Sequential
from fastbp.optimizers import Optimizer
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.preprocessing.targets import Targets
from fastbp.recipes.members import Shared, Split, splits, train_all
from fastbp.recipes.scoring import Features, Scoring, StopOnEvent
from fastbp.tables.columns import Columns, columns_of
from fastbp.training.progress import steps_bar
from fastbp.util.types import Array

COUNT = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="left")


class Rows(NamedTuple):
    """Rows of a table, y as the networks learn it, and weights or None."""

    table: Columns
    y: Array
    weight: Array | None

    def take(self, rows: Array) -> Rows:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.table.take(rows), self.y[rows], weight)


class Member(NamedTuple):
    """A trained network with the preprocessor of its training rows; what was held out from it, and its epochs."""

    preprocessor: Preprocessor
    model: Sequential
    held: Array | None
    best_epoch: int | None
    history: dict[str, list[float]]


class Inputs(NamedTuple):
    """Rows as a network takes them."""

    X: Array
    y: Array
    weight: Array | None


class Prepared(NamedTuple):
    """What the members of a split share: its preprocessor, the rows to train and to validate on, and the latter as they
    were given, with their numbers among all rows if they were taken from these."""

    preprocessor: Preprocessor
    train: Inputs
    validation: Inputs | None
    held: Rows | None
    held_rows: Array | None


class TableEstimator(BaseEstimator, ABC):
    """Fits a preprocessor and a network, or several, on raw tables; recipes say which.

    Nothing of the estimator changes before a fit has ended, since a copy of it is fitted.
    """

    members_: tuple[Member, ...]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_epochs": [COUNT],
        "batch_size": [COUNT],
        "validation_fraction": [SHARE],
        "n_ensembles": [COUNT],
        "n_folds": [None, Interval(Integral, 2, None, closed="left")],
        "scoring": [None, str, callable],
        "patience": [None, COUNT],
        "time_limit": [None, POSITIVE],
        "random_state": ["random_state"],
        "callbacks": [None, list, tuple],
        "progress": ["boolean"],
        "n_threads": [None, COUNT],
    }

    # ---------------------------------------------------------------- what recipes implement

    @abstractmethod
    def _preprocessor(self) -> Preprocessor:
        """What makes features of the columns."""

    @abstractmethod
    def _layers(self, preprocessor: Preprocessor, outputs: int, steps: int) -> list[Layer]:
        """The network for the features of a fitted preprocessor, trained by so many updates."""

    def _initialize(self, model: Sequential, X: Array, seed: int, threads: int | None) -> None:
        """Change its first weights, as those drawn by its layers."""

    @abstractmethod
    def _optimizer(self, steps: int) -> Optimizer:
        """What trains it, for so many updates."""

    # ---------------------------------------------------------------- what tasks implement

    @abstractmethod
    def _learn_targets(self, y: Array) -> Targets:
        """What is learnt of the targets of all rows, and the attributes that tell it."""

    @abstractmethod
    def _checked_targets(self, y: Any, name: str) -> Array:
        """y as an array, checked."""

    @abstractmethod
    def _coded(self, y: Array, targets: Targets) -> Array:
        """y as a network learns it."""

    @abstractmethod
    def _member_targets(self, y: Array, targets: Targets, clamp: bool) -> Targets:
        """The targets of a member that is trained on these; clamp: whether they have bounds."""

    @abstractmethod
    def _loss(self) -> Loss:
        """What the networks minimize."""

    def _finish(self, model: Sequential, X: Array, y: Array, weight: Array | None = None) -> None:
        """Change a trained network by the rows held out."""

    def _compare(self, given: Rows, used: Array, held: Rows | None) -> None:
        """Keep what the networks, once all are trained, miss on the rows that they did not see."""

    @abstractmethod
    def _strata(self, y: Array) -> Array | None:
        """What a split keeps the shares of."""

    @abstractmethod
    def _selection(self) -> tuple[list[str], str]:
        """Metrics, and the name of the one that the best epoch is chosen by."""

    # ---------------------------------------------------------------- fitting

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on a raw table.

        Parameters
        ----------
        X : table (n, columns)
            An array, a dict of columns or a DataFrame, with numbers, strings, dates and missing values, as
            `fastbp.Preprocessor` reads them.
        y : array-like (n,) or (n, outputs)
            Targets.
        sample_weight : array-like (n,), optional
            Weights of the rows, not negative.
        X_val, y_val, sample_weight_val : optional
            Rows to choose the best epoch by, instead of validation_fraction of X.

        Returns
        -------
        self
            The fitted estimator; after an error, or Ctrl-C, it is as it was before.
        """
        self._validate_params()
        result = self._copied()
        result._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        gone = self.__dict__.keys() - result.__dict__.keys()
        self.__dict__.update(result.__dict__)
        for name in gone:
            del self.__dict__[name]
        return self

    def _copied(self) -> Self:
        """Another estimator with the same attributes."""
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__)
        return result

    def _fit(self, X: Any, y: Any, weight: Any, held_out: tuple[Any, Any, Any]) -> None:
        given, targets = self._checked(X, y, weight, None)
        held = None
        if any(each is not None for each in held_out):
            if held_out[0] is None or held_out[1] is None:
                raise ValueError("X_val and y_val must both be given, or none of them, nor sample_weight_val")
            if self.n_folds is not None:
                raise ValueError("n_folds holds out rows of its own: leave out X_val and y_val, or n_folds")
            held, _ = self._checked(*held_out, targets, "_val")
        several = (self.n_folds or 1) * self.n_ensembles
        if self.callbacks and several > 1:
            raise ValueError(f"callbacks see one network, but there are {several}: leave out n_ensembles and n_folds")
        random_state = check_random_state(self.random_state)
        drawn = random_state.randint(np.iinfo(np.int32).max, size=1 + several)
        used = np.arange(given.table.rows) if given.weight is None else np.flatnonzero(given.weight)
        parts = [Split(used, None)]
        if held is None:
            strata = self._strata(given.y[used])
            found = splits(len(used), self.validation_fraction, self.n_folds or 1, strata, int(drawn[0]))
            parts = [Split(used[each.train], None if each.held is None else used[each.held]) for each in found]
        if held is None and parts[0].held is None and (self.scoring is not None or self.patience is not None):
            raise ValueError("scoring and patience need rows held out: pass a validation_fraction above 0, or X_val")

        def job(shared: Shared[Prepared], seed: int) -> Any:
            return lambda threads, stop: self._train(shared.take(), seed, threads, stop)

        seeds, jobs = iter(drawn[1:].tolist()), []
        for part in parts:
            shared = Shared(partial(self._prepared, given, held, part, targets), self.n_ensembles)
            jobs += [job(shared, next(seeds)) for _ in range(self.n_ensembles)]
        with steps_bar(several, "members", self.progress and several > 1) as done:
            self.members_ = tuple(train_all(jobs, self.n_threads, done))
        self.__dict__.pop("out_of_fold_", None)
        if self.n_folds is not None:
            self.out_of_fold_ = self._out_of_fold(given.table, used)
        self._compare(given, used, held)

    def _checked(
        self, X: Any, y: Any, weight: Any, targets: Targets | None, end: str = ""
    ) -> tuple[Rows, Targets]:
        """Validated rows, and what is known of their targets."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            )
        refuse_masked(**{"X" + end: X, "y" + end: y})
        table = self._table(X, targets is None, end)
        values = self._checked_targets(y, "y" + end)
        check_consistent_length(table.arrays[0], values)
        if weight is not None:
            weight = _check_sample_weight(weight, table.arrays[0], dtype=np.float32, ensure_non_negative=True)
        if targets is None:
            targets = self._learn_targets(values)
        weight = self._weighed(values, weight)
        if weight is not None and not weight.any():
            raise ValueError(f"sample_weight{end} must not be 0 for all rows: pass a positive weight for some")
        return Rows(table, values, weight), targets

    def _weighed(self, y: Array, weight: Array | None) -> Array | None:
        """Weights of the rows, those of their classes included."""
        return weight

    def _table(self, X: Any, first: bool, end: str = "") -> Columns:
        """X as columns; first: they are learnt, else compared with those learnt."""
        if isinstance(X, Mapping) and not hasattr(X, "toarray"):
            table = columns_of(X, "X" + end)
            names = np.array(table.names, object)
            if first:
                self.feature_names_in_, self.n_features_in_ = names, len(names)
            elif list(getattr(self, "feature_names_in_", names)) != list(names):
                raise ValueError(f"X{end} must have the columns {list(self.feature_names_in_)}, got {list(names)}")
            return table
        if hasattr(X, "toarray") or (hasattr(X, "__array__") and not hasattr(X, "columns")):
            X = check_array(X, dtype=None, ensure_all_finite=False, input_name="X" + end, estimator=self)
        validate_data(self, X, reset=first, skip_check_array=True)
        return columns_of(X, "X" + end)

    def _prepared(self, given: Rows, held: Rows | None, part: Split, targets: Targets) -> Prepared:
        """What the members of a split have in common."""
        rows = given.take(part.train)
        held = held if part.held is None else given.take(part.held)
        preprocessor = self._preprocessor()
        own = self._member_targets(rows.y, targets, preprocessor.clamp_targets)
        preprocessor.learn(rows.table, own)
        X = preprocessor.transform(rows.table)
        train = Inputs(X, self._coded(rows.y, own), rows.weight)
        if held is None:
            return Prepared(preprocessor, train, None, None, None)
        X_val = preprocessor.transform(held.table)
        return Prepared(preprocessor, train, Inputs(X_val, self._coded(held.y, own), held.weight), held, part.held)

    def _train(self, prepared: Prepared, seed: int, threads: int | None, stop: Event) -> Member:
        """Train one network; its result depends on its rows and seed alone."""
        preprocessor, (features, y, weight), held = prepared.preprocessor, prepared.train, prepared.validation
        outputs = preprocessor.n_outputs
        batch_size = min(self.batch_size, len(features))
        metrics, monitor = self._selection()
        steps = self.n_epochs * (len(features) // batch_size)
        model = Sequential(self._layers(preprocessor, outputs, steps), input_size=features.shape[1], seed=seed)
        self._initialize(model, features, seed, threads)
        model.compile(self._optimizer(steps), self._loss(), metrics)
        model.metadata |= preprocessor.to_metadata()
        callbacks: list[Any] = [*(self.callbacks or ()), StopOnEvent(stop)]
        best = None
        if held is not None:
            if self.scoring is not None:  # before those of the user, who see its score
                alone = self._alone(preprocessor, model, threads)
                callbacks.insert(0, Scoring(alone, self.scoring, Features(held.X), prepared.held))
                monitor = "score"
            best = EarlyStopping(
                f"val_{monitor}", patience=self.patience or self.n_epochs, restore_best_weights=True, ties="last"
            )
            callbacks.append(best)
        validation = held if held is None or held.weight is not None else held[:2]
        history = model.fit(
            features, y, sample_weight=weight, validation_data=validation,
            batch_size=batch_size, epochs=self.n_epochs, drop_last=True, callbacks=callbacks,
            verbose=int(self.progress and self.n_ensembles == 1 and self.n_folds is None), n_threads=threads,
            time_limit=self.time_limit,
        )  # fmt: skip
        if held is not None:
            self._finish(model, *held)
        last = len(history.epoch) - 1
        best_epoch = None if last < 0 else last if best is None else best.best_epoch
        return Member(preprocessor, model, prepared.held_rows, best_epoch, dict(history.history))

    def _out_of_fold(self, table: Columns, used: Array) -> Array:
        """For each row the mean over the members that did not see it: all of them, if its weight was 0."""
        total: Any = None
        unused = np.setdiff1d(np.arange(table.rows), used)
        for member in self.members_:
            for rows, count in ((member.held, self.n_ensembles), (unused, len(self.members_))):
                if rows is not None and len(rows):
                    outputs = self._output(member, member.preprocessor.transform(table.take(rows)))
                    total = np.zeros((table.rows, *outputs.shape[1:])) if total is None else total
                    total[rows] += outputs / count
        return np.asarray(total)

    def _alone(self, preprocessor: Preprocessor, model: Sequential, threads: int | None) -> Self:
        """This estimator with one member, and without names of columns: for scorers."""
        result = self._copied()
        result.__dict__.pop("feature_names_in_", None)
        result.n_threads = threads
        result.members_ = (Member(preprocessor, model, None, 0, {}),)
        return result

    # ---------------------------------------------------------------- prediction

    @property
    def model_(self) -> Sequential:
        """The network, the first one if there are several; `Sequential.save` writes it with its preprocessor."""
        return self._fitted()[0].model

    @property
    def preprocessor_(self) -> Preprocessor:
        """What makes the features of `model_`."""
        return self._fitted()[0].preprocessor

    def _fitted(self) -> tuple[Member, ...]:
        check_is_fitted(self)
        return self.members_

    def _of_members(self, X: Any) -> Iterable[Array]:
        """What each member makes of X."""
        members = self._fitted()
        if isinstance(X, Features):
            yield self._output(members[0], X.values)
            return
        refuse_masked(X=X)
        table, known = self._table(X, False), None
        for member in members:
            if member.preprocessor is not known:  # which the members of a split share
                known, features = member.preprocessor, member.preprocessor.transform(table)
            yield self._output(member, features)

    def _output(self, member: Member, features: Array) -> Array:
        outputs: Array = member.model.predict(features, n_threads=self.n_threads)
        return self._in_units(outputs, member.preprocessor)

    def _in_units(self, outputs: Array, preprocessor: Preprocessor) -> Array:
        """Outputs of a network as probabilities, or in units of y."""
        return outputs

    def _mean(self, members: Iterable[Array]) -> Array:
        """The mean over what each member says, added in their order, in float64 if there are several."""
        each = iter(members)
        total = next(each)
        if len(self.members_) == 1:
            return total
        total = total.astype(np.float64)
        for outputs in each:
            total += outputs
        return total / len(self.members_)

    def __sklearn_is_fitted__(self) -> bool:
        return "members_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags
