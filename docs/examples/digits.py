"""Handwritten digits: 8 × 8 pixels in, ten classes out, on the dataset that comes with fastbp.

Split the data, find a learning rate, train, check every layer's gradients, and evaluate on the test set.
"""

import fastbp
from fastbp.datasets import load_named

digits = load_named("digits")  # 20 % of the rows are held out, stratified by digit
X_train, X_test = digits.x_train / digits.scale, digits.x_test / digits.scale

model = fastbp.Sequential(
    [
        fastbp.Dense(256, "relu", kernel_initializer="he_normal"),
        fastbp.Dense(128, "relu", kernel_initializer="he_normal"),
        fastbp.Dense(10, "softmax"),
    ]
)
model.compile("adam", "cross_entropy", metrics=["accuracy"])

search = fastbp.find_learning_rate(model, X_train, digits.y_train, batch_size=64)
print(f"the loss falls fastest at a learning rate of {search.steepest:.0e}")

history = model.fit(X_train, digits.y_train, batch_size=64, epochs=30)
print(f"after {len(history.epoch)} epochs the training loss is {history.history['loss'][-1]:.4f}")
print(f"the layers are {fastbp.diagnose(model, X_train, digits.y_train).verdict}")
print(f"test accuracy {model.evaluate(X_test, digits.y_test)['accuracy']:.1%}")
