"""scikit-learn: MLPRegressor and MLPClassifier through ``partial_fit``, one call a pass over the data.

``partial_fit`` trains one pass in minibatches without the checks of ``fit`` for convergence. Regressors minimize half
the squares' sum over the outputs, not their mean: to take the same steps, SGD's learning rate and Adam's epsilon are
scaled. This epsilon is added before the bias correction, which multiplies its effect by 1/sqrt(1 - beta_2^t) at first.
"""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastbp.cli.bench import LEARNING_RATES, Workload
from fastbp.util.types import Array


class SklearnMlp:
    """An estimator started from the workload's weights, in the dtype of its data."""

    def __init__(self, work: Workload) -> None:
        row = work.row
        share = 2 / row.sizes[-1] if row.loss == "mse" else 1.0  # of the gradient
        self.X, self.y = work.X, work.y.ravel() if work.y.ndim == 2 and work.y.shape[1] == 1 else work.y
        options = {
            "hidden_layer_sizes": row.sizes[1:-1],
            "activation": row.activation,
            "solver": row.optimizer,
            "batch_size": row.batch,
            "learning_rate_init": LEARNING_RATES[row.optimizer] * (share if row.optimizer == "sgd" else 1.0),
            "epsilon": 1e-8 / share,
            "alpha": 0.0,
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "shuffle": False,
        }
        if row.loss == "mse":
            self.model = MLPRegressor(**options)
            self.model.partial_fit(self.X[: row.batch], self.y[: row.batch])
        else:
            self.model = MLPClassifier(**options)
            self.model.partial_fit(self.X[: row.batch], self.y[: row.batch], classes=np.arange(row.sizes[-1]))
        self._start_from(work.weights)

    def _start_from(self, weights: list[Array]) -> None:
        """Put the weights in; without its optimizer the estimator makes a new one for the next pass."""
        self.model.coefs_ = [w.copy() for w in weights[0::2]]
        self.model.intercepts_ = [b.copy() for b in weights[1::2]]
        self.model.t_ = 0
        del self.model._optimizer

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            self.model.partial_fit(self.X, self.y)

    def weights(self) -> list[Array]:
        """The weights now."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [array for pair in pairs for array in pair]


def make(work: Workload, n_threads: int) -> SklearnMlp:
    """The peer."""
    return SklearnMlp(work)
