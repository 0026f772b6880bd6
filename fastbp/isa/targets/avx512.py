"""AVX-512: 32 registers of one line each.

8 x 3 keeps 24 sums in registers beside three lines and a scalar, and divides a panel's 16 rows. Measured with its
operands in the first-level cache it runs at the machine's peak; 12 x 2 and 6 x 4 are no faster.
"""

from fastbp.isa.targets.table import X86_64, Table

TABLE = Table(name="avx512", sums=24, columns=3, reciprocals=True, cpu="skylake-avx512", machines=X86_64,
              features=("avx512f", "avx512dq", "avx512vl", "avx512bw"), bfloat16="lines")  # fmt: skip
