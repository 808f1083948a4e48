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

REST_WITHIN: Final = 30.0
"""Seconds for what is still sent of a request that was answered already (its body was refused)."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP, which waits for ever for a request's head: connections that say nothing would take them all."""

    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._end_after(HEAD_WITHIN)

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the end of what belongs to no request under way; it ended uvicorn's wait for the next."""
        super().data_received(data)
        ours = self in self.connections  # not a WebSocket's by now
        answered = ours and self.cycle is not None and self.cycle.response_complete
        if answered and self._ending is None and self.timeout_keep_alive_task is None:
            self._end_after(REST_WITHIN)

    def on_message_begin(self) -> None:
        """Begin to wait for this head."""
        self._end_after(HEAD_WITHIN)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that it was said in time."""
        self._go_on()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._go_on()
        super().connection_lost(exc)

    def _end_after(self, seconds: float) -> None:
        self._go_on()
        self._ending = self.loop.call_later(seconds, self.transport.abort)

    def _go_on(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None


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
