"""The HTTP side on a real socket: roles, foreign hosts and origins, headers, history, hostile input."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.api import connection
from app.api.server import PortTaken, allow_descriptors, bind
from app.configuration import parse_configuration
from app.health import Health
from app.store import StoreUnavailable
from tests.app.conftest import TOKEN, Served

Serve = Callable[..., AbstractAsyncContextManager[Served]]
GUARDED = ["/", "/wall/live", "/metrics", "/api/wall/live/snapshot", "/api/mentions", "/api/alerts", "/api/sources"]


async def test_this_machine_needs_no_token(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        for path in GUARDED[2:]:
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("path", GUARDED)
async def test_a_foreign_host_name_is_turned_away(served: Served, path: str) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        answer = await client.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 421


async def test_with_a_token_nobody_is_let_in_without_it(serve_with: Serve) -> None:
    async with serve_with(access_token=TOKEN) as served, httpx.AsyncClient(base_url=served.http) as client:
        word = TOKEN.get_secret_value()
        for path in GUARDED:
            assert (await client.get(path)).status_code == 401, path
            assert (await client.get(path, auth=("any", "wrong"))).status_code == 401
        assert (await client.get("/api/alerts", headers={"authorization": f"Bearer {word}"})).status_code == 200
        assert (await client.get("/api/alerts", auth=("any", word))).status_code == 200
        assert (await client.get("/api/alerts", headers={"authorization": "Basic %%%"})).status_code == 401
        assert (await client.get("/health")).status_code == 200
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://{served.host}/ws?ch=wall:live&epoch=x&from=1"):
                pass


async def test_a_foreign_origin_gets_no_socket(served: Served) -> None:
    url = f"ws://{served.host}/ws?ch=wall:live&epoch=x&from=1"
    with pytest.raises(InvalidStatus):
        async with connect(url, origin="https://evil.example"):  # type: ignore[arg-type]  # a NewType of str
            pass
    async with connect(url, origin=served.http) as socket:  # type: ignore[arg-type]  # a NewType of str
        assert "resync" in str(await socket.recv())


async def test_every_answer_carries_the_policy(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        for path in ("/health", "/no/such/page", "/api/alerts"):
            headers = (await client.get(path)).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe-inline" not in headers["content-security-policy"].split("style-src-attr")[0]
            assert headers["x-content-type-options"] == "nosniff"


async def test_health_says_what_is_not_yet_running(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        assert (await client.get("/health")).json()["status"] == "starting"
        served.process.health.watch("loop", lambda: 0.0)
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["parts"] == {"loop": "failing"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "from=yesterday",
        "from=2026-01-01",
        "after=%00",
        "after=1.2.3",
        "realm=moon",
        "limit=9e9",
        "text=%20-",
        "from=0001-01-01T00:00:00%2B14:00",
    ],
)
async def test_wrong_parameters_are_named(served: Served, query: str) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        answer = await client.get(f"/api/mentions?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"]


async def test_what_is_not_there_is_404(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        for path in ("/api/mentions/bluesky/at://x/y", "/api/alerts/none", "/api/wall/moon/snapshot", "/wall/a/b"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post("/ingest/none", content=b"{}")).status_code == 404


async def test_a_snapshot_is_not_sent_twice(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        first = await client.get("/api/wall/replay/snapshot")
        again = await client.get("/api/wall/replay/snapshot", headers={"if-none-match": first.headers["etag"]})
    assert first.json()["t"] == "snap"
    assert again.status_code == 304


@pytest.mark.parametrize("host", ["[", "[::1", "", "a b", "x" * 5000])
async def test_an_absurd_host_is_turned_away(served: Served, host: str) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        answer = await client.get("/api/alerts", headers={"host": host})
    assert answer.status_code in {400, 421}


async def test_a_configured_webhook_that_does_not_run_here_asks_to_come_back(served: Served) -> None:
    text = 'version: 1\nsources:\n  - {id: hook, kind: webhook, secret: "env:NONE"}'
    served.process.desk.replace(parse_configuration(text), 2)
    async with httpx.AsyncClient(base_url=served.http) as client:
        answer = await client.post("/ingest/hook", content=b"{}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_a_database_that_is_away_does_not_end_the_hub(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(served.process.store, "wall", away)
    await served.hub._refresh_quietly()
    assert served.hub.snapshot("live").realm == "live"


async def test_a_part_that_ended_no_longer_counts_and_a_new_one_has_its_grace() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    health.watch("loop", lambda: 0.0)
    now[0] = 1000.0
    assert health.verdict() == "failing"
    health.forget("loop")
    health.watch("loop", lambda: None)
    assert health.verdict() == "starting"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70 + ".example", "192.0.2.1"])
def test_a_host_that_is_not_here_is_told_as_the_host(host: str) -> None:
    with pytest.raises(PortTaken, match="set WARROOM_HOST"):
        bind(host, 0)


def test_a_port_that_another_holds_is_told_as_the_port() -> None:
    with bind("127.0.0.1", 0) as held:
        held.listen()
        with pytest.raises(PortTaken, match="set WARROOM_PORT"):
            bind("127.0.0.1", held.getsockname()[1])


@pytest.mark.parametrize("said", ["", "GET /health HT", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_connection_that_does_not_say_what_it_wants_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)
    reader, writer = await asyncio.open_connection(*served.host.split(":"))
    writer.write(said.encode())
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while await reader.read(1000):
                writer.write(b"GET /")


async def test_a_connection_that_asked_in_time_may_wait_and_ask_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)

    async def slow(*_: object) -> object:
        await asyncio.sleep(0.6)
        return ()

    monkeypatch.setattr(served.process.store, "sources", slow)
    async with httpx.AsyncClient(base_url=served.http, limits=httpx.Limits(max_connections=1)) as client:
        ports = set()
        for path in ("/health", "/api/sources", "/health"):
            await asyncio.sleep(0.4)
            answer = await client.get(path)
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            assert answer.status_code in {200, 503}
    assert len(ports) == 1


async def test_an_answer_before_the_end_of_a_body_reaches_who_sends_slowly(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)
    monkeypatch.setattr(connection, "REST_WITHIN", 3.0)
    reader, writer = await asyncio.open_connection(*served.host.split(":"))
    with contextlib.closing(writer):
        writer.write(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 700\r\n\r\n")
        for _ in range(7):
            writer.write(b"x" * 100)
            await writer.drain()
            await asyncio.sleep(0.1)
        assert (await reader.readline()).startswith(b"HTTP/1.1 4")
        async with asyncio.timeout(10):  # and a connection that goes on with nothing is not kept
            await reader.read()


def test_a_process_may_have_all_the_descriptors_that_it_is_allowed() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        allow_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
