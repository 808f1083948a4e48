"""Source `webhook`: mentions pushed to us, signed as Standard Webhooks does it.

Owns signatures, the bounded buffer, repeats and the answers. Does not own the HTTP route (`app` calls `accept`), nor
the fields of a body (`streams.sources.webhook_body`).

A sender signs `{webhook-id}.{webhook-timestamp}.{raw body}` with HMAC-SHA256 and sends `webhook-signature: v1,BASE64`.
It gets 202 only when its mentions are durable. Everything else tells it what to do: 200 an id that was taken within
24 h, 400 what is wrong with the body (it may come corrected under the same id), 401, 413, 429 and 503 with Retry-After.
Ids are remembered in memory; after a restart the dedup by identity and revision makes a repeat harmless.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal

from pydantic import Field

from streams.secrets import SecretMissing, resolve_secret
from streams.source import Arrival, SourceSettings
from streams.sources.webhook_body import Body, Received, parse

MAX_BODY: Final = 256 * 1024
TOLERANCE: Final = 300
REMEMBERED: Final = timedelta(hours=24)
_MAX_IDS: Final = 100_000
_MAX_ID: Final = 256
_MAX_SIGNATURES: Final = 8
_MIN_KEY: Final = 16
_STANDARD: Final = "whsec_"


class WebhookSettings(SourceSettings):
    """`secret` and `previous_secret` (while one is replaced) are references; `buffer` counts bodies that wait."""

    kind: Literal["webhook"] = "webhook"
    secret: str = Field(description="env:NAME or file:/path; whsec_… is read as base64, anything else as text")
    previous_secret: str | None = None
    buffer: int = Field(default=256, ge=1, le=10_000)
    answer_within: float = Field(default=10.0, gt=0, le=60, description="seconds to wait until mentions are durable")
    stall_after: float = Field(default=86_400.0, gt=0, description="seconds of silence after which it is stalled")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told: an HTTP status, one sentence, and for 429 and 503 the seconds to wait."""

    status: int
    detail: str
    retry_after: int | None = None


class WebhookSource:
    """Takes signed bodies. SecretMissing when it is made with a reference that leads nowhere, or a key too short."""

    settings_model: ClassVar[type[SourceSettings]] = WebhookSettings

    def __init__(self, settings: WebhookSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        references = (settings.secret, settings.previous_secret)
        self._keys = [_key(reference) for reference in references if reference is not None]
        self._waiting: asyncio.Queue[Arrival] = asyncio.Queue(settings.buffer)
        self._taken: OrderedDict[str, datetime] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:  # noqa: ARG002  a push has nothing to resume
        """Yield what `accept` took. There is no cursor: a sender repeats what it got no 2xx for.

        The first arrival is empty: whoever listens is live, else a restart would blind the rules until the next post.
        """
        yield Arrival()
        while True:
            yield await self._waiting.get()

    async def accept(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Check, buffer, wait until durable, and answer. `body` is raw: the bytes that were signed."""
        if len(body) > MAX_BODY:
            return Answer(413, f"the body has more than {MAX_BODY} bytes; send fewer mentions at once")
        lower = {name.lower(): value for name, value in headers.items()}
        message, stamp = lower.get("webhook-id", ""), lower.get("webhook-timestamp", "")
        fault = self._unsigned(message, stamp, lower.get("webhook-signature", ""), body)
        if fault:
            return Answer(401, fault)
        if self._known(message):
            return Answer(200, "taken before; nothing was done again")
        if message in self._under_way:
            return await self._outcome(self._under_way[message], "taken before; nothing was done again", 200)
        now = self._clock()
        found = parse(body, Received(self._settings.id, datetime.fromtimestamp(int(stamp), UTC), now))
        return await self._take(message, found)

    async def _take(self, message: str, found: Body) -> Answer:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused = bool(found.fault) and not found.mentions

        def settled() -> None:
            if not durable.done():
                durable.set_result(None)
                if not refused:
                    self._remember(message)

        try:
            self._waiting.put_nowait(
                Arrival(mentions=found.mentions, dead=found.dead, settled=settled, unversioned=found.unversioned)
            )
        except asyncio.QueueFull:
            return Answer(429, "too many bodies are waiting; send this one again later", 1)
        if refused:
            return Answer(400, found.fault)
        self._under_way[message] = durable
        detail = f"{len(found.mentions)} taken, {len(found.dead)} refused"
        try:
            return await self._outcome(durable, f"{detail}; {found.fault}" if found.fault else detail, 202)
        finally:
            del self._under_way[message]

    async def _outcome(self, durable: asyncio.Future[None], detail: str, status: int) -> Answer:
        try:
            async with asyncio.timeout(self._settings.answer_within):
                await asyncio.shield(durable)
        except TimeoutError:
            return Answer(503, "the mentions are not durable yet; send this body again, repeats are harmless", 5)
        return Answer(status, detail)

    def _unsigned(self, message: str, stamp: str, signatures: str, body: bytes) -> str:
        """Return why the body can't be believed; empty if it can."""
        if not 0 < len(message) <= _MAX_ID or not message.isascii() or not message.isprintable():
            return "the header webhook-id is missing or malformed"
        if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):  # noqa: PLR2004  seconds for 30,000 years
            return "the header webhook-timestamp is missing or no number of seconds since 1970"
        if abs(self._clock().timestamp() - int(stamp)) > TOLERANCE:
            return f"the webhook-timestamp is more than {TOLERANCE} s from our clock; sign anew with the current time"
        signed = f"{message}.{stamp}.".encode() + body
        expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys]
        for candidate in signatures.split()[:_MAX_SIGNATURES]:
            version, _, value = candidate.partition(",")
            given = _unbase64(value) if version == "v1" else b""
            if any([hmac.compare_digest(given, one) for one in expected]):  # noqa: C419  no early end: same time always
                return ""
        return "no signature in webhook-signature fits; sign {id}.{timestamp}.{body} with the shared secret"

    def _known(self, message: str) -> bool:
        oldest = self._clock() - REMEMBERED
        while self._taken and next(iter(self._taken.values())) < oldest:
            self._taken.popitem(last=False)
        return message in self._taken

    def _remember(self, message: str) -> None:
        self._taken[message] = self._clock()
        if len(self._taken) > _MAX_IDS:
            self._taken.popitem(last=False)


def _key(reference: str) -> bytes:
    secret = resolve_secret(reference)
    key = _unbase64(secret.removeprefix(_STANDARD)) if secret.startswith(_STANDARD) else secret.encode()
    if len(key) < _MIN_KEY:
        raise SecretMissing(f"the secret that {reference} refers to is too short; use at least {_MIN_KEY} random bytes")
    return key


def _unbase64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""
