"""Consistency of pyproject.toml: one lower bound per package, and the Pythons that .ci/run tests."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CI_SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PYTHONS = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text]


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [text for group in (PROJECT["dependencies"], *extras) for text in group if not text.startswith("fastbp")]


def test_every_package_has_one_lower_bound():
    """CI tests the lowest versions that one extra allows, so these must be the lowest that any extra allows."""
    bounds: dict[str, set[str]] = {}
    for text in requirements():
        name, bound = re.fullmatch(r"([\w-]+)((?:>=|==)[\d.]+)", text).groups()
        bounds.setdefault(name, set()).add(bound)
    torch = bounds.pop("torch")
    assert torch == {">=2.13", "==2.13.0"}  # the tests compare results with one version
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_ci_runs_the_oldest_and_newest_python():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert re.findall(r"on_python (?:oldest|newest) (\S+)", CI_SCRIPT) == [PYTHONS[0], PYTHONS[-1]]


def test_ci_installs_every_optional_package():
    """Packages of every extra are installed for the tests, at their lowest and their newest versions."""
    extras = PROJECT["optional-dependencies"]
    tested = {*extras["test"], *extras["dev"], *PROJECT["dependencies"]}
    excluded = {"bench", "docs", "notebooks", "torch"}  # development tools; torch is pinned, see above
    checked = {name: set(packages) for name, packages in extras.items() if name not in excluded}
    missing = {name: packages - tested - {"fastbp[test]"} for name, packages in checked.items()}
    assert {name: packages for name, packages in missing.items() if packages} == {}


PACKAGE_NAMES = {"sklearn": "scikit-learn", "mlflow": "mlflow-skinny"}  # imported name: package that provides it
INDIRECT = {
    "llvmlite": "numba", "joblib": "scikit-learn", "scipy": "scikit-learn", "threadpoolctl": "scikit-learn",
    "pandas": "pandas", "polars": "polars",  # only ever passed in by users
}  # fmt: skip


def imported(folder: Path) -> set[str]:
    """Packages that a folder's modules import, except fastbp and the standard library."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"fastbp", "compression"}  # the latter is Python's from 3.14 on


def test_imports_match_dependencies():
    names = {PACKAGE_NAMES.get(name, name) for name in imported(ROOT / "fastbp") - INDIRECT.keys()}
    allowed = {re.split("[>=]", text)[0] for text in requirements()}
    assert names - allowed == set()
    assert {re.split("[>=]", text)[0] for text in PROJECT["dependencies"]} - names == set()


def test_readme_lists_pythons_and_extras():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in text
    table = text[text.index("| extra | what needs it |") :].split("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert named == set(PROJECT["optional-dependencies"]) - {"test"}
