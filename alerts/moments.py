"""Event time as whole microseconds since 1970 UTC: exact, and fast to compare.

Owns the two conversions and the grid. Does not own any clock: nothing here reads one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD: Final = 60_000_000
"""How far beyond the present, in microseconds, a time may lie and still be believed: clocks differ a little."""
_TICK: Final = timedelta(microseconds=1)


def moment(at: datetime) -> int:
    """Return the microseconds from 1970 UTC to `at`."""
    return (at - EPOCH) // _TICK


def instant(at: int) -> datetime:
    """Return the datetime of `at` microseconds; outside of the years 1 to 9999 the nearest one."""
    try:
        return EPOCH + timedelta(microseconds=at)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if at > 0 else datetime.min.replace(tzinfo=UTC)


def span(length: timedelta) -> int:
    """Return the microseconds in `length`."""
    return length // _TICK


def grid_from(at: int, step: int) -> int:
    """Return the first multiple of `step` that is not before `at`."""
    return -(-at // step) * step


def grid_to(at: int, step: int) -> int:
    """Return the last multiple of `step` that is not after `at`."""
    return at // step * step
