"""A seeded world with known truth: what is said, edited, withdrawn, repeated and garbled, and what must come of it.

Owns the script of events (in order of arrival), its lines as a file source reads them, and the independent model of
what has to be stored, counted, dead-lettered and alerted. The model knows design.md and none of the product's code: one
pass over the events with three dictionaries. Does not own the sentences (`tests.world_texts`) nor the alert oracle
(`tests.oracle_alerts`).

What makes the truth independent of batches, pulses and processes: everything that a rule can see (brands `velmora` and
`tandrill`) arrives, is edited and is deleted within the engine's lateness; the long memory of edits, deletions and
withdrawn authors is tried on `oskora`, which no rule watches.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from alerts.rules import Rule
from app.configuration import parse_configuration
from streams.records import Action, AnyRecord, Author, Mention, Pulse, Score, ScoredMention, SourceStatus, encode
from tests.oracle_alerts import Transition, expected_alerts
from tests.world_texts import BRANDS, Sentence

SOURCE: Final = "world"
KIND: Final = "file"
LATENESS: Final = 5.0
CYCLE: Final = 240.0
BURST: Final = 60.0
BLANK: Final = "\u200f\u2066\u200f\u2069"
"""Bidi controls alone: a text that can be matched by its author, and that no model can read."""

CONFIGURATION: Final = """\
version: 1
sources:
{source}
queries:
{queries}
  - {{id: voiceless, name: Voiceless, match: "author:voiceless"}}
receivers:
  - {{id: console, kind: console, realms: [live, replay]}}
rules:
  - {{id: velmora-loud, name: Velmora is loud, query: velmora, measure: count, threshold: {loud}, window: 1m,
      every: 10s, resolve_below: {calm}, severity: 2, no_data: ignore, receivers: [console]}}
  - {{id: velmora-angry, name: "ולמורה: כועסים", query: velmora, measure: negative_share, threshold: 0.5,
      at_least: 10, window: 30s, every: 10s, for: 10s, resolve_below: 0.3, keep_firing: 20s, severity: 1,
      no_data: ignore, receivers: [console]}}
  - {{id: tandrill-urgent, name: "تندریل: فوری", query: tandrill, measure: urgency, level: high, threshold: {urgent},
      window: 1m, every: 10s, cooldown: 30s, no_data: ignore, receivers: [console]}}
  - {{id: by-language, name: By language, query: [velmora, tandrill], measure: count, threshold: {tongue}, window: 1m,
      every: 20s, group_by: [lang, query], severity: 3, no_data: ignore, receivers: [console]}}
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the world: a mention with the sentence it says, or garbage with the reason it must die of."""

    arrives: float
    mention: Mention | None = None
    sentence: Sentence | None = None
    queries: tuple[str, ...] = ()
    line: bytes = b""
    reason: str = ""

    def encoded(self) -> bytes:
        """Return the line without its end."""
        return self.line if self.mention is None else encode(self.mention)


@dataclass(frozen=True, slots=True)
class Row:
    """What must be stored of one identity: the text is None once it was withdrawn."""

    revision: int
    text: str | None
    minute: int
    queries: tuple[str, ...]
    score: Score

    @property
    def deleted(self) -> bool:
        """Whether nothing of it may be read."""
        return self.text is None


@dataclass
class Truth:
    """What must come of the world. Counters are those of the ledger of `SOURCE`."""

    rows: dict[str, Row] = field(default_factory=dict)
    received: int = 0
    matched: int = 0
    duplicated: int = 0
    scored: int = 0
    unscorable: int = 0
    dead: dict[int, str] = field(default_factory=dict)
    """Line -> words of the reason."""
    history: list[tuple[AnyRecord, int]] = field(default_factory=list)

    @property
    def minutes(self) -> Counter[int]:
        """Identities by minute of publication: heard is heard, a deletion changes nothing."""
        return Counter(row.minute for row in self.rows.values())

    @property
    def readable(self) -> dict[str, Row]:
        """What may be read."""
        return {name: row for name, row in self.rows.items() if not row.deleted}


@dataclass(frozen=True)
class Shape:
    """How large the world is and what happens in it. `early_deletions` come before what they delete was ever seen:
    such a deletion is remembered in memory alone, so worlds in which processes are killed do without."""

    seed: int
    mentions: int
    rate: float = 7.0
    early_deletions: bool = True
    garbage: bool = True
    longest_line: int = 16 * 2**20


class World:
    """The script, its truth and its configuration. `start` is the event time of the first mention."""

    def __init__(self, shape: Shape, start: datetime, sentences: Sequence[Sentence]) -> None:
        self.shape = shape
        self.start = start
        self.events = list(_Writer(shape, start, sentences).script())
        self.truth = truth_of(self.events)

    @property
    def ends(self) -> datetime:
        """Event time of the last arrival."""
        return self.start + timedelta(seconds=self.events[-1].arrives)

    def write(self, path: Path) -> Path:
        """Write the world as JSON Lines."""
        with path.open("wb") as file:
            for event in self.events:
                file.write(event.encoded() + b"\n")
        return path

    def configuration(self, source: str) -> str:
        """Return warroom.yaml with `source` (its lines, indented as a list) as the only one."""
        burst = self.shape.rate * 1.5
        queries = "\n".join(f"  - {{id: {brand}, name: {brand}, match: '{_spellings(brand)}'}}" for brand in BRANDS)
        return CONFIGURATION.format(
            source=source,
            queries=queries,
            loud=round(self.shape.rate * 60 * 0.75),
            calm=round(self.shape.rate * 60 * 0.5),
            urgent=max(3, round(burst * 60 * 0.1)),
            tongue=round(self.shape.rate * 60 * 0.25),
        )

    def file_source(self, path: Path, *, speed: float | None = None) -> str:
        """Return the source section that reads `path` into the live realm."""
        pace = "" if speed is None else f", speed: {speed}"
        return f"  - {{id: {SOURCE}, kind: file, path: {path}, realm: live{pace}}}"

    def rules(self) -> Sequence[Rule]:
        """Return the rules that the configuration holds."""
        return parse_configuration(self.configuration("")).rules

    def alerts(self, realm: str = "live", source: str = SOURCE) -> list[Transition]:
        """Return all transitions that must come of the mentions in file order and the end of the file."""
        found: list[tuple[AnyRecord, int]] = []
        for record, partition in self.truth.history:
            assert isinstance(record, ScoredMention)
            moved = record.mention.model_copy(update={"realm": realm, "source_id": source})
            found.append((record.model_copy(update={"mention": moved}), partition))
        end = Pulse(
            source_id=source,
            source_kind=KIND,
            realm=realm,
            at=self.ends,
            sent_at=self.ends + timedelta(hours=1),
            status=SourceStatus.FINISHED,
        )
        return expected_alerts([*found, (end, 0)], self.rules())


def _spellings(brand: str) -> str:
    return " OR ".join(f'"{name}"' for name in BRANDS[brand].values())


def truth_of(events: Sequence[Event]) -> Truth:
    """Return what must come of the events: the higher revision wins, what is withdrawn is gone, noise is not heard."""
    truth = Truth()
    known: dict[str, int] = {}
    authors: dict[str, set[str]] = {}
    early: dict[str, int] = {}
    withdrawn: dict[str, int] = {}
    for line, event in enumerate(events, 1):
        truth.received += 1
        mention = event.mention
        if mention is None:
            truth.dead[line] = event.reason
        elif mention.revision <= known.get(mention.native_id, -1):
            truth.duplicated += 1
        elif mention.action is Action.DELETE_AUTHOR:
            _withdraw(truth, mention, known, authors, withdrawn)
        elif mention.action is Action.DELETE and mention.native_id not in known:
            early[mention.native_id] = mention.revision
        elif mention.revision <= early.get(mention.native_id, -1):
            continue
        elif mention.action is Action.DELETE or event.queries or mention.native_id in known:
            _take(truth, event, mention, known, authors, withdrawn)
    return truth


def _withdraw(
    truth: Truth, mention: Mention, known: dict[str, int], authors: dict[str, set[str]], withdrawn: dict[str, int]
) -> None:
    if mention.native_id not in authors:
        return
    truth.matched += 1
    known[mention.native_id] = withdrawn[mention.native_id] = mention.revision
    truth.history.append((ScoredMention(mention=mention, score=None, scored_at=mention.received_at), 0))
    for name in authors[mention.native_id]:
        row = truth.rows.get(name)
        if row is not None and row.revision <= mention.revision:
            truth.rows[name] = Row(row.revision, None, row.minute, row.queries, row.score)


def _take(
    truth: Truth,
    event: Event,
    mention: Mention,
    known: dict[str, int],
    authors: dict[str, set[str]],
    withdrawn: dict[str, int],
) -> None:
    truth.matched += 1
    known[mention.native_id] = mention.revision
    score = None if event.sentence is None else event.sentence.score
    matched = mention.model_copy(update={"queries": event.queries})
    if mention.action is Action.DELETE:
        row = truth.rows.get(mention.native_id)
        if row is not None:
            truth.rows[mention.native_id] = Row(row.revision, None, row.minute, row.queries, row.score)
    else:
        assert mention.author is not None
        assert mention.published_at is not None
        authors.setdefault(mention.author.id, set()).add(mention.native_id)
        if score is None:
            truth.unscorable += 1
            return
        truth.scored += 1
        gone = withdrawn.get(mention.author.id, -1) >= mention.revision
        minute = int(mention.published_at.timestamp()) // 60
        text = None if gone else mention.text
        truth.rows[mention.native_id] = Row(mention.revision, text, minute, event.queries, score)
    truth.history.append((ScoredMention(mention=matched, score=score, scored_at=mention.received_at), 0))


class _Writer:
    """Writes the script: steady talk, bursts of anger and alarm, and all that may happen to a mention afterwards."""

    def __init__(self, shape: Shape, start: datetime, sentences: Sequence[Sentence]) -> None:
        self.shape, self.start, self.random = shape, start, Random(shape.seed)
        self.pools = {brand: _pools([one for one in sentences if one.brand == brand]) for brand in BRANDS}
        self.noise = [one for one in sentences if not one.brand]
        self.events: list[Event] = []

    def script(self) -> list[Event]:
        at = 0.0
        for number in range(self.shape.mentions):
            burst = at % CYCLE > CYCLE - BURST - 30 and at % CYCLE < CYCLE - 30
            at += self.random.expovariate(self.shape.rate * (2.5 if burst else 1.0))
            self._speak(number, round(at, 3), burst=burst)
        if self.shape.garbage:
            self.events += [Event(self.random.uniform(0, at), line=line, reason=why) for line, why in self._garbage()]
        return sorted(self.events, key=lambda event: event.arrives)

    def _speak(self, number: int, published: float, *, burst: bool) -> None:
        dice = self.random.random()
        name = f"m{number}"
        arrives = published + self.random.uniform(0, 3.0)
        if dice < 0.06:
            self._add(arrives, name, published, self.random.choice(self.noise))
            return
        brand = self._brand(burst=burst)
        sentence = self._sentence(brand, burst=burst)
        author = f"a{self.random.randrange(400)}" if brand != "oskora" else f"o{self.random.randrange(60)}"
        first = self._add(arrives, name, published, sentence, author=author)
        self._afterwards(first, published, sentence, author)

    def _brand(self, *, burst: bool) -> str:
        weights = (5, 4, 1) if burst else (2, 2, 2)
        return self.random.choices(list(BRANDS), weights)[0]

    def _sentence(self, brand: str, *, burst: bool) -> Sentence:
        calm, angry, urgent = self.pools[brand]
        if burst and brand != "oskora":
            return self.random.choice(angry if brand == "velmora" else urgent)
        return self.random.choice(calm if self.random.random() < 0.9 else angry)

    def _afterwards(self, first: Event, published: float, sentence: Sentence, author: str) -> None:
        """Edits, stale revisions, deletions, repeats: soon enough for the rules, late only where no rule looks."""
        assert first.mention is not None
        name, dice = first.mention.native_id, self.random.random()
        watched = sentence.brand != "oskora"
        latest = published + LATENESS - 1.0 if watched else first.arrives + 300.0
        after = self.random.uniform(first.arrives, latest)
        edited = self._sentence(sentence.brand, burst=not watched)
        if dice < 0.06:
            self._add(after, name, published, edited, author=author)
        elif dice < 0.09:
            self._add(after, name, published, edited, author=author)
            self.events.append(self._again(first, after + 20.0))
        elif dice < 0.13:
            self._delete(after, name)
            self.events.append(self._again(first, after + 1.0))
        elif dice < 0.17:
            self.events.append(self._again(first, self.random.uniform(first.arrives, first.arrives + 120.0)))
        elif dice < 0.19 and not watched:
            self._late_fates(name, published, after, author)
        elif dice < 0.20 and self.shape.early_deletions:
            self._early(f"early-{name}", published, edited)
        elif 0.2 <= dice < 0.203:
            self._add(first.arrives, f"blank-{name}", published, None, BLANK, author="voiceless")

    def _again(self, event: Event, arrives: float) -> Event:
        return Event(arrives, event.mention, event.sentence, event.queries)

    def _late_fates(self, name: str, published: float, after: float, author: str) -> None:
        """An edit into noise, an author who leaves, one who comes back, and a deletion that an edit takes back."""
        fate = self.random.randrange(4)
        if fate == 3:
            self._delete(after, name)
            self._add(after + 10.0, name, published, self._sentence("oskora", burst=False), author=author)
        elif fate == 0:
            self._add(after, name, published, self.random.choice(self.noise), author=author)
        else:
            self._delete(after, author, whole_author=True)
            if fate == 2:
                back = self._sentence("oskora", burst=False)
                self._add(after + 5.0, f"back-{name}", after + 4.0, back, author=author)

    def _early(self, name: str, published: float, sentence: Sentence) -> None:
        self._delete(published, name, revision=round(published * 1000) + 10_000)
        self._add(published + 1.0, name, published, sentence)

    def _add(
        self,
        arrives: float,
        name: str,
        published: float,
        sentence: Sentence | None,
        text: str = "",
        author: str = "someone",
    ) -> Event:
        mention = Mention(
            source_kind=KIND,
            native_id=name,
            source_id=SOURCE,
            revision=round(arrives * 1000),
            received_at=self._moment(arrives),
            published_at=self._moment(published),
            author=Author(id=author, name=author.upper()),
            text=sentence.text if sentence else text,
            lang=sentence.lang if sentence else None,
        )
        queries = (sentence.brand,) if sentence and sentence.brand else ("voiceless",) if author == "voiceless" else ()
        event = Event(arrives, mention, sentence, queries)
        self.events.append(event)
        return event

    def _delete(self, arrives: float, name: str, *, revision: int | None = None, whole_author: bool = False) -> None:
        mention = Mention(
            source_kind=KIND,
            native_id=name,
            source_id=SOURCE,
            revision=round(arrives * 1000) if revision is None else revision,
            action=Action.DELETE_AUTHOR if whole_author else Action.DELETE,
            received_at=self._moment(arrives),
        )
        self.events.append(Event(arrives, mention))

    def _moment(self, seconds: float) -> datetime:
        return self.start + timedelta(milliseconds=round(seconds * 1000))

    def _garbage(self) -> Iterator[tuple[bytes, str]]:
        """Yield lines that must die, each with words of its dead letter's reason."""
        sound = next(event.mention for event in self.events if event.mention is not None and event.queries)
        row = json.loads(encode(sound.model_copy(update={"native_id": "garbled"})))

        def spoilt(**changes: object) -> bytes:
            return json.dumps({name: value for name, value in {**row, **changes}.items() if value != "-"}).encode()

        for _ in range(5):
            yield b'{"type": "mention", "v": 1, "native_id": ', "bad JSON"
            yield encode(sound).replace(b'"lang"', b'"l\xff\xfeng"'), "invalid UTF-8"
            yield encode(sound).replace(b'"live"', b'"li\x00ve"'), "bad JSON"
            yield spoilt(native_id="-"), "native_id"
            yield spoilt(native_id=""), "native_id"
            yield spoilt(v=2), "not a record of this version"
            yield spoilt(type="alert"), "not a record of this version"
            yield spoilt(text="half a pair \ud83d"), "not a record of this version"
            yield spoilt(published_at=None), "published_at"
            yield spoilt(published_at="1970-01-01T00:00:00Z"), "is before 2000-01-01"
            yield spoilt(published_at="2099-12-31T23:59:59Z"), "more than 5 minutes after receipt"
            yield spoilt(published_at="9999-12-31T23:59:59Z"), "published_at"
            yield spoilt(published_at="yesterday"), "published_at"
            yield spoilt(text="x" * 100_001), "text"
            yield b"[" * 100_000, "bad JSON"
            yield b'["a list"]', "an object is expected"
        yield b'{"text": "' + b"y" * self.shape.longest_line + b'"}', "the limit is"


def _pools(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    """Return calm, angry and urgent ones. To some models all that is angry is urgent, too."""
    calm, angry, urgent = ([one for one in sentences if one.sort == sort] for sort in ("calm", "angry", "urgent"))
    angry = angry or [one for one in urgent if one.score.sentiment.label == "negative"]
    assert calm, "the scorer calls no sentence calm"
    assert angry, "the scorer calls no sentence negative"
    assert urgent, "the scorer calls no sentence urgent"
    return calm, angry, urgent
