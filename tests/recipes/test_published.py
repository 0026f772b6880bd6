"""RealMLP-TD-S beside its published recipe, written with PyTorch's own functions: the losses of an epoch's steps."""

import numpy as np
import pytest
import torch
from torch import nn

from fastbp import Sequential
from fastbp.recipes import RealMLPClassifier, RealMLPRegressor
from fastbp.util.random_streams import Purpose, Shuffler

from .test_realmlp import table

pytestmark = pytest.mark.jit


class Recipe(nn.Module):
    """RealMLP-TD-S as published: kernels of N(0, 1), divided in forward by the root of the number of inputs."""

    def __init__(self, weights, activation):
        super().__init__()
        scale, *pairs = [torch.tensor(W) for W in weights]
        self.scale = nn.Parameter(scale)
        self.kernels = nn.ParameterList([nn.Parameter(W * len(W) ** 0.5) for W in pairs[::2]])
        self.biases = nn.ParameterList([nn.Parameter(b) for b in pairs[1::2]])
        self.activation = activation

    def forward(self, x):
        x = x * self.scale
        for i, (W, b) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = x @ W / len(W) ** 0.5 + b
            x = x if i == len(self.kernels) - 1 else self.activation(x)
        return x

    def losses(self, batches, loss, rate, steps, scaled_epsilon):
        """The loss of every batch, each before its update."""
        groups = [{"params": [self.scale], "factor": 6.0}, {"params": self.biases, "factor": 0.1}]
        for W in self.kernels:
            epsilon = 1e-8 / len(W) ** 0.5 if scaled_epsilon else 1e-8
            groups.append({"params": [W], "factor": 1.0, "eps": epsilon})
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95))
        found = []
        for step, (X, y) in enumerate(batches):
            scheduled = rate * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * scheduled
            value = loss(self(X), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            found.append(value.item())
        return found


# The authors' kernels are larger by the root of their inputs, so their gradients are smaller, and feel Adam's epsilon
# more. With one that is smaller, too, nothing else differs.
@pytest.mark.parametrize(("dtype", "scaled_epsilon", "rtol"), [("float32", False, 1e-3), ("float64", True, 1e-7)])
@pytest.mark.parametrize("kind", [RealMLPClassifier, RealMLPRegressor])
def test_an_epoch_is_that_of_the_published_recipe(kind, dtype, scaled_epsilon, rtol):
    X, y = table(3000)
    classifies = kind is RealMLPClassifier
    estimator, y = kind(size="small"), np.where(y > 5, "many", "few") if classifies else y
    preprocessor = estimator._preprocessor().fit(X, y)
    features, targets = preprocessor.transform(X), preprocessor.transform_target(y)
    steps = 11  # of a whole training, so that this epoch has every rate of the schedule
    features, targets = features.astype(dtype), targets if classifies else targets.astype(dtype)
    layers = estimator._layers(preprocessor, preprocessor.n_outputs, steps)
    model = Sequential(layers, input_size=features.shape[1], seed=1, dtype=dtype)
    model.compile(estimator._optimizer(steps), estimator._loss())
    loss = nn.CrossEntropyLoss(label_smoothing=0.1) if classifies else nn.MSELoss()
    peer = Recipe(model.get_weights(), nn.functional.selu if classifies else nn.functional.mish)
    order = Shuffler(1, len(features), Purpose.SHUFFLE).order(0)[: steps * 256].reshape(steps, 256)
    batches = [(torch.tensor(features[rows]), torch.tensor(targets[rows])) for rows in order]
    expected = peer.losses(batches, loss, model.optimizer.learning_rate.max_learning_rate, steps, scaled_epsilon)
    found = [model.train_on_batch(features[rows], targets[rows]) for rows in order]
    assert found[0] != found[-1]
    np.testing.assert_allclose(found, expected, rtol=rtol)
