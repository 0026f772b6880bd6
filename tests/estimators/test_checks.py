"""scikit-learn's own checks of estimators, over both of them in several configurations."""

import unittest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.jit,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # the checks' few iterations
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

NOT_FOR_THESE = ("SCIPY_ARRAY_API is not set", "does not have a decision_function")
# What fails here fails with scikit-learn's MLP of the same parameters, too, where it has them.
WEIGHTS = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
    "rows are counted, whatever they weigh: in the rate, in batch statistics and masks, and in what is held out",
)
EARLY = WEIGHTS | dict.fromkeys(
    ("check_fit_score_takes_y", "check_n_features_in_after_fitting", "check_estimators_partial_fit_n_features"),
    "partial_fit with early_stopping=True is an error, as scikit-learn's own tests want it",
)
# The estimator, and what is expected to fail.
CASES = [
    (MLPClassifier(max_iter=50), {}),
    (MLPRegressor(max_iter=100), {}),
    (MLPClassifier(solver="sgd", learning_rate="adaptive", max_iter=50), {}),
    (MLPRegressor(solver="sgd", learning_rate="invscaling", power_t=0.1, learning_rate_init=0.02, max_iter=50),
     WEIGHTS),
    (MLPClassifier(solver="lbfgs", max_iter=50), {}),
    (MLPRegressor(solver="lbfgs", max_iter=50), {}),
    (MLPClassifier(early_stopping=True, scoring="loss", validation_fraction=0.3, max_iter=50), EARLY),
    (MLPRegressor(early_stopping=True, validation_fraction=0.3, learning_rate_init=0.01, max_iter=50), EARLY),
    (MLPClassifier((20, 10), ["tanh", "gelu"], batch_norm=True, dropout=0.1, learning_rate_init=0.01, max_iter=50),
     WEIGHTS),
    (MLPRegressor("huber", 20, batch_norm=True, dropout=[0.1], learning_rate_init=0.01, max_iter=50), WEIGHTS),
    (MLPClassifier(solver="adamw", loss="binary_focal", max_iter=50), {}),
    (MLPRegressor("quantile", solver="rmsprop", max_iter=50), {}),
]  # fmt: skip


def expected_failures(estimator):
    """By the parameters, since the checks ask with estimators of their own."""
    return next(failures for known, failures in CASES if str(known) == str(estimator))


@parametrize_with_checks([estimator for estimator, _ in CASES], expected_failed_checks=expected_failures)
def test_checks_of_scikit_learn(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as reason:  # of a check that cannot be run on any estimator like this one
        if not any(known in str(reason) for known in NOT_FOR_THESE):
            raise
