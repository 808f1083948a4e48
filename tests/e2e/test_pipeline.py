"""The whole pipeline against an independent truth, on files and on a broker with PostgreSQL: the same world, the same
rows, counts, dead letters, alerts and wall."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from app.process import open_stream
from app.settings import load_settings
from tests.e2e.lanes import Lane
from tests.e2e.outcome import (
    Outcome,
    assert_alerts,
    assert_letters,
    assert_rows,
    assert_wall,
    letters,
    recount,
    wait_for_end,
)
from tests.world import KIND, SOURCE, Shape, Truth, World
from tests.world_texts import Sentence

MENTIONS = 3000
RATE = 3.5


@pytest.fixture
def world(sentences: list[Sentence]) -> World:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=40)
    return World(Shape(seed=20261122, mentions=MENTIONS, rate=RATE), start, sentences)


async def test_the_whole_world_is_heard_once_and_told_right(
    lane: Lane, world: World, record_property: Callable[[str, object], None]
) -> None:
    alerts = world.alerts()
    assert len(alerts) >= 20, "the world must fire and resolve its rules"
    path = world.write(lane.place.folder / "world.jsonl")
    lane.place.configure(world.configuration(world.file_source(path)))
    began = time.monotonic()
    lane.start_all()
    record_property("seconds_to_start", round(time.monotonic() - began, 1))
    outcome = Outcome.of(lane.database)
    try:
        took = await wait_for_end(outcome, world.truth, alerts, within=120.0)
        record_property("seconds_to_end", round(took, 1))
        assert_rows(await outcome.rows(), world.truth)
        assert await outcome.minutes() == recount(world.truth)
        assert_alerts(await outcome.events(), alerts, world.truth)
        stages = await outcome.stages()
        assert stages["stored"] == len(world.truth.rows)
        assert stages["dead_score"] == world.truth.unscorable
        assert {name for name in stages if name.startswith("dead_")} == {"dead_score"}
        await assert_wall(lane.wall, world.truth)
        await assert_api(lane.wall, world.truth)
        assert_counters(lane, world.truth)
        assert set(lane.stop_all().values()) == {0}, lane.said()
        await assert_dead(lane, world.truth)
    finally:
        await outcome.aclose()


async def assert_api(address: str, truth: Truth) -> None:
    """What may be read can be read, once; what was withdrawn can't, by name or by search."""
    gone = [name for name, row in truth.rows.items() if row.deleted]
    assert len(gone) >= 20
    async with httpx.AsyncClient(base_url=address) as client:
        for name in gone[:40]:
            assert (await client.get(f"/api/mentions/{KIND}/{quote(name)}")).status_code == 404
        found: list[str] = []
        after = None
        while True:
            page = await client.get("/api/mentions", params={"limit": 500, **({"after": after} if after else {})})
            body = page.raise_for_status().json()
            found += [item["mention"]["native_id"] for item in body["items"]]
            after = body["after"]
            if after is None:
                break
        assert len(found) == len(set(found))
        assert set(found) == truth.readable.keys()
        name, row = next(iter(truth.readable.items()))
        one = (await client.get(f"/api/mentions/{KIND}/{quote(name)}")).raise_for_status().json()
        assert one["mention"]["text"] == row.text
        assert one["score"]["sentiment"]["label"] == row.score.sentiment.label
        ledger = (await client.get("/api/sources", params={"realm": "live"})).raise_for_status().json()
        assert [line["pulse"]["status"] for line in ledger] == ["finished"]
        assert (await client.get("/health")).json()["status"] == "ok"


def assert_counters(lane: Lane, truth: Truth) -> None:
    counted = lane.counters(SOURCE)
    assert counted["received"] == truth.received
    assert counted["matched"] == truth.matched
    assert counted["duplicated"] == truth.duplicated
    assert counted["scored"] == truth.scored
    assert counted["dead"] == len(truth.dead) + truth.unscorable
    assert len(truth.rows) <= counted["stored"] <= truth.scored
    assert counted["shown"] >= len(truth.rows)


async def assert_dead(lane: Lane, truth: Truth) -> None:
    stream = await open_stream(load_settings(lane.place.environment()))
    try:
        found = await letters(stream)
    finally:
        await stream.aclose()
    assert_letters(found, truth)
    assert len(found) == len(truth.dead) + truth.unscorable
    longest = max(found, key=lambda letter: letter.payload_bytes)
    assert longest.payload_bytes > 16 * 2**20
    assert json.loads(longest.model_dump_json())["stage"] == "source"
