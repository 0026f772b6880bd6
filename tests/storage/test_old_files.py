"""Files of earlier versions load, predict the same and continue training to the same results.

The files are in `fixtures`, each with its expected results on three instruction sets. If the instruction set, Numba and
NumPy are those of a stored result, the bits must be equal. Otherwise results may differ by rounding, and the stored
ones show by how much: the three round differently (fused multiply-adds or not, other reciprocals) at every operation.
So the tolerance is 16 times the largest difference between any two of them, plus 64 roundings of the largest element
in case they agree by chance. Each of the three is within a tenth of the tolerance that the other two give.
"""

import json
import math
import pickle
import shutil
import warnings

import numpy as np
import pytest
import write_fixtures as fixtures
from safetensors import safe_open
from safetensors.numpy import load_file
from write_fixtures import CASES, ESTIMATORS, FITS, FOLDER, LABELS, OBJECTS, OTHERS, PICKLED_MODELS, TABLES, X

import fastbp

pytestmark = pytest.mark.jit  # bits are those of compiled code

MODELS, FIT_FILES, PICKLES = FOLDER / "models", FOLDER / "fits", FOLDER / "pickles"
MACHINE = fixtures.machine()


class Expected:
    """The expected results of a file."""

    def __init__(self, path):
        with np.load(fixtures.expected_path(path)) as file:
            arrays = dict(file.items())
        self.written_here = str(arrays.pop("writer")) == MACHINE
        self.machines = {isa: str(arrays[f"{isa}/machine"]) for isa in fixtures.INSTRUCTION_SETS}
        self.arrays = arrays

    def check(self, result):
        """Raise AssertionError unless a result, arrays by name, equals this one."""
        # The plain loops leave it to LLVM which multiply-adds to fuse: their bits depend on how they are compiled.
        here = [isa for isa, machine in self.machines.items() if machine == MACHINE and isa != "portable"]
        names = {key.partition("/")[2] for key in self.arrays} - {"machine"}
        assert result.keys() == names
        for name, got in result.items():
            stored = [self.arrays[f"{isa}/{name}"] for isa in self.machines]
            assert (got.dtype, got.shape) == (stored[0].dtype, stored[0].shape), name
            if here or got.dtype.kind != "f":
                np.testing.assert_array_equal(got, self.arrays[f"{here[0]}/{name}"] if here else stored[0], name)
            else:
                np.testing.assert_allclose(got, stored[0], 0, self.tolerance(stored), err_msg=name)

    def tolerance(self, stored):
        units = [np.finfo(array.dtype).eps for array in self.arrays.values() if array.dtype.kind == "f"]
        spread = max(np.abs(a - b).max(initial=0) for a in stored for b in stored)
        return 16 * spread + 64 * max(units) * np.abs(stored[0]).max(initial=0)


def description(path):
    """The description of the model in a file, without the versions that wrote it."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["fastbp.model"])


def assert_same_tensors(first, second):
    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], name)


def load(path):
    return fastbp.load(path, fixtures.custom_objects())


def unpickled(name):
    with warnings.catch_warnings():  # about the version that wrote it
        warnings.filterwarnings("ignore", ".*was pickled by fastbp", UserWarning)
        warnings.filterwarnings("ignore", "Trying to unpickle estimator", UserWarning)
        return pickle.loads((PICKLES / f"{name}.pickle").read_bytes())


def test_every_file_belongs_to_a_case():
    """A file that no test reads would promise nothing."""
    files = {path for path in FOLDER.glob("*/*") if path.suffix not in (".npz", ".pyc")}
    assert files == set(fixtures.all_files())
    assert sum(path.stat().st_size for path in FOLDER.glob("*/*.*")) < 2e6


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("name", CASES)
def test_model_predicts_and_continues_training(name):
    path = MODELS / f"{name}.safetensors"
    one, two = (CASES[name].continued(load(path), threads) for threads in (1, 2))
    Expected(path).check(one)
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key], key)


@pytest.mark.parametrize("name", CASES)
def test_model_equals_that_of_the_current_code(tmp_path, name):
    """Saving it again gives the same file; so does retraining, bit for bit on a machine like the writer's."""
    path = MODELS / f"{name}.safetensors"
    again, twin = tmp_path / "again.safetensors", tmp_path / "twin.safetensors"
    model, made = load(path), CASES[name].trained()
    assert model.layers == made.layers
    model.save(again)
    made.save(twin)
    assert_same_tensors(path, again)
    assert description(again) == description(twin)
    assert model.metadata == made.metadata
    if Expected(path).written_here:
        assert_same_tensors(path, twin)


@pytest.mark.parametrize("task", TABLES)
def test_table_model_reads_raw_rows(task):
    path = MODELS / f"table_{task}.safetensors"
    one, two = (fixtures.continued_table(fastbp.load(path), task, threads) for threads in (1, 2))
    Expected(path).check(one)
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key], key)


# ---------------------------------------------------------------- fits


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FITS)
def test_interrupted_fit_resumes(tmp_path, name, threads):
    path = FIT_FILES / f"{name}.fit"
    expected = Expected(path)
    resumed = FITS[name].run(shutil.copy(path, tmp_path), threads=threads)
    expected.check(resumed)
    if expected.written_here:  # an uninterrupted fit gives the same
        expected.check(FITS[name].run(None, threads=threads))


@pytest.mark.parametrize("name", FITS)
def test_interrupted_fit_resumes_with_its_callback(tmp_path, name):
    """By the callback that wrote the file and keeps writing it."""
    path = shutil.copy(FIT_FILES / f"{name}.fit", tmp_path)
    Expected(FIT_FILES / f"{name}.fit").check(FITS[name].run(None, fastbp.BackupAndRestore(path)))


# ---------------------------------------------------------------- pickles


@pytest.mark.parametrize("name", PICKLED_MODELS)
def test_pickled_model_continues_training(name):
    Expected(PICKLES / f"{name}.pickle").check(PICKLED_MODELS[name].continued(unpickled(name)))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_pickled_estimator_continues_training(name):
    estimator, path = unpickled(f"estimator_{name}"), PICKLES / f"estimator_{name}.pickle"
    parameters, made = estimator.get_params(), ESTIMATORS[name]().get_params()
    callback_types = [[type(each) for each in params.pop("callbacks") or []] for params in (parameters, made)]
    assert parameters == made
    assert callback_types[0] == callback_types[1]
    Expected(path).check(ESTIMATORS[name].continued(estimator))


@pytest.mark.parametrize("name", OBJECTS)
def test_pickled_object_equals_a_new_one(name):
    assert unpickled(name) == OBJECTS[name]()


def test_pickled_histories_and_errors():
    history, made = unpickled("history"), fixtures.history()
    assert isinstance(history, fastbp.History)
    assert (history.history, history.epoch, history.stopped) == (made.history, made.epoch, made.stopped)
    damaged, diverged = unpickled("errors")
    assert (type(damaged), str(damaged)) == (fastbp.CheckpointError, "damaged")
    assert (type(diverged), str(diverged)) == (fastbp.DivergenceWarning, "diverged")


def test_pickled_diagnostics():
    diagnosis, check, search = map(unpickled, ("diagnosis", "gradient_check", "search"))
    now = [OTHERS[name]() for name in ("diagnosis", "gradient_check", "search")]
    assert [type(each) for each in (diagnosis, check, search)] == [type(each) for each in now]
    assert diagnosis.verdict == now[0].verdict
    assert [layer.label for layer in diagnosis.layers] == [layer.label for layer in now[0].layers]
    assert math.isclose(search.suggestion, now[2].suggestion, rel_tol=1e-3)
    for each in (diagnosis, check, search):
        assert str(each)


def test_pickled_callbacks_work_in_a_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, pickled = fixtures.small_model(), unpickled("callbacks")
    assert [type(each) for each in pickled] == [type(each) for each in OTHERS["callbacks"]()]
    one, two = fixtures.small_model(), fixtures.small_model()
    old, new = (
        model.fit(X, LABELS, batch_size=7, epochs=4, callbacks=each).history
        for model, each in ((one, pickled[:-2]), (two, OTHERS["callbacks"]()[:-2]))
    )
    assert old == new
    assert (tmp_path / "table.csv").exists()
    assert (tmp_path / "model.safetensors").exists()
    model.fit(X, LABELS, batch_size=7, epochs=2, callbacks=pickled[-2:])
    assert (tmp_path / "run.fit").exists()


def test_pickled_callback_keeps_its_state():
    callback, now = unpickled("callback_used"), fixtures.used_callback()
    assert (callback.best_epoch, callback.wait) == (now.best_epoch, now.wait)
    for old, new in zip(callback.best_weights, now.best_weights, strict=True):
        np.testing.assert_allclose(old, new, 1e-5)
    model = callback.model
    model.fit(X, LABELS, epochs=1, callbacks=[callback])


def test_pickled_kernel_state_works():
    from fastbp import kernels

    state, now = unpickled("kernel_state"), fixtures.kernel_state()
    first, second = X.copy(), X.copy()
    for weights, each in ((first, state), (second, now)):
        assert kernels.update(fastbp.Adam(0.1), weights, X, each)
    np.testing.assert_allclose(first, second, 1e-12)


def test_pickled_datasets_and_sources():
    table, split = unpickled("datasets")
    made = OTHERS["datasets"]()
    for old, new in zip((*table, *split), (*made[0], *made[1]), strict=True):
        np.testing.assert_array_equal(old, new)
    chunks = list(unpickled("source"))
    np.testing.assert_array_equal(np.concatenate([X for X, _ in chunks]), X)
