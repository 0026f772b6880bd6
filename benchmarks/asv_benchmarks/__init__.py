"""asv benchmarks, one module for each part of fastbp; compiling is timed apart from running.

In a checkout: ``asv run --config benchmarks/asv.conf.json --python=same --quick --show-stderr``.
"""
