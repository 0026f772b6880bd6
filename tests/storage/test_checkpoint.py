"""Models in files: round trips, crashes, and rejection of damaged and malicious files."""

import contextlib
import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import fastbp
from fastbp import Activation, CheckpointError, Dense, Sequential
from fastbp.storage import checkpoint

N = 30
X = np.random.default_rng(12).normal(size=(N, 3)).astype(np.float32)
LABELS = np.arange(N) % 4
TARGETS = X[:, :2] * 2

MODELS = {
    "classifier, Adam": ([Dense(6, "relu"), Dense(4, "softmax")], "adam", "cross_entropy", ["accuracy"], LABELS),
    "AdamW": (
        [Dense(6, "gelu"), Dense(4)],
        fastbp.AdamW(1e-2, weight_decay=0.1),
        "cross_entropy",
        ["auc", "mae"],
        LABELS,
    ),
    "SGD": ([Dense(2)], fastbp.SGD(0.1), "mse", [], TARGETS),
    "Nesterov": (
        [Dense(5, fastbp.ELU(0.5), use_bias=False), Dense(2)],
        fastbp.SGD(0.01, momentum=0.8, nesterov=True),
        "mse",
        [fastbp.metrics.TopKAccuracy(2)],
        TARGETS,
    ),
    "activation layers": (
        [
            Activation("tanh"),
            Dense(5, bias_initializer=fastbp.initializers.Constant(0.5)),
            Activation("mish"),
            Activation(fastbp.LeakyReLU(0.2)),
            Dense(1, "sigmoid", kernel_initializer="orthogonal"),
        ],
        "sgd",
        "binary_cross_entropy",
        ["rmse", "r2"],
        LABELS % 2,
    ),
}


def build(case, **options):
    network, optimizer, loss, metrics, y = MODELS[case]
    model = Sequential(network, seed=4, **options)
    model.compile(optimizer, loss, metrics)
    return model, y


def assert_alike(first, second):
    assert repr(first) == repr(second)
    assert first._arguments == second._arguments
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for state, other in zip(first._engine.get_state(), second._engine.get_state(), strict=True):
        for a, b in zip(state, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def saved(tmp_path):
    """A small trained model and its file."""
    model, y = build("classifier, Adam")
    model.metadata["note"] = "mine, ünïcode"
    model.fit(X, y, batch_size=7)
    path = tmp_path / "model.safetensors"
    model.save(path)
    fastbp.load(path)  # so that imports are not counted as memory later
    return model, path


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MODELS)
def test_training_continues_bit_for_bit(tmp_path, case, dtype):
    model, y = build(case, dtype=dtype)
    model.fit(X, y, batch_size=7, epochs=2)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert_alike(model, loaded)
    np.testing.assert_array_equal(model.predict(X), loaded.predict(X))
    assert model.evaluate(X, y) == loaded.evaluate(X, y)
    first = model.fit(X, y, batch_size=7, epochs=3, validation_split=0.2).history
    assert first == loaded.fit(X, y, batch_size=7, epochs=3, validation_split=0.2).history
    assert_alike(model, loaded)


@pytest.mark.parametrize("beta_1", [0.9, 0.5])
def test_adam_moments_are_saved_without_their_factors(tmp_path, beta_1):
    model = Sequential([Dense(2)], seed=4, dtype="float64")
    model.compile(fastbp.Adam(beta_1=beta_1), "mse")
    gradient = model.gradients(X, X[:, :2])[0]
    model.train_on_batch(X, X[:, :2])
    model.save(tmp_path / "model")
    saved = safetensors.numpy.load_file(tmp_path / "model")
    m, v = (saved[f"optimizer.{number}.0.kernel"] for number in range(2))
    np.testing.assert_allclose(m, gradient, rtol=1e-12)
    np.testing.assert_allclose(v, gradient**2, rtol=1e-12)


def test_file_saved_by_a_callback_resumes(tmp_path):
    class Saver:
        def set_model(self, model):
            self.model = model

        def on_epoch_end(self, epoch, logs):
            self.model.save(tmp_path / f"epoch {epoch}")

    model, y = build("classifier, Adam")
    whole = model.fit(X, y, batch_size=7, epochs=4, callbacks=[Saver()]).history
    for epoch in range(3):
        resumed = fastbp.load(tmp_path / f"epoch {epoch}")
        history = resumed.fit(X, y, batch_size=7, epochs=3 - epoch).history
        assert history == {name: values[epoch + 1 :] for name, values in whole.items()}
        assert_alike(model, resumed)


def test_uncompiled_model_round_trips(tmp_path):
    model = Sequential([Dense(3, "tanh")], input_size=2, seed=10**20)
    model.save(str(tmp_path / "model"))
    loaded = fastbp.load(os.fsencode(tmp_path / "model"))
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    with pytest.raises(RuntimeError, match="compile"):
        loaded.fit([[1.0, 2]], [[1.0, 2, 3]])


def test_versions_in_a_file_are_covered_by_its_digest(saved):
    _, path = saved
    header = parts_of(path)[0]
    versions = json.loads(header["__metadata__"]["fastbp.versions"])
    assert versions == {
        "fastbp": fastbp.__version__, "numpy": np.__version__, "numba": importlib.metadata.version("numba")
    }  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data.replace(b'fastbp\\": \\"0.', b'fastbp\\": \\"1.'))
    assert path.read_bytes() != data
    with pytest.raises(CheckpointError, match="SHA-256 does not match"):
        fastbp.load(path)


def test_file_without_versions_loads(saved):
    """As written by the first release."""
    model, path = saved
    metadata = parts_of(path)[0]["__metadata__"]
    tensors = safetensors.numpy.load_file(path)
    del metadata["fastbp.versions"]
    metadata["fastbp.sha256"] = checkpoint.digest(metadata, tensors)
    safetensors.numpy.save_file(tensors, path, metadata)
    assert_alike(model, fastbp.load(path))


@dataclasses.dataclass(frozen=True)
class Spread:
    """A custom initializer."""

    size: float

    def __call__(self, rng, shape, dtype):
        return rng.normal(0, self.size, shape).astype(dtype)


def test_custom_initializer_is_not_saved(tmp_path):
    model = Sequential([Dense(2, kernel_initializer=Spread(0.1))], input_size=3)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert loaded.layers == (Dense(2),)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_user_metadata_round_trip(saved):
    model, path = saved
    assert fastbp.load(path).metadata == {"note": "mine, ünïcode"}
    for bad, error in [({1: "a"}, TypeError), ({"a": 1}, TypeError), ({"fastbp.model": "{}"}, ValueError)]:
        model.metadata = bad
        before = path.read_bytes()
        with pytest.raises(error, match="metadata"):
            model.save(path)
        assert path.read_bytes() == before


def test_safetensors_reads_the_file(saved):
    model, path = saved
    tensors = safetensors.numpy.load_file(path)
    assert set(tensors) == {
        p + n for p in ("", "optimizer.0.", "optimizer.1.") for n in ("0.kernel", "0.bias", "1.kernel", "1.bias")
    }
    np.testing.assert_array_equal(tensors["1.kernel"], model.get_weights()[2])
    np.testing.assert_array_equal(tensors["optimizer.1.0.bias"], model._engine.get_state()[1][1])


def test_learning_rate_function_is_saved_as_its_value(tmp_path):
    model, y = build("SGD")
    model.compile(fastbp.SGD(lambda steps: 0.1 / (1.0 + steps)), "mse")
    model.fit(X, y, batch_size=10)
    with pytest.warns(UserWarning, match=r"learning_rate is a function.*step 3, 0\.025") as caught:
        model.save(tmp_path / "model")
    assert caught[0].filename == __file__
    assert fastbp.load(tmp_path / "model").optimizer.learning_rate == 0.025


def test_weights_of_a_custom_initializer_are_saved(tmp_path):
    model = Sequential([Dense(2, kernel_initializer=lambda rng, shape, dtype: np.full(shape, 7.0))], input_size=3)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert (loaded.get_weights()[0] == 7).all()
    assert loaded.layers == (Dense(2),)


# ---------------------------------------------------------------- crashes


def test_saving_leaves_one_file_and_follows_links(saved, tmp_path):
    model, path = saved
    link = tmp_path / "link"
    link.symlink_to(path)
    model.save(link)
    model.save(path)
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "model.safetensors"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_save_leaves_only_the_old_file(saved, tmp_path, monkeypatch, call):
    model, path = saved
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    model.fit(X, LABELS)
    monkeypatch.setattr(*((checkpoint.os, "fsync") if call == "fsync" else (checkpoint.Path, "replace")), fail)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    model.save(path)
    assert_alike(model, fastbp.load(path))


def test_file_and_then_its_folder_are_synced(saved, monkeypatch):
    model, path = saved
    events, fsync, replace = [], os.fsync, checkpoint.Path.replace

    def synced(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def replaced(self, target):
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(checkpoint.os, "fsync", synced)
    monkeypatch.setattr(checkpoint.Path, "replace", replaced)
    model.save(path)
    assert events == ["file", "replace", "folder"]


FULL_DISK = """
import resource, signal, sys, numpy as np, fastbp
path = sys.argv[1]
model = fastbp.load(path)
big = fastbp.Sequential([fastbp.Dense(300)], input_size=300)
big.predict(np.ones((1, 300)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    big.save(path)
except OSError as error:
    print("refused", error.errno)
"""

FOREVER = """
import sys, fastbp
model = fastbp.load(sys.argv[1])
print("ready", flush=True)
while True:
    model.save(sys.argv[1])
"""


def test_full_disk_leaves_the_old_file(saved, tmp_path):
    _, path = saved
    before = path.read_bytes()
    run = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["refused", str(errno.EFBIG)]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_kill_at_any_moment_leaves_a_complete_file(saved):
    model, path = saved
    for pause in (0.0, 0.003, 0.011, 0.03):
        process = subprocess.Popen([sys.executable, "-c", FOREVER, path], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert_alike(model, fastbp.load(path))


# ---------------------------------------------------------------- damaged and malicious files


def write_raw(path, header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def parts_of(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def resigned(header, body):
    """The header with the SHA-256 that a forger would put there."""
    metadata = header["__metadata__"]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            raw = np.frombuffer(body[start:end], {"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
            tensors[name] = raw.reshape(entry["shape"])
    metadata["fastbp.sha256"] = checkpoint.digest(metadata, tensors)
    return header


def forge(path, change):
    """Change the description of the model in a file, and recompute the digest."""
    header, body = parts_of(path)
    model = json.loads(header["__metadata__"]["fastbp.model"])
    change(model)
    header["__metadata__"]["fastbp.model"] = json.dumps(model)
    write_raw(path, resigned(header, body), body)


MOST_CALLS = 20_000  # of Python and C functions; what a call of C does is bounded by the memory it takes


def assert_refused(path, text=""):
    """Loading fails with fastbp's own error, after few calls and in twice the file's memory (and 2 MB of Python's).

    Calls are counted because seconds depend on the machine and on what else it does.
    """
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    with contextlib.suppress(CheckpointError):  # imports what reading needs
        fastbp.load(path)
    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(count)
    try:
        with pytest.raises(CheckpointError) as caught:
            fastbp.load(path)
    finally:
        sys.setprofile(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert text in str(caught.value)
    assert calls < MOST_CALLS
    assert peak < 2 * path.stat().st_size + (2 << 20)


def test_digest_covers_metadata_and_tensors(saved):
    _, path = saved
    header, body = parts_of(path)
    metadata = header["__metadata__"]
    sha = hashlib.sha256(json.dumps({k: metadata[k] for k in sorted(metadata) if k != "fastbp.sha256"}).encode())
    for name in sorted(set(header) - {"__metadata__"}):
        start, end = header[name]["data_offsets"]
        sha.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode() + body[start:end])
    assert metadata["fastbp.sha256"] == sha.hexdigest()


def test_every_flipped_bit_is_detected(saved):
    _, path = saved
    raw = path.read_bytes()
    padding = range(raw.rindex(b"}", 0, 8 + struct.unpack("<Q", raw[:8])[0]) + 1, 8 + struct.unpack("<Q", raw[:8])[0])
    for position in range(len(raw)):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        if position in padding:
            continue  # spaces after the header carry no data
        with pytest.raises(CheckpointError):
            fastbp.load(path)


def test_every_truncation_is_detected(saved):
    _, path = saved
    raw = path.read_bytes()
    for length in [*range(0, len(raw), 7), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(CheckpointError):
            fastbp.load(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(CheckpointError):
        fastbp.load(path)


def set_(key, value):
    return lambda model: model.update({key: value})


def dense(field, value):
    return lambda model: model["layers"][0]["config"].update({field: value})


def layer(name):
    return lambda model: model["layers"][0].update({"class": name})


DEEP = {"class": "layers.Dense", "config": {"units": 1}}
for _ in range(300):
    DEEP = {"class": "layers.Dense", "config": {"units": DEEP}}

FORGED = {
    "units beyond memory": dense("units", 10**12),
    "units beyond int64": dense("units", 10**30),
    "units a string": dense("units", "6"),
    "units missing": lambda model: model["layers"][0]["config"].pop("units"),
    "units NaN": dense("units", float("nan")),
    "an extra field": dense("colour", "red"),
    "input_size": set_("input_size", 10**15),
    "input_size a list": set_("input_size", [3]),
    "another dtype": set_("dtype", "float64"),
    "an invalid dtype": set_("dtype", "float16"),
    "an extra layer": lambda model: model["layers"].append(model["layers"][1]),
    "a missing layer": lambda model: model["layers"].pop(),
    "no layers": set_("layers", []),
    "layers not a list": set_("layers", 3),
    "layers of strings": set_("layers", ["Dense"]),
    "nested layers": set_("layers", [DEEP]),
    "a missing optimizer": lambda model: model.pop("optimizer"),
    "an optimizer with fewer states": set_("optimizer", {"class": "optimizers.SGD", "config": {"learning_rate": 0.1}}),
    "an optimizer out of range": set_("optimizer", {"class": "optimizers.Adam", "config": {"learning_rate": -1.0}}),
    "an optimizer as loss": lambda model: model.update(loss=model["optimizer"]),
    "a loss as optimizer": lambda model: model.update(optimizer=model["loss"]),
    "a mismatched loss": set_("loss", {"class": "losses.BinaryCrossEntropy", "config": {}}),
    "unknown metrics": set_("metrics", [{"class": "metrics.Cost", "config": {}}]),
    "negative steps": set_("step", -1),
    "huge steps": set_("step", 10**40),
    "fractional epochs": set_("epoch", 0.5),
    "no seed": set_("seed", None),
    "code by module": layer("os.system"),
    "code by name": layer("layers.checked"),
    "code by an import": layer("layers.math"),
    "an abstract class": set_("optimizer", {"class": "optimizers.Optimizer", "config": {"learning_rate": 0.1}}),
    "no class": layer(None),
    "an imported class": layer("layers.NamedTuple"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_descriptions_are_rejected(saved, case):
    _, path = saved
    forge(path, FORGED[case])
    assert_refused(path)


BODIES = {
    "NaN": lambda header, body: (header, struct.pack("<f", float("nan")) + body[4:]),
    "infinity in the state": lambda header, body: (header, body[:-4] + struct.pack("<f", float("inf"))),
    "a missing tensor": lambda header, body: (
        {k: v for k, v in header.items() if k != "optimizer.1.1.bias"},
        body[:-16],
    ),
    "an extra tensor": lambda header, body: (
        {**header, "x": {"dtype": "F32", "shape": [1], "data_offsets": [len(body), len(body) + 4]}},
        body + b"\0" * 4,
    ),
    "another shape": lambda header, body: ({**header, "0.kernel": {**header["0.kernel"], "shape": [6, 3]}}, body),
}


@pytest.mark.parametrize("case", BODIES)
def test_forged_tensors_are_rejected(saved, case):
    _, path = saved
    header, body = BODIES[case](*parts_of(path))
    write_raw(path, resigned(header, body), body)
    assert_refused(path)


def kernel(**change):
    return lambda header: header["0.kernel"].update(change)


HEADERS = {
    "overlapping tensors": kernel(data_offsets=[4, 76]),
    "a tensor beyond the file": kernel(data_offsets=[0, 10**9]),
    "a shape that overflows": kernel(shape=[2**62, 8]),
    "a shape beyond int64": kernel(shape=[10**30, 1]),
    "a negative shape": kernel(shape=[-3, -6]),
    "an unknown type": kernel(dtype="F31"),
    "integers for floats": kernel(dtype="I32"),
    "bfloat16": kernel(dtype="BF16", shape=[6, 6]),
    "a later version": lambda header: header["__metadata__"].update({"fastbp.format": "2"}),
    "an invalid version": lambda header: header["__metadata__"].update({"fastbp.format": "one"}),
    "not fastbp": lambda header: header.update(__metadata__={"format": "pt"}),
    "no metadata": lambda header: header.pop("__metadata__"),
    "metadata of lists": lambda header: header.update(__metadata__={"fastbp.format": ["1"]}),
    "invalid JSON inside": lambda header: header["__metadata__"].update({"fastbp.model": "{", "fastbp.sha256": None}),
    "deep JSON inside": lambda header: header["__metadata__"].update({"fastbp.model": "[" * 10**6}),
}


@pytest.mark.parametrize("case", HEADERS)
def test_forged_headers_are_rejected(saved, case):
    _, path = saved
    header, body = parts_of(path)
    HEADERS[case](header)
    if case == "deep JSON inside":
        resigned(header, body)
    if case == "invalid JSON inside":
        header["__metadata__"].pop("fastbp.sha256")
    write_raw(path, header, body)
    assert_refused(path, "version" if "version" in case else "")


@pytest.mark.parametrize("length", [0, 1, 2**24 + 1, 2**31, 2**63, 2**64 - 1])
def test_wrong_header_lengths_are_rejected(saved, length):
    _, path = saved
    header, body = parts_of(path)
    write_raw(path, header, body, length)
    assert_refused(path)


RAW = {
    "empty": b"",
    "text": b"hello, world " * 100,
    "zeros": bytes(4096),
    "a pickle": b"\x80\x04\x95" + bytes(100),
    "deep header": struct.pack("<Q", 10**6) + b"[" * 10**6,
    "huge header": struct.pack("<Q", 17 << 20) + b'{"a":"' + b"x" * ((17 << 20) - 8) + b'"}',
    "many tensors": (lambda h: struct.pack("<Q", len(h)) + h)(
        json.dumps({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}).encode()
    ),
}


@pytest.mark.parametrize("case", RAW)
def test_other_files_are_rejected(tmp_path, case):
    path = tmp_path / "model"
    path.write_bytes(RAW[case])
    if case == "many tensors":
        with pytest.raises(CheckpointError):
            fastbp.load(path)
        return
    assert_refused(path)


@pytest.mark.timing
@pytest.mark.parametrize("case", [case for case in RAW if case != "many tensors"])  # each of which is looked at
def test_other_files_are_refused_within_a_second(tmp_path, case):
    path = tmp_path / "model"
    path.write_bytes(RAW[case])
    began = time.perf_counter()
    with pytest.raises(CheckpointError):
        fastbp.load(path)
    assert time.perf_counter() - began < 1


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        fastbp.load(tmp_path)


def test_file_without_digest_loads_with_a_warning(saved):
    model, path = saved
    metadata = parts_of(path)[0]["__metadata__"]
    metadata.pop("fastbp.sha256")
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)
    with pytest.warns(UserWarning, match="no SHA-256") as caught:
        loaded = fastbp.load(path)
    assert caught[0].filename == __file__
    assert_alike(model, loaded)


def test_saving_and_loading_need_little_memory(tmp_path):
    model = Sequential([Dense(1500), Dense(1500)], input_size=1500)
    model.compile("adam", "mse")
    path, size = tmp_path / "model", 3 * 4 * 2 * (1500 * 1500 + 1500)
    for call in (lambda: model.save(path), lambda: fastbp.load(path)):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.5 * size  # loading: the tensors, the parameter buffer, the buffer of optimizer states
