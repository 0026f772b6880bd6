"""The register tile on operands in the L1 cache, compared with chains of multiply-adds without memory access."""

from __future__ import annotations

import statistics

from fastbp.engine.peak import measured_peak, tile_speed


class Tile:
    """One core, float32 and float64; run under FASTBP_ISA=avx2 and portable too."""

    params = ("float32", "float64")
    param_names = ("dtype",)

    def setup(self, dtype: str) -> None:
        """Compile, or load from the cache."""
        measured_peak(dtype)
        tile_speed(dtype)

    def track_peak(self, dtype: str) -> float:
        """FLOP/s of the chains."""
        return measured_peak(dtype)

    def track_tile(self, dtype: str) -> float:
        """FLOP/s of the largest tile."""
        return tile_speed(dtype)

    def track_share(self, dtype: str) -> float:
        """The tile's share of the peak, measured in turns: the median of 21."""
        return statistics.median(tile_speed(dtype) / measured_peak(dtype) for _ in range(21))
