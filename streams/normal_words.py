"""Words of normalised text, as a lattice: the same letters joined, hyphenated or apart meet each other.

Owns where words begin and end, and which readings a joined run has. Does not own folding (`streams.normal`), nor what
is looked for (`streams.queries`).

A *part* is the smallest word. ZWNJ, hyphen, maqaf, apostrophe and underscore are *joints*: "می‌شود", "coca-cola" and
"mcdonald's" are two parts each, and every run of up to four joined parts is a term as well ("میشود", "cocacola").
& holds a part together where a single letter stands beside it: "h&m", "at&t"; "coke&pepsi" are two words.
Chinese and Japanese characters and emoji are parts of their own, so that a query in them is a sequence of parts.
Hashtags and handles are extra terms with their sign: "#cocacola", "@brand.example".
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.normal import ZWNJ

MOST_JOINED: Final = 4

_ALONE: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PICTURES: Final = "\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"


def _marks() -> str:
    """Return a character class of the combining marks that normalisation keeps: a regex word leaves them out."""
    return "".join(chr(code) for code in range(0x0483, 0xABFF) if unicodedata.category(chr(code)) in {"Mn", "Mc"})


_M: Final = _marks()
_PART: Final = rf"[^\W_{_ALONE}]+(?:[{_M}]+[^\W_{_ALONE}]*)*"
_ONE: Final = r"(?<![^\W_])[^\W_]"
_PART_AND: Final = rf"{_PART}(?:&(?:(?<={_ONE}&)|(?<=[א-ת][a-z]&)|(?=[^\W_](?![^\W_]))){_PART})*"
_RUN: Final = re.compile(rf"{_PART_AND}(?:[-'_{ZWNJ}]{_PART_AND})*|[{_ALONE}{_PICTURES}]")
_JOINT: Final = re.compile(f"[-'_{ZWNJ}]")
_HASHTAG: Final = re.compile(rf"(?<![\w&])#((?:[\w{ZWNJ}{_M}])+)")
_HANDLE: Final = re.compile(r"(?<!\w)@(\w[\w.\-]*)")
_SILENT: Final = {ord("_"): None, ord(ZWNJ): None}

Edge = tuple[int, int]
"""[first part, end part) that a term covers."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Every term of a text with the edges it covers, and each part's [start, end) in the normalised text."""

    edges: dict[str, list[Edge]]
    parts: list[tuple[int, int]]


def runs(normal: str) -> list[list[str]]:
    """Return the runs of joined parts, in order: [["coca", "cola"], ["zero"]]."""
    return [_JOINT.split(run) for run in _RUN.findall(normal)]


def terms(normal: str) -> set[str]:
    """Return every term of a normalised text: the keys of its lattice, without the cost of the places."""
    found: set[str] = set()
    for run in _RUN.findall(normal):
        if run.isalnum():
            found.add(run)
        else:
            found.update(joined for joined, _ in _readings(_JOINT.split(run), 0))
    if "#" in normal or "@" in normal:
        found.update(term for term, _, _ in _signs(normal))
    return found


def lattice(normal: str) -> Lattice:
    """Return the lattice of a normalised text."""
    edges: dict[str, list[Edge]] = {}
    places: list[tuple[int, int]] = []
    for run in _RUN.finditer(normal):
        parts = _JOINT.split(run.group())
        for term, edge in _readings(parts, len(places)):
            edges.setdefault(term, []).append(edge)
        at = run.start()
        for part in parts:
            places.append((at, at + len(part)))
            at += len(part) + 1
    starts = [start for start, _ in places]
    for term, start, end in _signs(normal):
        edge = bisect_left(starts, start), bisect_left(starts, end)
        if edge[0] < edge[1]:
            edges.setdefault(term, []).append(edge)
    return Lattice(edges, places)


def _readings(parts: list[str], base: int) -> Iterator[tuple[str, Edge]]:
    for first in range(len(parts)):
        for end in range(first + 1, min(first + MOST_JOINED, len(parts)) + 1):
            yield "".join(parts[first:end]), (base + first, base + end)


def _signs(normal: str) -> Iterator[tuple[str, int, int]]:
    for match in _HASHTAG.finditer(normal):
        tag = match.group(1).translate(_SILENT)
        if _RUN.search(tag):
            yield "#" + tag, match.start(), match.end()
    for match in _HANDLE.finditer(normal):
        if _RUN.search(match.group(1)):
            yield "@" + match.group(1).rstrip(".-"), match.start(), match.end()
