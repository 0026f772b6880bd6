"""Which module may import which, and how large it may be; `python -m tests.test_layering` prints the whole."""

from __future__ import annotations

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastbp"

# From the ground floor up: what stands in one line may not import what stands in a later one. A name is that of a
# folder or of a module at the top; folders of one line do not import each other.
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
    ("",),  # fastbp/__init__.py
    ("cli",),
    ("__main__",),
)
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names}

# (importing module, imported module): why. At most three.
EXCEPTIONS = {
    ("fastbp.kernels", "fastbp.engine.plain_dense"): "fastbp.kernels is the public name of the plain kernels",
    ("fastbp.kernels", "fastbp.engine.plain_update"): "the same",
}

# Who may read the trainer in plain NumPy, beside tests and benchmarks.
READS_REFERENCE = ("reference", "diagnosis", "cli", "")  # the last, fastbp/__init__.py, names it for type checkers
COMPILERS = ("numba", "llvmlite")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name; a folder's `__init__` by that of the folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def _imported(module: str, tree: ast.Module) -> set[str]:
    """The names of modules that it imports, anywhere in it, for type checkers alone too."""
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
    """Of every module, the modules of the package that it imports."""
    return {name: {other for other in _imported(name, tree) if other in modules()} for name, tree in modules().items()}


def room(module: str) -> str:
    """The folder, or the module at the top, that stands in ORDER."""
    return module.partition(".")[2].partition(".")[0]


def against_the_order() -> list[tuple[str, str]]:
    """Imports of what stands above, or beside in another room."""
    wrong = []
    for module, others in imports().items():
        for other in others:
            here, there = room(module), room(other)
            if here != there and FLOOR[there] >= FLOOR[here]:
                wrong.append((module, other))
    return wrong


def circles() -> list[list[str]]:
    """Groups of modules each of which reaches itself, by Tarjan's algorithm."""
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


def lengths() -> dict[str, int]:
    """Lines of every module."""
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}


def folders() -> dict[str, int]:
    """Modules in every folder."""
    counted: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        folder = str(path.parent.relative_to(ROOT))
        counted[folder] = counted.get(folder, 0) + 1
    return counted


def kernels() -> list[tuple[str, int, int]]:
    """Name, lines of the body and arguments of every function in `kernels` but the bindings of microkernels."""
    found = []
    for module, tree in modules().items():
        if room(module) == "kernels" and module != "fastbp.kernels.microkernels":
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.decorator_list:
                    start = node.body[0].end_lineno + 1 if ast.get_docstring(node) else node.body[0].lineno
                    found.append((f"{module}.{node.name}", node.end_lineno - start + 1, len(node.args.args)))
    return found


def private_uses() -> list[str]:
    """Places outside fastbp/model that use a private attribute of a model."""
    found = []
    for module, tree in modules().items():
        if room(module) == "model":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = node.value
                name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if name in ("model", "twin", "Sequential", "model_"):
                    found.append(f"{module}:{node.lineno} {name}.{node.attr}")
    return found


def test_imports_point_down() -> None:
    wrong = [pair for pair in against_the_order() if pair not in EXCEPTIONS]
    assert not wrong, "\n".join(f"{module} imports {other}" for module, other in wrong)


def test_no_circle() -> None:
    assert not circles()


def test_exceptions_are_few_and_needed() -> None:
    assert len(EXCEPTIONS) <= 3
    assert set(EXCEPTIONS) <= set(against_the_order())


def test_every_room_stands_in_the_order() -> None:
    assert {room(module) for module in modules()} == set(FLOOR)


@pytest.mark.parametrize("module", sorted(modules()))
def test_compilers_are_imported_in_isa_and_kernels_alone(module: str) -> None:
    if room(module) not in ("isa", "kernels"):
        assert not {name.split(".")[0] for name in _imported(module, modules()[module])} & set(COMPILERS)


def test_nothing_that_trains_imports_the_reference() -> None:
    readers = {module for module, others in imports().items() for other in others if room(other) == "reference"}
    assert not {module for module in readers if room(module) not in READS_REFERENCE}


def test_private_attributes_of_a_model_stay_in_its_folder() -> None:
    assert not private_uses()


def test_sizes() -> None:
    assert statistics.median(lengths().values()) <= 150
    assert max(lengths().values()) <= 450
    assert max(folders().values()) <= 16


def test_kernels_are_short_and_take_few_arguments() -> None:
    assert statistics.median(lines for _, lines, _ in kernels()) <= 10
    assert not [(name, arguments) for name, _, arguments in kernels() if arguments > 10]


def main() -> None:
    """Print the house."""
    edges = sum(map(len, imports().values()))
    top = folders()["fastbp"] - 1
    wrong, sizes = against_the_order(), sorted(lengths().items(), key=lambda item: -item[1])
    print(f"{len(modules())} modules in {len(folders())} folders, {top} of them flat at the top; {edges} imports")
    print(f"{len(wrong)} imports against the order, {len(circles())} circles, {len(private_uses())} private uses")
    print(f"lines: median {statistics.median(lengths().values()):.0f}, largest {sizes[0][1]} ({sizes[0][0]})")
    print(
        f"kernels: {len(kernels())}, median {statistics.median(lines for _, lines, _ in kernels()):.0f} lines, "
        f"most arguments {max(arguments for *_, arguments in kernels())}"
    )
    print("from the ground floor up:")
    for floor, names in enumerate(ORDER):
        rooms = []
        for name in names:
            n = sum(room(module) == name for module in modules())
            rooms.append(f"{name or '__init__'} ({n})")
        print(f"  {floor:2}  {', '.join(rooms)}")
    for module, other in sorted(wrong):
        print(f"against the order: {module} -> {other}")
    for group in circles():
        print("circle:", ", ".join(group))
    for place in private_uses():
        print("private:", place)


if __name__ == "__main__":
    main()
