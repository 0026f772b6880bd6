"""What scikit-learn asks of a transformer, without importing it: for Pipeline, ColumnTransformer and searches."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np

from fastbp.util.arguments import did_you_mean
from fastbp.util.fields import set_fields
from fastbp.util.types import Array

_CONTAINERS = (None, "default", "pandas", "polars")


class Transformer:
    """Parameters, names and tags of a frozen dataclass with feature_names, columns, rules and `_learnt`."""

    _learnt: Any
    _given_classes: Any
    _output: str | None = None  # see set_output

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options, by name, as they were given.

        Parameters
        ----------
        deep : bool, default True
            No option has options of its own, so this changes nothing.

        Returns
        -------
        dict
            {name: value}.
        """
        options = {each.name: getattr(self, each.name) for each in fields(self) if each.init}  # type: ignore[arg-type]
        return options | {"classes": self._given_classes}

    def set_params(self, **params: Any) -> Self:
        """Change options; if any differs, what was learnt is forgotten.

        Parameters
        ----------
        **params
            Options by name.

        Returns
        -------
        Preprocessor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For unknown names and invalid values; nothing has changed then.
        """
        given = self.get_params()
        for name in params:
            if name not in given:
                meant = did_you_mean(name, given)
                raise ValueError(f"{type(self).__name__} has the options {', '.join(given)}, got {name!r}{meant}")
        wanted = type(self)(**(given | params))
        if wanted.get_params() != given:
            set_fields(self, **wanted.get_params(), _given_classes=wanted._given_classes, _learnt=None)
        return self

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """The names of the features.

        Parameters
        ----------
        input_features : array-like of str, optional
            Not used: the names are those of the training rows.

        Returns
        -------
        ndarray of str objects
            As ``feature_names``.
        """
        names: Any = self.feature_names  # type: ignore[attr-defined]
        return np.array(names, object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            An array, or a DataFrame of this library; None changes nothing.

        Returns
        -------
        Preprocessor
            Itself.
        """
        if transform not in _CONTAINERS:
            raise ValueError(f"transform must be 'default', 'pandas' or 'polars', got {transform!r}: pass one of these")
        if transform is not None:
            set_fields(self, _output=transform)
        return self

    def _container(self, features: Array, X: Any) -> Any:
        """Features in the container that was chosen."""
        if self._output == "pandas":
            import pandas

            return pandas.DataFrame(features, columns=self.get_feature_names_out(), index=getattr(X, "index", None))
        if self._output == "polars":
            import polars

            return polars.DataFrame(features, schema=self.get_feature_names_out().tolist())
        return features

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the training rows; AttributeError before `fit`."""
        return len(self._learnt_or_missing("n_features_in_").rules)

    @property
    def feature_names_in_(self) -> Array:
        """Names of the columns of the training rows; AttributeError before `fit` and for arrays."""
        learnt = self._learnt_or_missing("feature_names_in_")
        if not learnt.named:
            raise AttributeError("the columns have no names: fit with a DataFrame or a dict of columns")
        return np.array([rule.name for rule in learnt.rules], object)

    def _learnt_or_missing(self, name: str) -> Any:
        if self._learnt is None:
            raise AttributeError(f"{type(self).__name__} has no {name} before fit: call fit with the training rows")
        return self._learnt

    def __sklearn_is_fitted__(self) -> bool:
        return self._learnt is not None

    def __sklearn_clone__(self) -> Self:
        clone = type(self)(**self.get_params())
        return clone.set_output(transform=self._output)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(string=True, categorical=True, allow_nan=True),
        )


def other_attributes_allowed(kind: type) -> type:
    """A frozen dataclass to which others, such as scikit-learn's Pipeline, may attach attributes of their own."""
    names, frozen = frozenset(each.name for each in fields(kind)), vars(kind)["__setattr__"]

    def set_attribute(self: Any, name: str, value: Any) -> None:
        (frozen if name in names else object.__setattr__)(self, name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if name in names:
            raise AttributeError(f"{kind.__name__} cannot change: use set_params, or make a new one")
        object.__delattr__(self, name)

    kind.__setattr__, kind.__delattr__ = set_attribute, delete_attribute  # type: ignore[method-assign, assignment]
    return kind
