"""WebhookNotifier: each alert event as a signed JSON POST (Standard Webhooks), with the verdict on every answer.

Owns the body, the signature and the reading of answers. Does not own retries (`alerts.sender`), nor which addresses may
be reached (`streams.outgoing`). The answer's body is never read: its status says all, and a hostile one can't hurt.

Headers: `webhook-id` is the idempotency key (the same in each attempt), `webhook-timestamp` seconds since 1970 of this
attempt, `webhook-signature` "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body". A secret that begins with
`whsec_` is base64 after that, any other is taken as it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, Literal

import httpx
from pydantic import Field, field_validator

from alerts.notifiers import Attempt, ReceiverSettings, Reject, Retry, Sent
from alerts.notifiers.wording import headline
from streams.addresses import AddressRefused, Allowed, checked_url, operator_hosts
from streams.outgoing import outgoing_client
from streams.records import LIVE, AlertEvent
from streams.secrets import SecretMissing, resolve_secret

DEADLINE: Final = 10.0
"""Seconds for one whole attempt."""

_LATER: Final = frozenset({408, 425, 429})
_CLOCK_FAULTS: Final = frozenset({9, 10})
"""OpenSSL's verdicts "not yet valid" and "has expired": the receiver renews those, so trying again is right."""


class WebhookReceiver(ReceiverSettings):
    """A receiver of kind webhook. `secret` is a reference: env:NAME or file:/path; `allow` see `streams.addresses`."""

    kind: Literal["webhook"] = "webhook"
    url: str = Field(max_length=2048)
    secret: str | None = None
    allow: Allowed = ()

    @field_validator("url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        try:
            port = checked_url(value).port
        except AddressRefused as error:
            raise ValueError(f"{error}; write an http or https address without credentials") from error
        if port is not None and not 0 < port < 65_536:  # noqa: PLR2004  the range of ports
            raise ValueError(f"there is no port {port}; write one from 1 to 65535, or none")
        return value

    @field_validator("secret")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("env:", "file:/")):
            raise ValueError("must be a reference: write env:NAME or file:/absolute/path, not the secret itself")
        return value


class WebhookNotifier:
    """See `alerts.notifiers.Notifier`."""

    settings_model: ClassVar[type[ReceiverSettings]] = WebhookReceiver

    def __init__(self, settings: ReceiverSettings) -> None:
        if not isinstance(settings, WebhookReceiver):
            raise TypeError(
                f"receiver {settings.id!r}: a webhook needs its own settings, not {type(settings).__name__}"
            )
        self._url = settings.url
        self._secret = None if settings.secret is None else signing_key(resolve_secret(settings.secret))
        self._client = outgoing_client(
            timeout=DEADLINE, allow=settings.allow, trusted_hosts=operator_hosts(settings.url), max_bytes=65_536
        )

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
        """POST once."""
        body = payload(event, key)
        headers = {"content-type": "application/json", **signature(self._secret, key, now, body)}
        try:
            async with (
                asyncio.timeout(DEADLINE),
                self._client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                return verdict(response.status_code, response.headers.get("retry-after"), now)
        except AddressRefused as error:
            return Reject(f"address refused: {error}")
        except (TimeoutError, httpx.TimeoutException):
            return Retry(f"no answer within {DEADLINE:g} s")
        except httpx.HTTPError as error:
            return _broken(error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def payload(event: AlertEvent, key: str) -> bytes:
    """Return the JSON body: the whole event, one line of text, and `real`: false for rehearsal and replay."""
    body: dict[str, Any] = {
        "type": f"alert.{event.state.value}",
        "key": key,
        "real": event.realm == LIVE,
        "realm": event.realm,
        "text": headline(event),
        "alert": event.model_dump(mode="json"),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def signing_key(secret: str) -> bytes:
    """Return the bytes to sign with; SecretMissing if what follows `whsec_` is no base64."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise SecretMissing("a secret that begins with whsec_ must go on in base64; copy it again, whole") from error


def signature(secret: bytes | None, key: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks; without a secret there is no signature."""
    stamp = str(int(now.timestamp()))
    headers = {"webhook-id": key, "webhook-timestamp": stamp}
    if secret is not None:
        digest = hmac.new(secret, f"{key}.{stamp}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def verdict(status: int, retry_after: str | None, now: datetime) -> Attempt:
    """Return what an HTTP status means: 2xx taken; 408, 425, 429 and 5xx later; all else, redirects too, never."""
    if 200 <= status < 300:  # noqa: PLR2004  the range of success
        return Sent(f"HTTP {status}")
    if status in _LATER or status >= 500:  # noqa: PLR2004  the range of server errors
        return Retry(f"HTTP {status}", wait_asked(retry_after, now))
    if 300 <= status < 400:  # noqa: PLR2004  the range of redirects
        return Reject(f"HTTP {status}: redirects are not followed; write the final address into the receiver's url")
    return Reject(f"HTTP {status}")


def wait_asked(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None if there is none readable."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(min(int(value.strip()[:9]), 86_400))
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), 86_400.0)


def _broken(error: httpx.HTTPError) -> Attempt:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code not in _CLOCK_FAULTS:
            return Reject(f"the certificate is refused: {cause.verify_message}")
    return Retry(f"{type(error).__name__}: {error}"[:300])


def _causes(error: BaseException | None) -> Sequence[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
