"""The alert state machine of one (rule, realm, group): inactive, pending, firing, no-data, resolved.

Owns the verdict on one reading; pure. Does not own the reading (`alerts.windows`), the sources (`alerts.clocks`), nor
the events made of a verdict (`alerts.engine`).

No data: a stalled, unreachable or lost source never resolves an alert. A breach of what can still be heard fires and
keeps firing: being woken once too often is better than not at all. An alert that would calm down while one of the
sources it depends on is away turns to no-data instead, and so does each firing alert at once when all of them are away.
It comes back to what the windows say: firing on the next breach, heard in part or in full; resolved once all sources
are heard again and the window was calm for `keep_firing`. A pending group that calms down lapses without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from alerts.moments import span
from alerts.rules import Rule
from alerts.windows import Reading
from streams.records import AlertEvent


class Phase(StrEnum):
    """Where a group stands; an inactive group has no `Opening`."""

    PENDING = "pending"
    FIRING = "firing"
    NO_DATA = "no_data"


class Hearing(StrEnum):
    """Which of the sources that a group depends on can be heard."""

    FULL = "full"
    PART = "part"
    NONE = "none"


@dataclass(slots=True)
class Opening:
    """A group that is not inactive. Times are microseconds; `calm` since when it was calm, `last` its last event."""

    phase: Phase
    started: int
    seq: int = 0
    calm: int | None = None
    last: AlertEvent | None = None


class Verdict(StrEnum):
    """What a reading makes of a group."""

    STAY = "stay"
    LAPSE = "lapse"
    FIRE = "fire"
    LOSE_SIGHT = "lose_sight"
    RESOLVE = "resolve"


def breaches(rule: Rule, reading: Reading) -> bool:
    """Whether the rule's condition holds."""
    return reading.enough and reading.value >= rule.threshold


def holds(rule: Rule, reading: Reading) -> bool:
    """Whether the condition is not yet calm: hysteresis."""
    return reading.enough and reading.value >= rule.floor


def judge(rule: Rule, opening: Opening, reading: Reading, hearing: Hearing, at: int) -> Verdict:
    """Return the verdict at grid step `at`, and note in `opening` since when it was calm."""
    if opening.phase is Phase.PENDING:
        if not breaches(rule, reading):
            return Verdict.LAPSE
        return Verdict.FIRE if at - opening.started >= span(rule.hold) else Verdict.STAY
    if hearing is Hearing.NONE:
        opening.calm = None
        return Verdict.LOSE_SIGHT if opening.phase is Phase.FIRING else Verdict.STAY
    if holds(rule, reading):
        opening.calm = None
        return Verdict.FIRE if opening.phase is Phase.NO_DATA else Verdict.STAY
    if hearing is Hearing.PART:
        opening.calm = None
        return Verdict.LOSE_SIGHT if opening.phase is Phase.FIRING else Verdict.STAY
    opening.calm = at if opening.calm is None else opening.calm
    return Verdict.RESOLVE if at - opening.calm >= span(rule.keep_firing) else Verdict.STAY
