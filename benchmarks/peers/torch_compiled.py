"""PyTorch, compiled by Inductor in the better of two ways, tried before the clock starts.

The usual way compiles the loss, whose backward is compiled with it, and steps a fused optimizer. The other compiles the
whole step, gradients by `torch.func` and the update included, into one graph: it saves the overhead that small networks
drown in.
"""

from __future__ import annotations

import math

import torch
from torch.func import functional_call, grad_and_value

from benchmarks.peers import Peer, fastest
from benchmarks.peers.torch_eager import make_network, make_optimizer, prepare, read_weights
from fastbp.bench import LEARNING_RATES, Workload
from fastbp.datasets import Array


class CompiledLoss:
    """The loss compiled, backward with it; the optimizer fused."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        self.batches, loss = prepare(work, n_threads)
        self.network = make_network(work.weights)
        self.optimizer = make_optimizer(work, self.network)
        network = self.network

        def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(network(x), y)

        self.loss = torch.compile(loss_of, fullgraph=True, dynamic=False)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            for x, y in self.batches:
                self.optimizer.zero_grad(set_to_none=True)
                self.loss(x, y).backward()
                self.optimizer.step()

    def weights(self) -> list[Array]:
        """The weights now."""
        return read_weights(self.network)


class CompiledStep:
    """Forward, backward and update in one compiled function that changes the weights in place."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        self.batches, loss = prepare(work, n_threads)
        network = self.network = make_network(work.weights).requires_grad_(False)
        self.parameters = dict(network.named_parameters())
        self.states = [{k: torch.zeros_like(p) for k, p in self.parameters.items()} for _ in range(2)]
        self.step_number = torch.zeros(())
        update = _sgd if work.row.optimizer == "sgd" else _adam

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
            t += 1
            for name, gradient in gradients.items():
                update(parameters[name], gradient, states[0][name], states[1][name], t)
            return value

        self.step = torch.compile(step, fullgraph=True, dynamic=False)

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


def make(work: Workload, n_threads: int) -> Peer:
    """The faster of the two ways on this workload."""
    return fastest([lambda: CompiledLoss(work, n_threads), lambda: CompiledStep(work, n_threads)])
