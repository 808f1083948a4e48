"""Dead letters of the consume loop: how a record that can't be dealt with is kept, and how many are too many.

Owns their making from a delivery and the ratio limit. Does not own when a record is given up (`streams.pump`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from streams.records import LIVE, AnyRecord, DeadLetter, Mention, Pulse, ScoredMention, bounded, encode
from streams.stream import Delivery, Item

Stage = Literal["score", "store", "alert", "notify"]
"""The stages that consume; `source` writes its dead letters itself."""

UNKNOWN_SOURCE: Final = "unknown"
"""The metric's label where the payload does not say where it came from."""


class DeadLetterLimit(Exception):
    """Too large a share of a topic can't be dealt with: a fault of ours, not of the data. The process must stop."""


@dataclass(frozen=True, slots=True)
class DeadLimit:
    """Stop when of the last `over` records at least `at_least` and more than the share `ratio` went dead."""

    ratio: float = 0.1
    over: int = 1000
    at_least: int = 50


class DeadCount:
    """The sliding window over the last records."""

    def __init__(self, limit: DeadLimit) -> None:
        self._limit = limit
        self._batches: deque[tuple[int, int]] = deque()
        self._handled = 0
        self._dead = 0

    def check(self, handled: int, dead: int, last: str) -> None:
        """Raise DeadLetterLimit if `handled` more records, `dead` of them dead, would be too many."""
        total, gone = self._handled + handled, self._dead + dead
        if gone >= self._limit.at_least and gone > self._limit.ratio * total:
            raise DeadLetterLimit(
                f"{gone} of the last {total} records could not be handled, the limit is {self._limit.ratio:.0%};"
                f" nothing of this batch was committed. The last reason: {last}"
            )

    def add(self, handled: int, dead: int) -> None:
        """Count a batch that is done."""
        self._batches.append((handled, dead))
        self._handled += handled
        self._dead += dead
        while self._batches and self._handled - self._batches[0][0] >= self._limit.over:
            oldest = self._batches.popleft()
            self._handled -= oldest[0]
            self._dead -= oldest[1]


def source_of(record: AnyRecord | None) -> str:
    """Return the id of the source that a record came from, empty if it does not say."""
    match record:
        case ScoredMention():
            return record.mention.source_id
        case Mention() | Pulse() | DeadLetter():
            return record.source_id
        case _:
            return ""


def from_delivery(
    stage: Stage, topic: str, delivery: Delivery, record: AnyRecord | None, reason: str, now: datetime
) -> DeadLetter:
    """Return the dead letter of a delivery. Its origin is `topic/partition/offset`, which is also its identity."""
    realm = record.mention.realm if isinstance(record, ScoredMention) else getattr(record, "realm", LIVE)
    return DeadLetter(
        stage=stage,
        reason=bounded(reason, 1000),
        source_id=source_of(record),
        origin=f"{topic}/{delivery.position.partition}/{delivery.position.offset}",
        realm=realm,
        payload=bounded(delivery.value),
        payload_bytes=len(delivery.value),
        at=now,
    )


def dead_item(letter: DeadLetter) -> Item:
    """Return the letter as an item for [dead]."""
    return Item(letter.key, encode(letter))
