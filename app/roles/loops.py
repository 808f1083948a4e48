"""One way to consume, for every role: a consumer, the pump, its health.

Owns how a loop is opened again after the log was away. Does not own the loop (`streams.pump`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app.process import Process
from app.store import TRANSIENT, Store
from streams.dead_letters import Stage
from streams.pump import Handler, Progress, pump
from streams.stream import Positions, Start

MOST: Final = 500
WAIT: Final = 1.0


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
) -> None:
    """Consume `topic` until cancelled. `stored`: the group's offsets are those that its effects were stored with."""
    if stored and group is not None:
        positions = stored_positions(process.store, topic, group)
    progress = Progress()
    process.health.watch(name, lambda: progress.last_loop_at.timestamp() if progress.last_loop_at else None)
    consumer = await process.stream.consumer(topic, group, start, positions)
    try:
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
            transient=(*TRANSIENT, *transient),
            progress=progress,
        )
    finally:
        await consumer.aclose()


def stored_positions(store: Store, topic: str, group: str) -> Positions:
    """Return the positions that the store keeps for a group."""

    async def read(partitions: frozenset[int]) -> Mapping[int, int]:
        return await store.positions(topic, group, partitions)

    return read
