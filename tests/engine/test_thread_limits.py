"""If the system refuses threads, one worker trains, with a warning; the process neither crashes nor hangs."""

import os
import subprocess
import sys

import pytest

from fastbp.engine import threads

pytestmark = [pytest.mark.jit, pytest.mark.skipif(sys.platform != "linux", reason="sets limits as on Linux")]

# Everything is imported first, since the other user may not be able to read it. That user has no other processes, so
# the limit leaves it one thread.
SCRIPT = """
import os, resource, sys, warnings
os.sched_setaffinity(0, range(os.cpu_count()))  # even if the test is pinned to one core
import numpy as np, fastbp
from fastbp.engine.planning import tuning
from fastbp.kernels import entries, jit
tuning.chosen = tuning.derived()._replace(worth_sharing=1)
X = np.random.default_rng(0).normal(size=(512, 40)).astype("f4")
def build():
    model = fastbp.Sequential([fastbp.Dense(64, "tanh"), fastbp.Dense(2)], input_size=40)
    model.compile("sgd", "mse")
    return model
expected = build()
expected.fit(X, X[:, :2], epochs=2, n_threads=1, verbose=0)
{before}
if os.geteuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = build()
    model.fit(X, X[:, :2], epochs=2, n_threads=2, verbose=0)
    model.fit([(X, X[:, :2])] * 3, verbose=0)
    expected.fit([(X, X[:, :2])] * 3, n_threads=1, verbose=0)
    model.predict(X)
same = all((a == b).all() for a, b in zip(model.get_weights(), expected.get_weights()))
print(same, jit.threading_layer(), *sorted({{str(w.message) for w in caught}}), sep="|")
"""
BEFORE = {
    "after one worker": "",
    "after parallel slices": "build().fit(X, X[:, :2], n_threads=2, verbose=0)",
}


@pytest.mark.parametrize("layer", ["default", "workqueue"])
@pytest.mark.parametrize("before", BEFORE)
def test_one_worker_trains_if_the_system_refuses_threads(before, layer):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=BEFORE[before])], capture_output=True, text=True, timeout=300,
        env={**os.environ, "NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same, used, *messages = done.stdout.strip().split("|")
    assert same == "True"
    # Numba's own threads are started when compiled code is loaded, OpenMP's by the first parallel slice.
    if before == "after one worker" and used != "workqueue":
        assert len(messages) == 1
        assert "training continues with one worker" in messages[0]
    else:
        assert messages == []


NO_THREADS = """
import numpy as np, warnings
from fastbp.engine import threads
from fastbp.engine.planning import tuning
from fastbp.kernels import jit
import fastbp
threads.can_start = lambda workers: False
tuning.chosen = tuning.derived()._replace(worth_sharing=1)
X = np.zeros((512, 40), "f4")
model = fastbp.Sequential([fastbp.Dense(64, "tanh"), fastbp.Dense(2)], input_size=40)
model.compile("sgd", "mse")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, X[:, :2], n_threads=2, verbose=0)
print(jit.threads_are_launched(), [str(w.message)[:10] for w in caught])
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_no_thread_is_started_after_a_failed_probe(layer):
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS], capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer},
    )  # fmt: skip
    assert done.stdout.strip() == "False ['the system']"


def test_probe_threads_have_ended():
    before = threads._tasks()
    assert threads.can_start(8)
    assert threads._tasks() <= before


def test_system_is_probed_once(monkeypatch):
    probes = []
    monkeypatch.setattr(threads, "can_start", lambda workers: probes.append(workers) or False)
    own = threads.Threads()
    with pytest.warns(RuntimeWarning, match="one worker"):
        assert own.startable(2) == 1
    assert own.startable(2) == own.startable(3) == 1
    assert len(probes) == 1
