"""`Preprocessor`: from a raw table to a network's features, and from its outputs back.

It is fitted on the training rows only and saved with the model, in the metadata of its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, final

import numpy as np

from fastbp.preprocessing import column_rules, options, rule_texts, serialization
from fastbp.preprocessing.column_rules import Category, Given, Ignored, Numeric, Rule
from fastbp.preprocessing.learned import Learnt
from fastbp.preprocessing.targets import TASKS, Targets, learn_targets
from fastbp.preprocessing.transformer import Transformer, other_attributes_allowed
from fastbp.tables.columns import Columns, columns_of, label_of, numbers_of
from fastbp.tables.kinds import settle
from fastbp.util.arguments import count, flag
from fastbp.util.fields import set_fields
from fastbp.util.files import shortened
from fastbp.util.types import Array

METADATA_KEY, OLD_KEY = "fastbp.preprocessor", "fastbp.preparation"


class HasMetadata(Protocol):
    """The part of a model that its preprocessor needs."""

    metadata: dict[str, str]

    @property
    def input_size(self) -> int | None: ...


@final
@other_attributes_allowed
@dataclass(frozen=True)
class Preprocessor(Transformer):
    """Turns raw tables into features for a network, and its outputs into labels or quantities.

    ::

        numbers       (x - mean) / deviation, or (x - median) / IQR; the median if x is missing
        categories    one feature each, or one column of codes, which a ColumnEmbedding reads
        dates         days and years as numbers, times of year, week and day as sine and cosine
        targets       class names <-> 0 … classes - 1; quantities <-> (y - mean) / deviation

    A table is an array (rows, columns), a dict of columns, or a DataFrame of pandas, polars or any other library
    supported by narwhals (extra ``dataframe``). Columns of strings and booleans are categorical, all others numeric; so
    are strings that are numbers, even if up to 5 % of them are not: those are missing, with a warning. Dates and times,
    also as ISO 8601 strings, become days, the year, and sine and cosine of the time of year, week and day. Left out,
    with a warning, are columns without a value, strings that are all different, and a frame's row numbers in a file.
    Missing are None, NaN, and strings such as ``""``, ``?``, ``NaN``, ``NA``, ``null`` and ``None``.

    Parameters
    ----------
    task : {"classification", "regression"}, optional
        By default strings, booleans and integers with at most 100 distinct values mean classification.
    categorical : sequence of str or int, optional
        Columns, by name or number, of numbers that are categories.
    encoding : {"one_hot", "codes", "auto"}, default "one_hot"
        Encoding of categories; "auto" uses codes for columns of more than most_one_hot categories.
    most_one_hot : int, default 10
        See encoding.
    min_frequency : int, default 1
        Categories that occur less often in the training rows are rare. Rare and unseen categories share one code, 0, or
        one feature; missing values get another, 1. These features exist only if there were any in the training rows;
        otherwise all features are 0.
    scaling : {"standard", "robust", "none"} or float, default "standard"
        "robust" uses median and quartiles (half the range if these are equal). A column without variation becomes 0.
        A number, such as 255 for images, divides the values, with 0 for missing ones.
    scale_one_hot : bool, default False
        Whether one-hot features are scaled, and clipped, as numbers are. Two categories are then one feature, -1 and 1,
        and missing, rare and unseen ones have none: all features of the column are 0 before scaling.
    clip : bool, default False
        Whether to apply x / sqrt(1 + (x / 3)²) afterwards, which keeps values within ±3.
    missing_indicator : bool, default True
        Whether to add a feature that is 1 if a number is missing, for columns with missing values in the training rows.
    clamp_targets : bool, default False
        Whether `inverse_target` keeps quantities between the lowest and the highest of the training rows.
    classes : sequence, optional
        Labels in the order of the outputs, in case y does not contain all of them.
    missing : sequence of str, optional
        Further texts that stand for missing values, such as ``"."`` or ``"nil"``.

    Attributes
    ----------
    feature_names, cardinalities, n_outputs
        Available after `fit`.

    Raises
    ------
    TypeError, ValueError
        For invalid options and data, with the column, the row, what was got and the remedy.

    See Also
    --------
    Sequential : Its metadata take a preprocessor along, see `to_metadata`.

    Notes
    -----
    Comparable to scikit-learn's ColumnTransformer of SimpleImputer, StandardScaler and OneHotEncoder. It works in
    scikit-learn's Pipeline, ColumnTransformer and searches, where y reaches the next step as it is.

    References
    ----------
    Goodfellow et al. 2016, section 12.2; robust scaling and smooth clipping as in RealMLP (Holzmüller et al. 2024).

    Examples
    --------
    >>> table = {"age": [39, 50, None, 53], "work": ["Private", "?", "Private", "State-gov"]}
    >>> preprocessor = Preprocessor()
    >>> preprocessor.fit_transform(table, ["no", "yes", "no", "yes"]).shape
    (4, 5)
    >>> preprocessor.feature_names
    ('age', 'age missing', 'work=Private', 'work=State-gov', 'work missing')
    >>> preprocessor.transform_target(["yes", "no"])
    array([1, 0])
    >>> preprocessor.inverse_target(np.array([[0.2, 0.8]]))
    array(['yes'], dtype='<U3')
    """

    task: str | None = field(default=None, kw_only=True)
    categorical: tuple[str | int, ...] = field(default=(), kw_only=True)
    encoding: str = field(default="one_hot", kw_only=True)
    most_one_hot: int = field(default=10, kw_only=True)
    min_frequency: int = field(default=1, kw_only=True)
    scaling: str | float = field(default="standard", kw_only=True)
    scale_one_hot: bool = field(default=False, kw_only=True)
    clip: bool = field(default=False, kw_only=True)
    missing_indicator: bool = field(default=True, kw_only=True)
    clamp_targets: bool = field(default=False, kw_only=True)
    classes: tuple[Any, ...] | None = field(default=None, kw_only=True)
    missing: tuple[str, ...] = field(default=(), kw_only=True)
    _learnt: Learnt | None = field(default=None, init=False, repr=False)
    _given_classes: tuple[Any, ...] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in (("task", (None, *TASKS)), ("encoding", options.ENCODINGS)):
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(repr, allowed))
                raise ValueError(f"{name} must be one of {listed}, got {getattr(self, name)!r}: choose one")
        chosen: Any = self.categorical
        given = [chosen] if isinstance(chosen, str | int) else chosen
        set_fields(
            self,
            categorical=tuple(options.column_key(each) for each in given),
            most_one_hot=count(self.most_one_hot, "most_one_hot", 0),
            min_frequency=count(self.min_frequency, "min_frequency"),
            scaling=options.scaling(self.scaling),
            scale_one_hot=flag(self.scale_one_hot, "scale_one_hot"),
            clip=flag(self.clip, "clip"),
            missing_indicator=flag(self.missing_indicator, "missing_indicator"),
            clamp_targets=flag(self.clamp_targets, "clamp_targets"),
            missing=options.texts(self.missing),
            classes=None if self.classes is None else tuple(np.array(self.classes).tolist()),
        )
        set_fields(self, _given_classes=self.classes)

    # ---------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None) -> Preprocessor:
        """Fit to the training rows; what was learnt before is replaced.

        Parameters
        ----------
        X : table
            The training rows.
        y : array-like (rows,) or (rows, targets), optional
            Their targets.

        Returns
        -------
        Preprocessor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For invalid data; nothing has changed then.
        """
        table = columns_of(X)
        targets = None if y is None else learn_targets(y, self.task, self._given_classes, self.clamp_targets)
        if targets is not None and len(y) != table.rows:
            raise ValueError(
                f"y must have a target for each row of X, got {len(y)} for {table.rows} rows: pass as many"
            )
        return self.learn(table, targets)

    def learn(self, table: Columns, targets: Targets | None) -> Preprocessor:
        """`fit` to columns, and to targets that are known already."""
        set_fields(self, _learnt=Learnt(self._rules(table), bool(table.names), targets))
        set_fields(self, classes=self._given_classes if targets is None else targets.classes)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """`fit`, then `transform` of the same rows."""
        return self.fit(X, y).transform(X)

    def _rules(self, table: Columns) -> tuple[Rule, ...]:
        missing = options.missing_texts(self.missing)
        settled = settle(table, self.categorical, missing)
        names: list[str | None] = list(table.names) or [None] * len(table.arrays)
        rules: list[Any] = [None] * len(names)
        block = []  # numeric columns of an array, fitted together
        for i, kind in enumerate(settled.kinds):
            given = Given(settled.arrays[i], table.label(i), missing, table.place)
            if kind.kind == "ignored":
                rules[i] = Ignored(names[i], kind.why)
            elif kind.kind == "category":
                rules[i] = column_rules.learn_category(
                    given, names[i], self.encoding, self.most_one_hot, self.min_frequency,
                    self.scaling if self.scale_one_hot else None,
                )  # fmt: skip
            elif kind.kind == "date":
                rules[i] = column_rules.learn_dates(
                    given, names[i], self.scaling, self.missing_indicator, kind.others
                )
            elif table.matrix is not None:
                block.append(i)
            else:
                numbers = numbers_of(given.values, given.label, missing)[:, np.newaxis]
                rules[i] = self._learn(numbers, [names[i]], [given.label], kind.others)[0]
        if block and table.matrix is not None:
            matrix = table.matrix if len(block) == len(names) else table.matrix[:, block]
            learnt = self._learn(matrix, [names[i] for i in block], [table.label(i) for i in block])
            for i, rule in zip(block, learnt, strict=True):
                rules[i] = rule
        if not sum(rule.width for rule in rules):
            raise ValueError("X must have a column to learn from, but all are left out: see the warnings")
        return tuple(rules)

    def _learn(
        self, numbers: Array, names: list[str | None], labels: list[str], texts: tuple[str, ...] = ()
    ) -> list[Numeric | Ignored]:
        return column_rules.learn_numbers(numbers, names, labels, self.scaling, self.missing_indicator, texts)

    # ---------------------------------------------------------------- features

    def transform(self, X: Any) -> Any:
        """Compute the features of a table.

        Parameters
        ----------
        X : table
            Columns are looked up by name, in any order, others are ignored; those of an array by position.

        Returns
        -------
        ndarray (rows, len(feature_names)) of float32
            The features; a DataFrame after `set_output`.
        """
        learnt, table = self._fitted(), columns_of(X)
        places, missing = self._places(table), options.missing_texts(self.missing)
        result = np.empty((table.rows, sum(rule.width for rule in learnt.rules)), np.float32)
        i = start = 0
        while i < len(places):
            rule = learnt.rules[i]
            last = i + 1
            if table.matrix is not None and isinstance(rule, Numeric) and not rule.indicator:
                while last < len(places) and _continues(learnt.rules[last], places[last] - places[last - 1]):
                    last += 1
                run: list[Any] = list(learnt.rules[i:last])
                values = table.matrix[:, places[i] : places[last - 1] + 1]
                for place in places[i:last] if not _finite_or_missing(values) else ():
                    numbers_of(table.arrays[place], table.label(place), missing, table.place)
                column_rules.scale_into(values, run, result[:, start : start + len(run)], self.clip)
                start += len(run)
            elif rule.width:
                given = Given(table.arrays[places[i]], label_of(rule.name, i), missing, table.place)
                rule.write(given, result[:, start : start + rule.width], self.clip)
                start += rule.width
            i = last
        return self._container(result, X)

    def _places(self, table: Columns) -> Sequence[int]:
        learnt = self._fitted()
        if learnt.named and table.names:
            missing = [name for name in self.columns if name not in table.names]
            if missing:
                raise ValueError(
                    f"X must have the columns of the training data, but lacks {', '.join(missing)}: its columns are "
                    f"{', '.join(table.names)}"
                )
            at = {name: place for place, name in enumerate(table.names)}
            return [at.get(str(rule.name), -1) for rule in learnt.rules]  # -1: ignored, and not there
        if len(table.arrays) != len(learnt.rules):
            raise ValueError(
                f"X must have the {len(learnt.rules)} columns of the training data, got {len(table.arrays)}: pass "
                f"{'a table with their names, or ' if learnt.named else ''}these in the same order"
            )
        return range(len(learnt.rules))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that have features; empty for an array."""
        learnt = self._fitted()
        return tuple(str(rule.name) for rule in learnt.rules if rule.width) if learnt.named else ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The fitted rule of each column."""
        return self._fitted().rules

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each feature that `transform` computes."""
        names: list[str] = []
        for i, rule in enumerate(self.rules):
            names += rule.features(f"x{i}" if rule.name is None else rule.name)
        return tuple(names)

    @property
    def cardinalities(self) -> dict[int, int]:
        """{feature: number of codes} of the features that are codes, for `ColumnEmbedding`.

        Examples
        --------
        >>> table = {"town": ["Kiel", "Ulm", "Ulm"], "age": [39, 50, 28]}
        >>> Preprocessor(encoding="codes").fit(table).cardinalities
        {0: 4}
        """
        result, start = {}, 0
        for rule in self.rules:
            if isinstance(rule, Category) and rule.coded:
                result[start] = rule.cardinality
            start += rule.width
        return result

    # ---------------------------------------------------------------- targets

    @property
    def n_outputs(self) -> int:
        """Number of outputs a network needs: one per class or quantity."""
        targets = self._targets()
        return len(targets.classes) or len(targets.shift)

    @property
    def target_scale(self) -> Array:
        """Divisor of the quantities, (targets,)."""
        return np.array(self._targets().scale)

    @property
    def targets(self) -> Targets | None:
        """What is known of the targets, if it was fitted with any."""
        return self._fitted().targets

    def transform_target(self, y: Any) -> Array:
        """Convert targets to the form a network learns.

        Parameters
        ----------
        y : array-like
            Targets.

        Returns
        -------
        ndarray
            Class numbers, int64 (rows,), or scaled quantities, float32 (rows, n_outputs).

        Raises
        ------
        ValueError
            For an unknown class or a missing target.
        """
        return self._targets().transform(y)

    def inverse_target(self, outputs: Any) -> Array:
        """Convert outputs to class labels, or to quantities in their original units.

        Parameters
        ----------
        outputs : array-like (rows, outputs)
            Outputs of the network. The largest determines the class; a single one is compared with 1/2.

        Returns
        -------
        ndarray
            Labels (rows,), or quantities.
        """
        return self._targets().inverse(np.asarray(outputs))

    def _targets(self) -> Targets:
        targets = self._fitted().targets
        if targets is None:
            raise RuntimeError("this Preprocessor was fitted without targets: call fit(X, y)")
        return targets

    def _fitted(self) -> Learnt:
        if self._learnt is None:
            raise RuntimeError("this Preprocessor is not fitted yet: call fit with the training rows")
        return self._learnt

    # ---------------------------------------------------------------- saving and printing

    def to_metadata(self) -> dict[str, str]:
        """Strings for `Sequential.metadata`, from which `of` restores an equal Preprocessor.

        Examples
        --------
        >>> model = Sequential([Dense(2)], input_size=1)
        >>> preprocessor = Preprocessor().fit([[1.0], [3.0]], [0, 1])
        >>> model.metadata |= preprocessor.to_metadata()
        >>> Preprocessor.of(model) == preprocessor
        True
        """
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return {METADATA_KEY: serialization.to_text(given, self._fitted())}

    @classmethod
    def of(cls, model: HasMetadata) -> Preprocessor | None:
        """The Preprocessor saved with a model, None if there is none; ValueError if it cannot be read."""
        metadata = model.metadata
        if METADATA_KEY not in metadata and OLD_KEY not in metadata:
            return None
        key = METADATA_KEY if METADATA_KEY in metadata else OLD_KEY
        try:
            if key == OLD_KEY:
                given, learnt = serialization.from_old(metadata[key], model.input_size or 0)
            else:
                given, learnt = serialization.from_text(metadata[key])
            result = cls(**given)
            set_fields(result, _learnt=learnt)
            return result
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            remedy = "use another copy of its file, or a later fastbp"
            message = f"the model's metadata {key!r} cannot be read: {error}; {remedy}"
            raise ValueError(shortened(message)) from error

    def __str__(self) -> str:
        """One line per column: its kind and its features; before `fit` the options."""
        return repr(self) if self._learnt is None else rule_texts.described(self.rules)


def _continues(rule: Rule, step: int) -> bool:
    """Whether a column can be scaled together with the previous one."""
    return step == 1 and isinstance(rule, Numeric) and not rule.indicator


def _finite_or_missing(values: Array) -> bool:
    return values.dtype.kind != "f" or not np.isinf(values).any()
