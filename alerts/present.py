"""The present: a wall clock that is not believed at once when it leaps ahead.

Owns the judgement on the process's own clock. Does not own what is done with times beyond it (`alerts.engine`). Alone
among the modules of the engine's side it reads two clocks: the wall's, and one that no administrator sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

LEAP: Final = timedelta(minutes=1)
"""A wall clock that went ahead of the time that passed by more than this has leapt."""
PROBATION: Final = 60.0
"""Seconds for which a leap must last until it is the truth (a machine that slept) and no mistake of a moment."""


def _elapsed() -> float:
    """Return seconds that no administrator sets, those in which the machine slept included where the system knows."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Present:
    """Tells the time. `elapsed` gives seconds that never leap."""

    def __init__(self, clock: Callable[[], datetime], elapsed: Callable[[], float] = _elapsed) -> None:
        self._clock, self._elapsed = clock, elapsed
        self._trusted, self._at = clock(), elapsed()
        self._leapt_at: float | None = None

    def __call__(self) -> datetime:
        """Return the wall clock's time; for a while after a leap ahead, what it would be without."""
        said, tick = self._clock(), self._elapsed()
        expected = self._trusted + timedelta(seconds=tick - self._at)
        if said - expected <= LEAP:
            self._leapt_at = None
        elif self._leapt_at is None:
            self._leapt_at = tick
        if self._leapt_at is not None and tick - self._leapt_at < PROBATION:
            return expected
        self._trusted, self._at, self._leapt_at = said, tick, None
        return said
