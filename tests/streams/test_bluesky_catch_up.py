"""Bluesky behind its end: what rules are told of the time while an outage is caught up with, or while nothing comes."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from streams.backoff import Backoff
from streams.embedded import EmbeddedStream
from streams.records import MENTIONS, AnyRecord, Mention, Pulse, SourceStatus, decode
from streams.sources import bluesky, supervise
from streams.sources.bluesky import BlueskySettings, BlueskySource
from tests.streams.test_bluesky import event, jetstream, source, until_it_breaks
from tests.streams.test_supervise import Memory

NOW = datetime(2026, 5, 25, 14, 30, tzinfo=UTC)
LATENESS = timedelta(seconds=5)


def post(number: int, at: datetime) -> dict[str, Any]:
    frame = event(number, time_us=int(at.timestamp() * 1e6))
    frame["commit"]["record"]["createdAt"] = at.isoformat()
    return frame


class World:
    """A network, a machine's clock, and all that was posted so far; supervised until told otherwise."""

    def __init__(self) -> None:
        self.now = NOW
        self.posted: list[dict[str, Any]] = []
        self.log = Memory()

    def goes_on(self, minutes: int) -> None:
        """Let time pass, with a post each minute."""
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            self.posted.append(post(len(self.posted), self.now))

    async def speak(self, connection: ServerConnection, cursor: int) -> None:
        """Send what was posted since the cursor, quickly, and then what is posted."""
        sent = 0
        while connection.close_code is None:
            for frame in self.posted[sent:]:
                sent += 1
                if frame["time_us"] >= cursor:
                    await connection.send(json.dumps(frame))
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)

    async def listen(self, endpoint: str, stream: EmbeddedStream, until: int) -> list[AnyRecord]:
        """Supervise until that many posts are in the log and the source has caught up; return what is new in it."""
        made = BlueskySettings(id="s", endpoint=endpoint)
        living = BlueskySource(made, clock=lambda: self.now)
        tail = await stream.consumer(MENTIONS, None, "latest")
        running = asyncio.create_task(
            supervise.supervise(
                living, made, stream, self.log, lambda _: ("q",), clock=lambda: self.now, backoff=Backoff(0.01, 0.02)
            )
        )
        found: list[AnyRecord] = []
        async with asyncio.timeout(20):
            while self.log.tally.matched < until or not any(one.at == self.now for one in pulses(found)):
                found += [decode(one.value) for one in await tail.fetch(1000, 0.1)]
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return found


def pulses(records: list[AnyRecord]) -> list[Pulse]:
    return [one for one in records if isinstance(one, Pulse) and one.status is SourceStatus.LIVE]


async def test_no_pulse_runs_ahead_of_the_posts_of_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that has passed the time of a post never fires for it: the alerts of the outage would be lost."""
    monkeypatch.setattr(supervise, "PULSE_EVERY", 0.05)
    world = World()
    stream = await EmbeddedStream.open(tmp_path / "log.db")
    async with aclosing(stream), jetstream(world.speak) as (endpoint, _):
        world.goes_on(1)
        await world.listen(endpoint, stream, 1)
        world.goes_on(120)
        caught_up = await world.listen(endpoint, stream, 121)
    promised = datetime(2000, 1, 1, tzinfo=UTC)
    seen = 0
    for record in caught_up:
        if isinstance(record, Pulse):
            promised = max(promised, record.at)
        elif isinstance(record, Mention):
            assert record.published_at is not None
            assert record.published_at >= promised - LATENESS
            seen += 1
    assert seen == 120
    assert len({one.at for one in pulses(caught_up)}) > 5  # it did not only wait for the end
    assert world.log.tally.late == 0


async def test_event_time_is_that_of_the_last_events_while_the_stream_is_behind_or_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bluesky, "_QUIET", 0.8)
    hour, end = NOW - timedelta(hours=1), NOW - timedelta(seconds=1)

    async def speak(connection: ServerConnection, cursor: int) -> None:
        for frame in ("{", json.dumps(post(1, hour)), "{", json.dumps(post(2, end))):
            await connection.send(frame)
            await asyncio.sleep(0.3)
        await asyncio.sleep(1)

    async with jetstream(speak) as (endpoint, _):
        cursor = str(int((hour - timedelta(minutes=1)).timestamp() * 1e6))
        got, _ = await until_it_breaks(source(endpoint).listen(cursor))
        fresh, _ = await until_it_breaks(source(endpoint).listen(None))
    assert [one.at for one in got] == [hour - timedelta(minutes=1), hour, hour, None, end]
    assert [one.at for one in fresh] == [None, hour, hour, None, end]
    assert (got[-1].mentions, got[-1].dead) == ([], [])
