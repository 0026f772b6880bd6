"""What users pass to a model, as the network takes it: arrays whole, sources chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import arrays, sample_weights, targets
from fastbp.data.arrays import Rows
from fastbp.data.category_codes import check_codes
from fastbp.data.feeds import Arrays, Chunks, Feed
from fastbp.data.prefetch import ahead
from fastbp.data.streams import Stream, features_of, is_list_of_chunks, is_source, unpacked
from fastbp.layers.base import Layer
from fastbp.losses import Loss
from fastbp.util.arguments import count
from fastbp.util.types import Array


class Inputs(NamedTuple):
    """What a network takes, and what turns users' data into that.

    input_size: columns of X, None for any; first: its first layer, which may read category codes; loss: what it is
    trained to lower, which decides the targets.
    """

    input_size: int | None
    output_size: int
    dtype: np.dtype[Any]
    first: Layer
    loss: Loss

    def rows(
        self, X: Any, y: Any, sample_weight: Any, what: str = "", where: str = "", width: int | None = None
    ) -> Rows:
        """X, y and weights, checked and converted; what and where come before and behind their names in messages."""
        X = features(X, width or self.input_size, self.dtype, self.first, f"{what}X{where}")
        n = X.shape[0]
        y = targets.targets(y, n, self.output_size, self.loss, self.dtype, f"{what}y{where}")
        if sample_weight is not None:
            name = f"{what}sample_weight{where}"
            sample_weight = sample_weights.weights(sample_weight, n, self.dtype, name, positive=not where)
        return Rows(X, y, sample_weight)

    def feed(self, X: Any, y: Any, sample_weight: Any) -> Feed:
        """All rows of arrays, or of a source's chunks."""
        if holds_all(X, y, sample_weight):
            return self.chunks(X)
        return Arrays(self.rows(X, y, sample_weight))

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
        """What to train on and what to validate on, of the arguments of fit."""
        window = None if shuffle_window is None else count(shuffle_window, "shuffle_window")
        to_train: Feed
        held_out: Feed | None = None
        if holds_all(X, y, sample_weight):
            if validation_split:
                came = f"validation_split={validation_split} needs arrays, but a source of chunks came"
                raise ValueError(f"{came}: pass validation_data, which may be a source too")
            to_train = self.chunks(X, epochs, class_weight=class_weight, window=window)
        else:
            if window is not None:
                came = f"shuffle_window={window} is for sources of chunks, but arrays came"
                raise ValueError(f"{came}, which are shuffled as a whole: leave it out")
            rows = self.rows(X, y, sample_weight)
            if validation_data is None:
                rows, rest = arrays.split(rows, validation_split)
                held_out = None if rest is None else Arrays(rest)
            to_train = Arrays(self._by_class(rows, class_weight))
        if validation_data is not None:
            held_out = self._validation(validation_data, to_train.first.X.shape[1], epochs)
        return to_train, held_out

    def _by_class(self, rows: Rows, class_weight: Any, *, positive: bool = True) -> Rows:
        """The rows with their weights times those of their classes."""
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
        """A source of chunks, of which the first is read and checked; width: columns of X, if not the first's."""

        def convert(chunk: Any, where: str) -> Rows:
            nonlocal width
            rows = self.rows(*unpacked(chunk, where), what, where, width)
            width = rows.X.shape[1]
            return self._by_class(rows, class_weight, positive=False)

        stream = Stream(source, convert, what + "source")
        if stream.once and epochs > 1:
            raise ValueError(
                f"the {what}source must give its chunks anew for each of the {epochs} epochs, but "
                f"{type(source).__name__} can be read once: pass a function that returns a fresh one"
            )
        return Chunks(stream, window)

    def _validation(self, given: Any, width: int, epochs: int) -> Feed:
        held_out: Feed
        if is_source(given) or is_list_of_chunks(given):
            held_out = self.chunks(given, epochs, "validation ", width=width)
        elif not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                "validation_data must be (X, y) or (X, y, sample_weight), or a source of such chunks, but "
                f"{type(given).__name__} {f'of {len(given)} ' if isinstance(given, tuple | list) else ''}came: "
                "pass such a tuple"
            )
        else:
            held_out = Arrays(self.rows(given[0], given[1], given[2] if len(given) == 3 else None, "validation "))
        if held_out.first.X.shape[1] != width:
            raise ValueError(
                f"validation X must have the {width} columns of X, but its shape is {held_out.first.X.shape}: "
                "pass the same features"
            )
        return held_out


def features(X: Any, width: int | None, dtype: np.dtype[Any], first: Layer, name: str = "X") -> Any:
    """X checked and converted, the codes of its columns too where the first layer reads some."""
    rows = arrays.features(X, width, dtype, name)
    check_codes(rows, first, name)
    return rows


def holds_all(X: Any, y: Any, sample_weight: Any) -> bool:
    """Whether X gives chunks that hold y and weights too; a list does so if y is left out."""
    if type(X) is np.ndarray or not (is_source(X) or (y is None and isinstance(X, list | tuple))):
        return False
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be left out where X is a source of chunks, as {type(X).__name__} is, but "
                f"{type(value).__name__} came: let the chunks be (X, y) or (X, y, sample_weight)"
            )
    return True


def predict_chunks(
    source: Any, width: int | None, dtype: np.dtype[Any], predict: Callable[[Array], Array]
) -> list[Array]:
    """The outputs for all chunks of a source, of which a few are held at a time; width: columns of X."""

    def convert(chunk: Any, where: str) -> Rows:
        return Rows(arrays.features(features_of(chunk), width, dtype, "X" + where), np.empty(0), None)

    stream = Stream(source, convert)
    with closing(ahead(lambda stop: stream.chunks(stop=stop))) as coming:
        return [predict(rows.X) for _, rows in coming]
