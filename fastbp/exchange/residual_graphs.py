r"""Graphs of operations as chains with residual blocks, for `from_torch` and `from_keras`.

A node with two inputs is assumed to be a sum, X P + F(X). X is the node where its two branches meet: the first common
ancestor of both inputs.

    input - a - b - c - sum - d        sum = b + c(b): its branches meet at b; the chain is a, Sum([], [c]), d
                 \_____/
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from fastbp import activations
from fastbp.exchange.layer_weights import ExchangeError, Part
from fastbp.layers import Activation, Dense, Residual

N = TypeVar("N", bound=Hashable)


class Sum(NamedTuple):
    """A node that adds the outputs of two chains with the same input; either may be empty."""

    node: Any
    branches: tuple[list[Any], list[Any]]


def chain(nodes: Iterable[N], inputs: Callable[[N], Sequence[N]], last: N) -> list[Any]:
    """The nodes from the input (excluded) to the last one, with a Sum in place of each node with two inputs.

    nodes: all nodes in topological order; inputs: what a node reads, nothing for the input.

    >>> graph = {"x": (), "a": ("x",), "b": ("a",), "sum": ("a", "b")}
    >>> chain(graph, graph.__getitem__, "sum")
    ['a', Sum(node='sum', branches=([], ['b']))]
    """
    below: dict[N, N] = {}
    depth: dict[N, int] = {}
    for node in nodes:
        read = inputs(node)
        if not read:
            depth[node] = 0
            continue
        if len(read) > 2:
            raise ExchangeError(f"a sum must have two inputs, but {node} has {len(read)}: add them one after another")
        if any(each not in depth for each in read):
            raise ExchangeError(f"a network must have one input, but {node} reads another: use one input")
        below[node] = read[0] if len(read) == 1 else _meet(read[0], read[1], below, depth)
        depth[node] = depth[below[node]] + 1
    return _between(None, last, inputs, below)


def _meet(a: N, b: N, below: dict[N, N], depth: dict[N, int]) -> N:
    """The first common ancestor."""
    while a != b:
        if depth[a] < depth[b]:
            a, b = b, a
        if a not in below:
            raise ExchangeError("a network must have one input, got two: use one input")
        a = below[a]
    return a


def _between(start: N | None, last: N, inputs: Callable[[N], Sequence[N]], below: dict[N, N]) -> list[Any]:
    result: list[Any] = []
    node = last
    while node != start and node in below:
        read = inputs(node)
        if len(read) == 1:
            result.append(node)
        else:
            first, second = (_between(below[node], each, inputs, below) for each in read)
            result.append(Sum(node, (first, second)))
        node = below[node]
    return result[::-1]


# ---------------------------------------------------------------- parts


def residual(name: str, width: int, branches: Sequence[list[Part]]) -> Part:
    """The residual block of two branches on an input of this width: F, and the identity or a projection."""
    for skip, above in (branches, branches[::-1]):
        if not above:
            continue
        layers = Residual(part.layer for part in above)
        units = above[-1].units
        if not skip and units == width:
            return Part(name, layers, width, units, {}, tuple(above))
        if len(skip) == 1 and _projects(skip[0]) and skip[0].units == units != width:
            return Part(name, layers, width, units, {"projection": skip[0].weights["kernel"]}, tuple(above))
    raise ExchangeError(
        f"a sum must be X + F(X), or X P + F(X) with a linear projection P without bias if the widths differ; "
        f"{name!r} is neither: rewrite the network, or remove the sum"
    )


def _projects(part: Part) -> bool:
    return isinstance(part.layer, Dense) and _plain(part.layer) and not part.layer.use_bias


def _plain(layer: Dense) -> bool:
    return activations.get(layer.activation).name == "identity"


def joined(parts: Iterable[Part]) -> list[Part]:
    """The parts, with each activation merged into the Dense before it if that has none."""
    result: list[Part] = []
    for part in parts:
        below = result[-1].layer if result else None
        if isinstance(part.layer, Activation) and isinstance(below, Dense) and _plain(below):
            result[-1] = result[-1]._replace(layer=replace(below, activation=part.layer.activation))
        else:
            result.append(part)
    return result
