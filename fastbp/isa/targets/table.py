"""What an instruction set contributes: how large its register tiles are, and what it can estimate."""

from __future__ import annotations

from typing import NamedTuple

LINE = 64  # bytes of a cache line
PANEL = 16  # no tile is taller than a float32 panel: forward cuts panels into tiles
X86_64 = ("x86_64", "amd64")
ARM64 = ("aarch64", "arm64")


class Table(NamedTuple):
    """The tiles of an instruction set are all those of up to `sums` lines and `columns` columns."""

    name: str
    sums: int  # lines of sums that registers hold beside the operands
    columns: int
    reciprocals: bool  # 14-bit estimates of 1/x and 1/sqrt(x)
    cpu: str  # the processor LLVM compiles for when this table is chosen on another one
    machines: tuple[str, ...]  # the architectures that have it, in the operating system's names; none: all of them
    features: tuple[str, ...]  # what the processor must have besides, in LLVM's names
    register: int = LINE  # bytes of a vector register
    bfloat16: str = ""  # how it multiplies operands of bfloat16: in "tiles", "lines" or "loops"; "": not at all

    def tallest(self, columns: int) -> int:
        """Rows of the tallest tile of so many columns."""
        return min(PANEL, self.sums // columns)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(rows, columns) of every tile, widest and tallest first."""
        return [(rows, columns) for columns in range(self.columns, 0, -1)
                for rows in range(self.tallest(columns), 0, -1)]
