"""Checkpoints of an interrupted fit: what is needed, beside the model, to continue it in another process.

All randomness is determined by seed, step and epoch, so counters are enough. Data and arguments are not stored but must
be the same when the fit continues; fingerprints verify that.
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
from fastbp.storage.configs import to_config, with_defaults
from fastbp.storage.errors import CheckpointError
from fastbp.storage.snapshot import Snapshot, from_contents, rate_set, to_contents
from fastbp.training.fit_state import FitState
from fastbp.util.arguments import count
from fastbp.util.types import Array

_FINGERPRINT_BYTES = 1 << 24  # hashed per array, of evenly spaced rows if it is larger: 20 ms


class Saved(NamedTuple):
    """The validated contents of a checkpoint."""

    path: str
    snapshot: Snapshot
    state: dict[str, Any]
    place: Place
    first_step: int
    first_epoch: int


# ---------------------------------------------------------------- writing


def contents(fit: FitState) -> Contents:
    """The file contents for a fit that is between two slices."""
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
    """Class name and state of each callback that has a state."""
    able = [callback for callback in fit.job.callbacks if hasattr(callback, "get_state")]
    states = [(type(callback).__name__, callback.get_state()) for callback in able]
    return [(name, state) for name, state in states if state is not None]


def _given(fit: FitState) -> dict[str, Any]:
    """Description of model, data and arguments, computed once because fingerprints take time."""
    if fit.given is None:
        fit.given = _described_fit(fit)
    return fit.given


def _described_fit(fit: FitState) -> dict[str, Any]:
    """Everything that must be the same on resuming: the model as built and compiled, data and arguments."""
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
        "drop_last": job.drop_last or None,  # which older files have not
        **_fingerprints(job.feed, ""),
        **({} if job.validation is None else _fingerprints(job.validation, "validation ")),
        "validation data": job.validation is not None,
    }


def _described(item: Any) -> Any:
    return to_config(item) if dataclasses.is_dataclass(item) else type(item).__name__


def _fingerprints(feed: Feed, what: str) -> dict[str, Any]:
    if isinstance(feed, Chunks):  # more is not known before all of it is read
        return {what + "source": feed.stream.description, what + "shuffle_window": feed.window}
    rows = feed.first
    weights = "sample_weight or class_weight" if not what else "sample_weight"
    named = {"X": rows.X, "y": rows.y, weights: rows.weight}
    if isinstance(rows.X, SparseRows):
        named |= {"X": rows.X.values, "columns of X": rows.X.columns, "rows of X": rows.X.starts}
    return {what + name: None if array is None else _fingerprint(array) for name, array in named.items()}


def _fingerprint(array: Array) -> dict[str, Any]:
    """Shape, and a hash of the elements or of evenly spaced rows."""
    every = -(-array.nbytes // _FINGERPRINT_BYTES) or 1
    sample = np.ascontiguousarray(array[::every])
    text = hashlib.blake2b(sample.reshape(-1).view(np.uint8).data, digest_size=16).hexdigest()
    return {"shape": list(array.shape), "hash": text}


# ---------------------------------------------------------------- reading


def find(fit: FitState) -> Saved | None:
    """The validated checkpoint to continue from, or None. Changes nothing yet.

    Raises CheckpointError for a file that is damaged or holds no fit, ValueError if it belongs to another fit.
    """
    paths = (getattr(callback, "resume_from", None) for callback in fit.job.callbacks)
    path = fit.job.resume_from or next(filter(None, paths), None)
    if path is None or not Path(path).exists():
        return None
    saved = _read(path, fit)
    _check_given(saved, fit)
    place, steps = saved.place, fit.steps_per_epoch
    if (place.epoch, place.step - place.began) > (fit.job.epochs, 0):
        made = f"{place.epoch} epochs are done" if steps is None else f"has made {place.step}"
        asked = "was requested" if steps is None else f"makes {fit.job.epochs * steps} steps"
        raise ValueError(
            f"epochs={fit.job.epochs} {asked}, but the fit in {path} {made}: request more epochs, or delete the file "
            "to start over"
        )
    if saved.first_step > fit.trainer.step:
        raise ValueError(
            f"the fit in {path} started when its model had made {saved.first_step} steps, but this one has made "
            f"{fit.trainer.step}: load the model it started with, or use a separate file for each fit"
        )
    ended = place.epoch == fit.job.epochs or saved.state["stopped"] is not None
    if ended and fit.job.resume_from is None and fit.trainer.step >= saved.snapshot.step:
        return None  # the model has completed that fit: this is the next one
    names = [name for name, _ in saved.state["callbacks"]]
    present = [name for name, _ in _states(fit)]
    if names != present:
        raise ValueError(
            f"the fit in {path} had the callbacks {', '.join(names) or 'none'} that keep a state, got "
            f"{', '.join(present) or 'none'}: pass the same ones in the same order, or delete the file to start over"
        )
    return saved


def _read(path: str, fit: FitState) -> Saved:
    saved, signed = checkpoint.read(path)
    if saved.fit is None or not signed:
        raise CheckpointError(
            f"{path} holds no fit to resume: pass resume_from a file that BackupAndRestore wrote; a model that "
            "Sequential.save wrote is for fastbp.load"
        )
    try:
        snapshot = from_contents(saved)
        state = trees.decode(saved.fit, saved.arrays)
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
        raise CheckpointError(f"{path} describes an impossible fit: {error!r}") from error


def _place(state: dict[str, Any], step: int, fit: FitState) -> Place:
    """Position of the interrupted fit; for arrays it follows from the steps."""
    steps = fit.steps_per_epoch
    if steps is not None:
        return Place(step, step // steps, step // steps * steps)
    epoch, began = (count(state[name], name, 0) for name in ("epoch", "began"))
    if not epoch <= began <= step:
        raise ValueError("its counters contradict each other")
    return Place(step, epoch, began)


def _check_given(saved: Saved, fit: FitState) -> None:
    """ValueError, naming the difference, unless model, data and arguments match the checkpoint."""
    for name, now in _given(fit).items():
        before = with_defaults(saved.state["given"].get(name))
        if before != now:
            raise ValueError(
                f"the fit in {saved.path} cannot be resumed with other data or arguments, but {name} "
                f"{_difference(before, now)}: pass the same as before, or delete the file to start over"
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
    """Restore model and fit from the checkpoint."""
    state = saved.state
    # the snapshot has no learning rate if the schedule is a function
    fit.model.restore(saved.snapshot._replace(learning_rate=state["learning_rate"]))
    fit.step, fit.epoch, fit.began = saved.place
    fit.first_step, fit.first_epoch = saved.first_step, saved.first_epoch
    fit.latest, fit.stopped = state["latest"], state["stopped"]
    fit.history.epoch = list(range(fit.epoch))
    fit.history.history = {name: values.tolist() for name, values in state["history"].items()}
    fit.epoch_logs.set_state(state["tally"])
    fit.model.stop_training = state["stopped"] is not None


def restore_callbacks(fit: FitState, saved: Saved) -> None:
    """Restore the state of stateful callbacks."""
    stateful = [c for c in fit.job.callbacks if hasattr(c, "get_state") and c.get_state() is not None]
    for callback, (name, state) in zip(stateful, saved.state["callbacks"], strict=True):
        try:
            callback.set_state(state)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{saved.path} holds a state that {name} cannot take: {error!r}") from error
