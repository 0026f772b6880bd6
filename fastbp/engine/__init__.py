"""The host side of the compiled engine: networks become plans and buffers, which the worker of `kernels` interprets.

Nothing here is compiled, so an edit leaves the cache of compiled code valid.
"""

from __future__ import annotations
