"""A real HTTP server on loopback that answers as it is told, and keeps what it got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from alerts.notifiers.webhook import WebhookReceiver
from streams.records import AlertEvent, AlertState, Evidence
from tests.alerts.worlds import at

HANG, RESET, HALF = "hang", "reset", "half"


@dataclass
class Got:
    """One request: its first line, its headers in lower case, its body."""

    first: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Plays `script` (a status with headers, or a misbehaviour), then repeats its last answer."""

    script: list[str]
    port: int = 0
    got: list[Got] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                self.got.append(Got(first, headers, body))
                self.arrived.set()
                if not await self._answer(answer, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, answer: str, writer: asyncio.StreamWriter) -> bool:
        if answer == HANG:
            await asyncio.sleep(3600)
        if answer == RESET:
            writer.transport.abort()
            return False
        if answer == HALF:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.transport.abort()
            return False
        status, _, headers = answer.partition(" ")
        extra = f"{headers}\r\n" if headers else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{extra}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        return True


@asynccontextmanager
async def receiving(script: Sequence[str]) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(script))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def hook(url: str, **fields: object) -> WebhookReceiver:
    return WebhookReceiver.model_validate({"id": "hook", "url": url} | fields)


def alert(
    alert_id: str = "a1",
    seq: int = 0,
    *,
    state: AlertState = AlertState.FIRING,
    realm: str = "live",
    receivers: tuple[str, ...] = ("hook",),
    name: str = "משבר",
) -> AlertEvent:
    return AlertEvent(
        alert_id=alert_id,
        seq=seq,
        rule_id="r",
        rule_name=name,
        rule_revision="1",
        team="main",
        realm=realm,
        group={"lang": "he"},
        severity=1,
        state=state,
        at=at(5),
        started_at=at(0),
        value=4,
        threshold=3,
        count=4,
        reason="4 mentions in 10s (threshold 3)",
        receivers=receivers,
        evidence=(
            Evidence(
                source_kind="test", native_id="m1", excerpt="هواپیما \u202eevil\x1b[31m", lang="fa", published_at=at(1)
            ),
        ),
    )
