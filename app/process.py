"""One process: the log, the store, the configuration in force and its health, opened in order and closed in reverse.

Owns composition. Does not own what the roles do with the parts (`app.roles`), nor signals (`app.commands`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from app.configuration import Configuration, parse_configuration
from app.health import Health
from app.opening import NotOpened, open_schema, usual_faults
from app.settings import Settings
from app.store import TRANSIENT, Store
from app.yaml_lines import ConfigurationError
from streams.embedded import EmbeddedStream
from streams.embedded_retention import Retention
from streams.kafka import KafkaStream
from streams.kafka_cluster import KafkaSettings
from streams.normal import normalise
from streams.stream import Stream, StreamError

WATCH: Final = 1.0
"""Seconds between looks for a configuration that was applied."""

_log = structlog.get_logger("process")


def utc_now() -> datetime:
    """Return the wall clock."""
    return datetime.now(UTC)


class Desk:
    """The configuration in force and who waits for the next one."""

    def __init__(self, configuration: Configuration, revision: int) -> None:
        self.configuration = configuration
        self.revision = revision
        self._changed = asyncio.Event()

    def replace(self, configuration: Configuration, revision: int) -> None:
        """Put another configuration into force and wake all who wait."""
        self.configuration, self.revision = configuration, revision
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, seen: int) -> None:
        """Return when another configuration than that of revision `seen` is in force, at once if it is already."""
        while self.revision == seen:
            await self._changed.wait()

    async def watch(self, store: Store) -> None:
        """Look for applied configurations for ever; one that this version can't read is logged and left alone."""
        while True:
            await asyncio.sleep(WATCH)
            try:
                found = await store.configuration()
                if found is not None and found[0] > self.revision:
                    self.replace(parse_configuration(found[1], f"revision {found[0]}"), found[0])
                    _log.info("configuration_in_force", revision=found[0])
            except ConfigurationError as error:
                _log.error("configuration_refused", faults=error.faults)
            except TRANSIENT as error:
                _log.warning("store_unreachable", action="configuration stays as it is", error=str(error))


@dataclass
class Process:
    """What every role needs."""

    settings: Settings
    stream: Stream
    store: Store
    desk: Desk
    health: Health
    clock: Callable[[], datetime] = utc_now
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def open_process(
    settings: Settings,
    configuration: Configuration,
    clock: Callable[[], datetime] = utc_now,
    stopping: asyncio.Event | None = None,
    *,
    single: bool = True,
) -> AsyncIterator[Process]:
    """Open log and store, bring the schema up to date, put the configuration into force; close all in reverse.

    Raises NotOpened, or StreamError for the embedded log, when what the settings name can't be used.
    The one process of `single` puts its file into force at each start. One of many does so only with a file that was
    never in force: restarted with an old file, it follows what was applied since.
    """
    async with AsyncExitStack() as stack:
        await open_schema(settings)
        store = await Store.open(settings.database, clock, normalise=normalise)
        stack.push_async_callback(store.aclose)
        stream = await open_stream(settings)
        stack.push_async_callback(stream.aclose)
        with usual_faults(settings):
            desk = await first_desk(store, configuration, clock(), single=single)
        yield Process(settings, stream, store, desk, Health(time.time), clock, stopping or asyncio.Event())


async def open_stream(settings: Settings) -> Stream:
    """Return the log that the settings name."""
    kept = timedelta(hours=settings.log_retention_hours)
    if settings.kafka:
        return await _open_kafka(settings, kept)
    retention = Retention(age=kept, size=settings.log_retention_mb * 1024 * 1024)
    return await EmbeddedStream.open(settings.data / "log.db", retention)


async def _open_kafka(settings: Settings, kept: timedelta) -> KafkaStream:
    cluster = KafkaSettings(
        bootstrap=settings.kafka,
        prefix=settings.kafka_prefix,
        partitions=settings.kafka_partitions,
        idempotence=settings.kafka_idempotence,
        request_timeout=settings.kafka_request_timeout,
        retention=kept,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_username or None,
        sasl_password=settings.kafka_password.get_secret_value() or None,
        ssl_cafile=str(settings.kafka_ca) if settings.kafka_ca else None,
    )
    try:
        return await KafkaStream.open(cluster)
    except StreamError as error:
        raise NotOpened(f"WARROOM_KAFKA: {error}; start the brokers, or correct the address") from error
    except OSError as error:  # the client's own errors are StreamErrors: what is left is the file
        raise NotOpened(
            f"WARROOM_KAFKA_CA: {settings.kafka_ca} is no certificate authority that can be read ({error}); "
            "name its PEM file"
        ) from error


async def first_desk(store: Store, configuration: Configuration, at: datetime, *, single: bool) -> Desk:
    """Return the desk that a process starts with."""
    found = await store.configuration()
    if not single and found is not None and await store.was_in_force(configuration.sha256):
        _log.info("configuration_in_force", revision=found[0], own_file=found[1] == configuration.text)
        return Desk(parse_configuration(found[1], f"revision {found[0]}"), found[0])
    return Desk(configuration, await put_in_force(store, configuration, at))


async def put_in_force(store: Store, configuration: Configuration, at: datetime) -> int:
    """Save the configuration as the newest revision unless it is that already; return its revision."""
    found = await store.configuration()
    if found is not None and found[1] == configuration.text:
        return found[0]
    return await store.save_configuration(configuration.text, configuration.sha256, at)
