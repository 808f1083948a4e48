"""Contributions: what each mention of one realm adds to the windows, by identity, as compact tuples.

Owns repeats (same identity, revision not higher: counted once), edits (a higher revision replaces), deletions (they
remove, and leave a tombstone that a replayed create can't pass) and an author's withdrawal. Does not own windows: each
change comes back as what to take out and what to put in. Memory is bounded by the horizon: what is older is forgotten,
and so are facets that nothing counted has any more (a language is a stranger's word); their places are used again.
"""

from __future__ import annotations

import base64
import heapq
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from alerts.moments import AHEAD, moment
from alerts.rules import LEVELS
from streams.normal import language
from streams.records import Action, Mention, ScoredMention

_MINUTE: Final = 60_000_000
_PACKED: Final = struct.Struct("<QIIBqQ")
_COUNTED, _NEGATIVE, _LEVEL_SHIFT = 1, 2, 2


class Facet(NamedTuple):
    """What a rule filters and groups by. `lang` is the primary subtag, "und" where unknown."""

    source: str
    lang: str
    queries: tuple[str, ...]


class Entry(NamedTuple):
    """One identity: event time in microseconds, index of its facet, flags, revision, hash of the author (0: none)."""

    at: int
    facet: int
    flags: int
    revision: int
    author: int

    @property
    def counted(self) -> bool:
        """False for a tombstone."""
        return bool(self.flags & _COUNTED)

    @property
    def negative(self) -> bool:
        """Whether the winning sentiment is negative."""
        return bool(self.flags & _NEGATIVE)

    @property
    def level(self) -> int:
        """Index of the winning urgency in LEVELS."""
        return self.flags >> _LEVEL_SHIFT


class Change(NamedTuple):
    """What one record did: the contribution to take out, the one to put in, and whether the identity was unknown."""

    key: int
    gone: Entry | None
    new: Entry | None
    fresh: bool


def hashed(text: str) -> int:
    """Return 64 bits of BLAKE2b: a name for an identity that is short enough to keep by the hundred thousand."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _author(mention: Mention, author_id: str) -> int:
    return hashed(f"{mention.source_kind}\x1f{author_id}")


def event_time(mention: Mention) -> int:
    """Return `published_at`, or `received_at` where the upstream's clock is ahead of ours."""
    at = mention.received_at if mention.published_at is None else min(mention.published_at, mention.received_at)
    return moment(at)


def _gone_at(mention: Mention, now: int | None) -> int:
    """Return the date of a tombstone: not before what was deleted, which may be in the backlog still."""
    at = moment(mention.received_at)
    return at if now is None else max(at, now)


def facet_of(mention: Mention) -> Facet:
    """Return what rules filter and group by."""
    primary = language(mention.lang or "").partition("-")[0]
    lang = primary if primary.isascii() and primary.isalpha() and len(primary) in (2, 3) else "und"
    return Facet(mention.source_id, lang, tuple(sorted(set(mention.queries))))


def _flags(scored: ScoredMention) -> int:
    score = scored.score
    if score is None:
        return _COUNTED
    level = LEVELS.index(score.urgency.label) if score.urgency.label in LEVELS else 0
    return _COUNTED | (_NEGATIVE if score.sentiment.label == "negative" else 0) | level << _LEVEL_SHIFT


_FREE: Final = Facet("", "", ())
"""Stands in `facets` where a facet was forgotten; no source has an empty id."""


@dataclass(slots=True)
class Contributions:
    """All that is known of one realm's identities within the horizon. `facets` is what `Entry.facet` points into."""

    entries: dict[int, Entry] = field(default_factory=dict)
    facets: list[Facet] = field(default_factory=list)
    _uses: list[int] = field(default_factory=list)
    _idle: set[int] = field(default_factory=set)
    _free: list[int] = field(default_factory=list)
    _facet_index: dict[Facet, int] = field(default_factory=dict)
    _segments: dict[int, set[int]] = field(default_factory=dict)
    _packed: dict[int, str] = field(default_factory=dict)
    _withdrawn: dict[int, tuple[int, int]] = field(default_factory=dict)

    def take(
        self, scored: ScoredMention, now: int | None, cutoff: int | None, present: int | None = None
    ) -> list[Change]:
        """Apply one record and return the changes. `now` is the watermark, `cutoff` the end of what is forgotten.

        `present`, where given, takes the place of an event time that is far ahead of it: a clock was wrong.
        """
        mention = scored.mention
        if mention.action is Action.DELETE_AUTHOR:
            return self._withdraw(mention, _gone_at(mention, now))
        key, old = hashed(mention.key), self.entries.get(hashed(mention.key))
        if old is not None and mention.revision <= old.revision:
            return []
        entry = self._entry(scored, old, now)
        if present is not None and entry.at > present + AHEAD:
            entry = entry._replace(at=present)
        if cutoff is not None and entry.at <= cutoff:
            return [Change(key, None, None, old is None)] if old is None else [self._drop(key, old, mention.revision)]
        self._put(key, entry, old)
        gone = old if old is not None and old.counted else None
        return [Change(key, gone, entry if entry.counted else None, old is None)]

    def _entry(self, scored: ScoredMention, old: Entry | None, now: int | None) -> Entry:
        mention = scored.mention
        if mention.action is Action.DELETE:
            at = old.at if old is not None else _gone_at(mention, now)
            return Entry(at, 0, 0, mention.revision, old.author if old is not None else 0)
        author = _author(mention, mention.author.id) if mention.author is not None else 0
        flags = 0 if self._withdrawn.get(author, (-1, 0))[0] >= mention.revision else _flags(scored)
        return Entry(event_time(mention), self._facet(facet_of(mention)), flags, mention.revision, author)

    def _withdraw(self, mention: Mention, now: int) -> list[Change]:
        author = _author(mention, mention.native_id)
        revision = max(mention.revision, self._withdrawn.get(author, (-1, 0))[0])
        self._withdrawn[author] = (revision, now)
        hit = [
            (key, entry)
            for key, entry in self.entries.items()
            if entry.author == author and entry.counted and entry.revision <= mention.revision
        ]
        for key, entry in hit:
            self._put(key, entry._replace(flags=0), entry)
        return [Change(key, entry, None, fresh=False) for key, entry in hit]

    def _drop(self, key: int, old: Entry, revision: int) -> Change:
        """Take out a mention that an edit moved past the horizon; its tombstone stays."""
        self._put(key, old._replace(flags=0, revision=revision), old)
        return Change(key, old if old.counted else None, None, fresh=False)

    def knows(self, mention: Mention) -> bool:
        """Whether the mention, or for a withdrawal anything of its author, is here."""
        if mention.action is not Action.DELETE_AUTHOR:
            return hashed(mention.key) in self.entries
        author = _author(mention, mention.native_id)
        return any(entry.author == author for entry in self.entries.values())

    def _put(self, key: int, entry: Entry, old: Entry | None) -> None:
        if old is not None:
            self._segments[old.at // _MINUTE].discard(key)
            self._packed.pop(old.at // _MINUTE, None)
            self._use(old, -1)
        self.entries[key] = entry
        self._use(entry, 1)
        self._segments.setdefault(entry.at // _MINUTE, set()).add(key)
        self._packed.pop(entry.at // _MINUTE, None)

    def set_back(self, present: int) -> None:
        """Date what lies beyond the present at the present."""
        for key, entry in [(key, entry) for key, entry in self.entries.items() if entry.at > present + AHEAD]:
            self._put(key, entry._replace(at=present), entry)

    def _facet(self, facet: Facet) -> int:
        index = self._facet_index.get(facet)
        if index is None:
            index = heapq.heappop(self._free) if self._free else self._place()
            self.facets[index] = facet
            self._facet_index[facet] = index
            self._idle.add(index)
        return index

    def _place(self) -> int:
        self.facets.append(_FREE)
        self._uses.append(0)
        return len(self.facets) - 1

    def _use(self, entry: Entry, count: int) -> None:
        """Note that a contribution points to its facet, or does so no more. Tombstones need none."""
        if entry.counted:
            self._uses[entry.facet] += count
            (self._idle.discard if self._uses[entry.facet] else self._idle.add)(entry.facet)

    def _forget_facets(self) -> frozenset[int]:
        gone = frozenset(self._idle)
        for index in gone:
            del self._facet_index[self.facets[index]]
            self.facets[index] = _FREE
            heapq.heappush(self._free, index)
        self._idle.clear()
        return gone

    def newest(self) -> int | None:
        """Return the event time of the last counted mention."""
        for minute in sorted(self._segments, reverse=True):
            times = [self.entries[key].at for key in self._segments[minute] if self.entries[key].counted]
            if times:
                return max(times)
        return None

    def counted(self) -> Iterator[tuple[int, Entry]]:
        """Yield every contribution that counts."""
        return ((key, entry) for key, entry in self.entries.items() if entry.counted)

    def forget(self, cutoff: int) -> frozenset[int]:
        """Drop whole minutes that ended before `cutoff`; return the indices of facets that were dropped with them."""
        for minute in [minute for minute in self._segments if (minute + 1) * _MINUTE <= cutoff]:
            for key in self._segments.pop(minute):
                self._use(self.entries.pop(key), -1)
            self._packed.pop(minute, None)
        for author in [author for author, (_, at) in self._withdrawn.items() if at <= cutoff]:
            del self._withdrawn[author]
        return self._forget_facets()

    def dump(self) -> dict[str, Any]:
        """Return plain data for JSON; minutes that did not change since the last call cost nothing."""
        for minute in self._segments.keys() - self._packed.keys():
            self._packed[minute] = self._pack(minute)
        return {
            "facets": self.facets,
            "minutes": {str(minute): self._packed[minute] for minute in sorted(self._segments)},
            "withdrawn": [[author, revision, at] for author, (revision, at) in self._withdrawn.items()],
        }

    def _pack(self, minute: int) -> str:
        start, pack, entries = minute * _MINUTE, _PACKED.pack, self.entries
        rows = (
            pack(key, entry.at - start, entry.facet, entry.flags, entry.revision, entry.author)
            for key, entry in ((key, entries[key]) for key in sorted(self._segments[minute]))
        )
        return base64.b64encode(b"".join(rows)).decode()

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Contributions:
        """Return what `dump` gave."""
        loaded = cls(_withdrawn={author: (revision, at) for author, revision, at in data["withdrawn"]})
        for index, (source, lang, queries) in enumerate(data["facets"]):
            loaded._place()
            if source:
                loaded.facets[index] = facet = Facet(source, lang, tuple(queries))
                loaded._facet_index[facet] = index
                loaded._idle.add(index)
            else:
                loaded._free.append(index)
        for name, text in data["minutes"].items():
            keys = loaded._segments[int(name)] = set()
            for key, offset, *rest in _PACKED.iter_unpack(base64.b64decode(text, validate=True)):
                loaded.entries[key] = entry = Entry(int(name) * _MINUTE + offset, *rest)
                loaded._use(entry, 1)
                keys.add(key)
            loaded._packed[int(name)] = text
        return loaded
