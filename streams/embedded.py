"""Stream on one SQLite file: the durable log of the all-in-one program, with no other service.

Owns the port's promises on top of the file (`streams.embedded_file`) and its writer (`streams.embedded_writer`): one
partition per topic, one member per group and topic, one process per file. Topics are made by use. Does not own the
consume loop. Reads run on threads of their own; a waiting fetch is woken by the append, nothing polls.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from streams.embedded_consumer import EmbeddedConsumer
from streams.embedded_file import first_item, lock, open_file, read_groups, read_identity, renew_identity
from streams.embedded_log import Log
from streams.embedded_retention import Retention
from streams.embedded_writer import Tables
from streams.stream import Item, Positions, Start, StreamError, check_size

_logger = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class EmbeddedStream:
    """See `streams.stream.Stream`. Made by `open`; the file belongs to this process until `aclose`."""

    def __init__(self, log: Log, held: IO[bytes]) -> None:
        self._log = log
        self._held = held

    @classmethod
    async def open(
        cls, path: Path, retention: Retention | None = None, clock: Callable[[], datetime] = _now
    ) -> EmbeddedStream:
        """Open the log at `path`, made (with its folder) if there is none.

        Raises StreamError if another process has it or it is not ours, StreamCorrupted if it is damaged.
        """
        held, connection = await asyncio.to_thread(_take, path)
        return cls(Log(path, connection, retention or Retention(), clock), held)

    @property
    def identity(self) -> str:
        """Return the name that the file got when it was made, or when it was found to be set back."""
        return self._log.identity

    async def append(self, topic: str, items: Sequence[Item]) -> None:
        """Append durably; a full disk is a StreamError, and appends go on once there is space."""
        self._log.check_open()
        check_size(items)
        if items:
            await self._log.writer.submit(lambda tables: tables.append(topic, items))

    async def consumer(
        self, topic: str, group: str | None, start: Start = "earliest", positions: Positions | None = None
    ) -> EmbeddedConsumer:
        """Return a reader; a second one of the same group and topic is a StreamError."""
        self._log.check_open()
        if group is not None:
            self._log.enter(topic, group)
        try:
            known_as = self._log.identity
            wanted = None if positions is None else (await positions(frozenset({0}))).get(0)
            asked = _Asked(topic, group, start, wanted, known_as)
            place, self._log.identity = await self._log.writer.submit(lambda tables: _join(tables, asked))
        except BaseException:
            if group is not None:
                self._log.leave(topic, group)
            raise
        if wanted is not None and wanted > place:
            _logger.error("position %d of %s is beyond the log's end: it was set back; reading it all", wanted, topic)
        return EmbeddedConsumer(self._log, topic, group, place)

    async def losses(self) -> Mapping[tuple[str, str], int]:
        """Return, per topic and group, how many items retention took before the group had read them."""

        def read(tables: Tables) -> dict[tuple[str, str], int]:
            return {
                (name, group): lost
                for name, topic in tables.topics.items()
                for group, (_, lost) in read_groups(tables.connection, topic).items()
                if lost
            }

        self._log.check_open()
        return await self._log.writer.submit(read)

    async def aclose(self) -> None:
        """Finish appends that were taken, close the file and give it free."""
        if not self._log.closed:
            await self._log.aclose()
            self._held.close()


def _take(path: Path) -> tuple[IO[bytes], sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock(path)
    except OSError as error:
        raise StreamError(f"the log {path} can't be opened: {error}") from error
    try:
        return held, open_file(path)
    except BaseException:
        held.close()
        raise


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a reader wants. `wanted` is a position under the identity `known_as`."""

    topic: str
    group: str | None
    start: Start
    wanted: int | None
    known_as: str


def _join(tables: Tables, asked: _Asked) -> tuple[int, str]:
    """Return where the reader begins, and which log this is.

    A group's beginning is kept at once: killed before its first commit it misses nothing, and retention knows of it.
    A position beyond the end shows that the file was set back: it is another log from then on, so that offsets above
    its end, stored elsewhere, don't pass for its own once it has grown over them.
    """
    topic, wanted = tables.topic(asked.topic), asked.wanted
    identity = read_identity(tables.connection)
    first = first_item(tables.connection, topic, 0)
    oldest = topic.next if first is None else first[0]
    place = oldest if asked.start == "earliest" else topic.next
    if asked.group is not None:
        known = read_groups(tables.connection, topic).get(asked.group)
        place = place if known is None else known[0]
    if wanted is not None:
        place = wanted if 0 < wanted <= topic.next else oldest
        if wanted > topic.next and identity == asked.known_as:
            identity = renew_identity(tables.connection)
    if asked.group is not None:
        tables.commit(asked.topic, asked.group, place)
    return place, identity
