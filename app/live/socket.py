"""One live WebSocket: reads the shared ring from its own place and sends; a slow or hostile client hurts nobody else.

Owns the loop of one client: resume, heartbeat, slowness, farewell. Does not own who may connect (`app.api.access`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from fastapi import WebSocket, WebSocketDisconnect, status

from app.live.hub import Hub, resync
from app.live.ring import Encoded
from streams.metrics import CLIENTS, RESYNCS

HEARTBEAT: Final = 2.0
SEND_TIMEOUT: Final = 5.0
TOO_FAR: Final = 25
"""A client that is so many frames behind (5 s at 5 Hz) gets a resync instead of the backlog: the latest wins."""
MOST_SAID: Final = 20
"""Messages a client may send; it has nothing to say, so more is abuse."""

_log = structlog.get_logger("socket")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client says it is: the epoch of its snapshot, its sequence there, and the rate it wants."""

    realm: str
    epoch: str
    seq: int
    rate: int


async def serve(socket: WebSocket, hub: Hub, place: Place) -> None:
    """Serve an accepted socket until it closes, is too slow, or the server stops; return when it is gone."""
    with CLIENTS.labels(place.realm).track_inprogress():
        try:
            await _converse(socket, hub, place)
        finally:
            hang_up = getattr(socket.state, "hang_up", None)  # `app.api.connection`
            if hang_up is not None:
                await hang_up()


async def _converse(socket: WebSocket, hub: Hub, place: Place) -> None:
    listener = asyncio.create_task(_listen(socket))
    sender = asyncio.create_task(_send(socket, hub, place))
    try:
        await asyncio.wait({listener, sender}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listener, sender):
            task.cancel()
        results = await asyncio.gather(listener, sender, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, _ENDS):
                _log.warning("socket_failed", error=repr(result))


_ENDS: Final = (WebSocketDisconnect, RuntimeError, OSError, TimeoutError)
"""What a vanished client looks like: a close, a send after the close, a broken or a stuck connection."""


async def _listen(socket: WebSocket) -> None:
    for _ in range(MOST_SAID):
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
    await socket.close(status.WS_1008_POLICY_VIOLATION)


async def _send(socket: WebSocket, hub: Hub, place: Place) -> None:
    ring = hub.ring(place.realm, place.rate)
    seq = place.seq
    if place.epoch != hub.epoch or ring.after(seq) is None:
        await _tell(socket, resync("unknown position"), "position")
        return
    while not hub.stopping.is_set():
        frames = ring.after(seq)
        if frames is None or len(frames) > TOO_FAR:
            await _tell(socket, resync("too slow"), "slow")
            return
        for frame in frames:
            await _write(socket, frame)
            seq = frame.seq
        if not frames:
            await ring.wait(HEARTBEAT)
            if ring.seq <= seq and not hub.stopping.is_set():
                await _text(socket, hub.heartbeat(place.realm, seq))
    await _text(socket, hub.bye())
    await socket.close(status.WS_1012_SERVICE_RESTART)


async def _tell(socket: WebSocket, text: str, reason: str) -> None:
    RESYNCS.labels(reason).inc()
    await _text(socket, text)
    await socket.close(status.WS_1000_NORMAL_CLOSURE)


async def _write(socket: WebSocket, frame: Encoded) -> None:
    await _text(socket, frame.text)


async def _text(socket: WebSocket, text: str) -> None:
    async with asyncio.timeout(SEND_TIMEOUT):
        await socket.send_text(text)
