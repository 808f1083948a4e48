"""Rule: a condition over scored mentions in event time, as a team writes it in `warroom.yaml`.

Owns the rule's fields, their checks and its revision. Does not own evaluation (`alerts.engine`), nor whether the
queries, sources and receivers it names exist (`app.configuration`).
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from streams.records import LIVE, REHEARSAL, REPLAY

LEVELS: Final = ("low", "normal", "high", "critical")
"""The urgencies, in rising order."""

MAX_WINDOW: Final = timedelta(hours=24)
LONGEST: Final = timedelta(days=366)
"""No duration is longer: the engine adds them up, and times far beyond the calendar can't be computed."""
_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> timedelta:
    """Return the duration in "90s", "5m", "1h30m" or "0"; ValueError says how to write one."""
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    parts = _PARTS.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise ValueError(f"{text!r} is no duration; write a number with a unit, such as 90s, 5m or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"must not be longer than {LONGEST.days} days; write for example 24h")
    if timedelta(seconds=seconds) % timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is finer than a millisecond; write for example 1500ms or 2s")
    return timedelta(seconds=seconds)


def write_duration(value: timedelta) -> str:
    """Return the duration as it is written in a configuration: "90s" is "1m30s"."""
    left, text = value // timedelta(milliseconds=1), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(write_duration)]
"""A span of time, written "90s", "5m", "1h30m"."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One id, or a list of them."""


class Measure(StrEnum):
    """What a rule counts in its window: mentions, the share of negative ones (0 to 1), or those at a level or above."""

    COUNT = "count"
    NEGATIVE_SHARE = "negative_share"
    URGENCY = "urgency"


class Rule(BaseModel):
    """A condition, evaluated each `every` over the window (t - window, t], for each group on its own.

    It holds when the measure is at or above `threshold` (a share only over at least `at_least` mentions). A group
    fires when it held for `for`; it is resolved when the measure was below `resolve_below` for `keep_firing`; then it
    stays quiet for `cooldown`. Empty `query` means all mentions, empty `sources` all sources of the realm. A replay
    runs every rule. `lang` groups by the primary subtag ("pt" for pt-BR; "und" where unknown).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    name: str = Field(min_length=1, max_length=200)
    team: str = "main"
    query: Names = ()
    realms: tuple[Literal["live", "rehearsal"], ...] = (LIVE, REHEARSAL)
    measure: Measure
    level: Literal["low", "normal", "high", "critical"] | None = None
    threshold: float = Field(gt=0, allow_inf_nan=False)
    at_least: int | None = Field(default=None, ge=1)
    window: Duration
    hold: Duration = Field(default=timedelta(0), alias="for")
    resolve_below: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_firing: Duration = timedelta(0)
    cooldown: Duration = timedelta(0)
    every: Duration = timedelta(seconds=5)
    group_by: tuple[Literal["query", "source", "lang"], ...] = ()
    severity: Literal[1, 2, 3] = 2
    receivers: Names = ()
    no_data: Literal["alert", "ignore"] = "alert"
    sources: Names = ()

    @field_validator("window", "every")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("must be longer than 0; write for example 5m")
        return value

    @field_validator("realms")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no realm, so that the rule never runs; name live or rehearsal, or remove the rule")
        return value

    @field_validator("realms", "group_by")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names something twice; keep one of each")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = [fault for fault in (self._window_fault(), self._measure_fault()) if fault]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _window_fault(self) -> str:
        if self.every < timedelta(seconds=1):
            return "every: must be at least 1s"
        if self.window % self.every:
            return f"window: must be a multiple of every ({write_duration(self.every)}); change one of the two"
        if self.window > MAX_WINDOW:
            return f"window: at most {write_duration(MAX_WINDOW)}"
        if self.resolve_below is not None and self.resolve_below > self.threshold:
            return f"resolve_below: must not be above threshold ({self.threshold:g}); lower it or leave it out"
        return ""

    def _measure_fault(self) -> str:
        if self.measure is Measure.NEGATIVE_SHARE and self.threshold > 1:
            return "threshold: a share is between 0 and 1; write 0.4 for 40 %"
        if self.measure is not Measure.URGENCY and self.level is not None:
            return "level: belongs to `measure: urgency` alone; remove it or change the measure"
        if self.measure is not Measure.NEGATIVE_SHARE and self.at_least is not None:
            return "at_least: belongs to `measure: negative_share` alone; remove it or change the measure"
        return ""

    @cached_property
    def revision(self) -> str:
        """16 hex digits that change when any field changes."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()[:16]

    @property
    def floor(self) -> float:
        """The value under which a firing group is calm."""
        return self.threshold if self.resolve_below is None else self.resolve_below

    @property
    def least(self) -> int:
        """Mentions that a share needs before it says anything (10 unless told)."""
        return (self.at_least or 10) if self.measure is Measure.NEGATIVE_SHARE else 1

    @property
    def lowest_level(self) -> int:
        """Index in LEVELS from which a mention is a hit of `measure: urgency` (high unless told)."""
        return LEVELS.index(self.level or "high")

    def watches(self, realm: str) -> bool:
        """Whether the rule is evaluated in `realm`; a replay runs every rule."""
        return realm == REPLAY or realm in self.realms
