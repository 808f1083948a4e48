"""Sockets on a real server: resume, resync, heartbeat, farewell, and clients that are slow or hostile."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.api import connection
from app.live import socket as live_socket
from app.live.ring import Encoded
from streams.pump import Received
from streams.records import ScoredMention
from streams.stream import Delivery, Position
from tests.app.conftest import Served
from tests.app.test_live_board import scored

_offset = iter(range(1_000_000))


def received(record: ScoredMention) -> Received:
    return Received(Delivery(Position(0, next(_offset)), "k", b"", datetime.now(UTC)), record)


async def feed(served: Served, *native_ids: str, **fields: Any) -> None:
    now = datetime.now(UTC)
    records = [scored(name, received_at=now, published_at=now, **fields) for name in native_ids]
    await served.hub.take_scored([received(record) for record in records])


async def snapshot(served: Served) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=served.http) as client:
        found: dict[str, Any] = (await client.get("/api/wall/live/snapshot")).json()
        return found


def url(served: Served, snap: dict[str, Any], **changes: Any) -> str:
    place = {"ch": "wall:live", "epoch": snap["epoch"], "from": snap["seq"] + 1, "hz": 5, **changes}
    return f"ws://{served.host}/ws?" + "&".join(f"{name}={value}" for name, value in place.items())


async def frames_until(socket: Any, count: int) -> list[dict[str, Any]]:
    """Read deltas until they hold `count` inserted mentions."""
    found: list[dict[str, Any]] = []
    while sum(len(frame["ins"]) + frame["more"] for frame in found) < count:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if frame["t"] == "d":
            found.append(frame)
    return found


async def frames_to_total(socket: Any, total: int) -> list[dict[str, Any]]:
    """Read deltas until their figures say `total`."""
    found: list[dict[str, Any]] = []
    while not found or (found[-1]["figures"] or {}).get("stored_total") != total:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if frame["t"] == "d":
            found.append(frame)
    return found


async def test_what_comes_after_the_snapshot_is_seen_once_in_order(served: Served) -> None:
    await feed(served, "before")
    await asyncio.sleep(0.3)
    snap = await snapshot(served)
    assert [item["id"] for item in snap["items"]] == ["file\x1fbefore"]
    async with connect(url(served, snap)) as socket:
        for name in ("1", "2", "3"):
            await feed(served, name)
            await asyncio.sleep(0.25)
        frames = await frames_until(socket, 3)
    seq = snap["seq"]
    for frame in frames:
        assert frame["from"] == seq
        seq = frame["seq"]
    assert [item["id"] for frame in frames for item in frame["ins"]] == ["file\x1f1", "file\x1f2", "file\x1f3"]
    assert frames[-1]["figures"]["heard_today"] == 4


async def test_a_client_that_was_away_resumes_where_it_was(served: Served) -> None:
    snap = await snapshot(served)
    for name in ("1", "2", "3"):
        await feed(served, name)
        await asyncio.sleep(0.25)
    async with connect(url(served, snap)) as socket:
        frames = await frames_until(socket, 3)
    assert frames[0]["from"] == snap["seq"]


@pytest.mark.parametrize("changes", [{"epoch": "another-life"}, {"from": 10_000}, {"from": 0}])
async def test_an_unknown_position_is_told_to_reload(served: Served, changes: dict[str, Any]) -> None:
    await feed(served, "1")
    await asyncio.sleep(0.3)
    async with connect(url(served, await snapshot(served), **changes)) as socket:
        assert json.loads(await socket.recv())["t"] == "resync"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_a_quiet_wall_still_says_that_the_server_lives(served: Served) -> None:
    await asyncio.sleep(1.2)
    async with connect(url(served, await snapshot(served))) as socket:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
    assert frame["t"] == "hb"


async def test_a_burst_sends_the_most_urgent_and_a_count(served: Served) -> None:
    snap = await snapshot(served)
    async with connect(url(served, snap)) as socket:
        await feed(served, *(str(number) for number in range(40)))
        await feed(served, "urgent", urgency="critical")
        frames = await frames_until(socket, 41)
    assert sum(len(frame["ins"]) for frame in frames) <= 10 * len(frames)
    assert frames[-1]["figures"]["stored_total"] == 41
    assert any(item["id"] == "file\x1furgent" for frame in frames for item in frame["ins"])


async def test_a_weak_display_gets_merged_frames_with_the_same_totals(served: Served) -> None:
    for number in range(3):
        await feed(served, f"before {number}")
        await asyncio.sleep(0.25)
    snap = await snapshot(served)  # ahead of the slow ring
    async with connect(url(served, snap, hz=1)) as slow, connect(url(served, snap)) as fast:
        for number in range(8):
            await feed(served, str(number))
            await asyncio.sleep(0.25)
        merged = await frames_to_total(slow, 11)
        single = await frames_to_total(fast, 11)
    assert len(merged) < len(single)


async def test_a_stopping_server_says_when_to_come_back(served: Served) -> None:
    async with connect(url(served, await snapshot(served))) as socket:
        await served.hub.stop()
        frame: dict[str, Any] = {"t": ""}
        while frame["t"] != "bye":
            frame = json.loads(await asyncio.wait_for(socket.recv(), 5))
    assert frame["retry_ms"] > 0


async def test_a_socket_on_a_connection_that_was_used_before_is_left_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)
    monkeypatch.setattr(connection, "REST_WITHIN", 0.2)
    snap, (host, port) = await snapshot(served), served.host.split(":")
    with sockets.create_connection((host, int(port))) as used:
        used.settimeout(10)
        await asyncio.to_thread(used.sendall, f"HEAD /health HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode())
        assert (await asyncio.to_thread(used.recv, 4096)).startswith(b"HTTP/1.1 ")
        used.setblocking(False)
        async with connect(url(served, snap), sock=used) as socket:
            await asyncio.sleep(0.6)
            await feed(served, "after")
            await frames_until(socket, 1)


def never_reads(served: Served, snap: dict[str, Any]) -> sockets.socket:
    stuck = sockets.create_connection(tuple(served.host.split(":")), timeout=5)  # type: ignore[arg-type]  # host, port
    stuck.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 1024)
    path = url(served, snap).partition(served.host)[2]
    stuck.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return stuck


async def test_a_client_that_never_reads_slows_nobody(served: Served) -> None:
    snap = await snapshot(served)
    with never_reads(served, snap):
        async with connect(url(served, snap)) as socket:
            text = "ארוך " * 100
            for number in range(30):
                await feed(served, *(f"{number}-{part}" for part in range(10)), text=text)
                await asyncio.sleep(0.05)
            frames = await frames_until(socket, 300)
    assert frames[-1]["figures"]["stored_total"] == 300


async def test_a_client_that_never_reads_is_cut_off_and_holds_its_place_until_then(
    serve_with: Callable[..., AbstractAsyncContextManager[Served]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 7: what a stuck client costs is bounded, its descriptor too."""
    monkeypatch.setattr(live_socket, "SEND_TIMEOUT", 0.5)
    monkeypatch.setattr(connection, "GRACE", 1.0)
    lost: list[tuple[str, int] | None] = []
    closing = connection.Connection.connection_lost

    def connection_lost(self: connection.Connection, exc: Exception | None) -> None:
        closing(self, exc)
        lost.append(self.client)

    monkeypatch.setattr(connection.Connection, "connection_lost", connection_lost)
    async with serve_with(max_clients=1) as served:
        snap = await snapshot(served)
        with never_reads(served, snap) as stuck:
            await asyncio.sleep(0.3)
            ring = served.hub.ring("live", 5)
            ring.append(Encoded(ring.seq, ring.seq + 1, "x" * 15_000_000))
            async with asyncio.timeout(20):
                while stuck.getsockname() not in lost:
                    try:
                        late = await connect(url(served, snap))
                    except InvalidStatus:
                        await asyncio.sleep(0.1)
                    else:  # it went while we knocked
                        await late.close()
                        assert stuck.getsockname() in lost
            async with connect(url(served, await snapshot(served))) as socket:
                assert json.loads(await asyncio.wait_for(socket.recv(), 10))


async def talk_and_listen(socket: Any, words: list[str]) -> None:
    for word in words:
        await socket.send(word)
        await asyncio.sleep(0.01)
    for _ in range(200):
        await socket.recv()


async def test_a_client_that_talks_is_closed(served: Served) -> None:
    async with connect(url(served, await snapshot(served))) as socket:
        with pytest.raises(ConnectionClosed):
            await talk_and_listen(socket, ["hello"] * 200)


async def test_a_message_too_large_is_refused(served: Served) -> None:
    async with connect(url(served, await snapshot(served))) as socket:
        with pytest.raises(ConnectionClosed):
            await talk_and_listen(socket, ["x" * 200_000])


async def test_a_deletion_reaches_the_screen(served: Served) -> None:
    await feed(served, "1")
    await asyncio.sleep(0.3)
    snap = await snapshot(served)
    async with connect(url(served, snap)) as socket:
        gone = scored("1", revision=2, action="delete", received_at=datetime.now(UTC))
        await served.hub.take_scored([received(gone)])
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 5))
            if frame.get("gone"):
                break
    assert frame["gone"] == ["file\x1f1"]
    assert (await snapshot(served))["items"] == []
