"""The worker between a real embedded log and a real SQLite store, with faults between its effects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alerts.engine import Engine
from alerts.ports import SavedEngine, StaleEngine
from alerts.worker import GROUP, EngineWorker
from app.store import Store
from streams.embedded import EmbeddedStream
from streams.pump import Received, pump
from streams.records import ALERTS, DEAD, SCORED, AlertEvent, AnyRecord, SourceStatus, decode, encode
from streams.stream import Consumer, Delivery, Item, StreamError
from tests.alerts.worlds import History, Post, history_of, mention, pulse, rule

RULES = (rule(), rule(id="by-lang", threshold=2, group_by=["lang"], window="20s"))
WORLD: History = history_of(
    [
        Post(n, n // 10 * 200 + n, n % 30, "publish", "abc"[n % 3], "negative", "high", 0, "he", ("q",), repeat=False)
        for n in range(60)
    ],
    1,
    7,
)


class Crash(BaseException):
    """The process dies here."""


def worker_on(stream: Any, store: Any, **settings: Any) -> EngineWorker:
    return EngineWorker(stream, store, RULES, **({"save_every": 0.0, "save_share": 1e9} | settings))


async def fill(stream: EmbeddedStream, records: Sequence[AnyRecord]) -> None:
    await stream.append(SCORED, [Item("k", encode(record)) for record in records])


async def batches(consumer: Consumer, most: int = 500) -> AsyncIterator[Sequence[Delivery]]:
    """Yield what is there, up to the end as it is now."""
    left = {partition: offset for partition, offset in (await consumer.end()).items() if offset > 0}
    while left:
        batch = await consumer.fetch(most, 0.1)
        yield batch
        if batch and batch[-1].position.offset >= max(left.values()) - 1:
            return
        if not batch and not (await consumer.lag()).items:
            return


async def read(stream: EmbeddedStream, topic: str) -> list[AnyRecord]:
    consumer = await stream.consumer(topic, None)
    found = [decode(delivery.value) async for batch in batches(consumer) for delivery in batch]
    await consumer.aclose()
    return found


async def feed(stream: EmbeddedStream, worker: EngineWorker, most: int = 37) -> None:
    """Hand over what is there, without a commit, as far as the worker lives."""
    consumer = await stream.consumer(SCORED, GROUP, positions=worker.positions)
    try:
        async for batch in batches(consumer, most):
            await worker.handle([Received(one, decode(one.value)) for one in batch])
    finally:
        await consumer.aclose()


async def run(stream: EmbeddedStream, worker: EngineWorker) -> None:
    await worker.start()
    await feed(stream, worker)


def expected() -> list[AlertEvent]:
    return Engine(RULES).step(WORLD).events


async def test_events_and_state_are_durable_and_a_restart_goes_on(stream: EmbeddedStream, store: Store) -> None:
    records = [record for record, _ in WORLD]
    await fill(stream, records[:200])
    await run(stream, worker_on(stream, store))
    await fill(stream, records[200:])
    await run(stream, worker_on(stream, store))
    assert await read(stream, ALERTS) == expected()
    assert len(expected()) > 4


class Fragile:
    """A log or store in which one call dies, before or after its effect."""

    def __init__(self, inner: Any, method: str, call: int, *, after: bool) -> None:
        self._inner, self._method, self._left, self._after = inner, method, call, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        async def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Crash
            answer = await found(*arguments)
            if self._left == 0:
                raise Crash
            return answer

        return call


@pytest.mark.parametrize("method", ["append", "save_engine"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 4])
async def test_a_crash_between_append_and_save_makes_the_same_events_again(
    stream: EmbeddedStream, store: Store, method: str, after: bool, call: int
) -> None:
    """Invariants 1 and 5."""
    await fill(stream, [record for record, _ in WORLD])
    fragile_stream = Fragile(stream, method, call, after=after) if method == "append" else stream
    fragile_store = Fragile(store, method, call, after=after) if method == "save_engine" else store
    with pytest.raises(Crash):
        await run(stream, worker_on(fragile_stream, fragile_store))
    await run(stream, worker_on(stream, store))
    found = await read(stream, ALERTS)
    distinct = {(event.alert_id, event.seq): event for event in found if isinstance(event, AlertEvent)}
    assert list(distinct.values()) == expected()
    assert all(event in expected() for event in found)


class Away:
    """A log that can't be appended to, twice."""

    def __init__(self, inner: EmbeddedStream) -> None:
        self.inner, self.faults = inner, 2
        self.identity = inner.identity

    async def append(self, topic: str, items: Sequence[Item]) -> None:
        if topic == ALERTS and self.faults:
            self.faults -= 1
            raise StreamError("away")
        await self.inner.append(topic, items)


async def test_the_pump_tries_again_and_nothing_is_lost_or_rejected_in_silence(
    stream: EmbeddedStream, store: Store
) -> None:
    await fill(stream, [mention("x", 1).mention, *(record for record, _ in WORLD)])
    away = Away(stream)
    worker = worker_on(away, store)
    await worker.start()
    consumer = await stream.consumer(SCORED, GROUP, positions=worker.positions)
    told: dict[str, Any] = {"topic": SCORED, "group": GROUP, "stage": "alert", "progress": worker.progress}
    handle = pump(stream, consumer, worker.handle, **told)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(handle), tasks.create_task(worker.watch())]
        for topic, least in ((ALERTS, len(expected())), (DEAD, 1)):
            tail, seen = await stream.consumer(topic, None), 0
            while seen < least:
                seen += len(await tail.fetch(500, 5.0))
        for task in running:
            task.cancel()
    await worker.finish()
    await consumer.aclose()
    assert away.faults == 0
    assert await read(stream, ALERTS) == expected()
    assert [letter.reason for letter in await read(stream, DEAD)] == [  # type: ignore[union-attr]
        "[scored] holds no mention; append it to its own topic"
    ]
    assert (await store.load_engine("engine") or SavedEngine("", {}, 0)).positions == {0: len(WORLD) + 1}


async def test_nothing_is_saved_beyond_what_is_still_to_go_to_dead(stream: EmbeddedStream, store: Store) -> None:
    """Invariant 1: the pump appends what a batch rejected after it; a tick or a stop may come before that."""
    await fill(stream, [mention("x", 1).mention, pulse(1)])
    worker = worker_on(stream, store)
    await worker.start()
    await worker._write()
    await feed(stream, worker, most=500)
    await worker.handle(())  # the rest of a batch that is handled record by record
    await worker.tick()
    await worker.finish()
    saved = await store.load_engine("engine")
    assert saved is not None
    assert not saved.positions
    worker.progress.last_commit_at = datetime.now(UTC)
    await worker.tick()
    saved = await store.load_engine("engine")
    assert saved is not None
    assert saved.positions == {0: 2}


async def test_a_tick_publishes_what_waits_before_it_saves(stream: EmbeddedStream, store: Store) -> None:
    """Invariant 1: [alerts] can't be appended to, a tick comes meanwhile, and then the process is killed."""
    told: list[AnyRecord] = [
        pulse(0),
        *(mention(f"m{n}", 5) for n in range(4)),
        *(pulse(second) for second in range(1, 16)),
    ]
    await fill(stream, [mention("x", 1).mention, *told])
    away = Away(stream)
    worker = worker_on(away, store)
    await worker.start()
    await worker._write()
    with pytest.raises(StreamError):
        await feed(stream, worker, most=500)
    with pytest.raises(StreamError):
        await worker.tick()
    await worker.tick()
    saved = await store.load_engine("engine")
    assert saved is not None
    assert not saved.positions, "beyond what is still to go to [dead]"
    await run(stream, worker_on(stream, store))
    events = Engine(RULES).step([(record, 0) for record in told]).events
    assert await read(stream, ALERTS) == [*events, *events]
    assert events


async def test_another_process_fences_this_one(stream: EmbeddedStream, store: Store) -> None:
    await fill(stream, [pulse(1)])
    first, second = worker_on(stream, store), worker_on(stream, store)
    await run(stream, first)
    await fill(stream, [pulse(2)])
    await run(stream, second)
    await fill(stream, [pulse(3)])
    blocked = asyncio.create_task(feed(stream, first))
    with pytest.raises(StaleEngine, match="saved by another process"):
        await first.watch()
    assert not blocked.done()
    blocked.cancel()
    await asyncio.wait({blocked})
    await first.finish()
    saved = await store.load_engine("engine")
    assert saved is not None
    assert (saved.version, saved.positions) == (2, {0: 2})


@pytest.mark.parametrize("batch_waits", [False, True])
async def test_a_tick_ends_in_an_error_too_when_another_process_went_on(
    stream: EmbeddedStream, store: Store, batch_waits: bool
) -> None:
    await fill(stream, [pulse(1)])
    first = worker_on(stream, store, tick_every=0.05)
    await run(stream, first)
    await fill(stream, [pulse(2)])
    await run(stream, worker_on(stream, store))
    waiting = []
    if batch_waits:  # it holds the turn, so that no tick comes to it
        await fill(stream, [pulse(3)])
        await first._turn.acquire()
        watching = asyncio.create_task(first.watch())
        await asyncio.sleep(0.2)
        first._turn.release()
        first._fed_at = 0.0
        waiting = [asyncio.create_task(feed(stream, first))]
    else:
        watching = asyncio.create_task(first.watch())
    with pytest.raises(StaleEngine, match="saved by another process"):
        async with asyncio.timeout(20):
            await watching
    for task in waiting:
        task.cancel()
    await asyncio.wait_for(first.finish(), 5)


async def test_a_changed_rule_is_resolved_at_the_start(stream: EmbeddedStream, store: Store) -> None:
    burst: list[AnyRecord] = [mention(f"m{n}", 5) for n in range(4)]
    await fill(stream, [pulse(0), *burst, *(pulse(second) for second in range(1, 16))])
    await run(stream, worker_on(stream, store))
    later = EngineWorker(stream, store, [rule(threshold=99)])
    await later.start()
    later = EngineWorker(stream, store, [rule(threshold=99)])
    await later.start()
    states = [(e.rule_id, e.state.value, e.reason) for e in await read(stream, ALERTS) if isinstance(e, AlertEvent)]
    assert states[-2:] == [("r", "resolved", "the rule was changed"), ("by-lang", "resolved", "the rule was removed")]
    assert len(states) == 4


@pytest.mark.parametrize("known", [False, True])
async def test_what_a_crash_left_open_ends_at_a_start_with_other_rules(
    stream: EmbeddedStream, store: Store, known: bool
) -> None:
    """Killed between append and save; `known`: what the saved state has open has gone on since."""
    burst: list[AnyRecord] = [mention(f"m{n}", 5) for n in range(4)]
    told: list[AnyRecord] = [pulse(0), *burst, *(pulse(second) for second in range(1, 16))]
    quiet = [pulse(15, sent=second, status=SourceStatus.STALLED) for second in range(16, 30)]
    await fill(stream, told if known else told[:1])
    await run(stream, worker_on(stream, store))
    await fill(stream, quiet if known else told[1:])
    with pytest.raises(Crash):
        await run(stream, worker_on(stream, Fragile(store, "save_engine", 1, after=False)))
    before = [event for event in await read(stream, ALERTS) if isinstance(event, AlertEvent)]
    assert [event.state.value for event in before] == ["firing"] * 2 + ["no_data"] * 2 * known
    for _ in range(2):
        later = EngineWorker(stream, store, [rule(name="Changed")], save_every=0.0, save_share=1e9)
        await run(stream, later)
        await fill(stream, [pulse(second) for second in range(30, 60)])
    events = [event for event in await read(stream, ALERTS) if isinstance(event, AlertEvent)]
    assert len({(event.alert_id, event.seq) for event in events}) == len(events)
    last = {event.alert_id: event for event in sorted(events, key=lambda one: one.seq)}
    assert {event.state.value for event in last.values()} == {"resolved"}
    reasons = {event.rule_id: event.reason for event in last.values() if event.rule_name == "Trouble"}
    assert reasons == {"r": "the rule was changed", "by-lang": "the rule was removed"}
    anew = [event.started_at for event in events if event.rule_name == "Changed" and event.state.value == "firing"]
    assert (anew == [before[0].started_at]) != known


async def test_silence_of_the_whole_log_becomes_no_data(stream: EmbeddedStream, store: Store) -> None:
    burst: list[AnyRecord] = [mention(f"m{n}", 5) for n in range(4)]
    await fill(stream, [pulse(0), *burst, *(pulse(second) for second in range(1, 16))])
    ahead = [pulse(second).sent_at for second in range(16, 400, 4)]
    worker = worker_on(stream, store, clock=lambda: ahead.pop(0))
    await run(stream, worker)
    for _ in range(40):
        await worker.tick()
    events = [event for event in await read(stream, ALERTS) if isinstance(event, AlertEvent)]
    assert [event.state.value for event in events] == ["firing", "firing", "no_data", "no_data"]
    assert {event.reason for event in events[2:]} == {"can't be seen: a is lost"}
    again = worker_on(stream, store)
    await again.start()
    assert len(await read(stream, ALERTS)) == 4


async def test_another_log_is_read_from_its_beginning_with_the_state_kept(tmp_path: Path, store: Store) -> None:
    """The remedy for a damaged log is a new one: what it brings below the old positions counts all the same."""
    records = [record for record, _ in WORLD]
    for name, part in (("old", records[:200]), ("new", records[200:])):
        stream = await EmbeddedStream.open(tmp_path / f"{name}.db")
        await fill(stream, part)
        await run(stream, worker_on(stream, store))
        found = await read(stream, ALERTS)
        await stream.aclose()
        saved = await store.load_engine("engine")
        assert saved is not None
        assert (saved.log, dict(saved.positions)) == (stream.identity, {0: len(part)})
        assert found == [event for event in expected() if event in found]
        assert found


async def test_offsets_of_before_a_log_was_set_back_are_dropped_while_the_worker_runs(
    tmp_path: Path, store: Store
) -> None:
    records = [record for record, _ in WORLD]
    stream = await EmbeddedStream.open(tmp_path / "old.db")
    await fill(stream, records)
    await run(stream, worker_on(stream, store))
    await stream.aclose()
    async with aclosing(await EmbeddedStream.open(tmp_path / "new.db")) as stream:
        await fill(stream, records[:50])
        saved = await store.load_engine("engine")
        assert saved is not None
        await store.save_engine("engine", replace(saved, version=saved.version + 1, log=stream.identity))
        await run(stream, worker_on(stream, store))
        saved = await store.load_engine("engine")
    assert saved is not None
    assert (saved.log, dict(saved.positions)) == (stream.identity, {0: 50})
