"""Which module may import which, and how large it may be; `python -m tests.test_layering` prints the structure."""

from __future__ import annotations

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastbp"

# From the bottom layer up: no component may import another of its own line or of a later one. A component is a folder
# or a top-level module.
ORDER = (
    ("util",),
    ("spec",),
    ("reference",),
    ("activations", "initializers", "regularizers", "constraints", "schedules"),
    ("layers", "losses", "optimizers"),
    ("metrics",),
    ("isa",),
    ("kernels",),
    ("data",),
    ("tables",),
    ("preprocessing",),
    ("sources", "datasets"),
    ("engine",),
    ("storage",),
    ("training",),
    ("model",),
    ("plots",),
    ("diagnosis",),
    ("callbacks",),
    ("estimators", "exchange"),
    ("recipes",),
    ("",),  # fastbp/__init__.py
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

# (importing module, imported module): why. At most three.
EXCEPTIONS = {
    ("fastbp.kernels", "fastbp.engine.plain_dense"): "fastbp.kernels is the public name of the plain kernels",
    ("fastbp.kernels", "fastbp.engine.plain_update"): "the same",
}

# Components that may import the trainer in plain NumPy, besides tests and benchmarks.
READS_REFERENCE = ("reference", "diagnosis", "cli", "")  # the last, fastbp/__init__.py, names it for type checkers
COMPILERS = ("numba", "llvmlite")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name; `__init__.py` under the name of its folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def _imported(module: str, tree: ast.Module) -> set[str]:
    """Names of the modules that a module imports anywhere, even only for type checkers."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in modules() else node.module)
    return names - {module}


@cache
def imports() -> dict[str, set[str]]:
    """The modules of the package that each module imports."""
    return {name: {other for other in _imported(name, tree) if other in modules()} for name, tree in modules().items()}


def component(module: str) -> str:
    """The component in ORDER that a module belongs to."""
    return module.partition(".")[2].partition(".")[0]


def upward_imports() -> list[tuple[str, str]]:
    """Imports of another component of the same line of ORDER or of a later one."""
    wrong = []
    for module, others in imports().items():
        for other in others:
            here, there = component(module), component(other)
            if here != there and RANK[there] >= RANK[here]:
                wrong.append((module, other))
    return wrong


def import_cycles() -> list[list[str]]:
    """Strongly connected groups of modules, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in imports()[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in imports():
        if module not in index:
            visit(module)
    return found


def module_lengths() -> dict[str, int]:
    """Number of lines of every module."""
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}


def folder_sizes() -> dict[str, int]:
    """Number of modules in every folder."""
    counted: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        folder = str(path.parent.relative_to(ROOT))
        counted[folder] = counted.get(folder, 0) + 1
    return counted


def kernels() -> list[tuple[str, int, int]]:
    """Name, lines of the body and arguments of every function in `kernels`, except bindings of microkernels."""
    found = []
    for module, tree in modules().items():
        if component(module) == "kernels" and module != "fastbp.kernels.microkernels":
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.decorator_list:
                    start = node.body[0].end_lineno + 1 if ast.get_docstring(node) else node.body[0].lineno
                    found.append((f"{module}.{node.name}", node.end_lineno - start + 1, len(node.args.args)))
    return found


def private_accesses() -> list[str]:
    """Places outside fastbp/model that use a private attribute of a model."""
    found = []
    for module, tree in modules().items():
        if component(module) == "model":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = node.value
                name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if name in ("model", "twin", "Sequential", "model_"):
                    found.append(f"{module}:{node.lineno} {name}.{node.attr}")
    return found


def test_imports_point_down() -> None:
    wrong = [pair for pair in upward_imports() if pair not in EXCEPTIONS]
    assert not wrong, "\n".join(f"{module} imports {other}" for module, other in wrong)


def test_no_import_cycles() -> None:
    assert not import_cycles()


def test_exceptions_are_few_and_needed() -> None:
    assert len(EXCEPTIONS) <= 3
    assert set(EXCEPTIONS) <= set(upward_imports())


def test_order_lists_every_component() -> None:
    assert {component(module) for module in modules()} == set(RANK)


@pytest.mark.parametrize("module", sorted(modules()))
def test_only_isa_and_kernels_import_compilers(module: str) -> None:
    if component(module) not in ("isa", "kernels"):
        assert not {name.split(".")[0] for name in _imported(module, modules()[module])} & set(COMPILERS)


def test_training_code_does_not_import_the_reference() -> None:
    readers = {module for module, others in imports().items() for other in others if component(other) == "reference"}
    assert not {module for module in readers if component(module) not in READS_REFERENCE}


def test_private_model_attributes_are_used_only_in_model() -> None:
    assert not private_accesses()


def test_modules_and_folders_are_small() -> None:
    assert statistics.median(module_lengths().values()) <= 150
    assert max(module_lengths().values()) <= 450
    assert max(folder_sizes().values()) <= 16


def test_kernels_are_short_and_take_few_arguments() -> None:
    assert statistics.median(lines for _, lines, _ in kernels()) <= 10
    assert not [(name, arguments) for name, _, arguments in kernels() if arguments > 10]


def main() -> None:
    """Print the structure of the package."""
    edges = sum(map(len, imports().values()))
    top = folder_sizes()["fastbp"] - 1
    wrong, sizes = upward_imports(), sorted(module_lengths().items(), key=lambda item: -item[1])
    print(f"{len(modules())} modules in {len(folder_sizes())} folders, {top} at the top level; {edges} imports")
    print(f"{len(wrong)} upward imports, {len(import_cycles())} cycles, {len(private_accesses())} private accesses")
    print(f"lines: median {statistics.median(module_lengths().values()):.0f}, largest {sizes[0][1]} ({sizes[0][0]})")
    print(
        f"kernels: {len(kernels())}, median {statistics.median(lines for _, lines, _ in kernels()):.0f} lines, "
        f"most arguments {max(arguments for *_, arguments in kernels())}"
    )
    print("from the bottom layer up:")
    for rank, names in enumerate(ORDER):
        components = []
        for name in names:
            n = sum(component(module) == name for module in modules())
            components.append(f"{name or '__init__'} ({n})")
        print(f"  {rank:2}  {', '.join(components)}")
    for module, other in sorted(wrong):
        print(f"upward import: {module} -> {other}")
    for group in import_cycles():
        print("cycle:", ", ".join(group))
    for place in private_accesses():
        print("private:", place)


if __name__ == "__main__":
    main()
