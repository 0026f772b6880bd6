"""Metrics compared with scikit-learn's, in one chunk and in several, with and without weights."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from fastbp import metrics

N, K = 203, 4
RNG = np.random.default_rng(11)
LABELS = RNG.integers(0, K, N)
LOGITS = RNG.normal(size=(N, K)) + 1.5 * np.eye(K)[LABELS]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
BINARY = (RNG.random((N, 1)) < 0.3).astype(float)
SCORES = np.round(1 / (1 + np.exp(-RNG.normal(size=(N, 1)) - 2 * BINARY)), 1)  # rounded: ties
TARGETS = RNG.normal(size=(N, 2)) * [1, 10] + [1000, 0]
PREDICTED = TARGETS + RNG.normal(size=(N, 2))
WEIGHT = RNG.random(N) * RNG.integers(0, 2, N)
CE, BCE, MSE = "cross_entropy", "binary_cross_entropy", "mse"


def macro_auc(y, p, w):
    return np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(K)])


# metric, loss, y, outputs, scikit-learn's value
PEERS = {
    "accuracy of labels": (
        "accuracy",
        CE,
        LABELS,
        PROBABILITIES,
        lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    ),
    "accuracy of one-hot rows": (
        "accuracy",
        MSE,
        np.eye(K)[LABELS],
        LOGITS,
        lambda y, p, w: sk.accuracy_score(y.argmax(1), p.argmax(1), sample_weight=w),
    ),
    "accuracy of one output": (
        "accuracy",
        BCE,
        BINARY,
        SCORES,
        lambda y, p, w: sk.accuracy_score(y, p > 0.5, sample_weight=w),
    ),
    "accuracy of one output with mse": (
        "accuracy",
        MSE,
        BINARY,
        SCORES,
        lambda y, p, w: sk.accuracy_score(y, p > 0.5, sample_weight=w),
    ),
    "top k": (
        metrics.TopKAccuracy(2),
        CE,
        LABELS,
        PROBABILITIES,
        lambda y, p, w: sk.top_k_accuracy_score(y, p, k=2, sample_weight=w),
    ),
    "top k of soft labels": (
        metrics.TopKAccuracy(3),
        CE,
        0.6 * np.eye(K)[LABELS] + 0.1,
        PROBABILITIES,
        lambda y, p, w: sk.top_k_accuracy_score(y.argmax(1), p, k=3, sample_weight=w),
    ),
    "mae": ("mae", MSE, TARGETS, PREDICTED, lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w)),
    "mae of labels": (
        "mae",
        CE,
        LABELS,
        PROBABILITIES,
        lambda y, p, w: sk.mean_absolute_error(np.eye(K)[y], p, sample_weight=w),
    ),
    "rmse": ("rmse", MSE, TARGETS, PREDICTED, lambda y, p, w: math.sqrt(sk.mean_squared_error(y, p, sample_weight=w))),
    "r2": ("r2", MSE, TARGETS, PREDICTED, lambda y, p, w: sk.r2_score(y, p, sample_weight=w)),
    "r2, one target constant": (
        "r2",
        MSE,
        TARGETS * [0, 1],
        PREDICTED,
        lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    ),
    "r2, one target constant and predicted exactly": (
        "r2",
        MSE,
        TARGETS * [0, 1],
        PREDICTED * [0, 1],
        lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    ),
    "auc": ("auc", BCE, BINARY, SCORES, lambda y, p, w: sk.roc_auc_score(y[:, 0], p[:, 0], sample_weight=w)),
    "macro auc": ("auc", CE, LABELS, PROBABILITIES, macro_auc),
}


MULTILABEL = (RNG.random((N, K)) < [0.5, 0.2, 0.7, 0.1]).astype(float)  # several classes per row
MULTI_SCORES = np.round(0.5 * RNG.random((N, K)) + 0.45 * MULTILABEL, 2)
RARE = np.where(RNG.random(N) < 0.05, 3, np.minimum(LABELS, 1))  # class 2 does not occur
MARGINS = RNG.normal(size=(N, 1)) + 2 * BINARY - 1
SK_METRICS = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
METRIC_CLASSES = {"precision": metrics.Precision, "recall": metrics.Recall, "f1": metrics.F1}


def hard_labels(y, p):
    """True and predicted classes, as scikit-learn takes them."""
    if y.ndim == 1:
        return y, p.argmax(1)
    return (y, p > 0.5) if y.shape[1] > 1 else (y[:, 0], p[:, 0] > 0.5)


def averaged(name, average):
    """scikit-learn's value with this average."""
    return lambda y, p, w: SK_METRICS[name](*hard_labels(y, p), average=average, sample_weight=w, zero_division=0)


DATA = {
    "labels": (CE, LABELS, PROBABILITIES), "rare labels": (CE, RARE, PROBABILITIES * [1, 1, 1e-9, 1]),
    "two classes": (CE, np.minimum(LABELS, 1), PROBABILITIES[:, :2]), "one output": (BCE, BINARY, SCORES),
    "multilabel rows": (BCE, MULTILABEL, MULTI_SCORES),
}  # fmt: skip
for name, kind in METRIC_CLASSES.items():
    for data, (loss, y, p) in DATA.items():
        two = data in ("two classes", "one output")
        PEERS[f"{name} of {data}"] = (name, loss, y, p, averaged(name, "binary" if two else "macro"))
        for average in ("macro", "micro", "weighted"):
            PEERS[f"{average} {name} of {data}"] = (kind(average), loss, y, p, averaged(name, average))
PEERS |= {
    "precision with hinge": ("precision", "hinge", 2 * BINARY - 1, MARGINS,
                             lambda y, p, w: sk.precision_score(y > 0, p > 0, sample_weight=w)),
    "balanced accuracy": ("balanced_accuracy", CE, LABELS, PROBABILITIES,
                          lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(1), sample_weight=w)),
    "balanced accuracy of one output": ("balanced_accuracy", BCE, BINARY, SCORES,
                                        lambda y, p, w: sk.balanced_accuracy_score(y, p > 0.5, sample_weight=w)),
    "multilabel balanced accuracy": ("balanced_accuracy", BCE, MULTILABEL, MULTI_SCORES, lambda y, p, w: np.mean([
        sk.balanced_accuracy_score(y[:, k], p[:, k] > 0.5, sample_weight=w) for k in range(K)])),
    "log loss": ("log_loss", CE, LABELS, PROBABILITIES, lambda y, p, w: sk.log_loss(y, p, sample_weight=w)),
    "log loss of hard predictions": ("log_loss", BCE, BINARY, np.round(SCORES),
                                     lambda y, p, w: sk.log_loss(y[:, 0], p[:, 0], sample_weight=w)),
    "log loss of one output": ("log_loss", BCE, BINARY, SCORES,
                               lambda y, p, w: sk.log_loss(y[:, 0], p[:, 0], sample_weight=w)),
    "multilabel log loss": ("log_loss", BCE, MULTILABEL, MULTI_SCORES, lambda y, p, w: np.mean([
        sk.log_loss(y[:, k], p[:, k], sample_weight=w) for k in range(K)])),
    "average precision": ("average_precision", BCE, BINARY, SCORES,
                          lambda y, p, w: sk.average_precision_score(y[:, 0], p[:, 0], sample_weight=w)),
    "average precision of classes": ("average_precision", CE, LABELS, PROBABILITIES,
                                     lambda y, p, w: sk.average_precision_score(np.eye(K)[y], p, sample_weight=w)),
    "multilabel average precision": ("average_precision", BCE, MULTILABEL, MULTI_SCORES,
                                     lambda y, p, w: sk.average_precision_score(y, p, sample_weight=w)),
    "mape": ("mape", MSE, TARGETS, PREDICTED,
             lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w)),
    "mape of zeros": ("mape", MSE, np.where(TARGETS > 1000, 0.0, TARGETS), PREDICTED,
                      lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w)),
}  # fmt: skip


def value_of(metric, loss, *parts):
    state = metric.start()
    for y, outputs, weight in parts:
        state = metric.add(state, y, outputs, weight, loss)
    return metric.result(state)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("parts", [1, 2, 7, N], ids=lambda n: f"{n} parts")
@pytest.mark.parametrize("case", PEERS)
def test_metrics_agree_with_scikit_learn(case, parts, weight):
    metric, loss, y, outputs, peer = PEERS[case]
    metric = metrics.get(metric)
    cuts = np.array_split(np.arange(N), parts)
    given = np.ones(N) if weight is None else weight
    value = value_of(metric, loss, *((y[c], outputs[c], given[c]) for c in cuts))
    # Sums of N float64 terms in another order; r2 is a ratio of two such sums.
    assert value == pytest.approx(peer(y, outputs, weight), rel=1e-11, abs=1e-13)
    assert value == value_of(metric, loss, (y, outputs, given))  # the same bits wherever the data are split


def test_top_k_counts_ties_as_hits():
    assert value_of(metrics.TopKAccuracy(1), CE, (LABELS[:5], np.zeros((5, K)), np.ones(5))) == 1


def test_auc_of_one_class_is_nan():
    assert math.isnan(value_of(metrics.AUC(), BCE, (np.ones((3, 1)), SCORES[:3], np.ones(3))))


@pytest.mark.parametrize("name", metrics.NAMES)
def test_zero_total_weight_gives_nan(name):
    metric = metrics.get(name)
    assert math.isnan(value_of(metric, CE, (LABELS[:3], PROBABILITIES[:3], np.zeros(3))))
    assert math.isnan(metric.result(metric.start()))


@pytest.mark.parametrize(("loss", "logits"), [(CE, LOGITS * 100), (BCE, LOGITS * 100), (CE, LOGITS), (BCE, LOGITS)])
def test_logits_are_converted_to_probabilities(loss, logits):
    shown = metrics.probabilities(logits.astype(np.float32), loss, "identity")
    exact = logits.astype(np.float32).astype(float)
    if loss == CE:
        exact = np.exp(exact - exact.max(1, keepdims=True))
        exact /= exact.sum(1, keepdims=True)
    else:
        with np.errstate(over="ignore"):
            exact = 1 / (1 + np.exp(-exact))
    np.testing.assert_allclose(shown, exact, rtol=1e-12)


@pytest.mark.parametrize("name", metrics.NAMES)
def test_get_finds_every_name(name):
    assert metrics.get(name).name == name


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("acc", ValueError, "accuracy, top_k_accuracy, precision, recall"),
        ("acc", ValueError, "did you mean 'accuracy'?"),
        (["accuracy", "f2"], ValueError, "'f2'"),
        (3, TypeError, "list"),
        ([len], TypeError, "Metric object"),
        (["mae", metrics.MAE()], ValueError, "once"),
    ],
)
def test_invalid_metrics_are_rejected(given, error, text):
    with pytest.raises(error) as caught:
        metrics.get_all(given)
    assert text in str(caught.value)


@pytest.mark.parametrize("k", [0, -1, 2.5, "5"])
def test_k_must_be_a_positive_integer(k):
    with pytest.raises((TypeError, ValueError), match="k must be"):
        metrics.TopKAccuracy(k)


@pytest.mark.parametrize("name", metrics.NAMES)
def test_direction_prefers_correct_outputs(name):
    """By the metric's own direction, correct outputs beat wrong ones."""
    metric = metrics.get(name)
    one_hot = np.eye(K)[LABELS]
    exact, other = (value_of(metric, CE, (LABELS, p, np.ones(N))) for p in (one_hot, np.roll(one_hot, 1, axis=1)))
    if name == "top_k_accuracy":  # of four classes, all are among the top five
        exact, other = (value_of(metrics.TopKAccuracy(1), CE, (LABELS, p, np.ones(N)))
                        for p in (one_hot, np.roll(one_hot, 1, axis=1)))  # fmt: skip
    assert (exact > other) == (metric.direction == "max")
    assert (exact < other) == (metric.direction == "min")
    for known in (name, f"val_{name}", f"val_my_{name}"):
        assert metrics.direction_of(known) == metric.direction


@pytest.mark.parametrize(("name", "direction"), [
    ("loss", "min"), ("val_loss", "min"), ("val_score", "max"), ("acc", "max"), ("val_huber", "min"),
    ("kappa", None), ("val_kappa", None), ("brier_score", None), ("learning_rate", None), ("val_", None), ("", None),
])  # fmt: skip
def test_direction_of_name(name, direction):
    assert metrics.direction_of(name) == direction


@pytest.mark.parametrize("average", ["binary", None, "samples"])
def test_unknown_average_is_rejected(average):
    with pytest.raises(ValueError, match="average must be one of 'auto', 'macro', 'micro', 'weighted'"):
        metrics.Precision(average)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(("y", "p", "labels"), [
    (LABELS, PROBABILITIES, None), (np.eye(K)[LABELS], PROBABILITIES, range(K)),
    (LABELS, PROBABILITIES.argmax(1), None), (BINARY, SCORES, None),
    (LABELS.astype(str), PROBABILITIES.argmax(1).astype(str), list("3120")),
    (RARE, np.zeros(N, int), range(6)),
])  # fmt: skip
def test_confusion_matrix_matches_scikit_learn(y, p, labels, weight):
    def flat(a):
        return a if a.ndim == 1 else a.argmax(1) if a.shape[1] > 1 else (a[:, 0] > 0.5).astype(int)

    found = metrics.confusion_matrix(y, p, labels=labels, sample_weight=weight)
    given = None if labels is None else list(labels)
    expected = sk.confusion_matrix(flat(y), flat(p), labels=given, sample_weight=weight)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert found.dtype == (np.int64 if weight is None else np.float64)


@pytest.mark.parametrize(("given", "text"), [
    (([0, 1], [0]), "shapes"), (([0, 5], [[1.0, 0.0], [0.0, 1.0]]), "without 5"), (([], []), "shapes"),
])  # fmt: skip
def test_confusion_matrix_rejects_invalid_arguments(given, text):
    with pytest.raises(ValueError, match=text):
        metrics.confusion_matrix(*given)
