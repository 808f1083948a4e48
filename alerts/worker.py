"""EngineWorker: runs the engine behind [scored], one process at a time, and keeps its state.

Owns leadership, the order of effects and the saving. Does not own the consume loop (`streams.pump` calls `handle`), nor
what the rules mean (`alerts.engine`).

Order: events are durable in [alerts] before the state that made them is saved. A crash between the two goes back to the
saved state and its positions, and makes the same events again: readers know them by (alert_id, seq). Those of rules
that were changed before the next start are not made again: what they had open is resolved then (`alerts.orphans`).
The positions that count are those in memory, then those saved; what the group committed is never asked once there is a
state. They are good for the log whose identity was saved with them; in another one they are 0, and the state stays.
Wall-clock time enters in two places: `watch`, only while nothing arrives (such a tick is saved before its events are
appended), and as the present, beyond which the engine believes nothing: no time that can be true hangs on it.

    worker = EngineWorker(stream, store, rules)
    await worker.start()                    # a standby waits here for its turn
    consumer = await stream.consumer(SCORED, GROUP, positions=worker.positions)
    # in one task group: pump(stream, consumer, worker.handle, ...) and worker.watch()
    await worker.finish()
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog

from alerts.engine import Engine, Step
from alerts.orphans import last_events
from alerts.ports import EngineLog, SavedEngine, StaleEngine
from alerts.rules import Rule
from streams import metrics
from streams.pump import Progress, Received, Rejected
from streams.records import ALERTS, AlertEvent, encode
from streams.steady_clock import SteadyClock
from streams.stream import Item, Stream, StreamError

GROUP: Final = "engine"
_STANDBY: Final = 1.0
_WARN_EVERY: Final = 60.0
_T = TypeVar("_T")
_logger = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class EngineWorker:
    """The pump handler of role `alert`. `clock` is wall-clock time; times are seconds.

    The state is saved at most each `save_every`, and so rarely that saving takes at most `save_share` of the time.
    `transient` are the database's errors after which trying again is right; `settings` go to `Engine`. `progress` is
    the pump's: until it has committed, what the worker rejected may not be in [dead], and nothing beyond it is saved.
    """

    def __init__(  # noqa: PLR0913  the seams it stands between, and four figures with defaults
        self,
        stream: Stream,
        log: EngineLog,
        rules: Sequence[Rule],
        *,
        name: str = "engine",
        save_every: float = 1.0,
        save_share: float = 0.05,
        tick_every: float = 5.0,
        transient: tuple[type[Exception], ...] = (),
        clock: Callable[[], datetime] = _now,
        **settings: Any,
    ) -> None:
        self.engine = Engine(rules, **settings)
        self._stream, self._log, self._name, self._present = stream, log, name, SteadyClock(clock)
        self._save_every, self._save_share, self._tick_every = save_every, save_share, tick_every
        self._transient: tuple[type[Exception], ...] = (StreamError, OSError, TimeoutError, *transient)
        self._next: dict[int, int] = {}
        self._log_identity = ""
        self._version = 0
        self._unsent: list[AlertEvent] = []
        self._rejected: list[Rejected] = []
        self.progress = Progress()
        self._unburied: tuple[datetime | None] | None = None
        self._turn = asyncio.Lock()
        self._save_at = self._fed_at = self._warn_at = time.monotonic()
        self._stale: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Wait for leadership, then load the saved state; what ends alerts of changed rules goes out at once.

        Raises UnreadableState for a damaged state.
        """
        self._stale = asyncio.get_running_loop().create_future()
        while not await self._again(self._log.lead):
            _logger.debug("another process runs the engine; standing by", engine=self._name)
            await asyncio.sleep(_STANDBY)
        saved = await self._again(lambda: self._log.load_engine(self._name))
        if saved is not None:
            self._version, self._next, self._log_identity = saved.version, dict(saved.positions), saved.log
            self.engine.restore(saved.state)
            if self.engine.exchanged:
                self.engine.disown(await self._again(lambda: last_events(self._stream)))
            self.engine.believe(self._present())
            self.engine.advance()
        self._fed_at = time.monotonic()
        self._take(self.engine.drain())
        if self._unsent:
            await self._again(self._publish)
            await self._again(self._write)

    async def _again(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `call` returns, trying until the log or the database is there."""
        while True:
            try:
                return await call()
            except self._transient as error:
                _logger.warning("engine can't reach its log or database; trying again", error=str(error))
            await asyncio.sleep(_STANDBY)

    async def positions(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Return the next offset of each partition, for `Stream.consumer`; tells the engine which ones there are."""
        self._know_log()
        self.engine.assign(partitions)
        return {partition: offset for partition, offset in self._next.items() if partition in partitions}

    def _know_log(self) -> None:
        """Begin at the start of a log that is not the one of our positions; what the engine knows, it knows still."""
        identity = self._stream.identity
        if identity == self._log_identity:
            return
        if any(self._next.values()):
            _logger.warning("the log was replaced; reading it all", engine=self._name, positions=self._next)
        self._next, self._log_identity = dict.fromkeys(self._next, 0), identity

    async def handle(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Feed a batch, publish its events, save when it is time. A batch handled again, in whole or part, is safe."""
        async with self._turn:
            self._know_log()
            self.engine.believe(self._present())
            for received in batch:
                self._feed(received)
            self._fed_at = time.monotonic()
            await self._publish()
            # The pump has yet to append what was rejected: a saved position beyond it could lose it.
            if self._version == 0 or (time.monotonic() >= self._save_at and self._buried):
                await self._save()
            rejected, self._rejected = self._rejected, []
            if rejected:
                self._unburied = (self.progress.last_commit_at,)
        return rejected

    @property
    def _buried(self) -> bool:
        """Whether all that was rejected is in [dead]: the pump commits after it."""
        return not self._rejected and self._unburied != (self.progress.last_commit_at,)

    def _feed(self, received: Received) -> None:
        position = received.delivery.position
        if position.offset < self._next.get(position.partition, 0):
            return
        self._next[position.partition] = position.offset + 1
        try:
            self.engine.feed(received.record, position.partition)
        except (ValueError, TypeError) as error:
            self._rejected.append(Rejected(received, str(error)))

    def _take(self, step: Step) -> None:
        self._unsent += step.events
        for source, count in step.late.items():
            metrics.LATE.labels(source=source).inc(count)
        if step.ahead and time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + _WARN_EVERY
            _logger.warning("times beyond the present are not believed; check the clocks", sources=dict(step.ahead))

    async def _publish(self) -> None:
        """Append what is not in [alerts] yet; after an error the events stay and go first next time."""
        self._take(self.engine.drain())
        if not self._unsent:
            return
        events = list(self._unsent)
        await self._stream.append(ALERTS, [Item(event.key, encode(event)) for event in events])
        del self._unsent[: len(events)]
        for event in events:
            metrics.ALERTS.labels(state=event.state.value).inc()
            _logger.info(
                "alert", alert=event.alert_id, rule=event.rule_id, realm=event.realm, state=event.state, seq=event.seq
            )

    async def _save(self) -> None:
        """Save state and positions, and set when the next time is."""
        begun = time.monotonic()
        try:
            await self._write()
        except StaleEngine as stale:
            await self._stop(stale)
        self._save_at = time.monotonic() + max(self._save_every, (time.monotonic() - begun) / self._save_share)

    async def _write(self) -> None:
        """Save. A first try may have come through though its answer did not: then what is stored is ours."""
        saved = SavedEngine(self.engine.dump(), dict(self._next), self._version + 1, self._log_identity)
        try:
            await self._log.save_engine(self._name, saved)
        except StaleEngine:
            if await self._log.load_engine(self._name) != saved:
                raise
        self._version = saved.version

    async def _stop(self, stale: StaleEngine) -> None:
        """Make `watch` raise, and wait to be cancelled: returning would commit, raising would dead-letter the batch."""
        if self._stale is None:
            raise stale
        if not self._stale.done():
            self._stale.set_exception(stale)
            self._stale.exception()  # seen: whoever stops before `watch` looks again gets no warning
        await asyncio.get_running_loop().create_future()

    async def watch(self) -> None:
        """Stay leader, and let time pass while nothing arrives; runs beside the pump until cancelled.

        Raises StaleEngine when another process took over: this one must stop and start again.
        """
        if self._stale is None:
            raise RuntimeError("watch before start: call start first")
        # Beside it, since a tick that finds itself stale ends never, nor does one whose turn a stale batch holds.
        keeping = asyncio.create_task(self._keep_lead())
        try:
            await asyncio.wait({self._stale, keeping}, return_when=asyncio.FIRST_COMPLETED)
            await (self._stale if self._stale.done() else keeping)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _keep_lead(self) -> None:
        while True:
            await asyncio.sleep(self._tick_every)
            try:
                if not await self._log.lead():
                    raise StaleEngine(f"engine {self._name!r}: another process leads now; start this one again")
                if time.monotonic() - self._fed_at >= self._tick_every:
                    await self.tick()
            except self._transient as error:
                _logger.warning("engine can't reach its log or database; trying again", error=str(error))

    async def tick(self) -> None:
        """Let the engine see that nothing came: sources that all stopped are lost in the end.

        The tick is no record of the log, so the state that has it is saved before the events that follow from it go
        out: after a crash between the two, `start` makes them again. What waits from before goes out before that: no
        saved state makes it again.
        """
        async with self._turn:
            await self._publish()
            if self._version == 0 or not self._buried:
                return
            self.engine.believe(self._present())
            self.engine.tick(self._present())
            await self._save()
            self.engine.advance()
            await self._publish()

    async def finish(self) -> None:
        """Publish and save what is left, at a stop after the pump was cancelled; a database that is away is no fault.

        What can't be saved now is made again from the log at the next start. A worker that lost the lead saves nothing.
        """
        if self._stale is None or self._stale.done():
            return
        async with self._turn:
            try:
                await self._publish()
                if self._next and self._buried:
                    await self._write()
            except StaleEngine:
                _logger.warning("engine not saved at its stop: another process has gone on")
            except self._transient as error:
                _logger.warning("engine not saved at its stop; it goes on from the last state", error=str(error))
