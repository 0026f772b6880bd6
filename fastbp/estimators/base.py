"""The shared base of classifier and regressor: fitting, prediction, pickling."""

from __future__ import annotations

import dataclasses
import inspect
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp import optimizers
from fastbp.data import csr
from fastbp.data.arrays import Rows
from fastbp.estimators import architecture, parameters
from fastbp.estimators.architecture import OutputDesign
from fastbp.estimators.checked_data import DTYPES, CheckedData, Given, refuse_masked
from fastbp.estimators.epochs import Epochs, Rules, takes_penalty
from fastbp.estimators.lbfgs import Objective, minimize
from fastbp.estimators.stochastic import Stochastic
from fastbp.estimators.validation import HeldOutRows, Validation, deviance_constants
from fastbp.estimators.weights import Weights
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array
from fastbp.util.version import __version__

_ALMOST_1 = 1 - 2.0**-52  # for a momentum of 1, which scikit-learn allows


class BaseMLP(CheckedData, Weights, BaseEstimator, ABC):
    """Base of the two estimators, with scikit-learn's names, so that users and its tools find them."""

    best_loss_: float | None
    _parameter_constraints = parameters.CONSTRAINTS

    # ---------------------------------------------------------------- what subclasses implement

    @abstractmethod
    def _design(self, y: Array) -> OutputDesign:
        """The output layer for this y."""

    @abstractmethod
    def _score_outputs(self, outputs: Array, y: Array, weight: Array | None) -> float:
        """Score of the outputs; y in the engine's form."""

    def _strata(self, y: Array) -> Array | None:
        """What to stratify the validation split by."""
        return None

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
        """Train until convergence, or for max_iter epochs.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.
        y : array-like (n,) or (n, outputs)
            Targets.
        sample_weight : array-like (n,), optional
            Weights of the rows, not negative.
        X_val, y_val, sample_weight_val : array-like, optional
            Rows to validate on instead of validation_fraction of X. Without early_stopping they are only evaluated. All
            three can be routed as metadata.

        Returns
        -------
        self
            The fitted estimator.
        """
        with self._turns.fit():
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any],
        incremental: bool,
        classes: Any = None,
    ) -> Any:
        if hasattr(self, "model_"):
            self.model_.refuse_in_fit("fit")
        with self._kept_on_error():
            train = self._prepared(X, y, sample_weight, held_out, incremental, classes)
        if train is not None:
            train()
        return self

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, held_out: tuple[Any, Any, Any], incremental: bool, classes: Any
    ) -> Callable[[], None] | None:
        """A function that trains, once everything is checked; None if there is nothing to train."""
        self._validate_params()
        parameters.check_together(self)
        sizes = architecture.hidden_sizes(self.hidden_layer_sizes)
        has_weights = self.__sklearn_is_fitted__() or "_weight_copies" in self.__dict__  # users may set coefs_
        first = not has_weights or (not self.warm_start and not incremental)
        if incremental and self.early_stopping and held_out[0] is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True without validation rows: pass X_val and y_val"
            )
        given = self._check_data(X, y, sample_weight, first, incremental, classes)
        held = self._check_held_out(held_out)
        random_state = check_random_state(self.random_state)
        dtype = given.X.dtype if first or not hasattr(self, "model_") else self.model_.dtype
        if self.compute not in ("float32", "auto"):  # operands of float32 are rounded
            dtype = np.dtype(np.float32)
        design = self._design(given.y)
        batch_size = min(200 if self.batch_size == "auto" else self.batch_size, given.X.shape[0])
        weight = batch_size * (1.0 if given.weight is None else float(given.weight.mean()) or 1.0)
        self._network(given.X.shape[1], sizes, design, dtype, weight, first, random_state)
        self.n_outputs_, self.out_activation_ = design.units, design.out_activation  # set_params may change the loss
        if hasattr(self, "feature_names_in_"):
            self.model_.name_features(tuple(self.feature_names_in_))
        if self.solver == "lbfgs":
            return self._prepared_lbfgs(given, design)
        return self._prepared_stochastic(given, held, design, random_state, incremental)

    def _network(
        self,
        inputs: int,
        sizes: list[int],
        design: OutputDesign,
        dtype: Any,
        batch_weight: float,
        first: bool,
        random_state: np.random.RandomState,
    ) -> None:
        """Create the model, or reuse the current one, and set the attributes that describe it."""
        given = architecture.each(self.activation, len(sizes), "activation")
        functions = [architecture.activation_of(function) for function in given]
        rates = architecture.each(self.dropout, len(sizes), "dropout")
        named = self.solver in parameters.SGD_AND_ADAM
        own = not named and self.solver != "lbfgs" and not takes_penalty(self._optimizer_object())
        l2 = self.alpha / (2 * design.gradient_scale * batch_weight) if own else 0.0
        layers = architecture.layers_of(sizes, functions, rates, self.batch_norm, design, l2)
        if first:
            units = [inputs, *sizes, design.units]
            names = [function.name for function in functions]
            names.append(names[-1] if names else "")
            kernels, biases = architecture.initial_weights(random_state, units, names, dtype)
            self._reset(len(units))
            seed = int(random_state.randint(np.iinfo(np.int32).max)) if any(rates) else 0
            self.model_ = Sequential(layers, input_size=inputs, seed=seed, dtype=dtype, compute=self.compute)
            self._put(kernels, biases)
            return
        if not hasattr(self, "model_"):  # weights were set, but nothing was trained
            coefs, intercepts = self.coefs_, self.intercepts_
            self._reset(len(sizes) + 2)
            self.model_ = Sequential(layers, input_size=inputs, dtype=dtype, compute=self.compute)
            self._put(coefs, intercepts)
        self._synchronize()
        model = self.model_
        other_loss = model.compiled and design.loss != model.loss
        if tuple(layers) != model.layers or other_loss:
            self._rebuild(layers)
        if other_loss and getattr(self, "best_loss_", None) is not None:  # losses are not comparable
            self.best_loss_ = np.inf
            self._no_improvement_count = 0

    def _rebuild(self, layers: list[Any]) -> None:
        """Rebuild the model with other layers and the same weights, after set_params."""
        old = self.model_
        new = Sequential(layers, input_size=old.input_size, seed=old.seed, dtype=old.dtype, compute=old.compute)
        before, after = ([W.shape for W in model.get_weights()] for model in (old, new))
        if before != after:
            raise ValueError(
                f"warm_start and partial_fit continue with the current weights, of shapes {before}, but the parameters "
                f"now need {after}: keep hidden_layer_sizes and batch_norm, or fit with warm_start=False"
            )
        new.set_weights(old.get_weights())
        self.model_ = new

    def _reset(self, n_layers: int) -> None:
        for name in ("_weight_copies", "_best_weights", "stopped_early_"):
            self.__dict__.pop(name, None)
        self.n_iter_, self.t_ = 0, 0
        self.n_layers_ = n_layers
        if self.solver != "lbfgs":
            self._start_curves()

    def _start_curves(self) -> None:
        """Reset the per-epoch records."""
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_validation_score_: float | None = None

    def _compile(self, design: OutputDesign, batch_size: int, anew: bool) -> None:
        """Compile the model for this solver; anew: with a fresh optimizer state."""
        model, c = self.model_, design.gradient_scale
        if anew or not model.compiled:
            optimizer = self._optimizer_object()
            if takes_penalty(optimizer):
                decay = self.alpha / (c * batch_size)
                optimizer = dataclasses.replace(optimizer, weight_decay=decay, weight_decay_on="kernels")
            model.compile(optimizer, design.loss)
        optimizer, loss = model.optimizer, model.loss
        reported = c / design.loss_scale if optimizer.weight_decay_on == "kernels" and self.alpha else 0.0
        with model.turns.state:
            model.trainer.engine.configure(
                loss.rule, optimizer.rule, loss_parameters=loss.parameters,
                update_spec=optimizer.update_spec._replace(reported_decay=reported),
            )  # fmt: skip

    def _optimizer_object(self) -> optimizers.Optimizer:
        solver, rate = self.solver, self.learning_rate_init
        if isinstance(solver, optimizers.Optimizer):
            return solver
        if solver == "sgd":
            momentum = min(float(self.momentum), _ALMOST_1)
            return optimizers.SGD(rate, momentum=momentum, nesterov=bool(self.nesterovs_momentum) and momentum > 0)
        if solver == "adam":
            return optimizers.Adam(rate, float(self.beta_1), float(self.beta_2), float(self.epsilon))
        make: Any = optimizers.BY_NAME[solver]
        return make(rate)

    def _prepared_stochastic(
        self,
        given: Given,
        held: Given | None,
        design: OutputDesign,
        random_state: np.random.RandomState,
        incremental: bool,
    ) -> Callable[[], None] | None:
        if not hasattr(self, "loss_curve_"):  # after solver="lbfgs"
            self._start_curves()
        if self.early_stopping and held is None:
            given, held = self._split(given, random_state)
        n = given.X.shape[0]
        batch_size = min(200, n) if self.batch_size == "auto" else int(self.batch_size)
        if batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
            )
            batch_size = n
        model, n_threads = self.model_, self._threads()
        rows = self._rows(given, design, model.dtype)
        validation = self._watch(held, design, n_threads)
        self._compile(design, batch_size, anew=not incremental)
        if incremental and getattr(self, "stopped_early_", False):
            return None
        trainer = model.trainer
        named = self.solver in parameters.SGD_AND_ADAM
        alpha = self.alpha if named or trainer.optimizer.weight_decay_on == "kernels" else 0.0
        epochs = Epochs(
            trainer, rows, batch_size, random_state if self.shuffle else None,
            Rules(self.solver if named else "", alpha, design),
            deviance_constants(rows.y) if design.deviance else None, n_threads,
        )  # fmt: skip
        stochastic = Stochastic(self, epochs, validation, incremental)

        def train() -> None:
            with model.turns.fit():
                stochastic.run()
            self.__dict__.pop("_weight_copies", None)
            if incremental and self.early_stopping and self._no_improvement_count > self.n_iter_no_change:
                model.set_weights(self._best_weights)
                self.stopped_early_ = True

        return train

    def _split(self, given: Given, random_state: np.random.RandomState) -> tuple[Given, Given]:
        """Training and validation rows, the same as scikit-learn's."""
        rows, held = train_test_split(
            np.arange(given.X.shape[0]), random_state=random_state, test_size=self.validation_fraction,
            stratify=self._strata(given.y),
        )  # fmt: skip
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return given.take(rows), given.take(held)

    def _watch(self, held: Given | None, design: OutputDesign, n_threads: int | None) -> Validation | None:
        """The validation of held-out rows, if there are any."""
        if held is None:
            return None
        rows = self._rows(held, design, self.model_.dtype, "_val")
        if self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf
        return Validation(HeldOutRows(rows, held.X, held.y), design, self, n_threads)

    def _prepared_lbfgs(self, given: Given, design: OutputDesign) -> Callable[[], None]:
        rows = self._rows(given, design, given.X.dtype)
        return lambda: self._fit_lbfgs(rows, design)

    def _fit_lbfgs(self, rows: Rows, design: OutputDesign) -> None:
        model = self.model_
        wide = model
        if model.dtype != np.float64:
            wide = Sequential(model.layers, input_size=model.input_size, dtype=np.float64)
            wide.set_weights(model.get_weights())
        wide.compile(optimizers.SGD(), design.loss)
        constant = float(np.average(deviance_constants(rows.y), weights=rows.weight)) if design.deviance else 0.0
        objective = Objective(wide.trainer.engine, rows, design, self.alpha, constant, self._threads())
        with model.turns.fit():
            weights = minimize(objective, model.get_weights(), self)
        if not all(np.isfinite(W).all() for W in weights):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        model.set_weights(weights)
        if wide is not model:
            model.compile(optimizers.SGD(), design.loss)
        self.__dict__.pop("_weight_copies", None)

    def _threads(self) -> int | None:
        """Maximum number of engine threads, None for as many as are worthwhile.

        joblib's processes have a limit of their own, which Numba respects; each of its threads, fitting in parallel,
        gets one.
        """
        if self.n_threads is not None:
            return int(self.n_threads)
        backend, _ = get_active_backend()
        nested = (getattr(backend, "nesting_level", 0) or 0) > 0
        return 1 if nested and threading.current_thread() is not threading.main_thread() else None

    # ---------------------------------------------------------------- prediction

    def _outputs(self, X: Any) -> Array:
        """Outputs of the network for X, validated."""
        check_is_fitted(self, "model_")
        csr.check(X, "X")
        refuse_masked(X=X)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=DTYPES, reset=False)
        self._synchronize()
        outputs: Array = self.model_.predict(X, n_threads=self._threads())
        return outputs

    # ---------------------------------------------------------------- pickling

    def __getstate__(self) -> dict[str, Any]:
        self._synchronize()
        state = dict(super().__getstate__())
        state.pop("_weight_copies", None)
        state.pop("_own_turns", None)
        state["_fastbp_version"] = __version__
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        known = inspect.signature(type(self)).parameters.values()  # what an older version did not have is the default
        state = {each.name: each.default for each in known if each.default is not each.empty} | state
        version = state.pop("_fastbp_version", "unknown")
        if version != __version__:
            warnings.warn(
                f"{type(self).__name__} was pickled by fastbp {version} and is loaded by {__version__}: "
                "predictions may differ or fail. model_.save() writes files with a format version and a checksum",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
