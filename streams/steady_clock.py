"""The wall clock, as long as it goes as time does: what pulses are stamped with, and what the engine holds for now.

Owns the doubt in a wall clock that jumps. Does not own event time (`streams.sources.supervise_standing`), what is done
with times beyond the present (`alerts.engine`), nor the times that stand in mentions.

A pulse with a time that is a day ahead makes every rule deaf for a day, even if the clock was wrong for a second. So a
jump by more than a minute, forward or back, is believed only once it has lasted for half a minute; until then time goes
on from before it. A clock that was set right, or a machine that slept, is thus followed half a minute later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

JUMP: Final = timedelta(minutes=1)
"""How far a wall clock may be from where the time that passed would have it."""

BELIEVED_AFTER: Final = 30.0
"""Seconds for which a jump must last."""

_log = logging.getLogger(__name__)


def elapsed() -> float:
    """Return seconds that no administrator sets, those in which the machine slept included where the system knows."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """`wall` is the wall clock, `tick` a clock in seconds that nobody sets."""

    def __init__(self, wall: Callable[[], datetime], tick: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._tick = tick
        self._last = wall(), tick()
        self._jump = timedelta(0)
        self._since: float | None = None

    def __call__(self) -> datetime:
        """Return the time."""
        now, tick = self._wall(), self._tick()
        expected = self._last[0] + timedelta(seconds=tick - self._last[1])
        if not self._doubtful(now - expected, tick):
            self._last, self._since = (now, tick), None
            return now
        return expected

    def _doubtful(self, jump: timedelta, tick: float) -> bool:
        if abs(jump) <= JUMP:
            return False
        if self._since is None or abs(jump - self._jump) > JUMP:
            _log.warning("the wall clock jumped by %s; believed if that lasts %.0f s", jump, BELIEVED_AFTER)
            self._jump, self._since = jump, tick
        return tick - self._since < BELIEVED_AFTER
