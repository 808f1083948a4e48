"""A batch of [scored] (or of [dead]) into the database: the one transaction in which effect and offset are the same.

Owns the order of the steps. Does not own any of them. What a delivery below the stored offset would do was done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import ledger, offsets, rollups, withdrawals
from app.store.database import Flavour
from app.store.mentions import Published, publish, winners
from app.store.offsets import Reader
from app.store.rows import Normalise, UnfitRecord, Values, unfit, values_of
from streams.records import Action, DeadLetter, Mention, Pulse, ScoredMention
from streams.stream import Position

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a batch did: per source, identities that are new, changed by an edit, erased, or repeated for nothing.

    `arrived` has source_id and received_at of each new one, for latency. `unfit` are records that can't be stored
    honestly, with the reason: they belong in [dead].
    """

    inserted: Mapping[str, int] = field(default_factory=dict)
    revised: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    arrived: Sequence[tuple[str, datetime]] = ()
    unfit: Sequence[tuple[Position, str]] = ()


@dataclass(slots=True)
class Sorted:
    """A batch taken apart."""

    rows: list[Values] = field(default_factory=list)
    scored: list[ScoredMention] = field(default_factory=list)
    pulses: list[Pulse] = field(default_factory=list)
    unfit: list[tuple[Position, str]] = field(default_factory=list)
    superseding: list[Mention] = field(default_factory=list)
    counts: ledger.Counts = field(default_factory=Counter)


def erases(records: Iterable[object]) -> bool:
    """Whether any record withdraws something, be it the older words of one that can't be stored."""
    scored = [record for record in records if isinstance(record, ScoredMention)]
    return any(one.mention.action is not Action.PUBLISH or unfit(one) for one in scored)


async def unseen(
    connection: AsyncConnection, flavour: Flavour, reader: Reader, received: Sequence[tuple[Position, _R]]
) -> list[tuple[Position, _R]]:
    """Hold the partitions and return what this group has not handled yet."""
    held = await offsets.hold(connection, flavour, reader, {position.partition for position, _ in received})
    return [(position, record) for position, record in received if position.offset >= held.get(position.partition, 0)]


def _take_apart(received: Iterable[tuple[Position, ScoredMention | Pulse]], normalise: Normalise) -> Sorted:
    parts = Sorted()
    for position, record in received:
        if isinstance(record, Pulse):
            parts.pulses.append(record)
            continue
        mention = record.mention
        try:
            if mention.action is Action.PUBLISH:
                parts.rows.append(values_of(record, normalise))
                parts.counts[mention.realm, mention.source_id, ledger.SCORED] += 1
            parts.scored.append(record)
        except UnfitRecord as error:
            parts.unfit.append((position, str(error)))
            # The older words are not its words any more: they go, as by a deletion up to and with this revision.
            parts.superseding.append(mention.model_copy(update={"action": Action.DELETE}))
            parts.counts[mention.realm, mention.source_id, "dead_store"] += 1
    return parts


async def keep(
    connection: AsyncConnection,
    flavour: Flavour,
    reader: Reader,
    received: Sequence[tuple[Position, ScoredMention | Pulse]],
    normalise: Normalise,
    now: datetime,
) -> Kept:
    """Do all that the batch asks for. Same input, any order, any split, any number of times: the same rows.

    `now` is for pulses whose sender's clock runs ahead: theirs alone is the order in which they came.
    """
    news = await unseen(connection, flavour, reader, received)
    parts = _take_apart(news, normalise)
    stones = withdrawals.tombstones_of([*(record.mention for record in parts.scored), *parts.superseding])
    await withdrawals.bury(connection, flavour, stones)
    changes = rollups.Changes()
    done = await publish(connection, flavour, winners(parts.rows), changes)
    gone = await withdrawals.erase(connection, stones)
    touched = [*(key for _, key in stones), *done.erased, *(row["key"] for row in gone)]
    await withdrawals.redact_quotes(connection, touched)
    await rollups.apply(connection, flavour, changes)
    _count(parts, done, gone)
    await ledger.count(connection, flavour, parts.counts)
    await ledger.note(connection, flavour, parts.pulses, now)
    await offsets.advance(connection, reader, [position for position, _ in news])
    return _kept(parts, done)


def _count(parts: Sorted, done: Published, gone: Sequence[Values]) -> None:
    for stage, rows in ((ledger.STORED, done.inserted), (ledger.REVISED, done.revised), (ledger.DELETED, gone)):
        parts.counts.update((row["realm"], row["source_id"], stage) for row in rows)
    parts.counts.update((row["realm"], row["source_id"], ledger.REPEATED) for row in parts.rows)
    for row in (*done.inserted, *done.revised):
        parts.counts[row["realm"], row["source_id"], ledger.REPEATED] -= 1


def _kept(parts: Sorted, done: Published) -> Kept:
    def stage(name: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (_, source, what), number in parts.counts.items():
            if what == name and number:
                found[source] += number
        return dict(found)

    return Kept(
        inserted=stage(ledger.STORED),
        revised=stage(ledger.REVISED),
        deleted=stage(ledger.DELETED),
        repeated=stage(ledger.REPEATED),
        arrived=[(row["source_id"], row["received_at"]) for row in done.inserted],
        unfit=parts.unfit,
    )


async def keep_dead(
    connection: AsyncConnection, flavour: Flavour, reader: Reader, received: Sequence[tuple[Position, DeadLetter]]
) -> int:
    """Count dead letters by source and stage; the letters stay in the log. Return how many were new.

    Those of the stage `source` are in the source's own tally already.
    """
    news = await unseen(connection, flavour, reader, received)
    counts: ledger.Counts = Counter(
        (letter.realm, letter.source_id, f"dead_{letter.stage}") for _, letter in news if letter.stage != "source"
    )
    await ledger.count(connection, flavour, counts)
    await offsets.advance(connection, reader, [position for position, _ in news])
    return len(news)
