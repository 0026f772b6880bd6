"""XOR: the smallest problem that no single layer can solve, and the one on which backpropagation was demonstrated.

Rumelhart, Hinton and Williams 1986. Two inputs, four hidden units, one output: is exactly one input 1?
"""

import fastbp

X = [[0, 0], [0, 1], [1, 0], [1, 1]]
y = [0, 1, 1, 0]

model = fastbp.Sequential([fastbp.Dense(4, "sigmoid"), fastbp.Dense(1, "sigmoid")], seed=0)
model.compile(fastbp.Adam(0.05), "binary_cross_entropy", metrics=["accuracy"])
model.fit(X, y, batch_size=4, epochs=1000)

for inputs, output in zip(X, model.predict(X), strict=True):
    print(f"{inputs[0]} xor {inputs[1]} = {output[0]:.2f}")
print(f"accuracy {model.evaluate(X, y)['accuracy']:.0%}")
