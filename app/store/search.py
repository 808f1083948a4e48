"""Finding mentions: by filter, newest first, page by page; by identity; and in event-time order for a replay.

Owns the queries on `mentions` and the page's cursor. Erased mentions are never returned. Does not own what a user may
see: the caller says which queries.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final

from sqlalchemy import Select, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.rows import Normalise, author_digest, digest, scored_of, sought
from app.tables import in_utc, mention_queries, mentions
from streams.normal import ZWNJ
from streams.records import LIVE, Identity, ScoredMention

MOST: Final = 1000
LONGEST_TEXT: Final = 1000
_EQUAL: Final = ("source_kind", "lang", "sentiment", "urgency", "intent")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ARABIC: Final = re.compile("[\u0620-\u077f]")
_KEYBOARDS: Final = (("ي", "ی"), ("ك", "ک"))
_SMALL: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
_AFTER: Final = re.compile(r"(-?\d{1,18})\.(\d{1,18})")


@dataclass(frozen=True, slots=True)
class MentionFilter:
    """Which mentions. None means all; `start` is included, `end` is not (time of publication).

    `text` is contained, after normalisation, whatever joins its words: spaces, a line end, a hyphen or a ZWNJ.
    `queries`: at least one of them matched. `author` is an author's id and needs `source_kind`, or else a whole handle
    or name in any Unicode form, with the yeh and kaf of any keyboard, and without regard to the case of ASCII letters;
    others are as written here, or all small, all capital or titled.
    """

    realm: str = LIVE
    start: datetime | None = None
    end: datetime | None = None
    queries: Collection[str] | None = None
    source: str | None = None
    source_kind: str | None = None
    lang: str | None = None
    sentiment: str | None = None
    urgency: str | None = None
    intent: str | None = None
    author: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Mentions, newest first, and the cursor of the next page; None on the last one."""

    items: Sequence[ScoredMention]
    after: str | None


def _cursor(row: Any) -> str:
    return f"{(row.published_at - _EPOCH) // timedelta(microseconds=1)}.{row.id}"


def _place(after: str) -> tuple[datetime, int]:
    match = _AFTER.fullmatch(after)
    if match is None:
        raise ValueError("after: not a cursor that a page gave")
    try:
        return _EPOCH + timedelta(microseconds=int(match[1])), int(match[2])
    except OverflowError as error:
        raise ValueError("after: not a cursor that a page gave") from error


def spellings(name: str) -> list[str]:
    """Return the ways in which a name may be stored, folded as `_folded` folds the stored ones."""
    forms = {
        unicodedata.normalize(form, case).translate(_SMALL)
        for case in (name, name.lower(), name.upper(), name.title())
        for form in ("NFC", "NFD")
    }
    return sorted({reduce(lambda one, letter: one.replace(*letter), _KEYBOARDS, form) for form in forms})


def _folded(column: Any) -> Any:
    """Return the column with small ASCII letters, which is all that SQLite makes small, and one keyboard's letters."""
    small = func.lower(column, type_=column.type)
    return reduce(lambda one, letter: func.replace(one, *letter, type_=column.type), _KEYBOARDS, small)


def _author(author: str, source_kind: str | None) -> Any:
    columns = (mentions.c.author_handle, mentions.c.author_name)
    named = or_(*(_folded(column).in_(spellings(author)) for column in columns))
    if source_kind is None:
        return named
    return or_(mentions.c.author_key == author_digest(source_kind, author), named)


def _where(wanted: MentionFilter, normalise: Normalise) -> list[Any]:
    column = mentions.c
    conditions = [column.realm == wanted.realm, column.deleted_at.is_(None)]
    if wanted.start is not None:
        conditions.append(column.published_at >= in_utc(wanted.start))
    if wanted.end is not None:
        conditions.append(column.published_at < in_utc(wanted.end))
    for name, value in (("source_id", wanted.source), *((n, getattr(wanted, n)) for n in _EQUAL)):
        if value is not None:
            conditions.append(column[name] == value)
    if wanted.author is not None:
        conditions.append(_author(wanted.author, wanted.source_kind))
    if wanted.text is not None:
        conditions.append(_contains(wanted.text, normalise))
    return conditions


def _contains(text: str, normalise: Normalise) -> Any:
    """Return the condition that a text contains this one; a ZWNJ of either is as good as nothing, and as a space."""
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"text: at most {LONGEST_TEXT} characters")
    words = sought(text, normalise).strip(f" {ZWNJ}")
    if not words:
        raise ValueError("text: nothing that can be searched for; write a word, a number or a sign")
    column = mentions.c.text_normal
    if not _ARABIC.search(words):  # no ZWNJ stands between other letters, and this is three times as fast
        return column.contains(words, autoescape=True)
    joints = ("", " ") if {" ", ZWNJ} & {*words} else ("",)
    return or_(
        *(
            func.replace(column, ZWNJ, joint, type_=column.type).contains(words.replace(ZWNJ, joint), autoescape=True)
            for joint in joints
        )
    )


def _matched(queries: Collection[str]) -> Any:
    """Return the condition that one of the queries matched."""
    link = mention_queries.c
    return select(link.mention_id).where(link.mention_id == mentions.c.id, link.query_id.in_(sorted(queries))).exists()


async def find(
    connection: AsyncConnection, wanted: MentionFilter, limit: int, after: str | None, normalise: Normalise
) -> Page:
    """Return a page; ValueError for a cursor, a text or a moment that can't be."""
    query = select(mentions).where(*_where(wanted, normalise))
    if wanted.queries is not None:
        query = query.where(_matched(wanted.queries))
    if after is not None:
        query = query.where(tuple_(mentions.c.published_at, mentions.c.id) < tuple_(*_bound(_place(after))))
    query = query.order_by(mentions.c.published_at.desc(), mentions.c.id.desc()).limit(min(max(limit, 1), MOST) + 1)
    rows = (await connection.execute(query)).all()
    shown = rows[: min(max(limit, 1), MOST)]
    return Page([scored_of(row) for row in shown], _cursor(shown[-1]) if len(rows) > len(shown) else None)


def _bound(place: tuple[datetime, int]) -> tuple[Any, Any]:
    return literal(place[0], mentions.c.published_at.type), literal(place[1], mentions.c.id.type)


async def one(connection: AsyncConnection, identity: Identity, realm: str) -> ScoredMention | None:
    """Return a mention; None when it is not there or may not be read."""
    query = select(mentions).where(
        mentions.c.realm == realm, mentions.c.key == digest(identity.key), mentions.c.deleted_at.is_(None)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else scored_of(row)


def slice_after(realm: str, start: datetime, end: datetime, last: tuple[datetime, int] | None) -> Select[Any]:
    """Return the query of the next mentions published from `start` up to, not with, `end`, oldest first."""
    query = select(mentions).where(
        mentions.c.realm == realm,
        mentions.c.published_at >= start,
        mentions.c.published_at < end,
        mentions.c.deleted_at.is_(None),
    )
    if last is not None:
        query = query.where(tuple_(mentions.c.published_at, mentions.c.id) > tuple_(*_bound(last)))
    return query.order_by(mentions.c.published_at, mentions.c.id).limit(MOST)
