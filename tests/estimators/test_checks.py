"""scikit-learn's estimator checks, run on both estimators in several configurations."""

import unittest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.jit,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # the checks use few iterations
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

NOT_APPLICABLE = ("SCIPY_ARRAY_API is not set", "does not have a decision_function")
# Checks that fail here also fail for scikit-learn's MLP with the same parameters, where it has them.
WEIGHTS = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
    "rows count regardless of weight: in the learning rate, batch statistics, masks and the held-out rows",
)
EARLY = WEIGHTS | dict.fromkeys(
    ("check_fit_score_takes_y", "check_n_features_in_after_fitting", "check_estimators_partial_fit_n_features"),
    "partial_fit with early_stopping=True is an error, as scikit-learn's own tests require",
)
# The estimator and the checks that are expected to fail.
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
    """Look them up by parameters, since the checks pass estimators of their own."""
    return next(failures for known, failures in CASES if str(known) == str(estimator))


@parametrize_with_checks([estimator for estimator, _ in CASES], expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as reason:  # the check does not apply to such estimators
        if not any(known in str(reason) for known in NOT_APPLICABLE):
            raise
