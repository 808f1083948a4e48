"""A wall without a browser: follows the protocol of `app.frames` and keeps what a page would show.

Owns the client's side: snapshot, frames by (epoch, seq), resume after a break, resync when told. Written from the
protocol's words, not from the front end's code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

SILENCE = 6.0
"""A server says something each 2 s; after so many seconds of nothing it is gone."""


@dataclass
class WallClient:
    """One screen. `state` has the snapshot's fields, kept up to date; `wrong` is what the protocol forbids."""

    address: str
    realm: str = "live"
    state: dict[str, Any] = field(default_factory=dict)
    snapshots: int = 0
    connections: int = 0
    resumed: int = 0
    frames: int = 0
    wrong: list[str] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(7))
    _items: dict[str, Any] = field(default_factory=dict)

    async def follow(self) -> None:
        """Show the wall until cancelled, whatever happens to the server."""
        async with httpx.AsyncClient(base_url=self.address, timeout=5.0) as http:
            while True:
                with suppress(httpx.HTTPError, OSError, WebSocketException, TimeoutError):
                    if not self.state:
                        await self._load(http)
                    await self._listen()
                await asyncio.sleep(self.random.uniform(0.1, 0.5))

    async def _load(self, http: httpx.AsyncClient) -> None:
        answer = (await http.get(f"/api/wall/{self.realm}/snapshot")).raise_for_status()
        self.state = answer.json()
        self.snapshots += 1
        self._items = {item["id"]: item for item in self.state["items"]}

    async def _listen(self) -> None:
        place = f"epoch={self.state['epoch']}&from={self.state['seq'] + 1}"
        address = f"{self.address.replace('http', 'ws', 1)}/ws?ch=wall:{self.realm}&{place}&hz=5"
        async with connect(address, open_timeout=5.0, close_timeout=1.0) as socket:
            self.connections += 1
            fresh = True
            while True:
                async with asyncio.timeout(SILENCE):
                    frame = json.loads(await socket.recv())
                if fresh and frame["t"] in {"d", "hb"}:
                    self.resumed, fresh = self.resumed + 1, False
                if not self._take(frame):
                    return

    def _take(self, frame: dict[str, Any]) -> bool:
        """Apply a frame; False when the connection is over."""
        self.frames += 1
        match frame["t"]:
            case "d":
                return self._apply(frame)
            case "hb":
                if frame["epoch"] != self.state["epoch"] or frame["seq"] > self.state["seq"]:
                    self.wrong.append(f"heartbeat of {frame['epoch']}/{frame['seq']} at {self.state['seq']}")
                return True
            case "resync":
                self.state = {}
                return False
            case "bye":
                return False
            case other:
                self.wrong.append(f"unknown frame {other}")
                return True

    def _apply(self, frame: dict[str, Any]) -> bool:
        if frame["epoch"] != self.state["epoch"] or frame["from"] > self.state["seq"]:
            self.wrong.append(f"a gap: at {self.state['seq']}, the frame is ({frame['from']}, {frame['seq']}]")
            self.state = {}
            return False
        if frame["seq"] <= self.state["seq"]:
            return True
        self.state["seq"] = frame["seq"]
        for name in ("figures", "alerts", "sources"):
            if frame[name] is not None:
                self.state[name] = frame[name]
        minutes = {minute["at"]: minute for minute in (*self.state["minutes"], *frame["minutes"])}
        self.state["minutes"] = [minutes[at] for at in sorted(minutes)]
        self._items |= {item["id"]: item for item in frame["ins"]}
        for gone in frame["gone"]:
            self._items.pop(gone, None)
        self.state["items"] = list(self._items.values())
        return True


@asynccontextmanager
async def watching(address: str, ready: Callable[[WallClient], bool] | None = None) -> AsyncIterator[WallClient]:
    """Follow the wall at `address` while the body runs."""
    client = WallClient(address)
    task = asyncio.create_task(client.follow())
    try:
        while ready is not None and not ready(client):  # noqa: ASYNC110  the server is another process
            await asyncio.sleep(0.1)
        yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
