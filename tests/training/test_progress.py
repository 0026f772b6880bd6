"""Progress output of fit: a bar, occasional lines or a line per epoch; and no stream can stop training."""

import fcntl
import io
import os
import pty
import struct
import sys
import termios

import numpy as np
import pytest

import fastbp
from fastbp.training import progress
from fastbp.training.progress import Display, Progress, wanted

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = X[:, 0] > 0
LOGS = {"loss": 0.123456, "accuracy": 0.987654, "top_k_accuracy": 0.99, "val_loss": 0.234567, "val_accuracy": 0.9123}


def fit(**options):
    model = fastbp.Sequential([fastbp.Dense(4, "tanh"), fastbp.Dense(1, "sigmoid")], input_size=3)
    model.compile("sgd", "binary_cross_entropy", ["accuracy"])
    return model.fit(X, Y, **({"batch_size": 32, "epochs": 6} | options))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class WriteOnly:
    """A stream as in logging libraries: it has write and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Full(Terminal):
    def write(self, text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("verbose", ["auto", 0, 1, 2, 3, True])
@pytest.mark.parametrize(
    "stream",
    [lambda: None, closed, WriteOnly, Full, Terminal, lambda: io.TextIOWrapper(io.BytesIO(), "gbk")],
    ids=["none", "closed", "write only", "full", "terminal", "gbk"],
)
def test_no_stream_stops_training(monkeypatch, capsys, stream, verbose):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", stream())
    assert len(fit(verbose=verbose).epoch) == 6
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "cp932", "utf-8"])
def test_characters_that_a_stream_cannot_encode_are_replaced(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stderr", stream)
    for display in (Display("bar"), Display("epochs"), Display("log")):
        with Progress(64, 1, display) as shown:
            shown.update(64, 0, {"R²": 0.5, "Güte\U0001f600": 1.0}, 64)
            shown.epoch_end(1, {"R²": 0.5, "Güte\U0001f600": 1.0}, last=True)
    stream.flush()
    assert b"0.5" in stream.buffer.getvalue()


def test_log_gets_lines_instead_of_a_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    fit(validation_split=0.25)
    assert stream.getvalue() == ""  # it ended before the first line was due
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    fit(validation_split=0.25)
    text = stream.getvalue()
    assert "\r" not in text
    last = text.splitlines()[-1]
    for part in ("epoch 6/6 100 %", "samples/s", "left", "loss=", "accuracy=", "val_loss=", "val_accuracy="):
        assert part in last


def test_log_ends_with_the_last_values(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    clock = iter([0.0, 1.0, 6.0, 7.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress(30, 3, Display("log")) as shown:
        for epoch in range(3):
            shown.update(10, epoch, {"loss": float(epoch)}, 30)
    assert [line.split(":")[-1] for line in stream.getvalue().splitlines()] == [" loss=1", " loss=2"]


@pytest.mark.parametrize(("verbose", "epochs"), [(2, [1, 2, 3, 4, 5, 6]), (4, [4, 6]), (3, [3, 6]), (100, [6])])
def test_verbose_sets_the_epochs_between_lines(monkeypatch, verbose, epochs):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    history = fit(verbose=verbose, validation_split=0.25)
    lines = stream.getvalue().splitlines()
    assert [int(line.split("/")[0].removeprefix("epoch ")) for line in lines] == epochs
    for line, epoch in zip(lines, epochs, strict=True):
        assert f"val_accuracy={history.history['val_accuracy'][epoch - 1]:.4g}" in line


def test_epoch_lines_do_not_change_training():
    plain, shown = (fit(verbose=verbose, epochs=50).history for verbose in (0, 7))
    assert plain == shown


@pytest.mark.parametrize("verbose", [-1, 0.5, "yes", None, [1]])
def test_invalid_verbose_is_refused(verbose):
    with pytest.raises(ValueError, match="verbose must be"):
        wanted(verbose)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_validation_is_visible_on_narrow_terminals(monkeypatch, columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(theirs, "w", encoding="utf-8") as stream, open(ours, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stderr", stream)
        with Progress(640, 100, wanted("auto")) as shown:
            for _ in range(2):
                shown.update(320, 99, LOGS, 640)
        print("the end", file=stream, flush=True)
        text = ""
        while not text.rstrip().endswith("the end"):  # a terminal may deliver the text in parts
            text += terminal.read(1 << 14).decode("utf-8", "replace")
    text = text.rstrip().removesuffix("the end")
    bar = text.replace("\r\n", "").split("\r")[-1].rstrip()
    assert len(bar) < columns
    assert "val_loss=0.2346" in bar
    assert "val_accuracy=0.9123" in bar
    assert "epoch 100/100" in bar
    assert ("left" in bar) == (columns >= 80)
    assert ("top_k_accuracy" in bar) == ("samples/s" in bar) == (columns >= 200)


def test_notebooks_get_the_bar_of_tqdm(monkeypatch):
    class Shell:
        config: dict = {"IPKernelApp": {}}  # noqa: RUF012

    class IPython:
        @staticmethod
        def get_ipython():
            return Shell()

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert wanted("auto") == wanted(1) == Display("notebook")
    assert wanted(2) == Display("epochs", 1)
    assert wanted(0).style == "none"


def test_display_of_each_kind_of_stream(monkeypatch):
    monkeypatch.setattr(sys, "stderr", WriteOnly())
    assert wanted("auto").style == "log"
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert wanted("auto").style == "bar"
    monkeypatch.setattr(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115
    assert wanted("auto").style == "log"
    sys.stderr.close()
    assert wanted("auto").style == wanted(1).style == "none"
