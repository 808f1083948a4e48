"""Which queries a mention matches, and where: compiled once, asked for every mention of every source.

Owns the `queries` section of warroom.yaml, the index over all queries and the evaluation. Does not own the grammar
(`streams.queries_syntax`), nor what counts as a word (`streams.queries_terms`).

Matching is by term: every word, phrase and field of all queries becomes an *atom*, shared by the queries that hold it.
A mention's terms are looked up in one dictionary; only queries of which a needed atom is present are evaluated, so the
cost grows with the mention, hardly with the number of queries (benchmarks/bench_matching.py).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from streams import queries_syntax as syntax
from streams.normal import ZWNJ, arabic_script, guess_lang, language, normalise, normalise_offsets
from streams.normal_words import Lattice, lattice, terms
from streams.queries_terms import Sequence as Row
from streams.queries_terms import sequence
from streams.records import Mention

MAX_SPANS: Final = 20
_OTHER_ARABIC_SCRIPT: Final = frozenset({"fa", "ur", "ku", "ckb", "ps", "sd", "ug", "prs", "az"})
_COST: Final = {"lang": 1000.0, "source": 300.0, "author": 1.0}

Truth = set[int]
Test = Callable[[Truth], bool]


class Query(BaseModel):
    """A team's saved listening query, as in warroom.yaml. `match` is in the language of `streams.queries_syntax`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    name: str = Field(min_length=1, max_length=200)
    team: str = "main"
    match: str

    @field_validator("match")
    @classmethod
    def _readable(cls, match: str) -> str:
        for leaf in _leaves(syntax.parse_query(match)):
            if isinstance(leaf, syntax.Words):
                sequence(leaf)
        return match


def compile_queries(queries: Iterable[Query]) -> Matcher:
    """Return the matcher of all `queries`; ValueError if an id comes twice, QuerySyntaxError for a wrong `match`."""
    return Matcher(queries)


def _leaves(node: syntax.Node) -> Iterator[syntax.Words | syntax.Field]:
    match node:
        case syntax.All(parts) | syntax.Any(parts):
            for part in parts:
                yield from _leaves(part)
        case syntax.Not(part):
            yield from _leaves(part)
        case _:
            yield node


class Matcher:
    """All queries, compiled. Answers depend on the mention alone; safe to share between tasks."""

    def __init__(self, queries: Iterable[Query]) -> None:
        self._tests: dict[str, Test] = {}
        self._wanted: dict[str, list[Row]] = {}
        self._atoms: dict[tuple[str, str], int] = {}
        self._places: dict[int, Row] = {}
        self._needing: dict[int, list[str]] = {}
        self._exact: dict[str, list[int]] = {}
        self._arabic: dict[str, list[int]] = {}
        self._starts: dict[str, list[int]] = {}
        self._arabic_starts: dict[str, list[int]] = {}
        self._names = False
        for query in queries:
            self._add(query)
        starts = self._starts.keys() | self._arabic_starts.keys()
        self._lengths = sorted({len(start) for start in starts})
        self._heads = {start[: self._lengths[0]] for start in starts}

    def _add(self, query: Query) -> None:
        if query.id in self._tests:
            raise ValueError(f"queries: the id {query.id!r} is there twice; give each query its own")
        tree = syntax.parse_query(query.match)
        self._wanted[query.id] = []
        self._tests[query.id] = self._test(tree, query.id, positive=True)
        for atom in self._needed(tree)[1]:
            self._needing.setdefault(atom, []).append(query.id)

    def match(self, mention: Mention) -> tuple[str, ...]:
        """Return the ids of the queries that match, sorted."""
        normal = normalise(mention.text)
        lang = language(mention.lang or "") or guess_lang(mention.text) or ""
        arabic = _is_arabic(lang, mention.text)
        found = terms(normal)
        found.update(_keys(mention, lang))
        if self._names and mention.author:  # a name takes longer to fold than all other fields together
            found.add(f"\x1fname:{_name(mention.author.name)}")
        truth = self._present(found, arabic=arabic)
        unsure = truth & self._places.keys()
        truth -= unsure
        if unsure := {atom for atom in unsure if self._places[atom].possible(found)}:
            words = lattice(normal)
            truth |= {atom for atom in unsure if self._places[atom].edges(words, arabic=arabic)}
        needing = {query for atom in truth for query in self._needing.get(atom, ())}
        return tuple(sorted(query for query in needing if self._tests[query](truth)))

    def spans(self, text: str, query_ids: Sequence[str]) -> list[tuple[int, int]]:
        """Return where the words that these queries ask for are: [start, end) in UTF-16 code units of `text`.

        Sorted, merged where they touch or overlap, at most 20. Unknown ids and words under NOT have no span.
        """
        normal, origins = normalise_offsets(text)
        words = lattice(normal)
        arabic = arabic_script(text) == "ar"
        rows = {row for query in query_ids for row in self._wanted.get(query, ())}
        edges = {edge for row in rows for edge in row.edges(words, arabic=arabic)}
        places = (_place(words, edge, origins, text) for edge in edges)
        return _utf16(text, _merged(sorted(places))[:MAX_SPANS])

    def _present(self, found: set[str], *, arabic: bool) -> Truth:
        truth: Truth = set()
        tables = [(self._exact, self._starts)]
        if arabic:
            tables.append((self._arabic, self._arabic_starts))
        for exact, starts in tables:
            for term in found:
                if atoms := exact.get(term):
                    truth.update(atoms)
                if starts and term[: self._lengths[0]] in self._heads:
                    self._begin(term, starts, truth)
        return truth

    def _begin(self, term: str, starts: Mapping[str, list[int]], truth: Truth) -> None:
        size = len(term)
        for length in self._lengths:
            if length > size:
                break
            if atoms := starts.get(term[:length]):
                truth.update(atoms)

    def _test(self, node: syntax.Node, query: str, *, positive: bool) -> Test:
        match node:
            case syntax.All(parts):
                tests = [self._test(part, query, positive=positive) for part in parts]
                return lambda truth: all(test(truth) for test in tests)
            case syntax.Any(parts):
                tests = [self._test(part, query, positive=positive) for part in parts]
                return lambda truth: any(test(truth) for test in tests)
            case syntax.Not(part):
                inner = self._test(part, query, positive=not positive)
                return lambda truth: not inner(truth)
            case syntax.Field():
                atom = self._field(node)
            case syntax.Words():
                row = sequence(node)
                atom = self._words(row)
                if positive:
                    self._wanted[query].append(row)
        return lambda truth: atom in truth

    def _atom(self, kind: str, name: str) -> int:
        return self._atoms.setdefault((kind, name), len(self._atoms))

    def _field(self, field: syntax.Field) -> int:
        atom = self._atom(field.name, field.value)
        _watch(self._exact, [f"\x1f{field.name}:{field.value}"], atom)
        if field.name == "author" and (name := _name(field.value)):
            _watch(self._exact, [f"\x1fname:{name}"], atom)
            self._names = True
        return atom

    def _words(self, row: Row) -> int:
        atom = self._atom(
            "words", repr([(sorted(e.joined), sorted(e.arabic), e.path, e.wildcard) for e in row.elements])
        )
        rarest = row.rarest()
        exact, arabic = (self._starts, self._arabic_starts) if rarest.wildcard else (self._exact, self._arabic)
        _watch(exact, rarest.joined | rarest.first, atom)
        _watch(arabic, rarest.arabic, atom)
        if not row.simple:
            self._places[atom] = row
        return atom

    def _needed(self, node: syntax.Node) -> tuple[float, list[int]]:
        """Return atoms of which one must be present for the tree to be true, and how common they are guessed to be."""
        match node:
            case syntax.All(parts):
                return min(self._needed(part) for part in parts if syntax.absence(part) is None)
            case syntax.Any(parts):
                sides = [self._needed(part) for part in parts]
                return sum(cost for cost, _ in sides), [atom for _, atoms in sides for atom in atoms]
            case syntax.Field(name, value):
                return _COST[name], [self._atom(name, value)]
            case syntax.Words():
                row = sequence(node)
                rarest = row.rarest()
                return (100.0 if rarest.wildcard else 50.0) / len(min(rarest.joined, key=len)), [self._words(row)]
        raise AssertionError("a NOT is never needed; parse_query refuses what rests on one")


def _watch(table: dict[str, list[int]], keys: Iterable[str], atom: int) -> None:
    for key in keys:
        atoms = table.setdefault(key, [])
        if atom not in atoms:
            atoms.append(atom)


def _keys(mention: Mention, lang: str) -> Iterator[str]:
    """Yield the look-up keys of a mention's fields; no text has a term with their first character."""
    yield f"\x1fsource:{mention.source_id.casefold()}"
    yield f"\x1fsource:{mention.source_kind.casefold()}"
    if author := mention.author:
        yield f"\x1fauthor:{author.id.casefold()}"
        yield f"\x1fauthor:{author.id.removeprefix(f'{mention.source_id}/').casefold()}"
        yield f"\x1fauthor:{author.handle.lstrip('@').casefold()}"
    subtags = lang.split("-")
    for end in range(1, len(subtags) + 1):
        yield "\x1flang:" + "-".join(subtags[:end])


def _name(text: str) -> str:
    """Return an author's name in the form that is compared."""
    return " ".join(normalise(text).replace(ZWNJ, "").lstrip("@").split())


def _is_arabic(lang: str, text: str) -> bool:
    """Return whether clitics count: an Arabic word in a Hebrew or English post has them, a Persian one has not."""
    primary = lang.partition("-")[0]
    return primary == "ar" or (primary not in _OTHER_ARABIC_SCRIPT and arabic_script(text) == "ar")


def _place(words: Lattice, edge: tuple[int, int], origins: list[int], text: str) -> tuple[int, int]:
    """Return where an edge lies in the original text, with the sign of a hashtag left out and trailing marks in."""
    start, end = words.parts[edge[0]][0], words.parts[edge[1] - 1][1]
    last = origins[end - 1] + 1
    while last < len(text) and unicodedata.category(text[last]) == "Mn":
        last += 1
    return origins[start], last


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in places:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _utf16(text: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    astral = [index for index, char in enumerate(text) if char > "\uffff"]
    if not astral:
        return places
    return [(start + bisect_left(astral, start), end + bisect_left(astral, end)) for start, end in places]
