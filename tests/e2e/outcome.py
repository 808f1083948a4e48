"""What came of a world: read from the tables, the log and the HTTP interface, and compared with the truth.

Owns the comparison. Does not own the truth (`tests.world`). The tables are read as they are, without the store's code.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.store.rows import ERASED
from app.tables import alert_events, mentions, rollups, stage_counts
from streams.records import DEAD, AlertEvent, DeadLetter, decode
from streams.stream import Stream
from tests.oracle_alerts import Transition, transitions
from tests.world import SOURCE, Truth

LABELS: Final = ("negative", "neutral", "positive", "low", "normal", "high", "critical")


@dataclass
class Outcome:
    """The database of a War Room. `realm` is whose mentions are meant."""

    engine: AsyncEngine
    realm: str = "live"

    @classmethod
    def of(cls, url: str, realm: str = "live") -> Outcome:
        """Open the database at `url`."""
        drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
        address = make_url(url)
        return cls(create_async_engine(address.set(drivername=drivers[address.get_backend_name()])), realm)

    async def aclose(self) -> None:
        """Free the connections."""
        await self.engine.dispose()

    async def rows(self) -> list[Mapping[str, Any]]:
        """Return every row of mentions."""
        async with self.engine.connect() as connection:
            found = await connection.execute(select(mentions).where(mentions.c.realm == self.realm))
            return [row._asdict() for row in found]

    async def count(self) -> int:
        """Return how many rows of mentions there are."""
        async with self.engine.connect() as connection:
            query = select(func.count()).select_from(mentions).where(mentions.c.realm == self.realm)
            return int((await connection.execute(query)).scalar_one())

    async def minutes(self) -> Counter[tuple[int, str, str]]:
        """Return the rollups: (minute, query, figure) -> count; query '' is all mentions."""
        found: Counter[tuple[int, str, str]] = Counter()
        async with self.engine.connect() as connection:
            for row in await connection.execute(select(rollups).where(rollups.c.realm == self.realm)):
                for name in ("total", *LABELS):
                    found[row.minute, row.query_id, name] += row._mapping[name]
        return +found

    async def events(self) -> list[AlertEvent]:
        """Return every stored transition of an alert."""
        async with self.engine.connect() as connection:
            texts = (await connection.execute(select(alert_events.c.event))).scalars().all()
        found = [decode(text.encode()) for text in texts]
        return [one for one in found if isinstance(one, AlertEvent) and one.realm == self.realm]

    async def stages(self, source: str = SOURCE) -> Counter[str]:
        """Return what the store counted of a source."""
        async with self.engine.connect() as connection:
            mine = select(stage_counts).where(stage_counts.c.source_id == source, stage_counts.c.realm == self.realm)
            return Counter({row.stage: row.number for row in await connection.execute(mine)})


async def settled(done: Callable[[], Awaitable[bool]], within: float) -> float:
    """Wait until `done`; return the seconds it took. Returns after `within` too: what then differs is the report."""
    began = time.monotonic()
    while time.monotonic() - began < within and not await done():  # noqa: ASYNC110  other processes set no event of ours
        await asyncio.sleep(0.25)
    return time.monotonic() - began


async def wait_for_end(outcome: Outcome, truth: Truth, alerts: list[Transition], within: float) -> float:
    """Wait until rows, scores, dead letters and alerts are all there, or `within` seconds have passed."""

    async def done() -> bool:
        stages = await outcome.stages()
        handled = stages["stored"] + stages["revised"] + stages["repeated"]
        return (
            handled >= truth.scored
            and stages["dead_score"] >= truth.unscorable
            and len(await outcome.events()) >= len(alerts)
            and {row["native_id"]: row["deleted_at"] is not None for row in await outcome.rows()}
            == {name: row.deleted for name, row in truth.rows.items()}
        )

    return await settled(done, within)


def assert_rows(rows: list[Mapping[str, Any]], truth: Truth, *, labels: bool = True) -> None:
    """Every mention exactly once, at the right revision, with its words or without a trace of them."""
    names = Counter(row["native_id"] for row in rows)
    assert [name for name, number in names.items() if number > 1] == []
    assert names.keys() - truth.rows.keys() == set()
    assert truth.rows.keys() - names.keys() == set()
    expected = {name: (row.revision, row.text, row.deleted) for name, row in truth.rows.items()}
    found = {row["native_id"]: (row["revision"], row["text"], row["deleted_at"] is not None) for row in rows}
    assert {name: (found[name], expected[name]) for name in found if found[name] != expected[name]} == {}
    assert {row["source_id"] for row in rows} == {SOURCE}
    gone = [row for row in rows if row["deleted_at"] is not None]
    assert [row["native_id"] for row in gone if any(row[name] != empty for name, empty in ERASED.items())] == []
    if labels:
        assert_labels(rows, truth)


def assert_labels(rows: list[Mapping[str, Any]], truth: Truth) -> None:
    """What can be read has the scorer's labels and the queries that match it."""
    different = {}
    for row in rows:
        wanted = truth.rows[row["native_id"]]
        if wanted.deleted:
            continue
        labels = (wanted.score.sentiment.label, wanted.score.urgency.label, wanted.queries)
        found = (row["sentiment"], row["urgency"], tuple(json.loads(row["queries"])))
        if found != labels:
            different[row["text"]] = (found, labels)
    assert different == {}


def recount(truth: Truth) -> Counter[tuple[int, str, str]]:
    """Return what the rollups must be."""
    found: Counter[tuple[int, str, str]] = Counter()
    for row in truth.rows.values():
        for query in ("", *row.queries):
            for name in ("total", row.score.sentiment.label, row.score.urgency.label):
                found[row.minute, query, name] += 1
    return found


def assert_alerts(events: list[AlertEvent], expected: list[Transition], truth: Truth) -> None:
    """The oracle's transitions, each once, and no words of what was withdrawn."""
    assert len({(event.alert_id, event.seq) for event in events}) == len(events)
    assert transitions(events) == expected
    withdrawn = {name for name, row in truth.rows.items() if row.deleted}
    quoted = [one for event in events for one in event.evidence if one.native_id in withdrawn and one.excerpt]
    assert quoted == []


def recount_rows(rows: list[Mapping[str, Any]]) -> Counter[tuple[int, str, str]]:
    """Return what the rollups must be by the rows' own labels: a kill may have a mention scored twice, in two batches,
    and a quantised model is not always of the same mind."""
    found: Counter[tuple[int, str, str]] = Counter()
    for row in rows:
        minute = int(row["published_at"].timestamp()) // 60
        for query in ("", *json.loads(row["queries"])):
            for name in ("total", row["sentiment"], row["urgency"]):
                found[minute, query, name] += 1
    return found


async def letters(stream: Stream, quiet: float = 1.0) -> list[DeadLetter]:
    """Return all of [dead], until nothing came for `quiet` seconds."""
    consumer = await stream.consumer(DEAD, None)
    found: list[DeadLetter] = []
    try:
        while deliveries := await consumer.fetch(1000, quiet):
            found += [one for one in (decode(delivery.value) for delivery in deliveries) if isinstance(one, DeadLetter)]
    finally:
        await consumer.aclose()
    return found


def assert_letters(found: list[DeadLetter], truth: Truth, *, once: bool = True) -> None:
    """Each garbled line is there with its line, its reason and its size; so is what no model can read."""
    by_line = {letter.origin.rpartition(":")[2]: letter for letter in found if letter.stage == "source"}
    assert by_line.keys() == {str(line) for line in truth.dead}
    wrong = {
        line: by_line[str(line)].reason for line, why in truth.dead.items() if why not in by_line[str(line)].reason
    }
    assert wrong == {}
    assert all(letter.source_id == SOURCE and len(letter.payload) <= 4096 for letter in found)
    unread = {letter.origin for letter in found if letter.stage == "score"}
    assert len(unread) >= truth.unscorable
    if once:
        assert len(found) == len(truth.dead) + truth.unscorable


Told = tuple[int, dict[int, int], dict[str, object]]
"""What a wall tells: identities ever stored, those by minute of publication, the line of the source."""


def told(wall: Mapping[str, Any], truth: Truth, *, dead: bool = True) -> tuple[Told, Told]:
    """Return what a snapshot tells, and what it should. `dead` False leaves dead letters out."""
    chart = {minute["at"] // 60_000: minute["total"] for minute in wall["minutes"]}
    lines = [line for line in wall["sources"] if line["id"] == SOURCE]
    expected = {
        "received": truth.received,
        "matched": truth.matched,
        "duplicated": truth.duplicated,
        "dead": len(truth.dead) + truth.unscorable,
        "status": "finished",
    }
    if not dead:  # a stage that is killed between [dead] and its commit buries the same record again
        del expected["dead"]
    found = {name: lines[0][name] for name in expected} if lines else {}
    counts = {at: number for at, number in chart.items() if number}
    minutes = {at: number for at, number in truth.minutes.items() if at in chart}
    return (wall["figures"]["stored_total"], counts, found), (len(truth.rows), minutes, expected)


async def assert_wall(address: str, truth: Truth, within: float = 10.0, *, dead: bool = True) -> None:
    """The wall's totals, chart and source line become those of the truth."""
    async with httpx.AsyncClient(base_url=address) as client:

        async def snapshot() -> Mapping[str, Any]:
            found: Mapping[str, Any] = (await client.get("/api/wall/live/snapshot")).raise_for_status().json()
            return found

        async def done() -> bool:
            found, expected = told(await snapshot(), truth, dead=dead)
            return found == expected

        await settled(done, within)
        found, expected = told(await snapshot(), truth, dead=dead)
    assert found == expected
