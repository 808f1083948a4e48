"""What people said of mentions, to read: each one's labels, and where they agree, for training and evaluation.

Owns reading `labels`. Does not own giving them (`app.store.verdicts`) nor the queue (`app.store.review`). Only labels
of the text as it is stored now count, and "can't tell" is none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import labels, mentions
from streams.records import LIVE

_PART: Final = 500
SAME_REVISION: Final = and_(labels.c.mention_id == mentions.c.id, labels.c.revision == mentions.c.revision)
"""The labels of a mention that are of its stored text."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """One person's label of one task."""

    task: str
    person: str
    label: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A mention that people labelled as it now stands; `rulings` are never empty, by task, then person."""

    realm: str
    source_kind: str
    native_id: str
    revision: int
    text: str
    lang: str | None
    rulings: Sequence[Ruling]

    @property
    def votes(self) -> dict[str, Counter[str]]:
        """Task -> label -> people."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for ruling in self.rulings:
            found[ruling.task][ruling.label] += 1
        return dict(found)

    @property
    def labels(self) -> dict[str, str]:
        """Task -> the label that more people gave than any other; a tie leaves the task out."""
        winners = {task: winner(votes) for task, votes in self.votes.items()}
        return {task: label for task, label in winners.items() if label is not None}


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which labels; None means all."""

    realm: str = LIVE
    task: str | None = None
    lang: str | None = None
    person: str | None = None


def winner(votes: Mapping[str, int]) -> str | None:
    """Return the label that more people gave than any other; None for a tie, or for no vote."""
    best = Counter(votes).most_common(2)
    return None if not best or (len(best) > 1 and best[0][1] == best[1][1]) else best[0][0]


async def labelled_after(connection: AsyncConnection, wanted: LabelFilter, last: int) -> tuple[list[LabelledText], int]:
    """Return the labelled mentions that follow the mention `last`, and the new `last`; 0 is before the first.

    An empty list is the end.
    """
    valid = [mentions.c.realm == wanted.realm, mentions.c.deleted_at.is_(None), labels.c.label.is_not(None)]
    wants = ((labels.c.task, wanted.task), (mentions.c.lang, wanted.lang), (labels.c.person, wanted.person))
    valid += [column == value for column, value in wants if value is not None]
    chosen = select(labels.c.mention_id).join(mentions, SAME_REVISION).where(*valid, labels.c.mention_id > last)
    chosen = chosen.distinct().order_by(labels.c.mention_id).limit(_PART)
    names = ("realm", "source_kind", "native_id", "revision", "text", "lang")
    said = (labels.c.mention_id, labels.c.task, labels.c.person, labels.c.label, labels.c.at)
    query = select(*(mentions.c[name] for name in names), *said).join_from(labels, mentions, SAME_REVISION)
    query = query.where(*valid, labels.c.mention_id.in_(chosen))
    rows = await connection.execute(query.order_by(labels.c.mention_id, labels.c.task, labels.c.person))
    by_mention: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        by_mention[row.mention_id].append(row)
    texts = [
        LabelledText(
            **{name: getattr(group[0], name) for name in names},
            rulings=tuple(Ruling(row.task, row.person, row.label, row.at) for row in group),
        )
        for group in by_mention.values()
    ]
    return texts, max(by_mention, default=last)
