"""Random streams: one for each (seed, purpose, index), so that none depends on how much another was used."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of every saved model's future: never renumber."""

    INITIALISE = 0
    SHUFFLE = 1
    MASKS = 2
    MIXUP = 3
    CHUNKS = 4


def generator(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """The generator of one purpose and index, PCG64."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(purpose, index))))


def mask_key(seed: int) -> tuple[int, int]:
    """The key of the random masks of dropout and noise, two words of 32 bits: with it an engine draws what it needs.

    >>> mask_key(0) != mask_key(1)
    True
    """
    first, second = np.random.SeedSequence([seed, Purpose.MASKS]).generate_state(2, np.uint32).tolist()
    return first, second


class Stream:
    """The random numbers of one purpose, a generator for each index from 0, or for each window of an index.

    Philox is keyed once and its counter set for each index; a new PCG64 costs 9 µs, as much as ten steps of a small
    network.
    """

    def __init__(self, seed: int, purpose: Purpose) -> None:
        key = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(2, np.uint64)
        self._philox = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._philox)
        self._start = self._philox.state  # of a stream from which nothing was drawn

    def at(self, index: int, window: int = 0) -> np.random.Generator:
        """The generator of this index, and of a window of it if it has several, until the next call."""
        # The lowest word of the counter runs with what is drawn, the highest name the index: they never overlap.
        counter = self._start["state"]["counter"]
        counter[2], counter[3] = window, index
        self._philox.state = self._start
        return self._generator


class Shuffler:
    """The order of n rows in any epoch, from (seed, epoch) alone; or of n other things, for another purpose."""

    def __init__(self, seed: int, n: int, purpose: Purpose = Purpose.SHUFFLE) -> None:
        self._stream, self._n = Stream(seed, purpose), n

    def order(self, epoch: int, window: int = 0) -> npt.NDArray[np.int64]:
        """The rows 0 … n - 1 in the order of this epoch, int64 (n,); of a window of it, if it has several."""
        return self._stream.at(epoch, window).permutation(self._n)
