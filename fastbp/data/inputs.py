"""What users give a model to train on, evaluate and predict: arrays as they are, sources chunk by chunk."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.data import arrays as data
from fastbp.data.arrays import Array, Rows
from fastbp.data.feeds import Arrays, Chunks, Feed
from fastbp.data.prefetch import ahead
from fastbp.data.streams import Stream, features_of, is_list_of_chunks, is_source, unpacked
from fastbp.util.arguments import count

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential


def feed(model: Sequential, X: Any, y: Any, sample_weight: Any) -> Feed:
    """All rows of arrays, or of a source's chunks."""
    if holds_all(X, y, sample_weight):
        return chunks(model, X)
    return Arrays(model._rows(X, y, sample_weight))


def training_feeds(
    model: Sequential,
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
        to_train = chunks(model, X, epochs, class_weight=class_weight, window=window)
    else:
        if window is not None:
            came = f"shuffle_window={window} is for sources of chunks, but arrays came"
            raise ValueError(f"{came}, which are shuffled as a whole: leave it out")
        rows = model._rows(X, y, sample_weight)
        if validation_data is None:
            rows, rest = data.split(rows, validation_split)
            held_out = None if rest is None else Arrays(rest)
        to_train = Arrays(_by_class(model, rows, class_weight))
    if validation_data is not None:
        held_out = _validation(model, validation_data, to_train.first.X.shape[1], epochs)
    return to_train, held_out


def _by_class(model: Sequential, rows: Rows, class_weight: Any, *, positive: bool = True) -> Rows:
    """The rows with their weights times those of their classes."""
    if class_weight is None:
        return rows
    by_class = data.class_weights(class_weight, rows.y, model.output_size, model._compiled().loss)
    return rows._replace(weight=data.combine(rows.weight, by_class, rows.X.dtype, positive=positive))


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


def chunks(
    model: Sequential,
    source: Any,
    epochs: int = 1,
    what: str = "",
    *,
    width: int | None = None,
    class_weight: Any = None,
    window: int | None = None,
) -> Chunks:
    """A source of chunks, of which the first is read and checked; width: columns of X, if not those of the first."""
    model._compiled()

    def convert(chunk: Any, where: str) -> Rows:
        nonlocal width
        rows = model._rows(*unpacked(chunk, where), what, where, width)
        width = rows.X.shape[1]
        return _by_class(model, rows, class_weight, positive=False)

    stream = Stream(source, convert, what + "source")
    if stream.once and epochs > 1:
        raise ValueError(
            f"the {what}source must give its chunks anew for each of the {epochs} epochs, but "
            f"{type(source).__name__} can be read once: pass a function that returns a fresh one"
        )
    return Chunks(stream, window)


def _validation(model: Sequential, given: Any, width: int, epochs: int) -> Feed:
    held_out: Feed
    if is_source(given) or is_list_of_chunks(given):
        held_out = chunks(model, given, epochs, "validation ", width=width)
    elif not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(
            "validation_data must be (X, y) or (X, y, sample_weight), or a source of such chunks, but "
            f"{type(given).__name__} {f'of {len(given)} ' if isinstance(given, tuple | list) else ''}came: "
            "pass such a tuple"
        )
    else:
        held_out = Arrays(model._rows(given[0], given[1], given[2] if len(given) == 3 else None, "validation "))
    if held_out.first.X.shape[1] != width:
        raise ValueError(
            f"validation X must have the {width} columns of X, but its shape is {held_out.first.X.shape}: "
            "pass the same features"
        )
    return held_out


def predict(model: Sequential, source: Any, n_threads: int | None) -> Array:
    """The outputs for all rows of a source, of which a few chunks are held at a time."""

    def convert(chunk: Any, where: str) -> Rows:
        X = data.features(features_of(chunk), model.input_size, model._dtype, "X" + where)
        return Rows(X, np.empty(0), None)

    stream = Stream(source, convert)
    with closing(ahead(lambda stop: stream.chunks(stop=stop))) as coming:
        outputs = [model.predict(rows.X, n_threads=n_threads) for _, rows in coming]
    return np.concatenate(outputs) if outputs else np.empty((0, model.output_size), model._dtype)
