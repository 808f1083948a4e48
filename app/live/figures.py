"""The numbers of a wall, and what is usual for them: pure functions and one small window class.

Owns counting by minute and by second and the robust expectation. Does not own which mentions count (`board`).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from app.frames import Minute, Usual

MINUTE: Final = 60_000
DAY_MINUTES: Final = 1440
CHART_MINUTES: Final = 60
ENOUGH_MINUTES: Final = 30
"""Fewer minutes of history than this give no expectation."""
_RECENT_MINUTES: Final = 15
_SHARE_MINUTES: Final = 5
_SHARE_AT_LEAST: Final = 5
_ENOUGH_BLOCKS: Final = 6
_SHARE_NOISE: Final = 0.1
"""Half width at least of the band around the usual negative share."""


class MinuteCounts:
    """Mentions and negative mentions by minute of publication, for the last 24 hours. Times are ms since 1970."""

    def __init__(self) -> None:
        self._minutes: dict[int, tuple[int, int]] = {}
        self.changed: set[int] = set()
        self._usual: tuple[int, Usual | None, Usual | None] = (-1, None, None)

    def put(self, at: int, total: int, negative: int) -> None:
        """Set a minute's counts (from the store)."""
        self._minutes[at - at % MINUTE] = (max(0, total), max(0, negative))

    def add(self, at: int, total: int, negative: int) -> None:
        """Add to the minute that holds `at`; negative numbers take away (an edit)."""
        minute = at - at % MINUTE
        before = self._minutes.get(minute, (0, 0))
        self._minutes[minute] = (max(0, before[0] + total), max(0, before[1] + negative))
        self.changed.add(minute)

    def forget(self, now: int) -> None:
        """Drop minutes older than a day."""
        floor = now - DAY_MINUTES * MINUTE
        for minute in [minute for minute in self._minutes if minute < floor]:
            del self._minutes[minute]

    def minute(self, at: int) -> Minute:
        """Return one minute."""
        total, negative = self._minutes.get(at, (0, 0))
        return Minute(at=at, total=total, negative=negative)

    def whole(self, now: int) -> Minute:
        """Return the last minute that was over at `now`."""
        return self.minute(now - now % MINUTE - MINUTE)

    def chart(self, now: int) -> list[Minute]:
        """Return the last hour, oldest first, the running minute last."""
        last = now - now % MINUTE
        return [self.minute(last - MINUTE * back) for back in range(CHART_MINUTES - 1, -1, -1)]

    def share(self, now: int) -> float | None:
        """Return the negative share of the last five minutes; None for fewer than five mentions."""
        return self._share(now - now % MINUTE, _SHARE_MINUTES)

    def _share(self, last: int, minutes: int) -> float | None:
        counts = [self._minutes.get(last - MINUTE * back, (0, 0)) for back in range(minutes)]
        total = sum(count[0] for count in counts)
        return sum(count[1] for count in counts) / total if total >= _SHARE_AT_LEAST else None

    def usual(self, now: int) -> tuple[Usual | None, Usual | None]:
        """Return what is usual before the last 15 minutes: mentions a minute, and the negative share of five minutes.

        Counted anew once a minute, for a day of history costs milliseconds.
        """
        minute = now // MINUTE
        if self._usual[0] != minute:
            history = self._history(now)
            rates = [self._minutes.get(at, (0, 0))[0] for at in history]
            shares = (self._share(at, _SHARE_MINUTES) for at in history[_SHARE_MINUTES - 1 :: _SHARE_MINUTES])
            known = [share for share in shares if share is not None]
            noise = 3 * math.sqrt(statistics.median(rates)) if rates else 0.0
            rate = usual(rates, ENOUGH_MINUTES, max(noise, 3.0))
            self._usual = (minute, rate, usual(known, _ENOUGH_BLOCKS, _SHARE_NOISE))
        return self._usual[1:]

    def _history(self, now: int) -> Sequence[int]:
        last = now - now % MINUTE - _RECENT_MINUTES * MINUTE
        known = [minute for minute, count in self._minutes.items() if count[0] and minute <= last]
        first = max(min(known), last - DAY_MINUTES * MINUTE) if known else last
        return range(first, last, MINUTE)


def usual(values: Sequence[float], enough: int, least: float) -> Usual | None:
    """Return the median of `values` and the band around it; None for fewer than `enough`.

    The band is three robust deviations wide (1.4826 x the median absolute deviation), but at least `least`: bursts of
    the past, even if they fill a third of the time, neither move nor widen it as they would a percentile.
    """
    if len(values) < max(2, enough):
        return None
    middle = statistics.median(values)
    spread = max(3 * 1.4826 * statistics.median(abs(value - middle) for value in values), least)
    return Usual(low=max(0.0, middle - spread), middle=middle, high=middle + spread)


class Window:
    """Numbers of the last `span` milliseconds, oldest dropped as time goes on; at most `most` of them."""

    def __init__(self, span: int, most: int = 20_000) -> None:
        self._span = span
        self._entries: deque[tuple[int, float]] = deque(maxlen=most)

    def add(self, at: int, value: float) -> None:
        """Add a number at time `at` (one that is out of order is kept longer than need be, but not returned)."""
        self._entries.append((at, value))

    def values(self, now: int) -> list[float]:
        """Return what is inside (now - span, now]."""
        over = now - self._span
        while self._entries and self._entries[0][0] <= over:
            self._entries.popleft()
        return [value for at, value in self._entries if over < at <= now]


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile; None for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
