"""The embedded log's file: its schema, its lock, and what an SQLite error on it means.

Owns opening, checking and reading rows. Does not own threads (`streams.embedded_writer`) nor the Stream port
(`streams.embedded`). One SQLite file in WAL mode; each topic is a table whose rowid is the offset.

A kill or a power cut is no damage: SQLite rolls the WAL back to the last commit. Damage is a page, a row or a counter
that can't be what we wrote; then the process stops, and the remedy is the operator's.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from streams.stream import Delivery, Position, StreamCorrupted, StreamError

APPLICATION_ID: Final = 0x57524C47
"""`WRLG` in the file's header: the file is a War Room log."""

VERSION: Final = 1
FULL_CHECK_BYTES: Final = 512 * 2**20
"""Up to this size every page is checked at each start (under a second); beyond, the ends of each topic are."""

FETCH_BYTES: Final = 8 * 2**20
"""A fetch ends after about this many bytes, whatever the number of items it may return."""

_FEW: Final = 100
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE topics (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  next INTEGER NOT NULL, bytes INTEGER NOT NULL, last_at INTEGER NOT NULL
);
CREATE TABLE groups (
  topic INTEGER NOT NULL REFERENCES topics, name TEXT NOT NULL,
  next INTEGER NOT NULL, lost INTEGER NOT NULL DEFAULT 0, seen_at INTEGER NOT NULL,
  PRIMARY KEY (topic, name)
) WITHOUT ROWID;
"""
_IDENTITY: Final = "CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL)"


@dataclass(slots=True)
class Topic:
    """A topic's counters: its table, the next offset, the bytes it holds, and its last append time in µs."""

    id: int
    next: int
    bytes: int
    last_at: int

    @property
    def table(self) -> str:
        """Return the table's name; safe in SQL, since it is made of a number."""
        return f"items_{self.id}"


def micros(moment: datetime) -> int:
    """Return `moment` as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(value: int) -> datetime:
    """Return the UTC datetime of `value` microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def checksum(key: str, value: bytes) -> int:
    """Return the CRC-32 that each row carries: SQLite checks the shape of its pages, not what is in them."""
    return zlib.crc32(value, zlib.crc32(key.encode()))


def translated(error: sqlite3.Error, path: Path) -> StreamError | StreamCorrupted:
    """Return what an SQLite error means for the log: damage for good, or something that may pass (a full disk)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGE:
        return StreamCorrupted(f"the log {path} is damaged ({error}); {_remedy(path)}")
    if code == sqlite3.SQLITE_FULL:
        return StreamError(f"the disk of the log {path} is full; free space, the log goes on by itself")
    return StreamError(f"the log {path} can't be used now: {error}")


def lost(path: Path, topic: str) -> StreamCorrupted:
    """Return the damage of a file that no longer has what was acknowledged: another disk, or writes that it forgot."""
    return StreamCorrupted(f"the log {path} is damaged ({topic} ends before what was written); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return f"move it away ({path}*) and start again: what was read before is in the store, what was not is lost"


def lock(path: Path) -> IO[bytes]:
    """Take the file for this process, until the returned handle is closed or the process ends, however it ends."""
    handle = Path(f"{path}.lock").open("ab")  # noqa: SIM115  held open on purpose: the lock lives as long as it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise StreamError(
            f"the log {path} is in use by another process; stop that one, or give this one a data folder of its own"
        ) from error
    return handle


def connect(path: Path, *, readonly: bool, make: bool = False) -> sqlite3.Connection:
    """Return a connection in autocommit mode; the caller begins its transactions. `make` makes a file if there is none.

    Without it a disk that is not there is an error, not an empty log.
    """
    place = f"{path.absolute().as_uri()}?mode={'rwc' if make else 'rw'}"
    connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST"
            )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_file(path: Path) -> sqlite3.Connection:
    """Return the writer's connection to a log that was checked, made first if there was none.

    Raises StreamError where the file is not ours to use, StreamCorrupted where it is damaged.
    """
    try:
        connection = connect(path, readonly=False, make=True)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    try:
        if _fresh(connection):
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")
            _sync_folder(path.parent)
        _check(connection, path)
        if not read_identity(connection):
            renew_identity(connection)
    except sqlite3.Error as error:
        connection.close()
        raise translated(error, path) from error
    except (StreamError, StreamCorrupted):
        connection.close()
        raise
    return connection


def _fresh(connection: sqlite3.Connection) -> bool:
    """Return whether nothing was ever made in the file: it is new, or its first start was cut off after the header."""
    marks = [connection.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")]
    return not any(marks) and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StreamError(f"{path} is an SQLite file but not a War Room log; choose another path")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise StreamError(
            f"the log {path} has version {version}, this program reads {VERSION}; run the one that made it"
        )
    if path.stat().st_size <= FULL_CHECK_BYTES:
        fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            raise StreamCorrupted(f"the log {path} is damaged ({' '.join(fault.split())}); {_remedy(path)}")
    for name, topic in read_topics(connection).items():
        newest = connection.execute(f"SELECT max(offset) FROM {topic.table}").fetchone()[0]  # noqa: S608  a number
        if newest is not None and newest != topic.next - 1:
            fault = f"topic {name} ends at {newest}, should at {topic.next - 1}"
            raise StreamCorrupted(f"the log {path} is damaged ({fault}); {_remedy(path)}")


def read_identity(connection: sqlite3.Connection) -> str:
    """Return which log the file is; empty for one that was not named yet."""
    connection.execute(_IDENTITY)
    row = connection.execute("SELECT id FROM identity").fetchone()
    return "" if row is None else f"embedded:{row[0]}"


def renew_identity(connection: sqlite3.Connection) -> str:
    """Make the file another log than it was (new, or set back to an older copy); return the new identity."""
    connection.execute("DELETE FROM identity")
    connection.execute("INSERT INTO identity VALUES (?)", (str(uuid4()),))
    return read_identity(connection)


def read_topics(connection: sqlite3.Connection) -> dict[str, Topic]:
    """Return the counters of every topic, as committed."""
    rows = connection.execute("SELECT name, id, next, bytes, last_at FROM topics")
    return {name: Topic(*counters) for name, *counters in rows}


def read_groups(connection: sqlite3.Connection, topic: Topic) -> dict[str, tuple[int, int]]:
    """Return, per group of `topic`, its committed position and how many items retention took from it unread."""
    rows = connection.execute("SELECT name, next, lost FROM groups WHERE topic = ?", (topic.id,))
    return {name: (following, lost) for name, following, lost in rows}


def add_topic(connection: sqlite3.Connection, name: str) -> Topic:
    """Create `name` inside the caller's transaction."""
    row = connection.execute("INSERT INTO topics (name, next, bytes, last_at) VALUES (?, 0, 0, 0)", (name,))
    topic = Topic(int(row.lastrowid or 0), 0, 0, 0)
    connection.execute(
        f"CREATE TABLE {topic.table} (offset INTEGER PRIMARY KEY, at INTEGER NOT NULL, crc INTEGER NOT NULL,"
        " key TEXT NOT NULL, value BLOB NOT NULL)"
    )
    return topic


def read_items(connection: sqlite3.Connection, path: Path, topic: Topic, start: int, most: int) -> Sequence[Delivery]:
    """Return up to `most` items from offset `start` on, up to about FETCH_BYTES; StreamCorrupted for a wrong one."""
    sql = f"SELECT offset, at, crc, key, value FROM {topic.table} WHERE offset >= ? ORDER BY offset LIMIT ?"  # noqa: S608  a number
    found: list[Delivery] = []
    size = 0
    cursor = connection.execute(sql, (start, most))
    for offset, at, crc, key, value in cursor:
        if crc != checksum(key, value):
            raise StreamCorrupted(f"the log {path} is damaged (wrong checksum at offset {offset}); {_remedy(path)}")
        found.append(Delivery(Position(0, offset), key, value, moment(at)))
        size += len(value)
        if size >= FETCH_BYTES:
            break
    cursor.close()
    return found


def first_item(connection: sqlite3.Connection, topic: Topic, start: int) -> tuple[int, int] | None:
    """Return the offset of the oldest item from `start` on, and when it was in the log (µs); None if there is none.

    That is its append time, or an earlier one of the next few: then its own was stamped by a clock that was ahead.
    """
    few = f"SELECT offset, at FROM {topic.table} WHERE offset >= ? ORDER BY offset LIMIT {_FEW}"  # noqa: S608  a number
    row = connection.execute(f"SELECT min(offset), min(at) FROM ({few})", (start,)).fetchone()  # noqa: S608  as above
    return None if row[0] is None else (row[0], row[1])
