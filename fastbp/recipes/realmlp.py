"""RealMLP: a plain network whose preprocessing, parametrization and schedules were tuned on many tables."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from sklearn.utils._param_validation import StrOptions

from fastbp import activations
from fastbp.estimators.parameters import set_parameters
from fastbp.initializers import LeCunNormal, RandomNormal, Zeros
from fastbp.layers import Dense, Layer, Scale
from fastbp.optimizers import Adam, Optimizer
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.recipes.base import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, TableEstimator
from fastbp.recipes.classifier import TableClassifier
from fastbp.recipes.regressor import TableRegressor
from fastbp.schedules import CosineLog
from fastbp.util.arguments import count


class RealMLP(TableEstimator):
    """What both of RealMLP's estimators share.

    The authors' kernels have entries from N(0, 1) and a factor 1 / sqrt(inputs) in forward. Since Adam does not depend
    on the scale of a gradient, kernels from N(0, 1 / inputs) without the factor, and with 1 / sqrt(inputs) of the
    learning rate, are the same network in every step.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = TableEstimator._parameter_constraints | {
        "hidden_layer_sizes": ["array-like", COUNT],
        "activation": [StrOptions({*activations.NAMES} - {"softmax"}), activations.Activation],
        "learning_rate": [POSITIVE],
        "beta_1": [SHARE],
        "beta_2": [SHARE],
        "epsilon": [POSITIVE],
        "scale_multiplier": [NOT_NEGATIVE],
        "bias_multiplier": [NOT_NEGATIVE],
    }

    def _preprocessor(self) -> Preprocessor:
        return Preprocessor(scaling="robust", clip=True, scale_one_hot=True, missing_indicator=False)

    def _layers(self, preprocessor: Preprocessor, outputs: int) -> list[Layer]:
        layers: list[Layer] = [Scale(learning_rate_multiplier=self.scale_multiplier)]
        given = self.hidden_layer_sizes
        inputs = len(preprocessor.feature_names)
        for size in given if hasattr(given, "__iter__") else [given]:
            units = count(size, "hidden_layer_sizes")
            first: dict[str, Any] = {"kernel_initializer": LeCunNormal(), "bias_initializer": RandomNormal(0.0, 1.0)}
            layers.append(Dense(units, self.activation, **first, **self._multipliers(inputs)))
            inputs = units
        last = "softmax" if isinstance(self, TableClassifier) else "identity"
        return [*layers, Dense(outputs, last, kernel_initializer=Zeros(), **self._multipliers(inputs))]

    def _multipliers(self, inputs: int) -> dict[str, Any]:
        return {
            "learning_rate_multiplier": 1 / math.sqrt(inputs),
            "bias_learning_rate_multiplier": self.bias_multiplier,
        }

    def _optimizer(self, steps: int) -> Optimizer:
        return Adam(CosineLog(self.learning_rate, steps), self.beta_1, self.beta_2, self.epsilon)


class RealMLPClassifier(RealMLP, TableClassifier):
    """RealMLP-TD-S for classification: a network of three hidden layers, well tuned for tables of any kind.

    It minimizes the cross-entropy with label smoothing. X is a table with numbers, texts, dates and missing values; y
    is (n,) labels of any kind.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (256, 256, 256)
        Units of the hidden layers.
    activation : str or Activation, default "selu"
        Of the hidden layers.
    learning_rate : float, default 0.04
        The highest one of a schedule of four cycles, `CosineLog`.
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
        What the best epoch is chosen by: accuracy by default, or a scorer of scikit-learn or its name.
    patience : int, optional
        Epochs without improvement after which training stops.
    class_weight : "balanced" or dict, optional
        {class: weight}.
    time_limit : float, optional
        Seconds after which the training of a network stops.
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
        Per network its ``preprocessor``, ``model``, ``held`` rows, ``best_epoch`` and ``history``.
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
    The network is that of the authors' RealMLP-TD-S: one-hot columns, all columns scaled by median and quartiles and
    smoothly clipped, a learned scale per feature. Results do not depend on the number of threads.

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
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: Any = "selu",
        learning_rate: float = 0.04,
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
        time_limit: float | None = None,
        random_state: Any = None,
        callbacks: Any = None,
        progress: bool = False,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())


class RealMLPRegressor(RealMLP, TableRegressor):
    """RealMLP-TD-S for regression: a network of three hidden layers, well tuned for tables of any kind.

    It minimizes the squared error of standardized targets. X is a table with numbers, texts, dates and missing values;
    y is (n,) or (n, outputs) quantities.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (256, 256, 256)
        Units of the hidden layers.
    activation : str or Activation, default "mish"
        Of the hidden layers.
    learning_rate : float, default 0.07
        The highest one of a schedule of four cycles, `CosineLog`.
    n_epochs, batch_size, beta_1, beta_2, epsilon, scale_multiplier, bias_multiplier
        As in `RealMLPClassifier`.
    validation_fraction, n_ensembles, n_folds, patience, time_limit, random_state, callbacks, progress, n_threads
        As in `RealMLPClassifier`; predictions are averaged.
    scoring : str or callable, optional
        What the best epoch is chosen by: the squared error by default, or a scorer of scikit-learn or its name.

    Attributes
    ----------
    members_ : tuple
        Per network its ``preprocessor``, ``model``, ``held`` rows, ``best_epoch`` and ``history``.
    model_, preprocessor_
        Those of the first network.

    Raises
    ------
    ValueError, TypeError
        For invalid parameters or data.

    See Also
    --------
    fastbp.MLPRegressor : scikit-learn's estimator, for features that are numbers and scaled already.

    Notes
    -----
    See `RealMLPClassifier`.

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
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: Any = "mish",
        learning_rate: float = 0.07,
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
