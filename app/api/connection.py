"""Connections as uvicorn has them, with an end that no peer can put off: under a request and under a live socket.

Owns hanging up. Does not own what is sent (`app.live.socket`), which asks for it by the socket's state.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

GRACE: Final = 5.0
"""Seconds that a peer has to take what was sent and to answer the farewell."""

HEAD_WITHIN: Final = 10.0
"""Seconds that a peer has to say what it wants: a request's whole head."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP, which waits for ever for a request's head: connections that say nothing would take them all."""

    _headless: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the next head, where no request is under way; an idle connection has its own time-out."""
        if self._headless is None and self.cycle is not None and self.cycle.response_complete:
            self._await_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Note that it was said in time."""
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._headless = self.loop.call_later(HEAD_WITHIN, self.transport.abort)

    def _forget_head(self) -> None:
        if self._headless is not None:
            self._headless.cancel()
            self._headless = None


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose own close waits for ever for a peer that does not read, with buffer and descriptor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        super().connection_lost(exc)
        self._gone.set()

    async def run_asgi(self) -> None:
        """Serve, with `hang_up` in the socket's state."""
        self.scope["state"]["hang_up"] = self.hang_up
        await super().run_asgi()

    async def hang_up(self) -> None:
        """Return when the connection is gone: closed by both sides, or cut off after the grace."""
        if self.close_timer is None:  # no farewell was said, none will be answered
            self.transport.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._gone.wait()
        finally:
            self.transport.abort()
