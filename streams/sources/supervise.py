"""Runs one source for ever: listen, choose, append, and only then remember the cursor.

Owns the order that loses nothing (the append is durable before the cursor moves), micro-batches, pulses, back-off and
the source's ledger. Does not own protocols (each source), matching (`match`) or tables (`IngestLog`).

A batch is flushed at once on a quiet stream; on a busy one at most every 50 ms, so that many arrivals share an fsync.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from streams import metrics
from streams.backoff import Backoff
from streams.dead_letters import dead_item
from streams.pump import PASSING, Progress, utc_now
from streams.records import DEAD, MENTIONS, encode
from streams.source import Arrival, IngestLog, Source, SourceRefused, SourceSettings, SourceUnreachable
from streams.sources.letters import sound
from streams.sources.supervise_choice import Chooser, Chosen, Match, refused, wanted_keys, without_key
from streams.sources.supervise_standing import Standing
from streams.steady_clock import SteadyClock
from streams.stream import Item, Stream

T = TypeVar("T")
MOST: Final = 500
"""Mentions in a batch, save that one arrival is never split."""

LINGER: Final = 0.05
PULSE_EVERY: Final = 1.0
REFUSED_AGAIN: Final = 30.0
REFUSED_MOST: Final = 3600.0
"""Seconds until a refused source is tried again: the first, doubled with each refusal in a row, up to the second. One
wrong answer (a captive portal, a load balancer) is soon over; a real refusal is not hammered."""

_STEADY: Final = 30.0
_FRUITFUL: Final = 5.0
"""Seconds that a session must last for the next to be tried at once: the second if it brought something. An upstream
that takes every connection and kicks us is called ever more rarely."""

_WAITING: Final = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _End:
    """Why a session ended; no error at the end of a file."""

    error: SourceUnreachable | SourceRefused | None


async def supervise(  # noqa: PLR0913  every name is one decision of the wiring; the optional ones are keywords
    source: Source,
    settings: SourceSettings,
    stream: Stream,
    log: IngestLog,
    match: Match,
    *,
    clock: Callable[[], datetime] = utc_now,
    transient: tuple[type[Exception], ...] = (),
    progress: Progress | None = None,
    backoff: Backoff | None = None,
    lateness: timedelta = timedelta(seconds=5),
) -> None:
    """Run until cancelled, or until the source has come to its end (a file).

    A mention counts as late in the ledger if it was published `lateness` before an event time that was promised.

    Errors of the stream and of the database that may pass (StreamError, OSError, `transient`) are waited for; other
    errors of theirs, and damage, are raised. Errors of the source never are: they are its status.
    """
    run = _Run(
        source, settings, stream, log, Chooser(match), clock, (*PASSING, *transient), progress or Progress(), lateness
    )
    await run.until_the_end(backoff or Backoff(0.25, 30.0))


def refused_again(before: int) -> float:
    """Return the seconds to wait after a refusal that `before` others came before in a row."""
    return float(min(REFUSED_MOST, REFUSED_AGAIN * 2.0 ** min(before, 16)))


@dataclass(slots=True)
class _Run:
    source: Source
    settings: SourceSettings
    stream: Stream
    log: IngestLog
    chooser: Chooser
    clock: Callable[[], datetime]
    passing: tuple[type[Exception], ...]
    progress: Progress
    lateness: timedelta
    standing: Standing = field(init=False)
    steady: SteadyClock = field(init=False)
    retry: Backoff = field(default_factory=lambda: Backoff(0.1, 10.0))
    cursor: str | None = None
    flushed: float = 0.0
    pulsed: float = 0.0
    sessions: int = 0
    refusals: int = 0
    moved: bool = False

    @property
    def id(self) -> str:
        return self.settings.id

    def tick(self) -> float:
        return asyncio.get_running_loop().time()

    async def until_the_end(self, backoff: Backoff) -> None:
        self.flushed = self.pulsed = self.tick()
        self.steady = SteadyClock(self.clock, self.tick)
        self.cursor, tally = await self._again(lambda: self.log.load_cursor(self.id))
        self.standing = Standing(self.settings, self.settings.kind, self.tick())
        self.standing.tally = tally
        while True:
            began, self.moved = self.tick(), False
            error = await self._session()
            if error is None:
                self.standing.finished()
                await self._flush((), pulse=True)
                return
            steady = self.tick() - began >= (_FRUITFUL if self.moved else _STEADY)
            if steady:
                backoff.reset()
            if steady or self.moved:
                self.refusals = 0
            self.standing.failed(str(error))
            delay = self._refused() if isinstance(error, SourceRefused) else max(backoff.next(), error.retry_after)
            _log.warning("source %s: again in %.1f s: %s", self.id, delay, error)
            await self._flush(self._left_behind(error), pulse=True)
            await self._rest(delay)

    def _left_behind(self, error: SourceUnreachable | SourceRefused) -> Sequence[Arrival]:
        """Return what came in place of mentions: it is kept and counted, but the source is not live by it."""
        dead = error.dead if isinstance(error, SourceUnreachable) else ()
        tally = self.standing.tally
        self.standing.tally = tally.model_copy(update={"received": tally.received + len(dead)})
        metrics.RECEIVED.labels(self.id).inc(len(dead))
        return [Arrival(dead=dead)] if dead else ()

    def _refused(self) -> float:
        delay = refused_again(self.refusals)
        self.refusals += 1
        return delay

    async def _session(self) -> SourceUnreachable | SourceRefused | None:
        """Listen once, until the source ends or breaks off; return why."""
        self.sessions += 1
        waiting: asyncio.Queue[Arrival | _End] = asyncio.Queue(_WAITING)
        reader = asyncio.create_task(self._listen(waiting), name=f"source {self.id}")
        fresh = self.sessions > 1
        try:
            while True:
                arrivals, end = await self._gather(waiting)
                self.progress.last_loop_at = self.clock()
                if arrivals:
                    self._arrived(arrivals, reconnected=fresh and not any(one.reconnected for one in arrivals))
                    fresh = False
                stalled = self.standing.silent(self.tick())
                await self._flush(arrivals, pulse=stalled)
                if end is not None:
                    return end.error
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _listen(self, waiting: asyncio.Queue[Arrival | _End]) -> None:
        """Hand over what the source brings, and always that it ended: only a stop of ours goes without a word."""
        error: SourceUnreachable | SourceRefused | None = None
        try:
            await self._read(waiting)
        except (Exception, asyncio.CancelledError) as fault:  # a process boundary: a plug-in's faults are its status
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            if isinstance(fault, SourceUnreachable | SourceRefused):
                error = fault
            else:
                _log.exception("source %s failed", self.id)
                error = SourceUnreachable(f"{type(fault).__name__}: {fault}")
        await waiting.put(_End(error))

    async def _read(self, waiting: asyncio.Queue[Arrival | _End]) -> None:
        arrivals = self.source.listen(self.cursor)
        try:
            async for arrival in arrivals:
                await waiting.put(arrival)
        finally:
            await _close(arrivals)

    async def _gather(self, waiting: asyncio.Queue[Arrival | _End]) -> tuple[Sequence[Arrival], _End | None]:
        """Return what came until the batch is full or due; nothing when it is time for a pulse."""
        arrivals: list[Arrival] = []
        count = 0
        until = max(self.pulsed + PULSE_EVERY, self.tick())
        while count < MOST:
            one = await self._next(waiting, until)
            if one is None or isinstance(one, _End):
                return arrivals, one
            arrivals.append(one)
            count += len(one.mentions) + len(one.dead)
            until = self.flushed + LINGER
        return arrivals, None

    async def _next(self, waiting: asyncio.Queue[Arrival | _End], until: float) -> Arrival | _End | None:
        with suppress(asyncio.QueueEmpty):
            return waiting.get_nowait()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                return await waiting.get()
        return None

    def _arrived(self, arrivals: Sequence[Arrival], *, reconnected: bool) -> None:
        now, standing, tally = self.steady(), self.standing, self.standing.tally
        standing.arrived(arrivals, now, self.tick())
        received = sum(len(one.mentions) + len(one.dead) for one in arrivals)
        gaps = sum(bool(one.gap) for one in arrivals)
        reconnects = sum(one.reconnected for one in arrivals) + reconnected
        standing.tally = tally.model_copy(
            update={
                "received": tally.received + received,
                "gaps": tally.gaps + gaps,
                "reconnects": tally.reconnects + reconnects,
            }
        )
        for one in arrivals:
            if one.gap:
                _log.warning("source %s: mentions may have been lost: %s", self.id, one.gap)
        self.moved = self.moved or received > 0
        metrics.SOURCE_AGE.labels(self.id).set(now.timestamp())
        metrics.RECEIVED.labels(self.id).inc(received)
        metrics.GAPS.labels(self.id).inc(gaps)
        metrics.RECONNECTS.labels(self.id).inc(reconnects)

    async def _flush(self, arrivals: Sequence[Arrival], *, pulse: bool) -> None:
        """Append what was chosen, then save, then tell who waits. Each step is tried until it holds."""
        chosen = await self._chosen(arrivals)
        due = pulse or self.tick() - self.pulsed >= PULSE_EVERY
        pulse = due and not self.standing.connecting(self.tick())
        self.cursor = next((one.cursor for one in reversed(arrivals) if one.cursor is not None), self.cursor)
        if chosen.dead:
            await self._again(lambda: self.stream.append(DEAD, [dead_item(letter) for letter in chosen.dead]))
        items = chosen.items
        if pulse:
            sign = self.standing.pulse(self.steady())
            items = [*items, Item(self.id, encode(sign), everywhere=True)]
        if due:
            self.pulsed = self.tick()
        if items:
            await self._again(lambda: self.stream.append(MENTIONS, items))
        waits = any(one.settled or one.gap for one in arrivals)
        if items or chosen.dead or waits:  # a second of pure noise may be read again after a kill
            await self._save(chosen)
        for one in arrivals:
            if one.settled is not None:
                one.settled()
        metrics.MATCHED.labels(self.id).inc(len(chosen.accepted))
        metrics.DUPLICATED.labels(self.id).inc(chosen.duplicated)
        metrics.DEAD.labels(self.id).inc(len(chosen.dead))
        self.flushed = self.tick()

    async def _chosen(self, arrivals: Sequence[Arrival]) -> Chosen:
        came = [(mention, without_key(mention)) for one in arrivals for mention in one.mentions]
        mentions = [mention for mention, fault in came if not fault]
        chosen = Chosen()
        if mentions:
            unversioned = frozenset(mention for one in arrivals for mention in one.unversioned)
            pushed = frozenset(mention for one in arrivals if one.settled for mention in one.mentions)
            keys = wanted_keys(mentions, pushed)
            known = await self._again(lambda: self.log.known(keys))
            promised = self.standing.promised and self.standing.promised - self.lateness
            chosen = self.chooser.choose(mentions, known, self.clock(), promised, unversioned, pushed)
        keyless = [refused(mention, fault, self.clock()) for mention, fault in came if fault]
        chosen.dead = [*(sound(letter) for one in arrivals for letter in one.dead), *keyless, *chosen.dead]
        standing, tally = self.standing, self.standing.tally
        standing.last_mention_at = chosen.last_received_at or standing.last_mention_at
        standing.tally = tally.model_copy(
            update={
                "matched": tally.matched + len(chosen.accepted),
                "duplicated": tally.duplicated + chosen.duplicated,
                "late": tally.late + chosen.late,
                "dead": tally.dead + len(chosen.dead),
            }
        )
        return chosen

    async def _save(self, chosen: Chosen) -> None:
        cursor, tally = self.cursor, self.standing.tally
        await self._again(lambda: self.log.save(self.id, cursor, chosen.accepted, tally))
        self.progress.last_commit_at = self.clock()

    async def _rest(self, delay: float) -> None:
        """Wait, with a pulse each second."""
        until = self.tick() + delay
        while (left := until - self.tick()) > 0:
            await asyncio.sleep(min(left, PULSE_EVERY))
            self.progress.last_loop_at = self.clock()
            await self._flush((), pulse=False)

    async def _again(self, action: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                result = await action()
            except self.passing as error:
                delay = self.retry.next()
                self.progress.trouble = f"{type(error).__name__}: {error}"[:500]
                _log.warning("source %s: the batch waits %.1f s: %s", self.id, delay, self.progress.trouble)
                await asyncio.sleep(delay)
            else:
                self.retry.reset()
                self.progress.trouble = ""
                return result


async def _close(arrivals: AsyncIterator[Arrival]) -> None:
    """Let a generator free its connection now, not when it is collected."""
    aclose = getattr(arrivals, "aclose", None)
    if aclose is not None:
        await aclose()
