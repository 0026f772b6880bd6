"""The cache of compiled code: reused, safe under races, verified before use, and optional."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine.planning import tuning
from fastbp.kernels import jit, warm_up
from tests.engine.cases import make_data, make_engine, run_python, spec, train

pytestmark = pytest.mark.jit

# FIRST_FIT trains on one worker and on two; it prints what was compiled, the warnings and the result.
PRELUDE = """
import json, os, sys, time, warnings
import numpy as np
from numba.core import event
passes = event.RecordingListener()
event.register("numba:run_pass", passes)
"""
FIRST_FIT = PRELUDE + """
from tests.engine.cases import everything, make_data, make_engine, predict, spec, train
from fastbp.engine.planning import tuning
from fastbp.kernels import jit
tuning.chosen = tuning.derived()._replace(worth_sharing=1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    one = make_engine(10, [spec(16, "tanh"), spec(3)])
    X, y = make_data(32, 10, 3)
    for workers in (1, 2):
        report, losses = train(one, X, y, "sgd", [0, 32], n_threads=workers)
print(json.dumps({"passes": len(passes.buffer),
                  "warnings": [[w.category.__name__, str(w.message)] for w in caught],
                  "result": float(losses[0])}))
"""
# One small entry, compiled and cached like the engine's, whose result shows whether its code is intact.
ENTRY = '''
import json, sys, warnings
from numba import types
from numba.core import event
passes = event.RecordingListener()
event.register("numba:run_pass", passes)
from fastbp.kernels import jit

def tiny(n):
    total = 0
    for i in range(n):
        total += i * i
    return total

if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [jit.callback(tiny, types.int64(types.int64)).ctypes(n) for n in (0, 10)]
    print(json.dumps({"passes": len(passes.buffer), "result": results,
                      "warnings": [[w.category.__name__, str(w.message)] for w in caught]}))
'''


def report(*arguments: str, **environment: str | None) -> dict:
    """The JSON that a new process prints."""
    return json.loads(run_python(*arguments, NUMBA_NUM_THREADS="2", **environment).stdout.splitlines()[-1])


@pytest.fixture
def private() -> Iterator[Path]:
    """A new folder next to the cache in use."""
    folder = jit.cache_dir()
    assert folder is not None
    fresh = Path(tempfile.mkdtemp(prefix="tests-", dir=folder.parents[1]))
    yield fresh
    shutil.rmtree(fresh)


@pytest.fixture
def entry(tmp_path: Path) -> str:
    """A module with one small entry; Numba's cache needs a file."""
    script = tmp_path / "entry.py"
    script.write_text(ENTRY)
    return str(script)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of all files."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


EXPECTED = [0, 285]  # sum of squares below 0 and below 10


# -- reuse ---------------------------------------------------------------------------------------------------------
def test_second_process_compiles_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "chosen", tuning.current()._replace(worth_sharing=1))
    engine = make_engine(10, [spec(16, "tanh"), spec(3)])
    X, y = make_data(32, 10, 3)
    for workers in (1, 2):
        train(engine, X, y, "sgd", [0, 32], n_threads=workers)
    folder = jit.cache_dir()
    assert folder is not None
    assert files(folder)
    for _ in range(5):
        before = files(folder)
        found = report("-c", FIRST_FIT)
        assert found["passes"] == 0
        assert found["warnings"] == []
        if files(folder) == before:
            break
    else:  # tests running in parallel may have compiled something during the first of these
        pytest.fail("every one of five processes wrote to the cache")


def test_many_architectures_compile_no_more_than_one() -> None:
    script = PRELUDE + """
from tests.engine.cases import OPTIMIZERS, make_data, make_engine, predict, spec, train
from fastbp.reference import ACTIVATIONS
rng = np.random.default_rng(0)
optimizers, names = list(OPTIMIZERS), list(ACTIVATIONS)
counts = []
for i in range(40):
    widths = rng.integers(1, 80, rng.integers(1, 6)).tolist()
    loss = ("mse", "cross_entropy", "binary_cross_entropy")[i % 3]
    last = {"mse": "tanh", "cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}[loss]
    layers = [*(spec(w, names[int(rng.integers(len(names)))]) for w in widths), spec(4, last)]
    engine = make_engine(1 + i, layers, loss=loss, optimizer=optimizers[i % len(optimizers)])
    X, y = make_data(1 + i, 1 + i, 4, loss=loss)
    train(engine, X, y, optimizers[i % len(optimizers)], [0, 1 + i], n_threads=1 + i % 2)
    predict(engine, X), engine.evaluate(X, y), engine.gradients(X, y)
    counts.append(len(passes.buffer))
print(json.dumps(counts))
"""
    counts = json.loads(run_python("-c", script).stdout.splitlines()[-1])
    assert counts == counts[:1] * 40


def test_cache_does_not_grow(entry: str, private: Path) -> None:
    assert report(entry, FASTBP_CACHE_DIR=str(private))["passes"] > 0
    before = files(private)
    assert before
    for _ in range(2):
        assert report(entry, FASTBP_CACHE_DIR=str(private)) == {"passes": 0, "result": EXPECTED, "warnings": []}
    assert files(private) == before


def test_cache_folder_is_private(entry: str, private: Path) -> None:
    report(entry, FASTBP_CACHE_DIR=str(private))
    (folder,) = (private / "fastbp").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_folders_unused_for_60_days_are_removed(entry: str, private: Path) -> None:
    old, recent = private / "fastbp" / "old", private / "fastbp" / "recent"
    for folder, days in ((old, 61), (recent, 59)):
        folder.mkdir(parents=True)
        (folder / "code").write_text("")
        os.utime(folder, times=(time.time() - 86400 * days,) * 2)
    report(entry, FASTBP_CACHE_DIR=str(private))
    assert not old.exists()
    assert recent.exists()


# -- racing --------------------------------------------------------------------------------------------------------
def test_processes_racing_for_one_entry_all_succeed(entry: str, private: Path) -> None:
    """Six at once, with an empty cache."""
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: report(entry, FASTBP_CACHE_DIR=str(private)), range(6)))
    assert [(each["result"], each["warnings"]) for each in found] == [(EXPECTED, [])] * 6
    assert report(entry, FASTBP_CACHE_DIR=str(private))["passes"] == 0


@pytest.mark.slow
def test_processes_compiling_the_engine_at_once_all_succeed(private: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: report("-c", FIRST_FIT, FASTBP_CACHE_DIR=str(private)), range(3)))
    assert any(each["passes"] > 0 for each in found)
    assert all(each["warnings"] == [] for each in found)
    later = report("-c", FIRST_FIT, FASTBP_CACHE_DIR=str(private))
    assert (later["passes"], later["warnings"]) == (0, [])
    assert {each["result"] for each in [*found, later]} == {later["result"]}


# -- unwritable caches ---------------------------------------------------------------------------------------------
UNWRITABLE = {
    "no folder can be created": {"FASTBP_CACHE_DIR": "/dev/null/cache"},
    "kernel file system": {"FASTBP_CACHE_DIR": "/proc"},
    "no home": {"FASTBP_CACHE_DIR": None, "XDG_CACHE_HOME": None, "HOME": "/dev/null"},
}


@pytest.mark.parametrize("where", UNWRITABLE)
def test_unwritable_cache_costs_one_warning(where: str, entry: str) -> None:
    found = report(entry, **UNWRITABLE[where])
    assert found["result"] == EXPECTED
    assert found["passes"] > 0
    ((category, message),) = found["warnings"]
    assert category == "RuntimeWarning"
    assert "FASTBP_CACHE_DIR" in message


def test_world_writable_folder_is_refused(entry: str, private: Path) -> None:
    shared = private / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    found = report(entry, FASTBP_CACHE_DIR=str(shared / "mine"))
    assert found["result"] == EXPECTED
    ((category, message),) = found["warnings"]
    assert category == "RuntimeWarning"
    assert "writable by everyone" in message
    assert files(shared) == {}


STICKY = 0o1777


def test_own_folder_in_a_sticky_folder_is_accepted(private: Path) -> None:
    """As in /tmp."""
    sticky = private / "sticky"
    own = sticky / "mine"
    own.mkdir(parents=True, mode=0o700)
    sticky.chmod(STICKY)
    assert jit._private(own)
    assert jit._private(sticky)  # what we create in it is ours
    own.chmod(0o777)
    assert not jit._private(own)
    own.chmod(0o700)
    sticky.chmod(0o777)
    assert not jit._private(own)


def test_folder_of_another_user_in_a_sticky_folder_is_refused(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sticky = private / "sticky"
    (sticky / "theirs" / "within").mkdir(parents=True, mode=0o700)
    sticky.chmod(STICKY)
    user = os.geteuid() + 1
    if os.geteuid() == 0:
        os.chown(sticky / "theirs", user, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: user)
    assert not jit._private(sticky / "theirs" / "within")
    assert not jit._private(sticky / "theirs")


def test_leftovers_of_killed_processes_are_removed(entry: str, private: Path) -> None:
    report(entry, FASTBP_CACHE_DIR=str(private))
    (folder,) = (private / "fastbp").iterdir()
    (inner,) = (path for path in folder.iterdir() if path.is_dir())
    old, new = inner / "entry.nbc.tmp.1", inner / "entry.nbc.tmp.2"
    for path, seconds in ((old, 7200), (new, 60)):
        path.write_bytes(b"half")
        os.utime(path, times=(time.time() - seconds,) * 2)
    report(entry, FASTBP_CACHE_DIR=str(private))
    assert not old.exists()
    assert new.exists()


# Root may write to any folder, so the write itself is made to fail.
READ_ONLY = """
import errno, os, tempfile
def refuse(function):
    def wrapped(*arguments, dir=None, **options):
        if str(dir).startswith(os.environ["FASTBP_CACHE_DIR"]):
            raise OSError(errno.EROFS, "Read-only file system")
        return function(*arguments, dir=dir, **options)
    return wrapped
tempfile.TemporaryFile, tempfile.NamedTemporaryFile = map(refuse, (tempfile.TemporaryFile, tempfile.NamedTemporaryFile))
"""


def test_empty_read_only_folder_costs_one_warning(tmp_path: Path, private: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text(READ_ONLY + ENTRY)
    found = report(str(script), FASTBP_CACHE_DIR=str(private))
    assert found["result"] == EXPECTED
    assert [category for category, _ in found["warnings"]] == ["RuntimeWarning"]


@pytest.mark.parametrize("filled_by", [ENTRY, ENTRY.replace("i * i", "i")], ids=["same entry", "other entry"])
def test_filled_read_only_folder_is_used(filled_by: str, tmp_path: Path, private: Path) -> None:
    """Missing code is compiled without a warning; nothing is left behind."""
    script, temporary = tmp_path / "entry.py", tmp_path / "temporary"
    temporary.mkdir()
    prelude = f"if os.environ['WRITABLE'] == 'no':{READ_ONLY}".replace("\n", "\n    ")
    script.write_text(f"import os\n{prelude}\n" + filled_by)
    environment = {"FASTBP_CACHE_DIR": str(private), "TMPDIR": str(temporary)}
    report(str(script), WRITABLE="yes", **environment)
    before = files(private)
    if filled_by != ENTRY:
        script.write_text(f"import os\n{prelude}\n" + ENTRY)
    found = report(str(script), WRITABLE="no", **environment)
    assert (found["result"], found["warnings"]) == (EXPECTED, [])
    assert (found["passes"] == 0) == (filled_by == ENTRY)
    assert files(private) == before
    assert files(temporary) == {}


@pytest.mark.parametrize("place", ["tempfile.TemporaryDirectory", "shutil.copytree"], ids=["no folder", "no room"])
def test_a_full_folder_that_cannot_be_copied_costs_one_warning(place: str, tmp_path: Path, private: Path) -> None:
    script, module = tmp_path / "entry.py", place.partition(".")[0]
    refused = {"tempfile": 'OSError(28, "No space")', "shutil": 'shutil.Error([("a", "b", "No space")] * 9)'}
    prelude = f"{READ_ONLY}\nimport {module}\ndef refuse_all(*_, **__): raise {refused[module]}\n{place} = refuse_all\n"
    script.write_text("import os\nif os.environ['WRITABLE'] == 'no':" + prelude.replace("\n", "\n    ") + "\n" + ENTRY)
    report(str(script), WRITABLE="yes", FASTBP_CACHE_DIR=str(private))
    found = report(str(script), WRITABLE="no", FASTBP_CACHE_DIR=str(private))
    assert found["result"] == EXPECTED
    ((category, message),) = found["warnings"]
    assert category == "RuntimeWarning"
    assert message.count("No space") == 1
    assert "TMPDIR" in message


@pytest.mark.slow
def test_engine_works_without_a_cache() -> None:
    found = report("-c", FIRST_FIT, FASTBP_CACHE_DIR="/dev/null/cache")
    assert len(found["warnings"]) == 1
    assert found["passes"] > 0


# -- another processor --------------------------------------------------------------------------------------------
ANOTHER_PROCESSOR = """
import llvmlite.binding
llvmlite.binding.get_host_cpu_name = lambda: "x86-64-v3"
"""


@pytest.mark.skipif(isa.NAME not in ("avx2", "avx512", "amx"), reason="plain loops are compiled for the host only")
@pytest.mark.parametrize("name", [isa.NAME, None])
def test_code_for_a_named_instruction_set_is_reused_on_other_processors(
    name: str | None, tmp_path: Path, private: Path
) -> None:
    script = tmp_path / "entry.py"
    prelude = f"if os.environ['ANOTHER'] == 'yes':{ANOTHER_PROCESSOR}".replace("\n", "\n    ")
    script.write_text(f"import os\n{prelude}\n{ENTRY}")
    environment = {"FASTBP_CACHE_DIR": str(private), "FASTBP_ISA": name}
    report(str(script), ANOTHER="no", **environment)
    found = report(str(script), ANOTHER="yes", **environment)
    assert (found["result"], found["warnings"]) == (EXPECTED, [])
    assert (found["passes"] == 0) == (name is not None)


# -- parallel compilation --------------------------------------------------------------------------------------------
def test_entries_are_divided_into_shares_of_similar_cost() -> None:
    names = [(name, "float32") for name in warm_up.COSTS]
    for cores in (1, 2, 4, 64):
        shares = warm_up.shared_out(names, cores)
        costs = [sum(warm_up.COSTS[name] for name, _ in share) for share in shares]
        assert sorted(name for share in shares for name in share) == sorted(names)
        assert len(shares) <= cores
        assert max(costs) <= max(max(warm_up.COSTS.values()), sum(costs) / len(costs) * 1.5)


def test_entries_compiled_by_another_process_are_loaded(private: Path) -> None:
    """If that process cannot be started, this only takes longer."""
    script = PRELUDE + """
from fastbp.kernels import entries, jit, warm_up
warm_up.usable_cores = lambda: 2
warm_up.COSTS.update({"peak": 5.0, "launcher": 4.0})
if os.environ["EXECUTABLE"]:
    sys.executable = os.environ["EXECUTABLE"]
done = warm_up.prepare([("launcher", "float32"), ("peak", "float32")])
print(json.dumps({"done": sorted((entry.name, entry.compiled) for entry in done), "passes": len(passes.buffer)}))
"""
    expected = [["launcher", True], ["peak", True]]
    for executable in ("", "/nowhere/python", "/bin/false"):
        found = report("-c", script, FASTBP_CACHE_DIR=str(private / f"{len(executable)}"), EXECUTABLE=executable)
        assert found["done"] == expected
    again = report("-c", script, FASTBP_CACHE_DIR=str(private / "0"), EXECUTABLE="")
    assert again == {"done": [[name, False] for name, _ in expected], "passes": 0}


# -- damaged -------------------------------------------------------------------------------------------------------
DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda data: np.random.default_rng(0).bytes(len(data)),
    "zeros in the middle": lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) // 3 * 2 :],
}
# Damage to an index that may go unnoticed: its entries are not found, so the code is compiled and stored again.
UNNOTICED = {(".nbi", "zeros in the middle")}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An entry, and a folder with its compiled code."""
    script = tmp_path_factory.mktemp("stored") / "entry.py"
    script.write_text(ENTRY)
    folder = jit.cache_dir()
    assert folder is not None
    fresh = Path(tempfile.mkdtemp(prefix="tests-", dir=folder.parents[1]))
    report(str(script), FASTBP_CACHE_DIR=str(fresh))
    yield str(script), fresh
    shutil.rmtree(fresh)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_file_costs_one_warning(suffix: str, damage: str, stored: tuple[str, Path], private: Path) -> None:
    script, folder = stored
    shutil.copytree(folder, private, dirs_exist_ok=True)  # with the times that Numba compares
    (path,) = private.rglob(f"*{suffix}")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    found = report(script, FASTBP_CACHE_DIR=str(private))
    assert found["result"] == EXPECTED
    warned = [category for category, _ in found["warnings"]]
    assert warned == ["RuntimeWarning"] or (not warned and (suffix, damage) in UNNOTICED)
    assert found["passes"] > 0


def test_damaged_cache_is_repaired(entry: str, private: Path) -> None:
    """The process that finds the damage clears the folder, the next stores the code, the one after that loads it."""
    report(entry, FASTBP_CACHE_DIR=str(private))
    (path,) = private.rglob("*.nbc")
    path.write_bytes(b"")
    compiled = [report(entry, FASTBP_CACHE_DIR=str(private)) for _ in range(3)][-1]
    assert compiled == {"passes": 0, "result": EXPECTED, "warnings": []}


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_flipped_bit_costs_one_warning(place: float, stored: tuple[str, Path], private: Path) -> None:
    script, folder = stored
    shutil.copytree(folder, private, dirs_exist_ok=True)
    (path,) = private.rglob("*.nbc")
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 16
    path.write_bytes(data)
    found = report(script, FASTBP_CACHE_DIR=str(private))
    assert (found["result"], found["passes"] > 0) == (EXPECTED, True)
    ((category, message),) = found["warnings"]
    assert category == "RuntimeWarning"
    assert f"{path} was damaged; compiling it again" in message
    assert report(script, FASTBP_CACHE_DIR=str(private)) == {"passes": 0, "result": EXPECTED, "warnings": []}


@pytest.mark.parametrize("lines", [None, "", "0" * 64 + "  {name}\n"], ids=["no file", "no line", "other line too"])
def test_code_is_rejected_only_if_no_digest_matches(lines: str | None, stored: tuple[str, Path], private: Path) -> None:
    """A process may be stopped before it adds its line, and two that race add one each."""
    script, folder = stored
    shutil.copytree(folder, private, dirs_exist_ok=True)
    (path,), (digests,) = private.rglob("*.nbc"), private.rglob(jit.DIGESTS)
    if lines is None:
        digests.unlink()
    else:
        name = path.relative_to(digests.parent).as_posix()
        assert name in digests.read_text()
        digests.write_text(lines and lines.format(name=name) + digests.read_text())
    before = files(private)
    assert report(script, FASTBP_CACHE_DIR=str(private)) == {"passes": 0, "result": EXPECTED, "warnings": []}
    assert files(private) == before


# -- import --------------------------------------------------------------------------------------------------------
@pytest.mark.timing
def test_import_compiles_nothing_and_is_quick() -> None:
    script = f"""
import time, numpy
started = [time.process_time()]
{PRELUDE}
import numba
started.append(time.process_time())
import fastbp
started.append(time.process_time())
print(json.dumps([len(passes.buffer), np.diff(started).tolist()]))
"""
    found = [json.loads(run_python("-W", "error", "-c", script).stdout) for _ in range(5)]
    assert [passes for passes, _ in found] == [0] * 5
    # CPU time, which other processes affect less, beside Numba's own: 0.6 of it measured
    assert statistics.median(own / of_numba for _, (of_numba, own) in found) < 1.2


@pytest.mark.parametrize("module", ["fastbp", "fastbp.isa", "fastbp.engine.engine"])
def test_unknown_instruction_set_fails_at_import(module: str) -> None:
    done = run_python("-c", f"import {module}", check=False, FASTBP_ISA="sse9")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: FASTBP_ISA must be one of portable, avx2, avx512, amx, neon; got 'sse9'")


@pytest.mark.parametrize("name", ["neon", "avx512"])
def test_unsupported_instruction_set_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa.detect, "host_features", lambda: {"avx2", "fma"})
    monkeypatch.setattr(isa.detect.platform, "machine", lambda: "x86_64")
    with pytest.raises(RuntimeError, match=rf"FASTBP_ISA={name} .* which supports: avx2, portable"):
        isa.detect.choose(name)


def test_requested_instruction_set_is_used_even_if_numba_compiled_earlier() -> None:
    script = """
import fastbp
import numba
numba.njit(lambda x: x + 1)(1)
from numba.core.registry import cpu_target
from fastbp import isa
from fastbp.engine.planning import tuning
print(isa.NAME, isa.table().cpu, cpu_target.target_context.codegen().magic_tuple()[1])
"""
    foreign = isa.detect.choose(None) == "avx512"  # other processors offer one instruction set beside the plain loops
    name, cpu, target = run_python("-c", script, FASTBP_ISA="avx2" if foreign else "portable").stdout.split()
    assert name == ("avx2" if foreign else "portable")
    assert target == cpu or not foreign


def test_instruction_set_chosen_after_numba_compiled_is_refused() -> None:
    """On any processor, since the script pretends that the host differs from the request."""
    script = """
import os
import numba
numba.njit(lambda x: x + 1)(1)
from fastbp.isa.targets import detect
detect.choose = lambda requested=None: "other" if requested is None else requested
# Set only now: on a machine whose best is AVX2, importing fastbp would not fail.
os.environ["FASTBP_ISA"] = "avx2"
from fastbp.engine.planning import tuning
"""
    done = run_python("-c", script, check=False, FASTBP_ISA=None)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: FASTBP_ISA=avx2 must be in force before Numba compiles anything")
    assert "import fastbp first" in last


def test_fresh_processes_import_this_package() -> None:
    """And not another copy installed elsewhere."""
    done = run_python("-c", "import fastbp; print(fastbp.__file__)")
    assert Path(done.stdout.strip()).samefile(isa.__path__[0] + "/../__init__.py")
