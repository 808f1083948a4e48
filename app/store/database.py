"""The database behind the store: engine, pool, time-outs, transactions, and every difference between the two dialects.

Owns what a transaction is here: a write runs alone on SQLite and is fenced against erasures on PostgreSQL; a read sees
one snapshot; a driver's error becomes `StoreUnavailable` when trying again is right, and stays itself when it is not
(our own damage stops the process: design.md, invariant 3). Does not own SQL of any table.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, ExceptionContext, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.store.address import read_address

CONNECT_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 60.0
BUSY_MS: Final = 15_000
FENCE: Final = 0x57A2_0001
"""Key of the PostgreSQL advisory lock that orders erasures against writes of what they erase."""

_RETRY_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_READ_ONLY: Final = "25006"
_RETRY_SQLSTATE: Final = ("08", "40", "53", "57", "55P03", "58030", _READ_ONLY)
"""Connection, rolled back by a conflict, resources, operator (shutdown, cancel), lock time-out, I/O, fail-over."""


class StoreUnavailable(Exception):
    """The database can't do it right now (away, restarting, busy, full); nothing was done, trying again is right."""


TRANSIENT: Final[tuple[type[Exception], ...]] = (StoreUnavailable,)
"""What a consume loop tries again after; every other error of the store is ours and stops the process."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between the databases."""

    insert: Callable[[Table], Any]
    fence_shared: str
    fence_alone: str
    write: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    engine: Mapping[str, Any]


SQLITE: Final = Flavour(
    insert=sqlite.insert,
    fence_shared="",
    fence_alone="",
    write={"war_room_begin": "BEGIN IMMEDIATE"},
    snapshot={},
    engine={"connect_args": {"timeout": BUSY_MS / 1000}, "pool_size": 8, "max_overflow": 0, "pool_timeout": 30},
)
POSTGRESQL: Final = Flavour(
    insert=postgresql.insert,
    fence_shared=f"SELECT pg_advisory_xact_lock_shared({FENCE})",
    fence_alone=f"SELECT pg_advisory_xact_lock({FENCE})",
    write={"isolation_level": "READ COMMITTED"},
    snapshot={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    engine={
        "pool_size": 10,
        "max_overflow": 10,
        "pool_timeout": 15,
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        "connect_args": {
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
            "server_settings": {
                "application_name": "warroom",
                "synchronous_commit": "on",
                "lock_timeout": "20s",
                "idle_in_transaction_session_timeout": "60s",
            },
        },
    },
)


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin by itself: `begin_sqlite` does
    cursor = dbapi_connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        f"busy_timeout={BUSY_MS}",
        "foreign_keys=ON",
        "synchronous=FULL",
        "secure_delete=ON",  # an erased text is overwritten in the file, not only unlinked
        "cache_size=-65536",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _roll_back_sqlite(dbapi_connection: Any, _record: object, _error: object) -> None:
    """Roll back before a connection is thrown away (a task was cancelled in a transaction).

    Closing is not enough: sqlite3 keeps a closed connection's transaction, and its lock, until the last statement that
    the cancelled task's frames still hold is collected. Locked by the cancel storm in tests/app/test_store_faults.py.
    """
    dbapi_connection.rollback()


def begin_sqlite(connection: Connection) -> None:
    """Begin as the connection's options say: a write takes SQLite's lock at once, so that it never fails half-way."""
    connection.exec_driver_sql(connection.get_execution_options().get("war_room_begin", "BEGIN"))


def _leave_reader(context: ExceptionContext) -> None:
    """Give up the connections to a writer that became a reader: they live on, and would stay with it."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def make_engine(url: str) -> tuple[AsyncEngine, Flavour]:
    """Return an engine for the address (connections are made when needed) and its flavour.

    Its errors hold no parameters: the texts of mentions must not reach the logs.
    """
    address = read_address(url)
    if address.url.get_backend_name() == "sqlite":
        engine = create_async_engine(address.url, hide_parameters=True, **SQLITE.engine)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", begin_sqlite)
        event.listen(engine.sync_engine, "invalidate", _roll_back_sqlite)
        return engine, SQLITE
    options = {**POSTGRESQL.engine, "connect_args": address.arguments(POSTGRESQL.engine["connect_args"])}
    engine = create_async_engine(address.url, hide_parameters=True, **options)
    event.listen(engine.sync_engine, "handle_error", _leave_reader)
    return engine, POSTGRESQL


def passing(error: BaseException) -> bool:
    """Whether the driver's error is one that goes away."""
    if isinstance(error, (PoolTimeout, OSError, TimeoutError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        return passing_driver(error.orig) or passing_driver(error.orig and error.orig.__cause__)
    return passing_driver(error)


def passing_driver(error: BaseException | None) -> bool:
    """Whether the innermost error, of sqlite3 or asyncpg, is one that goes away."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", -1) & 0xFF in _RETRY_SQLITE or "onnection closed" in str(error)
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.TargetServerAttributeNotMatched)):
        return True
    return str(getattr(error, "sqlstate", None) or "").startswith(_RETRY_SQLSTATE)


@dataclass
class Database:
    """One engine and the two kinds of transaction on it."""

    engine: AsyncEngine
    flavour: Flavour
    _writer: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def write(self, *, erases: bool = False) -> AsyncIterator[AsyncConnection]:
        """Begin a write; commits at the end, rolls back on any error, cancellation too.

        `erases`: it takes texts away for good. It then runs while no other write does, so that none that did not see
        its tombstone can commit a text after it.
        """
        async with AsyncExitStack() as stack:
            if not self.flavour.fence_alone:
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self._begin(self.flavour.write))
            if self.flavour.fence_alone:
                fence = self.flavour.fence_alone if erases else self.flavour.fence_shared
                await connection.execute(text(fence))
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Begin a read: all its statements see the same moment."""
        async with self._begin(self.flavour.snapshot) as connection:
            yield connection

    @asynccontextmanager
    async def _begin(self, options: Mapping[str, Any]) -> AsyncIterator[AsyncConnection]:
        async with self.translated(), self.engine.connect() as connection:
            await connection.execution_options(**options)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Turn errors that go away into StoreUnavailable."""
        try:
            yield
        except (DBAPIError, PoolTimeout, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not passing(error):
                raise
            raise StoreUnavailable(f"the database is not available: {type(error).__name__}: {error}") from error
