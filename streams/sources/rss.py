"""Source `rss`: one RSS or Atom feed, polled politely.

Owns fetching, its conditions and the cursor. Does not own the reading of entries (`streams.sources.rss_entries`),
addresses (`streams.outgoing`), or trying again after an error: the supervisor does.

The cursor is JSON: the address (a permanent redirect moves it), ETag and Last-Modified as they came, and for each entry
the hash of its content with its revision, at most 3,000, those in the feed first. The first poll takes what the feed
holds. A feed without entries is a quiet source; an answer that is no feed, whatever its status, is an unreachable one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal, Self

import httpx
from pydantic import Field, field_validator, model_validator

from streams.addresses import AddressRefused, Allowed, checked_url, operator_hosts
from streams.outgoing import ResponseTooLarge, get_checked, outgoing_client
from streams.source import Arrival, SourceRefused, SourceSettings, SourceUnreachable
from streams.sources.letters import letter
from streams.sources.rss_entries import Entries, Reading, Seen, parse
from streams.sources.rss_repair import NotAFeed

MAX_SEEN: Final = 3000
_MAX_CONDITION: Final = 1024
_VALIDATORS: Final = ("etag", "last-modified")
_ACCEPT: Final = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"
_REFUSALS: Final = {401: "wants a login", 403: "is forbidden", 410: "is gone for good", 451: "is withheld by law"}


class RssSettings(SourceSettings):
    """`poll` is the seconds between two polls; `max_age_days` leaves out what is older when it is first seen."""

    kind: Literal["rss"] = "rss"
    url: str
    poll: float = Field(default=300.0, gt=0, le=86_400)
    max_age_days: float | None = Field(default=None, gt=0)
    allow: Allowed = Field(default=(), description="internal host names or networks that may be reached")
    timeout: float = Field(default=30.0, gt=0, le=300)
    max_bytes: int = Field(default=10 * 1024 * 1024, gt=0)
    stall_after: float = Field(default=900.0, gt=0, description="seconds of silence after which it is stalled")

    @field_validator("url")
    @classmethod
    def _fetchable(cls, url: str) -> str:
        try:
            checked_url(url)
        except AddressRefused as error:
            raise ValueError(str(error)) from error
        return url

    @model_validator(mode="after")
    def _patient(self) -> Self:
        if self.stall_after <= self.poll + self.timeout:
            raise ValueError(f"stall_after must be more than poll + timeout ({self.poll + self.timeout:g} s)")
        return self


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the next poll goes and what is known; the cursor in its working form."""

    url: str
    etag: str = ""
    modified: str = ""
    seen: Mapping[str, Seen] = field(default_factory=dict)

    @classmethod
    def load(cls, cursor: str | None, url: str) -> _Place:
        if cursor is None:
            return cls(url)
        try:
            saved = json.loads(cursor)
            seen = {key: Seen(str(content), int(revision)) for key, (content, revision) in saved["seen"].items()}
            place = cls(str(saved["url"]), str(saved["etag"]), str(saved["modified"]), seen)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the saved cursor of an rss source is damaged: {error}") from error
        # Another address in the settings starts anew, but what was seen stays: identities hold the address.
        return place if saved.get("for") == url else cls(url, seen=seen)

    def save(self, configured: str) -> str:
        seen = {key: [one.content, one.revision] for key, one in self.seen.items()}
        whole = {"for": configured, "url": self.url, "etag": self.etag, "modified": self.modified, "seen": seen}
        return json.dumps(whole, separators=(",", ":"))


class RssSource:
    """Polls one feed. `clock` gives the time of receipt."""

    settings_model: ClassVar[type[SourceSettings]] = RssSettings

    def __init__(self, settings: RssSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        """Yield an arrival for each poll, empty if nothing is new; see the port."""
        settings = self._settings
        place = _Place.load(cursor, settings.url)
        async with outgoing_client(
            timeout=settings.timeout,
            allow=settings.allow,
            trusted_hosts=operator_hosts(settings.url),
            max_bytes=settings.max_bytes,
        ) as client:
            while True:
                place, arrival = await self._poll(client, place)
                yield arrival
                await asyncio.sleep(settings.poll)

    async def _poll(self, client: httpx.AsyncClient, place: _Place) -> tuple[_Place, Arrival]:
        asked = {"accept": _ACCEPT, "if-none-match": place.etag, "if-modified-since": place.modified}
        headers = {name: value for name, value in asked.items() if value}
        try:
            async with asyncio.timeout(self._settings.timeout * 2):
                answer = await get_checked(client, place.url, headers, self._settings.url)
        except AddressRefused as error:
            raise SourceRefused(str(error)) from error
        except (ResponseTooLarge, httpx.DecodingError) as error:
            raise self._unread(str(error), b"") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise SourceUnreachable(f"the feed can't be reached: {error or type(error).__name__}") from error
        response = answer.response
        moved = answer.moved_to or place.url
        if response.status_code == HTTPStatus.NOT_MODIFIED and (place.etag or place.modified):
            return _Place(moved, place.etag, place.modified, place.seen), Arrival()
        if response.status_code != HTTPStatus.OK:
            raise _refusal(response, self._clock(), self._settings.poll)
        return await self._read(response, moved, place)

    async def _read(self, response: httpx.Response, url: str, place: _Place) -> tuple[_Place, Arrival]:
        age = self._settings.max_age_days
        reading = Reading(
            source_id=self._settings.id,
            url=self._settings.url,
            received_at=self._clock(),
            max_age=None if age is None else timedelta(days=age),
        )
        kind = response.headers.get("content-type", "")
        try:
            # feedparser takes its time on 10 MiB; sockets must go on meanwhile.
            found = await asyncio.to_thread(parse, response.content, kind, reading, place.seen)
        except NotAFeed as error:
            raise self._unread(f"what came is no feed: {error}", response.content) from error
        # While an entry waits for its date, "not modified" would hide it.
        waits = any(one.waits for one in found.seen.values())
        etag, modified = ("" if waits else _condition(response.headers.get(name, "")) for name in _VALIDATORS)
        after = _Place(url, etag, modified, _kept(place.seen, found))
        same = after == place
        cursor = None if same else after.save(self._settings.url)
        return after, Arrival(mentions=found.mentions, dead=found.dead, cursor=cursor, unversioned=found.edited)

    def _unread(self, reason: str, body: bytes) -> SourceUnreachable:
        """Return what to raise for an answer without a feed: a captive portal must not pass for a quiet newspaper."""
        origin = self._settings.url
        dead = letter(reason, body, source_id=self._settings.id, at=self._clock(), origin=origin)
        return SourceUnreachable(reason, self._settings.poll, [dead])


def _condition(value: str) -> str:
    """Return a validator as it came, or nothing if it can't be sent back as a header."""
    return value if value.isascii() and value.isprintable() and len(value) <= _MAX_CONDITION else ""


def _kept(before: Mapping[str, Seen], found: Entries) -> dict[str, Seen]:
    """Return what to remember: all that the feed holds now, then as much of the past as there is room for."""
    kept = dict(found.seen)
    for key, one in before.items():
        if len(kept) >= MAX_SEEN:
            break
        kept.setdefault(key, one)
    return kept


def _refusal(response: httpx.Response, now: datetime, poll: float) -> Exception:
    status = response.status_code
    if status in _REFUSALS:
        return SourceRefused(f"the feed {_REFUSALS[status]} (HTTP {status}); check its url, or remove the source")
    # A server that answers is not asked more often than when all is well.
    return SourceUnreachable(f"the feed answered HTTP {status}", max(_retry_after(response.headers, now), poll))


def _retry_after(headers: Mapping[str, Any], now: datetime) -> float:
    """Return the seconds that Retry-After asks for, given as a number or a date; 0 if unreadable."""
    value = str(headers.get("retry-after", "")).strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        return (until - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
