"""A fit at rest: what it takes, beside the model, to go on with it in another process as if nothing had happened.

All randomness is numbered by seed, step and epoch, so counters stand for it. Data and arguments are not kept but must
be the same when the fit goes on; a fingerprint tells.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.data.csr import SparseRows
from fastbp.data.feeds import Chunks, Feed, Place
from fastbp.storage import checkpoint
from fastbp.storage import tree_serialization as trees
from fastbp.storage.checkpoint import Contents
from fastbp.storage.configs import to_config
from fastbp.storage.errors import CheckpointError
from fastbp.storage.snapshot import Snapshot, from_contents, rate_set, to_contents
from fastbp.training.fit_state import FitState
from fastbp.util.arguments import count
from fastbp.util.types import Array

_FINGERPRINT_BYTES = 1 << 24  # of an array; of a larger one evenly spaced rows: 20 ms


class Saved(NamedTuple):
    """What a file says, checked."""

    path: str
    snapshot: Snapshot
    state: dict[str, Any]
    place: Place
    first_step: int
    first_epoch: int


# ---------------------------------------------------------------- writing


def contents(fit: FitState) -> Contents:
    """What a file will hold of a fit that is between two slices."""
    arrays: dict[str, Array] = {}
    history = {name: np.array(values) for name, values in fit.history.history.items()}
    state = {
        "given": _given(fit),
        "epochs": fit.job.epochs,
        "step": fit.step,
        "epoch": fit.epoch,
        "began": fit.began,
        "first_epoch": fit.first_epoch,
        "stopped": fit.stopped,
        "learning_rate": fit.trainer.rates.changed,
        "history": history,
        "latest": fit.latest,
        "tally": fit.epoch_logs.get_state(),
        "callbacks": _states(fit),
    }
    base = to_contents(fit.model.snapshot(), warn=False)
    return base._replace(fit=trees.encode(state, checkpoint.FIT_TENSOR, arrays), arrays=arrays)


def _states(fit: FitState) -> list[tuple[str, Any]]:
    """The callbacks that have a state: class and state of each."""
    able = [callback for callback in fit.job.callbacks if hasattr(callback, "get_state")]
    states = [(type(callback).__name__, callback.get_state()) for callback in able]
    return [(name, state) for name, state in states if state is not None]


def _given(fit: FitState) -> dict[str, Any]:
    """Model, data and arguments of the fit, described once: fingerprints take time."""
    if fit.given is None:
        fit.given = _described_fit(fit)
    return fit.given


def _described_fit(fit: FitState) -> dict[str, Any]:
    """What must be the same when the fit goes on: the model as it was composed and compiled, data and arguments."""
    job, model = fit.job, fit.model
    return {
        "layers": [_described(layer) for layer in model.layers],
        "optimizer": _described(model.optimizer),
        "loss": _described(model.loss),
        "metrics": [_described(metric) for metric in model.metrics],
        "dtype": fit.trainer.engine.dtype.name,
        "seed": fit.trainer.seed,
        "batch_size": job.batch_size,
        "shuffle": job.shuffle,
        "mixup": job.mixup,
        **_fingerprints(job.feed, ""),
        **({} if job.validation is None else _fingerprints(job.validation, "validation ")),
        "validation data": job.validation is not None,
    }


def _described(item: Any) -> Any:
    return to_config(item) if dataclasses.is_dataclass(item) else type(item).__name__


def _fingerprints(feed: Feed, what: str) -> dict[str, Any]:
    if isinstance(feed, Chunks):  # of which nobody can know more before all is read
        return {what + "source": feed.stream.description, what + "shuffle_window": feed.window}
    rows = feed.first
    weights = "sample_weight or class_weight" if not what else "sample_weight"
    named = {"X": rows.X, "y": rows.y, weights: rows.weight}
    if isinstance(rows.X, SparseRows):
        named |= {"X": rows.X.values, "columns of X": rows.X.columns, "rows of X": rows.X.starts}
    return {what + name: None if array is None else _fingerprint(array) for name, array in named.items()}


def _fingerprint(array: Array) -> dict[str, Any]:
    """Shape, and a hash of the elements or of so many rows."""
    every = -(-array.nbytes // _FINGERPRINT_BYTES) or 1
    sample = np.ascontiguousarray(array[::every])
    text = hashlib.blake2b(sample.reshape(-1).view(np.uint8).data, digest_size=16).hexdigest()
    return {"shape": list(array.shape), "hash": text}


# ---------------------------------------------------------------- reading


def find(fit: FitState) -> Saved | None:
    """What the file says from which this fit is to go on, checked; None where there is none. Nothing changes yet.

    Raises CheckpointError for a file that is damaged or no fit's, ValueError where it is of another fit.
    """
    paths = (getattr(callback, "resume_from", None) for callback in fit.job.callbacks)
    path = fit.job.resume_from or next(filter(None, paths), None)
    if path is None or not Path(path).exists():
        return None
    saved = _read(path, fit)
    _check_given(saved, fit)
    place, steps = saved.place, fit.job.feed.steps_per_epoch(fit.job.batch_size)
    if (place.epoch, place.step - place.began) > (fit.job.epochs, 0):
        made = f"{place.epoch} epochs are done" if steps is None else f"has made {place.step}"
        asked = "is asked for" if steps is None else f"makes {fit.job.epochs * steps} steps"
        raise ValueError(
            f"epochs={fit.job.epochs} {asked}, but the fit in {path} {made}: ask for more epochs, or delete the file "
            "to begin anew"
        )
    if saved.first_step > fit.trainer.step:
        raise ValueError(
            f"the fit in {path} began when its model had made {saved.first_step} steps, but this one has made "
            f"{fit.trainer.step}: load the model that it began with, or give each fit a file of its own"
        )
    ended = place.epoch == fit.job.epochs or saved.state["stopped"] is not None
    if ended and fit.job.resume_from is None and fit.trainer.step >= saved.snapshot.step:
        return None  # the model has that fit behind it: this is the next
    names = [name for name, _ in saved.state["callbacks"]]
    present = [name for name, _ in _states(fit)]
    if names != present:
        raise ValueError(
            f"the fit in {path} had the callbacks {', '.join(names) or 'none'} that keep a state, but now come "
            f"{', '.join(present) or 'none'}: pass the same ones in the same order, or delete the file to begin anew"
        )
    return saved


def _read(path: str, fit: FitState) -> Saved:
    whole, signed = checkpoint.read(path)
    if whole.fit is None or not signed:
        raise CheckpointError(
            f"{path} holds no fit that could go on: pass resume_from a file that BackupAndRestore wrote; a model that "
            "Sequential.save wrote is for fastbp.load"
        )
    try:
        snapshot = from_contents(whole)
        state = trees.decode(whole.fit, whole.arrays)
        step, first_epoch = (count(state[name], name, 0) for name in ("step", "first_epoch"))
        place = _place(state, step, fit)
        if snapshot.step < step or any(len(values) > place.epoch for values in state["history"].values()):
            raise ValueError("its counters contradict each other")
        for name, kind in (("given", dict), ("latest", dict), ("callbacks", list), ("tally", dict)):
            if not isinstance(state[name], kind):
                raise TypeError(f"{name} is no {kind.__name__}")
        rate_set(state["learning_rate"])
        if state["stopped"] is not None:
            str.strip(state["stopped"])
        return Saved(path, snapshot, state, place, snapshot.step - step, first_epoch)
    except CheckpointError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} describes a fit that cannot be: {error!r}") from error


def _place(state: dict[str, Any], step: int, fit: FitState) -> Place:
    """Where the fit stood: of arrays the steps tell."""
    steps = fit.job.feed.steps_per_epoch(fit.job.batch_size)
    if steps is not None:
        return Place(step, step // steps, step // steps * steps)
    epoch, began = (count(state[name], name, 0) for name in ("epoch", "began"))
    if not epoch <= began <= step:
        raise ValueError("its counters contradict each other")
    return Place(step, epoch, began)


def _check_given(saved: Saved, fit: FitState) -> None:
    """ValueError, naming what differs, unless model, data and arguments are those of the file."""
    for name, now in _given(fit).items():
        before = saved.state["given"].get(name)
        if before != now:
            raise ValueError(
                f"the fit in {saved.path} cannot go on with other data or arguments, but {name} "
                f"{_difference(before, now)}: pass the same as before, or delete the file to begin anew"
            )


def _difference(before: Any, now: Any) -> str:
    if before is None or now is None:
        return "was not given before and is now" if before is None else "was given before and is not now"
    if isinstance(now, dict) and "hash" in now:
        if before["shape"] == now["shape"]:
            return "holds other numbers than before"
        return f"had the shape {tuple(before['shape'])} and now has {tuple(now['shape'])}"
    old, new = (text if len(text) <= 200 else text[:200] + "…" for text in (str(before), str(now)))
    return f"was {old} and is now {new}"


def restore(fit: FitState, saved: Saved) -> None:
    """Put the model and the fit into the state of the file."""
    state, trainer = saved.state, fit.trainer
    trainer.engine.set_weights(saved.snapshot.weights)
    fit.model.restore_state(saved.snapshot)
    trainer.rates.changed = state["learning_rate"]  # with a function as schedule the snapshot has none
    fit.step, fit.epoch, fit.began = saved.place
    fit.first_step, fit.first_epoch = saved.first_step, saved.first_epoch
    fit.latest, fit.stopped = state["latest"], state["stopped"]
    fit.history.epoch = list(range(fit.epoch))
    fit.history.history = {name: values.tolist() for name, values in state["history"].items()}
    fit.epoch_logs.set_state(state["tally"])
    fit.model.stop_training = state["stopped"] is not None


def restore_callbacks(fit: FitState, saved: Saved) -> None:
    """Give the callbacks that have a state the one of the file."""
    stateful = [c for c in fit.job.callbacks if hasattr(c, "get_state") and c.get_state() is not None]
    for callback, (name, state) in zip(stateful, saved.state["callbacks"], strict=True):
        try:
            callback.set_state(state)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{saved.path} holds a state that {name} cannot take: {error!r}") from error
