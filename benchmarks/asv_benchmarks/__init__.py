"""asv benchmarks, one module per part of fastbp; compilation is timed separately.

In a checkout: ``asv run --config benchmarks/asv.conf.json --python=same --quick --show-stderr``.
"""
