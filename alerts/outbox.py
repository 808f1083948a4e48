"""Outbox: decides for each alert event and receiver whether it is sent; makes the sends durable before the commit.

Owns the decision, a pure function with a named reason, and the idempotency key. Does not own attempts
(`alerts.sender`). The pump commits after `handle`, so an event of [alerts] is either in the outbox or will be read
again; one read twice is there once, by its key. Nothing is merged and no page is dropped: every firing, no-data and
resolved event goes to every receiver of its rule, in order; `seq` tells a receiver what is newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from alerts.notifiers import ReceiverSettings
from alerts.ports import Send, SendLog
from streams import metrics
from streams.pump import Received, Rejected
from streams.records import AlertEvent, AlertState

LIFETIME: Final = timedelta(hours=24)
GROUP: Final = "notifier"
_SENT_STATES: Final = (AlertState.FIRING, AlertState.NO_DATA, AlertState.RESOLVED)
_logger = structlog.get_logger(__name__)


class Decision(StrEnum):
    """Why an event is sent to a receiver, or not."""

    SEND = "send"
    UNKNOWN_RECEIVER = "unknown_receiver"
    OTHER_REALM = "other_realm"
    QUIET_STATE = "quiet_state"

    @property
    def sends(self) -> bool:
        """An unknown receiver is sent to as well: its attempts fail where everybody sees them."""
        return self in (Decision.SEND, Decision.UNKNOWN_RECEIVER)


def send_key(event: AlertEvent, receiver: str) -> str:
    """Return the idempotency key of one event for one receiver."""
    return f"{event.alert_id}:{event.seq}:{receiver}"


def decide(event: AlertEvent, receiver: ReceiverSettings | None) -> Decision:
    """Return whether `event` goes to `receiver` (None: configured no more), and why."""
    if event.state not in _SENT_STATES:
        return Decision.QUIET_STATE
    if receiver is None:
        return Decision.UNKNOWN_RECEIVER
    return Decision.SEND if event.realm in receiver.realms else Decision.OTHER_REALM


def _now() -> datetime:
    return datetime.now(UTC)


class Outbox:
    """The pump handler over [alerts]. `wake` is set when there is something to send."""

    def __init__(
        self,
        log: SendLog,
        receivers: Mapping[str, ReceiverSettings],
        wake: asyncio.Event,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._log, self._receivers, self._wake, self._clock = log, receivers, wake, clock

    async def handle(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Enqueue what is to be sent, in one transaction."""
        rejected: list[Rejected] = []
        sends: list[Send] = []
        for received in batch:
            if isinstance(received.record, AlertEvent):
                sends += self._sends(received.record)
            else:
                rejected.append(Rejected(received, f"[alerts] holds no {received.record.type}"))
        if sends:
            await self._log.enqueue(sends)
            self._wake.set()
        return rejected

    def _sends(self, event: AlertEvent) -> list[Send]:
        now, sends = self._clock(), []
        for name in dict.fromkeys(event.receivers):
            decision = decide(event, self._receivers.get(name))
            if decision.sends:
                sends.append(Send(send_key(event, name), name, event, 0, now, now + LIFETIME))
            else:
                metrics.NOTIFICATIONS.labels(receiver=name, result=decision.value).inc()
                _logger.debug("not sent", alert=event.alert_id, seq=event.seq, receiver=name, reason=decision.value)
        return sends
