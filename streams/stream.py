"""PORT Stream: a durable, partitioned, replayable log. Two implementations, `embedded` and `kafka`; one contract suite.

Owns the words (item, delivery, position) and the promises. Does not own the consume loop (`streams.pump`) nor what the
records mean. At-least-once: an item is in the log for good once `append` returned; a group starts again at its last
committed position.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

MAX_ITEM: Final = 1_000_000
"""Bytes of key and value together that an item may have: what a Kafka broker takes by default, headers left aside."""

Start = Literal["earliest", "latest"]
"""Where a group without a committed position, or a tail, begins."""

Positions = Callable[[frozenset[int]], Awaitable[Mapping[int, int]]]
"""Given partitions, the next offset of each, from wherever the effect is stored; a partition left out starts at the
group's committed position."""


class StreamError(Exception):
    """The log can't do what was asked right now (broker away, disk full); trying again later is right."""


class StreamCorrupted(Exception):
    """Our own log is damaged. The process must stop: design.md, invariant 3."""


@dataclass(frozen=True, slots=True)
class Item:
    """Bytes to append. Items of one key keep their order.

    `everywhere` puts a copy into each partition (a source's pulse); `partition` names one (a pulse passed on by the
    scorer stays in the partition it came from, so that per-partition clocks stay true). Topics have equally many.
    """

    key: str
    value: bytes
    everywhere: bool = False
    partition: int | None = None


def check_size(items: Sequence[Item]) -> None:
    """Raise ValueError for an item over MAX_ITEM: no retry would ever get it in."""
    for item in items:
        size = len(item.key.encode()) + len(item.value)
        if size > MAX_ITEM:
            raise ValueError(f"item {item.key[:80]!r} has {size} bytes, the log takes {MAX_ITEM}")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic. Offsets rise within a partition, with holes allowed."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item as read, with its position and the wall-clock time at which the log took it (UTC)."""

    position: Position
    key: str
    value: bytes
    appended_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind: items not fetched yet, and seconds since the oldest of them was appended."""

    items: int
    seconds: float


class Consumer(Protocol):
    """A reader of one topic. Not safe for two tasks at once."""

    async def fetch(self, most: int, wait: float) -> Sequence[Delivery]:
        """Return up to `most` deliveries, waiting up to `wait` seconds for the first; empty when none came."""
        ...

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Record for the group that all of `deliveries`, and what came before them, are dealt with.

        Never moves a position backwards; forgets, without an error, partitions that a rebalance took away. A tail
        (no group) has nothing to commit and raises ValueError.
        """
        ...

    async def lag(self) -> Lag:
        """Return how far behind the consumer is."""
        ...

    async def end(self) -> Mapping[int, int]:
        """Return, per partition of this consumer, the next offset that an append would get."""
        ...

    async def aclose(self) -> None:
        """Leave the group and free what is held. Idempotent."""
        ...


class Stream(Protocol):
    """The log as a whole."""

    @property
    def identity(self) -> str:
        """Which log this is; never empty, told without waiting.

        Another log (moved away and begun anew, topics made again, a file set back to an older copy) has another one:
        offsets that an effect was stored with under the first say nothing about it. It may change while the log is
        open, when that turns out: ask anew with each use.
        """
        ...

    async def append(self, topic: str, items: Sequence[Item]) -> None:
        """Make `items` durable, in order; returns after they are (fsync, or acks from all in-sync replicas).

        Raises StreamError after the implementation's own retries; then some of the items may be in the log: append
        them again, readers deduplicate by identity and revision.
        """
        ...

    async def consumer(
        self, topic: str, group: str | None, start: Start = "earliest", positions: Positions | None = None
    ) -> Consumer:
        """Return a reader. With a group the partitions are shared among its members; without, it reads all of them.

        `positions` wins over `start` and over committed positions, at the start and at each rebalance.
        """
        ...

    async def aclose(self) -> None:
        """Finish appends that were taken, then close. Idempotent."""
        ...
