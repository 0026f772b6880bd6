"""Comparisons with other libraries (`compare`, `accuracy`) and the asv suite; run from the root of the repository."""
