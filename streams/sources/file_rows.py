"""What a row of a file means: a mention, from columns of many names, or one of our own records.

Owns the pure step from a row to a mention and the names that are understood. Does not own reading (`file_reader`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pydantic import ValidationError

from streams.addresses import AddressRefused, checked_url
from streams.records import Action, Author, Mention, Pulse, Reach, ScoredMention, UnreadableRecord, decode
from streams.sources.checks import check_times, clean_text

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text", "content", "body", "message", "comment", "review", "full_text"),
    "id": ("id", "native_id", "post_id", "tweet_id", "comment_id", "guid", "uri"),
    "published_at": ("published_at", "published", "created_at", "created", "date", "datetime", "timestamp", "time"),
    "author_id": ("author_id", "author.id", "user_id", "user.id"),
    "author_name": ("author_name", "author.name", "author", "user.name", "username", "user", "name"),
    "author_handle": ("author_handle", "author.handle", "handle", "screen_name", "user.screen_name"),
    "lang": ("lang", "language"),
    "url": ("url", "link", "permalink"),
    "thread_id": ("thread_id", "conversation_id"),
    "reply_to": ("reply_to", "in_reply_to", "in_reply_to_id", "parent_id"),
    "place": ("place", "location", "country"),
    "followers": ("followers", "author.followers", "followers_count", "user.followers_count"),
    "likes": ("likes", "like_count", "favorite_count"),
    "shares": ("shares", "share_count", "retweet_count", "reposts"),
    "replies": ("replies", "reply_count", "comments"),
    "revision": ("revision",),
    "action": ("action",),
}
"""Ours -> the column names (dotted: inside an object) that are taken for it, the first that has a value."""

_OUR_TYPES: Final = frozenset({"mention", "scored", "pulse", "alert", "dead"})
_NUMBER: Final = re.compile(r"-?\d{1,16}(\.\d{1,9})?")
_MILLIS: Final = 1e11
_MICROS: Final = 1e14


class BadRow(ValueError):
    """The row can't be a mention; the message is the dead letter's reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What all rows of a source share. `names` is NAMES with the settings' own on top."""

    source_id: str
    realm: str
    received_at: datetime
    zone: tzinfo
    names: Mapping[str, Sequence[str]]
    round: int = 0
    shift: timedelta = timedelta(0)


def from_json(data: bytes, reading: Reading) -> Mention | None:
    """Return the mention of a JSON line; None for a pulse of ours. Raises BadRow."""
    try:
        row = json.loads(_decoded(data))
    except (ValueError, RecursionError) as error:
        raise BadRow(f"bad JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadRow(f"bad JSON: an object is expected, not {type(row).__name__}")
    if "v" in row and isinstance(row.get("type"), str) and row["type"] in _OUR_TYPES:
        return _ours(data, reading)
    return _checked(_mention(row, reading), reading)


def from_csv(data: bytes, header: Sequence[str], reading: Reading, delimiter: str = ",") -> Mention:
    """Return the mention of a CSV record. Raises BadRow."""
    cells = csv_cells(data, delimiter)
    if len(cells) != len(header):
        raise BadRow(f"bad CSV: {len(cells)} columns, the header has {len(header)}")
    return _checked(_mention(dict(zip(header, cells, strict=True)), reading), reading)


def csv_cells(data: bytes, delimiter: str = ",") -> list[str]:
    """Return the cells of one CSV record. Raises BadRow."""
    text = _decoded(data)
    if "\x00" in text:
        raise BadRow("bad CSV: NUL in the record")
    try:
        # Not splitlines: it also ends lines at U+2028 and others, which posts hold.
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise BadRow(f"bad CSV: {error}") from error
    if len(rows) > 1:
        raise BadRow(f"bad CSV: {len(rows)} records in one line; end each with a line break")
    return rows[0] if rows else []


def instant(value: object, zone: tzinfo) -> datetime:
    """Return the UTC moment of a number (seconds, milliseconds or microseconds since 1970), ISO 8601 or RFC 2822 text.

    Text without an offset is taken to be in `zone`. Raises BadRow.
    """
    text = str(value).strip()
    try:
        if not isinstance(value, bool) and _NUMBER.fullmatch(text):
            number = float(text)
            scale = 1 if abs(number) < _MILLIS else 1e3 if abs(number) < _MICROS else 1e6
            return datetime.fromtimestamp(number / scale, UTC)
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise BadRow(f"published_at {text[:80]!r} is no date") from error


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        raise BadRow(f"invalid UTF-8 at byte {error.start}") from error


def _ours(data: bytes, reading: Reading) -> Mention | None:
    try:
        record = decode(data.removeprefix(b"\xef\xbb\xbf"))
    except UnreadableRecord as error:
        raise BadRow(f"not a record of this version: {error}") from error
    if isinstance(record, Pulse):
        return None
    found = record.mention if isinstance(record, ScoredMention) else record
    if not isinstance(found, Mention):
        raise BadRow(f"a {found.type} record is no mention")
    if found.action is Action.PUBLISH and found.published_at is None:
        raise BadRow("published_at is missing; only a deletion goes without")
    ours = {"source_id": reading.source_id, "realm": reading.realm, "received_at": reading.received_at, "queries": ()}
    cleaned = {name: _cleaned(value) for name, value in found.model_dump(exclude=set(ours)).items()}
    try:
        mention = Mention.model_validate(cleaned | ours | {"url": _web_address(cleaned["url"])})
    except ValidationError as error:
        raise BadRow(_first_fault(error)) from error
    return _checked(mention, reading)


def _cleaned(value: Any) -> Any:
    """Return a field of a record with the text in it made holdable."""
    if isinstance(value, dict):
        return {name: _cleaned(part) for name, part in value.items()}
    return clean_text(value) if isinstance(value, str) and not isinstance(value, Action) else value


def _web_address(url: str | None) -> str | None:
    """Return `url` if it is a web address, else None: a script behind a link is no reason to lose the post."""
    try:
        return str(checked_url(url)) if url else None
    except AddressRefused:
        return None


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _mention(row: Mapping[str, Any], reading: Reading) -> Mention:
    def text(name: str) -> str | None:
        value = _value(row, reading.names[name])
        return clean_text(str(value)).strip() or None if value is not None else None

    action = _action(text("action"))
    published = _value(row, reading.names["published_at"])
    if published is None and action is Action.PUBLISH:
        raise BadRow("published_at is missing; map its column in `fields`")
    if not text("text") and action is Action.PUBLISH:
        raise BadRow("text is missing; map its column in `fields`")
    if text("id") is None and action is not Action.PUBLISH:
        raise BadRow("a deletion without id")
    try:
        return Mention(
            source_kind="file",
            native_id=text("id") or _content_id(row),
            source_id=reading.source_id,
            revision=_count(text("revision")) or 0,
            action=action,
            realm=reading.realm,
            received_at=reading.received_at,
            published_at=instant(published, reading.zone) if action is Action.PUBLISH else None,
            author=_author(text("author_id"), text("author_name"), text("author_handle")),
            text=(text("text") or "") if action is Action.PUBLISH else "",
            lang=text("lang"),
            url=_web_address(text("url")),
            thread_id=text("thread_id"),
            reply_to=text("reply_to"),
            reach=Reach(**{name: _count(text(name)) for name in ("followers", "likes", "shares", "replies")}),
            place=text("place"),
        )
    except ValidationError as error:
        raise BadRow(_first_fault(error)) from error


def _checked(mention: Mention, reading: Reading) -> Mention:
    """Move a later round of a looped file behind the one before, then refuse times that can't be true."""
    if reading.round:
        moved = None if mention.published_at is None else mention.published_at + reading.shift
        native_id = f"{mention.native_id}~{reading.round}"
        mention = mention.model_copy(update={"native_id": native_id, "published_at": moved})
    reason = check_times(mention)
    if reason is not None:
        raise BadRow(reason)
    return mention


def _value(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first scalar with something in it."""
    for name in names:
        found: Any = row.get(name)
        if found is None and "." in name:
            found = row
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        if found is not None and not isinstance(found, (dict, list)) and str(found).strip():
            return found
    return None


def _action(value: str | None) -> Action:
    try:
        return Action((value or "publish").lower())
    except ValueError as error:
        raise BadRow(f"action {str(value)[:40]!r} is none of {', '.join(Action)}") from error


def _author(native_id: str | None, name: str | None, handle: str | None) -> Author | None:
    known = native_id or handle or name
    return None if known is None else Author(id=known, name=(name or "")[:512], handle=(handle or "")[:512])


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 19 else None  # noqa: PLR2004  of 64 bits


def _content_id(row: Mapping[str, Any]) -> str:
    """Return an identity for a row without one: the same row is the same post. Raises BadRow."""
    try:
        canonical = json.dumps(row, sort_keys=True, ensure_ascii=True, default=str)
    except RecursionError as error:
        raise BadRow("nested too deep for a row without id; give it one") from error
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"
