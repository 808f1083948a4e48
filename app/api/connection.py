"""The connection under a live socket: uvicorn's, with an end that no peer can put off.

Owns hanging up. Does not own what is sent (`app.live.socket`), which asks for it by the socket's state.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

GRACE: Final = 5.0
"""Seconds that a peer has to take what was sent and to answer the farewell."""


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
