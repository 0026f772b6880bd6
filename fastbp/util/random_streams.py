"""Independent random streams, one for each (seed, purpose, index): how much one is used does not affect another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """What a stream is for. Saved models depend on the numbers: never renumber."""

    INITIALIZE = 0
    SHUFFLE = 1
    MASKS = 2
    MIXUP = 3
    CHUNKS = 4


def generator(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """The PCG64 generator of one purpose and index."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(purpose, index))))


def mask_key(seed: int) -> tuple[int, int]:
    """The key for dropout masks and noise, two 32-bit words, from which an engine draws what it needs.

    >>> mask_key(0) != mask_key(1)
    True
    """
    first, second = np.random.SeedSequence([seed, Purpose.MASKS]).generate_state(2, np.uint32).tolist()
    return first, second


class Stream:
    """The random numbers of one purpose: one generator per index (from 0), or per window of an index.

    Philox is keyed once and its counter is set for each index; creating a PCG64 costs 9 µs, as much as ten steps of a
    small network.
    """

    def __init__(self, seed: int, purpose: Purpose) -> None:
        key = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(2, np.uint64)
        self._philox = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._philox)
        self._start = self._philox.state  # before the first draw

    def at(self, index: int, window: int = 0) -> np.random.Generator:
        """The generator of this index (and window), valid until the next call."""
        # Draws advance the low words of the counter, index and window set the high ones: streams never overlap.
        counter = self._start["state"]["counter"]
        counter[2], counter[3] = window, index
        self._philox.state = self._start
        return self._generator


class Shuffler:
    """The permutation of n rows in any epoch, a function of (seed, epoch) alone."""

    def __init__(self, seed: int, n: int, purpose: Purpose = Purpose.SHUFFLE) -> None:
        self._stream, self._n = Stream(seed, purpose), n

    def order(self, epoch: int, window: int = 0) -> npt.NDArray[np.int64]:
        """The rows 0 … n - 1 in the order of this epoch (and window), int64 (n,)."""
        return self._stream.at(epoch, window).permutation(self._n)
