"""HTML tables for notebooks, in the colours of the page (light or dark); all text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_CELL = "padding: 0.15em 0.8em; white-space: pre;"


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", notes: Iterable[str] = (), left: int = 1
) -> str:
    """An HTML table; the first `left` columns are left-aligned, the others right-aligned; notes go below it.

    >>> "3 &lt; 4</td>" in table(["layer", "units"], [["Dense", "3 < 4"]], caption="a network")
    True
    """
    head = f"<p><strong>{html.escape(caption)}</strong></p>" if caption else ""
    lines = [f'<div>{head}<table style="color: inherit;"><thead>', _row(header, "th", left), "</thead><tbody>"]
    lines += [_row(row, "td", left) for row in rows]
    below = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return "\n".join([*lines, f"</tbody></table>{below}</div>"])


def _row(cells: Sequence[str], tag: str, left: int) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    marked = []
    for place, cell in enumerate(cells):
        side = "left" if place < left else "right"
        marked.append(f'<{tag} style="{_CELL} text-align: {side};"{scope}>{html.escape(cell)}</{tag}>')
    return f"<tr>{''.join(marked)}</tr>"
