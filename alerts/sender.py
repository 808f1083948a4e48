"""Sender: takes due sends out of the outbox, has the notifier make one attempt, and records what came of it.

Owns back-off, order and concurrency: one lane for each receiver, so that a hanging one delays nobody else; within a
lane, events of one alert go one after the other. Does not own the outbox's rows (`alerts.ports.SendLog`) nor channels.

Delivery is at-least-once: an attempt whose outcome was not recorded is made again after the lease, with the same key.
What a clock that ran ahead put off is due when that clock is set back, or at the next start. It can't be told from what
the clock of another process wrote while ours is behind, so that is done once, not at each claim.
A failing receiver rests: until its time comes its sends are left to their lease, then one probe goes first. What is
given up is recorded, logged and counted, never dropped in silence.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, TypeVar

import structlog

from alerts.notifiers import Attempt, Notifier, Reject, Retry, Sent
from alerts.outbox import LIFETIME
from alerts.ports import Outcome, Send, SendLog
from streams import metrics
from streams.steady_clock import JUMP

LEASE: Final = 30.0
"""Seconds for which a claimed send is ours; longer than any attempt."""

FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 1.0, 300.0, 3600.0
_MOST_AT_ONCE, _WIDTH, _ATTEMPT, _POLL = 256, 8, 15.0, 1.0
_FULL: Final = 4 * _WIDTH
_MAY_BE_NEW: Final = timedelta(minutes=3)
"""For how long a receiver that is not known here may be one that another process knows: each looks every second."""
_T = TypeVar("_T")
_logger = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


def wait_before(attempts: int, asked: float | None, chance: float) -> float:
    """Return the seconds until the next attempt after `attempts` failed ones (from 1): full jitter of 1 s to 5 min.

    A receiver's own wish counts where it is longer, up to an hour. `chance` is in [0, 1).
    """
    ceiling = min(FIRST_WAIT * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT)
    return max(ceiling * chance, min(asked or 0.0, LONGEST_ASKED), 0.05)


def outcome_of(send: Send, attempt: Attempt, now: datetime, chance: float) -> Outcome:
    """Return what is recorded: delivered, retry (at a time before the send expires), or failed."""
    if isinstance(attempt, Sent):
        return Outcome(send.key, "delivered", attempt.detail, now)
    if isinstance(attempt, Reject):
        return Outcome(send.key, "failed", attempt.reason, now)
    again = now + timedelta(seconds=wait_before(send.attempts + 1, attempt.after, chance))
    if again >= send.expires_at:
        return Outcome(send.key, "failed", f"given up after {send.attempts + 1} attempts: {attempt.reason}", now)
    return Outcome(send.key, "retry", attempt.reason, now, again)


@dataclass
class Lane:
    """What is known of one receiver in this process; `queues` has, by alert, the claimed sends that are not settled.

    `begun` numbers the attempts; those up to `blamed` count as one failure: they ran when the last one counted.
    """

    queues: dict[str, deque[Send]] = field(default_factory=dict)
    failures: int = 0
    rests_until: datetime | None = None
    attempts: int = 0
    begun: int = 0
    blamed: int = 0
    width: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_WIDTH))

    @property
    def full(self) -> bool:
        """Whether enough is here: what else is for this receiver stays in the outbox, and others get their turn."""
        return sum(map(len, self.queues.values())) >= _FULL

    def takes(self, now: datetime) -> bool:
        """Whether a send may start now; if not, it stays in the outbox until its lease is over."""
        return self.rests_until is None or (now >= self.rests_until and not self.attempts)

    def begin(self) -> int:
        """Return the number of an attempt that starts now."""
        self.begun += 1
        return self.begun

    def learn(self, attempt: int, outcome: Outcome, now: datetime, chance: float) -> None:
        """Remember how the receiver did at the attempt of this number."""
        if outcome.result == "delivered":
            self.failures, self.rests_until = 0, None
        elif outcome.retry_at is not None and attempt > self.blamed:
            self.failures, self.blamed = self.failures + 1, self.begun
            self.rests_until = now + timedelta(seconds=wait_before(self.failures, None, chance))


class Sender:
    """Empties the outbox until it is cancelled. `transient` are the database's errors that a second try may mend."""

    def __init__(
        self,
        log: SendLog,
        notifiers: Mapping[str, Notifier],
        wake: asyncio.Event,
        *,
        transient: tuple[type[Exception], ...] = (),
        clock: Callable[[], datetime] = _now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._log, self._notifiers, self._wake = log, notifiers, wake
        self._transient: tuple[type[Exception], ...] = (OSError, TimeoutError, *transient)
        self._clock, self._chance = clock, chance
        self._lanes: dict[str, Lane] = {}
        self._wrote_at: datetime | None = None

    async def run(self) -> None:
        """Claim and send for ever; a damaged outbox or a fault of ours ends it with the error."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                claimed = await self._claim(self._busy())
                for send in claimed:
                    self._place(group, send)
                if len(claimed) < _MOST_AT_ONCE:
                    await self._rest(_POLL)

    def _busy(self) -> frozenset[str]:
        """Return the receivers that could not begin one more send now."""
        now = self._clock()
        return frozenset(name for name, lane in self._lanes.items() if lane.full or not lane.takes(now))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _claim(self, busy: frozenset[str]) -> Sequence[Send]:
        now, last = self._clock(), self._wrote_at
        if last is None or now < last - JUMP:
            await self._persist(lambda: self._log.set_back(self._clock(), LONGEST_ASKED + LEASE))
        self._wrote_at = now
        return await self._persist(lambda: self._log.claim(self._clock(), _MOST_AT_ONCE, LEASE, busy))

    async def _persist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Run a call on the database, again and again while it is away."""
        for attempts in count(1):
            try:
                return await call()
            except self._transient as error:
                _logger.warning("the outbox can't be reached; trying again", error=str(error))
            await asyncio.sleep(min(0.1 * 2.0 ** min(attempts, 10), 10.0) * self._chance())
        raise AssertionError("count() ends never")

    def _place(self, group: asyncio.TaskGroup, send: Send) -> None:
        """Put the send behind those of its alert, or start a task for it; one that is here already is left alone."""
        lane = self._lanes.setdefault(send.receiver, Lane())
        queue = lane.queues.get(send.event.alert_id)
        if queue is not None:
            if all(one.key != send.key for one in queue):
                queue.append(send)
        elif lane.takes(self._clock()):
            lane.queues[send.event.alert_id] = deque([send])
            group.create_task(self._empty(lane, send.event.alert_id))

    async def _empty(self, lane: Lane, alert_id: str) -> None:
        """Send the alert's events in order, up to one to be tried again: the outbox holds back what follows."""
        claimed_at = self._clock()
        queue = lane.queues[alert_id]
        try:
            while queue:
                async with lane.width:
                    send = min(queue, key=lambda one: one.event.seq)
                    now = self._clock()
                    if not lane.takes(now) or (now - claimed_at).total_seconds() > LEASE - _ATTEMPT:
                        return
                    if (await self._send(lane, send)).retry_at is not None:
                        return
                    queue.remove(send)
        finally:
            del lane.queues[alert_id]

    async def _send(self, lane: Lane, send: Send) -> Outcome:
        number = lane.begin()
        lane.attempts += 1
        try:
            attempt = await self._attempt(send)
        finally:
            lane.attempts -= 1
        now = self._clock()
        outcome = outcome_of(send, attempt, now, self._chance())
        lane.learn(number, outcome, now, self._chance())
        await self._persist(lambda: self._log.settle([outcome]))
        self._wrote_at = max(now, self._wrote_at or now)
        metrics.NOTIFICATIONS.labels(receiver=send.receiver, result=outcome.result).inc()
        tell = _logger.info if outcome.result == "delivered" else _logger.warning
        tell("notification", receiver=send.receiver, key=send.key, result=outcome.result, reason=outcome.reason)
        return outcome

    async def _attempt(self, send: Send) -> Attempt:
        notifier, now = self._notifiers.get(send.receiver), self._clock()
        if notifier is None:
            # Another process may know it already: each looks for a new configuration on its own.
            young = now < send.expires_at - LIFETIME + _MAY_BE_NEW
            answer = Retry if young else Reject
            return answer(f"receiver {send.receiver!r} is not configured; add it, or take it out of the rule")
        if now >= send.expires_at:
            return Reject(f"expired before it could be sent; {send.attempts} attempts were made")
        try:
            async with asyncio.timeout(_ATTEMPT):
                return await notifier.send(send.event, send.key, now)
        except TimeoutError:
            return Retry(f"the notifier did not end within {_ATTEMPT:g} s")
        except Exception as error:  # a process boundary: a plug-in's fault must not stop all sending
            _logger.exception("notifier failed", receiver=send.receiver, key=send.key)
            return Retry(f"fault in the notifier: {type(error).__name__}: {error}"[:300])
