"""People's words on mentions: the last one of each person a task and mention, and what they settle.

Owns writing `labels`, and the column `waiting` of `mentions`. Does not own reading them (`app.store.labels`) nor the
queue (`app.store.review`).

A label is good for one revision. An edit that changes the text voids the labels (a person's next word takes their
place) and takes their notes, which may quote what is gone; one that leaves the text alone carries them over. An erasure
and retention take labels and notes away with the mention. Locked by tests/app/test_store_review.py.

A task of an uncertain mention is settled, and no longer waits, when one label has more people than any other, or when
MOST_SKIPS people can't tell. A tie waits for one more person.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.batches import slices
from app.store.database import Flavour
from app.store.labels import SAME_REVISION, winner
from app.store.rows import Doubt, Values, bits_of, digest, scored_of, tasks_of
from app.tables import labels, mentions
from nlp.scorer import LABELS
from streams.records import LIVE, Identity, ScoredMention

SKIP: Final = "skip"
"""Said in a label's place: "can't tell"."""
MOST_SKIPS: Final = 2
"""People who can't tell, until nobody else is asked."""


class UnknownMention(LookupError):
    """No such mention in this realm, or it was deleted."""


class OtherRevision(Exception):
    """The words were given for a revision that is not the stored one; `current` is what is."""

    def __init__(self, current: ScoredMention) -> None:
        super().__init__(f"the mention is at revision {current.mention.revision}")
        self.current = current


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person says of one revision: task -> label, SKIP, or None to take the word back."""

    identity: Identity
    revision: int
    labels: Mapping[str, str | None]
    person: str
    note: str = ""
    realm: str = LIVE


@dataclass(slots=True)
class _Ballot:
    """What people said of one task of one mention."""

    given: Counter[str] = field(default_factory=Counter)
    skips: int = 0

    @property
    def settled(self) -> bool:
        return winner(self.given) is not None or self.skips >= MOST_SKIPS


async def give(connection: AsyncConnection, flavour: Flavour, verdict: Verdict, at: datetime) -> tuple[Doubt, ...]:
    """Keep a person's words and return the tasks that still wait. The same again changes nothing, not even `at`.

    Raise UnknownMention, OtherRevision, or ValueError for a task or a label that there is not. The mention's row is
    held, so that neither an edit nor another person comes between.
    """
    _check(verdict.labels)
    place = (mentions.c.realm == verdict.realm, mentions.c.key == digest(verdict.identity.key))
    query = select(mentions).where(*place, mentions.c.deleted_at.is_(None)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise UnknownMention(verdict.identity.key)
    if row.revision != verdict.revision:
        raise OtherRevision(scored_of(row))
    taken = [task for task, label in verdict.labels.items() if label is None]
    if taken:
        mine = (labels.c.mention_id == row.id, labels.c.person == verdict.person)
        await connection.execute(delete(labels).where(*mine, labels.c.task.in_(taken)))
    await _write(connection, flavour, _rows(row, verdict, at))
    await settle(connection, [row.id])
    left = await connection.execute(select(mentions.c.waiting).where(mentions.c.id == row.id))
    return tasks_of(left.scalar_one())


def _check(given: Mapping[str, str | None]) -> None:
    for task, label in given.items():
        if task not in LABELS:
            raise ValueError(f"{task}: not a task; there are {', '.join(LABELS)}")
        if label not in {None, SKIP, *LABELS[task]}:
            raise ValueError(f"{task}: {label!r} is not one of {', '.join(LABELS[task])}, {SKIP}")


def _rows(row: Row[Any], verdict: Verdict, at: datetime) -> list[Values]:
    score = scored_of(row).score
    if score is None:
        raise LookupError(f"mention {row.id} has no score")
    opinions = {task: getattr(score, task) for task in LABELS}
    return [
        {
            "mention_id": row.id,
            "task": task,
            "person": verdict.person,
            "revision": row.revision,
            "label": None if label == SKIP else label,
            "note": verdict.note or None,
            "at": at,
            "answer": opinions[task].label,
            "probability": opinions[task].probabilities[opinions[task].label],
            "model_id": row.model_id,
            "model_revision": row.model_revision,
        }
        for task, label in sorted(verdict.labels.items())
        if label is not None
    ]


async def _write(connection: AsyncConnection, flavour: Flavour, rows: Sequence[Values]) -> None:
    if not rows:
        return
    statement = flavour.insert(labels)
    new = statement.excluded
    keys = [column.name for column in labels.primary_key.columns]
    said = ("revision", "label", "note")
    differs = [labels.c[name].is_distinct_from(new[name]) for name in said]
    changed = differs[0] | differs[1] | differs[2]
    values = {column.name: new[column.name] for column in labels.columns if column.name not in keys}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=values, where=changed), list(rows)
    )


async def settle(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Put into `waiting` of these mentions what is uncertain and not settled."""
    for part in slices(ids):
        ballots: dict[tuple[int, str], _Ballot] = defaultdict(_Ballot)
        cast = select(labels.c.mention_id, labels.c.task, labels.c.label).join(mentions, SAME_REVISION)
        for row in await connection.execute(cast.where(labels.c.mention_id.in_(part))):
            ballot = ballots[row.mention_id, row.task]
            if row.label is None:
                ballot.skips += 1
            else:
                ballot.given[row.label] += 1
        held = await connection.execute(select(mentions.c.id, mentions.c.uncertain).where(mentions.c.id.in_(part)))
        rows = [
            {"row": row.id, "bits": bits_of(t for t in tasks_of(row.uncertain) if not ballots[row.id, t].settled)}
            for row in held
        ]
        statement = update(mentions).where(mentions.c.id == bindparam("row")).values(waiting=bindparam("bits"))
        if rows:
            await connection.execute(statement, rows)


async def carry(connection: AsyncConnection, rows: Iterable[Values]) -> list[int]:
    """Do to labels what an edit does, before the new rows (with their `id`) are written; return whom to settle then."""
    after = {int(row["id"]): row for row in rows}
    carried: list[int] = []
    edited: list[int] = []
    for part in slices(after):
        columns = (mentions.c.id, mentions.c.text, mentions.c.revision)
        labelled = select(*columns).where(mentions.c.id.in_(part))
        said = select(labels.c.mention_id).where(labels.c.mention_id == mentions.c.id).exists()
        for before in (await connection.execute(labelled.where(said))).all():
            row = after[before.id]
            same = row["deleted_at"] is None and row["text"] == before.text
            (carried if same else edited).append(before.id)
            if same:
                valid = (labels.c.mention_id == before.id, labels.c.revision == before.revision)
                await connection.execute(update(labels).where(*valid).values(revision=row["revision"]))
    await forget(connection, [number for number in edited if after[number]["deleted_at"] is not None])
    for part in slices(edited):
        await connection.execute(update(labels).where(labels.c.mention_id.in_(part)).values(note=None))
    return carried


async def forget(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Take away all that was said of these mentions."""
    for part in slices(ids):
        await connection.execute(delete(labels).where(labels.c.mention_id.in_(part)))
