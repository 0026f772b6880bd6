"""Export as a Python module that needs only NumPy."""

from __future__ import annotations

import ast
import base64
import hashlib
import inspect
import io
import os
import sys
from collections.abc import Iterable, Iterator
from keyword import iskeyword
from pathlib import Path
from pprint import pformat
from textwrap import dedent
from typing import Any

import numpy as np

from fastbp.exchange import activations, preprocessing_code
from fastbp.exchange.layer_weights import Part, parts_of
from fastbp.exchange.layers import LAYERS
from fastbp.exchange.translation import NumpyCode
from fastbp.model.sequential import Sequential
from fastbp.util.atomic_write import atomic_write
from fastbp.util.types import Array

INSIDE = 1 << 24  # bytes of weights up to which they are part of the source: 22 MB of text, which import reads in 0.4 s

HEAD = '''"""A network of fastbp {version} for inference, in NumPy alone.

    import {name}
    {name}.predict(X)    # X (n, {inputs}), as the network was trained on it -> (n, {outputs})
{example}
{summary}
"""

{imports}

import numpy as np

INPUTS, OUTPUTS, DTYPE = {inputs}, {outputs}, np.{dtype}
METADATA = {metadata}


def predict(X):
    """The outputs (n, {outputs}) for X (n, {inputs}) of finite numbers."""
    A = _rows(X)
{body}
    return A


def _rows(X):
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != INPUTS or X.dtype.kind not in "biuf":
        raise ValueError(f"X must be numbers of the shape (n, {{INPUTS}}), got {{X.dtype}} {{X.shape}}: reshape it")
    return X.astype(DTYPE)
'''


def to_numpy(model: Sequential, path: str | os.PathLike[str], *, inside: bool | None = None) -> None:
    """Write the model as a Python module for inference that imports only NumPy.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.
    path : str or path-like
        A file such as net.py. After ``import net``, ``net.predict(X)`` computes the outputs (n, outputs) for X (n,
        features) in the model's dtype. For a model saved by ``fastbp train``, which includes its preprocessing,
        ``net.predict_raw(X)`` maps raw rows to labels, or to targets in their original units. ``net.METADATA`` holds
        the model's metadata.
    inside : bool, optional
        Whether the weights are part of the source, or in a file net.npz beside it, which is verified by its SHA-256. By
        default they are part of the source up to 16 MB.

    Raises
    ------
    ExchangeError
        For a CustomActivation and for layers without a translation.
    ValueError
        For a name that Python cannot import, or if the input size is not known yet.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile, runpy
    >>> model = Sequential([Dense(1)], input_size=2)
    >>> model.set_weights([[[1.0], [1.0]], [0.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_numpy(model, f"{folder}/net.py")
    ...     runpy.run_path(f"{folder}/net.py")["predict"]([[1.0, 2.0]])
    array([[3.]], dtype=float32)
    """
    parts = parts_of(model, "to_numpy")
    target = Path(os.fsdecode(path))
    if target.suffix != ".py" or not target.stem.isidentifier() or iskeyword(target.stem):
        raise ValueError(f"path must name a module, such as net.py, got {target.name!r}: choose such a name")
    body = list(NumpyCode(LAYERS).lines(parts))
    weights: dict[str, Any] = dict(_weights(parts))
    if inside is None:
        inside = sum(values.nbytes for values in weights.values()) <= INSIDE
    archive = io.BytesIO()
    np.savez(archive, **weights)
    text = _text(model, target.stem, body, archive.getvalue(), inside)
    if not inside:
        with atomic_write(target.with_suffix(".npz")) as file:
            file.write(archive.getvalue())
    with atomic_write(target) as file:
        file.write(text.encode())


def _weights(parts: Iterable[Part]) -> Iterator[tuple[str, Array]]:
    for part in parts:
        yield from _weights(part.within)
        for name, values in part.weights.items():
            yield f"{part.name}.{name}", values


def _text(model: Sequential, name: str, body: list[str], archive: bytes, inside: bool) -> str:
    """The module's source: docstring and predict first, then the functions it needs, then the weights."""
    from fastbp.util.version import __version__

    raw_source = preprocessing_code.source_of(model.metadata)
    lines = "\n".join("    " + line for line in body)
    functions = "\n\n\n".join(_functions(lines))
    imports = ["base64", "io"] if inside else ["hashlib", "io"]
    imports += ["math"] * ("math." in functions)
    head = HEAD.format(
        version=__version__, name=name, inputs=model.input_size, outputs=model.output_size, dtype=model.dtype.name,
        example=f"    {name}.predict_raw(X)    # from the data's own units to theirs\n" if raw_source else "",
        summary="\n".join(f"    {line}" for line in model.summary().splitlines()),
        imports="\n".join(f"import {each}" for each in imports) + "\nfrom pathlib import Path" * (not inside),
        metadata=pformat(model.metadata, width=116), body=lines,
    )  # fmt: skip
    sha = hashlib.sha256(archive).hexdigest()
    tail = _INSIDE.format(text=_encoded(archive)) if inside else _SEPARATE.format(sha=sha)
    return "\n\n".join(
        filter(None, [head, raw_source.strip("\n") + "\n" if raw_source else "", functions + "\n", tail])
    )


_INSIDE = '''
# The weights, by layer: an archive of NumPy (npz) in base64.
W = dict(
    np.load(
        io.BytesIO(
            base64.b64decode(
                """
{text}
"""
            )
        )
    )
)
'''
_SEPARATE = '''
def _load(path):
    """The weights, by layer, from the file written together with this one."""
    archive = path.read_bytes()
    if hashlib.sha256(archive).hexdigest() != "{sha}":
        raise ValueError(f"{{path}} is damaged, or does not belong to {{__file__}}: export both again")
    return dict(np.load(io.BytesIO(archive)))


W = _load(Path(__file__).with_suffix(".npz"))
'''


def _encoded(archive: bytes) -> str:
    text = base64.b64encode(archive).decode()
    return "\n".join(text[start : start + 120] for start in range(0, len(text), 120))


def _functions(body: str) -> list[str]:
    """Source of the functions that are called, directly or indirectly, from the files of layers and activations."""
    sources: dict[str, str] = {}
    files = dict.fromkeys(row.numpy.__module__ for row in LAYERS.values() if row.numpy)
    for module in (*files, activations.__name__):
        source = inspect.getsource(sys.modules[module])
        for node in ast.parse(source).body:
            text = ast.get_source_segment(source, node) or ""
            if isinstance(node, ast.FunctionDef):
                sources[node.name] = text
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                sources[node.targets[0].id] = text
    wanted: set[str] = set()
    texts = [dedent(body)]
    while texts:
        names = {node.id for node in ast.walk(ast.parse(texts.pop())) if isinstance(node, ast.Name)}
        new = (names & set(sources)) - wanted
        wanted |= new
        texts += [sources[name] for name in new]
    return [text for name, text in sources.items() if name in wanted]
