"""Import of PyTorch modules; needs torch (extra `torch`). The forward pass is traced by torch.fx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastbp.exchange.layer_weights import ExchangeError, Part, model_of, need
from fastbp.exchange.layers import LAYERS, activation
from fastbp.exchange.residual_graphs import Sum, chain, joined, residual
from fastbp.exchange.translation import Found, wrong
from fastbp.layers import Activation
from fastbp.model.sequential import Sequential


def from_torch(module: Any, *, output_activation: str | None = None, seed: int = 0) -> Sequential:
    """Convert a PyTorch module, with its weights; not compiled.

    Parameters
    ----------
    module : torch.nn.Module
        An nn.Sequential, or any module whose forward takes one tensor (n, features), of Linear, BatchNorm1d, LayerNorm,
        Dropout, Flatten, Identity, fastbp's activations as modules or functions, and sums of a branch with its input,
        which become Residual. Nested modules are flattened. float16 and bfloat16 become float32; weights without
        requires_grad make their layer trainable=False. Forward hooks, which may change any output, and weights that are
        computed from others, as by weight_norm, spectral_norm and prune, are refused.
    output_activation : str, optional
        Activation to append, such as "softmax" for a network that ends in logits (which fastbp's losses accept as
        well).
    seed : int, default 0
        Seed of shuffling, dropout and noise in training.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    TypeError
        If module is not a PyTorch module.
    ExchangeError
        For what fastbp does not have, naming the module.
    ImportError
        If torch is missing; with the command that installs it.

    Warns
    -----
    UserWarning
        If training would differ.

    Notes
    -----
    PyTorch's Softplus is linear above 20 by default, a difference of 2e-9, of which there is no warning.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> [(layer.units, layer.activation.name) for layer in from_torch(net, output_activation="softmax").layers]
    [(8, 'relu'), (3, 'softmax')]
    """
    torch = need("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        got = type(module).__name__
        raise TypeError(f"from_torch takes a torch.nn.Module, got {got}: pass the network itself")
    wrapped = torch.nn.Sequential(module)  # names begin with "0."
    _check_plain(module)
    nodes, last = _trace(torch, wrapped)
    reading = _Reading(torch, wrapped)
    parts = reading.parts(chain(nodes, _inputs, last), reading.width(nodes))
    reading.check_complete(parts)
    if output_activation is not None:
        width = parts[-1].units if parts else 0
        parts.append(Part("output_activation", Activation(output_activation), width, width, {}))
    return model_of(joined(parts), seed=seed)


def _check_plain(module: Any) -> None:
    """ExchangeError for modules whose weights or outputs are not what they seem."""
    for name, each in module.named_modules():
        where = name or type(each).__name__
        if hasattr(each, "parametrizations"):
            raise wrong(
                where, "has parametrized weights",
                "call torch.nn.utils.parametrize.remove_parametrizations(module, name) first"
            )  # fmt: skip
        hooks = [*each._forward_pre_hooks.values(), *each._forward_hooks.values()]
        if hooks:
            kind = getattr(hooks[0], "__name__", type(hooks[0]).__name__)
            remedy = REMOVERS.get(kind, "remove it (the handle that registering returned has remove())")
            raise wrong(where, f"has a forward hook, {kind}", remedy)


REMOVERS = {
    "WeightNorm": "call torch.nn.utils.remove_weight_norm first",
    "SpectralNorm": "call torch.nn.utils.remove_spectral_norm first",
} | dict.fromkeys(
    ("L1Unstructured", "RandomUnstructured", "LnStructured", "RandomStructured", "CustomFromMask", "Identity"),
    "call torch.nn.utils.prune.remove(module, name) first",
)


def _trace(torch: Any, module: Any) -> tuple[list[Any], Any]:
    """The nodes of the module's forward pass, and the one it returns."""
    from fastbp.exchange import torch_layers

    class Tracer(torch.fx.Tracer):  # type: ignore[misc]
        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            leaf: bool = super().is_leaf_module(m, module_qualified_name)
            return leaf or (type(m).__module__ == torch_layers.__name__ and type(m).__name__ in READERS)

    remedy = "put its layers into an nn.Sequential, or take its weights alone with load_state_dict(…, by='order')"
    try:
        nodes = list(Tracer().trace(module).nodes)
    except Exception as error:  # forward may raise anything when traced
        raise ExchangeError(
            f"from_torch cannot trace the module's forward (torch.fx says: {error}): {remedy}"
        ) from error
    returned = nodes.pop().args[0]
    if not isinstance(returned, torch.fx.Node):
        raise ExchangeError(f"from_torch takes a module that returns one tensor, but this returns {returned}: {remedy}")
    return nodes, returned


FLATTENING = ("flatten", "view", "reshape")
SUMS = ("add", "iadd", "add_")


def _called(node: Any) -> str:
    """Name of the function or method that a node calls."""
    return str(getattr(node.target, "__name__", node.target))


def _inputs(node: Any) -> list[Any]:
    """The tensors a node reads, in order; X twice for X + X. Sizes in a view are not included."""
    nodes = [each for each in node.args if hasattr(each, "all_input_nodes")]
    return nodes[:1] if _called(node) in FLATTENING else nodes or list(node.all_input_nodes)


def _flattens(name: str, arguments: Any, options: Any, width: int) -> bool:
    """Whether a call flattens to (n, width) what has that shape already."""
    if name == "flatten":
        return options.get("start_dim", *arguments[:1]) == 1 if options or arguments else False
    shape = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments
    return len(shape) == 2 and shape[1] in (-1, width)


class _Reading:
    """Converts nodes to parts."""

    def __init__(self, torch: Any, module: Any):
        self.torch, self.module = torch, module
        self.read: dict[int, str] = {}  # id of a module with weights -> its name

    def width(self, nodes: list[Any]) -> int:
        """Input width: that of the first module with a width, since those before it keep the width."""
        for node in nodes:
            if node.op == "call_module":
                module = self.module.get_submodule(node.target)
                shape = getattr(module, "normalized_shape", (0,))
                width = getattr(module, "in_features", getattr(module, "num_features", shape[-1]))
                if width:
                    return int(width)
        return 0  # no module determines it

    def parts(self, items: list[Any], width: int) -> list[Part]:
        """The parts for the items of a chain, applied to an input of this width."""
        result: list[Part] = []
        for item in items:
            if isinstance(item, Sum):
                if _called(item.node) not in SUMS or item.node.kwargs.get("alpha", 1) != 1:
                    raise self.unknown(str(item.node), _called(item.node))
                found = [residual(str(item.node), width, [joined(self.parts(each, width)) for each in item.branches])]
            else:
                found = self.node(item, width)
            result += found
            width = result[-1].units if result else width
        return result

    def node(self, node: Any, width: int) -> list[Part]:
        """The part, if any, of a node with one input."""
        if node.op == "call_module":
            module = self.module.get_submodule(node.target)
            where = type(module).__name__ if node.target == "0" else node.target.removeprefix("0.")
        else:
            where = str(node)
            module = self.as_module(node, width)
        kind = type(module).__name__
        self.check(node, where, module)
        if kind not in READERS or not self.is_own(module):
            raise self.unknown(where, kind)
        read = READERS[kind](module, where, width)
        if read is None:
            return []
        layer, weights = read
        return [Part(where, layer, width, layer.units_of(width) or 0, weights)]

    def is_own(self, module: Any) -> bool:
        """Whether a module is of torch.nn or fastbp itself, not a subclass or namesake such as a quantized Linear."""
        from fastbp.exchange import torch_layers

        kind = type(module).__name__
        return type(module) in (getattr(self.torch.nn, kind, None), getattr(torch_layers, kind, None))

    def check_complete(self, parts: list[Part]) -> None:
        """ExchangeError unless every weight of the module has gone into the parts."""
        unread = [
            f"{name.removeprefix('0.')}.{own}".removeprefix("0.").removeprefix(".")
            for name, module in self.module.named_modules()
            for own, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            if own not in KNOWN_WEIGHTS or not self.is_read(module, name)
        ]
        if unread:
            raise ExchangeError(
                f"from_torch must find a use for every weight, but {unread[0]!r} has none in the module's forward: "
                "delete it from the module first"
            )

    def is_read(self, module: Any, name: str) -> bool:
        """Whether a module, or the one of fastbp that it is part of, has been read."""
        if id(module) in self.read:
            return True
        above = name.rpartition(".")[0]
        return bool(above) and self.is_read(self.module.get_submodule(above), above)

    def check(self, node: Any, where: str, module: Any) -> None:
        """Reject modules whose weights are shared, and in-place modules whose input is read elsewhere."""
        if any(True for _ in (*module.parameters(), *module.buffers())):
            before = self.read.setdefault(id(module), where)
            if before != where or len([n for n in node.graph.nodes if n.target == node.target]) > 1:
                raise ExchangeError(
                    f"fastbp has no shared weights, but {where!r} is used more than once: use a copy"
                )
        if getattr(module, "inplace", False) and len(_inputs(node)[0].users) > 1:
            raise ExchangeError(f"{where!r} works in place, but its input is read elsewhere: pass inplace=False")

    def as_module(self, node: Any, width: int) -> Any:
        """The module equivalent to a function or a tensor method."""
        nn, name, arguments = self.torch.nn, _called(node), node.args[1:]
        options = {key: value for key, value in node.kwargs.items() if key not in ("training", "_stacklevel", "dtype")}
        if name in FLATTENING:
            if _flattens(name, arguments, options, width):
                return nn.Identity()
            raise wrong(str(node), f"changes the shape (n, {width})", "use flatten(X, 1) or leave it out")
        if node.op == "get_attr" or name not in FUNCTIONS:
            raise self.unknown(str(node), name)
        return getattr(nn, FUNCTIONS[name])(*arguments, **options)

    def unknown(self, where: str, kind: str) -> ExchangeError:
        """The error for modules that fastbp does not have."""
        return ExchangeError(
            f"from_torch reads {', '.join(READERS)}, as modules or functions, and sums, but {where!r} is {kind}: use "
            "one of these instead, or remove it"
        )


WAVES = ("frequencies", "phases", "kernel")  # of fastbp's own PeriodicEmbedding, beside its bias
KNOWN_WEIGHTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", *WAVES)
Read = Callable[[Any, str, int], Found | None]


def _flatten(module: Any, where: str, width: int) -> None:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise wrong(where, f"flattens from {module.start_dim} to {module.end_dim}", "flatten from 1, or leave it out")


READERS: dict[str, Read] = {
    **{kind: read for row in LAYERS.values() for kind, read in row.from_torch.items()},
    "Flatten": _flatten,
    "Identity": lambda module, where, width: None,
    **dict.fromkeys(activation.TORCH_CLASSES, activation.from_torch),
}
FUNCTIONS = activation.TORCH_FUNCTIONS | {
    function: kind for row in LAYERS.values() for function, kind in row.torch_functions.items()
}
