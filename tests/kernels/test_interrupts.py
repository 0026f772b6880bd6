"""Ctrl-C where Python drops exceptions while it compiles: raised nevertheless, without a warning."""

import contextlib
import json
import signal
import threading

import pytest
from numba.core import event

from fastbp.kernels import interrupts
from tests.engine.cases import run_python

# A small entry, during whose emission the signal arrives; then the same again.
SCRIPT = """
import json, signal, sys, warnings
from numba import types
from numba.core import codegen
from fastbp.kernels import jit

take = codegen.JITCodeLibrary.{hook}.__func__
struck = []

def strike(cls, *arguments):
    if not struck:
        struck.append(True)
        signal.raise_signal(signal.SIGINT)
    return take(cls, *arguments)

codegen.JITCodeLibrary.{hook} = classmethod(strike)

def tiny(n):
    return n + 1

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        jit.callback(tiny, types.int64(types.int64))
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    result = jit.callback(tiny, types.int64(types.int64)).ctypes(1)
print(json.dumps([interrupted, result, [str(each.message) for each in caught]]))
"""


@pytest.mark.jit
@pytest.mark.parametrize("hook", ["_object_compiled_hook", "_object_getbuffer_hook"])
def test_ctrl_c_in_a_callback_of_llvm_is_not_lost(hook, tmp_path):
    tmp_path.chmod(0o700)
    script = tmp_path / "entry.py"  # Numba's cache wants a file
    script.write_text(SCRIPT.format(hook=hook))
    done = run_python(str(script), FASTBP_CACHE_DIR=str(tmp_path))
    assert json.loads(done.stdout) == [True, 2, []]
    assert "ignored" not in done.stderr


@pytest.fixture
def heard():
    """The signals that the handler in force was given."""
    found = []
    before = signal.signal(signal.SIGINT, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGINT, before)


def test_elsewhere_it_is_heard_at_once(heard):
    handler = signal.getsignal(signal.SIGINT)
    with interrupts.interrupts_are_raised():
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_meanwhile_does_not_hide_it(heard, monkeypatch):
    monkeypatch.setattr(interrupts, "DROPPING", (__name__,))

    def fail():
        with interrupts.interrupts_are_raised():
            signal.raise_signal(signal.SIGINT)
            assert not heard
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert heard == [signal.SIGINT]


class Struck:
    """Its destructor meets the signal."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_in_a_destructor_it_is_put_off_to_the_next_pass(heard):
    with interrupts.interrupts_are_raised():
        Struck()
        assert not heard
        with event.trigger_event("numba:run_pass"):
            assert heard == [signal.SIGINT]
    assert heard == [signal.SIGINT]


def test_one_that_was_dropped_is_raised_again():
    with pytest.raises(KeyboardInterrupt), interrupts.interrupts_are_raised(), contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_python_does_not_handle_is_left_alone(handler, heard):
    signal.signal(signal.SIGINT, handler)
    with interrupts.interrupts_are_raised():
        assert signal.getsignal(signal.SIGINT) is handler


def test_other_threads_are_left_alone(heard):
    errors = []

    def work():
        try:
            with interrupts.interrupts_are_raised():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
