"""The operations of a step, in their order: how each is shared out, and where workers wait for each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbp.engine.planning.plan import L2_BYTES, Node, ceil_div, chains, passes_through, plain, updates_wait
from fastbp.isa import LINE
from fastbp.kernels.schema.fields import INPUT, Operation
from fastbp.kernels.schema.operations import (
    APPLY,
    BACKWARD,
    BY_BATCH,
    BY_INPUTS,
    BY_OUTPUTS,
    CHAIN,
    CHECK,
    EVERYONE,
    FACTORS,
    FIXED,
    FORWARD,
    GATHER,
    HELPING,
    LOSS,
    MEASURE,
    OUTPUT,
    PENALTIES,
    PREPARE,
    TRUST,
    WEIGHTS,
)


def _splits(layers: Sequence[Node], panels: int, lanes: int, workers: int) -> list[int]:
    """How forward of each layer is shared out.

    In small networks every worker keeps to its own units: its weights, their averages and its deltas stay in its
    caches, and only activations pass between the cores. A line that another core has written costs some 20 ns, as
    much as 1,500 multiply-adds. Layers with too few units are split by rows of the batch.
    """
    small = updates_wait(layers, panels)

    def even(total: int) -> bool:
        return ceil_div(total, workers) * workers <= 1.2 * total

    def split(layer: Node) -> int:
        units = ceil_div(layer.outputs, lanes)
        if not layer.dense:
            return FIXED
        if small and even(units):
            return BY_OUTPUTS
        if even(panels) and (small or layer.inputs * layer.outputs * LINE // lanes <= L2_BYTES // 16):
            return BY_BATCH
        return FIXED if small else HELPING

    return [split(layer) for layer in layers]


def gathers_alone(layers: Sequence[Node], panels: int, lanes: int, workers: int) -> bool:
    """Whether every worker gathers all rows for itself, which is cheaper than reading lines another has written."""
    return plain(layers) and layers[0].dense and _splits(layers, panels, lanes, workers)[0] != BY_BATCH


def program(layers: Sequence[Node], mode: str, panels: int, lanes: int, workers: int, *, penalties: bool = False,
            treated: bool = False, lamb: bool = False, sparse: bool = False, reported: bool = False,
            bfloat16: bool = False) -> np.ndarray:
    """The operations of one step: "train", "gradients", "evaluate" or "predict".

    penalties: the loss includes those of the weights; treated: gradients go to their arena, and weights are updated
    when all of them are known; lamb: by a rule that needs norms of whole arrays; sparse: the first layer reads rows
    where they are; reported: the loss includes the penalty whose gradient the weight decay is; bfloat16: products take
    such operands.
    """
    if reported and len(layers) > 1 and plain(layers) and not (penalties or treated or sparse or bfloat16):
        return _with_penalties(program(layers, mode, panels, lanes, workers))
    if not plain(layers) or penalties or treated or sparse or reported or bfloat16:
        chain = bfloat16 and mode in ("train", "gradients") and chains(layers, panels, workers, sparse)
        return _general(layers, mode, penalties or reported, treated, lamb, sparse, chain)
    last, splits = len(layers) - 1, _splits(layers, panels, lanes, workers)
    start = EVERYONE if gathers_alone(layers, panels, lanes, workers) else BY_BATCH
    steps = [(GATHER, 0, start), *((FORWARD, i, split) for i, split in enumerate(splits))]
    if mode == "predict":
        return _with_barriers([*steps, (OUTPUT, last, BY_BATCH)])
    steps, check = [*steps, (LOSS, last, BY_BATCH)], [(CHECK, last, FIXED)]
    if mode == "evaluate":
        return _with_barriers(steps + check)

    def follows(i: int) -> int:
        """Backward of a layer: whoever has the units of the layer below computes their deltas."""
        if splits[i - 1] == BY_OUTPUTS and layers[i].dense:
            return BY_INPUTS
        return FIXED if splits[i] == BY_OUTPUTS else splits[i]

    def owns(i: int) -> int:
        """Weights of a layer: whoever has the units below, so that the same worker reads and updates them."""
        if i == 0 or splits[i] == HELPING:
            return FIXED if splits[i] == BY_BATCH else splits[i]
        return BY_INPUTS if splits[i - 1] == BY_OUTPUTS else FIXED

    deltas = [(BACKWARD, i, follows(i)) for i in range(last, 0, -1)]
    updates = [(WEIGHTS, i, owns(i)) for i in range(last, -1, -1) if _wants_weights(layers[i], mode)]
    if updates_wait(layers, panels):
        return _with_barriers(steps + deltas + check + updates)
    # else the weights of a layer are updated beside the deltas two layers below, and these may reuse what they free
    rest: list[tuple[int, int, int]] = []
    for delta in deltas:
        rest += [delta, *(update for update in updates if update[1] == delta[1] + 1)]
    rest += [update for update in updates if update[1] <= min(1, last)]
    return _with_barriers(steps + check + rest, late=False)


def _general(layers: Sequence[Node], mode: str, penalties: bool, treated: bool, lamb: bool,
             sparse: bool, chain: bool) -> np.ndarray:
    """A program for any network: a barrier stands behind every operation that another one waits for."""
    last, training = len(layers) - 1, mode in ("train", "gradients")

    def split(i: int) -> int:
        return HELPING if layers[i].dense else FIXED

    if chain:  # behind it all deltas are known, and weights are what is left
        steps = [(PENALTIES, 0, 0, FIXED)] if penalties else []
        steps += [(CHAIN, last, 1, HELPING), (CHECK, last, 0, FIXED)]
        steps += [(WEIGHTS, i, 0, HELPING) for i in range(last, -1, -1) if _wants_weights(layers[i], mode)]
        return _with_updates(steps, mode, penalties, treated, lamb)
    steps = [] if sparse else [(GATHER, 0, 1, FIXED)]
    steps += [(FORWARD, i, 1, split(i)) for i in range(last + 1) if training or not passes_through(layers[i])]
    if mode == "predict":
        return np.array([*steps, (OUTPUT, last, 1, FIXED)], np.int64)
    steps += [(PENALTIES, 0, 0, FIXED)] if penalties else []
    steps += [(LOSS, last, 1, FIXED), (CHECK, last, 0, FIXED)]
    if mode == "evaluate":
        return np.array([*steps[:-1], (CHECK, last, 1, FIXED)], np.int64)
    for i in range(last, -1, -1):
        if _sends(layers[i]):
            steps.append((BACKWARD, i, 1, split(i)))
        if _wants_weights(layers[i], mode):
            steps.append((WEIGHTS, i, 0, HELPING))  # the next deltas go where these do not lie
        elif layers[i].columns or layers[i].tables:
            steps.append((WEIGHTS, i, 1, FIXED))
    return _with_updates(steps, mode, penalties, treated, lamb)


def _with_updates(steps: list[tuple[int, int, int, int]], mode: str, penalties: bool, treated: bool,
                  lamb: bool) -> np.ndarray:
    """A barrier behind the last operation, then what is done with the whole gradient."""
    steps[-1] = (*steps[-1][:2], 1, steps[-1][3])
    if mode == "gradients":
        steps += [(PREPARE, 0, 1, HELPING)] if penalties else []
    elif treated:
        steps += [(PREPARE, 0, 1, HELPING), (FACTORS, 0, 0, EVERYONE)]
        steps += [(MEASURE, 0, 1, HELPING), (TRUST, 0, 0, EVERYONE)] if lamb else []
        steps += [(APPLY, 0, 1, HELPING)]
    return np.array(steps, np.int64)


def _with_penalties(steps: np.ndarray) -> np.ndarray:
    """The same program with penalties, before the loss: updates of the step before are done by then, since a barrier
    follows them or the first layer, and the barrier before CHECK lets everyone know the sums."""
    loss = np.flatnonzero(steps[:, Operation.WHAT] == LOSS)
    return np.insert(steps, loss, (PENALTIES, 0, 0, FIXED), axis=0)


def _wants_weights(node: Node, mode: str) -> bool:
    """Whether the gradient of a kernel is wanted."""
    return node.dense and (node.trainable or mode == "gradients")


def _sends(node: Node) -> bool:
    """Whether there is anything below that wants its deltas."""
    return node.below != INPUT or node.skip >= 0


def _with_barriers(steps: list[tuple[int, int, int]], late: bool = True) -> np.ndarray:
    """A barrier behind every operation whose results other workers need next, or whose operands they change next.

    `late`: no deltas are computed beside updates of weights.
    """
    passed, rows = False, []
    for (what, layer, split), (following, below, next_split) in zip(steps, [*steps[1:], (-1, 0, 0)], strict=True):
        if following < 0:  # the next step gathers: for everyone alone, and forward begins with what is a worker's own
            free = late and what == WEIGHTS and steps[1][2] == BY_OUTPUTS and steps[0][2] == EVERYONE
        elif what in (GATHER, CHECK):
            free = what == CHECK or split == EVERYONE or split == next_split == BY_BATCH
        elif following == CHECK:  # needs the losses of all, and updates their deltas
            free = passed and split == BY_INPUTS
        elif what == BACKWARD:
            free = (following == WEIGHTS and below == layer + 1) or (late and split == next_split == BY_BATCH)
        else:
            # beside updates, those of the lowest two layers come after the last deltas
            free = (what == WEIGHTS == following and (late or layer <= 1)) or split == next_split == BY_BATCH
        passed = not free if what == LOSS else passed
        rows.append((what, layer, int(not free), split))
    return np.array(rows, np.int64)
