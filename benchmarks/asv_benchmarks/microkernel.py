"""The largest register tile on operands in the first-level cache, beside chains of multiply-adds in registers."""

from __future__ import annotations

from fastbp.kernels.peak import measured_peak, tile_speed


class Tile:
    """GFLOP/s on one core; asv takes smaller for better, so the tracked figure is nanoseconds a kFLOP."""

    params = ("float32", "float64")
    param_names = ("dtype",)
    unit = "ns/kFLOP"

    def setup(self, dtype: str) -> None:
        """Compile."""
        tile_speed(dtype)

    def track_tile(self, dtype: str) -> float:
        """The tile."""
        return 1e12 / tile_speed(dtype)

    def track_peak(self, dtype: str) -> float:
        """The chains: what the machine can do."""
        return 1e12 / measured_peak(dtype)
