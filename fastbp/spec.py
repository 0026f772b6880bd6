"""What a network is to every part of fastbp: its nodes, how they are updated, and how training ended.

An optimizer, a loss and a list of layers become these plain tuples; engines take nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
INPUT = -1  # as a node's number: the network's input


class ScalarFunctions(NamedTuple):
    """A user's own activation f(z), or loss l(a, y), of numbers, and its derivative by the first of them."""

    function: Callable[..., float]
    derivative: Callable[..., float]


class Kind(NamedTuple):
    """What every part of fastbp needs to know of a kind of layer.

    parameters: the names of its learned arrays, in the order of `Sequential.get_weights`, each (units,) unless it is a
    kernel (inputs, units). statistics: the arrays behind them that follow the batches, (units,) each. kernel: the first
    parameter is a kernel, which penalties, constraints and decay of kernels alone apply to. tables: its parameters are
    one table (codes, dimension) for each of the spec's tables instead. random: training draws random numbers for it.
    batch: in training a row's output depends on the other rows of the batch.
    """

    parameters: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    kernel: bool = False
    tables: bool = False
    random: bool = False
    batch: bool = False


# The one table of the kinds of layers. Compiled code knows a kind by its place here.
KINDS = {
    "dense": Kind(("kernel", "bias"), kernel=True),
    "activation": Kind(),
    "batch_norm": Kind(("gamma", "beta"), ("moving_mean", "moving_variance"), batch=True),
    "layer_norm": Kind(("gamma", "beta")),
    "dropout": Kind(random=True),
    "noise": Kind(random=True),
    "add": Kind(),
    "embedding": Kind(tables=True),
}


class LayerSpec(NamedTuple):
    """One node of a network: what it computes, from which nodes, and how its weights are to be trained.

    kind: one of KINDS; "embedding" reads the network's input. values: of batch_norm (momentum, epsilon), of layer_norm
    (epsilon,), of dropout (rate,), of noise (standard deviation,). tables: of embedding (column, codes, dimension),
    columns ascending. below: the node whose output it reads, None for the one before, -1 for the network's input; skip:
    the node whose output "add" adds to that. multiplier: times the learning rate. l1, l2: penalties l1 sum |W| + l2 sum
    W^2 of a kernel; max_norm: no unit's incoming weights have a larger norm, 0 for any.
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

    @property
    def dense(self) -> bool:
        """Whether it has a kernel."""
        return self.kind == "dense"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its learned arrays."""
        if KINDS[self.kind].tables:
            return tuple(f"embedding_{column}" for column, *_ in self.tables)
        return tuple(name for name in KINDS[self.kind].parameters if name != "bias" or self.use_bias)

    @property
    def n_arrays(self) -> int:
        """How many arrays it has in `Sequential.get_weights`, statistics included."""
        return len(self.parameters) + len(KINDS[self.kind].statistics)

    def shapes(self, inputs: int) -> list[tuple[int, ...]]:
        """The shapes of its learned arrays: kernel (in, units), vectors (units,), tables (codes, dimension)."""
        if KINDS[self.kind].tables:
            return [(codes, dimension) for _, codes, dimension in self.tables]
        return [(inputs, self.units) if name == "kernel" else (self.units,) for name in self.parameters]

    def is_kernel(self, number: int) -> bool:
        """Whether the learned array of this number is a kernel or a table, which penalties apply to."""
        return KINDS[self.kind].tables or (KINDS[self.kind].kernel and number == 0)


class UpdateSpec(NamedTuple):
    """What happens to gradients before the rule and to weights after it; 0 means nothing.

    clipvalue bounds every element, clipnorm the norm of every array, global_clipnorm that of all together;
    accumulation: the mean gradient of so many steps makes one update; ema_momentum: of the average of the weights;
    reported_decay: how much of the penalty decay / 2 sum W^2, whose gradient the weight decay is, the losses of
    training steps include, those of a step by its own decay.
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
        """Numbers it remembers of each weight, behind those of the rule: the average, the gradient accumulated."""
        return (self.ema_momentum > 0) + (self.accumulation > 1)


class Report(NamedTuple):
    """How a call of train ended: steps completed; status; the layer at fault, -1 for none or unknown.

    status 0: all steps done. 1: the loss of the next step was not finite; that step was dropped whole. 2: in the last
    of the steps, weights would have become not finite; those kept their values and states, the others were updated.

    layer counts the engine's `layers` from 0 at the input, activations standing alone included. It is known for status
    2 alone; where several layers are at fault it is the lowest here, and in the compiled engine the first that was
    updated, which with several threads may be any of them.
    """

    steps: int
    status: int
    layer: int
