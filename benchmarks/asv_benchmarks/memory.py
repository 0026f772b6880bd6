"""Peak memory of a fit above that of the same process after one fit of a 2-2-1 net, in bytes."""

from __future__ import annotations

import subprocess
import sys

FIT = """
import resource, sys
import numpy as np, fastbp

def fit(sizes, batch, optimizer, rows):
    layers = [fastbp.Dense(units, "relu") for units in sizes[1:-1]] + [fastbp.Dense(sizes[-1], "softmax")]
    model = fastbp.Sequential(layers, input_size=sizes[0])
    model.compile(optimizer, loss="cross_entropy")
    model.fit(rows, np.zeros(len(rows), np.int64), batch_size=batch, epochs=1, verbose=0)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

sizes, batch, optimizer = {sizes}, {batch}, {optimizer!r}
rows = np.ones((4 * batch, sizes[0]), np.float32)
fit((2, 2, 2), 1, optimizer, np.zeros((2, 2), np.float32))
before = peak()
fit(sizes, batch, optimizer, rows)
print(peak() - before)
"""


class Peak:
    """The two largest rows of the table."""

    params = ("784-2500-2000-1500-1000-500-10, 256, adam", "4096-4096-4096-4096-10, 512, sgd")
    param_names = ("network",)
    timeout = 300.0
    unit = "bytes"

    def track_peak(self, network: str) -> float:
        """In excess of the small fit."""
        widths, batch, optimizer = network.split(", ")
        sizes = tuple(int(width) for width in widths.split("-"))
        code = FIT.format(sizes=sizes, batch=batch, optimizer=optimizer)
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
