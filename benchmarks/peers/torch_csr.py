"""PyTorch on CSR, in the best of its good ways, tried before the clock starts.

`EmbeddingBag(mode="sum")` with the values as weights of the samples is a first layer on sparse rows. Its gradient is
sparse, so that only the columns of the batch are updated, or dense, for a fused optimizer. The product of a sparse CSR
tensor and the kernel does the same. Compiled, all but the bag is one graph: the derivative by the first layer's outputs
is enough to add to the kernel's rows in place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.func import grad_and_value
from torch.nn import functional as F

from benchmarks.peers import Peer
from benchmarks.peers.torch_networks import make_network, read_weights
from fastbp.cli.bench import LEARNING_RATES, Row, Workload
from fastbp.util.types import Array

Batch = tuple[torch.Tensor, ...]  # columns, where each row starts and the last ends, values, labels
RATE = LEARNING_RATES["sgd"]


def prepare(work: Workload, n_threads: int) -> list[Batch]:
    """Set the threads, let denormals flush to zero, and cut the batches."""
    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    X, y, batch = work.X, torch.from_numpy(work.y), work.row.batch
    ends = torch.from_numpy(X.indptr.astype(np.int64))
    columns, values = torch.from_numpy(X.indices.astype(np.int64)), torch.from_numpy(X.data)
    batches = []
    for start in range(0, X.shape[0], batch):
        offsets = ends[start : start + batch + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        batches.append((columns[part], offsets - offsets[0], values[part], y[start : start + batch]))
    return batches


class BagNetwork(nn.Module):
    """A bag of embeddings with a bias, ReLU, and the other layers."""

    def __init__(self, row: Row, weights: Sequence[Array], *, sparse: bool) -> None:
        super().__init__()
        W, b, *rest = weights
        start = torch.from_numpy(W.copy())
        self.bag = nn.EmbeddingBag.from_pretrained(
            start, freeze=False, mode="sum", sparse=sparse, include_last_offset=True
        )
        self.bias = nn.Parameter(torch.from_numpy(b.copy()))
        self.rest = make_network(row._replace(kind="dense", sizes=row.sizes[1:]), rest)

    def forward(self, columns: torch.Tensor, offsets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The logits."""
        z = self.bag(columns, offsets, per_sample_weights=values)
        return self.rest(F.relu(z + self.bias))


class ProductNetwork(BagNetwork):
    """The same with the first layer as the product of a sparse CSR tensor and the kernel."""

    def forward(self, columns: torch.Tensor, offsets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The logits."""
        shape = (len(offsets) - 1, self.bag.num_embeddings)
        x = torch.sparse_csr_tensor(offsets, columns, values, size=shape, check_invariants=False)
        return self.rest(F.relu(torch.sparse.mm(x, self.bag.weight) + self.bias))


class CsrEager:
    """The usual loop; a sparse gradient has an optimizer of its own, for fused ones refuse it."""

    def __init__(self, work: Workload, n_threads: int, network: BagNetwork) -> None:
        self.batches, self.network = prepare(work, n_threads), network
        kernel = network.bag.weight
        if network.bag.sparse:
            others = [p for p in network.parameters() if p is not kernel]
            self.optimizers = [torch.optim.SGD([kernel], lr=RATE), torch.optim.SGD(others, lr=RATE, fused=True)]
        else:
            self.optimizers = [torch.optim.SGD(network.parameters(), lr=RATE, fused=True)]

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            for *x, y in self.batches:
                for optimizer in self.optimizers:
                    optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(self.network(*x), y).backward()
                for optimizer in self.optimizers:
                    optimizer.step()

    def weights(self) -> list[Array]:
        """The weights now."""
        network = self.network
        first = [p.detach().numpy().copy() for p in (network.bag.weight, network.bias)]
        return [*first, *read_weights(network.rest)]


class CsrCompiledStep:
    """The whole step in one compiled function that changes the weights in place; batches are filled up to one size.

    On one thread Inductor adds to the kernel's rows without atomic operations, so that it can be faster than two.
    """

    def __init__(self, work: Workload, n_threads: int) -> None:
        self.batches = _filled(prepare(work, n_threads))
        self.arrays = [torch.from_numpy(w.copy()) for w in work.weights]

        def loss_of(z: torch.Tensor, others: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
            bias, *rest = others
            z = z + bias
            for W, b in zip(rest[0::2], rest[1::2], strict=True):
                z = F.relu(z) @ W + b
            return F.cross_entropy(z, y)

        def step(arrays: list[torch.Tensor], columns: torch.Tensor, *batch: torch.Tensor) -> torch.Tensor:
            (kernel, *others), (offsets, values, rows, y) = arrays, batch
            z = F.embedding_bag(
                columns, kernel, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
            )
            (dz, gradients), value = grad_and_value(loss_of, argnums=(0, 1))(z, others, y)
            for p, gradient in zip(others, gradients, strict=True):
                p.sub_(gradient, alpha=RATE)
            kernel.index_put_((columns,), dz[rows] * (-RATE * values)[:, None], accumulate=True)
            return value

        self.step = torch.compile(step, fullgraph=True, dynamic=False)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        with torch.no_grad():
            for _ in range(epochs):
                for batch in self.batches:
                    self.step(self.arrays, *batch)

    def weights(self) -> list[Array]:
        """The weights now."""
        return [array.numpy().copy() for array in self.arrays]


def _filled(batches: list[Batch]) -> list[Batch]:
    """All with as many elements as the largest, the last row's being followed by zeros; and the row of each element."""
    size = max(len(columns) for columns, *_ in batches)
    filled = []
    for columns, offsets, values, y in batches:
        more = (0, size - len(columns))
        offsets = torch.cat([offsets[:-1], torch.tensor([size])])
        rows = torch.repeat_interleave(torch.arange(len(y)), offsets.diff())
        filled.append((F.pad(columns, more), offsets, F.pad(values, more), rows, y))
    return filled


def eager_ways(work: Workload, n_threads: int) -> list[Callable[[], Peer]]:
    """Sparse gradients of a bag, on all the threads and on one; dense ones; the product with a sparse tensor."""
    row, weights = work.row, work.weights
    return [
        lambda: CsrEager(work, n_threads, BagNetwork(row, weights, sparse=True)),
        lambda: CsrEager(work, 1, BagNetwork(row, weights, sparse=True)),
        lambda: CsrEager(work, n_threads, BagNetwork(row, weights, sparse=False)),
        lambda: CsrEager(work, n_threads, ProductNetwork(row, weights, sparse=False)),
    ]


def compiled_ways(work: Workload, n_threads: int) -> list[Callable[[], Peer]]:
    """On all the threads, and on one."""
    return [functools.partial(CsrCompiledStep, work, n) for n in sorted({1, n_threads})]
