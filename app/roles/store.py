"""Role store: [scored], [alerts] and [dead] -> the database, and what the database must forget in time.

Owns the wiring. Does not own the transactions (`app.store`): effect and offset go in one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from app.process import Process
from app.roles.loops import consume
from app.store import TRANSIENT
from app.store.retention import Horizons
from streams.metrics import LATENCY, STORED
from streams.pump import Received, Rejected
from streams.records import ALERTS, DEAD, SCORED, AlertEvent, DeadLetter, Pulse, ScoredMention
from streams.source import realm_of

GROUP: Final = "store"
BATCH: Final = 500
RETAIN_EVERY: Final = 3600.0
RETIRE_EVERY: Final = 30.0

_log = structlog.get_logger("store")


async def run_store(process: Process) -> None:
    """Run the role until cancelled."""
    store = process.store

    async def scored(batch: Sequence[Received]) -> Sequence[Rejected]:
        pairs = [(item.delivery.position, item.record) for item in batch]
        fitting = [(position, record) for position, record in pairs if isinstance(record, ScoredMention | Pulse)]
        kept = await store.keep(GROUP, fitting, log=process.stream.identity)
        for counts in (kept.inserted, kept.revised):
            for source, count in counts.items():
                STORED.labels(source).inc(count)
        now = process.clock()
        for _, received_at in kept.arrived:
            LATENCY.labels("store").observe(max(0.0, (now - received_at).total_seconds()))
        unfit = dict(kept.unfit)
        return [Rejected(item, unfit[item.delivery.position]) for item in batch if item.delivery.position in unfit]

    async def alerts(batch: Sequence[Received]) -> Sequence[Rejected]:
        pairs = [(item.delivery.position, item.record) for item in batch]
        events = [(at, record) for at, record in pairs if isinstance(record, AlertEvent)]
        await store.keep_alerts(GROUP, events, log=process.stream.identity)
        return ()

    async def dead(batch: Sequence[Received]) -> Sequence[Rejected]:
        pairs = [(item.delivery.position, item.record) for item in batch]
        letters = [(at, record) for at, record in pairs if isinstance(record, DeadLetter)]
        await store.keep_dead(GROUP, letters, log=process.stream.identity)
        return ()

    async with asyncio.TaskGroup() as tasks:
        for topic, handler in ((SCORED, scored), (ALERTS, alerts), (DEAD, dead)):
            tasks.create_task(
                consume(
                    process,
                    name=f"store {topic}",
                    stage="store",
                    topic=topic,
                    group=GROUP,
                    handler=handler,
                    most=BATCH,
                    stored=True,
                )
            )
        tasks.create_task(_retain(process))
        tasks.create_task(_retire(process))


async def _retain(process: Process) -> None:
    """Forget old mentions once an hour, and at the start."""
    while True:
        try:
            oldest = process.clock() - timedelta(days=process.settings.retention_days)
            await process.store.retain(Horizons(mentions=oldest, alerts=oldest, accepted=oldest, tombstones=oldest))
        except TRANSIENT as error:
            _log.warning("retention_postponed", error=str(error))
        await asyncio.sleep(RETAIN_EVERY)


async def _retire(process: Process) -> None:
    """Take sources that the configuration no longer has off the walls; again and again, for late pulses' sake."""
    while True:
        await asyncio.sleep(RETIRE_EVERY)
        with contextlib.suppress(*TRANSIENT):
            await process.store.retire_sources(
                [(realm_of(source), source.id) for source in process.desk.configuration.sources]
            )
