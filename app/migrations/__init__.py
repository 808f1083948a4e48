"""Migrations: how a database of either kind gets the tables of `app.tables`, and stays at them.

Owns the Alembic environment and `migrate`. Does not own table definitions. Every revision is written to run on SQLite
(batch mode) and on PostgreSQL, and goes back too.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.store.address import read_address
from app.store.database import begin_sqlite

FOLDER: Final = Path(__file__).parent
LOCK: Final = 0x57A2_0002
"""Key of the PostgreSQL advisory lock under which one process migrates and the others wait."""

_WAL_SECONDS: Final = 30.0


def alembic_config(connection: Connection) -> Config:
    """Return the configuration with which any Alembic command runs on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _move(connection: Connection, revision: str) -> None:
    config = alembic_config(connection)
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision` in one transaction; safe when many processes do it at once.

    Raises alembic.util.CommandError when the database is of a newer War Room than this one, and the driver's error
    when it can't be reached.
    """
    given = read_address(url)
    address = given.url
    engine = create_async_engine(address, poolclass=NullPool, hide_parameters=True, connect_args=given.arguments({}))
    lite = address.get_backend_name() == "sqlite"
    if lite:
        Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_keep_wal, str(address.database))
        event.listen(engine.sync_engine, "connect", _bare_sqlite)
        event.listen(engine.sync_engine, "begin", begin_sqlite)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(war_room_begin="BEGIN IMMEDIATE")
            async with connection.begin():
                if not lite:
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                await connection.run_sync(_move, revision)
    finally:
        await engine.dispose()


def _keep_wal(path: str) -> None:
    """Put a new file into WAL mode, for good; SQLite does not wait for a neighbour that does the same, so we do."""
    until = time.monotonic() + _WAL_SECONDS
    with closing(sqlite3.connect(path, timeout=_WAL_SECONDS)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return


def _bare_sqlite(dbapi_connection: object, _record: object) -> None:
    """No foreign keys here: batch mode drops and rebuilds tables that others point to. What goes is overwritten."""
    dbapi_connection.isolation_level = None  # type: ignore[attr-defined]  # a DBAPI connection has no static type
    cursor = dbapi_connection.cursor()  # type: ignore[attr-defined]  # as above
    cursor.execute("PRAGMA busy_timeout=60000")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()
