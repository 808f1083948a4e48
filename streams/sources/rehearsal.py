"""The rehearsal: a seeded, endless stream of our own writing, so that a new user sees the whole product work at once.

Owns the timetable (ordinary days of three invented brands, and every few minutes a crisis that grows, peaks and is
resolved) and the choice of texts. Does not own the texts (`rehearsal_texts/*.jsonl`, one object a line). All it sends
is of the realm `rehearsal`, is marked so wherever it is seen, and never mixes with live figures.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.records import REHEARSAL, Action, Author, Mention
from streams.source import Arrival, Source, SourceRefused, SourceSettings

LANGUAGES: Final = ("he", "fa", "ar", "en")
_HISTORY_PAGE: Final = 25
_HISTORY_PAUSE: Final = 0.4
"""Seconds between pages of the past: slower than any laptop scores, so that the present is not held up."""
_DELETED: Final = 0.004
"""Share of ordinary mentions that their authors delete a little later."""
_LEAD: Final = 0.25
_GROWTH: Final = 0.40
_PEAK: Final = 0.15
"""Parts of a cycle: calm before the crisis, growth, peak; what is left is the aftermath."""


class RehearsalSettings(SourceSettings):
    """`rate` is mentions a second on an ordinary day, `peak` what a crisis adds at its height."""

    kind: Literal["rehearsal"] = "rehearsal"
    realm: Literal["rehearsal"] = "rehearsal"
    seed: int = 1
    rate: float = Field(default=0.6, gt=0, le=1000)
    peak: float = Field(default=2.5, ge=0, le=1000)
    crisis_every: float = Field(default=360.0, ge=20, description="seconds from one crisis to the next")
    history: float = Field(default=50.0, ge=0, le=1440, description="minutes of ordinary past sent at the first start")


class Line(BaseModel):
    """One text: of a brand's ordinary days, or of a phase (0 first reports .. 3 aftermath) of one of its crises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brand: str
    part: Literal["ordinary", "crisis"]
    text: str
    story: str = ""
    phase: int = Field(default=0, ge=0, le=3)


@dataclass(frozen=True)
class Texts:
    """One language's lines and the words for its slots ({place}, {name}, ...)."""

    lang: str
    lines: tuple[Line, ...]
    slots: Mapping[str, Sequence[str]]


@cache
def texts(lang: str) -> Texts:
    """Return the texts of a language, as shipped."""
    folder = resources.files("streams.sources") / "rehearsal_texts"
    head, *rows = (folder / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines()
    return Texts(lang, tuple(Line.model_validate_json(row) for row in rows), json.loads(head)["slots"])


@cache
def stories() -> tuple[tuple[str, str], ...]:
    """Return (brand, story) of every crisis that is told in all languages."""
    told = [{(line.brand, line.story) for line in texts(lang).lines if line.part == "crisis"} for lang in LANGUAGES]
    return tuple(sorted(set.intersection(*told)))


@dataclass(frozen=True, slots=True)
class Step:
    """A place in the timetable: how many mentions were sent, and the story's time in seconds."""

    count: int
    time: float


class Timetable:
    """What is sent after what: a pure function of seed and settings."""

    def __init__(self, settings: RehearsalSettings) -> None:
        self._settings = settings

    def crisis(self, time: float) -> tuple[float, int]:
        """Return the crisis' strength (0 to 1) and phase at story time `time`."""
        part = (time % self._settings.crisis_every) / self._settings.crisis_every - _LEAD
        if part < 0:
            return 0.0, 0
        if part < _GROWTH:
            grown = part / _GROWTH
            return math.expm1(4 * grown) / math.expm1(4), int(grown > 0.5)  # noqa: PLR2004  half of the growth
        if part < _GROWTH + _PEAK:
            return 1.0, 2
        left = (part - _GROWTH - _PEAK) / (1 - _LEAD - _GROWTH - _PEAK)
        return max(0.0, 0.5 * (1 - 2 * left)), 3

    def after(self, step: Step) -> Step:
        """Return the next step: intervals are exponential with the rate of the moment."""
        strength, _ = self.crisis(step.time)
        rate = self._settings.rate + self._settings.peak * strength
        wait = random.Random(f"{self._settings.seed}/{step.count}/wait").expovariate(rate)  # noqa: S311  a show, seeded
        return Step(step.count + 1, step.time + min(wait, 30.0))

    def mention(self, step: Step, published: datetime, received: datetime, *, calm: bool = False) -> Mention:
        """Return the mention of a step; `calm` leaves crises out (the past)."""
        draw = random.Random(f"{self._settings.seed}/{step.count}/text")  # noqa: S311  a show, seeded
        strength, phase = (0.0, 0) if calm else self.crisis(step.time)
        share = self._settings.peak * strength / (self._settings.rate + self._settings.peak * strength)
        brand, story = stories()[int(step.time // self._settings.crisis_every) % len(stories())]
        language = texts(draw.choice(LANGUAGES))
        if draw.random() < share:
            fitting = [line for line in language.lines if (line.brand, line.story, line.phase) == (brand, story, phase)]
        else:
            fitting = [line for line in language.lines if line.part == "ordinary"]
        line = draw.choice(fitting or [line for line in language.lines if line.part == "ordinary"])
        return self._written(step, line, language, draw, (published, received))

    def _written(
        self, step: Step, line: Line, language: Texts, draw: random.Random, times: tuple[datetime, datetime]
    ) -> Mention:
        text = line.text
        for slot, words in language.slots.items():
            while "{" + slot + "}" in text:
                text = text.replace("{" + slot + "}", draw.choice(words), 1)
        name = draw.choice(language.slots["name"])
        number = draw.randrange(60)
        return Mention(
            source_id=self._settings.id,
            source_kind="rehearsal",
            native_id=f"{self._settings.seed}-{step.count}",
            revision=1,
            realm=REHEARSAL,
            published_at=times[0],
            received_at=times[1],
            author=Author(id=f"{language.lang}-{name}-{number}", name=name, handle=f"{language.lang}{number}"),
            text=text,
            lang=language.lang,
        )

    def deleted(self, step: Step) -> bool:
        """Return whether the author of this step's mention deletes it soon after."""
        return random.Random(f"{self._settings.seed}/{step.count}/gone").random() < _DELETED  # noqa: S311  a show


class RehearsalSource(Source):
    """Plays the timetable by the clock; `cursor` is the step, so that a restart goes on and repeats nothing."""

    settings_model: ClassVar[type[SourceSettings]] = RehearsalSettings

    def __init__(self, settings: SourceSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        if not isinstance(settings, RehearsalSettings):
            raise TypeError("a rehearsal is made from RehearsalSettings")
        self._settings = settings
        self._clock = clock
        self._timetable = Timetable(settings)

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        """Yield the past once, then for ever what the timetable says, each at its time."""
        step = self._resume(cursor)
        if cursor is None:
            async for arrival in self._history():
                yield arrival
        while True:
            following = self._timetable.after(step)
            await asyncio.sleep(following.time - step.time)
            step = following
            now = self._clock()
            mentions = [self._timetable.mention(step, now, now)]
            before = Step(step.count - 40, step.time)
            if before.count > 0 and self._timetable.deleted(before):
                mentions.append(self._deletion(before, now))
            yield Arrival(mentions=mentions, cursor=_cursor(step))

    def _resume(self, cursor: str | None) -> Step:
        if cursor is None:
            return Step(0, 0.0)
        try:
            count, time = json.loads(cursor)
            return Step(int(count), float(time))
        except (ValueError, TypeError) as error:
            raise SourceRefused(
                f"the saved cursor {cursor[:50]!r} is none of a rehearsal's; give it another id"
            ) from error

    async def _history(self) -> AsyncIterator[Arrival]:
        """Yield the ordinary past, oldest first, so that figures have something to be compared with."""
        now = self._clock()
        span = self._settings.history * 60
        draw = random.Random(f"{self._settings.seed}/history")  # noqa: S311  a show, seeded
        backs = sorted((draw.uniform(0, span) for _ in range(int(span * self._settings.rate))), reverse=True)
        mentions: list[Mention] = []
        for back, seconds in zip(range(len(backs), 0, -1), backs, strict=True):
            published = now - timedelta(seconds=seconds)
            mentions.append(self._timetable.mention(Step(-back, 0.0), published, now, calm=True))
            if len(mentions) == _HISTORY_PAGE or back == 1:
                yield Arrival(mentions=mentions, at=published)
                mentions = []
                await asyncio.sleep(_HISTORY_PAUSE)
        yield Arrival(cursor=_cursor(Step(0, 0.0)))

    def _deletion(self, step: Step, now: datetime) -> Mention:
        return Mention(
            source_id=self._settings.id,
            source_kind="rehearsal",
            native_id=f"{self._settings.seed}-{step.count}",
            revision=2,
            action=Action.DELETE,
            realm=REHEARSAL,
            received_at=now,
        )


def _cursor(step: Step) -> str:
    return json.dumps([step.count, round(step.time, 3)])
