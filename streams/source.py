"""PORT Source: a channel as an async iterator from a saved cursor, and the two words that its supervisor needs.

Owns the promises between a source and `streams.sources.supervise`. Does not own matching, appending or cursors: a
source only listens and parses. Built-ins register as strangers do, by the entry-point group `warroom.sources`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from streams.records import LIVE, DeadLetter, Mention, Tally

_LONGEST_WAIT: Final = 86_400.0


class SourceSettings(BaseModel):
    """What every source has in `warroom.yaml`; each kind adds its own fields (its endpoint among them)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    kind: str
    enabled: bool = True
    team: str = "main"
    stall_after: float = Field(default=60.0, gt=0, description="seconds of silence after which the source is stalled")


def realm_of(settings: SourceSettings) -> str:
    """Return the realm of what a source delivers; a kind that knows of none is live."""
    return str(getattr(settings, "realm", LIVE))


class SourceUnreachable(Exception):
    """The upstream can't be reached or broke off; the supervisor tries again, not before `retry_after` seconds.

    No upstream is left alone for more than a day, whatever it asks for: such an answer is more often a mistake.
    `dead` holds what came in place of mentions (the page of a captive portal): it is kept, and is no sign of life.
    """

    def __init__(self, reason: str, retry_after: float = 0.0, dead: Sequence[DeadLetter] = ()) -> None:
        super().__init__(reason)
        self.retry_after = max(0.0, min(retry_after, _LONGEST_WAIT))
        self.dead = dead


class SourceRefused(Exception):
    """The upstream said no (gone, forbidden, settings wrong): shown; tried again ever more rarely, up to an hour."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one payload or page brought.

    `mentions` are unmatched (no `queries`). `cursor` is where to resume once they are durable; None leaves it. `at` is
    the event time reached: None means now (a live source), a file or a catch-up says its own. `gap` says why mentions
    may have been lost before this arrival. Any arrival, an empty one too, resets the stall clock. `settled` is called
    once all of it is durable (a push source answers its caller then, so that its deletions are kept even of what is not
    known: they come no second time). `unversioned` are those of `mentions` that are deletions or edits to which the
    channel gave no revision: they hold against all that is known of the post or the author (an edit whose very revision
    is known is a repeat).
    """

    mentions: Sequence[Mention] = ()
    dead: Sequence[DeadLetter] = ()
    cursor: str | None = None
    at: datetime | None = None
    gap: str = ""
    reconnected: bool = False
    settled: Callable[[], None] | None = None
    unversioned: Collection[Mention] = ()


class Source(Protocol):
    """A configured connection to a channel, made from its settings; `listen` may be called again after an error."""

    settings_model: ClassVar[type[SourceSettings]]

    def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        """Yield arrivals from `cursor` (None: from now, or from the beginning of a file) until the source ends.

        Ends only when the channel has an end (a file). Raises SourceUnreachable or SourceRefused; garbage from upstream
        is an arrival with dead letters, never an exception.
        """
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """An identity that was appended: remembered so that its edits and deletes pass, and repeats do not."""

    key: str
    author_key: str
    revision: int


class IngestLog(Protocol):
    """What the supervisor keeps in a database; `app.store` satisfies it."""

    async def load_cursor(self, source_id: str) -> tuple[str | None, Tally]:
        """Return the cursor and the tally that were saved last."""
        ...

    async def known(self, keys: Sequence[str]) -> Mapping[str, int]:
        """Return the highest accepted revision of each identity or author key that is known."""
        ...

    async def save(self, source_id: str, cursor: str | None, accepted: Sequence[Accepted], tally: Tally) -> None:
        """Remember all of it in one transaction; a cursor of None leaves the saved one."""
        ...
