"""`fastbp train` on the real CSV files that packages of PyPI carry: ``python -m benchmarks.realfiles``."""
