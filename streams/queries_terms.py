"""What a word or phrase of a query looks for: the terms, prefixes and sequences that count as it.

Owns one-letter prefixes of Hebrew, clitics of Arabic, wildcards and joints, all spelled out when a query is compiled,
so that matching is look-ups of whole terms. Does not own the query's logic (`streams.queries`).

Hebrew: ו ה ב ל כ מ ש and their real pairs (וה, שב, כש ...) may stand before a Hebrew or Latin word of at least two
letters ("בנק" finds "ולבנק", "iPhone" finds "הiPhone"); the rest must be exactly the word. Arabic: و ف ب ك ل, ال, their
pairs and لل may stand before an Arabic word of at least three letters, but never where either side is Persian: not for
a word with a letter that Arabic lacks or typed in Persian code points (پ چ ژ گ ک ی), and not in a mention whose words
in Arabic script are of another language. "بانک" must not find what only ends like it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.normal import normalise
from streams.normal_words import Edge, Lattice, runs
from streams.queries_syntax import QuerySyntaxError, Words

_HEBREW_PREFIXES: Final = re.findall(
    r"\S+",
    "ו ה ב ל כ מ ש וה וב ול וכ ומ וש שה שב של שכ שמ מה מש כש לכש בש וכש ומה ומש ושה ושב ושל ושמ כשה כשב כשל כשמ",
)
_ARABIC_CLITICS: Final = [normalise(clitic) for clitic in ("و", "ف", "ب", "ك", "ل", "وب", "ول", "فب", "فل", "وك")]
_ARABIC_ARTICLES: Final = [
    normalise(article) for article in ("ال", "وال", "بال", "فال", "كال", "لل", "ولل", "وبال", "فلل")
]
_ARTICLE: Final = "ال"
_PERSIAN_TYPED: Final = re.compile("[پچژگکیۀ]")
_STARTS_ARABIC: Final = re.compile("[\u0621-\u064a\u06a9\u06cc]")  # normalised: kaf and yeh are Persian code points
_MIN_HEBREW: Final = 2
_MIN_ARABIC: Final = 3
_MIN_WILDCARD: Final = 2


@dataclass(frozen=True, slots=True)
class Element:
    """One word of a sequence: it is there as one of `joined` (`arabic` in Arabic mentions only), or as its `path`.

    `path` holds the parts of a joined word; its first part may be any of `first`. With `wildcard` all of `joined` and
    `arabic` are beginnings of terms.
    """

    joined: frozenset[str]
    arabic: frozenset[str]
    first: frozenset[str]
    path: tuple[str, ...]
    wildcard: bool
    triggers: frozenset[str]
    """Terms of which one is in every text that has the element; for a wildcard, beginnings of terms."""

    def edges(self, words: Lattice, *, arabic: bool) -> list[Edge]:
        """Return where the element is."""
        wanted = self.joined | self.arabic if arabic else self.joined
        if self.wildcard:
            starts = tuple(wanted)
            found = [edge for term, edges in words.edges.items() if term.startswith(starts) for edge in edges]
        else:
            found = [edge for term in wanted for edge in words.edges.get(term, ())]
        return found + self._walked(words)

    def _walked(self, words: Lattice) -> list[Edge]:
        if not self.path:
            return []
        ways = {edge for term in self.first for edge in words.edges.get(term, ())}
        for position, part in enumerate(self.path[1:], start=2):
            last = self.wildcard and position == len(self.path)
            ends: dict[int, int] = {}
            for term, edges in words.edges.items() if last else [(part, words.edges.get(part, []))]:
                if term.startswith(part):
                    ends.update(edges)
            ways = {(start, ends[end]) for start, end in ways if end in ends}
        return sorted(ways)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Words in a row."""

    elements: tuple[Element, ...]

    @property
    def simple(self) -> bool:
        """Whether the presence of a term decides, without looking at places."""
        return len(self.elements) == 1 and not self.elements[0].path

    def rarest(self) -> Element:
        """Return the element to wait for: the longest, as the longer word is the rarer one."""
        return max(self.elements, key=lambda element: (not element.wildcard, len(max(element.joined, key=len))))

    def possible(self, found: set[str]) -> bool:
        """Return False if an element's terms are all missing from a text's terms: cheaper than looking at places."""
        return all(element.wildcard or not found.isdisjoint(element.triggers) for element in self.elements)

    def edges(self, words: Lattice, *, arabic: bool) -> list[Edge]:
        """Return where the sequence is."""
        ways = self.elements[0].edges(words, arabic=arabic)
        for element in self.elements[1:]:
            following: dict[int, set[int]] = {}
            for start, end in element.edges(words, arabic=arabic):
                following.setdefault(start, set()).add(end)
            ways = sorted({(start, last) for start, end in ways for last in following.get(end, ())})
        return ways


def sequence(words: Words) -> Sequence:
    """Return what `words` look for; QuerySyntaxError if there is no letter, digit or emoji in it."""
    elements = [element for piece in words.text.split() for element in _elements(piece, words)]
    if not elements:
        raise QuerySyntaxError(words.column, repr(words.text), "write a word with at least one letter, digit or emoji")
    return Sequence(tuple(elements))


def _elements(piece: str, words: Words) -> Iterable[Element]:
    wildcard = piece.endswith("*")
    normal = normalise(piece.rstrip("*"))
    if normal.startswith(("#", "@")) and runs(normal):
        tag = re.sub(r"[_\u200c]", "", normal) if normal[0] == "#" else normal.rstrip(".-")
        return [_element([tag], piece, wildcard=wildcard)]
    pieces = runs(normal)
    if wildcard and sum(map(len, pieces[-1] if pieces else [])) < _MIN_WILDCARD:
        raise QuerySyntaxError(words.column, repr(piece), f"write at least {_MIN_WILDCARD} letters before *")
    return [_element(run, piece, wildcard=wildcard and run is pieces[-1]) for run in pieces]


def _element(parts: list[str], typed: str, *, wildcard: bool) -> Element:
    word = "".join(parts)
    joined, arabic = _hebrew(word), _arabic(word, typed)
    path = tuple(parts) if len(parts) > 1 else ()
    first = _hebrew(parts[0]) | _arabic(parts[0], typed) if path else frozenset()
    return Element(joined, arabic, first, path, wildcard, joined | arabic | first)


def _hebrew(word: str) -> frozenset[str]:
    letters = len(word) >= _MIN_HEBREW and ("א" <= word[0] <= "ת" or "a" <= word[0] <= "z")
    return frozenset([word, *(prefix + word for prefix in _HEBREW_PREFIXES)] if letters else [word])


def _arabic(word: str, typed: str) -> frozenset[str]:
    if len(word) < _MIN_ARABIC or not _STARTS_ARABIC.match(word) or _PERSIAN_TYPED.search(typed):
        return frozenset()
    stem = word.removeprefix(_ARTICLE)
    if stem != word and len(stem) >= _MIN_ARABIC - 1:
        return frozenset([clitic + word for clitic in _ARABIC_CLITICS] + ["لل" + stem, "ولل" + stem, "فلل" + stem])
    return frozenset(front + word for front in _ARABIC_CLITICS + _ARABIC_ARTICLES)
