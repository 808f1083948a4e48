"""The query language: text in, syntax tree out.

Owns the grammar, its errors and what a query must not be. Does not own how a tree is matched (`streams.queries`,
`streams.queries_terms`): a richer language adds nodes here and their meaning there.

    any      = all ("OR" all)*
    all      = one (["AND"] one)*
    one      = "NOT" one | "(" any ")" | field | phrase | word
    field    = ("lang:" | "source:" | "author:") (word | phrase)
    phrase   = '"' words '"', or „words“ ״words״ «words»     word, #hashtag, @handle, prefix*

Operators are upper case; `and`, `or`, `not` are words. `source:` is a source's id or kind; `author:` an author's whole
name (compared as words are), handle, or id, kept or as the sender writes it. A quote between two Hebrew letters is a
gershayim, not the start of a phrase. Marks of direction and invisible spaces around words are nothing. Every query must
need something: one that could match by absence alone is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from streams.normal import language

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 50
FIELDS: Final = ("lang", "source", "author")


class QuerySyntaxError(ValueError):
    """A query that can't be read: `column` counts characters from 1, `found` quotes it, `remedy` says what to do."""

    def __init__(self, column: int, found: str, remedy: str) -> None:
        super().__init__(f"column {column}: found {found}; {remedy}")
        self.column = column
        self.found = found
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Words:
    """One word, or a phrase of several in a row; a word that ends in `*` stands for all that begin so."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Field:
    """What must be true of the mention beside its text."""

    name: Literal["lang", "source", "author"]
    value: str
    column: int


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is not."""

    part: Node
    column: int


@dataclass(frozen=True, slots=True)
class All:
    """AND, written or implied."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """OR."""

    parts: tuple[Node, ...]


Node = Words | Field | Not | All | Any

_QUOTES: Final = '"“”„‟״«»'
"""What opens and closes a phrase, on keyboards for Hebrew, Persian and German too."""

_MARKS: Final = "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"
"""Marks of direction and invisible spaces: editors put them around words, and nobody sees them."""

_TRAILING_MARKS: Final = re.compile(rf"[{_MARKS}]+$")
_GERSHAYIM: Final = r"(?<=[א-ת])[\"“”״](?=[א-ת])"
_VALUE_FORMS: Final = rf"""
    [{_QUOTES}](?P<phrase>(?:[^{_QUOTES}]|{_GERSHAYIM})*)[{_QUOTES}]
    |(?P<open>[{_QUOTES}])
    |(?P<word>(?:[^\s(){_QUOTES}]|{_GERSHAYIM})+)"""
_TOKEN: Final = re.compile(
    rf"[\s{_MARKS}]*(?:(?P<sign>[()])|(?P<field>[A-Za-z_]+:)(?=[^\s/])|{_VALUE_FORMS})", re.VERBOSE
)
_VALUE: Final = re.compile(rf"[{_MARKS}]*(?:(?P<sign>[()])|{_VALUE_FORMS})", re.VERBOSE)
"""What follows a field: a colon in it, as in author:did:plc:abc, begins no field."""

_LANG: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_LONGEST_FOUND: Final = 40


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int

    @property
    def shown(self) -> str:
        short = self.text if len(self.text) <= _LONGEST_FOUND else self.text[:_LONGEST_FOUND] + "…"
        return "the end" if self.kind == "end" else f"{short!r}"


def parse_query(text: str) -> Node:
    """Return the tree of a query; QuerySyntaxError where it can't be read or could match by absence alone."""
    if len(text) > MAX_LENGTH:
        raise QuerySyntaxError(MAX_LENGTH + 1, f"{len(text)} characters", f"keep a query within {MAX_LENGTH}")
    tree = _Parser(list(_tokens(text))).whole()
    absent = absence(tree)
    if absent is not None:
        raise QuerySyntaxError(
            absent.column, "NOT with nothing beside it", "name what must be there as well, as in: brand NOT word"
        )
    return tree


def _tokens(text: str) -> Iterator[_Token]:
    at, kind = 0, ""
    while match := (_VALUE if kind == "field" else _TOKEN).match(text, at):
        kind = match.lastgroup or ""
        value = match.group(kind)
        column = match.start(kind) + 1 - (kind == "phrase")
        if kind == "open":
            raise QuerySyntaxError(column, "a quote that is never closed", 'write the second " of the phrase')
        at = match.end()
        if kind == "word":
            value = _TRAILING_MARKS.sub("", value)
            if not value:
                continue
        if kind == "word" and value in {"AND", "OR", "NOT"}:
            kind = value
        yield _Token(kind, value, column)
    yield _Token("end", "", len(text) + 1)


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def whole(self) -> Node:
        if self._next.kind == "end":
            raise QuerySyntaxError(1, "an empty query", "write at least one word")
        tree = self._any()
        if self._next.kind != "end":
            raise QuerySyntaxError(self._next.column, self._next.shown, "remove it, or write the missing ( before it")
        return tree

    def _any(self) -> Node:
        parts = [self._all()]
        while self._next.kind == "OR":
            self._take()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self) -> Node:
        parts = [self._one()]
        while self._next.kind not in {"OR", "end"} and self._next.text != ")":
            if self._next.kind == "AND":
                self._take()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Node:
        token = self._take()
        match token.kind:
            case "NOT":
                return self._not(token)
            case "sign" if token.text == "(":
                return self._group(token)
            case "field":
                return self._field(token)
            case "phrase" | "word":
                return _words(token)
        raise QuerySyntaxError(token.column, token.shown, "write a word, a phrase or a group in its place")

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QuerySyntaxError(token.column, f"more than {MAX_DEPTH} levels", "write the query flatter")

    def _not(self, token: _Token) -> Node:
        self._deeper(token)
        part = self._one()
        self._depth -= 1
        return part.part if isinstance(part, Not) else Not(part, token.column)

    def _group(self, token: _Token) -> Node:
        self._deeper(token)
        inner = self._any()
        self._depth -= 1
        closing = self._take()
        if closing.text != ")" or closing.kind != "sign":
            raise QuerySyntaxError(closing.column, closing.shown, f"close the ( of column {token.column} before it")
        return inner

    def _field(self, token: _Token) -> Node:
        name = token.text[:-1].lower()
        if name not in FIELDS:
            raise QuerySyntaxError(
                token.column,
                f"the field {token.text!r}",
                f'use lang:, source: or author:, or quote it: "{token.text}…"',
            )
        value = self._take()
        if value.kind not in {"word", "phrase"}:
            raise QuerySyntaxError(value.column, value.shown, f"write a value right after {token.text}")
        return _field(name, value)


def _words(token: _Token) -> Words:
    if token.kind == "word":
        if token.text.startswith("-"):
            raise QuerySyntaxError(token.column, token.shown, f"to exclude a word write: NOT {token.text.lstrip('-')}")
        if re.match(r"[A-Za-z_]+:(?:$|/)", token.text):
            remedy = f'quote it if it is text: "{token.text}"; a field is lang:, source: or author: with its value'
            raise QuerySyntaxError(token.column, token.shown, remedy)
    for star in re.finditer(r"\*", token.text):
        after = token.text[star.end() : star.end() + 1]
        if after and not after.isspace():
            column = token.column + star.start() + (token.kind == "phrase")
            raise QuerySyntaxError(column, "'*' inside a word", "put it at the end of the word")
    return Words(token.text, token.column)


def _field(name: str, token: _Token) -> Field:
    value = token.text.strip()
    if name == "lang":
        if not _LANG.fullmatch(value):
            raise QuerySyntaxError(token.column, token.shown, "write a language code, as in lang:he or lang:pt-BR")
        return Field("lang", language(value), token.column)
    if not value.lstrip("@"):
        raise QuerySyntaxError(token.column, token.shown, f"write a value after {name}:")
    if name == "source":
        return Field("source", value.casefold(), token.column)
    return Field("author", value.lstrip("@").casefold(), token.column)


def absence(node: Node) -> Not | None:
    """Return a NOT by which the tree can be true of a mention with nothing that was asked for; None if none can."""
    match node:
        case Not():
            return node
        case Any(parts):
            return next((found for part in parts if (found := absence(part))), None)
        case All(parts):
            lacking = [found for part in parts if (found := absence(part))]
            return lacking[0] if len(lacking) == len(parts) else None
        case _:
            return None
