"""The only way out over HTTP(S): connections go to addresses that were checked, and to no other.

Owns the guarded client, the checked redirect and the size limit. Does not own the verdict on an address
(`streams.addresses`), retries, or what is asked (`streams.sources`, `alerts.notifiers`).

A name is resolved once, every address that it has is checked, and the connection goes to a checked address while Host
and TLS keep the name: a second answer of the DNS can change nothing. A redirect to another host gets neither trust nor
allow, and neither does the place where a permanent one led before. No proxy of the environment is used: it would
resolve names by itself.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from streams.addresses import AddressRefused, Guard, Resolver, checked_url, guard

MAX_REDIRECTS: Final = 5
DEFAULT_MAX_BYTES: Final = 10 * 1024 * 1024
_STEP: Final = 65_536


class ResponseTooLarge(httpx.TransportError):
    """The body, decompressed, is larger than the client's limit; what was read is thrown away."""


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only; TLS and Host above it know nothing but the name."""

    def __init__(self, rules: Guard) -> None:
        self._rules = rules
        self._open = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  as above
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in await self._rules.addresses(host, port):
            try:
                return await self._open.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await self._open.sleep(seconds)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's transport over a guarded network. `_pool` is the seam: httpx offers no public one for a backend."""

    def __init__(self, rules: Guard, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, network_backend=_GuardedNetwork(rules), keepalive_expiry=30.0
        )


class GuardedTransport(httpx.AsyncBaseTransport):
    """Two pools: one with the operator's trust, one without for redirects to another host."""

    def __init__(self, rules: Guard, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        context = httpx.create_ssl_context()  # honours SSL_CERT_FILE: an operator may have an own CA
        self._asked = _Transport(rules, context)
        self._elsewhere = _Transport(Guard(resolve=rules.resolve), context)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response's body is plain (decompressed) and at most `max_bytes` long."""
        checked_url(str(request.url))
        transport = self._elsewhere if request.extensions.get("elsewhere") else self._asked
        response = await transport.handle_async_request(request)
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101  narrows a union of httpx
        body = _BoundedBody(response.stream, encoding, self._max_bytes)
        kept = [(name, value) for name, value in response.headers.raw if _kept(name.lower(), value)]
        return httpx.Response(response.status_code, headers=kept, stream=body, extensions=response.extensions)

    async def aclose(self) -> None:
        """Close both pools."""
        await self._asked.aclose()
        await self._elsewhere.aclose()


def _kept(name: bytes, value: bytes) -> bool:
    """Return whether a header goes on. A Location that is no URL does not: httpx reads it, and lets errors through."""
    if name == b"location":
        try:
            return httpx.URL(value.decode()).host is not None
        except (httpx.InvalidURL, ValueError):
            return False
    return name not in _OF_THE_WIRE


_OF_THE_WIRE: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_ZLIB_HEADER: Final = 2
"""Bytes that tell whether `deflate` is in zlib's frame, as the standard has it, or bare, as many servers send it."""


class _BoundedBody(httpx.AsyncByteStream):
    """A body that is decompressed in small steps, so that a bomb is noticed before it is in memory.

    An encoding that was not asked for is an error only for those who read the body.
    """

    def __init__(self, stream: httpx.AsyncByteStream, encoding: str, most: int) -> None:
        self._stream, self._encoding, self._most = stream, encoding, most
        self._inflate = zlib.decompressobj(_WINDOWS[encoding]) if encoding in _WINDOWS else None
        self._head = b""
        self._known = encoding != "deflate"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._encoding not in {"", "identity", *_WINDOWS}:
            raise httpx.DecodingError(f"the content encoding {self._encoding!r} was not asked for")
        size = 0
        async for chunk in self._stream:
            for plain in self._plain(chunk):
                size += len(plain)
                if size > self._most:
                    raise ResponseTooLarge(f"the response is larger than {self._most} bytes")
                yield plain
        if self._inflate is not None and size and not self._inflate.eof:
            raise httpx.DecodingError("the compressed response ends too early")

    def _plain(self, chunk: bytes) -> Iterable[bytes]:
        if self._inflate is None:
            yield chunk
            return
        if not self._known:
            chunk = self._head = self._head + chunk
            if len(chunk) < _ZLIB_HEADER:
                return
            self._known = True
            if chunk[0] & 15 != zlib.DEFLATED or int.from_bytes(chunk[:_ZLIB_HEADER]) % 31:
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        full = True
        while (chunk or full) and not self._inflate.eof:
            try:
                plain = self._inflate.decompress(chunk, _STEP)
            except zlib.error as error:
                raise httpx.DecodingError(f"the compressed response is damaged: {error}") from error
            # A full step may have left output inside even when all input was taken.
            chunk, full = self._inflate.unconsumed_tail, len(plain) == _STEP
            yield plain

    async def aclose(self) -> None:
        await self._stream.aclose()


def outgoing_client(
    *,
    timeout: float,
    allow: Sequence[str] = (),
    trusted_hosts: Iterable[str] = (),
    max_bytes: int = DEFAULT_MAX_BYTES,
    headers: Mapping[str, str] | None = None,
    resolve: Resolver | None = None,
) -> httpx.AsyncClient:
    """Return a client that reaches checked addresses only and follows no redirect (`get_checked` does, with checks).

    `timeout` is seconds for each of connect, read, write and waiting for a connection; a caller that needs an end for
    the whole exchange sets `asyncio.timeout` around it. Raises AddressRefused and ResponseTooLarge beside httpx's own
    errors; all are httpx.HTTPError.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(guard(allow, trusted_hosts, resolve), max_bytes),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        headers={"user-agent": "warroom (social listening)", "accept-encoding": "gzip, deflate"} | dict(headers or {}),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A response after redirects, read whole. `moved_to` is the new address if all redirects were permanent."""

    response: httpx.Response
    moved_to: str | None


_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PERMANENT: Final = frozenset({301, 308})


async def get_checked(client: httpx.AsyncClient, url: str, headers: Mapping[str, str], home: str = "") -> Answer:
    """GET `url`, following up to five redirects; each hop is checked, and other hosts get no trust.

    `home` is the address that the operator wrote, if `url` is where an earlier answer led from there.
    """
    first = checked_url(url)
    trusted = checked_url(home or url).host
    current, permanent = first, True
    for _ in range(MAX_REDIRECTS + 1):
        sent: dict[str, Any] = {"elsewhere": current.host != trusted}
        response = await client.get(current, headers=dict(headers), extensions=sent)
        location = response.headers.get("location")
        if response.status_code not in _REDIRECTS or not location:
            return Answer(response, str(current) if permanent and current != first else None)
        permanent = permanent and response.status_code in _PERMANENT
        current = checked_url(str(current.join(location)))
    raise AddressRefused(f"{first.host} redirects more than {MAX_REDIRECTS} times")
