"""Classify the three arms of a spiral with a small network and draw its decision regions as text.

`python spiral.py picture.png` plots them with matplotlib instead.
"""

import sys

import numpy as np

import fastbp

ARMS, POINTS, SIZE = 3, 200, 1.1


def spiral(rng):
    """Points (n, 2) on the arms, with a little noise, and the arm each belongs to."""
    arm = np.repeat(np.arange(ARMS), POINTS)
    radius = np.tile(np.linspace(0.05, 1, POINTS), ARMS)
    angle = 2 * np.pi * arm / ARMS + 4 * radius + rng.normal(0, 0.12, len(arm))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), arm


def grid(columns, rows):
    """The centers of the cells of an image, row by row from the top."""
    x, y = np.linspace(-SIZE, SIZE, columns), np.linspace(SIZE, -SIZE, rows)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


X, y = spiral(np.random.default_rng(1))
model = fastbp.Sequential([fastbp.Dense(32, "tanh"), fastbp.Dense(32, "relu"), fastbp.Dense(ARMS, "softmax")], seed=1)
model.compile(fastbp.Adam(0.01), "cross_entropy", metrics=["accuracy"])
model.fit(X, y, batch_size=32, epochs=150)
print(f"accuracy {model.evaluate(X, y)['accuracy']:.1%}")

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    regions = model.predict(grid(300, 300)).argmax(axis=1).reshape(300, 300)
    axes.imshow(regions, extent=(-SIZE, SIZE, -SIZE, SIZE), cmap="viridis", alpha=0.35)
    axes.scatter(*X.T, c=y, cmap="viridis", s=9, edgecolors="white", linewidths=0.3)
    figure.savefig(sys.argv[1], dpi=150)
else:
    regions = model.predict(grid(60, 30)).argmax(axis=1)
    for row in np.array(list(".oX"))[regions].reshape(30, 60):
        print("".join(row))
