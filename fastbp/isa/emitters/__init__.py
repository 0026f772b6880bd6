"""Emitters of LLVM IR: the vocabulary in `lines`, and the microkernels, each with its twin in `twins`."""
