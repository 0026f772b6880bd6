"""Numbers quoted in the documentation match the code: constants, counts, and defaults in tables of calls."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import fastbp
from benchmarks.rows import ROWS
from fastbp.cli import job, network
from fastbp.data import batch_schedule, streams
from fastbp.engine.planning import plan, tuning
from fastbp.exchange import numpy_module
from fastbp.isa.twins.activations import ACTIVATIONS
from fastbp.kernels.passes import updates
from fastbp.preprocessing import targets
from fastbp.reference import random
from fastbp.sources import base
from fastbp.storage import checkpoint
from tests import bits

ROOT = Path(__file__).parents[2]
NAMES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
WORDS = {name: number for number, name in enumerate(NAMES.split())}
MIB = 1 << 20


def default(function, name):
    return inspect.signature(function).parameters[name].default


def hashed_trainings():
    bits.collect()
    return 2 * len(bits.TASKS)  # with one thread and with two


# page, phrase with the number in parentheses, value in the code
QUOTED = [
    ("README.md", r"Dense, (\d+) activations", len(ACTIVATIONS)),
    ("README.md", r"(\w+) learning rate schedules", len(set(fastbp.schedules.__all__) - {"Schedule"})),
    ("README.md", r"at most (\d+) distinct\s+values", targets.MAX_INTEGER_CLASSES),
    ("README.md", r"scikit-learn, PyTorch and JAX on (\w+) networks", len(ROWS)),
    ("CONTRIBUTING.md", r"hashes of (\d+) trainings", hashed_trainings()),
    ("docs/columns.md", r"at most (\d+) distinct values", targets.MAX_INTEGER_CLASSES),
    ("docs/columns.md", r"more than (\d+) categories are embedded", network.MOST_ONE_HOT),
    ("docs/columns.md", r"fewer than (\w+) occurrences are rare", network.RARE),
    ("docs/columns.md", r"trained for (\d+) epochs", job.CATEGORIES_RECIPE.epochs),
    ("docs/coming-from.md", r"the default batch size is (\d+)", default(fastbp.Sequential.fit, "batch_size")),
    ("docs/coming-from.md", r"belongs to the model; the default is (\d+)", default(fastbp.Sequential, "seed")),
    ("docs/data.md", r"as many as fit into (\d+) MiB of X", streams.WINDOW_BYTES / MIB),
    ("docs/data.md", r"reads chunks of (\d+) MiB", base.CHUNK_BYTES / MIB),
    ("docs/exchange.md", r"Up to (\d+) MB of weights", numpy_module.INSIDE / MIB),
    ("docs/compatibility.md", r"the version of the format, now `(\d+)`", checkpoint.VERSION),
    ("docs/architecture.md", r"from ([\d,]+) multiply-adds per layer", tuning.derived().worth_sharing),
    ("docs/architecture.md", r"rule of ([\d,]+) multiply-adds", tuning.derived().worth_sharing),
    ("docs/architecture.md", r"(\d+) lines per unit, batch rows in order", plan.TABLE_LINES),
    ("docs/architecture.md", r"summed in runs of (\d+) lines", updates.RUN),
    ("docs/architecture.md", r"(\w+) rounds of Philox", random.ROUNDS),
    ("docs/training.md", r"at the end of a slice, about ([\d.]+) s", batch_schedule._SECONDS),
    ("docs/explanation.md", r"as many steps as take about ([\d.]+) s", batch_schedule._SECONDS),
    ("docs/howto/resume.md", r"once per slice of about ([\d.]+) s", batch_schedule._SECONDS),
    ("docs/howto/time-budget.md", r"end of a slice of steps, about ([\d.]+) s", batch_schedule._SECONDS),
]


def number(text):
    return WORDS[text.lower()] if text.lower() in WORDS else float(text.replace(",", ""))


@pytest.mark.parametrize(("page", "phrase", "value"), QUOTED, ids=[f"{page}: {phrase}" for page, phrase, _ in QUOTED])
def test_quoted_number_matches_the_code(page, phrase, value):
    found = re.findall(phrase, (ROOT / page).read_text(encoding="utf-8"))
    assert found, f"{page} no longer contains {phrase}: update the phrase or delete the line"
    assert {number(text) for text in found} == {float(value)}


def calls():
    """(page, call) for first columns of tables that show a class with its defaults, such as `Adam(1e-3)`."""
    for page in ("docs/training.md", "docs/columns.md"):
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            for text in re.findall(r"`([A-Z]\w+\([^`]*\))`", line.split(" | ")[0]) if line.startswith("| `") else ():
                yield pytest.param(page, text, id=text)


@pytest.mark.parametrize(("page", "text"), list(calls()))
def test_calls_in_tables_show_the_defaults(page, text):
    """Only numbers are compared: other arguments are placeholders for required ones."""
    call = ast.parse(text, mode="eval").body
    signature = inspect.signature(getattr(fastbp, call.func.id))
    given = signature.bind_partial(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords}).arguments
    for name, node in given.items():
        if not isinstance(node, ast.Name | ast.Tuple | ast.Attribute):
            written = eval(compile(ast.Expression(node), page, "eval"), {})
            assert signature.parameters[name].default == written, f"{page}: {text}"
