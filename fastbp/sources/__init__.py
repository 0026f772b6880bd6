"""Data on disk that need not fit into memory, in chunks for `Sequential.fit`, `predict` and `evaluate`.

>>> import numpy as np, tempfile
>>> path = tempfile.mkdtemp() + "/train.csv"
>>> np.savetxt(path, [[0.0, 1.0], [1.0, 3.0]], delimiter=",", header="x,y", comments="")
>>> for X, y in open(path, "y"):
...     print(X.tolist(), y.tolist())
[[0.0], [1.0]] [1.0, 3.0]
"""

from fastbp.sources.arrays import ArraySource
from fastbp.sources.base import Source
from fastbp.sources.files import open

__all__ = ["ArraySource", "Source", "open"]
