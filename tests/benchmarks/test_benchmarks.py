"""The benchmarks: peers take the same steps, summaries follow from times, pages change only between markers."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not part of the installed package

import fastbp  # noqa: E402
from benchmarks import accuracy, compare, costs, goals, measure, tables, worker, xor  # noqa: E402
from benchmarks.measure import Check, Measurement, WorkerError, WorkerProcess, check_losses  # noqa: E402
from benchmarks.peers import PEERS, can_train, fastest, make_peer, torch_compiled, torch_csr  # noqa: E402
from benchmarks.rows import ROWS, checked_row, layer_specs, loss_of, make_workload, row_flops  # noqa: E402
from benchmarks.trainers import TRAINERS, Run  # noqa: E402
from benchmarks.worker import Worker  # noqa: E402
from fastbp import datasets, losses  # noqa: E402
from fastbp.cli.bench import Row  # noqa: E402
from fastbp.reference import ReferenceEngine  # noqa: E402

SMALL = (Row((6, 5, 1), 4, "sgd", "mse"), Row((6, 8, 5, 3), 16), Row((6, 5, 3), 1, "sgd"))
NETWORKS = (
    Row((6, 8, 5, 3), 16, kind="batch_norm", dropout=0.2),
    Row((6, 8, 8, 8, 8, 8, 3), 16, "adamw", kind="residual", global_clipnorm=1.0),
    Row((50, 8, 5, 3), 16, "sgd", kind="csr", nonzeros=6),
    Row((6, 8, 5, 3), 40, loss="mse", activation="tanh", full_batch=True),
    Row((6, 8, 5, 3), 40, activation="tanh", dropout=0.2, dtype="float64", full_batch=True),
    Row((6, 8, 5, 1), 16, "adamw", "huber", dropout=0.2),
    Row((6, 8, 5, 6), 16, loss="mse", data="autoencoder", kind="batch_norm", activation="tanh"),
)
IN_PROCESS = ("sklearn", "torch", "fastbp")  # the others take seconds to compile or are not in the test extra
TRAINABLE = [
    pytest.param(name, row, id=f"{name}-{row.title}") for name in IN_PROCESS for row in NETWORKS if can_train(name, row)
]
HAS_JAX = importlib.util.find_spec("jax") is not None


def reference_loss(row: Row, steps: int) -> float:
    work = make_workload(row, max_steps=steps)
    peer = make_peer("numpy", work, 1)
    peer.train(1)
    return loss_of(peer.weights(), work)


@pytest.fixture(autouse=True)
def _keep_denormals():
    """PyTorch peers flush denormals in this thread too: undo it for other tests."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
class TestPeers:
    @pytest.mark.parametrize("name", IN_PROCESS)
    @pytest.mark.parametrize("row", SMALL, ids=lambda row: row.title)
    def test_take_the_same_steps_as_the_reference(self, name, row):
        work = make_workload(row, max_steps=5)
        peer = make_peer(name, work, 1)
        peer.train(1)
        assert loss_of(peer.weights(), work) == pytest.approx(reference_loss(row, 5), rel=1e-5)

    @pytest.mark.parametrize(("name", "row"), TRAINABLE)
    def test_take_the_same_steps_with_other_layers(self, name, row):
        row = checked_row(row)
        work = make_workload(row, max_steps=5)
        peer = make_peer(name, work, 1)
        peer.train(2)
        reference = make_peer("numpy", work, 1)
        reference.train(2)
        start, expected = loss_of(work.weights, work), loss_of(reference.weights(), work)
        assert abs(loss_of(peer.weights(), work) - expected) < 1e-4 * abs(start - expected)

    if HAS_JAX:  # not in the test extra

        @pytest.mark.parametrize("row", NETWORKS, ids=lambda row: row.title)
        @pytest.mark.slow
        def test_jax_takes_the_same_steps(self, row):
            with WorkerProcess("numpy", 1) as reference, WorkerProcess("jax", 1) as process:
                assert check_losses([reference, process], row).disagreement < 1e-4

    @pytest.mark.parametrize(
        ("variant", "row"),
        [
            (torch_compiled.CompiledLoss, NETWORKS[0]),
            (torch_compiled.CompiledLoss, NETWORKS[1]),
            (torch_compiled.CompiledStep, NETWORKS[1]),
            (torch_compiled.CompiledStep, SMALL[1]),
            (torch_csr.CsrCompiledStep, NETWORKS[2]),
            (torch_compiled.CompiledStep, NETWORKS[4]),
            (torch_compiled.CompiledStep, NETWORKS[5]),
        ],
        ids=lambda value: getattr(value, "__name__", None) or value.title,
    )
    def test_compiled_pytorch_takes_the_same_steps(self, variant, row, monkeypatch):
        monkeypatch.setattr(torch, "compile", lambda f, **options: f)  # same steps: Inductor takes 10 s per graph
        row = checked_row(row)
        work = make_workload(row, max_steps=5)
        peer = variant(work, 1)
        peer.train(1)
        assert loss_of(peer.weights(), work) == pytest.approx(reference_loss(row, 5), rel=1e-5)

    @pytest.mark.parametrize("name", ["numpy", "torch", "fastbp"])
    @pytest.mark.parametrize("row", [NETWORKS[0], NETWORKS[4], NETWORKS[5]], ids=lambda row: row.title)
    def test_dropout_is_applied(self, name, row):
        found = []
        for variant in (row, checked_row(row)):
            work = make_workload(variant, max_steps=3)
            peer = make_peer(name, work, 1)
            peer.train(1)
            found.append(loss_of(peer.weights(), work))
        assert np.isfinite(found).all()
        assert found[0] != found[1]

    @pytest.mark.parametrize("name", ["numpy", "torch", "fastbp"])
    def test_weights_have_the_dtype_of_the_row(self, name):
        for row in (NETWORKS[3], NETWORKS[4]):
            work = make_workload(row)
            assert work.steps == 1
            weights = make_peer(name, work, 1).weights()
            assert {array.dtype.name for array in (work.X, *work.weights, *weights)} == {row.dtype}

    @pytest.mark.parametrize("variant", ["sparse", "sparse on one thread", "dense", "product"])
    def test_every_pytorch_variant_for_csr_takes_the_same_steps(self, variant):
        work = make_workload(NETWORKS[2], max_steps=5)
        names = ("sparse", "sparse on one thread", "dense", "product")
        peer = dict(zip(names, torch_csr.eager_ways(work, 1), strict=True))[variant]()
        peer.train(1)
        assert loss_of(peer.weights(), work) == pytest.approx(reference_loss(NETWORKS[2], 5), rel=1e-6)

    @pytest.mark.parametrize("name", ["numpy", *IN_PROCESS])
    def test_training_continues_where_it_stopped(self, name):
        work = make_workload(SMALL[1], max_steps=3)
        once, twice = (make_peer(name, work, 1) for _ in range(2))
        once.train(2)
        twice.train(1)
        twice.train(1)
        for a, b in zip(once.weights(), twice.weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    def test_loss_matches_the_engine(self):
        for row in (*SMALL, *NETWORKS):
            work = make_workload(row, max_steps=3)
            engine = ReferenceEngine(row.sizes[0], layer_specs(row), dtype="float64")
            engine.set_weights(work.weights)
            engine.configure(row.loss, "sgd", loss_parameters=losses.get(row.loss).parameters)
            X = work.X.toarray() if row.kind == "csr" else work.X
            assert loss_of(work.weights, work) == pytest.approx(engine.evaluate(X.astype(float), work.y), rel=1e-12)

    def test_module_of_every_peer_exists(self):
        for entry in PEERS.values():
            assert importlib.util.find_spec(f"benchmarks.peers.{entry.module}") is not None

    def test_fastest_times_every_variant_and_returns_a_fresh_one(self):
        made: list[str] = []

        class Variant:
            def __init__(self, name: str, work: int) -> None:
                made.append(name)
                self.name, self.work = name, work

            def train(self, epochs: int) -> None:
                sum(range(self.work))

            def weights(self) -> list[np.ndarray]:
                return []

        best = fastest([lambda: Variant("slow", 10**6), lambda: Variant("quick", 10)])
        assert isinstance(best, Variant)
        assert best.name == "quick"
        assert made == ["slow", "quick", "quick"]


class TestRows:
    def test_word_frequencies_vary(self):
        work = make_workload(ROWS[12], max_steps=16)
        X = work.X
        assert X.dtype == np.float32
        assert X.nnz / X.shape[0] == pytest.approx(100, rel=0.02)  # 2048 rows, deviation near 10: 0.2 for the mean
        commonest = np.sort(np.bincount(X.indices, minlength=X.shape[1]))[::-1] / X.shape[0]
        assert commonest[0] == 1
        assert commonest[1000] < 0.05

    def test_flops(self):
        assert row_flops(ROWS[4]) == 128 * 2 * (2 * 784 * 128 + 3 * 128 * 10)
        assert row_flops(ROWS[12]) == 128 * 2 * (2 * 100 * 256 + 3 * 256 * 10)

    def test_titles_and_nodes(self):
        assert ROWS[25].title == "128 x 21, 256, SGD, MSE"
        titles = [row.title for row in ROWS[10:13]]
        assert titles == [
            "784-512-512-10 with batch norm and dropout 0.2, 128, Adam",
            "784-512, 8 residual blocks, 10, 256, AdamW with clipping",
            "20000-256-10 on CSR, 100 nonzeros a row, 128, SGD",
        ]
        kinds = [[spec.kind for spec in layer_specs(row)] for row in ROWS[10:13]]
        assert kinds[0] == ["dense", "batch_norm", "dropout"] * 2 + ["dense"]
        assert kinds[1] == ["dense"] + ["dense", "dense", "add"] * 8 + ["dense"]
        assert kinds[2] == ["dense"] * 2

    def test_names_tell_the_published_workloads_apart(self):
        assert [row.title for row in ROWS[28:32]] == [
            "4-32-16-4 tanh, full batch of 10000, Adam, MSE",
            "24-8-2 tanh with dropout 0.2 in float64, full batch of 200, Adam, MSE",
            "1446-512-256-64-1 with dropout 0.2, 128, AdamW, Huber",
            "autoencoder 640-128-128-128-128-8-128-128-128-128-640 with batch norm, 512, Adam, MSE",
        ]
        kinds = [[spec.kind for spec in layer_specs(row)] for row in ROWS[28:32]]
        assert kinds[0] == ["dense"] * 3
        assert kinds[1] == ["dense", "dropout", "dense"]
        assert kinds[2] == ["dense", "dropout"] * 3 + ["dense"]
        assert kinds[3] == ["dense", "batch_norm"] * 9 + ["dense"]
        assert {spec.activation for spec in layer_specs(ROWS[28])} == {"tanh", "identity"}

    def test_targets_of_an_autoencoder_are_its_inputs(self):
        work = make_workload(NETWORKS[6], max_steps=2)
        assert work.y is work.X

    def test_scikit_learn_is_skipped_for_unsupported_networks(self):
        assert [can_train("sklearn", row) for row in ROWS[10:16]] == [False, False, True, True, False, True]
        assert [can_train("sklearn", row) for row in ROWS[28:32]] == [True, False, False, False]


class TestWorker:
    def test_requests_are_answered(self):
        peer = Worker("numpy", 1)
        row = SMALL[0]._asdict()
        check = worker.answer(peer, json.dumps({"ask": "check", "row": row, "max_steps": 5}))
        assert check["loss"] == pytest.approx(reference_loss(SMALL[0], 5))
        prepared = worker.answer(peer, json.dumps({"ask": "prepare", "row": row, "seconds": 0.001, "max_steps": 5}))
        assert prepared["epochs"] >= 1
        assert worker.answer(peer, json.dumps({"ask": "train", "epochs": 1}))["seconds"] > 0
        assert worker.answer(peer, '{"ask": "memory"}')["bytes"] >= 0

    def test_memory_is_unknown_where_the_system_does_not_tell(self, monkeypatch, tmp_path):
        assert Worker("numpy", 1).memory() == {"bytes": None}  # nothing is prepared
        row = measure.row_fields(SMALL[0])
        for name in ("STATUS", "CLEAR"):
            with monkeypatch.context() as without:
                without.setattr(worker, name, tmp_path / "no folder" / "no file")
                peer = Worker("numpy", 1)
                peer.prepare(row, 0.001, max_steps=2)
                assert peer.memory() == {"bytes": None}

    def test_highest_memory_can_fall(self):
        bound = 64 << 20
        before = worker.resident("VmRSS")
        held = np.ones(bound, np.uint8)
        assert worker.resident("VmHWM") >= before + bound // 2
        assert held[-1] == 1
        del held
        if worker.restart_peak():
            assert worker.resident("VmHWM") < before + bound // 2

    def test_errors_are_returned(self):
        assert "prepare before train" in worker.answer(Worker("numpy", 1), '{"ask": "train", "epochs": 1}')["error"]
        assert "KeyError" in worker.answer(Worker("none", 1), json.dumps({"ask": "dance"}))["error"]

    def test_dead_worker_is_reported(self):
        with WorkerProcess("numpy", 1) as process:
            process.process.kill()
            process.process.wait()
            with pytest.raises(WorkerError, match="numpy: the worker died"):
                process.ask("train", epochs=1)


class FakeWorker:
    def __init__(self, name: str, loss: float, asked: list[dict[str, object]] | None = None) -> None:
        self.name, self.loss, self.asked = name, loss, [] if asked is None else asked

    def ask(self, question: str, **fields: object) -> dict[str, float]:
        self.asked.append(fields)
        return {"loss": self.loss, "start": 2.0}


class TestMeasure:
    M = Measurement(
        SMALL[1],
        {"numpy": [4e-3, 6e-3, 5e-3], "jax": [3e-3, 2e-3, 9e-3], "fastbp": [1e-3, 2e-3, 1e-3]},
        Check(2.0, {}),
        [1e9, 2e9, 1e9],
        {"numpy": 3 * 2**20, "jax": None, "fastbp": 2**20},
    )

    def test_summary(self):
        assert self.M.best_peer == "jax"
        assert self.M.microseconds("numpy") == 5000
        assert self.M.ratios() == [3.0, 1.0, 9.0]
        assert self.M.speed("fastbp") == pytest.approx(2 * 16 * (2 * 48 + 3 * (40 + 15)) / 1e-3)

    def test_no_ratios_without_peers(self):
        assert self.M._replace(times={"fastbp": [1.0]}).ratios() == []

    def test_peak_is_the_largest_of_all_rows_of_a_dtype(self):
        rows = [self.M, self.M._replace(peaks=[3e9])]
        assert measure.peaks(rows) == {"float32": 3e9}
        double = self.M._replace(row=SMALL[1]._replace(dtype="float64"), peaks=[1.5e9])
        assert measure.peaks([*rows, double]) == {"float32": 3e9, "float64": 1.5e9}

    def test_no_share_of_the_peak_exceeds_1(self):
        slow = self.M._replace(peaks=[1.0])
        assert measure.peaks([slow]) == {"float32": slow.speed("fastbp")}

    def test_workers_get_only_what_is_not_a_default(self):
        assert measure.row_fields(SMALL[0]) == {"sizes": (6, 5, 1), "batch": 4, "optimizer": "sgd", "loss": "mse"}
        for row in (*SMALL, *NETWORKS, *ROWS):
            assert worker.as_row(json.loads(json.dumps(measure.row_fields(row)))) == row

    def test_environment_of_a_peer_reaches_its_process(self, monkeypatch):
        started: list[dict[str, str]] = []
        monkeypatch.setattr(subprocess, "Popen", lambda *arguments, env, **options: started.append(env))
        for name in ("jax", "jax-plain"):
            WorkerProcess(name, 1)
        ((variable, value),) = PEERS["jax-plain"].environment
        assert [env.get(variable) == value for env in started] == [False, True]
        assert {env["OMP_NUM_THREADS"] for env in started} == {"1"}

    def test_busy_cores_end_with_their_context(self, monkeypatch):
        started: list[subprocess.Popen[bytes]] = []
        popen = subprocess.Popen

        def start(arguments: list[str]) -> subprocess.Popen[bytes]:
            started.append(popen(arguments))
            return started[-1]

        monkeypatch.setattr(subprocess, "Popen", start)
        with measure.busy_cores(1):
            assert [process.poll() for process in started] == [None]
        assert started[0].returncode is not None

    @pytest.mark.parametrize("row", [SMALL[0], NETWORKS[3]], ids=lambda row: row.title)
    def test_as_many_steps_are_checked_of_a_full_batch(self, row):
        asked: list[dict[str, object]] = []
        check_losses([FakeWorker("a", 1.0, asked)], row)
        assert asked[0]["epochs"] == (2 if row.full_batch else 1)
        assert asked[0]["max_steps"] == 2

    def test_losses_must_agree(self):
        check = check_losses([FakeWorker("a", 1.0), FakeWorker("b", 1.001)], SMALL[1])
        assert check.losses == {"a": 1.0, "b": 1.001}
        assert check.disagreement == pytest.approx(1e-3)
        for loss in (1.1, float("nan")):
            with pytest.raises(WorkerError, match="after 2 steps disagree, from 2 to a 1, b"):
                check_losses([FakeWorker("a", 1.0), FakeWorker("b", loss)], SMALL[1])


def tables_in(text: str) -> list[list[str]]:
    """The Markdown tables of a page, line by line."""
    groups = itertools.groupby(text.splitlines(), lambda line: line.startswith("|"))
    return [list(lines) for table, lines in groups if table]


class TestCompare:
    @pytest.mark.jit
    def test_quick_run(self, tmp_path, capsys):
        path = tmp_path / "out.json"
        assert compare.main(["--rows", "2", "--peers", "numpy", "--quick", "--threads", "1", "--json", str(path)]) == 0
        out = capsys.readouterr().out
        assert "10-32-1, 32, SGD, MSE" in out
        assert "NumPy / fastbp: " in out
        written = json.loads(path.read_text(encoding="utf-8"))
        row = written["rows"][0]
        assert set(row["memory_bytes"]) == {"numpy", "fastbp"}
        assert written["peaks"]["1"]["float32"] >= row["peak_flops_per_second"]
        assert set(row["seconds_per_step"]) == {"numpy", "fastbp"}
        assert len(row["ratios"]) == compare.QUICK.rounds
        assert compare.main(["--read", str(path)]) == 0
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert compare.read_times(path) == {row["title"]: row["seconds_per_step"]}

    def test_failing_row_is_reported(self, monkeypatch, capsys):
        monkeypatch.setattr(
            compare, "measure", lambda *arguments: (_ for _ in ()).throw(WorkerError("jax: no such module"))
        )
        assert compare.main(["--rows", "1", "--quick"]) == 1
        assert "jax: no such module" in capsys.readouterr().err

    TIMES = MappingProxyType({name: [1e-3, 2e-3, 1.5e-3] for name in PEERS})
    MEMORY = MappingProxyType({name: None if name == "jax" else 2**21 for name in PEERS})

    def measurements(self, factor: float = 1.0) -> list[Measurement]:
        times = {name: [factor * t for t in self.TIMES[name]] for name in PEERS}
        return [Measurement(row, times, Check(2.0, {"numpy": 1.0}), [1e12], dict(self.MEMORY)) for row in ROWS]

    def test_page_has_a_line_per_row_in_each_table(self):
        text = compare.page_text({2: self.measurements()}, measure.Plan())
        times, memory = tables_in(text)
        assert len(times) == len(memory) == 2 + len(ROWS) == 34
        for table in (times, memory):
            assert len({line.count("|") for line in table}) == 1
        assert "784-128-10 on MNIST, 128, Adam, epoch 4 on" in text
        assert memory[2].split(" | ")[1:] == ["2", "2", "2", "2", "–", "2", "2 |"]

    def test_page_compares_numbers_of_threads(self):
        run = {1: self.measurements(2.0), 2: self.measurements()}
        text = compare.page_text(run, measure.Plan())
        _, fewer, _ = tables_in(text)
        assert fewer[0].startswith("| net, batch, optimizer | fastbp, 1 thread | fastbp, 2 threads | speed-up |")
        assert fewer[2] == "| 10-5-1, 1, SGD, MSE | 3,000.0 | 1,500.0 | 2.00 | 1.00 (1.00 to 1.00) |"
        assert "2 threads for all" in text

    def test_start_page_shows_the_first_table(self):
        run = {1: self.measurements(), 2: self.measurements()}
        page = f"<!-- generated: some -->\n{compare.page_text(run, measure.Plan())}<!-- end: some -->"
        text = compare.front_text(page, "some")
        (table,) = tables_in(text)
        assert len(table) == 2 + len(ROWS)
        assert text.startswith("Measured on ")
        assert "fusions off" not in text

    def test_busy_page_names_the_best_peer(self):
        times = {"numpy": [4e-3], "jax": [3e-3], "fastbp": [1e-3]}
        m = self.measurements()[4]._replace(times=times)
        (table,) = tables_in(compare.busy_text({2: [m]}, measure.Plan(busy=True)))
        assert table[2] == "| 784-128-10, 128, Adam | 1,000.0 | JAX | 3,000.0 | 3.00 (3.00 to 3.00) |"

    @pytest.mark.parametrize(("busy", "section"), [(False, "benchmarks.compare "), (True, "benchmarks.compare busy ")])
    def test_complete_run_writes_its_section(self, busy, section, monkeypatch, tmp_path):
        for name in ("PAGE", "FRONT", "RESULTS"):
            monkeypatch.setattr(compare, name, tmp_path / name.lower())
        monkeypatch.setattr(compare, "ROOT", tmp_path)
        asked: list[tuple[Row, measure.Plan]] = []

        def fake(row: Row, names: list[str], plan: measure.Plan) -> Measurement:
            asked.append((row, plan))
            return self.measurements()[ROWS.index(row)]

        monkeypatch.setattr(compare, "measure", fake)
        assert compare.main(["--threads", "2,1", *["--busy"] * busy]) == 0
        assert f"<!-- generated: {section}" in compare.PAGE.read_text(encoding="utf-8")
        assert compare.FRONT.exists() != busy
        rows = [ROWS[number - 1] for number in compare.BUSY_ROWS] if busy else list(ROWS)
        assert [(row, plan.threads, plan.busy) for row, plan in asked] == [(r, n, busy) for r in rows for n in (1, 2)]
        path = tmp_path / ("compare-busy.json" if busy else "results")
        assert {row["threads"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]} == {1, 2}
        assert compare.read_times(path) == {row.title: dict(self.TIMES) for row in rows}

    @pytest.mark.parametrize(("text", "counts"), [("2", [2]), ("1,2", [1, 2]), ("4,1", [1, 4])])
    def test_numbers_of_threads(self, text, counts):
        assert compare.make_parser().parse_args(["--threads", text]).threads == counts

    @pytest.mark.parametrize(("text", "numbers"), [("1", [1]), ("1,3-5", [1, 3, 4, 5]), ("11-13", [11, 12, 13])])
    def test_row_numbers(self, text, numbers):
        assert compare.make_parser().parse_args(["--rows", text]).rows == numbers

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--rows", "0"], "must be numbers from 1 to 32"),
            (["--rows", "33"], "must be numbers from 1 to 32"),
            (["--rows", "x"], "must be numbers from 1 to 32"),
            (["--peers", "caffe"], "unknown peer 'caffe': choose from numpy"),
            (["--threads", "0"], "must be different numbers from 1"),
            (["--threads", "2,2"], "must be different numbers from 1"),
            (["--threads", "1,x"], "must be different numbers from 1"),
        ],
    )
    def test_invalid_options_are_rejected(self, options, message, capsys):
        with pytest.raises(SystemExit):
            compare.main(options)
        assert message in capsys.readouterr().err


class TestTables:
    def test_only_text_between_the_markers_changes(self, tmp_path):
        page = tmp_path / "docs" / "page.md"
        tables.replace_generated(page, "a", "one", title="Page")
        tables.replace_generated(page, "b", "two", title="Page")
        written = page.read_text(encoding="utf-8")
        page.write_text(written + "\nby hand\n", encoding="utf-8")
        tables.replace_generated(page, "a", "three", title="Page")
        assert page.read_text(encoding="utf-8") == written.replace("one", "three") + "\nby hand\n"
        assert written.startswith("# Page\n")

    def test_machine_and_versions(self):
        assert int(tables.machine()["cores"]) >= 1
        assert tables.versions(["numpy", "no such thing"]) == {"numpy": np.__version__}


class TestAccuracy:
    @pytest.mark.jit
    @pytest.mark.parametrize("library", TRAINERS)
    def test_two_epochs_learn_digits(self, library):
        contest = accuracy.Contest("digits", 0.5, 1, epochs=2)
        line = accuracy.Line(contest, library, [accuracy.run_seed(contest, library, 0)])
        assert line.runs[0].accuracy[-1] > 0.7
        assert accuracy.describe(line)[2] == "1 of 1"

    def test_time_to_reach_a_goal(self):
        run = Run([1.0, 2.0, 3.0], [0.5, 0.9, 0.8])
        assert [run.reached(goal) for goal in (0.4, 0.9, 0.95)] == [1, 2, None]

    def test_goal_never_reached_has_no_time(self):
        line = accuracy.Line(accuracy.CONTESTS[0], "torch", [Run([1.0], [0.5])])
        assert accuracy.describe(line)[2:5] == ["0 of 1", "–", "–"]

    def test_xor_is_solved(self, monkeypatch):
        monkeypatch.setattr(xor, "EPOCHS", 400)
        shown: list[str] = []
        result = xor.solve_xor(3, show=shown.append)
        assert (result.solved, result.seeds, len(shown)) == (3, 3, 3)
        assert result.slowest <= 400
        assert "solved in 3 seeds of 3" in accuracy.describe_xor(result)


class TestGoals:
    @pytest.mark.jit
    def test_classification_recipes_learn_digits(self):
        for goal in goals.GOALS[:4]:
            recipe = goal.recipe._replace(epochs=5, batch_size=32)
            result = goals.run(goal._replace(load=goals.load_digits, recipe=recipe, measure=goals.error), 0)
            assert result.value < 0.1
            assert result.seconds > 0

    @pytest.mark.jit
    def test_regression_error_is_in_units_of_the_target(self, rng):
        X = rng.normal(size=(400, 8))
        X[::50, 4] = np.nan
        split = datasets.split_table(datasets.Table(X, 1e5 + 3e4 * X[:, 0]))
        task = goals.prepare(goals.imputed(split), "regression")
        goal = goals.GOALS[4]._replace(load=lambda seed: task, bound=lambda task, seed: 3e4)
        result = goals.run(goal, 0)
        assert result.value < 6e3  # a fifth of the standard deviation
        assert goal.met([result])

    @pytest.mark.jit
    def test_parallel_seeds_give_the_same_results(self):
        goal = goals.GOALS[0]._replace(load=goals.load_digits, recipe=goals.Recipe((goals.relu(8),), 1e-2, 0.0, 1))
        both = [[result.value for result in goals.run_seeds(goal, 2, 1, jobs)] for jobs in (1, 2)]
        assert both[0] == both[1]

    def test_missing_values_become_training_medians(self):
        X = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0]])
        split = goals.imputed(datasets.Split(X, X[:, 0], np.full((1, 2), np.nan), X[:1, 0]))
        np.testing.assert_array_equal(split.x_train, [[1, 5], [3, 4], [2, 6]])
        np.testing.assert_array_equal(split.x_test, [[2, 5]])

    def test_metrics(self):
        y, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
        assert goals.error(y, predicted) == 0.25
        assert goals.balanced_accuracy(y, predicted) == pytest.approx((2 / 3 + 1) / 2)
        assert goals.rmse(np.array([1.0, 2.0]), np.array([[4.0], [6.0]])) == pytest.approx(12.5**0.5)
        assert goals.class_weights(np.array([0, 0, 0, 0, 0, 0, 0, 0, 2])) == pytest.approx(
            {0: (9 / 3 / 8) ** 0.5, 2: 3**0.5}
        )

    @pytest.mark.parametrize(("value", "higher", "met"), [(0.9, False, True), (1.1, False, False), (1.1, True, True)])
    def test_goal_is_met_by_the_mean(self, value, higher, met):
        goal = goals.GOALS[0]._replace(higher=higher)
        results = [goals.Result(value, 1.0, 2.0), goals.Result(value + 0.05, 1.0, 2.0)]
        assert goal.met(results) == met
        assert goals.describe(goal, results)[4] == ("yes" if met else "no")

    @pytest.mark.parametrize(("value", "code"), [(0.01, 0), (0.5, 1)])
    def test_page_is_written_only_for_all_seeds(self, value, code, monkeypatch, tmp_path, capsys):
        page = tmp_path / "goals.md"
        monkeypatch.setattr(goals, "PAGE", page)
        monkeypatch.setattr(goals, "run", lambda goal, seed, n_threads: goals.Result(value, 0.017, 3.0))
        assert goals.main(["--only", "mnist-plain", "--seeds", "1"]) == code
        assert not page.exists()
        assert goals.main(["--only", "mnist-plain"]) == code
        text = page.read_text(encoding="utf-8")
        assert "## MNIST, 784-800-10" in text
        assert f"| at most 1.70% | {value:.2%} |" in text
        assert "mnist-plain, seed 2" in capsys.readouterr().out


class TestCosts:
    def test_ratios_are_medians_over_rounds(self):
        times = {"base": iter([1.0, 2.0, 4.0]), "costly": iter([2.0, 3.0, 8.0])}
        found = costs.ratios({name: values.__next__ for name, values in times.items()}, 3)
        assert found == {"base": (2.0, 1.0, 0.0), "costly": (3.0, 2.0, 0.5)}

    @pytest.mark.jit
    def test_table_has_every_option(self, capsys):
        network = costs.Network(8, (16, 16), 4, "adam")
        runs = {
            name: costs.stepper(network, hidden, fastbp.Adam(global_clipnorm=costs.CLIP), 1, 1e-8)
            for name, hidden in ({"plain": costs.plain(network)} | costs.options(network)).items()
        }
        table = costs.table(network, runs, 1)
        assert table.startswith("| 8-16-16-10, batch 4, Adam | µs a step |")
        assert len(table.splitlines()) == 2 + 7
        assert capsys.readouterr().out.count("8-16-16-10") == 7
