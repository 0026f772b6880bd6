"""AVX2 with FMA: 16 registers, a line is two of them.

6 x 1 keeps 12 half-lines of sums beside one line and a scalar: more than the 8 that hide the latency of an FMA.
"""

from fastbp.isa.targets.table import X86_64, Table

TABLE = Table(name="avx2", sums=6, columns=1, reciprocals=False, cpu="haswell", machines=X86_64,
              features=("avx2", "fma"), register=32)  # fmt: skip
