"""PyTorch, compiled by Inductor in the best of three ways, tried before the clock starts.

The usual way compiles the loss, whose backward is compiled with it, and steps a fused optimizer. The second compiles
the whole step, gradients by `torch.func` and the update included, into one graph: it saves the overhead that small
networks drown in. The third is the second with calls of kernels from C++ in place of Python. Batch norm, whose moving
statistics such a graph may not change on its way, is trained in the first way alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch.func import functional_call, grad_and_value

from benchmarks.peers import Peer, fastest
from benchmarks.peers.torch_eager import TorchEager, prepare
from benchmarks.peers.torch_networks import make_network, read_weights
from fastbp.cli.bench import LEARNING_RATES, WEIGHT_DECAY, Workload
from fastbp.util.types import Array


class CompiledLoss(TorchEager):
    """The loss compiled, backward with it; the optimizer fused."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        super().__init__(work, n_threads)
        self.loss_of = torch.compile(self.loss_of, fullgraph=True, dynamic=False)


class CompiledStep:
    """Forward, backward and update in one compiled function that changes the weights in place."""

    def __init__(self, work: Workload, n_threads: int, *, cpp_wrapper: bool = False) -> None:
        self.batches, loss = prepare(work, n_threads)
        network = self.network = make_network(work.row, work.weights).requires_grad_(False)
        self.parameters = dict(network.named_parameters())
        self.states = [{k: torch.zeros_like(p) for k, p in self.parameters.items()} for _ in range(2)]
        self.step_number = torch.zeros((), dtype=getattr(torch, work.row.dtype))
        update = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}[work.row.optimizer]
        clipnorm = work.row.global_clipnorm

        def loss_of(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(functional_call(network, parameters, (x,)), y)

        def step(
            parameters: dict[str, torch.Tensor],
            states: list[dict[str, torch.Tensor]],
            t: torch.Tensor,
            x: torch.Tensor,
            y: torch.Tensor,
        ) -> torch.Tensor:
            gradients, value = grad_and_value(loss_of)(parameters, x, y)
            if clipnorm:
                gradients = _clipped(gradients, clipnorm)
            t += 1
            for name, gradient in gradients.items():
                update(parameters[name], gradient, states[0][name], states[1][name], t)
            return value

        self.step = torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": cpp_wrapper})

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        with torch.no_grad():
            for _ in range(epochs):
                for x, y in self.batches:
                    self.step(self.parameters, self.states, self.step_number, x, y)

    def weights(self) -> list[Array]:
        """The weights now."""
        return read_weights(self.network)


def _sgd(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> None:
    p.sub_(g, alpha=LEARNING_RATES["sgd"])


def _adam(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> None:
    m.lerp_(g, 0.1)
    v.mul_(0.999).addcmul_(g, g, value=0.001)
    rate = LEARNING_RATES["adam"] / -torch.expm1(t * math.log(0.9))  # 1 - 0.9**t, without float32's cancellation
    p.sub_(rate * m / ((v / -torch.expm1(t * math.log(0.999))).sqrt() + 1e-8))


def _adamw(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> None:
    p.mul_(1 - LEARNING_RATES["adamw"] * WEIGHT_DECAY)
    _adam(p, g, m, v, t)


def _clipped(gradients: dict[str, torch.Tensor], clipnorm: float) -> dict[str, torch.Tensor]:
    """All times min(1, clipnorm / norm), as clip_grad_norm_ does."""
    norm = sum(g.square().sum() for g in gradients.values()) ** 0.5
    factor = (clipnorm / (norm + 1e-6)).clamp(max=1.0)
    return {name: g * factor for name, g in gradients.items()}


def make(work: Workload, n_threads: int) -> Peer:
    """The fastest of the ways on this workload."""
    if work.row.kind == "csr":
        from benchmarks.peers import torch_csr

        return fastest(torch_csr.compiled_ways(work, n_threads))
    ways: list[Callable[[], Peer]] = [
        functools.partial(CompiledLoss, work, n_threads),
        functools.partial(CompiledStep, work, n_threads),
        functools.partial(CompiledStep, work, n_threads, cpp_wrapper=True),
    ]
    # The wrapper in C++ took 20 % off a step of 10-32-1, 5 to 8 % off 64-100-10, 4 % off 784-128-10. It gained nothing
    # where only the loss is compiled (784-512-512-10 with batch norm), and mode="max-autotune-no-cudagraphs" nothing in
    # either way. The residual network's steps are too long to gain, and compiling them again takes minutes.
    return fastest(ways[: {"batch_norm": 1, "residual": 2}.get(work.row.kind, 3)])
