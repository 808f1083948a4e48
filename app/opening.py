"""Opening what a process keeps its data in: what the usual faults mean, with setting, place and remedy.

Owns those words, and that only what is there is opened where nothing may be made. Does not own the order of a start
(`app.process`). Faults that are not usual stay what they are: those are ours, and want their traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from alembic.util import CommandError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError

from app.migrations import migrate
from app.settings import Settings
from app.store import StoreUnavailable
from app.store.database import passing_driver

_USUAL: Final = (
    OSError,
    sqlite3.Error,
    DBAPIError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    CommandError,
    StoreUnavailable,
)
_WRITABLE: Final = "can't be written to; give this user the right to write it and its folder, or name another place"
_DAMAGED: Final = (
    "is damaged; move it and its -wal away and start again: with a backup in its place, or without history"
)
_SQLITE: Final = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FORMAT: _DAMAGED,
    sqlite3.SQLITE_FULL: "can't grow, its disk is full; free space and start again",
    sqlite3.SQLITE_IOERR: "can't be read or written; look after its disk (space, faults) and start again",
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_BUSY: "is kept busy by another program; try again, or stop that one",
}
_REFUSED: Final = ("28", "3D", "42501")
"""SQLSTATE: who we say we are, the database's name, a right that is missing."""


class NotOpened(RuntimeError):
    """Log or store can't be opened; the message names the variable, the place and the remedy, never a password."""


def database_name(settings: Settings) -> str:
    """Return which database is in force, as it may be shown: the file's whole path, or the address without secrets."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        return str(_file(url))
    shown = {name: url.query[name] for name in ("host", "port") if name in url.query}
    return url.set(query=shown).render_as_string(hide_password=True)


async def open_schema(settings: Settings) -> None:
    """Make what is not there and bring the schema up to date; raise NotOpened."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotOpened(
            f"WARROOM_DATA: the folder {settings.data.absolute()} can't be made ({error.strerror}); "
            "name a folder that this user may write to"
        ) from error
    with usual_faults(settings):
        await migrate(settings.database)


def expect_database(settings: Settings) -> None:
    """Raise NotOpened where SQLite would make a new, empty file: who asks for what is stored means another folder."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and not _file(url).is_file():
        raise NotOpened(
            f"{_variable(settings)}: there is no database {_file(url)}; start this in the folder of the running "
            f"`warroom up`, or set {_variable(settings)} as it has it"
        )


@contextmanager
def usual_faults(settings: Settings) -> Iterator[None]:
    """Turn the usual faults of a database that is opened into NotOpened."""
    try:
        yield
    except _USUAL as error:
        if not (meant := _meant(error)):
            raise
        cause = str(_innermost(error)) or type(error).__name__
        raise NotOpened(f"{_variable(settings)}: the database {database_name(settings)} {meant} ({cause})") from error


def _variable(settings: Settings) -> str:
    return "WARROOM_DATABASE_URL" if settings.database_url.get_secret_value() else "WARROOM_DATA"


def _file(url: URL) -> Path:
    return Path(str(url.database)).absolute()


def _innermost(error: BaseException | None) -> BaseException | None:
    if isinstance(error, StoreUnavailable):
        return _innermost(error.__cause__)
    return error.orig if isinstance(error, DBAPIError) else error


def _meant(error: BaseException) -> str:
    """Return what an error means for the database, with the remedy; empty if it is none of the usual ones."""
    driver = _innermost(error)
    if isinstance(driver, CommandError):
        return "is of a newer War Room than this one; run that version, or name another database"
    if isinstance(driver, sqlite3.Error):
        return _SQLITE.get(getattr(driver, "sqlite_errorcode", -1) & 0xFF, "")
    if str(getattr(driver, "sqlstate", None) or "").startswith(_REFUSED):
        return "refuses us; correct user, password or name in the address, or grant what is missing"
    if isinstance(driver, OSError) or passing_driver(driver):
        return "can't be reached; start it, or correct the address"
    return ""
