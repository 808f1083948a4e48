"""Source `bluesky`: the public firehose of Bluesky through Jetstream v1, without a key.

Owns the WebSocket, the cursor and the detection of gaps. Does not own the reading of events
(`streams.sources.bluesky_events`), dedup, or trying again: it raises, and the supervisor calls `listen` anew.

The cursor is the highest `time_us` seen, because the stream is not in order; each connection goes back 5 s before it.
Jetstream keeps 36 h and answers an older cursor without a word by starting later: a first event long after the cursor
is reported as a gap. It answers one in its future by starting now: first events before what was asked for mean that its
time went back, which is a gap, too, and asked for again from further back. Events that no query wants move the cursor
too.

Event time is the clock's only while the stream is at its end. Behind it (after an outage hours come within seconds) and
in silence (the network is gone, and nobody said so) it is the time of the last events: else the rules would have passed
the time of posts that are still to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal

import httpx
from pydantic import Field, field_validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streams.addresses import AddressRefused, Endpoint, check_endpoint, checked_url
from streams.source import Arrival, SourceRefused, SourceSettings, SourceUnreachable
from streams.sources.bluesky_events import POSTS, Parsed, parse

MAX_FRAME: Final = 32 * 1024 * 1024
REWIND_US: Final = 5_000_000
_MOST: Final = 500
_LINGER: Final = 0.05
"""Seconds for which frames are gathered into one arrival: at 500 events a second it saves most of the hand-overs."""
_FUTURE_US: Final = 300_000_000
_FURTHEST_BACK_US: Final = 12 * _FUTURE_US
"""How far before the cursor is asked again at once when time went back; a server further behind is asked repeatedly."""

_AT_THE_END_US: Final = 2_000_000
"""A stream whose events are at most so old is at its end."""

_QUIET: Final = 3.0
"""Seconds without an event after which event time stands still: less than the lateness that rules allow for."""

_REFUSALS: Final = frozenset({400, 401, 403, 404, 410})


class BlueskySettings(SourceSettings):
    """`keep_alive` is the seconds between pings; after one and a half times that without an event it reconnects."""

    kind: Literal["bluesky"] = "bluesky"
    endpoint: str = "wss://jetstream2.us-east.bsky.network/subscribe"
    collections: tuple[str, ...] = (POSTS,)
    keep_alive: float = Field(default=30.0, gt=0, le=600)
    gap_after: float = Field(default=60.0, gt=0, description="seconds between cursor and first event that mean a gap")

    @field_validator("endpoint")
    @classmethod
    def _reachable_form(cls, endpoint: str) -> str:
        try:
            checked_url(endpoint, ("ws", "wss"))
        except AddressRefused as error:
            raise ValueError(str(error)) from error
        return endpoint


class BlueskySource:
    """Listens to one Jetstream endpoint. `clock` gives the time of receipt."""

    settings_model: ClassVar[type[SourceSettings]] = BlueskySettings

    def __init__(self, settings: BlueskySettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        self._collections = frozenset(settings.collections)
        self._connected_before = False

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        """Yield what Jetstream sends from `cursor` on; see the port."""
        reached = _reached(cursor)
        gap = self._future(reached)
        if gap:
            reached = None
        connection = await self._connect(reached)
        again, self._connected_before = self._connected_before, True
        place = _Place(reached)
        try:
            async with connection:
                while True:
                    found = [self._parse(frame) for frame in await self._frames(connection)]
                    times = [one.time_us for one in found if one.time_us is not None]
                    if self._idle(place, heard=bool(found)):
                        continue
                    back: int | None = None
                    if place.resumed is not None and times:
                        gap, back, place.resumed = *self._missed(place.resumed, times), None
                    place.highest = self._highest(place.highest, times) if back is None else back
                    place.newest = times[-1] if times else place.newest
                    yield _arrival(found, place.highest, at=self._event_time(place), gap=gap, reconnected=again)
                    if back is not None:
                        raise SourceUnreachable(f"{gap}: asking again from further back")
                    gap, again = "", False
        except ConnectionClosed as error:
            raise SourceUnreachable(f"Jetstream closed the connection: {error}") from error

    async def _connect(self, reached: int | None) -> ClientConnection:
        url = httpx.URL(self._settings.endpoint)
        for collection in self._settings.collections:
            url = url.copy_add_param("wantedCollections", collection)
        if reached is not None:
            url = url.copy_add_param("cursor", str(max(reached - REWIND_US, 0)))
        try:
            return await self._open(str(url), await check_endpoint(self._settings.endpoint))
        except AddressRefused as error:
            raise SourceRefused(str(error)) from error
        except InvalidStatus as error:
            raise _refusal(error) from error
        except (httpx.HTTPError, OSError, WebSocketException, TimeoutError) as error:
            raise SourceUnreachable(f"Jetstream can't be reached: {error}") from error

    async def _open(self, url: str, place: Endpoint) -> ClientConnection:
        failure: OSError | None = None
        for address in place.addresses:
            try:
                return await self._open_at(url, address, place.port)
            except OSError as error:  # an address family without a route: the next address may do
                failure = error
        raise failure or OSError(f"{place.host} has no address")

    async def _open_at(self, url: str, address: str, port: int) -> ClientConnection:
        keep_alive = self._settings.keep_alive
        # With host and port given, websockets follows no redirect to another place; TLS and Host keep the URL's name.
        return await connect(
            url,
            host=address,
            port=port,
            proxy=None,
            max_size=MAX_FRAME,
            compression=None,
            open_timeout=10,
            close_timeout=1,
            ping_interval=keep_alive,
            ping_timeout=keep_alive / 2,
        )

    async def _frames(self, connection: ClientConnection) -> Sequence[bytes | str]:
        """Return a frame and what else comes within a moment; nothing after a while of silence."""
        try:
            async with asyncio.timeout(min(_QUIET, self._silence)):
                frames: list[bytes | str] = [await connection.recv(decode=False)]
        except TimeoutError:
            return ()
        try:
            async with asyncio.timeout(_LINGER):
                while len(frames) < _MOST:
                    frames.append(await connection.recv(decode=False))
        except TimeoutError:
            pass
        except ConnectionClosed:
            pass  # the next call meets it again, after these frames were handed over
        return frames

    @property
    def _silence(self) -> float:
        return self._settings.keep_alive * 1.5

    def _idle(self, place: _Place, *, heard: bool) -> bool:
        """Return whether there is nothing to say: it is silent, and that was said already or was never otherwise."""
        before, place.silent = place.silent, 0.0 if heard else place.silent + min(_QUIET, self._silence)
        if place.silent >= self._silence:
            raise SourceUnreachable(f"no event for {self._silence:.0f} s: connecting again")
        place.heard = place.heard or heard
        return not heard and (before > 0 or not place.heard)

    def _event_time(self, place: _Place) -> datetime | None:
        """Return how far event time goes; None for the clock's."""
        if place.newest is None:
            return None
        now = _now_us(self._clock())
        reached = min(place.newest, now)
        behind = now - reached > _AT_THE_END_US
        return datetime.fromtimestamp(reached / 1e6, UTC) if behind or place.silent else None

    def _parse(self, frame: bytes | str) -> Parsed:
        return parse(frame, self._settings.id, self._clock(), collections=self._collections)

    def _highest(self, highest: int | None, times: Sequence[int]) -> int | None:
        """Return the highest believable time: one event from the far future must not skip all that follows."""
        limit = _now_us(self._clock()) + _FUTURE_US
        return max((time for time in (highest, *times) if time is not None and time <= limit), default=None)

    def _future(self, reached: int | None) -> str:
        if reached is None or reached <= _now_us(self._clock()) + _FUTURE_US:
            return ""
        return f"the saved cursor {reached} lies in the future; listening from now"

    def _missed(self, reached: int, times: Sequence[int]) -> tuple[str, int | None]:
        """Return what was missed, empty if nothing, and from where to ask again if Jetstream may still have it.

        One event with a strange time among the first decides nothing: most must lie before what was asked for if time
        went back, and else those are left out.
        """
        asked = reached - REWIND_US
        middle = sorted(times)[len(times) // 2]
        if middle < asked:
            # A cursor is at most _FUTURE_US ahead of the time at which it was saved.
            back = max(min(middle, reached - _FUTURE_US), reached - _FURTHEST_BACK_US)
            before = (reached - middle) / 1e6
            return f"Jetstream's time went back: the first event came {before:.0f} s before the cursor", back
        after = (min(time for time in times if time >= asked) - reached) / 1e6
        if after <= self._settings.gap_after:
            return "", None
        return f"the first event came {after:.0f} s after the cursor: Jetstream no longer had what lies between", None


@dataclass(slots=True)
class _Place:
    """How far a connection has come, in µs: `resumed` is the cursor until the first event, `newest` the last events'.

    `silent` counts the seconds since the last event; `heard` says that there was one.
    """

    resumed: int | None
    silent: float = 0.0
    heard: bool = False
    highest: int | None = field(init=False)
    newest: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.highest = self.newest = self.resumed


def _arrival(
    found: Sequence[Parsed], highest: int | None, *, at: datetime | None, gap: str, reconnected: bool
) -> Arrival:
    return Arrival(
        mentions=[one.mention for one in found if one.mention is not None],
        dead=[one.dead for one in found if one.dead is not None],
        cursor=None if highest is None else str(highest),
        at=at,
        gap=gap,
        reconnected=reconnected,
    )


def _now_us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def _reached(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 20):  # noqa: PLR2004  digits of a 64-bit integer
        raise ValueError(f"the saved cursor {cursor[:40]!r} of a bluesky source is damaged")
    return int(cursor)


def _refusal(error: InvalidStatus) -> Exception:
    status = error.response.status_code
    if status in _REFUSALS:
        return SourceRefused(f"Jetstream answered {status}; check the endpoint and the collections")
    after = error.response.headers.get("retry-after", "")
    return SourceUnreachable(f"Jetstream answered {status}", float(after) if after.isdecimal() else 0.0)
