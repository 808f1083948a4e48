"""The review queue: mentions that the model is uncertain of and that no person has settled, page by page; its figures.

Owns reading. Does not own what takes a mention out of the queue (`app.store.verdicts`).

The cursor is a place in the order, not a count: whatever is answered or arrives meanwhile, each mention that was there
at the start comes at most once, and comes unless it was answered or edited in between.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Row, Select, and_, func, literal, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.labels import SAME_REVISION
from app.store.rows import DOUBTS, Doubt, scored_of, tasks_of
from app.tables import labels, mentions
from streams.records import LIVE, ScoredMention

MOST: Final = 500
Order = Literal["urgent", "newest"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ORDERS: Final[Mapping[Order, tuple[str, ...]]] = {
    "urgent": ("urgency_rank", "published_at", "id"),
    "newest": ("published_at", "id"),
}
_AFTER: Final = re.compile(r"(urgent|newest)\.(?:(\d)\.)?(-?\d{1,18})\.(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Whose queue: without what `person` labelled or skipped. None means all.

    `answered`: instead what is out of the queue, for a second opinion.
    """

    realm: str = LIVE
    task: Doubt | None = None
    lang: str | None = None
    person: str = ""
    order: Order = "urgent"
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """A mention and what it asks: `tasks` of this person; people that labelled, and that can't tell, by task."""

    scored: ScoredMention
    tasks: tuple[Doubt, ...]
    labels: Mapping[str, int]
    skips: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Part of the queue and the cursor of the next; None on the last one."""

    items: Sequence[Queued]
    after: str | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Counts of one realm.

    By task and language: mentions that wait, and mentions with a valid label. By task: the labels, and the words "can't
    tell", of this UTC day.
    """

    waiting: Mapping[tuple[str, str | None], int]
    labelled: Mapping[tuple[str, str | None], int]
    answered_today: Mapping[str, int]
    skipped_today: Mapping[str, int]


def _with(task: Doubt) -> list[int]:
    return [bits for bits in range(1, sum(DOUBTS.values()) + 1) if bits & DOUBTS[task]]


def _asks(task: Doubt, wanted: QueueFilter) -> ColumnElement[bool]:
    """Return the condition that a mention asks this person for this task."""
    said = select(labels.c.mention_id).where(labels.c.task == task)
    mine = said.where(SAME_REVISION, labels.c.person == wanted.person).exists()
    waits = mentions.c.waiting.in_(_with(task))
    if not wanted.answered:
        return and_(waits, ~mine)
    return and_(mentions.c.uncertain.in_(_with(task)), ~waits, mentions.c.id.in_(said), ~mine)


def _where(wanted: QueueFilter) -> list[ColumnElement[bool]]:
    tasks: tuple[Doubt, ...] = tuple(DOUBTS) if wanted.task is None else (wanted.task,)
    conditions = [mentions.c.realm == wanted.realm, or_(*(_asks(task, wanted) for task in tasks))]
    if not wanted.answered:
        conditions.append(mentions.c.waiting > text("0"))  # as the indexes say it: else they are not used
    if wanted.lang is not None:
        conditions.append(mentions.c.lang == wanted.lang)
    return conditions


def _cursor(row: Row[Any], order: Order) -> str:
    rank = f"{row.urgency_rank}." if order == "urgent" else ""
    return f"{order}.{rank}{(row.published_at - _EPOCH) // timedelta(microseconds=1)}.{row.id}"


def _place(after: str, order: Order) -> tuple[Any, ...]:
    match = _AFTER.fullmatch(after)
    if match is None or match[1] != order or (match[2] is None) == (order == "urgent"):
        raise ValueError("after: not a cursor that a page in this order gave")
    try:
        values = (match[2] and int(match[2]), _EPOCH + timedelta(microseconds=int(match[3])), int(match[4]))
    except OverflowError as error:
        raise ValueError("after: not a cursor that a page in this order gave") from error
    return tuple(
        literal(value, mentions.c[name].type)
        for name, value in zip(_ORDERS[order], values[-len(_ORDERS[order]) :], strict=True)
    )


def page_query(wanted: QueueFilter, most: int, after: str | None) -> Select[Any]:
    """Return the query of the next `most` rows; ValueError for a foreign cursor."""
    columns = [mentions.c[name] for name in _ORDERS[wanted.order]]
    query = select(mentions).where(*_where(wanted))
    if after is not None:
        query = query.where(tuple_(*columns) < tuple_(*_place(after, wanted.order)))
    return query.order_by(*(column.desc() for column in columns)).limit(most)


async def queue(connection: AsyncConnection, wanted: QueueFilter, limit: int, after: str | None) -> QueuePage:
    """Return a page, at most MOST mentions; ValueError for a foreign cursor."""
    most = min(max(limit, 1), MOST)
    rows = (await connection.execute(page_query(wanted, most + 1, after))).all()
    said = await _said(connection, [row.id for row in rows[:most]])
    items = [_queued(row, wanted, said.get(row.id, [])) for row in rows[:most]]
    return QueuePage(items, _cursor(rows[most - 1], wanted.order) if len(rows) > most else None)


async def _said(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    columns = (labels.c.mention_id, labels.c.task, labels.c.person, labels.c.label)
    query = select(*columns).join(mentions, SAME_REVISION).where(labels.c.mention_id.in_(ids))
    for row in await connection.execute(query):
        found.setdefault(row.mention_id, []).append(row)
    return found


def _queued(row: Row[Any], wanted: QueueFilter, said: Sequence[Any]) -> Queued:
    mine = {word.task for word in said if word.person == wanted.person}
    asked = tasks_of(row.uncertain & ~row.waiting if wanted.answered else row.waiting)
    return Queued(
        scored=scored_of(row),
        tasks=tuple(task for task in asked if task not in mine and wanted.task in {None, task}),
        labels=Counter(word.task for word in said if word.label is not None),
        skips=Counter(word.task for word in said if word.label is None),
    )


async def figures(connection: AsyncConnection, realm: str, now: datetime) -> QueueFigures:
    """Return the counts; the queue's own come from its index alone."""
    waits = select(mentions.c.lang, mentions.c.waiting, func.count().label("number"))
    waits = waits.where(mentions.c.realm == realm, mentions.c.waiting > text("0"))
    waiting: Counter[tuple[str, str | None]] = Counter()
    for row in await connection.execute(waits.group_by(mentions.c.lang, mentions.c.waiting)):
        for task in tasks_of(row.waiting):
            waiting[task, row.lang] += row.number
    number = func.count(labels.c.mention_id.distinct()).label("number")
    good = select(labels.c.task, mentions.c.lang, number).join_from(labels, mentions, SAME_REVISION)
    good = good.where(mentions.c.realm == realm, labels.c.label.is_not(None)).group_by(labels.c.task, mentions.c.lang)
    labelled = {(row.task, row.lang): row.number for row in await connection.execute(good)}
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = select(labels.c.task, func.count().label("words"), func.count(labels.c.label).label("answers"))
    today = today.join_from(labels, mentions, labels.c.mention_id == mentions.c.id)
    today = today.where(mentions.c.realm == realm, labels.c.at >= midnight).group_by(labels.c.task)
    words = (await connection.execute(today)).all()
    return QueueFigures(
        waiting=waiting,
        labelled=labelled,
        answered_today={row.task: row.answers for row in words if row.answers},
        skipped_today={row.task: row.words - row.answers for row in words if row.words - row.answers},
    )
