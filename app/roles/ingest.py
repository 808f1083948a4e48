"""Role ingest: sources -> queries -> [mentions].

Owns which sources run and with which queries, and their exchange when a configuration comes into force: unchanged
sources go on undisturbed, new queries hold for all at once. Does not own a source's life (`streams.sources.supervise`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

import structlog

from app.process import Process
from app.store import TRANSIENT
from streams.pump import Progress
from streams.queries import compile_queries
from streams.records import Mention
from streams.secrets import SecretMissing
from streams.source import Arrival, Source, SourceRefused, SourceSettings
from streams.sources import load_source
from streams.sources.supervise import supervise
from streams.sources.webhook import WebhookSource

CLAIM_EVERY: Final = 2.0
"""Seconds between looks whether a source's claim is still ours, or free."""

_log = structlog.get_logger("ingest")


class Webhooks:
    """The running sources that take pushes, by id: what the HTTP route finds."""

    def __init__(self) -> None:
        self._running: dict[str, WebhookSource] = {}

    def find(self, source_id: str) -> WebhookSource | None:
        """Return the running webhook source of that id."""
        return self._running.get(source_id)

    def add(self, source_id: str, source: Source) -> None:
        """Offer a source's pushes, if it takes any."""
        if isinstance(source, WebhookSource):
            self._running[source_id] = source

    def remove(self, source_id: str) -> None:
        """Offer them no more."""
        self._running.pop(source_id, None)


class Sources:
    """The running sources of a process."""

    def __init__(self, process: Process, webhooks: Webhooks, tasks: asyncio.TaskGroup) -> None:
        self._process = process
        self._webhooks = webhooks
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[None]] = {}
        self._matcher = compile_queries(process.desk.configuration.queries)

    def match(self, mention: Mention) -> tuple[str, ...]:
        """Return the queries in force that match."""
        return self._matcher.match(mention)

    async def exchange(self) -> None:
        """Run what the configuration in force says: stop what is gone or changed, start what is new."""
        configuration = self._process.desk.configuration
        self._matcher = compile_queries(configuration.queries)
        wanted = {source.model_dump_json(): source for source in configuration.sources if source.enabled}
        for gone in [key for key in self._running if key not in wanted]:
            task = self._running.pop(gone)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for key, settings in wanted.items():
            if key not in self._running:
                self._running[key] = self._tasks.create_task(self._run(settings))

    async def _run(self, settings: SourceSettings) -> None:
        """Listen whenever the source's claim is ours: of several ingest processes one listens, the others stand by."""
        claim = f"source {settings.id}"
        try:
            while True:
                try:
                    if await self._process.store.hold(claim) and await self._until_lost(settings, claim):
                        return
                except TRANSIENT as error:
                    _log.warning("store_unreachable", source=settings.id, error=str(error))
                await asyncio.sleep(CLAIM_EVERY)
        finally:
            with contextlib.suppress(*TRANSIENT):
                await self._process.store.let_go(claim)

    async def _until_lost(self, settings: SourceSettings, claim: str) -> bool:
        """Listen until the source ends (True) or another process has taken its claim (False)."""
        listening = asyncio.create_task(self._listen(settings))
        try:
            while not listening.done():
                await asyncio.wait({listening}, timeout=CLAIM_EVERY)
                try:
                    if not await self._process.store.hold(claim):
                        _log.warning("claim_lost", source=settings.id)
                        return False
                except TRANSIENT:
                    continue  # nothing can be saved without the database either: the batch waits with us
            await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return True

    async def _listen(self, settings: SourceSettings) -> None:
        process = self._process
        source = made(settings)
        progress = Progress()
        process.health.watch(f"source {settings.id}", _last(progress))
        self._webhooks.add(settings.id, source)
        _log.info("source_started", source=settings.id, kind=settings.kind)
        try:
            await supervise(
                source,
                settings,
                process.stream,
                process.store,
                self.match,
                clock=process.clock,
                transient=TRANSIENT,
                progress=progress,
                lateness=timedelta(seconds=process.settings.lateness),
            )
        finally:
            self._webhooks.remove(settings.id)
            process.health.forget(f"source {settings.id}")
        _log.info("source_finished", source=settings.id)


class Unmade(Source):
    """Stands in for a source that can't be made: it is shown as unreachable, with the reason, and tried again."""

    settings_model = SourceSettings

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:  # noqa: ARG002  it listens to nothing
        """Refuse, with the reason."""
        if self._reason:
            raise SourceRefused(self._reason)
        yield Arrival()


def made(settings: SourceSettings) -> Source:
    """Return the source that the settings describe; one whose secret is missing here says so instead of stopping us."""
    try:
        return load_source(settings.kind)(settings)
    except SecretMissing as error:
        return Unmade(str(error))


def _last(progress: Progress) -> Callable[[], float | None]:
    return lambda: progress.last_loop_at.timestamp() if progress.last_loop_at else None


async def run_ingest(process: Process, webhooks: Webhooks) -> None:
    """Run the role until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        sources = Sources(process, webhooks, tasks)
        while True:
            seen = process.desk.revision
            await sources.exchange()
            await process.desk.changed(seen)
