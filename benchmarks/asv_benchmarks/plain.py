"""The plain kernels compared with NumPy."""

from __future__ import annotations

import numpy as np

from fastbp import kernels, optimizers

SHAPES = ((32, 64, 32), (128, 784, 128), (128, 512, 512), (256, 2048, 2048))  # rows, in, out


class Dense:
    """One layer with ReLU; each call packs W, which NumPy does not need."""

    params = (SHAPES, ("fastbp", "numpy"))
    param_names = ("rows, in, out", "by")

    def setup(self, shape: tuple[int, int, int], by: str) -> None:
        """Random arrays, and one call of both passes."""
        rows, inputs, outputs = shape
        rng = np.random.default_rng(0)
        self.X, self.W = rng.random((rows, inputs), np.float32) - 0.5, rng.random((inputs, outputs), np.float32) - 0.5
        self.b, self.dA = rng.random(outputs, np.float32), rng.random((rows, outputs), np.float32)
        self.A = kernels.dense_forward(self.X, self.W, self.b, "relu")
        self.out = np.empty_like(self.A)
        self.time_backward(shape, by)

    def time_forward(self, shape: tuple[int, int, int], by: str) -> None:
        """A = relu(X W + b)."""
        if by == "fastbp":
            kernels.dense_forward(self.X, self.W, self.b, "relu", self.out)
        else:
            np.matmul(self.X, self.W, out=self.out)
            self.out += self.b
            np.maximum(self.out, 0, out=self.out)

    def time_backward(self, shape: tuple[int, int, int], by: str) -> None:
        """dX, dW and db."""
        if by == "fastbp":
            kernels.dense_backward(self.dA, self.X, self.W, self.A, "relu")
        else:
            dZ = self.dA * (self.A > 0)
            _ = dZ @ self.W.T, self.X.T @ dZ, dZ.sum(axis=0)


RULES: dict[str, optimizers.Optimizer] = {
    "sgd": optimizers.SGD(),
    "momentum": optimizers.SGD(momentum=0.9),
    "adam": optimizers.Adam(),
    "amsgrad": optimizers.Adam(amsgrad=True),
    "nadam": optimizers.NAdam(),
    "rmsprop": optimizers.RMSprop(),
    "rmsprop, centered": optimizers.RMSprop(centered=True),
    "adagrad": optimizers.Adagrad(),
    "adadelta": optimizers.Adadelta(),
    "lion": optimizers.Lion(),
}


class Rule:
    """One step of each rule on 50,000 weights, which fit into the L2 cache with their states."""

    params = tuple(RULES)
    param_names = ("rule",)

    def setup(self, rule: str) -> None:
        """Random arrays, one step."""
        rng = np.random.default_rng(0)
        self.W, self.grad = rng.random(50_000, np.float32), rng.random(50_000, np.float32)
        self.state = kernels.init_state(RULES[rule], self.W)
        self.time_step(rule)

    def time_step(self, rule: str) -> None:
        """A step, in place."""
        kernels.update(RULES[rule], self.W, self.grad, self.state)


class Update:
    """One step of Adam on this many weights."""

    params = ((1_000, 100_000, 10_000_000), ("fastbp", "numpy"))
    param_names = ("weights", "by")

    def setup(self, weights: int, by: str) -> None:
        """Random arrays, one step of each."""
        rng = np.random.default_rng(0)
        self.W, self.grad = rng.random(weights, np.float32), rng.random(weights, np.float32)
        self.state = kernels.init_state("adam", self.W)
        self.m, self.v, self.scratch = (np.zeros_like(self.W) for _ in range(3))
        self.time_adam(weights, "fastbp")

    def time_adam(self, weights: int, by: str) -> None:
        """A step, in place."""
        if by == "fastbp":
            kernels.update("adam", self.W, self.grad, self.state)
            return
        self.m *= 0.9
        self.m += np.multiply(self.grad, 0.1, out=self.scratch)
        self.v *= 0.999
        np.multiply(self.grad, self.grad, out=self.scratch)
        self.v += np.multiply(self.scratch, 0.001, out=self.scratch)
        np.sqrt(self.v, out=self.scratch)
        self.scratch += 1e-8
        np.divide(self.m, self.scratch, out=self.scratch)
        self.W -= np.multiply(self.scratch, 0.001, out=self.scratch)
