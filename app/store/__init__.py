"""The store: everything that War Room keeps in SQLite or PostgreSQL, behind one class.

Owns transactions: each method is one, all or nothing, cancelled or not. Satisfies `streams.source.IngestLog`,
`alerts.ports.EngineLog` and `alerts.ports.SendLog`. Does not own the schema's history (`app.migrations.migrate` comes
first), the log, or what is shown. The modules beside this one are functions on a connection, one subject each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from alerts.ports import Outcome, SavedEngine, Send
from app.store import alerts as alert_rows
from app.store import (
    claims,
    configurations,
    engine,
    ingest,
    keeping,
    labels,
    ledger,
    offsets,
    outbox,
    retention,
    review,
    rollups,
    search,
    verdicts,
    withdrawals,
)
from app.store import wall as walls
from app.store.alerts import AlertFilter
from app.store.database import TRANSIENT, Database, StoreUnavailable, make_engine
from app.store.keeping import Kept
from app.store.labels import LabelFilter, LabelledText, Ruling
from app.store.ledger import SourceState
from app.store.offsets import Reader
from app.store.outbox import Notification
from app.store.retention import Horizons
from app.store.review import Queued, QueueFigures, QueueFilter, QueuePage
from app.store.rollups import Rollup, Span
from app.store.rows import Doubt, Normalise, digest, scored_of
from app.store.search import MentionFilter, Page
from app.store.verdicts import SKIP, OtherRevision, UnknownMention, Verdict
from app.store.wall import Known, WallState
from streams.records import (
    ALERTS,
    DEAD,
    LIVE,
    REHEARSAL,
    SCORED,
    AlertEvent,
    DeadLetter,
    Identity,
    Pulse,
    ScoredMention,
    Tally,
)
from streams.source import Accepted
from streams.stream import Position

_MOST_ALERTS: Final = 1000


class Store:
    """The database. Methods raise StoreUnavailable (see TRANSIENT) when trying again is right: nothing was done."""

    def __init__(self, database: Database, clock: Callable[[], datetime], normalise: Normalise) -> None:
        self._database = database
        self._clock = clock
        self._normalise = normalise
        self._claims = claims.Claims(database)

    @classmethod
    async def open(cls, url: str, clock: Callable[[], datetime], normalise: Normalise = str.casefold) -> Store:
        """Return the store of a migrated database; ValueError for an address of another kind.

        `clock` gives aware time. `normalise` makes the text that searches look in, of stored and of sought text alike.
        Connections are made when needed: a database that is away is no error yet.
        """
        return cls(Database(*make_engine(url)), clock, normalise)

    async def aclose(self) -> None:
        """Give up all claims and close all connections. Idempotent."""
        await self._claims.resign()
        await self._database.engine.dispose()

    async def ping(self) -> None:
        """Read once; returns when the database answers."""
        async with self._database.read() as connection:
            await offsets.positions(connection, Reader(SCORED, ""))

    # -- streams.source.IngestLog

    async def load_cursor(self, source_id: str) -> tuple[str | None, Tally]:
        """Return the cursor and the tally that were saved last; (None, zeros) for a new source."""
        async with self._database.read() as connection:
            return await ingest.load_cursor(connection, source_id)

    async def known(self, keys: Sequence[str]) -> Mapping[str, int]:
        """Return the highest accepted revision of each identity key or author key that is known."""
        async with self._database.read() as connection:
            return await ingest.known(connection, keys)

    async def save(self, source_id: str, cursor: str | None, accepted: Sequence[Accepted], tally: Tally) -> None:
        """Remember all of it in one transaction; a cursor of None leaves the saved one."""
        async with self._database.write() as connection:
            source = (source_id, cursor, tally)
            await ingest.save(connection, self._database.flavour, source, accepted, self._clock())

    # -- consumers

    async def positions(self, topic: str, group: str, partitions: Collection[int], log: str = "") -> Mapping[int, int]:
        """Return the next offset of those partitions whose effects are stored here; 0 if they were of another `log`."""
        async with self._database.read() as connection:
            found = await offsets.positions(connection, Reader(topic, group, log))
        return {partition: offset for partition, offset in found.items() if partition in partitions}

    async def keep(self, group: str, received: Sequence[tuple[Position, ScoredMention | Pulse]], log: str = "") -> Kept:
        """Store a batch of [scored] with its offsets; the same again, in any order or split, changes nothing.

        `log` is the identity of the log that it was read from: offsets of another one are void.
        """
        erases = keeping.erases(record for _, record in received)
        async with self._database.write(erases=erases) as connection:
            reader = Reader(SCORED, group, log)
            return await keeping.keep(
                connection, self._database.flavour, reader, received, self._normalise, self._clock()
            )

    async def keep_alerts(
        self, group: str, received: Sequence[tuple[Position, AlertEvent]], log: str = ""
    ) -> Sequence[AlertEvent]:
        """Store a batch of [alerts] with its offsets; return the events that are new, without withdrawn quotes."""
        async with self._database.write() as connection:
            reader = Reader(ALERTS, group, log)
            return await alert_rows.keep_alerts(connection, self._database.flavour, reader, received)

    async def keep_dead(self, group: str, received: Sequence[tuple[Position, DeadLetter]], log: str = "") -> int:
        """Count a batch of [dead] in the ledger, with its offsets; return how many were new."""
        async with self._database.write() as connection:
            return await keeping.keep_dead(connection, self._database.flavour, Reader(DEAD, group, log), received)

    # -- claims

    async def hold(self, name: str) -> bool:
        """Get or keep what only one process may do at a time; False while another has it. SQLite: always True."""
        return await self._claims.hold(name)

    async def let_go(self, name: str) -> None:
        """Give a claim back."""
        await self._claims.release(name)

    # -- alerts.ports.EngineLog

    async def lead(self) -> bool:
        """Become or stay the one process that runs the engine; False while another does. SQLite: always True."""
        return await self._claims.hold("engine")

    async def load_engine(self, name: str) -> SavedEngine | None:
        """Return what was saved last under `name`; None at the first start."""
        async with self._database.read() as connection:
            return await engine.load(connection, name)

    async def save_engine(self, name: str, saved: SavedEngine) -> None:
        """Replace state and positions in one transaction; StaleEngine if the stored version is not `version - 1`."""
        async with self._database.write() as connection:
            await engine.save(connection, name, saved)

    # -- alerts.ports.SendLog

    async def enqueue(self, sends: Sequence[Send]) -> None:
        """Add what is not there yet by key, in one transaction; withdrawn quotes are left out."""
        async with self._database.write() as connection:
            await outbox.enqueue(connection, self._database.flavour, sends)

    async def claim(self, now: datetime, most: int, lease: float, busy: frozenset[str] = frozenset()) -> Sequence[Send]:
        """Return due sends, expired ones too, none to `busy` receivers; hold them for `lease` seconds."""
        async with self._database.write() as connection:
            return await outbox.claim(connection, now, most, lease, busy)

    async def set_back(self, now: datetime, longest: float) -> None:
        """Make due and free what waits for a time more than `longest` seconds ahead: a wrong clock wrote it."""
        async with self._database.write() as connection:
            await outbox.set_back(connection, now, longest)

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record each outcome, in one transaction, and keep the attempt; KeyError for a send that never was."""
        async with self._database.write() as connection:
            await outbox.settle(connection, outcomes)

    # -- reading

    async def wall(self, realm: str, now: datetime, topic: str, group: str, log: str = "") -> WallState:
        """Return one moment of a realm, exact at the offsets of `group` on `topic` that are stored for `log`."""
        async with self._database.read() as connection:
            return await walls.wall(connection, realm, now, Reader(topic, group, log))

    async def mentions(self, wanted: MentionFilter, limit: int = 50, after: str | None = None) -> Page:
        """Return a page of mentions, newest first; at most 1,000. ValueError for a bad cursor or an endless text."""
        async with self._database.read() as connection:
            return await search.find(connection, wanted, limit, after, self._normalise)

    async def mention(self, source_kind: str, native_id: str, realm: str = LIVE) -> ScoredMention | None:
        """Return one mention; None when it is not there or was deleted."""
        identity = Identity.model_construct(source_kind=source_kind, native_id=native_id)
        async with self._database.read() as connection:
            return await search.one(connection, identity, realm)

    async def withdrawn(self, realm: str, keys: Collection[str]) -> set[str]:
        """Return which of these identities' keys may not be read any more."""
        places = {(realm, digest(key)): key for key in keys}
        async with self._database.read() as connection:
            return {places[place] for place in await withdrawals.unreadable(connection, places)}

    async def mentions_between(self, realm: str, start: datetime, end: datetime) -> AsyncIterator[ScoredMention]:
        """Yield mentions published from `start` up to, not with, `end`, in event-time order, for a replay.

        Reads slice by slice and holds no transaction between: what is deleted meanwhile does not come.
        """
        last: tuple[datetime, int] | None = None
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(search.slice_after(realm, start, end, last))).all()
            for row in rows:
                yield scored_of(row)
            if len(rows) < search.MOST:
                return
            last = (rows[-1].published_at, rows[-1].id)

    async def alerts(self, wanted: AlertFilter, limit: int = 100) -> Sequence[AlertEvent]:
        """Return where alerts stand, the latest started first; at most 1,000."""
        async with self._database.read() as connection:
            return await alert_rows.find(connection, wanted, min(max(limit, 1), _MOST_ALERTS))

    async def alert_events(self, alert_id: str) -> Sequence[AlertEvent]:
        """Return all transitions of an alert, first to last; empty when there is no such alert."""
        async with self._database.read() as connection:
            return await alert_rows.history(connection, alert_id)

    async def notifications(self, alert_id: str) -> Sequence[Notification]:
        """Return all delivery attempts for an alert, first to last."""
        async with self._database.read() as connection:
            return await outbox.attempts(connection, alert_id)

    async def rollups(self, span: Span) -> Sequence[Rollup]:
        """Return counts by step of time, oldest first; steps without mentions are left out."""
        async with self._database.read() as connection:
            return await rollups.read(connection, span)

    async def ledger(self) -> Mapping[tuple[str, str], Mapping[str, int]]:
        """Return (realm, source_id) -> stage -> count; stages as in `SourceState`."""
        async with self._database.read() as connection:
            return await ledger.read(connection)

    async def sources(self, realm: str | None = None) -> Sequence[SourceState]:
        """Return the last pulse and the counters of each source, by id."""
        async with self._database.read() as connection:
            return await ledger.sources(connection, realm)

    async def retire_sources(
        self, in_force: Collection[tuple[str, str]], realms: Collection[str] = (LIVE, REHEARSAL)
    ) -> int:
        """Take the sources of `realms` whose (realm, id) is not `in_force` off the walls and the list.

        Returns how many went. A source that changed its realm leaves the former one.
        What they counted stays in the ledger. A pulse that was still under way brings one back: call it again later.
        """
        async with self._database.write() as connection:
            return await ledger.retire(connection, in_force, realms)

    # -- review

    async def queue(self, wanted: QueueFilter, limit: int = 50, after: str | None = None) -> QueuePage:
        """Return a page of the review queue, at most 500 mentions. ValueError for a foreign cursor."""
        async with self._database.read() as connection:
            return await review.queue(connection, wanted, limit, after)

    async def queue_figures(self, realm: str = LIVE) -> QueueFigures:
        """Return how many mentions wait and are labelled, and what was said on this UTC day."""
        async with self._database.read() as connection:
            return await review.figures(connection, realm, self._clock())

    async def label(self, verdict: Verdict) -> tuple[Doubt, ...]:
        """Keep what a person says of a mention and return the tasks that still wait; the same again changes nothing.

        Raises UnknownMention, OtherRevision with the current one, or ValueError naming task and labels.
        """
        async with self._database.write() as connection:
            return await verdicts.give(connection, self._database.flavour, verdict, self._clock())

    async def rulings(self, wanted: LabelFilter) -> AsyncIterator[LabelledText]:
        """Yield the mentions that people labelled as they now stand, with each person's labels, in the order stored.

        Reads slice by slice, as `mentions_between` does: what is deleted meanwhile does not come.
        """
        last = 0
        while True:
            async with self._database.read() as connection:
                texts, last = await labels.labelled_after(connection, wanted, last)
            for one in texts:
                yield one
            if not texts:
                return

    async def labelled_texts(self, wanted: LabelFilter = LabelFilter()) -> AsyncIterator[LabelledText]:  # noqa: B008  frozen
        """Yield the labelled mentions whose people agree on a task: `labels` is then not empty."""
        async for one in self.rulings(wanted):
            if one.labels:
                yield one

    # -- configuration and retention

    async def save_configuration(self, text: str, sha256: str, at: datetime) -> int:
        """Keep an applied configuration and return its revision; the same text again keeps the latest one's."""
        async with self._database.write() as connection:
            return await configurations.save(connection, text, sha256, at)

    async def was_in_force(self, sha256: str) -> bool:
        """Return whether a configuration with this digest was ever applied."""
        async with self._database.read() as connection:
            return await configurations.was_saved(connection, sha256)

    async def configuration(self) -> tuple[int, str] | None:
        """Return revision and text of the latest configuration; None before the first."""
        async with self._database.read() as connection:
            return await configurations.latest(connection)

    async def retain(self, horizons: Horizons) -> Mapping[str, int]:
        """Forget what is older than its horizon, a slice a transaction; return table -> rows that went."""
        gone: dict[str, int] = {}
        for part in retention.forgettable(horizons, self._clock()):
            while True:
                async with self._database.write() as connection:
                    count = await retention.forget_slice(connection, part)
                gone[part.table.name] = gone.get(part.table.name, 0) + count
                if count < retention.SLICE:
                    break
        return gone


__all__ = [
    "SKIP",
    "TRANSIENT",
    "AlertFilter",
    "Horizons",
    "Kept",
    "Known",
    "LabelFilter",
    "LabelledText",
    "MentionFilter",
    "Notification",
    "OtherRevision",
    "Page",
    "QueueFigures",
    "QueueFilter",
    "QueuePage",
    "Queued",
    "Rollup",
    "Ruling",
    "SourceState",
    "Span",
    "Store",
    "StoreUnavailable",
    "UnknownMention",
    "Verdict",
    "WallState",
]
