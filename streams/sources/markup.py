"""HTML fragments as plain text, in one pass over the characters.

Owns what a reader would see of a fragment. Does not own whole pages. Not `html.parser`: on unclosed comments and
declarations its time grows with the square of the length, and fragments come from strangers. Text that a pass cannot
make sense of is kept or dropped, never searched again. The result is text and is shown as text only.
"""

from __future__ import annotations

import html
import re
from typing import Final

_BLOCKS: Final = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "tr", "table", "blockquote", "pre", "section", "article", "hr")
) | {f"h{level}" for level in range(1, 7)}
_HIDDEN: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII)
    for name in ("script", "style", "template", "noscript", "iframe", "object")
}
"""What is not shown, and where it ends. Not found in `lower()`: that moves what stands behind an İ."""

_VOID: Final = frozenset({"br", "hr"})
_TAG: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,20})|<[!?]")
_LONG_REFERENCE: Final = re.compile(r"&#(?=[0-9]{8})0*([0-9]*)")
_MAX_QUOTED: Final = 8
"""A tag is looked at for quoted `>` that often; then it ends at the next one."""


def plain_text(markup: str) -> str:
    """Return the visible text: entities resolved, blocks on lines of their own, no markup, spaces collapsed."""
    if "<" not in markup and "&" not in markup:
        return markup.strip()
    shown = "".join(_pieces(markup))
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in shown.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _pieces(markup: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    while tag := _TAG.search(markup, at):
        pieces.append(_resolved(markup[at : tag.start()]))
        if markup.startswith("<!--", tag.start()):
            end = markup.find("-->", tag.start())
            at = end + 3
        else:
            end = _tag_end(markup, tag.end())
            at = end + 1
        name = (tag.group(1) or "").lower()
        opening = not tag.group().startswith("</")
        if name in _BLOCKS and (opening or name not in _VOID):
            pieces.append("\n")
        if name in _HIDDEN and opening and end >= 0:
            closing = _HIDDEN[name].search(markup, at)
            at = end = closing.start() if closing else -1
        if end < 0:  # unclosed: nothing after it can be told from markup
            return pieces
    pieces.append(_resolved(markup[at:]))
    return pieces


def _resolved(text: str) -> str:
    """Return `text` with its references resolved. Python reads no number of thousands of digits: eight tell as much."""
    return html.unescape(_LONG_REFERENCE.sub(lambda match: "&#" + (match.group(1)[:8] or "0"), text))


def _tag_end(markup: str, start: int) -> int:
    """Return where the `>` of a tag is, past such as stand in quoted attributes; -1 if there is none."""
    end, quotes = markup.find(">", start), 0
    for _ in range(_MAX_QUOTED):
        if end < 0:
            return -1
        quotes += markup.count('"', start, end)
        if quotes % 2 == 0:
            return end
        start, end = end, markup.find(">", end + 1)
    return end
