"""RealMLP: a plain network whose preprocessing, parametrization and schedules were tuned on many tables."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

from sklearn.utils._param_validation import StrOptions

from fastbp import activations
from fastbp.estimators.parameters import set_parameters
from fastbp.initializers import LeCunNormal, RandomNormal, Zeros
from fastbp.layers import ColumnEmbedding, Dense, Dropout, Layer, ParametricActivation, PeriodicEmbedding, Scale
from fastbp.model.sequential import Sequential
from fastbp.optimizers import Adam, AdamW, Optimizer
from fastbp.preprocessing.column_rules import Category
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.recipes.base import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, TableEstimator
from fastbp.recipes.classifier import TableClassifier
from fastbp.recipes.data_init import initialize
from fastbp.recipes.regressor import TableRegressor
from fastbp.schedules import CosineLog, FlatCosine
from fastbp.util.arguments import count
from fastbp.util.types import Array


class Size(NamedTuple):
    """What the sizes "normal" (TD) and "small" (TD-S) differ in; arguments that are None take these values.

    waves: whether numbers become waves. learned_activations: whether each unit learns how much of its activation there
    is. by_data: whether first weights are those of `data_init`, else N(0, 1), and 0 in the last layer.
    """

    dropout: float
    weight_decay: float
    most_one_hot: int | None
    waves: bool
    learned_activations: bool
    by_data: bool
    learning_rates: tuple[float, float]  # of classification and of regression


SIZES = {
    "normal": Size(0.15, 0.02, 8, True, True, True, (0.04, 0.2)),
    "small": Size(0.0, 0.0, None, False, False, False, (0.04, 0.07)),
}
SLOW = 0.1  # factor of the learning rate of biases, waves and the weights of activations


class RealMLP(TableEstimator):
    """What both of RealMLP's estimators share.

    The authors' kernels have entries of variance 1 and a factor 1 / sqrt(inputs) in forward. Since Adam does not depend
    on the scale of a gradient, kernels of variance 1 / inputs without the factor, with 1 / sqrt(inputs) of the learning
    rate and sqrt(inputs) times the weight decay, are the same network in every step.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = TableEstimator._parameter_constraints | {
        "size": [StrOptions({*SIZES})],
        "hidden_layer_sizes": ["array-like", COUNT],
        "activation": [StrOptions({*activations.NAMES} - {"softmax"}), activations.Activation],
        "learning_rate": [None, POSITIVE],
        "dropout": [None, SHARE],
        "weight_decay": [None, NOT_NEGATIVE],
        "most_one_hot": [None, COUNT],
        "embedding_size": [COUNT],
        "frequency_scale": [NOT_NEGATIVE],
        "beta_1": [SHARE],
        "beta_2": [SHARE],
        "epsilon": [POSITIVE],
        "scale_multiplier": [NOT_NEGATIVE],
        "bias_multiplier": [NOT_NEGATIVE],
    }

    def _own(self, name: str) -> Any:
        """An argument, or what the size makes of it."""
        given = getattr(self, name)
        return getattr(SIZES[self.size], name) if given is None else given

    @property
    def _classifies(self) -> bool:
        return isinstance(self, TableClassifier)

    def _preprocessor(self) -> Preprocessor:
        most = self._own("most_one_hot")
        encoding = {} if most is None else {"encoding": "auto", "most_one_hot": most}
        return Preprocessor(
            scaling="robust", clip=True, scale_one_hot=True, missing_indicator=False,
            clamp_targets=self.size == "normal" and not self._classifies, **encoding,
        )  # fmt: skip

    def _layers(self, preprocessor: Preprocessor, outputs: int, steps: int) -> list[Layer]:
        size, first = SIZES[self.size], self._first_layers(preprocessor)
        width = len(preprocessor.feature_names)
        for layer in first:
            width = layer.units_of(width) or width
        layers, rate = first, self._own("dropout")
        start: dict[str, Any] = {"kernel_initializer": LeCunNormal(), "bias_initializer": RandomNormal(0.0, 1.0)}
        given = self.hidden_layer_sizes
        for each in given if hasattr(given, "__iter__") else [given]:
            units = count(each, "hidden_layer_sizes")
            if size.learned_activations:
                learned = ParametricActivation(self.activation, learning_rate_multiplier=SLOW)
                layers += [Dense(units, **start, **self._multipliers(width)), learned]
            else:
                layers.append(Dense(units, self.activation, **start, **self._multipliers(width)))
            if rate:
                layers.append(Dropout(FlatCosine(rate, steps)))
            width = units
        last = "softmax" if self._classifies else "identity"
        start = start if size.by_data else {"kernel_initializer": Zeros()}
        return [*layers, Dense(outputs, last, **start, **self._multipliers(width))]

    def _first_layers(self, preprocessor: Preprocessor) -> list[Layer]:
        """Embeddings of many categories and of numbers, and the scale of each feature."""
        layers: list[Layer] = []
        if preprocessor.cardinalities:
            normal = RandomNormal(0.0, 1.0)
            layers.append(
                ColumnEmbedding(preprocessor.cardinalities, self.embedding_size, embeddings_initializer=normal)
            )
        numbers = numeric_features(preprocessor)
        if SIZES[self.size].waves and numbers:
            layers.append(
                PeriodicEmbedding(
                    columns=numbers, frequency_scale=self.frequency_scale, learning_rate_multiplier=SLOW
                )
            )
        factor = self.scale_multiplier
        return [*layers, Scale(learning_rate_multiplier=factor, weight_decay_multiplier=factor)]

    def _multipliers(self, inputs: int) -> dict[str, Any]:
        return {
            "learning_rate_multiplier": 1 / math.sqrt(inputs),
            "bias_learning_rate_multiplier": self.bias_multiplier,
            "weight_decay_multiplier": math.sqrt(inputs),
        }

    def _initialize(self, model: Sequential, X: Array, seed: int, threads: int | None) -> None:
        if SIZES[self.size].by_data:
            initialize(model, X, seed, threads)

    def _optimizer(self, steps: int) -> Optimizer:
        rate = self.learning_rate
        if rate is None:
            rate = SIZES[self.size].learning_rates[0 if self._classifies else 1]
        rates, decay = CosineLog(rate, steps), self._own("weight_decay")
        if not decay:
            return Adam(rates, self.beta_1, self.beta_2, self.epsilon)
        return AdamW(
            rates, self.beta_1, self.beta_2, self.epsilon, weight_decay=FlatCosine(decay, steps),
            weight_decay_on="kernels",
        )  # fmt: skip


def numeric_features(preprocessor: Preprocessor) -> list[int]:
    """The features that are numbers or dates, counted without codes, which come behind all others once embedded."""
    found: list[int] = []
    start = 0
    for rule in preprocessor.rules:
        if isinstance(rule, Category):
            start += 0 if rule.coded else rule.width
        else:
            found += range(start, start + rule.width)
            start += rule.width
    return found


class RealMLPClassifier(RealMLP, TableClassifier):
    """RealMLP for classification: a network of three hidden layers, well tuned for tables of any kind.

    It minimizes the cross-entropy with label smoothing. X is a table with numbers, strings, dates and missing values; y
    is (n,) labels: strings, integers or booleans.

    Parameters
    ----------
    size : {"normal", "small"}, default "normal"
        "normal" is the authors' RealMLP-TD; "small" their simpler TD-S, without embeddings, learned activations,
        dropout, weight decay and first weights from data.
    hidden_layer_sizes : sequence of int, default (256, 256, 256)
        Units of the hidden layers.
    activation : str or Activation, default "selu"
        Of the hidden layers.
    learning_rate : float, optional
        The highest one of a schedule of four cycles, `CosineLog`; by default 0.04.
    dropout : float, optional
        Dropout rate of the hidden layers, which falls to 0 in the second half of the training; by default 0.15, or 0
        if small.
    weight_decay : float, optional
        Weight decay of kernels and scales, which falls likewise; by default 0.02, or 0 if small.
    most_one_hot : int, optional
        Columns of more categories are embedded; by default of more than 8, or none if small.
    embedding_size : int, default 8
        Length of the vectors of these categories.
    frequency_scale : float, default 0.1
        Of the waves that numbers become, see `PeriodicEmbedding`; not if small.
    n_epochs : int, default 256
        Passes over the training rows; all of them are made.
    batch_size : int, default 256
        Rows per step. An epoch leaves out its last rows where they do not fill a batch.
    label_smoothing : float, default 0.1
        See `CrossEntropy`; choose 0 where probabilities count more than classes.
    beta_1, beta_2, epsilon : float, default 0.9, 0.95, 1e-8
        Of Adam.
    scale_multiplier, bias_multiplier : float, default 6, 0.1
        Factors of the learning rate: of the scale of each feature, and of biases.
    validation_fraction : float, default 0.2
        Share of the rows held out to choose the best epoch by; with 0 the last epoch is taken.
    n_ensembles : int, default 1
        Networks that differ in their initial weights and the order of rows; probabilities are averaged.
    n_folds : int, optional
        Hold out each of so many parts of the rows once, from n_ensembles networks each, instead of validation_fraction.
    scoring : str or callable, optional
        What the best epoch is chosen by: accuracy by default, or a scorer of scikit-learn or its name. A function
        (estimator, X, y) may pass X on to the estimator, and nothing else: it holds features.
    patience : int, optional
        Epochs without improvement after which training stops.
    class_weight : "balanced" or dict, optional
        {class: weight}.
    calibrate : bool, default False
        Whether to divide the logits of each network by the temperature of the lowest log-loss on the rows held out.
        Classes stay the same; probabilities, which label smoothing makes too timid, fit better.
    time_limit : float, optional
        Seconds after which the training of a network stops, preprocessing and first weights not counted; its schedules
        are those of all epochs.
    random_state : int, RandomState or None, default None
        Of the split, the initial weights and the orders of the rows.
    callbacks : list, optional
        Of `fastbp.callbacks`, for a single network.
    progress : bool, default False
        Whether to show a progress bar.
    n_threads : int, optional
        Maximum number of threads. Several networks are trained side by side, by one thread each.

    Attributes
    ----------
    classes_ : ndarray
        The classes, sorted.
    members_ : tuple
        Per network its ``preprocessor``, ``model``, ``held`` rows, ``best_epoch`` (None if none ended) and ``history``.
    model_, preprocessor_
        Those of the first network.

    Raises
    ------
    ValueError, TypeError
        For invalid parameters or data.

    See Also
    --------
    fastbp.MLPClassifier : scikit-learn's estimator, for features that are numbers and scaled already.

    Notes
    -----
    Columns are one-hot, or embedded if they have many categories; all are scaled by median and quartiles and smoothly
    clipped; numbers become waves, and each feature has a learned scale. Results do not depend on the number of threads.
    Differs from the authors' in small things: waves and the weights of activations have no, or more, weight decay (they
    learn at a tenth of the rate), and the held-out rows keep the shares of the classes.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: Strong pre-tuned MLPs and boosted trees on tabular data",
    2024.

    Examples
    --------
    >>> table = {"age": [39, 50, None, 53] * 20, "work": ["Private", "Own", None, "Own"] * 20}
    >>> y = ["no", "yes", "no", "yes"] * 20
    >>> classifier = RealMLPClassifier(n_epochs=20, random_state=0).fit(table, y)
    >>> classifier.predict({"age": [39, 50], "work": ["Private", "Own"]})
    array(['no', 'yes'], dtype='<U3')
    """

    def __init__(
        self,
        *,
        size: str = "normal",
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: Any = "selu",
        learning_rate: float | None = None,
        dropout: float | None = None,
        weight_decay: float | None = None,
        most_one_hot: int | None = None,
        embedding_size: int = 8,
        frequency_scale: float = 0.1,
        n_epochs: int = 256,
        batch_size: int = 256,
        label_smoothing: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        scale_multiplier: float = 6.0,
        bias_multiplier: float = 0.1,
        validation_fraction: float = 0.2,
        n_ensembles: int = 1,
        n_folds: int | None = None,
        scoring: Any = None,
        patience: int | None = None,
        class_weight: Any = None,
        calibrate: bool = False,
        time_limit: float | None = None,
        random_state: Any = None,
        callbacks: Any = None,
        progress: bool = False,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())


class RealMLPRegressor(RealMLP, TableRegressor):
    """RealMLP for regression: a network of three hidden layers, well tuned for tables of any kind.

    It minimizes the squared error of standardized targets. X is a table with numbers, strings, dates and missing
    values; y is (n,) or (n, outputs) quantities.

    Parameters
    ----------
    activation : str or Activation, default "mish"
        Of the hidden layers.
    learning_rate : float, optional
        The highest one of a schedule of four cycles, `CosineLog`; by default 0.2, or 0.07 if small.
    size, hidden_layer_sizes, dropout, weight_decay, most_one_hot, embedding_size, frequency_scale
        As in `RealMLPClassifier`.
    n_epochs, batch_size, beta_1, beta_2, epsilon, scale_multiplier, bias_multiplier
        As in `RealMLPClassifier`.
    validation_fraction, n_ensembles, n_folds, patience, time_limit, random_state, callbacks, progress, n_threads
        As in `RealMLPClassifier`; predictions are averaged.
    scoring : str or callable, optional
        What the best epoch is chosen by: the squared error by default, or a scorer of scikit-learn or its name.

    Attributes
    ----------
    members_ : tuple
        Per network its ``preprocessor``, ``model``, ``held`` rows, ``best_epoch`` (None if none ended) and ``history``.
    model_, preprocessor_
        Those of the first network.
    residuals_ : ndarray (n,) or (n, outputs)
        Targets less predictions of the rows held out, see `predict_interval`.

    Raises
    ------
    ValueError, TypeError
        For invalid parameters or data.

    See Also
    --------
    fastbp.MLPRegressor : scikit-learn's estimator, for features that are numbers and scaled already.

    Notes
    -----
    See `RealMLPClassifier`. Predictions of the normal size stay between the lowest and the highest of the targets.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: Strong pre-tuned MLPs and boosted trees on tabular data",
    2024.

    Examples
    --------
    >>> table = {"rooms": [1, 2, 3, None] * 25, "town": ["Kiel", "Ulm"] * 50}
    >>> y = [300.0, 450.0, 700.0, 500.0] * 25
    >>> regressor = RealMLPRegressor(n_epochs=50, random_state=0).fit(table, y)
    >>> regressor.predict({"rooms": [3], "town": ["Kiel"]}).round(-2)
    array([700.])
    """

    def __init__(
        self,
        *,
        size: str = "normal",
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: Any = "mish",
        learning_rate: float | None = None,
        dropout: float | None = None,
        weight_decay: float | None = None,
        most_one_hot: int | None = None,
        embedding_size: int = 8,
        frequency_scale: float = 0.1,
        n_epochs: int = 256,
        batch_size: int = 256,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        scale_multiplier: float = 6.0,
        bias_multiplier: float = 0.1,
        validation_fraction: float = 0.2,
        n_ensembles: int = 1,
        n_folds: int | None = None,
        scoring: Any = None,
        patience: int | None = None,
        time_limit: float | None = None,
        random_state: Any = None,
        callbacks: Any = None,
        progress: bool = False,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())
