"""One way to consume, for every role: a consumer, the pump, its health.

Owns how a loop is opened again after the log was away. Does not own the loop (`streams.pump`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from app.process import Process
from app.store import TRANSIENT
from streams.backoff import Backoff
from streams.dead_letters import Stage
from streams.pump import PASSING, Handler, Progress, pump
from streams.stream import Consumer, Positions, Start

MOST: Final = 500
WAIT: Final = 1.0
_log = structlog.get_logger("loops")


async def consume(  # noqa: PLR0913  one call a loop, all by name
    process: Process,
    *,
    name: str,
    stage: Stage,
    topic: str,
    group: str | None,
    handler: Handler,
    most: int = MOST,
    wait: float = WAIT,
    start: Start = "earliest",
    positions: Positions | None = None,
    stored: bool = False,
    transient: Sequence[type[Exception]] = (),
    progress: Progress | None = None,
) -> None:
    """Consume `topic` until cancelled. `stored`: the group's offsets are those that its effects were stored with."""
    if stored and group is not None:
        positions = stored_positions(process, topic, group)
    progress = progress or Progress()
    process.health.watch(name, lambda: progress.last_loop_at.timestamp() if progress.last_loop_at else None)
    passing = (*TRANSIENT, *transient)
    try:
        consumer = await _opened(process, name, topic, group, start, positions)
        async with contextlib.aclosing(consumer):
            await pump(
                process.stream,
                consumer,
                handler,
                topic=topic,
                group=group,
                stage=stage,
                most=most,
                wait=wait,
                clock=process.clock,
                transient=passing,
                progress=progress,
            )
    finally:
        process.health.forget(name)


async def _opened(
    process: Process, name: str, topic: str, group: str | None, start: Start, positions: Positions | None
) -> Consumer:
    """Open a consumer, however long the log or the database is away."""
    backoff = Backoff(0.1, 10.0)
    while True:
        try:
            return await process.stream.consumer(topic, group, start, positions)
        except (*PASSING, *TRANSIENT) as error:
            delay = backoff.next()
            _log.warning("consumer_not_open", loop=name, again_in=round(delay, 1), error=str(error))
            await asyncio.sleep(delay)


def stored_positions(process: Process, topic: str, group: str) -> Positions:
    """Return the positions that the store keeps for a group, good for this very log alone."""

    async def read(partitions: frozenset[int]) -> Mapping[int, int]:
        return await process.store.positions(topic, group, partitions, process.stream.identity)

    return read
