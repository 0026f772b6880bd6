"""The contract: one emitter and one twin for every row, in files of the same name, with the row's arguments."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from fastbp import isa
from fastbp.isa import emitters, twins
from fastbp.isa.codes import ACTIVATIONS, FAMILIES, LOSSES, RULE_CODES, UPDATE_RULES
from fastbp.isa.contract import CONTRACT, FILES, ROWS, THREADS, parameters
from fastbp.isa.emitters import activations, losses, optimizers, threads
from fastbp.isa.microkernels import SLOTS, emitter, twin
from fastbp.isa.twins import activations as twin_activations
from fastbp.isa.twins import losses as twin_losses
from fastbp.isa.twins import optimizers as twin_optimizers

NO_MICROKERNELS = {"lines", "transcendental"}  # what the emitters are written in


def files(package) -> set[str]:
    return {path.stem for path in Path(package.__path__[0]).glob("*.py")} - {"__init__"}


def test_emitters_and_twins_are_in_files_of_the_same_name():
    assert files(emitters) - NO_MICROKERNELS == files(twins) == {*ROWS, "threads"}


@pytest.mark.parametrize("name", FILES)
def test_every_row_has_an_emitter_and_a_twin(name):
    for function, package in ((emitter(name), emitters), (twin(name), twins)):
        assert function.__module__ == f"{package.__name__}.{FILES[name]}"
    arguments = ["module", "bits", "table"]
    assert [*inspect.signature(emitter(name)).parameters][:3] == arguments
    assert len(inspect.signature(emitter(name)).parameters) == 3 + (name in FAMILIES)


@pytest.mark.parametrize("name", CONTRACT)
def test_twin_takes_the_arguments_of_the_contract(name):
    before = [] if name in THREADS else ["table", "code"] if name in FAMILIES else ["table"]
    assert [*inspect.signature(twin(name)).parameters] == before + parameters(name)


@pytest.mark.parametrize("name", THREADS)
def test_inlined_emitter_takes_as_many_values_as_the_contract(name):
    assert len(inspect.signature(getattr(threads, name)).parameters) == 1 + len(CONTRACT[name])


def test_every_argument_of_a_row_is_parsed():
    for rows in (*ROWS.values(), THREADS):
        for name, row in rows.items():
            assert len(CONTRACT[name]) == len(row.split())


def test_slots_of_a_family_are_ordered_by_code():
    """A member's slot is the first slot of its family plus its code."""
    codes = {"update": RULE_CODES, "activate": ACTIVATIONS, "slope": ACTIVATIONS, "loss": LOSSES}
    for family, known in codes.items():
        first = SLOTS[f"{family}_{FAMILIES[family][0]}"]
        assert {name: SLOTS[f"{family}_{name}"] - first for name in FAMILIES[family]} == {
            name: known[name] for name in FAMILIES[family]
        }


@pytest.mark.parametrize(
    ("module", "codes"), [(twin_activations, ACTIVATIONS), (twin_losses, LOSSES), (twin_optimizers, RULE_CODES)]
)
def test_constants_of_twins_equal_the_codes(module, codes):
    assert {name: getattr(module, name.upper()) for name in codes} == codes
    assert sorted(codes.values()) == list(range(len(codes)))


def test_every_member_of_a_family_is_emitted():
    assert {*activations.FROM_OUTPUT, *activations.WITH_SLOPE} == {*FAMILIES["activate"]}
    assert {*activations.WITH_SLOPE} == {*twin_activations.KEEPS_SLOPES}
    assert set(losses.LOSSES) == set(LOSSES)
    assert set(optimizers.RULES) == set(UPDATE_RULES)
    assert max(rule.n_states for rule in UPDATE_RULES.values()) == twin_optimizers.MOST_STATES
    assert max(len(rule.scalars) for rule in UPDATE_RULES.values()) <= twin_optimizers.LIMIT


def test_only_emitters_import_a_compiler():
    """At module level: `import fastbp` must stay cheap."""
    root = Path(isa.__path__[0])
    for path in root.rglob("*.py"):
        imported = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in imported for alias in node.names if isinstance(node, ast.Import)}
        names |= {node.module for node in imported if isinstance(node, ast.ImportFrom)}
        compilers = {name for name in names if name and name.split(".")[0] in ("llvmlite", "numba")}
        assert not compilers or "emitters" in path.parts, path
