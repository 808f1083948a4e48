"""Role serve: the hub that tails [scored] and [alerts] without a group, so that every serving process sees everything.

Owns the wiring. Does not own boards, sockets or routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import structlog

from app.api.server import build_hash
from app.live.board import Board, Spans
from app.live.hub import Hub, HubSettings, Offsets
from app.live.seed import board_of
from app.process import Process
from app.roles.loops import consume
from app.roles.store import GROUP
from app.store import TRANSIENT
from streams.backoff import Backoff
from streams.queries import compile_queries
from streams.records import ALERTS, DEAD, SCORED

_ANY: Final = range(2**31)
"""Every partition that a topic may have: a tail reads all of them."""
_log = structlog.get_logger("serve")


def make_hub(process: Process) -> Hub:
    """Return the hub of this process."""
    settings = process.settings

    async def seed(realm: str, now: datetime, spans: Spans) -> tuple[Board, Offsets]:
        alerts = await process.store.positions(ALERTS, GROUP, _ANY, process.stream.identity)  # first: a board has more
        state = await process.store.wall(realm, now, SCORED, GROUP, process.stream.identity)
        return board_of(state, spans, now, process.clock()), Offsets(state.positions, alerts)

    return Hub(
        HubSettings(settings.title, settings.zones, build_hash()),
        seed,
        compile_queries(process.desk.configuration.queries).spans,
        process.clock,
    )


async def run_serve(process: Process, hub: Hub) -> None:
    """Run the role until cancelled."""
    starts = await _filled(hub)

    async def scored(_: frozenset[int]) -> Mapping[int, int]:
        return starts.scored

    async def alerts(_: frozenset[int]) -> Mapping[int, int]:
        return starts.alerts

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            consume(
                process,
                name="serve scored",
                stage="store",
                topic=SCORED,
                group=None,
                handler=hub.take_scored,
                positions=scored,
            )
        )
        tasks.create_task(
            consume(
                process,
                name="serve alerts",
                stage="store",
                topic=ALERTS,
                group=None,
                handler=hub.take_alerts,
                positions=alerts,
            )
        )
        tasks.create_task(
            consume(
                process, name="serve dead", stage="store", topic=DEAD, group=None, handler=hub.take_dead, start="latest"
            )
        )
        tasks.create_task(hub.run())
        tasks.create_task(_respell(process, hub))


async def _filled(hub: Hub) -> Offsets:
    """Fill the hub, however long the database is away; until then no wall is shown."""
    backoff = Backoff(0.1, 10.0)
    while True:
        try:
            return await hub.start()
        except TRANSIENT as error:
            delay = backoff.next()
            _log.warning("hub_not_filled", again_in=round(delay, 1), error=str(error))
            await asyncio.sleep(delay)


async def _respell(process: Process, hub: Hub) -> None:
    """Underline by the queries in force."""
    while True:
        seen = process.desk.revision
        hub.respell(compile_queries(process.desk.configuration.queries).spans)
        await process.desk.changed(seen)
