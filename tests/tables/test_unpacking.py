"""Files of .zst through each of the libraries that read them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastbp.datasets import read_csv
from fastbp.tables.text import reader

TEXT = b"a,b\n" + b"".join(b"%d,%d\n" % (i, 7 * i) for i in range(200_000))
LIBRARIES = ("compression", "pyarrow", "zstandard")  # the first from Python 3.14 on


@pytest.fixture(params=[name for name in LIBRARIES if find_spec(name)])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one library that can be imported; the text is read without pyarrow."""
    hide(monkeypatch, set(LIBRARIES) - {request.param})
    return str(request.param)


def hide(monkeypatch: pytest.MonkeyPatch, names: set[str]) -> None:
    monkeypatch.setattr(reader, "ARROW", False)
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def packed() -> bytes:
    """Two frames, as `cat` of two files."""
    codec, half = pa.Codec("zstd"), len(TEXT) // 2
    return bytes(codec.compress(TEXT[:half])) + bytes(codec.compress(TEXT[half:]))


def test_frames_are_read_one_after_another(packed: bytes, library: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv.zst").write_bytes(packed)
    X = read_csv(tmp_path / "a.csv.zst").X
    np.testing.assert_array_equal(X, np.arange(200_000)[:, np.newaxis] * [1, 7])


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_file_that_ends_early_is_damaged(packed: bytes, library: str, tmp_path: Path, share: float) -> None:
    (tmp_path / "a.csv.zst").write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(ValueError, match=r"a\.csv\.zst: it is damaged"):
        read_csv(tmp_path / "a.csv.zst")


def test_what_is_not_compressed_is_damaged(library: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv.zst").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"a\.csv\.zst: it is damaged, or not compressed as its name says"):
        read_csv(tmp_path / "a.csv.zst")


def test_without_any_library(packed: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.csv.zst").write_bytes(packed)
    hide(monkeypatch, set(LIBRARIES))
    with pytest.raises(ImportError, match="pip install zstandard"):
        read_csv(tmp_path / "a.csv.zst")
