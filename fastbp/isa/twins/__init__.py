"""The plain-loop twin of every microkernel: oracle, fallback for unknown processors, and what runs with the JIT off.

Same names, arguments and results as the emitted ones (see `contract`), in loops anyone can check. Every pointer is an
array and an offset in elements; the first argument, the table of addresses, is not used here, and that of a family is
followed by the member's code. Each element sees the same operations in the same order as in the emitted code, but for
two roundings: a * b + c is written plainly, and the functions of `math` are not those of `emitters.transcendental`.

Nothing here imports Numba or llvmlite, but all of it compiles with Numba. `HELPERS` lists what a file's twins call:
`kernels` makes these known to Numba. Where speed matters the lanes are the innermost loop, over slices: Numba lets an
index be negative, and the test for that keeps LLVM from vectorizing `C[line + lane]`. L is read from the array, for
LLVM would unroll a loop of 16 before it looks for vectors. Measured with AVX-512, all in the first-level cache:
2.5 GFLOP/s by plain indices, 5 by slices, 14 by slices and eight products at a time.
"""
