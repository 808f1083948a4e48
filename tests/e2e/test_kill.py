"""kill -9 at random moments, twenty times, during a replay: nothing lost, nothing twice, and an open wall goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from random import Random
from typing import Final

import pytest

from alerts.engine import Engine
from app.process import open_stream
from app.settings import load_settings
from streams.records import SCORED, AlertEvent, AnyRecord, decode
from tests.e2e.lanes import DISTRIBUTED, EMBEDDED, Lane
from tests.e2e.outcome import (
    Outcome,
    assert_letters,
    assert_rows,
    assert_wall,
    letters,
    recount_rows,
    settled,
    told,
    wait_for_end,
)
from tests.e2e.wall_client import WallClient, watching
from tests.oracle_alerts import transitions
from tests.world import Shape, World
from tests.world_texts import Sentence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MENTIONS = 20_000
KILLS = 20
SPEED = {EMBEDDED: 45.0, DISTRIBUTED: 22.0}
"""So that the replay outlasts the kills."""
SEED = 1969
PAUSES = {EMBEDDED: (0.3, 2.5), DISTRIBUTED: (1.0, 6.0)}
"""Seconds between a start and a kill. A broker gives the work of a killed member away only at its session's end:
kills without a pause would only show that nothing gets done."""
EVERY: Final = 5
"""Of so many lives one first stores something: on a slow machine all others may end while the model still opens."""


@pytest.fixture(scope="module")
def world(sentences: list[Sentence]) -> World:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=50)
    shape = Shape(seed=SEED, mentions=MENTIONS, rate=8.0, early_deletions=False, longest_line=2**21)
    return World(shape, start, sentences)


async def test_twenty_kills_lose_nothing_and_double_nothing(
    lane: Lane, world: World, record_property: Callable[[str, object], None]
) -> None:
    lane.place.pin_port()
    path = world.write(lane.place.folder / "world.jsonl")
    lane.place.configure(world.configuration(world.file_source(path, speed=SPEED[lane.name])))
    lane.start_all()
    outcome = Outcome.of(lane.database)
    try:
        async with watching(lane.wall, lambda client: client.connections > 0) as client:
            began = time.monotonic()
            heard = await _kill(lane, outcome)
            record_property("seconds_of_killing", round(time.monotonic() - began, 1))
            assert 0 < heard < len(world.truth.rows), "the kills must fall into the replay"
            record_property("seconds_to_end", round(await wait_for_end(outcome, world.truth, [], 150.0), 1))
            await _assert_all(lane, world, outcome)
            await _assert_client(client, lane, world)
        assert set(lane.stop_all().values()) == {0}, lane.said()
        await _assert_log(lane, world, outcome)
    finally:
        await outcome.aclose()


async def _kill(lane: Lane, outcome: Outcome) -> int:
    """Kill and start again; return how many mentions were stored at the last kill."""
    random, heard = Random(SEED), 0

    async def more() -> bool:
        return await outcome.count() > heard

    for at, part in enumerate(islice(cycle(lane.parts), KILLS)):
        process = lane.running[part]
        if at % EVERY == EVERY - 1:
            await settled(more, 60.0)
            heard = await outcome.count()
        if lane.name == EMBEDDED and random.random() < 0.75:
            await asyncio.to_thread(process.address)
        await asyncio.sleep(random.uniform(*PAUSES[lane.name]))
        assert process.running, process.said()[-3000:]
        process.kill()
        lane.start(part)
    heard = await outcome.count()
    for process in lane.running.values():
        await asyncio.to_thread(process.address)
    return heard


async def _assert_all(lane: Lane, world: World, outcome: Outcome) -> None:
    rows = await outcome.rows()
    assert_rows(rows, world.truth, labels=False)
    assert await outcome.minutes() == recount_rows(rows)
    stages = await outcome.stages()
    assert stages["stored"] == len(world.truth.rows)
    await assert_wall(lane.wall, world.truth, within=70.0, dead=False)


async def _assert_client(client: WallClient, lane: Lane, world: World) -> None:
    """The screen that was open all along shows the right totals, and never saw what the protocol forbids."""

    async def done() -> bool:
        if not client.state:
            return False
        found, expected = told(client.state, world.truth, dead=False)
        return found == expected

    await settled(done, 70.0)
    assert client.wrong == []
    found, expected = told(client.state, world.truth, dead=False)
    assert found == expected
    serving = KILLS if lane.name == EMBEDDED else KILLS // len(lane.parts)
    assert client.snapshots >= 2, "a server that starts again has another epoch"
    assert client.connections <= 4 * (serving + 1), "no storm of connections"


async def _assert_log(lane: Lane, world: World, outcome: Outcome) -> None:
    """What is in the log, fed to an engine that nobody disturbs, gives the very alerts that were stored."""
    stream = await open_stream(load_settings(lane.place.environment()))
    history: list[tuple[AnyRecord, int]] = []
    try:
        consumer = await stream.consumer(SCORED, None)
        while deliveries := await consumer.fetch(2000, 1.0):
            history += [(decode(delivery.value), delivery.position.partition) for delivery in deliveries]
        partitions = frozenset(await consumer.end())
        await consumer.aclose()
        assert_letters(await letters(stream), world.truth, once=False)
    finally:
        await stream.aclose()
    engine = Engine(world.rules(), sources=frozenset({"world"}))
    engine.assign(partitions)
    expected: list[AlertEvent] = engine.step(history).events
    found = await outcome.events()
    assert len(expected) >= 20
    assert len({(event.alert_id, event.seq) for event in found}) == len(found)
    assert transitions(found) == transitions(expected)
