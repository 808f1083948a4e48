"""The two logs that alerting needs from a database, as protocols; `app.store` satisfies both.

Owns their promises. Does not own tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from streams.records import AlertEvent


@dataclass(frozen=True, slots=True)
class SavedEngine:
    """The engine's whole state as JSON text, the offsets it is valid for, and the version that fences writers.

    `log` is the identity of the log that the offsets are of (`streams.stream.Stream.identity`).
    """

    state: str
    positions: Mapping[int, int]
    version: int
    log: str = ""


class EngineLog(Protocol):
    """Where the engine's state lives, with its stream positions, in one row."""

    async def lead(self) -> bool:
        """Try to become (or stay) the one process that runs the engine; False while another one does."""
        ...

    async def load_engine(self, name: str) -> SavedEngine | None:
        """Return what was saved last under `name`; None at the first start."""
        ...

    async def save_engine(self, name: str, saved: SavedEngine) -> None:
        """Replace state and positions in one transaction; StaleEngine if the stored version is not `version - 1`."""
        ...


class StaleEngine(Exception):
    """Another process saved the engine in the meantime: this one must stop and start again from the saved state."""


@dataclass(frozen=True, slots=True)
class Send:
    """One notification in the outbox: an alert event for one receiver. `key` is its idempotency key."""

    key: str
    receiver: str
    event: AlertEvent
    attempts: int
    due_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: delivered, to be tried again at `retry_at`, or failed for good, with the reason."""

    key: str
    result: str
    reason: str
    at: datetime
    retry_at: datetime | None = None


class SendLog(Protocol):
    """The durable outbox."""

    async def enqueue(self, sends: Sequence[Send]) -> None:
        """Add what is not there yet by key, in one transaction."""
        ...

    async def claim(self, now: datetime, most: int, lease: float, busy: frozenset[str] = frozenset()) -> Sequence[Send]:
        """Return due sends, none to `busy` receivers; hold them for `lease` seconds: no other process gets them."""
        ...

    async def set_back(self, now: datetime, longest: float) -> None:
        """Make due and free what waits for a time more than `longest` seconds ahead: a wrong clock wrote it."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record each outcome, in one transaction; the attempt's history is kept."""
        ...
