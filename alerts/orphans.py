"""Orphans: alerts that are open in [alerts] and that no rule as it is now goes on with.

A crash after events were appended and before the state was saved makes them again at the next start, unless a rule was
changed in between: then nothing would ever end what it had begun. Owns the reading of [alerts] and the events that end
them. Does not own what ends an alert that the saved state knows (`alerts.cells`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Final

from streams.records import ALERTS, AlertEvent, AlertState, UnreadableRecord, decode
from streams.stream import Stream

_MOST, _WAIT, _PATIENCE = 500, 1.0, 5
_OPEN: Final = (AlertState.FIRING, AlertState.ACKNOWLEDGED, AlertState.NO_DATA)


async def last_events(stream: Stream) -> list[AlertEvent]:
    """Return the last event of each alert in [alerts], as far as it is to be had."""
    found: dict[str, AlertEvent] = {}
    async with aclosing(await stream.consumer(ALERTS, None)) as consumer:
        quiet = 0
        while quiet < _PATIENCE:
            batch = await consumer.fetch(_MOST, _WAIT)
            quiet = 0 if batch else quiet + 1
            for event in _readable(delivery.value for delivery in batch):
                if event.alert_id not in found or event.seq > found[event.alert_id].seq:
                    found[event.alert_id] = event
            if not (await consumer.lag()).items:
                break
    return list(found.values())


def _readable(payloads: Iterable[bytes]) -> Iterable[AlertEvent]:
    for payload in payloads:
        try:
            record = decode(payload)
        except UnreadableRecord:  # the outbox sends it to [dead]
            continue
        if isinstance(record, AlertEvent):
            yield record


def ends(events: Iterable[AlertEvent], revisions: Mapping[str, str]) -> list[AlertEvent]:
    """Return the events that resolve those alerts of `events` that are open, each after its last one."""
    return [
        event.model_copy(
            update={
                "seq": event.seq + 1,
                "state": AlertState.RESOLVED,
                "reason": f"the rule was {'changed' if event.rule_id in revisions else 'removed'}",
                "evidence": (),
            }
        )
        for event in events
        if event.state in _OPEN
    ]
