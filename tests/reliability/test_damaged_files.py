"""Damaged files load unchanged or are refused by a ValueError that names them; never another error or a crash.

Damage: flipped bits, overwritten bytes, truncation, swapped, repeated and removed blocks, changed headers. Formats
without checksums may load with other numbers; that is no fault of the reader, which only must not fail otherwise.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import struct
import warnings
import zlib

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential, datasets, exchange, sources
from fastbp.callbacks import BackupAndRestore
from fastbp.storage.errors import CheckpointError

ROWS, COLUMNS = 60, 4
TOTAL, FEW = 30_000, 25  # files in the long test, and per kind in the short one
X = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)
Y = np.arange(ROWS) % 3


def network():
    return Sequential([Dense(6, "tanh"), Dense(3, "softmax")], input_size=COLUMNS, seed=0)


def model_file(path):
    model = network()
    model.compile("adam", "cross_entropy")
    model.fit(X, Y, epochs=1, verbose=0)
    model.save(path)


def fit_file(path, epochs=1):
    model = network()
    model.compile("adam", "cross_entropy")
    model.fit(X, Y, epochs=epochs, verbose=0, callbacks=[BackupAndRestore(path)])
    return model.get_weights()


def npz(path):
    np.savez_compressed(path, X=X, y=Y)


def csv(path):
    header = ",".join([*"abcd", "y"])
    text = io.StringIO()
    np.savetxt(text, np.column_stack([X, Y]), delimiter=",", header=header, comments="", fmt="%.4g")
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def parquet(path):
    table = pytest.importorskip("pyarrow")
    columns = {name: X[:, i] for i, name in enumerate("abcd")} | {"y": Y}
    pytest.importorskip("pyarrow.parquet").write_table(table.table(columns), path)


def hdf5(path):
    with pytest.importorskip("h5py").File(path, "w") as file:
        file.create_dataset("X", data=X, compression="gzip")
        file["y"] = Y


def idx(path):
    raw = b"\0\0\x08\x02" + struct.pack(">ii", ROWS, COLUMNS) + np.abs(X * 10).astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def pt(path):
    pytest.importorskip("torch").save(exchange.state_dict(network()), path)


def load_pt(path):
    model = network()
    exchange.load_state_dict(model, path)
    return model.get_weights()


def chunks(target):
    return lambda path: [part for chunk in sources.open(path, target) for part in chunk]


def table(path):
    found = datasets.read_file(path, target="y" if ".csv" in path.name else None)
    return [np.asarray(found.X, str), np.asarray(found.y, str)]


KINDS = {
    "model.safetensors": (model_file, lambda path: fastbp.load(path).get_weights()),
    "run.fit": (fit_file, lambda path: fit_file(path, 2)),
    "data.npz": (npz, chunks("y")),
    "read.npz": (npz, table),
    "plain.csv": (csv, chunks("y")),
    "data.csv.gz": (csv, chunks("y")),
    "read.csv.gz": (csv, table),
    "X.npy": (lambda path: np.save(path, X), lambda path: [chunk[0] for chunk in sources.open(path)]),
    "data.parquet": (parquet, chunks("y")),
    "data.h5": (hdf5, chunks("y")),
    "images.idx": (idx, lambda path: [datasets.read_idx(path)]),
    "images.idx.gz": (idx, lambda path: [datasets.read_idx(path)]),
    "state.pt": (pt, load_pt),
}
SIGNED = ("model.safetensors", "run.fit")  # with a checksum: what loads is what was saved


# ---------------------------------------------------------------- damage


def flipped(raw, rng):
    for _ in range(rng.integers(1, 5)):
        raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    return raw


def overwritten(raw, rng):
    start = int(rng.integers(len(raw)))
    n = int(rng.integers(1, 17))
    raw[start : start + n] = rng.integers(0, 256, len(raw[start : start + n]), np.uint8).tobytes()
    return raw


def at_start(raw, rng):
    """Damage the first bytes, where headers are."""
    raw[int(rng.integers(min(64, len(raw))))] = int(rng.integers(256))
    return raw


def truncated(raw, rng):
    return raw[: int(rng.integers(len(raw)))]


def swapped(raw, rng):
    n = int(rng.integers(1, max(2, len(raw) // 4)))
    a, b = sorted(int(i) for i in rng.integers(0, len(raw) - n, 2))
    raw[a : a + n], raw[b : b + n] = raw[b : b + n], raw[a : a + n]
    return raw


def repeated(raw, rng):
    start = int(rng.integers(len(raw)))
    return raw[:start] + raw[start : start + 100] * int(rng.integers(2, 5)) + raw[start:]


def removed(raw, rng):
    start = int(rng.integers(len(raw)))
    return raw[:start] + raw[start + int(rng.integers(1, 64)) :]


def zeroed(raw, rng):
    start = int(rng.integers(len(raw)))
    raw[start:] = bytes(len(raw) - start)
    return raw


DAMAGE = (flipped, overwritten, at_start, truncated, swapped, repeated, removed, zeroed)
VALUES = (None, True, -1, 0, 1, 3, 2**31, 2**63, 2**70, 1e300, "", "F32", "x" * 1000, [], [0], [[0]], {}, {"class": ""})


def changed_header(raw, rng):
    """A safetensors file with a value of its header, or of a description in it, replaced, and without a digest."""
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(bytes(raw[8 : 8 + length]))
    metadata = header["__metadata__"]
    if rng.integers(2):
        key = ["fastbp.model", "fastbp.fit"][int(rng.integers(2)) if "fastbp.fit" in metadata else 0]
        value = json.loads(metadata[key])
        changed(value, rng)
        metadata[key] = json.dumps(value)
        metadata.pop("fastbp.sha256")
    else:
        changed(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + length :]


def changed(value, rng):
    """Replace, remove or double one value within a JSON value."""
    while True:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = places[int(rng.integers(len(places)))]
        inner = value[place]
        if not isinstance(inner, dict | list) or not inner or rng.integers(4) == 0:
            break
        value = inner
    choice = rng.integers(8)
    if choice == 0:
        del value[place]
    elif choice == 1 and isinstance(value, list):
        value.append(inner)
    else:
        value[place] = VALUES[int(rng.integers(len(VALUES)))]


def damages(kind):
    return (*DAMAGE, changed_header, changed_header, changed_header) if kind in SIGNED else DAMAGE


# ---------------------------------------------------------------- tests


def try_damage(kind, path, expected, raw, seed):
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    damage = damages(kind)[seed % len(damages(kind))]
    path.write_bytes(damage(bytearray(raw), rng))
    where = f"{kind}, {damage.__name__}, seed {seed}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = KINDS[kind][1](path)
    except (CheckpointError, ValueError, TypeError) as error:
        text = str(error)
        assert path.name in text or (kind in SIGNED and "the file" in text), (where, text)
        assert len(text.encode()) < 2000, where
    except Exception as error:
        raise AssertionError(where) from error
    else:
        if kind in SIGNED and damage is not changed_header:
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=where)


def check(kind, folder, seeds):
    path = folder / kind
    make, load = KINDS[kind]
    make(path)
    raw = path.read_bytes()
    expected = load(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        try_damage(kind, path, expected, raw, seed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_load_unchanged_or_are_refused(kind, tmp_path):
    check(kind, tmp_path, range(FEW))


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_30_000_damaged_files(kind, tmp_path):
    check(kind, tmp_path, range(FEW, FEW + TOTAL // len(KINDS)))
