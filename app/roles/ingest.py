"""Role ingest: sources -> queries -> [mentions].

Owns which sources run and with which queries, and their exchange when a configuration comes into force: unchanged
sources go on undisturbed, new queries hold for all at once. Does not own a source's life (`streams.sources.supervise`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from app.process import Process
from app.store import TRANSIENT
from streams.pump import Progress
from streams.queries import compile_queries
from streams.records import Mention
from streams.source import Source, SourceSettings
from streams.sources import load_source
from streams.sources.supervise import supervise
from streams.sources.webhook import WebhookSource

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
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}
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
            source_id, task = self._running.pop(gone)
            self._webhooks.remove(source_id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for key, settings in wanted.items():
            if key not in self._running:
                self._running[key] = settings.id, self._tasks.create_task(self._run(settings))

    async def _run(self, settings: SourceSettings) -> None:
        process = self._process
        source = load_source(settings.kind)(settings)
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
            )
        finally:
            process.health.forget(f"source {settings.id}")
        _log.info("source_finished", source=settings.id)


def _last(progress: Progress) -> Callable[[], float | None]:
    return lambda: progress.last_loop_at.timestamp() if progress.last_loop_at else None


async def run_ingest(process: Process, webhooks: Webhooks) -> None:
    """Run the role until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        sources = Sources(process, webhooks, tasks)
        while True:
            changed = asyncio.create_task(process.desk.changed())
            await sources.exchange()
            await changed
