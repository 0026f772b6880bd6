"""Model files that are rejected at once, and reading when memory runs out."""

import json
import os
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import fastbp
from fastbp import CheckpointError, Dense, Residual, Sequential, schedules
from fastbp.callbacks import BackupAndRestore
from fastbp.storage import checkpoint, container

LAYER = {"class": "layers.Dense", "config": {"units": 1}}


@pytest.fixture
def path(tmp_path):
    """The file of a small compiled model."""
    model = Sequential([Dense(2)], input_size=2)
    model.compile(fastbp.SGD(schedules.Warmup(0.1, 5)), "mse")
    model.save(tmp_path / "model")
    return tmp_path / "model"


def parts(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return raw[8 : 8 + length].decode(), raw[8 + length :]


def write_parts(path, text, body):
    path.write_bytes(struct.pack("<Q", len(text.encode())) + text.encode() + body)


def change_description(path, change):
    """Change the description of the model, and drop the digest."""
    text, body = parts(path)
    header = json.loads(text)
    description = json.loads(header["__metadata__"]["fastbp.model"])
    changed = change(description)
    header["__metadata__"]["fastbp.model"] = changed if isinstance(changed, str) else json.dumps(description)
    del header["__metadata__"]["fastbp.sha256"]
    write_parts(path, json.dumps(header), body)


def assert_rejected(path, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        fastbp.load(path)
    assert len(str(caught.value).encode()) < 2000
    assert str(path) in str(caught.value) or "the file" in str(caught.value)


# ---------------------------------------------------------------- not regular files


def test_pipe_is_rejected_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert_rejected(tmp_path / "pipe", "must be a file, got a pipe")
    model = Sequential([Dense(1)], input_size=1)
    model.compile("sgd", "mse")
    with pytest.raises(CheckpointError, match="got a pipe"):
        model.fit([[1.0]], [[1.0]], callbacks=[BackupAndRestore(tmp_path / "pipe")])
    for name in ("X.npy", "X.npz", "X.csv"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match="got a pipe"):
            fastbp.sources.open(tmp_path / name)


def test_devices_and_sockets_are_rejected(tmp_path, monkeypatch):
    assert_rejected("/dev/zero", "must be a file, got a device")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert_rejected("socket", "must be a file, got a socket")


# ---------------------------------------------------------------- duplicate, deep, many, long


def test_duplicate_keys_are_rejected(path):
    text, body = parts(path)
    twice = text.replace('"0.bias":', '"0.kernel":', 1)
    assert twice != text
    write_parts(path, twice, body)
    assert_rejected(path, "'0.kernel' occurs twice")


def test_duplicate_keys_in_a_description_are_rejected(path):
    change_description(path, lambda model: json.dumps(model)[:-1] + ', "seed": 1}')
    assert_rejected(path, "'seed' occurs twice")


@pytest.mark.parametrize("n", [300, 5000])
def test_deeply_nested_schedules_are_rejected(path, n):
    def nest(model):
        text = json.dumps(model)
        start = '{"class": "schedules.Warmup", "config": {"warmup_steps": 1, "schedule": '
        model["optimizer"]["config"]["learning_rate"] = "HERE"
        text = json.dumps(model)
        return text.replace('"HERE"', start * n + "0.1" + "}}" * n)

    change_description(path, nest)
    assert_rejected(path, "nested 400 deep|recursion|damaged")


def test_100_000_layers_are_rejected(path):
    change_description(path, lambda model: model.update(layers=[LAYER] * 100_000))
    assert_rejected(path, "describes 1000.. layers and other objects")


def test_header_of_brackets_is_rejected_before_parsing(path):
    write_parts(path, '{"__metadata__":{}' + ',"a":[' + "[]," * 1_500_000 + "[]]}", b"")
    assert_rejected(path, "lists and objects, more than")


@pytest.mark.parametrize("place", ["layer", "class", "field", "dtype", "tensor"])
def test_messages_quote_little_of_a_file(path, place):
    long = "ü" * 100_000
    changes = {
        "layer": lambda model: model.update(layers=[long]),
        "class": lambda model: model["layers"][0].update({"class": long}),
        "field": lambda model: model["layers"][0]["config"].update({long: 1}),
        "dtype": lambda model: model.update(dtype=long),
    }
    if place == "tensor":
        text, body = parts(path)
        write_parts(path, text.replace('"0.bias"', f'"{long}"'), body)
    else:
        change_description(path, changes[place])
    assert_rejected(path, "the file|damaged")


def test_unreadable_models_are_not_written(tmp_path):
    model = Sequential([Dense(1)], input_size=1)
    rate = 0.1
    for _ in range(300):
        rate = schedules.Warmup(rate, 1)
    model.compile(fastbp.SGD(rate), "mse")
    with pytest.raises(ValueError, match="nested 400 deep"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="more than can be read"):
        checkpoint.write(tmp_path / "model", checkpoint.Contents({"layers": [LAYER] * 20_000}, {}, {}))
    assert not list(tmp_path.iterdir())


def test_moderate_nesting_round_trips(tmp_path):
    layer, rate = Dense(2), 0.1
    for _ in range(100):
        layer, rate = Residual([layer]), schedules.Warmup(rate, 1)
    model = Sequential([layer], input_size=2)
    model.compile(fastbp.SGD(rate), "mse")
    model.save(tmp_path / "model")
    assert fastbp.load(tmp_path / "model").layers == model.layers


# ---------------------------------------------------------------- tensors


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


CONTAINERS = {
    "a gap": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12), "the bytes 8 to 12"),
    "an overlap": ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8), "the bytes 4 to 8"),
    "bytes left over": ({"a": entry([1], 0, 4)}, bytes(8), "have 4 bytes, but the file has 8"),
    "bytes missing": ({"a": entry([2], 0, 8)}, bytes(4), "have 8 bytes, but the file has 4"),
    "a huge empty shape": ({"a": entry([1 << 62, 0, 1 << 62], 0, 0)}, b"", "damaged"),
    "too many axes": ({"a": entry([0] * 100, 0, 0)}, b"", "damaged"),
    "a boolean size": ({"a": entry([True], 0, 4)}, bytes(4), "sizes or offsets that are not counts"),
    "a float size": ({"a": entry([1.0], 0, 4)}, bytes(4), "sizes or offsets that are not counts"),
    "three offsets": ({"a": {**entry([1], 0, 4), "data_offsets": [0, 4, 8]}}, bytes(4), "damaged"),
    "an extra field": ({"a": {**entry([1], 0, 4), "code": "x"}}, bytes(4), "and nothing else"),
    "a list of tensors": ([1, 2], b"", "damaged"),
    "a number": (7, b"", "damaged"),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_headers_that_contradict_the_file_are_rejected(tmp_path, case):
    header, body, message = CONTAINERS[case]
    write_parts(tmp_path / "file", json.dumps(header), body)
    with pytest.raises(CheckpointError, match=message):
        container.read(str(tmp_path / "file"))


def test_reader_agrees_with_safetensors(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.normal(size=(3, 0)), "b": rng.normal(size=(2, 3)).astype(np.float32), "c": np.array(True),
        "d": np.arange(5), "ü": np.array([True, False]),
    }  # fmt: skip
    safetensors.numpy.save_file(tensors, tmp_path / "file", {"note": "mine"})
    metadata, found = container.read(str(tmp_path / "file"))
    assert metadata == {"note": "mine"}
    assert container.read(str(tmp_path / "file"), with_tensors=False) == (metadata, {})
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


LOW_MEMORY = """
import resource, sys, fastbp
fastbp.load(sys.argv[2])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
try:
    fastbp.load(sys.argv[1])
except MemoryError:
    print("MemoryError")
"""


def test_only_brackets_outside_strings_count_as_nesting():
    deep = container.MOST_NESTED + 1
    text = "[" * deep + "]" * deep
    assert container.parsed(text) == json.loads(text)
    with pytest.raises(ValueError, match=r"may be nested 400 deep, got more"):
        container.parsed(f"[{text}]")
    for value in ("[" * 5000, '\\"' * 9 + "{" * 5000, {"[" * 500 + '"': ["{[" * 500] * 9}):
        assert container.parsed(json.dumps(value)) == value


def test_running_out_of_memory_is_a_memory_error(path, tmp_path):
    Sequential([Dense(3000)], input_size=3000).save(tmp_path / "big")
    command = [sys.executable, "-c", LOW_MEMORY, tmp_path / "big", path]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "MemoryError\n"
