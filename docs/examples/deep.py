"""Deep networks: 200 layers that do not learn, 200 that do, and a network that explodes without gradient clipping.

All are trained on 80 % of the handwritten digits that come with fastbp and tested on the rest.
"""

import warnings

import fastbp
from fastbp.datasets import load_named

digits = load_named("digits")
X_train, X_test = digits.x_train / digits.scale, digits.x_test / digits.scale
EPOCHS, BATCH_SIZE = 15, 32
STEPS = EPOCHS * -(-len(X_train) // BATCH_SIZE)


def train(hidden, optimizer):
    """Train a network with these hidden layers and print its test accuracy; return its diagnoses before and after."""
    model = fastbp.Sequential([*hidden, fastbp.Dense(10, "softmax")])
    model.compile(optimizer, "cross_entropy", metrics=["accuracy"])
    before = fastbp.diagnose(model, X_train, digits.y_train)
    with warnings.catch_warnings(action="ignore", category=fastbp.DivergenceWarning):
        history = model.fit(X_train, digits.y_train, batch_size=BATCH_SIZE, epochs=EPOCHS)
    print(f"loss {history.history['loss'][-1]:.4f} after {len(history.epoch)} epochs, ", end="")
    print(f"test accuracy {model.evaluate(X_test, digits.y_test)['accuracy']:.1%}")
    return before, fastbp.diagnose(model, X_train, digits.y_train)


def adam():
    return fastbp.Adam(fastbp.CosineDecay(2e-3, STEPS))


print("200 layers, plain, sigmoid:")
before, after = train([fastbp.Dense(64, "sigmoid")] * 199, adam())
print(before.findings[0])

print("\n200 layers, all but the first and the last in residual blocks, each normalized:")
block = fastbp.Residual([fastbp.LayerNorm(), fastbp.Dense(64, "relu", kernel_initializer="he_normal")])
before, after = train([fastbp.Dense(64), *[block] * 198, fastbp.LayerNorm()], adam())
print(f"{before.verdict} before training, {after.verdict} after it")

# Each block without normalization adds as much as its input, so 30 of them enlarge the signal by 2 ** 15.
print("\n30 residual blocks without normalization:")
growing = [fastbp.Dense(64), *[fastbp.Residual([fastbp.Dense(64, "relu", kernel_initializer="he_normal")])] * 30]
before, after = train(growing, fastbp.SGD(fastbp.CosineDecay(1.0, STEPS)))
print(before.findings[0])

print("\nthe same, gradients clipped to a norm of 1:")
before, after = train(growing, fastbp.SGD(fastbp.CosineDecay(1.0, STEPS), global_clipnorm=1.0))
print(f"{before.verdict} before training, {after.verdict} after it")
