"""What the embedded stream and its consumers share: the file's path, its writer and readers, ends, and who waits.

Owns the wake-up of waiting fetches and the exclusiveness of group members. Does not own the port (`streams.embedded`).
Everything here runs on the event loop, except the reads that `Readers` carries to threads of their own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from streams.embedded_file import connect, read_identity, translated
from streams.embedded_retention import Retention
from streams.embedded_writer import Writer
from streams.stream import StreamError

T = TypeVar("T")


class Readers:
    """Two threads with a read connection each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="warroom-log-reader")
        self._here = threading.local()
        self._open: list[sqlite3.Connection] = []

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `read` returns, run off the event loop; SQLite's errors become the port's."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, read)

    def _run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection: sqlite3.Connection | None = getattr(self._here, "connection", None)
            if connection is None:
                connection = self._here.connection = connect(self._path, readonly=True)
                self._open.append(connection)
            return read(connection)
        except sqlite3.Error as error:
            self._leave()
            raise translated(error, self._path) from error

    def _leave(self) -> None:
        """Close this thread's connection: after an error the next read has a new one."""
        connection: sqlite3.Connection | None = getattr(self._here, "connection", None)
        if connection is not None:
            self._here.connection = None
            self._open.remove(connection)
            with suppress(sqlite3.Error):
                connection.close()

    async def aclose(self) -> None:
        """End the threads, then close their connections."""
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._open:
            connection.close()


class Log:
    """One open log file. `ends` holds the next offset of each topic, as last made durable."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, retention: Retention, clock: Callable[[], datetime]
    ) -> None:
        self.path = path
        self.clock = clock
        self.identity = read_identity(connection)
        self.ends: dict[str, int] = {}
        self.closed = False
        self.readers = Readers(path)
        self._news: dict[str, asyncio.Event] = {}
        self._members: frozenset[tuple[str, str]] = frozenset()
        self.writer = Writer(path, connection, retention, clock, self._publish, lambda: self._members)

    def check_open(self) -> None:
        """Raise StreamError once the log is closed."""
        if self.closed:
            raise StreamError(f"the log {self.path} is closed")

    def enter(self, topic: str, group: str) -> None:
        """Take the group's one place at `topic`; StreamError if it is taken."""
        if (topic, group) in self._members:
            raise StreamError(f"group {group} already reads {topic}; the embedded log has one member per group")
        self._members |= {(topic, group)}

    def leave(self, topic: str, group: str) -> None:
        """Give the place free."""
        self._members -= {(topic, group)}

    async def wait_beyond(self, topic: str, offset: int, wait: float) -> bool:
        """Return whether the topic's end is beyond `offset`, after waiting up to `wait` seconds for it to be."""
        if self.ends.get(topic, 0) <= offset and wait > 0 and not self.closed:
            event = self._news.setdefault(topic, asyncio.Event())
            try:
                async with asyncio.timeout(wait):
                    await event.wait()
            except TimeoutError:
                pass
        self.check_open()
        return self.ends.get(topic, 0) > offset

    async def aclose(self) -> None:
        """Wake who waits, finish what was taken, end the threads."""
        self.closed = True
        for event in self._news.values():
            event.set()
        await self.writer.aclose()
        await self.readers.aclose()

    def _publish(self, ends: Mapping[str, int]) -> None:
        for topic, end in ends.items():
            if self.ends.get(topic) != end:
                self.ends[topic] = end
                self._news.pop(topic, asyncio.Event()).set()
