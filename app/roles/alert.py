"""Role alert: [scored] -> engine -> [alerts] -> outbox -> notifiers.

Owns the wiring, and that the engine starts again under a changed configuration or when another process took over. Does
not own rules, the engine or delivery (`alerts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import structlog

from alerts import outbox
from alerts.notifiers import Attempt, Notifier, ReceiverSettings, Retry, load_notifier
from alerts.outbox import Outbox
from alerts.ports import StaleEngine
from alerts.sender import Sender
from alerts.worker import GROUP, EngineWorker
from app.configuration import Configuration
from app.process import Process
from app.roles.loops import consume
from app.store import TRANSIENT
from streams.records import ALERTS, SCORED, AlertEvent
from streams.secrets import SecretMissing
from streams.steady_clock import SteadyClock

_log = structlog.get_logger("alert")


async def run_alert(process: Process) -> None:
    """Run the role until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_always(process, _evaluate))
        tasks.create_task(_always(process, _notify))


Part = Callable[[Process, Configuration], Coroutine[Any, Any, None]]


async def _always(process: Process, part: Part) -> None:
    """Run `part` under the configuration in force; anew when that changes or the engine's lead was lost."""
    while True:
        working = asyncio.create_task(part(process, process.desk.configuration))
        changed = asyncio.create_task(process.desk.changed(process.desk.revision))
        try:
            await asyncio.wait({working, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            working.cancel()
            ended = await asyncio.gather(working, return_exceptions=True)
        if isinstance(ended[0], BaseException) and not isinstance(ended[0], asyncio.CancelledError):
            _again_or_raise(ended[0])
            await asyncio.sleep(1.0)


def _again_or_raise(error: BaseException) -> None:
    stale, rest = BaseExceptionGroup("", [error]).split(StaleEngine)
    if stale is None or rest is not None:
        raise error
    _log.warning("lead_lost", action="standing by")


async def _evaluate(process: Process, configuration: Configuration) -> None:
    worker = EngineWorker(
        process.stream,
        process.store,
        configuration.rules,
        clock=process.clock,
        transient=TRANSIENT,
        lateness=timedelta(seconds=process.settings.lateness),
        sources=heard(configuration),
    )
    await worker.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                consume(
                    process,
                    name="alert engine",
                    stage="alert",
                    topic=SCORED,
                    group=GROUP,
                    handler=worker.handle,
                    positions=worker.positions,
                    progress=worker.progress,
                )
            )
            tasks.create_task(worker.watch())
    finally:
        await asyncio.shield(worker.finish())


def heard(configuration: Configuration) -> frozenset[str] | None:
    """Return the sources that the engine listens to, since others are of a past configuration.

    None means all: a replay from the store has no configured source.
    """
    return frozenset(source.id for source in configuration.sources if source.enabled) or None


@dataclass(frozen=True)
class Unmade:
    """Stands in for a notifier that can't be made: each send fails where everybody sees it, with the reason."""

    reason: str
    settings_model: ClassVar[type[ReceiverSettings]] = ReceiverSettings

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:  # noqa: ARG002  nothing is sent
        """Ask to try again: the secret may be given, and a page is never dropped before its time."""
        return Retry(self.reason)

    async def aclose(self) -> None:
        """Hold nothing."""


def made(receiver: ReceiverSettings) -> Notifier:
    """Return the receiver's notifier; one whose secret is missing here says so instead of stopping us."""
    try:
        return load_notifier(receiver.kind)(receiver)
    except SecretMissing as error:
        return Unmade(str(error))


async def _notify(process: Process, configuration: Configuration) -> None:
    wake = asyncio.Event()
    receivers = {receiver.id: receiver for receiver in configuration.receivers}
    notifiers = {receiver.id: made(receiver) for receiver in configuration.receivers}
    clock = SteadyClock(process.clock)  # one that leaps for a moment must not let pages expire
    box = Outbox(process.store, receivers, wake, clock)
    sender = Sender(process.store, notifiers, wake, transient=TRANSIENT, clock=clock)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                consume(
                    process,
                    name="alert outbox",
                    stage="notify",
                    topic=ALERTS,
                    group=outbox.GROUP,
                    handler=box.handle,
                )
            )
            tasks.create_task(sender.run())
    finally:
        for notifier in notifiers.values():
            await notifier.aclose()
