"""Conversion of user data for a model: arrays at once, sources chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import arrays, sample_weights, targets
from fastbp.data.arrays import Rows
from fastbp.data.category_codes import check_codes
from fastbp.data.feeds import Arrays, Chunks, Feed
from fastbp.data.frames import check_names, column_names
from fastbp.data.prefetch import ahead
from fastbp.data.streams import Stream, features_of, is_list_of_chunks, is_source, unpacked
from fastbp.layers.base import Layer
from fastbp.losses import Loss
from fastbp.util.arguments import count
from fastbp.util.types import Array


class Inputs(NamedTuple):
    """What a network expects, and the conversion of user data to it.

    input_size: columns of X, None for any; first: its first layer, which may read category codes; loss: the training
    loss, which determines the form of the targets; feature_names: of the columns of X, if trained on a frame.
    """

    input_size: int | None
    output_size: int
    dtype: np.dtype[Any]
    first: Layer
    loss: Loss
    feature_names: tuple[str, ...] | None = None

    def rows(
        self, X: Any, y: Any, sample_weight: Any, what: str = "", where: str = "", width: int | None = None
    ) -> Rows:
        """X, y and weights, validated and converted; what and where surround their names in messages."""
        X = features(X, width or self.input_size, self.dtype, self.first, f"{what}X{where}", self.feature_names)
        n = X.shape[0]
        y = targets.targets(y, n, self.output_size, self.loss, self.dtype, f"{what}y{where}")
        if sample_weight is not None:
            name = f"{what}sample_weight{where}"
            sample_weight = sample_weights.weights(sample_weight, n, self.dtype, name, positive=not where)
        return Rows(X, y, sample_weight)

    def feed(self, X: Any, y: Any, sample_weight: Any) -> Feed:
        """A feed of arrays or of a source's chunks."""
        if holds_all(X, y, sample_weight):
            return self.chunks(X)
        return Arrays(self.rows(X, y, sample_weight))

    def named_after(self, X: Any) -> Inputs:
        """With the names of the columns of X, if X is a frame and there are none yet."""
        if self.feature_names is not None or type(X) is np.ndarray:
            return self
        return self._replace(feature_names=column_names(X))

    def training_feeds(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        validation_data: Any,
        validation_split: Any,
        epochs: int,
        shuffle_window: Any,
    ) -> tuple[Feed, Feed | None]:
        """Training and validation feeds for the arguments of fit."""
        window = None if shuffle_window is None else count(shuffle_window, "shuffle_window")
        training: Feed
        held_out: Feed | None = None
        if holds_all(X, y, sample_weight):
            if validation_split:
                raise ValueError(
                    f"validation_split={validation_split} needs arrays, got a source of chunks: pass validation_data, "
                    "which may be a source too"
                )
            training = self.chunks(X, epochs, class_weight=class_weight, window=window)
        else:
            if window is not None:
                raise ValueError(
                    f"shuffle_window={window} is for sources of chunks, got arrays, which are shuffled as a whole: "
                    "leave it out"
                )
            rows = self.rows(X, y, sample_weight)
            if validation_data is None:
                rows, rest = arrays.split(rows, validation_split)
                held_out = None if rest is None else Arrays(rest)
            training = Arrays(self._by_class(rows, class_weight), self.named_after(X).feature_names)
        if validation_data is not None:
            named = self._replace(feature_names=training.names)
            held_out = named._validation(validation_data, training.first.X.shape[1], epochs)
        return training, held_out

    def _by_class(self, rows: Rows, class_weight: Any, *, positive: bool = True) -> Rows:
        """The rows with sample weights multiplied by class weights."""
        if class_weight is None:
            return rows
        by_class = sample_weights.class_weights(class_weight, rows.y, self.output_size, self.loss)
        return rows._replace(weight=sample_weights.combine(rows.weight, by_class, rows.X.dtype, positive=positive))

    def chunks(
        self,
        source: Any,
        epochs: int = 1,
        what: str = "",
        *,
        width: int | None = None,
        class_weight: Any = None,
        window: int | None = None,
    ) -> Chunks:
        """A source of chunks, of which the first is read and validated; width: columns of X."""

        inputs = self

        def convert(chunk: Any, where: str) -> Rows:
            nonlocal width, inputs
            inputs = inputs.named_after(features_of(chunk))
            rows = inputs.rows(*unpacked(chunk, where), what, where, width)
            width = rows.X.shape[1]
            return self._by_class(rows, class_weight, positive=False)

        stream = Stream(source, convert, what + "source")
        if stream.once and epochs > 1:
            raise ValueError(
                f"the {what}source must be iterable again for each of the {epochs} epochs, but "
                f"{type(source).__name__} can be read once: pass a function that returns a new one"
            )
        feed = Chunks(stream, window)
        feed.names = inputs.feature_names
        return feed

    def _validation(self, given: Any, width: int, epochs: int) -> Feed:
        held_out: Feed
        if is_source(given) or is_list_of_chunks(given):
            held_out = self.chunks(given, epochs, "validation ", width=width)
        elif not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                "validation_data must be (X, y) or (X, y, sample_weight), or a source of such chunks, got "
                f"{type(given).__name__}{f' of {len(given)}' if isinstance(given, tuple | list) else ''}: "
                "pass such a tuple"
            )
        else:
            held_out = Arrays(self.rows(given[0], given[1], given[2] if len(given) == 3 else None, "validation "))
        if held_out.first.X.shape[1] != width:
            raise ValueError(
                f"validation X must have the {width} columns of X, got shape {held_out.first.X.shape}: "
                "pass the same features"
            )
        return held_out


def features(
    X: Any,
    width: int | None,
    dtype: np.dtype[Any],
    first: Layer,
    name: str = "X",
    names: tuple[str, ...] | None = None,
) -> Any:
    """X validated and converted, including names of its columns, and category codes if the first layer reads any."""
    if names is not None and type(X) is not np.ndarray:
        check_names(X, names, name)
    rows = arrays.features(X, width, dtype, name)
    check_codes(rows, first, name)
    return rows


def holds_all(X: Any, y: Any, sample_weight: Any) -> bool:
    """Whether X is a source of chunks with y and weights; a sequence is one if y is not given."""
    if type(X) is np.ndarray or isinstance(X, str | bytes):
        return False
    if not (is_source(X) or (y is None and isinstance(X, Sequence))):
        return False
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be left out where X is a source of chunks, as {type(X).__name__} is, got "
                f"{type(value).__name__}: make the chunks (X, y) or (X, y, sample_weight)"
            )
    return True


def predict_chunks(
    source: Any,
    width: int | None,
    dtype: np.dtype[Any],
    names: tuple[str, ...] | None,
    predict: Callable[[Array], Array],
) -> list[Array]:
    """The outputs for all chunks of a source, a few of which are held at a time; width: columns of X."""

    def convert(chunk: Any, where: str) -> Rows:
        X = features_of(chunk)
        check_names(X, names, "X" + where)
        return Rows(arrays.features(X, width, dtype, "X" + where), np.empty(0), None)

    stream = Stream(source, convert)
    with closing(ahead(lambda stop: stream.chunks(stop=stop))) as prepared:
        return [predict(rows.X) for _, rows in prepared]
