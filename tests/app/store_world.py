"""Records for the store's tests: mentions as a model would have scored them, by few words.

Owns making them. Does not own any expectation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from streams.records import (
    Action,
    AlertEvent,
    AlertState,
    Author,
    Evidence,
    Mention,
    Opinion,
    Pulse,
    Reach,
    Score,
    ScoredMention,
    SourceStatus,
    Tally,
)
from streams.stream import Position

T = TypeVar("T")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SENTIMENTS = ("negative", "neutral", "positive")
URGENCIES = ("low", "normal", "high", "critical")
INTENTS = ("complaint", "question", "praise", "idea", "purchase", "distress", "other")


def opinion(label: str, labels: Sequence[str]) -> Opinion:
    rest = 0.25 / (len(labels) - 1)
    return Opinion(label=label, probabilities={name: 0.75 if name == label else rest for name in labels})


def score(sentiment: str = "neutral", urgency: str = "normal", intent: str = "other") -> Score:
    return Score(
        sentiment=opinion(sentiment, SENTIMENTS),
        urgency=opinion(urgency, URGENCIES),
        intent=opinion(intent, INTENTS),
        model_id="test/model",
        model_revision="r1",
        embedding=base64.b64encode(sha256(sentiment.encode()).digest() * 24).decode(),
    )


def post(native_id: str, revision: int = 1, **changes: object) -> ScoredMention:
    """Return a scored post; `changes` are fields of Mention, or sentiment, urgency and intent."""
    labels = {name: str(changes.pop(name)) for name in ("sentiment", "urgency", "intent") if name in changes}
    values: dict[str, object] = {
        "source_kind": "bluesky",
        "native_id": native_id,
        "source_id": "bluesky-main",
        "revision": revision,
        "received_at": NOON + timedelta(seconds=2),
        "published_at": NOON,
        "author": Author(id="did:plc:ann", name="Ann", handle="ann.example"),
        "text": f"post {native_id} revision {revision}",
        "lang": "en",
        "url": f"https://example.org/{native_id}",
        "queries": ("brand",),
        "reach": Reach(followers=10, likes=1),
    }
    mention = Mention.model_validate(values | changes)
    return ScoredMention(mention=mention, score=score(**labels), scored_at=mention.received_at + timedelta(seconds=1))


def withdrawal(native_id: str, revision: int, action: Action = Action.DELETE, **changes: object) -> ScoredMention:
    values: dict[str, object] = {
        "source_kind": "bluesky",
        "native_id": native_id,
        "source_id": "bluesky-main",
        "revision": revision,
        "action": action,
        "received_at": NOON + timedelta(seconds=5),
    }
    mention = Mention.model_validate(values | changes)
    return ScoredMention(mention=mention, score=None, scored_at=mention.received_at)


def pulse(source_id: str = "bluesky-main", **changes: object) -> Pulse:
    values: dict[str, object] = {
        "source_id": source_id,
        "source_kind": "bluesky",
        "at": NOON,
        "sent_at": NOON,
        "status": SourceStatus.LIVE,
        "tally": Tally(received=7, matched=3),
    }
    return Pulse.model_validate(values | changes)


def alert(alert_id: str, seq: int = 0, **changes: object) -> AlertEvent:
    values: dict[str, object] = {
        "alert_id": alert_id,
        "seq": seq,
        "rule_id": "rule",
        "rule_name": "Rule",
        "rule_revision": "1",
        "team": "main",
        "realm": "live",
        "group": {"query": "brand"},
        "severity": 1,
        "state": AlertState.FIRING,
        "at": NOON + timedelta(seconds=seq),
        "started_at": NOON,
        "value": 3.0,
        "threshold": 2.0,
        "count": 3,
        "reason": "3 in 5 min",
        "receivers": ("desk",),
    }
    return AlertEvent.model_validate(values | changes)


def quote(native_id: str, excerpt: str) -> Evidence:
    return Evidence(
        source_kind="bluesky",
        native_id=native_id,
        excerpt=excerpt,
        url="https://example.org/x",
        author="Ann",
        published_at=NOON,
    )


def placed(records: Iterable[T], partition: int = 0, start: int = 0) -> list[tuple[Position, T]]:
    return [(Position(partition, start + at), record) for at, record in enumerate(records)]
