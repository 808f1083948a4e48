"""The one consume loop of every role: fetch, decode, handle the batch, commit.

Owns the order (a group's offset moves only after the effect is durable), retries, dead-lettering and its limit, lag and
progress. Does not own the effect: that is the handler's, and it must be idempotent, since any batch may come again.

What the handler raises decides:
- StreamError, OSError, TimeoutError and the `transient` types: the batch is tried again for ever, with back-off.
- StreamCorrupted, DeadLetterLimit: the process stops.
- anything else: twice again, then record by record; a record that fails three times alone goes to [dead].
A cancelled pump leaves its batch uncommitted. A tail (group None) commits nothing and leaves [dead] to the groups.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from streams import metrics
from streams.backoff import Backoff
from streams.dead_letters import (
    UNKNOWN_SOURCE,
    DeadCount,
    DeadLetterLimit,
    DeadLimit,
    Stage,
    dead_item,
    from_delivery,
)
from streams.records import DEAD, AnyRecord, DeadLetter, UnreadableRecord, decode
from streams.stream import Consumer, Delivery, Stream, StreamCorrupted, StreamError

T = TypeVar("T")
TRIES: Final = 3
PASSING: Final[tuple[type[Exception], ...]] = (StreamError, OSError, TimeoutError)
"""Errors that time heals, whatever the stage."""

_LAG_EVERY: Final = 1.0
_LAG_AFTER_ERROR: Final = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded record with the delivery that it came in."""

    delivery: Delivery
    record: AnyRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the handler can't deal with, for good: it goes to [dead] and the rest goes on.

    `unreadable`: nobody could (a text in a script that no model knows). It says nothing against us, so it does not
    count towards the limit that stops the process.
    """

    received: Received
    reason: str
    unreadable: bool = False


Handler = Callable[[Sequence[Received]], Awaitable[Sequence[Rejected]]]
"""Makes a batch's effect durable; returns what it rejects."""


@dataclass(slots=True)
class Progress:
    """What health is told from: `last_loop_at` moves with each fetch, an empty one too; `trouble` is being retried."""

    last_loop_at: datetime | None = None
    last_commit_at: datetime | None = None
    trouble: str = ""


class _HandlerFailed(Exception):
    """The handler failed TRIES times on the same records."""


def utc_now() -> datetime:
    """Return the wall clock."""
    return datetime.now(UTC)


async def pump(  # noqa: PLR0913  every name is one decision of the role; all are keywords
    stream: Stream,
    consumer: Consumer,
    handler: Handler,
    *,
    topic: str,
    group: str | None,
    stage: Stage,
    most: int = 500,
    wait: float = 0.5,
    dead_limit: DeadLimit | None = None,
    transient: tuple[type[Exception], ...] = (),
    clock: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Consume until cancelled. `most` and `wait` are the batch's size and the idle fetch's seconds.

    Raises StreamCorrupted, DeadLetterLimit; everything else is retried or dead-lettered.
    """
    loop = _Loop(
        stream,
        consumer,
        handler,
        topic,
        group,
        stage,
        (*PASSING, *transient),
        clock,
        progress or Progress(),
        backoff or Backoff(0.1, 10.0),
        DeadCount(dead_limit or DeadLimit()),
    )
    while True:
        deliveries = await loop.again(lambda: consumer.fetch(most, wait))
        loop.progress.last_loop_at = clock()
        if deliveries:
            await loop.batch(deliveries)
        await loop.gauge()


@dataclass(slots=True)
class _Loop:
    stream: Stream
    consumer: Consumer
    handler: Handler
    topic: str
    group: str | None
    stage: Stage
    passing: tuple[type[Exception], ...]
    clock: Callable[[], datetime]
    progress: Progress
    backoff: Backoff
    count: DeadCount
    gauge_due: float = field(default=0.0)

    @property
    def labels(self) -> tuple[str, str]:
        return self.topic, self.group or "tail"

    async def batch(self, deliveries: Sequence[Delivery]) -> None:
        received, letters = self._decoded(deliveries)
        rejected = await self._handled(received, len(letters))
        now = self.clock()
        letters += [
            from_delivery(self.stage, self.topic, one.received.delivery, one.received.record, one.reason, now)
            for one in rejected
        ]
        against_us = len(letters) - sum(one.unreadable for one in rejected)
        if letters:
            self.count.check(len(deliveries), against_us, letters[-1].reason)
            await self._bury(letters)
        if self.group is not None:
            await self.again(lambda: self.consumer.commit(deliveries))
            self.progress.last_commit_at = self.clock()
        self.count.add(len(deliveries), against_us)
        metrics.BATCHES.labels(*self.labels).inc()

    async def again(self, action: Callable[[], Awaitable[T]]) -> T:
        """Return what `action` returns, trying until the log or the database is there again."""
        while True:
            try:
                result = await action()
            except self.passing as error:
                await self._pause(error)
            else:
                self._went_well()
                return result

    async def gauge(self) -> None:
        """Update the lag, at most once a second; a broker that does not answer is asked more rarely."""
        if time.monotonic() < self.gauge_due:
            return
        try:
            lag = await self.consumer.lag()
        except self.passing as error:
            _log.debug("no lag of %s for %s: %s", *self.labels, error)
            self.gauge_due = time.monotonic() + _LAG_AFTER_ERROR
            return
        metrics.LAG_ITEMS.labels(*self.labels).set(lag.items)
        metrics.LAG_SECONDS.labels(*self.labels).set(lag.seconds)
        self.gauge_due = time.monotonic() + _LAG_EVERY

    def _decoded(self, deliveries: Sequence[Delivery]) -> tuple[list[Received], list[DeadLetter]]:
        received: list[Received] = []
        letters: list[DeadLetter] = []
        for delivery in deliveries:
            try:
                received.append(Received(delivery, decode(delivery.value)))
            except UnreadableRecord as error:
                letters.append(from_delivery(self.stage, self.topic, delivery, None, str(error), self.clock()))
        return received, letters

    async def _handled(self, received: Sequence[Received], unreadable: int) -> Sequence[Rejected]:
        if not received:
            return ()
        try:
            return await self._tried(received)
        except _HandlerFailed as failure:
            if len(received) == 1:
                return (Rejected(received[0], str(failure)),)
        rejected: list[Rejected] = []
        for done, one in enumerate(received, start=1):
            try:
                rejected.extend(await self._tried((one,)))
            except _HandlerFailed as failure:
                rejected.append(Rejected(one, str(failure)))
                self.count.check(unreadable + done, unreadable + len(rejected), str(failure))
        return rejected

    async def _tried(self, received: Sequence[Received]) -> Sequence[Rejected]:
        failures = 0
        while True:
            try:
                rejected = await self.handler(received)
            except self.passing as error:
                await self._pause(error)
            except (StreamCorrupted, DeadLetterLimit):
                raise
            except Exception as error:  # a process boundary: whatever a record makes our code raise stays its own fault
                _log.exception("%s for %s: the handler failed on %d records", *self.labels, len(received))
                failures += 1
                if failures == TRIES:
                    self._went_well()
                    raise _HandlerFailed(f"{type(error).__name__}: {error}") from error
                await self._pause(error)
            else:
                self._went_well()
                return rejected

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            _log.warning("%s could not be handled: %s", letter.origin, letter.reason)
        if self.group is None:  # every server process tails: the groups bury and count, once
            return
        if self.topic != DEAD:  # a dead letter that can't be read must not breed
            await self.again(lambda: self.stream.append(DEAD, [dead_item(letter) for letter in letters]))
        for letter in letters:
            metrics.DEAD.labels(letter.source_id or UNKNOWN_SOURCE).inc()

    async def _pause(self, error: Exception) -> None:
        self.progress.trouble = f"{type(error).__name__}: {error}"[:500]
        metrics.RETRIES.labels(*self.labels).inc()
        delay = self.backoff.next()
        _log.warning("%s for %s: again in %.1f s: %s", *self.labels, delay, self.progress.trouble)
        await self.gauge()
        await asyncio.sleep(delay)

    def _went_well(self) -> None:
        self.backoff.reset()
        self.progress.trouble = ""
