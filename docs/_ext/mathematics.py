"""Formulas as MathML, which browsers render natively; MathJax would be fetched from the network for every page."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

LOG = logging.getLogger(__name__)


def visit_math(translator: Any, node: nodes.math) -> None:
    """An inline formula."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    """A displayed formula."""
    translator.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def mathml(node: nodes.Element, *, as_block: bool) -> str:
    """The formula of a node; a warning if it cannot be converted to MathML."""
    code = node.astext().strip()
    if as_block and r"\\" in code and r"\begin" not in code:
        code = rf"\begin{{aligned}}{code}\end{{aligned}}"
    try:
        math: str = latex2mathml.tex2mathml(code, as_block=as_block)
    except (MathError, SyntaxError) as error:
        LOG.warning("cannot convert the formula %r: %s", code, error, location=node)
        return f"<code>{escape(code)}</code>"
    return math


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
