"""Random worlds for the engine: mentions, edits, deletions, repeats and pulses of several sources and partitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

from alerts.rules import Rule
from streams.records import Action, AnyRecord, Author, Mention, Opinion, Pulse, Score, ScoredMention, SourceStatus

START = datetime(2026, 3, 1, 12, 0, 1, 500_000, tzinfo=UTC)
REVISION = "1"
History = list[tuple[AnyRecord, int]]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def opinion(label: str) -> Opinion:
    return Opinion(label=label, probabilities={label: 1.0})


def score(sentiment: str = "negative", urgency: str = "normal") -> Score:
    return Score(
        sentiment=opinion(sentiment),
        urgency=opinion(urgency),
        intent=opinion("other"),
        model_id="m",
        model_revision=REVISION,
    )


def mention(
    native_id: str,
    published: float,
    *,
    received: float | None = None,
    source: str = "a",
    revision: int = 1,
    sentiment: str = "negative",
    urgency: str = "normal",
    author: str = "someone",
    lang: str | None = "en",
    queries: tuple[str, ...] = ("q",),
    realm: str = "live",
    text: str = "the bridge is closed",
) -> ScoredMention:
    came = published if received is None else received
    return ScoredMention(
        mention=Mention(
            source_kind="test",
            native_id=native_id,
            source_id=source,
            revision=revision,
            realm=realm,
            received_at=at(came),
            published_at=at(published),
            author=Author(id=author),
            text=text,
            lang=lang,
            queries=queries,
        ),
        score=score(sentiment, urgency),
        scored_at=at(came),
    )


def deletion(native_id: str, received: float, *, revision: int, whole_author: bool = False) -> ScoredMention:
    return ScoredMention(
        mention=Mention(
            source_kind="test",
            native_id=native_id,
            source_id="a",
            revision=revision,
            action=Action.DELETE_AUTHOR if whole_author else Action.DELETE,
            received_at=at(received),
        ),
        score=None,
        scored_at=at(received),
    )


def pulse(
    reached: float,
    *,
    source: str = "a",
    status: SourceStatus = SourceStatus.LIVE,
    sent: float | None = None,
    realm: str = "live",
) -> Pulse:
    return Pulse(
        source_id=source,
        source_kind="test",
        realm=realm,
        at=at(reached),
        sent_at=at(reached if sent is None else sent),
        status=status,
    )


def rule(**fields: object) -> Rule:
    chosen: dict[str, object] = {
        "id": "r",
        "name": "Trouble",
        "measure": "count",
        "threshold": 3,
        "window": "10s",
        "every": "5s",
        "receivers": ["desk"],
    }
    return Rule.model_validate(chosen | fields)


@dataclass(frozen=True)
class Post:
    """One delivery to come: `delay` after it was published; edits and deletions refer to an identity."""

    ident: int
    published: int
    delay: int
    kind: str
    source: str
    sentiment: str
    urgency: str
    author: int
    lang: str
    queries: tuple[str, ...]
    repeat: bool


def posts(most_delay: int, kinds: Sequence[str]) -> st.SearchStrategy[list[Post]]:
    """Posts of one minute, in tenths of a second, delivered at most `most_delay` tenths late; dense enough to fire."""
    return st.lists(
        st.builds(
            Post,
            ident=st.integers(0, 40),
            published=st.integers(0, 600),
            delay=st.integers(0, most_delay),
            kind=st.sampled_from(kinds),
            source=st.sampled_from(["a", "b", "c"]),
            sentiment=st.sampled_from(["negative", "negative", "neutral"]),
            urgency=st.sampled_from(["low", "high", "critical"]),
            author=st.integers(0, 3),
            lang=st.sampled_from(["he", "fa"]),
            queries=st.sampled_from([("q",), ("p",), ("p", "q")]),
            repeat=st.booleans(),
        ),
        min_size=25,
        max_size=70,
    )


def history_of(
    chosen: Sequence[Post], partitions: int, seed: int, *, behind: float = 86_400.0, finish: bool = True
) -> History:
    """Return the stream: each partition in order of delivery, the partitions interleaved by `seed`.

    Each source pulses every second; it promises lateness only, so deliveries more than 5 s after `published` are late.
    `behind` is how far the wall clock is ahead of event time.
    """
    deliveries: list[tuple[float, int, int | None, AnyRecord]] = []
    for number, post in enumerate(chosen):
        came = (post.published + post.delay) / 10
        record = _record(post, number, came)
        partition = _partition(record, partitions)
        deliveries.append((came, number, partition, record))
        if post.repeat:
            deliveries.append((came + post.delay / 10, number, partition, record))
    for source in "abc":
        beats = (pulse(second, source=source, sent=second + behind) for second in range(126))
        deliveries += [(second, 10**6, None, beat) for second, beat in enumerate(beats)]
        status = SourceStatus.FINISHED if finish else SourceStatus.LIVE
        deliveries.append((400.0, 10**6, None, pulse(130, source=source, status=status, sent=130 + behind)))
    deliveries.sort(key=lambda one: (one[0], one[1]))
    return _interleave(deliveries, partitions, Random(seed))


def _record(post: Post, number: int, came: float) -> ScoredMention:
    revision = int(came * 10) * 1000 + number
    if post.kind == "delete":
        return deletion(f"m{post.ident}", came, revision=revision)
    if post.kind == "withdraw":
        return deletion(f"w{post.author}", came, revision=revision, whole_author=True)
    return mention(
        f"m{post.ident}" if post.kind == "edit" else f"n{number}",
        post.published / 10,
        received=came,
        source=post.source,
        revision=revision,
        sentiment=post.sentiment,
        urgency=post.urgency,
        author=f"w{post.author}",
        lang=post.lang,
        queries=post.queries,
    )


def _partition(record: ScoredMention, partitions: int) -> int:
    return sum(record.mention.key.encode()) % partitions


def _interleave(
    deliveries: Sequence[tuple[float, int, int | None, AnyRecord]], partitions: int, random: Random
) -> History:
    lanes: list[list[tuple[float, AnyRecord]]] = [[] for _ in range(partitions)]
    for came, _, partition, record in deliveries:
        for lane in range(partitions) if partition is None else (partition,):
            lanes[lane].append((came, record))
    history: History = []
    places = [0] * partitions
    while any(place < len(lane) for place, lane in zip(places, lanes, strict=True)):
        open_lanes = [number for number, lane in enumerate(lanes) if places[number] < len(lane)]
        first = min(lanes[number][places[number]][0] for number in open_lanes)
        number = random.choice([one for one in open_lanes if lanes[one][places[one]][0] <= first + 10])
        history.append((lanes[number][places[number]][1], number))
        places[number] += 1
    return history
