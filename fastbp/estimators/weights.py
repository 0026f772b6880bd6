"""The model's weights under scikit-learn's names, which users may modify."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.estimators import architecture
from fastbp.model.sequential import Sequential
from fastbp.util.turns import Turns
from fastbp.util.types import Array


class Weights:
    """`coefs_` and `intercepts_` of an estimator that has a `model_`.

    Copies are made on first access, and compared with the model's weights before the model is used again.
    """

    model_: Sequential
    _weight_copies: tuple[list[Array], list[Array]]

    @property
    def coefs_(self) -> list[Array]:
        """The kernels, layer by layer, (in, out); they may be modified or replaced."""
        return self._copies()[0]

    @coefs_.setter
    def coefs_(self, value: Any) -> None:
        biases = self.__dict__.get("_weight_copies", (None, None))[1] or self._from_model()[1]
        self._weight_copies = (list(value), biases)

    @property
    def intercepts_(self) -> list[Array]:
        """The biases, layer by layer; they may be modified or replaced."""
        return self._copies()[1]

    @intercepts_.setter
    def intercepts_(self, value: Any) -> None:
        kernels = self.__dict__.get("_weight_copies", (None, None))[0] or self._from_model()[0]
        self._weight_copies = (kernels, list(value))

    @property
    def _optimizer(self) -> Any:
        """Where users of scikit-learn look up the learning rate."""
        return self.model_.trainer

    def _copies(self) -> tuple[list[Array], list[Array]]:
        """Copies of kernels and biases, made when first asked for."""
        if "_weight_copies" not in self.__dict__:
            if "model_" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__} has no weights yet: call fit first")
            with self._turns.state:
                if self._trained_elsewhere():
                    return self._from_model()  # of the moment: kept, they would pass for a change of the user's
                self._weight_copies = self._from_model()
        return self._weight_copies

    @property
    def _turns(self) -> Turns:
        """Of the threads that fit the estimator; made when first asked for, since __init__ sets parameters alone."""
        turns: Turns = self.__dict__.get("_own_turns") or self.__dict__.setdefault("_own_turns", Turns())
        return turns

    def _trained_elsewhere(self) -> bool:
        """Whether another thread fits the estimator now."""
        return self._turns.owner is not None and not self._turns.mine

    def _from_model(self) -> tuple[list[Array], list[Array]]:
        """Kernels and biases of the model."""
        if "model_" not in self.__dict__:
            return [], []
        weights, places = self.model_.get_weights(), architecture.places(self.model_.layers)
        return [weights[place] for place in places], [weights[place + 1] for place in places]

    def _put(self, coefs: list[Array], intercepts: list[Array]) -> None:
        """Set the model's weights."""
        weights = self.model_.get_weights()
        for place, W, b in zip(architecture.places(self.model_.layers), coefs, intercepts, strict=True):
            weights[place], weights[place + 1] = W, b
        self.model_.set_weights(weights)

    def _synchronize(self) -> None:
        """Apply changes to coefs_ and intercepts_ to the model."""
        copies = self.__dict__.get("_weight_copies")
        if copies is None or "model_" not in self.__dict__:
            return
        with self._turns.state:
            copies = self.__dict__.get("_weight_copies")
            if copies is None or self._trained_elsewhere():
                return
            for mine, theirs in zip(copies, self._from_model(), strict=True):
                if len(mine) != len(theirs) or not all(map(np.array_equal, mine, theirs)):
                    self._put(*copies)
                    return
