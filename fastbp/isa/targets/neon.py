"""NEON, which every 64-bit Arm processor has: 32 registers, a line is four of them.

6 x 1 keeps 24 quarter-lines of sums.
"""

from fastbp.isa.targets.table import ARM64, Table

TABLE = Table(name="neon", sums=6, columns=1, reciprocals=False, cpu="generic", machines=ARM64, features=(),
              register=16)
