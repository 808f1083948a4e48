"""PORT Notifier: an alert event goes out to one receiver; the kinds are found through the group `warroom.notifiers`.

Owns the promises between a notifier and `alerts.sender`, and the look-up by kind. Does not own retries, their limits,
order or history: a notifier makes one attempt. A notifier is made from its settings: `load_notifier(kind)(settings)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Final, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field

from streams.records import LIVE, AlertEvent

GROUP: Final = "warroom.notifiers"
RealmName = Literal["live", "rehearsal", "replay"]


class ReceiverSettings(BaseModel):
    """What every receiver has in `warroom.yaml`; each kind adds its own fields.

    Events of other `realms` are not sent: unless asked, a rehearsal or a replay never reaches anybody outside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    kind: str
    realms: tuple[RealmName, ...] = (LIVE,)


@dataclass(frozen=True, slots=True)
class Sent:
    """The receiver took it."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not taken now; trying again is right, not before `after` seconds if the receiver said so."""

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Not taken, and never will be as things are: somebody has to look at the settings."""

    reason: str


Attempt = Sent | Retry | Reject


class Notifier(Protocol):
    """The way to one receiver. `send` may run for several events at once."""

    settings_model: ClassVar[type[ReceiverSettings]]

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
        """Make one attempt. `key` is the same in each attempt for this event and receiver: it lets them drop repeats.

        `now` is the wall clock. Ends by itself within 15 s. An exception counts as Retry, and is logged as a fault.
        """
        ...

    async def aclose(self) -> None:
        """Free what is held. Idempotent."""
        ...


class UnknownNotifier(LookupError):
    """No installed package offers this kind, or what it offers can't be loaded; the message names the remedy."""


class NotifierClass(Protocol):
    """What an entry point leads to: a class with its settings model, made from such settings."""

    settings_model: type[ReceiverSettings]

    def __call__(self, settings: ReceiverSettings) -> Notifier:
        """Return the notifier that `settings` (an instance of `settings_model`) describe."""
        ...


def known_kinds() -> tuple[str, ...]:
    """Return the names of all installed notifier kinds, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_notifier(kind: str) -> NotifierClass:
    """Return the class of notifiers of `kind`; UnknownNotifier lists the kinds that there are."""
    points = tuple(entry_points(group=GROUP, name=kind))
    if not points:
        raise UnknownNotifier(f"there is no receiver kind {kind!r}; known are: {', '.join(known_kinds()) or 'none'}")
    return _load(points[0])


def load_notifiers(receivers: Iterable[ReceiverSettings]) -> dict[str, Notifier]:
    """Return a notifier for each receiver, by its id. Raises UnknownNotifier, or SecretMissing for a bad reference."""
    return {settings.id: load_notifier(settings.kind)(settings) for settings in receivers}


def _load(point: EntryPoint) -> NotifierClass:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownNotifier(f"receiver kind {point.name!r} ({point.value}) can't be loaded: {error}") from error
    if not callable(getattr(found, "send", None)) or not hasattr(found, "settings_model"):
        raise UnknownNotifier(
            f"receiver kind {point.name!r} ({point.value}) is no notifier: it lacks send or settings_model"
        )
    return cast("NotifierClass", found)
