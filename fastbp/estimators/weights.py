"""A model's weights by scikit-learn's names, which users may change."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.estimators import design as designs
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array


class Weights:
    """`coefs_` and `intercepts_` of an estimator that has a `model_`.

    Copies are made when they are first asked for, and compared with the model's before it is used again.
    """

    model_: Sequential
    _known: tuple[list[Array], list[Array]]

    @property
    def coefs_(self) -> list[Array]:
        """The kernels, layer by layer, (in, out); they may be changed, or others put in their place."""
        return self._weights_known()[0]

    @coefs_.setter
    def coefs_(self, value: Any) -> None:
        self._known = (list(value), self.__dict__.get("_known", (None, None))[1] or self._from_model()[1])

    @property
    def intercepts_(self) -> list[Array]:
        """The biases, layer by layer; they may be changed, or others put in their place."""
        return self._weights_known()[1]

    @intercepts_.setter
    def intercepts_(self, value: Any) -> None:
        self._known = (self.__dict__.get("_known", (None, None))[0] or self._from_model()[0], list(value))

    @property
    def _optimizer(self) -> Any:
        """Where scikit-learn's users look for the learning rate."""
        return self.model_.trainer

    def _weights_known(self) -> tuple[list[Array], list[Array]]:
        """Copies of kernels and biases, made when first asked for."""
        if "_known" not in self.__dict__:
            if "model_" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__} has no weights yet: call fit first")
            self._known = self._from_model()
        return self._known

    def _from_model(self) -> tuple[list[Array], list[Array]]:
        if "model_" not in self.__dict__:
            return [], []
        weights, places = self.model_.get_weights(), designs.places(self.model_.layers)
        return [weights[place] for place in places], [weights[place + 1] for place in places]

    def _put(self, coefs: list[Array], intercepts: list[Array]) -> None:
        """Make these the model's weights."""
        weights = self.model_.get_weights()
        for place, W, b in zip(designs.places(self.model_.layers), coefs, intercepts, strict=True):
            weights[place], weights[place + 1] = W, b
        self.model_.set_weights(weights)

    def _synchronise(self) -> None:
        """Take over what was done to coefs_ and intercepts_ since they were looked at."""
        known = self.__dict__.get("_known")
        if known is None or "model_" not in self.__dict__:
            return
        for mine, theirs in zip(known, self._from_model(), strict=True):
            if len(mine) != len(theirs) or not all(map(np.array_equal, mine, theirs)):
                self._put(*known)
                return
