"""Emitters: every microkernel as LLVM IR, for all instruction sets, with its twin in `twins` under the same names.

`lines` is the vocabulary, vectors of one cache line; `transcendental` has exp, log and their kin on those. The other
files hold microkernels: functions (module, bits, table) that emit one, and (module, bits, table, member) for families.
"""
