"""Claims: one holder at a time, given back by release, by closing and by a dead connection."""

from __future__ import annotations

import asyncpg

from app.migrations import migrate
from app.store import Store
from tests.app.store_world import NOON


async def test_one_process_holds_a_claim_and_others_get_it_after_it(postgres_url: str) -> None:
    await migrate(postgres_url)
    first = await Store.open(postgres_url, lambda: NOON)
    other = await Store.open(postgres_url, lambda: NOON)
    assert await first.hold("source a")
    assert await first.hold("source a"), "keeping is no second claim"
    assert await first.hold("source b")
    assert not await other.hold("source a")
    await first.let_go("source a")
    assert await other.hold("source a")
    assert not await first.hold("source a")
    await first.aclose()
    assert await other.hold("source b")
    await other.aclose()


async def test_a_killed_connection_gives_its_claims_back(postgres_url: str) -> None:
    await migrate(postgres_url)
    first = await Store.open(postgres_url, lambda: NOON)
    other = await Store.open(postgres_url, lambda: NOON)
    assert await first.hold("source a")
    admin = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    await admin.close()
    assert await other.hold("source a")
    await first.aclose()
    await other.aclose()


async def test_sqlite_serves_one_process_which_holds_all(sqlite_url: str) -> None:
    await migrate(sqlite_url)
    store = await Store.open(sqlite_url, lambda: NOON)
    assert await store.hold("anything")
    await store.let_go("anything")
    await store.aclose()
