"""What pyproject.toml promises: one lower bound for a package wherever it stands; the Pythons that .ci/run tries."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRIED = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PYTHONS = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text]


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [text for group in (PROJECT["dependencies"], *extras) for text in group if not text.startswith("fastbp")]


def test_every_package_has_one_lower_bound():
    """The oldest versions that are tried are those of one extra: they must be the oldest that any of them allows."""
    bounds: dict[str, set[str]] = {}
    for text in requirements():
        name, bound = re.fullmatch(r"([\w-]+)((?:>=|==)[\d.]+)", text).groups()
        bounds.setdefault(name, set()).add(bound)
    torch = bounds.pop("torch")
    assert torch == {">=2.13", "==2.13.0"}  # the tests compare with one version
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_the_oldest_and_the_newest_python_are_tried():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert re.findall(r"on_python (?:oldest|newest) (\S+)", TRIED) == [PYTHONS[0], PYTHONS[-1]]


def test_optional_packages_are_among_those_that_are_tried():
    """What users install for an extra is installed, at its lowest and at its newest version, for the tests."""
    extras = PROJECT["optional-dependencies"]
    tried = {*extras["test"], *extras["dev"], *PROJECT["dependencies"]}
    left_out = {"bench", "docs", "notebooks", "torch"}  # tools of ours; torch stands as above
    missing = {name: set(texts) - tried - {"fastbp[test]"} for name, texts in extras.items() if name not in left_out}
    assert {name: texts for name, texts in missing.items() if texts} == {}


NAMED_OTHERWISE = {"sklearn": "scikit-learn", "mlflow": "mlflow-skinny"}  # what is imported: the package that brings it
BROUGHT_BY_OTHERS = {
    "llvmlite": "numba", "joblib": "scikit-learn", "scipy": "scikit-learn", "threadpoolctl": "scikit-learn",
    "pandas": "pandas", "polars": "polars",  # given by users: nothing makes them where they are not
}  # fmt: skip


def imported(folder: Path) -> set[str]:
    """Names of the packages that a folder's modules import somewhere, apart from Python's own and fastbp."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"fastbp"}


def test_what_is_imported_is_a_dependency_and_the_reverse():
    names = {NAMED_OTHERWISE.get(name, name) for name in imported(ROOT / "fastbp") - BROUGHT_BY_OTHERS.keys()}
    allowed = {re.split("[>=]", text)[0] for text in requirements()}
    assert names - allowed == set()
    assert {re.split("[>=]", text)[0] for text in PROJECT["dependencies"]} - names == set()


def test_the_readme_names_pythons_and_extras():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in text
    table = text[text.index("| extra | what needs it |") :].split("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert named == set(PROJECT["optional-dependencies"]) - {"test"}
