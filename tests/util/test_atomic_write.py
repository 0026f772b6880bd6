"""Atomic writes over files, links, devices and pipes, and what killed processes leave behind."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential, exchange, plots
from fastbp.callbacks import BackupAndRestore, CSVLogger, ModelCheckpoint
from fastbp.cli.commands import main
from fastbp.util import atomic_write as writing
from fastbp.util.atomic_write import atomic_write


def write(path, data=b"new"):
    with atomic_write(path) as file:
        file.write(data)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# ---------------------------------------------------------------- modes, links, names


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o664, 0o444, 0o755])
def test_mode_of_a_replaced_file_is_kept(tmp_path, bits):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(bits)
    write(path)
    assert (path.read_bytes(), mode(path)) == (b"new", bits)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_new_files_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o666 & ~mask


def test_private_file_stays_private_while_written(tmp_path):
    path = tmp_path / "file"
    path.touch(0o600)
    with atomic_write(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_links_are_kept_and_their_targets_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, first, second = tmp_path / "there/file", tmp_path / "first", tmp_path / "second"
    second.symlink_to("there/file")
    first.symlink_to(second)
    for data in (b"dangling", b"old"):
        write(first, data)
        assert first.is_symlink()
        assert second.is_symlink()
        assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_circular_links_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="circle"):
        write(tmp_path / "a")


@pytest.mark.parametrize("length", [1, 230, 244, 245, 250, 255])
@pytest.mark.parametrize("letter", ["x", "ü"])
def test_names_of_any_valid_length(tmp_path, length, letter):
    name = (letter * length).encode()[:length].decode(errors="ignore").ljust(length, "y")
    if len(name.encode()) > length:
        name = name.rstrip("y")
    for data in (b"old", b"new"):
        write(tmp_path / name, data)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


def test_non_utf_8_names(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    write(name)
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]


@pytest.mark.parametrize("length", [256, 5000])
def test_errors_name_the_given_path(tmp_path, length, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cannot write runs/m: there is no folder runs: create it") as caught:
        write("runs/m")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write(tmp_path)
    with pytest.raises(OSError, match="too long") as caught:
        write("x" * length)
    assert caught.value.filename == "x" * length
    (tmp_path / "link").symlink_to("nowhere/file")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write("link")
    assert os.listdir() == ["link"]


# ---------------------------------------------------------------- special files


def test_character_device_is_kept(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b"")
    except PermissionError:
        null = "/dev/null"
    write(null)
    assert stat.S_ISCHR(os.stat(null).st_mode)


def test_full_device_raises():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write("/dev/full")


def test_fifo_is_written_to(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no process reads this pipe"):
        write(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    while True:
        try:
            write(pipe, bytes(1 << 20))
            break
        except OSError:  # the thread has not opened it yet
            time.sleep(0.001)
    reader.join()
    assert got == [bytes(1 << 20)]
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_standard_output_is_written_to(tmp_path):
    code = "from fastbp.util.atomic_write import atomic_write\nwith atomic_write('/dev/stdout') as f: f.write(b'new')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"new"
    with (tmp_path / "out").open("wb") as out:
        inode = os.fstat(out.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"new"
    assert os.stat(tmp_path / "out").st_ino == inode


def test_sockets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="is a socket"):
            write("socket")
        assert stat.S_ISSOCK(os.stat("socket").st_mode)


# ---------------------------------------------------------------- leftovers of killed processes

KILLED = """
import os, signal, sys
from fastbp.util.atomic_write import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    if len(sys.argv) > 2:
        print("writing", flush=True)
        sys.stdin.readline()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_leftovers_of_killed_processes_are_removed(tmp_path):
    for name in ("model", "model", "other", "x" * 250):
        run = subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False)
        assert run.returncode == -signal.SIGKILL
    old = tmp_path / ".model.0123456789abcdef.tmp"
    own = [tmp_path / ".model.mine.tmp", tmp_path / ".other.0123456789abcdef.tmp"]
    for path in (old, *own):
        path.touch()
    arguments = [sys.executable, "-c", KILLED, tmp_path / "living", "wait"]
    living = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    living.stdout.readline()
    write(tmp_path / "model")
    left = [path.name for path in tmp_path.iterdir() if path not in own and path.name != "model"]
    assert len(left) == 1
    assert left[0].startswith(".living.")
    living.communicate(b"\n")
    assert living.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["living", "model", *(path.name for path in own)])
    assert (tmp_path / "living").read_bytes() == b"half"


def test_many_threads_may_write_one_file(tmp_path):
    errors = []

    def run(data):
        try:
            for _ in range(30):
                write(tmp_path / "file", data)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(bytes([i]) * 1000,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(set((tmp_path / "file").read_bytes())) == 1


def test_temporary_file_removed_by_another_process_is_recreated(tmp_path, monkeypatch):
    """Another process may remove a temporary file between its creation and its lock."""
    real, taken = writing.fcntl.flock, []

    def flock(handle, operation):
        real(handle, operation)
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{handle}"))
            os.unlink(taken[0])

    monkeypatch.setattr(writing.fcntl, "flock", flock)
    write(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert taken


# ---------------------------------------------------------------- every writer of the package


@pytest.fixture(scope="module")
def model():
    result = Sequential([Dense(3, "relu"), Dense(2, "softmax")], input_size=2, seed=0)
    result.compile("adam", "cross_entropy")
    return result


def fit(model, callback):
    model.fit(np.eye(2), [0, 1], epochs=1, verbose=0, callbacks=[callback])


def export(to):
    def run(model, path):
        model.save("model.safetensors")
        assert main(["export", "model.safetensors", "--to", to, "-o", str(path)]) == 0

    return run


def predict(model, path):
    model.save("model.safetensors")
    np.savez("data.npz", X=np.eye(2), y=np.arange(2))
    assert main(["predict", "model.safetensors", "data.npz", "-o", str(path)]) == 0


WRITERS = {
    "m.safetensors": lambda model, path: model.save(path),
    "m.fit": lambda model, path: fit(model, BackupAndRestore(path)),
    "c.safetensors": lambda model, path: fit(model, ModelCheckpoint(path)),
    "curve.png": lambda model, path: plots.plot_history({"loss": [1.0, 0.5]}, path),
    "curve.svg": lambda model, path: plots.plot_history({"loss": [1.0, 0.5]}, path),
    "m.onnx": lambda model, path: exchange.to_onnx(model, path),
    "m.py": lambda model, path: exchange.to_numpy(model, path),
    "m.pt": export("torch"),
    "m.keras": export("keras"),
    "m.joblib": export("sklearn"),
    "p.csv": predict,
    "p.npy": predict,
    "p.npz": predict,
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by Keras on save
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_keeps_modes_links_and_devices(name, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    link, target = tmp_path / name, tmp_path / "there" / name
    link.symlink_to(target)
    for _ in range(2):
        if target.exists():
            target.chmod(0o600)
        WRITERS[name](model, link)
        assert link.is_symlink()
        assert target.stat().st_size
    assert mode(target) == 0o600
    assert os.listdir(tmp_path / "there") == [name]
    if name == "m.fit":  # it would resume from the file
        return
    os.unlink(link)
    os.symlink("/dev/null", link)
    WRITERS[name](model, link)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert link.is_symlink()


def test_csv_logger_on_a_device_and_after_an_incomplete_line(model, tmp_path):
    fit(model, CSVLogger("/dev/null"))
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n0,0.5\n1,0.")
    path.chmod(0o600)
    fit(model, CSVLogger(path, append=True))
    lines = path.read_text().splitlines()
    assert lines[:2] == ["epoch,loss", "0,0.5"]
    assert len(lines) == 3
    assert mode(path) == 0o600


def test_model_with_a_long_file_name_can_be_loaded(model, tmp_path):
    path = tmp_path / ("x" * 243 + ".safetensors")
    model.save(path)
    np.testing.assert_array_equal(fastbp.load(path).get_weights()[0], model.get_weights()[0])
