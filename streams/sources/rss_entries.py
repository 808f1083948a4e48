"""Feeds as mentions: a pure function of the bytes of an RSS or Atom feed and of what was seen before.

Owns identity, edits and dates. Does not own fetching or the cursor (`streams.sources.rss`), nor the repair and reading
of feeds (`streams.sources.rss_repair`, `streams.sources.rss_reader`).

- Identity: the configured URL and guid, atom:id or link. It is the link if three or more entries, all that a feed has,
  have one and the same guid, and then of fewer, too, as long as one that was told so is among them.
- Edit: the content's hash changed. Revision: the entry's own time in milliseconds, and always above the one before; an
  edit without a later time is meant all the same, whatever is known by another cursor. It is put up to 4 s above by its
  content, so that what is known by the very same revision is the same edit: two sources may read one feed.
- Date: published, else updated, else the channel's own date. An entry without any is a dead letter: the time of receipt
  is never put in place of a publish time. One that is some hours ahead is a dead letter, and taken when due.
- Declared entities are refused, with them external files and expansion bombs; markup becomes text, script nothing.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from streams.addresses import AddressRefused, checked_url
from streams.records import LIVE, MAX_TEXT, Author, DeadLetter, Mention
from streams.sources.checks import MAX_AHEAD, check_times, clean_text
from streams.sources.letters import letter
from streams.sources.markup import plain_text
from streams.sources.rss_reader import FAULTS, read
from streams.sources.rss_repair import well_formed

KIND: Final = "rss"
MAX_ENTRIES: Final = 5000
_ONE_FOR_ALL: Final = 3
"""Entries with one guid and as many links: the guid is the feed's, and names no entry."""

_LANG: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_MAX_LANG: Final = 35
_WAITED_FOR: Final = timedelta(hours=15)
"""A date further ahead than any time zone is not waited for."""

_MAX_ID: Final = 1000
_MAX_URL: Final = 2048
_MAX_NAME: Final = 512


@dataclass(frozen=True, slots=True)
class Seen:
    """What was delivered of one entry: the hash of its content and its revision.

    A negative revision is that of an entry that waits for its date (-1 stands for none before, -2 for 1 and so on).
    """

    content: str
    revision: int

    @property
    def waits(self) -> bool:
        """Whether the entry is read again at the next poll."""
        return self.revision < 0

    @property
    def delivered(self) -> int:
        """Return the revision that was delivered last; 0 if none was."""
        return -1 - self.revision if self.waits else self.revision


@dataclass(frozen=True, slots=True)
class Entries:
    """What a feed holds that is new or changed, and what has now been seen (by the hash of the identity).

    `edited` are those of `mentions` that were delivered before, with other content.
    """

    mentions: Sequence[Mention] = ()
    edited: Sequence[Mention] = ()
    dead: Sequence[DeadLetter] = ()
    seen: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """Under which circumstances a feed is read; `max_age` drops entries that are older at receipt."""

    source_id: str
    url: str
    received_at: datetime
    max_age: timedelta | None = None
    realm: str = LIVE


def parse(body: bytes, content_type: str, reading: Reading, seen: Mapping[str, Seen]) -> Entries:
    """Return what is new in a feed; NotAFeed if `body` is none. Entries come oldest first."""
    whole = well_formed(body, content_type, reading.url)
    feed = read(whole.document, reading.url)
    _tell_apart(feed.entries, seen)
    mentions: list[Mention] = []
    edited: list[Mention] = []
    dead: list[DeadLetter] = [_damaged(whole.fault, body, reading)] if whole.fault else []
    now: dict[str, Seen] = {}
    for entry in feed.entries[:MAX_ENTRIES]:
        key, content = _hash(_identity(entry)), _hash(repr(_content(entry)))
        if key in now:  # twice in one feed: the upper one is the newer by custom
            continue
        before = seen.get(key)
        if before and before.content == content and not before.waits:
            now[key] = before
            continue
        found = _taken(entry, feed.channel, reading, before)
        if isinstance(found, str):
            revision = before.delivered if before else 0
            now[key] = Seen(content, -1 - revision if _early(entry, reading) else revision)
            if now[key] != before:
                dead.append(_dead(found, entry, reading))
            continue
        now[key] = Seen(content, found.revision)
        age = reading.received_at - (found.published_at or reading.received_at)
        if before or reading.max_age is None or age <= reading.max_age:
            mentions.append(found)
            edited += [found] if before and before.delivered else []
    mentions.sort(key=lambda mention: mention.published_at or reading.received_at)
    return Entries(mentions, edited, dead, now)


def _tell_apart(entries: Sequence[Any], seen: Mapping[str, Seen]) -> None:
    """Take a guid that is the feed's away from its entries; also when fewer are left than would tell."""
    ids, links = ({str(entry.get(name) or "").strip() for entry in entries} for name in ("id", "link"))
    told = len(entries) >= _ONE_FOR_ALL or any(_hash(link) in seen for link in links - ids)
    if len(ids) == 1 and len(links) == len(entries) and told:
        for entry in entries:
            entry.pop("id", None)


def _identity(entry: Any) -> str:
    for name in ("id", "link", "title"):
        value = entry.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return _hash(repr(_content(entry)))


def _content(entry: Any) -> tuple[str, str, str]:
    """Return title, body and link as they were sent; what is hashed to notice an edit."""
    bodies = [part.get("value", "") for part in entry.get("content") or ()]
    body = max([*bodies, entry.get("summary") or ""], key=len)
    return str(entry.get("title") or ""), str(body), str(entry.get("link") or "")


def _taken(entry: Any, channel: Any, reading: Reading, before: Seen | None) -> Mention | str:
    """Return the mention, or why there is none; what one entry raises is its own fault, not the feed's."""
    try:
        return _mention(entry, channel, reading, before)
    except FAULTS as error:
        return f"the entry can't be read: {type(error).__name__}: {error}"


def _mention(entry: Any, channel: Any, reading: Reading, before: Seen | None) -> Mention | str:
    """Return the mention, or why there is none."""
    published = _date(entry, "published_parsed", "updated_parsed") or _date(
        channel, "updated_parsed", "published_parsed"
    )
    if published is None:
        return "neither the entry nor its feed has a date that can be read"
    changed = _date(entry, "updated_parsed", "published_parsed") or published
    text = _text(entry)
    if not text or len(text) > MAX_TEXT:
        return f"the entry's text has {len(text)} characters; it must have 1 to {MAX_TEXT}"
    name = clean_text(str(entry.get("author") or channel.get("title") or ""))[:_MAX_NAME]
    try:
        mention = Mention(
            source_kind=KIND,
            native_id=_native_id(reading.url, _identity(entry)),
            source_id=reading.source_id,
            revision=_revision(entry, changed, before),
            realm=reading.realm,
            received_at=reading.received_at,
            published_at=published,
            author=Author(id=f"{reading.url[:_MAX_NAME]}#{name}"[: 2 * _MAX_NAME], name=name),
            text=text,
            lang=_lang(entry, channel),
            url=_link(entry),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return check_times(mention) or mention


def _revision(entry: Any, changed: datetime, before: Seen | None) -> int:
    """Return a revision above the one before; one that depends on the content where the entry's own time is none."""
    own = max(int(changed.timestamp() * 1000), 0)
    if before is None or own > before.delivered:
        return own
    return before.delivered + 1 + int(_hash(repr(_content(entry)))[:3], 16)


def _native_id(url: str, identity: str) -> str:
    identity = clean_text(identity)
    return f"{url[:_MAX_ID]}|{identity if len(identity) <= _MAX_ID else 'sha256:' + _hash(identity)}"


def _date(holder: Any, *names: str) -> datetime | None:
    for name in names:
        parsed = holder[name] if name in holder else None  # noqa: SIM401  get() takes another field and warns
        if isinstance(parsed, time.struct_time):  # an element of that name stands in its place as text
            try:
                return datetime.fromtimestamp(calendar.timegm(parsed), UTC)
            except (ValueError, OverflowError, OSError):
                continue
    return None


def _early(entry: Any, reading: Reading) -> bool:
    """Return whether the entry's date is still to come: a clock of Jerusalem or Tehran labelled GMT is common."""
    published = _date(entry, "published_parsed", "updated_parsed")
    return published is not None and MAX_AHEAD < published - reading.received_at < _WAITED_FOR


def _lang(entry: Any, channel: Any) -> str | None:
    detail = entry.get("title_detail") or {}
    for value in (detail.get("language"), channel.get("language")):
        if isinstance(value, str) and len(value) <= _MAX_LANG and _LANG.fullmatch(value):
            return value
    return None


def _link(entry: Any) -> str | None:
    link = entry.get("link")
    try:
        return str(checked_url(link)) if isinstance(link, str) and len(link) <= _MAX_URL // 2 else None
    except AddressRefused:
        return None


def _text(entry: Any) -> str:
    title, body, _ = _content(entry)
    title, body = plain_text(title), plain_text(body)
    return clean_text(body if body.startswith(title) else f"{title}\n\n{body}".strip())


def _damaged(fault: str, body: bytes, reading: Reading) -> DeadLetter:
    origin, at = reading.url, reading.received_at
    return letter(fault, body, source_id=reading.source_id, at=at, origin=origin, realm=reading.realm)


def _dead(reason: str, entry: Any, reading: Reading) -> DeadLetter:
    shown = repr(dict(entry))
    origin, at = _identity(entry), reading.received_at
    return letter(reason, shown, source_id=reading.source_id, at=at, origin=origin, realm=reading.realm)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
