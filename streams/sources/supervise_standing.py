"""How a source stands: its status, the event time that it has reached, its tally; and the pulse that says so.

Owns when a source counts as stalled and what its pulse promises. Does not own sending (`streams.sources.supervise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from streams.records import Pulse, SourceStatus, Tally, bounded
from streams.source import Arrival, SourceSettings, realm_of
from streams.sources.checks import OLDEST

CONNECTING: Final = 10.0
"""Seconds that a source has after its start to give a sign of life before its pulses call it stalled: a restart must
not turn the alerts over it to no-data, as long as it is shorter than the engine's patience."""

MOST_AHEAD: Final = timedelta(minutes=1)
"""How far event time may be ahead of the clock: beyond, it was stamped by a clock that was wrong, and is taken back."""


class Standing:
    """One source's state of health. `now` is the wall clock, `tick` a monotonic one in seconds.

    Before the first arrival nothing is promised: a file, or a source that resumes, has old posts ahead of it.
    While a source is silent for too long or unreachable its event time stands still, so that what it catches up with
    later is not late.
    """

    def __init__(self, settings: SourceSettings, kind: str, tick: float) -> None:
        self._settings = settings
        self._kind = kind
        self._at = OLDEST
        self._follows_clock = False
        self._heard = tick
        self._fresh = True
        self.realm = realm_of(settings)
        self.status = SourceStatus.STALLED
        self.detail = "connecting"
        self.tally = Tally()
        self.last_mention_at: datetime | None = None
        self.promised: datetime | None = None

    def arrived(self, arrivals: Sequence[Arrival], now: datetime, tick: float) -> None:
        """Take a sign of life."""
        self._heard, self._fresh = tick, False
        self.status, self.detail = SourceStatus.LIVE, ""
        for arrival in arrivals:
            self._follows_clock = arrival.at is None
            self._at = max(self._at, arrival.at or now)

    def connecting(self, tick: float) -> bool:
        """Whether it has just been started, and neither came nor failed yet: there is nothing to say of it."""
        return self._fresh and tick - self._heard < CONNECTING

    def silent(self, tick: float) -> bool:
        """Notice a stall; True if the status changed by it."""
        silence = tick - self._heard
        if self.status is not SourceStatus.LIVE or silence <= self._settings.stall_after:
            return False
        self.status, self.detail = SourceStatus.STALLED, f"no sign of life for {self._settings.stall_after:g} s"
        return True

    def failed(self, reason: str) -> None:
        """Take the upstream's absence or refusal. The reason is cut, and what no pulse can hold in it is replaced."""
        self._fresh = False
        self.status, self.detail = SourceStatus.UNREACHABLE, bounded(reason, 3000)[:500]

    def finished(self) -> None:
        """Take the end of a file."""
        self._fresh = False
        self.status, self.detail, self._follows_clock = SourceStatus.FINISHED, "", False

    def pulse(self, now: datetime) -> Pulse:
        """Return the sign of life to send now."""
        if self.status is SourceStatus.LIVE and self._follows_clock:
            self._at = max(self._at, now)
        self._at = min(self._at, now + MOST_AHEAD)
        self.promised = self._at
        return Pulse(
            source_id=self._settings.id,
            source_kind=self._kind,
            realm=self.realm,
            at=self._at,
            sent_at=now,
            status=self.status,
            detail=self.detail,
            last_mention_at=self.last_mention_at,
            tally=self.tally,
        )
