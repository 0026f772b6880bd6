"""The interface between models and engines: the nodes of a network, how they are updated, how training ended.

Layers, a loss and an optimizer are translated into these plain tuples; engines see nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
INPUT = -1  # the index that stands for the network's input
# How the products of dense layers are computed: on operands of float32, of bfloat16, or of two bfloat16 each.
COMPUTE = ("float32", "bfloat16", "bfloat16x3")
AUTO = "auto"  # the first or the second of them, whichever turns out to be faster


class ScalarFunctions(NamedTuple):
    """A user-defined activation f(z) or loss l(a, y) of scalars, and its derivative by the first argument."""

    function: Callable[..., float]
    derivative: Callable[..., float]


class Kind(NamedTuple):
    """The facts about one kind of layer that other modules need.

    parameters: names of the learned arrays in the order of `Sequential.get_weights`, each (units,) except a kernel,
    which is (inputs, units). statistics: names of the arrays after them that are updated from batches, each (units,).
    kernel: whether the first parameter is a kernel, to which penalties, constraints and weight decay of kernels apply.
    tables: whether the parameters are instead matrices that the spec tells the shapes of. random:
    whether training draws random numbers for it. batch: whether in training the output of a row depends on other rows
    of the batch.
    """

    parameters: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    kernel: bool = False
    tables: bool = False
    random: bool = False
    batch: bool = False


class Waves(NamedTuple):
    """What a periodic embedding is made of, the same for each of its columns.

    columns: of its input, ascending. frequencies: how many. outputs: how many numbers the waves become. phases: whether
    the waves are cosines with phases that are learned, else cosines, then sines. keeps: whether the column itself
    follows the outputs. relu: whether the outputs, but not the column, go through ReLU.
    """

    columns: tuple[int, ...]
    frequencies: int
    outputs: int
    phases: bool
    keeps: bool
    relu: bool

    @property
    def waves(self) -> int:
        """How many there are of a column."""
        return self.frequencies if self.phases else 2 * self.frequencies

    @property
    def width(self) -> int:
        """Numbers that stand for a column."""
        return self.outputs + self.keeps

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Of the learned arrays, which have a row for each column; that of a kernel holds (waves, outputs)."""
        n = len(self.columns)
        phases = {"phases": (n, self.frequencies)} if self.phases else {}
        rest = {"kernel": (n, self.waves * self.outputs), "bias": (n, self.outputs)}
        return {"frequencies": (n, self.frequencies), **phases, **rest}


# All kinds of layers. Compiled code identifies a kind by its position here.
KINDS = {
    "dense": Kind(("kernel", "bias"), kernel=True),
    "activation": Kind(),
    "batch_norm": Kind(("gamma", "beta"), ("moving_mean", "moving_variance"), batch=True),
    "layer_norm": Kind(("gamma", "beta")),
    "dropout": Kind(random=True),
    "noise": Kind(random=True),
    "add": Kind(),
    "embedding": Kind(tables=True),
    "scale": Kind(("scale",)),
    "prelu": Kind(("alpha",)),
    "parametric": Kind(("alpha",)),
    "periodic": Kind(("frequencies", "phases", "kernel", "bias"), tables=True),
    "piecewise": Kind(tables=True),
}


class LayerSpec(NamedTuple):
    """One node of a network: its operation, its inputs, and how its weights are trained.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or ScalarFunctions, optional
        A name in `fastbp.activations`, or a user-defined function.
    alpha : float, optional
        Parameter of the activation.
    use_bias : bool, optional
        Whether a dense node has a bias.
    kind : str, optional
        One of KINDS; "embedding" reads the network's input.
    values : tuple of float, optional
        Constants of the operation: (momentum, epsilon) of batch_norm, (epsilon,) of layer_norm, (rate,) of dropout,
        (standard deviation,) of noise, (alpha of the function,) of parametric.
    below : int, optional
        Index of the node whose output is the input; None for the previous node, -1 for the network's input.
    skip : int, optional
        Index of the node whose output "add" adds to its input.
    multiplier : float, optional
        Factor of the learning rate.
    bias_multiplier : float, optional
        The same for the bias of a dense node; None for that of its kernel.
    decay : float, optional
        Factor of the weight decay of a kernel or scale; None: 1, or 0 if the decay is of kernels alone and it is none.
    schedule : callable, optional
        Of dropout: a function of an int64 array of updates, counted from 0, to the rate in each; None for values[0].
    function : str, optional
        The function f of a parametric node, z = x + alpha (f(x) - x): a name in `fastbp.activations`.
    waves : Waves, optional
        Of a periodic node.
    trainable : bool, optional
        Whether updates change the weights.
    l1, l2 : float, optional
        Coefficients of the penalty ``l1 sum |W| + l2 sum W^2`` on a kernel or embedding table.
    max_norm : float, optional
        Upper bound on the norm of each unit's incoming weights; 0 for none.
    tables : tuple of (int, int, int), optional
        The (column, number of codes, dimension) of each embedding table, by column; of a piecewise node the number of
        its rows, two more than bins.
    edges : tuple of tuple of float, optional
        Of the bins of each column of a piecewise node.
    """

    units: int
    activation: str | ScalarFunctions = "identity"
    alpha: float = 0.0
    use_bias: bool = True
    kind: str = "dense"
    values: tuple[float, ...] = ()
    below: int | None = None
    skip: int | None = None
    multiplier: float = 1.0
    trainable: bool = True
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0
    tables: tuple[tuple[int, int, int], ...] = ()
    bias_multiplier: float | None = None
    decay: float | None = None
    function: str = "identity"
    schedule: Callable[..., Any] | None = None
    waves: Waves | None = None
    edges: tuple[tuple[float, ...], ...] = ()

    @property
    def dense(self) -> bool:
        """Whether the node is fully connected."""
        return self.kind == "dense"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the learned arrays."""
        if KINDS[self.kind].tables:
            return tuple(self.matrices)
        return tuple(name for name in KINDS[self.kind].parameters if name != "bias" or self.use_bias)

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the learned matrices of an embedding."""
        if self.waves is not None:
            return self.waves.shapes
        return {f"embedding_{column}": (codes, dimension) for column, codes, dimension in self.tables}

    @property
    def n_arrays(self) -> int:
        """Number of arrays in `Sequential.get_weights`, including statistics."""
        return len(self.parameters) + len(KINDS[self.kind].statistics)

    def shapes(self, inputs: int) -> list[tuple[int, ...]]:
        """Shapes of the learned arrays: kernel (inputs, units), vectors (units,), tables (codes, dimension)."""
        if KINDS[self.kind].tables:
            return list(self.matrices.values())
        return [(inputs, self.units) if name == "kernel" else (self.units,) for name in self.parameters]

    def multiplier_of(self, number: int) -> float:
        """The factor of the learning rate of the learned array at this index."""
        own = self.bias_multiplier if self.dense and number == 1 else None
        return self.multiplier if own is None else own

    def decay_of(self, number: int, kernels_only: bool) -> float:
        """The factor of the weight decay of the learned array at this index."""
        own = self.decay if number == 0 or KINDS[self.kind].tables else None
        return float(self.is_kernel(number) or not kernels_only) if own is None else own

    def is_kernel(self, number: int) -> bool:
        """Whether the learned array at this index is a kernel or table, to which penalties apply."""
        kind = KINDS[self.kind]
        return self.parameters[number] == "kernel" if kind.parameters else kind.tables


class UpdateSpec(NamedTuple):
    """What is done to gradients before the optimizer's rule and to weights after it; 0 means off.

    Parameters
    ----------
    clipvalue : float, optional
        Bound on the absolute value of each element of the gradient.
    clipnorm : float, optional
        Bound on the norm of each gradient array.
    global_clipnorm : float, optional
        Bound on the norm of all gradients together.
    accumulation : int, optional
        Number of steps whose mean gradient makes one update.
    ema_momentum : float, optional
        Momentum of the exponential moving average of the weights.
    decay_kernels_only : bool, optional
        Whether weight decay leaves out biases, gamma and beta.
    reported_decay : float, optional
        The fraction of the penalty ``decay / 2 sum W^2``, whose gradient is the weight decay, that the training loss
        includes; each step uses its own decay.
    """

    clipvalue: float = 0.0
    clipnorm: float = 0.0
    global_clipnorm: float = 0.0
    accumulation: int = 1
    ema_momentum: float = 0.0
    decay_kernels_only: bool = False
    reported_decay: float = 0.0

    @property
    def n_states(self) -> int:
        """State arrays per weight in addition to those of the rule: the weight average and the accumulated gradient."""
        return (self.ema_momentum > 0) + (self.accumulation > 1)


class Report(NamedTuple):
    """How a call of `train` ended.

    Parameters
    ----------
    steps : int
        Number of completed steps.
    status : int
        0: all steps were done. 1: the loss of the next step was not finite; that step was dropped entirely. 2: the last
        step would have made weights non-finite; those weights kept their values and states, the others were updated.
    layer : int
        With status 2 the index of the layer at fault, else -1. It counts the engine's `layers` from 0 at the input,
        including standalone activations.

    Notes
    -----
    With several layers at fault, the reference engine reports the lowest. The compiled engine reports the first that
    was updated, which with several threads may be any of them.
    """

    steps: int
    status: int
    layer: int
