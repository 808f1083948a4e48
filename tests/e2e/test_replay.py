"""A replay gives the alerts of the live run, marked REPLAY, from a file or the store, and touches nothing live."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from streams.records import AlertEvent
from tests.e2e.outcome import Outcome, assert_alerts, wait_for_end
from tests.oracle_alerts import Transition, transitions
from tests.process import Place, WarRoom
from tests.world import Shape, World
from tests.world_texts import Sentence


@pytest.fixture
def world(sentences: list[Sentence]) -> World:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)
    return World(Shape(seed=7, mentions=1200, rate=2.0, early_deletions=False, garbage=False), start, sentences)


@pytest.fixture
async def lived(here: Place, world: World) -> Place:
    """A place in which the world was heard live, to its end; nothing runs there any more."""
    path = world.write(here.folder / "world.jsonl")
    here.configure(world.configuration(world.file_source(path)))
    process = here.start("up")
    process.address()
    outcome = Outcome.of(f"sqlite:///{here.data / 'warroom.db'}")
    try:
        await wait_for_end(outcome, world.truth, world.alerts(), within=60.0)
        assert_alerts(await outcome.events(), world.alerts(), world.truth)
    finally:
        await outcome.aclose()
    assert process.stop() == 0
    return here


def kept(place: Place) -> dict[str, str]:
    """Return a digest of the log's bytes and of every row of every table."""
    found = {"log": hashlib.sha256((place.data / "log.db").read_bytes()).hexdigest()}
    with closing(sqlite3.connect(f"file:{place.data / 'warroom.db'}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = sorted(map(repr, database.execute(f'SELECT * FROM "{table}"')))
            found[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    assert len(found) > 10
    return found


async def replayed(process: WarRoom, expected: int, within: float) -> list[AlertEvent]:
    """Return the transitions that a running replay tells of, once there are as many as expected."""
    deadline = time.monotonic() + within
    async with httpx.AsyncClient(base_url=await asyncio.to_thread(process.address)) as client:
        while True:
            events: list[AlertEvent] = []
            alerts = (await client.get("/api/alerts", params={"realm": "replay", "limit": 500})).raise_for_status()
            for alert in alerts.json():
                story = (await client.get(f"/api/alerts/{alert['alert_id']}")).raise_for_status().json()
                events += [AlertEvent.model_validate(event) for event in story["events"]]
            if len(events) >= expected or time.monotonic() > deadline:
                await _assert_marked(client)
                return events
            await asyncio.sleep(0.5)


async def _assert_marked(client: httpx.AsyncClient) -> None:
    wall = (await client.get("/api/wall/replay/snapshot")).raise_for_status().json()
    assert wall["realm"] == "replay"
    assert wall["title"].endswith("REPLAY")
    assert {source["realm"] for source in wall["sources"]} == {"replay"}
    assert (await client.get("/api/mentions", params={"realm": "live"})).json()["items"] == []
    assert (await client.get("/api/mentions", params={"realm": "replay"})).json()["items"] != []


async def test_a_file_replays_to_the_same_alerts(lived: Place, world: World) -> None:
    expected = world.alerts(realm="replay", source="replay")
    assert [one[3:] for one in expected] == [one[3:] for one in world.alerts()]
    before = kept(lived)
    process = lived.start("replay", str(lived.folder / "world.jsonl"), "--speed", "600", "--port", "0")
    events = await replayed(process, len(expected), 60.0)
    assert transitions(events) == expected
    assert process.stop() == 0
    assert kept(lived) == before


async def test_the_store_replays_to_the_same_alerts(lived: Place, world: World) -> None:
    expected = world.alerts(realm="replay")
    before = kept(lived)
    begin, end = world.start - timedelta(seconds=1), world.ends + timedelta(seconds=1)
    span = ["--from", f"{begin:%Y-%m-%dT%H:%M:%S}", "--to", f"{end:%Y-%m-%dT%H:%M:%S}"]
    process = lived.start("replay", *span, "--speed", "600", "--port", "0")
    events = await replayed(process, len(expected), 60.0)
    assert transitions(events) == expected
    assert process.stop() == 0
    assert kept(lived) == before


def test_exit_at_end_ends_by_itself_and_wakes_nobody_but_the_console(here: Place, world: World) -> None:
    path = world.write(here.folder / "world.jsonl")
    here.configure(world.configuration(world.file_source(path)))
    process = here.start("replay", str(path), "--speed", "600", "--port", "0", "--exit-at-end")
    assert process.wait(60.0) == 0, process.said()[-3000:]
    assert "/wall/replay" in process.said()
    lines = [json.loads(line) for line in process.errors.read_text("utf-8").splitlines() if line.startswith("{")]
    told = Counter((line["rule"], line["realm"], line["state"]) for line in lines if line["event"] == "alert")
    assert told == Counter((rule, realm, state) for rule, realm, *_, state, _, _ in _short(world))
    assert not (here.data / "warroom.db").exists(), "live data is not touched"


def _short(world: World) -> list[Transition]:
    return world.alerts(realm="replay", source="replay")


def test_a_replay_needs_one_thing_to_replay(here: Place) -> None:
    here.configure("version: 1\n")
    neither = here.run("replay")
    assert neither.returncode == 2
    assert "name either a FILE or both --from and --to" in neither.stderr.decode()
    assert here.run("replay", str(here.folder / "nothing.jsonl")).returncode == 2
