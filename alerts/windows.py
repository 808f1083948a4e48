"""Window: the sums of one rule in one realm over (t - window, t], for each group, moved along the rule's grid.

Owns buckets of one grid step, running sums, and the mentions that would be an alert's evidence. Does not own
identities (`alerts.contributions`) nor verdicts (`alerts.machine`). A step costs what enters and leaves, not what
stays.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from alerts.contributions import Entry, Facet
from alerts.moments import grid_from, span
from alerts.rules import Measure, Rule
from streams.records import Evidence, ScoredMention

Group = tuple[str, ...]
"""The values of `rule.group_by`, in its order; () where the rule has no groups."""

FIRST: Final = 5
"""Exhibits shown of the earliest mentions, and as many again of the most urgent."""
EXCERPT: Final = 280
_LENGTHS: Final = 4


class Exhibit(NamedTuple):
    """A mention that may become evidence."""

    key: int
    at: int
    level: int
    source_kind: str
    native_id: str
    excerpt: str
    lang: str | None
    url: str | None
    author: str
    published_at: str

    def evidence(self) -> Evidence:
        """Return it as an alert carries it."""
        return Evidence(
            source_kind=self.source_kind,
            native_id=self.native_id,
            excerpt=self.excerpt,
            lang=self.lang,
            url=self.url,
            author=self.author,
            published_at=datetime.fromisoformat(self.published_at),
        )


def excerpt(text: str) -> str:
    """Return at most 280 characters, cut between words where there is a space not too far back."""
    if len(text) <= EXCERPT:
        return text
    head = text[: EXCERPT - 1]
    cut = head.rfind(" ", EXCERPT - 60)
    return (head[:cut] if cut > 0 else head).rstrip() + "…"


def exhibit(key: int, entry: Entry, scored: ScoredMention) -> Exhibit:
    """Return the mention in the form that is kept."""
    mention = scored.mention
    published = mention.published_at or mention.received_at
    author = mention.author.handle or mention.author.name or mention.author.id if mention.author else ""
    return Exhibit(
        key,
        entry.at,
        entry.level,
        mention.source_kind,
        mention.native_id,
        excerpt(mention.text),
        mention.lang,
        mention.url,
        author,
        published.isoformat(),
    )


class Reading(NamedTuple):
    """What a rule sees of one group at one moment: the measured value and the mentions in the window."""

    value: float
    mentions: int
    enough: bool


@dataclass(slots=True)
class Window:
    """One rule's sums in one realm. `at` is the grid step that the sums are for; None before the first."""

    rule: Rule
    at: int | None = None
    step: int = field(init=False)
    length: int = field(init=False)
    sums: dict[Group, list[int]] = field(default_factory=dict)
    exhibits: dict[Group, list[Exhibit]] = field(default_factory=dict)
    _buckets: dict[int, dict[Group, list[int]]] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)
    _groups: dict[int, tuple[Group, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.step, self.length = span(self.rule.every), span(self.rule.window)

    def groups_of(self, index: int, facet: Facet) -> tuple[Group, ...]:
        """Return the groups that a mention with this facet belongs to; none where the rule does not want it."""
        groups = self._groups.get(index)
        if groups is None:
            groups = self._groups[index] = _groups(self.rule, facet)
        return groups

    def forget_facets(self, indices: Iterable[int]) -> None:
        """Forget the groups of facets whose places will be used for others."""
        for index in indices:
            self._groups.pop(index, None)

    def add(self, entry: Entry, groups: tuple[Group, ...], sign: int) -> None:
        """Put a contribution in (`sign` 1) or take it out (-1); one that left the window already changes nothing."""
        bucket = grid_from(entry.at, self.step)
        if self.at is not None and bucket <= self.at - self.length:
            return
        hit = sign if self.is_hit(entry) else 0
        if bucket not in self._buckets:
            self._buckets[bucket] = {}
            insort(self._order, bucket)
        for group in groups:
            _shift(self._buckets[bucket], group, sign, hit)
            if self.at is not None and bucket <= self.at:
                _shift(self.sums, group, sign, hit)

    def is_hit(self, entry: Entry) -> bool:
        """Whether the contribution is of the kind that the rule looks for."""
        if self.rule.measure is Measure.URGENCY:
            return entry.level >= self.rule.lowest_level
        return entry.negative if self.rule.measure is Measure.NEGATIVE_SHARE else True

    def show(self, shown: Exhibit, groups: tuple[Group, ...]) -> None:
        """Keep a hit as possible evidence: the earliest, the most urgent, and the first and last of each window length.

        So a window with hits has one that is kept, as it lies over the end of one length and the start of the next.
        Of lengths that wait to be evaluated the outer ones count: a bounded number.
        """
        for group in groups:
            kept = [one for one in self.exhibits.get(group, ()) if one.key != shown.key and not self.has_left(one)]
            insort(kept, shown, key=lambda one: (one.at, one.key))
            if len(kept) > 2 * FIRST:
                chosen = {one.key for one in (*_best(kept), *self._ends(kept))}
                kept = [one for one in kept if one.key in chosen]
            self.exhibits[group] = kept

    def has_left(self, one: Exhibit) -> bool:
        """Whether the mention is too old for the window."""
        return self.at is not None and one.at <= self.at - self.length

    def _ends(self, kept: Sequence[Exhibit]) -> list[Exhibit]:
        ends: dict[int, tuple[Exhibit, Exhibit]] = {}
        for one in kept:
            length = grid_from(one.at, self.length)
            ends[length] = (ends.get(length, (one,))[0], one)
        pairs = list(ends.values())
        return [one for pair in pairs[:_LENGTHS] + pairs[-_LENGTHS:] for one in pair]

    def hide(self, key: int, groups: tuple[Group, ...]) -> None:
        """Forget the text of a mention that was edited or deleted."""
        for group in groups:
            if group in self.exhibits:
                self.exhibits[group] = [old for old in self.exhibits[group] if old.key != key]

    def clear(self) -> None:
        """Forget all but the rule; whoever clears it adds the contributions again, and shows what may be evidence."""
        self.at = None
        self.sums, self.exhibits, self._buckets, self._order = {}, {}, {}, []

    def next_step(self) -> int | None:
        """Return the next grid step at which a sum can change; None where nothing is in sight."""
        if self.at is not None and self.sums:
            return self.at + self.step
        place = 0 if self.at is None else bisect_right(self._order, self.at)
        return self._order[place] if place < len(self._order) else None

    def move(self, at: int) -> None:
        """Move the window's end to the grid step `at`."""
        start = self.at
        if start is not None and at <= start:
            return
        self.at = at
        for bucket in self._order[0 if start is None else bisect_right(self._order, start) :]:
            if bucket > at:
                break
            for group, (mentions, hits) in self._buckets[bucket].items():
                _shift(self.sums, group, mentions, hits)
        gone = bisect_right(self._order, at - self.length)
        for bucket in self._order[:gone]:
            for group, (mentions, hits) in self._buckets.pop(bucket).items():
                _shift(self.sums, group, -mentions, -hits)
        del self._order[:gone]
        for group in [group for group in self.exhibits if group not in self.sums and not self._ahead(group)]:
            del self.exhibits[group]
        self._hide_before(at - self.length)

    def _hide_before(self, end: int) -> None:
        """Forget texts that left the window: once their mention is forgotten too, no deletion would find them."""
        for group, kept in self.exhibits.items():
            if kept and kept[0].at <= end:
                self.exhibits[group] = [one for one in kept if one.at > end]

    def _ahead(self, group: Group) -> bool:
        return any(group in self._buckets[bucket] for bucket in self._order)

    def read(self, group: Group) -> Reading:
        """Return what the rule sees of `group` now."""
        mentions, hits = self.sums.get(group, (0, 0))
        if self.rule.measure is Measure.NEGATIVE_SHARE:
            return Reading(hits / mentions if mentions else 0.0, mentions, mentions >= self.rule.least)
        return Reading(float(hits), mentions, enough=True)

    def evidence(self, group: Group) -> tuple[Evidence, ...]:
        """Return the exhibits that lie in the window, most urgent first."""
        if self.at is None:
            return ()
        inside = [one for one in self.exhibits.get(group, ()) if self.at - self.length < one.at <= self.at]
        return tuple(one.evidence() for one in sorted(_best(inside), key=_urgency))

    def dump(self) -> list[Any]:
        """Return the groups with their exhibits' keys; the sums are built again from the contributions."""
        return [[list(group), [one.key for one in kept]] for group, kept in self.exhibits.items() if kept]


def _urgency(one: Exhibit) -> tuple[int, int, int]:
    return -one.level, one.at, one.key


def _best(kept: Sequence[Exhibit]) -> list[Exhibit]:
    """Return the earliest of what is kept in order of time, and the most urgent of the rest."""
    return [*kept[:FIRST], *sorted(kept[FIRST:], key=_urgency)[:FIRST]]


def _groups(rule: Rule, facet: Facet) -> tuple[Group, ...]:
    if rule.query and not set(rule.query) & set(facet.queries):
        return ()
    if rule.sources and facet.source not in rule.sources:
        return ()
    groups: list[Group] = [()]
    for part in rule.group_by:
        wanted = [query for query in facet.queries if not rule.query or query in rule.query]
        values = {"query": wanted, "source": [facet.source], "lang": [facet.lang]}[part]
        groups = [(*group, value) for group in groups for value in values]
    return tuple(groups)


def _shift(sums: dict[Group, list[int]], group: Group, mentions: int, hits: int) -> None:
    pair = sums.get(group)
    if pair is None:
        sums[group] = [mentions, hits]
        return
    pair[0] += mentions
    pair[1] += hits
    if pair == [0, 0]:
        del sums[group]
