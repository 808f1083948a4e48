"""A scored mention as a row of `mentions`, and back. Pure.

Owns the mapping, the digest that identities are indexed by, and what is wrong with a record that can't be a row. Does
not own SQL.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal

from sqlalchemy import Row

from streams.records import Author, Mention, Opinion, Reach, Score, ScoredMention

Values = dict[str, Any]
"""Column name -> value of one row."""

Normalise = Callable[[str], str]
Doubt = Literal["sentiment", "urgency"]

SENTIMENTS: Final = ("negative", "neutral", "positive")
URGENCIES: Final = ("low", "normal", "high", "critical")
"""In rising order: the index is `urgency_rank`."""
URGENT: Final = URGENCIES.index("high")
DOUBTS: Final[Mapping[Doubt, int]] = {"sentiment": 1, "urgency": 2}
"""The bit of each task that a model may be uncertain of, in the columns `uncertain` and `waiting`."""
_GAPS: Final = re.compile("[ \t\n\r\u2028\u2029-]+")
_LARGEST: Final = 2**63 - 1
_REACH: Final = ("followers", "likes", "shares", "replies")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_COPIED: Final = {
    *("source_kind", "native_id", "revision", "source_id", "published_at", "received_at", "text", "lang", "url"),
    *("thread_id", "reply_to", "place"),
}

ERASED: Final[Values] = dict.fromkeys(
    (
        *("author_key", "author_id", "author_name", "author_handle", "text", "text_normal", "lang", "url"),
        *("thread_id", "reply_to", *_REACH, "place", "intent", "probabilities", "embedding"),
    )
) | {"uncertain": 0, "waiting": 0}
"""What a deletion leaves of a mention: all of this is NULL, and nobody is asked about it. Identity, times, source,
queries and the two labels that the rollups count stay."""


class UnfitRecord(ValueError):
    """A record that decodes but can't be stored honestly; the message says why. It belongs in [dead]."""


def digest(key: str) -> bytes:
    """Return 16 bytes that stand for an identity's or an author's key."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]


def author_key(source_kind: str, author_id: str) -> str:
    """Return the key of all that an author wrote in a kind of source."""
    return f"{source_kind}\x1f{author_id}"


def author_digest(source_kind: str, author_id: str) -> bytes:
    """Return the digest of an author; never equal to the digest of a post whose native id is the author's."""
    return digest(f"author\x1f{author_key(source_kind, author_id)}")


def minute_of(moment: datetime) -> int:
    """Return whole minutes since 1970 UTC, rounded down."""
    return (moment - _EPOCH) // _MINUTE


def event_time(published_at: datetime, received_at: datetime) -> datetime:
    """Return when a mention counts, here as on a wall's tail: when published, but never after it was received."""
    return min(published_at, received_at)


def moment_of(minute: int) -> datetime:
    """Return when a minute since 1970 UTC begins."""
    return _EPOCH + minute * _MINUTE


def bits_of(tasks: Iterable[Doubt]) -> int:
    """Return the tasks as the columns `uncertain` and `waiting` hold them."""
    return sum(DOUBTS[task] for task in set(tasks))


def tasks_of(bits: int) -> tuple[Doubt, ...]:
    """Return the tasks whose bits are set."""
    return tuple(task for task, bit in DOUBTS.items() if bits & bit)


def unfit(scored: ScoredMention) -> str:
    """Return why a published mention can't be stored; empty if it can."""
    mention, score = scored.mention, scored.score
    if mention.published_at is None:
        return "published_at: a published mention without its time"
    if score is None:
        return "score: a published mention without a score"
    if score.sentiment.label not in SENTIMENTS or score.urgency.label not in URGENCIES:
        return f"score: unknown labels {score.sentiment.label!r}, {score.urgency.label!r}"
    try:
        _embedding_bytes(score.embedding)
    except ValueError as error:
        return f"score.embedding: not base64: {error}"
    return ""


def values_of(scored: ScoredMention, normalise: Normalise) -> Values:
    """Return the row of a published mention; UnfitRecord when it lacks what every stored mention has."""
    mention, score = scored.mention, scored.score
    fault = unfit(scored)
    if fault or score is None:
        raise UnfitRecord(fault)
    return {
        "realm": mention.realm,
        "key": digest(mention.key),
        "deleted_at": None,
        "scored_at": scored.scored_at,
        "text_normal": sought(mention.text, normalise),
        **mention.model_dump(include=_COPIED),
        **_author_values(mention),
        **{name: _bounded(getattr(mention.reach, name)) for name in _REACH},
        "queries": json.dumps(sorted(set(mention.queries)), ensure_ascii=False),
        **_score_values(score),
    }


def sought(text: str, normalise: Normalise) -> str:
    """Return the text as searches compare it: normal, with one space for each run of spaces, line ends and hyphens."""
    return _GAPS.sub(" ", normalise(text))


def _bounded(number: int | None) -> int | None:
    return None if number is None else min(number, _LARGEST)


def _author_values(mention: Mention) -> Values:
    author = mention.author
    if author is None:
        return {"author_key": None, "author_id": None, "author_name": None, "author_handle": None}
    return {
        "author_key": author_digest(mention.source_kind, author.id),
        "author_id": author.id,
        "author_name": author.name,
        "author_handle": author.handle,
    }


def _score_values(score: Score) -> Values:
    tasks = {"sentiment": score.sentiment, "urgency": score.urgency, "intent": score.intent}
    return {
        **{task: opinion.label for task, opinion in tasks.items()},
        "urgency_rank": URGENCIES.index(score.urgency.label),
        "probabilities": json.dumps({task: opinion.probabilities for task, opinion in tasks.items()}),
        "model_id": score.model_id,
        "model_revision": score.model_revision,
        "embedding": _embedding_bytes(score.embedding),
        "uncertain": bits_of(score.uncertain),
        "waiting": bits_of(score.uncertain),
    }


def _embedding_bytes(embedding: str | None) -> bytes | None:
    return None if embedding is None else base64.b64decode(embedding, validate=True)


def scored_of(row: Row[Any]) -> ScoredMention:
    """Return the mention and its score from a row that is not erased."""
    probabilities = json.loads(row.probabilities)
    opinions: Values = {
        task: Opinion.model_construct(label=getattr(row, task), probabilities=probabilities[task])
        for task in ("sentiment", "urgency", "intent")
    }
    embedding = None if row.embedding is None else base64.b64encode(row.embedding).decode()
    score = Score.model_construct(
        **opinions,
        model_id=row.model_id,
        model_revision=row.model_revision,
        embedding=embedding,
        uncertain=tasks_of(row.uncertain),
    )
    author = row.author_id and Author.model_construct(id=row.author_id, name=row.author_name, handle=row.author_handle)
    mention = Mention.model_construct(
        **{name: getattr(row, name) for name in _COPIED},
        realm=row.realm,
        author=author or None,
        reach=Reach.model_construct(**{name: getattr(row, name) for name in _REACH}),
        queries=tuple(json.loads(row.queries)),
    )
    return ScoredMention.model_construct(mention=mention, score=score, scored_at=row.scored_at)
