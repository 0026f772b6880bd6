"""Instruction sets: a table each."""
