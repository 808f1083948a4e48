"""A TCP proxy on loopback that misbehaves on request: latency, reset, blackhole, half-close. For tests of any client.

async with FaultProxy("127.0.0.1", port) as proxy:
    ... connect to proxy.port ...
    proxy.latency = 0.2        # seconds before each chunk is passed on, both ways
    proxy.blackhole = True     # takes bytes and passes none on, until False again
    proxy.refuse = True        # resets new connections
    proxy.reset()              # resets the open connections
    proxy.half_close()         # tells clients that the server has finished sending; still takes their bytes
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 65536


class FaultProxy:
    """Passes bytes between clients of `port` and the server at (host, target)."""

    def __init__(self, host: str, target: int) -> None:
        self.latency = 0.0
        self.blackhole = False
        self.refuse = False
        self.accepted = 0
        self.port = 0
        self._target = (host, target)
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        while self._open:  # noqa: ASYNC110  a test double: gone in a turn or two
            await asyncio.sleep(0.01)

    def reset(self) -> None:
        """Reset every open connection, on both sides."""
        for pair in list(self._open):
            for writer in pair:
                _reset(writer)

    def half_close(self) -> None:
        """End the server-to-client direction of every open connection."""
        for client, _ in self._open:
            client.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            _reset(client)
            return
        try:
            answers, server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(client)
            return
        pair = (client, server)
        self._open.add(pair)
        try:
            await asyncio.gather(self._pass(reader, server), self._pass(answers, client))
        finally:
            self._open.discard(pair)
            for writer in pair:
                writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):  # either side has gone, or its direction was half-closed
            while data := await reader.read(CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                if not self.blackhole:
                    writer.write(data)
                    await writer.drain()
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST instead of a FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
