"""The fallback for any processor: the plain-loop twins, compiled by Numba for the host.

Nothing is emitted for it; the sizes of its tiles are those of AVX2.
"""

from fastbp.isa.targets import avx2

TABLE = avx2.TABLE._replace(name="portable", machines=(), features=(), bfloat16="loops")
