"""Exchange with scikit-learn's multilayer perceptrons; needs scikit-learn (extra `sklearn`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.exchange.inputs.raw_tables import Scaling, in_units, raw_table
from fastbp.exchange.layer_weights import ExchangeError, Part, activation_of, as_floats, model_of, need, parts_of
from fastbp.exchange.layers.activation import names_in, translated
from fastbp.exchange.residual_graphs import joined
from fastbp.layers import Activation, Dense, Dropout, GaussianNoise
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array

CLASSES_KEY = "sklearn.classes"  # in a model's metadata: the labels, as JSON text, in the order of the outputs
NOTHING = (Dropout, GaussianNoise)  # in inference


def from_sklearn(mlp: Any, *, seed: int = 0) -> Sequential:
    """Convert a fitted MLPClassifier or MLPRegressor of scikit-learn; not compiled.

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
        The fitted estimator.
    seed : int, default 0
        Seed of shuffling in training.

    Returns
    -------
    Sequential
        Its outputs equal predict_proba (for two classes that of the second one only), or predict of a regressor. A
        classifier's labels are in the metadata, as JSON under "sklearn.classes". Solver and alpha are not kept; alpha
        is an L2 penalty on the weights divided by the rows of a batch.

    Raises
    ------
    TypeError
        If mlp is not such an estimator.
    ExchangeError
        If it is not fitted, and for what fastbp does not have.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> mlp = MLPRegressor(hidden_layer_sizes=[3], activation="tanh", tol=1.0, random_state=0)
    >>> model = from_sklearn(mlp.fit([[0.0], [1.0]], [0.0, 1.0]))
    >>> [(layer.units, layer.activation.name) for layer in model.layers]
    [(3, 'tanh'), (1, 'identity')]
    """
    network = need("sklearn.neural_network", "sklearn")
    if not isinstance(mlp, network.MLPClassifier | network.MLPRegressor):
        got = type(mlp).__name__
        raise TypeError(f"from_sklearn takes an MLPClassifier or an MLPRegressor, got {got}: pass the estimator")
    if not hasattr(mlp, "coefs_"):
        raise ExchangeError("from_sklearn takes a fitted estimator, but this one has no coefs_: call fit first")
    names = {theirs: ours for ours, theirs in (names_in("sklearn") | names_in("sklearn_output")).items()}
    wanted = [mlp.activation] * (len(mlp.coefs_) - 1) + [mlp.out_activation_]
    parts = []
    for place, (W, b, name) in enumerate(zip(mlp.coefs_, mlp.intercepts_, wanted, strict=True)):
        if name not in names:
            raise ExchangeError(
                f"from_sklearn knows the activations {', '.join(names)}, but layer {place} has {name!r}: fit the "
                "estimator with another loss or activation"
            )
        weights = {"kernel": as_floats(W), "bias": as_floats(b)}
        parts.append(Part(str(place), Dense(W.shape[1], names[name]), W.shape[0], W.shape[1], weights))
    classes = getattr(mlp, "classes_", None)
    metadata = {} if classes is None else {CLASSES_KEY: json.dumps(np.asarray(classes).tolist())}
    return model_of(parts, seed=seed, metadata=metadata)


def to_sklearn(model: Sequential, *, classes: Sequence[Any] | None = None, raw: bool = False) -> Any:
    """Convert the model to a fitted MLPClassifier or MLPRegressor with the same predictions.

    Parameters
    ----------
    model : Sequential
        Its hidden layers must be Dense with a common activation: identity, sigmoid, tanh or relu. The last activation
        determines the estimator: softmax or sigmoid a classifier (one unit: two classes; several sigmoids: multilabel;
        a softmax of two becomes the sigmoid that scikit-learn uses), identity a regressor. Dropout and GaussianNoise
        are omitted; `fastbp.fold` removes BatchNorm beforehand.
    classes : sequence, optional
        The labels in ascending order; by default those in the metadata of `from_sklearn`, or 0, 1, …
    raw : bool, default False
        For a model with a `fastbp.Preprocessor` in its metadata: whether the result takes raw rows, a Pipeline of
        SimpleImputer, StandardScaler and the perceptron, and returns the Preprocessor's classes, or quantities in their
        own units. If there is more to do than to scale numbers, as for categories, the result is the perceptron alone,
        which takes what `Preprocessor.transform` returns.

    Returns
    -------
    MLPClassifier, MLPRegressor or Pipeline
        Its partial_fit continues from these weights with a new optimizer. Loss curves are empty.

    Raises
    ------
    ExchangeError
        For what the estimators do not support.
    ValueError
        For a wrong number of classes, or if the input size is not known yet.
    ImportError
        If scikit-learn is missing; with the command that installs it.

    Examples
    --------
    >>> model = Sequential([Dense(3, "softmax", kernel_initializer="zeros")], input_size=2)
    >>> model.set_weights([np.zeros((2, 3)), [0.0, 1.0, 0.0]])
    >>> to_sklearn(model, classes=["a", "b", "c"]).predict([[5.0, 6.0]])
    array(['b'], dtype='<U1')
    """
    network = need("sklearn.neural_network", "sklearn")
    parts = [part for part in parts_of(model, "to_sklearn") if not isinstance(part.layer, NOTHING)]
    parts = joined(part for part in parts if not _is_identity(part))
    table = raw_table(model) if raw else None
    if table is not None:
        parts, sorted_classes = in_units(parts, table), sorted(table.classes)
        if classes is None and table.classes:
            classes = sorted_classes
            parts[-1] = _in_order(parts[-1], [table.classes.index(label) for label in sorted_classes])
    for part in parts:
        if not isinstance(part.layer, Dense):
            raise ExchangeError(
                f"scikit-learn's perceptrons have Dense layers only, got {part.label}: use fastbp.fold for "
                "BatchNorm, or save the model in fastbp's own format (Sequential.save)"
            )
    parts[-1] = _one_output(parts[-1])
    *hidden, last = parts
    kinds = {translated(part, "sklearn", "scikit-learn") for part in hidden} or {"relu"}
    if len(kinds) > 1:
        raise ExchangeError(
            f"scikit-learn's perceptrons have one activation for all hidden layers, got {', '.join(sorted(kinds))}"
            ": save the model in fastbp's own format (Sequential.save)"
        )
    output = translated(last, "sklearn_output", "scikit-learn's output")
    widths, kind = [part.units for part in hidden], kinds.pop()
    if output == "identity":
        mlp = network.MLPRegressor(hidden_layer_sizes=widths, activation=kind)
        targets, options = np.zeros((2, last.units)), {}
        targets = targets if last.units > 1 else targets[:, 0]
    else:
        mlp = network.MLPClassifier(hidden_layer_sizes=widths, activation=kind)
        labels = _labels(model, classes, last.units)
        one_each = output == "softmax" or last.units == 1
        targets, options = (labels if one_each else np.eye(2, last.units, dtype=int)), {"classes": labels}
    X = np.zeros((len(targets), parts[0].inputs), model.dtype)
    mlp.partial_fit(X, targets, **options)  # creates all attributes, in every version of scikit-learn
    _fill(mlp, parts)
    return mlp if table is None or table.scaling is None else _pipeline(table.scaling, mlp)


def _in_order(part: Part, order: list[int]) -> Part:
    """A last layer with its outputs in another order; a single sigmoid is left to `_labels`."""
    if part.units != len(order) or order == sorted(order):
        return part
    return part._replace(weights={name: values[..., order] for name, values in part.weights.items()})


def _pipeline(scaling: Scaling, mlp: Any) -> Any:
    """Scikit-learn's own preprocessing, with what ours has learnt."""
    impute, preprocessing = need("sklearn.impute", "sklearn"), need("sklearn.preprocessing", "sklearn")
    imputer = impute.SimpleImputer(keep_empty_features=True).fit(scaling.fill[np.newaxis])
    scaler = preprocessing.StandardScaler().fit(scaling.shift[np.newaxis])
    scaler.mean_, scaler.scale_, scaler.var_ = scaling.shift, scaling.scale, scaling.scale**2
    return need("sklearn.pipeline", "sklearn").make_pipeline(imputer, scaler, mlp)


def _one_output(part: Part) -> Part:
    """A softmax of two units as scikit-learn has it: p_1 = sigmoid(z_1 - z_0)."""
    if activation_of(part).name != "softmax" or part.units != 2:
        return part
    weights = {name: values[..., 1:] - values[..., :1] for name, values in part.weights.items()}
    return part._replace(layer=Dense(1, "sigmoid", use_bias="bias" in weights), units=1, weights=weights)


def _is_identity(part: Part) -> bool:
    return isinstance(part.layer, Activation) and activation_of(part) == activations.get("identity")


def _labels(model: Sequential, classes: Sequence[Any] | None, units: int) -> Array:
    """The classes, one per output; two for a single sigmoid."""
    n = 2 if units == 1 else units
    given = classes if classes is not None else json.loads(model.metadata.get(CLASSES_KEY, json.dumps([*range(n)])))
    labels = np.asarray(given)
    if labels.shape != (n,) or len(np.unique(labels)) != n or (np.unique(labels) != labels).any():
        raise ValueError(f"classes must be {n} labels in ascending order, one per output, got {given!r}: sort them")
    return labels


def _fill(mlp: Any, parts: list[Part]) -> None:
    """Set an estimator's weights and discard traces of the step that created it."""
    for place, part in enumerate(parts):
        mlp.coefs_[place][...] = part.weights["kernel"]
        mlp.intercepts_[place][...] = part.weights.get("bias", 0.0)
    del mlp._optimizer
    mlp.loss_curve_, mlp.n_iter_, mlp.t_ = [], 0, 0
    mlp.loss_ = mlp.best_loss_ = np.inf
