import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.fault_proxy import FaultProxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    yield reader, writer
    writer.close()


Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def test_latency_delays_both_ways(proxy: FaultProxy, client: Client) -> None:
    proxy.latency = 0.1
    began = time.monotonic()
    client[1].write(b"x")
    assert await client[0].read(1) == b"x"
    assert time.monotonic() - began >= 0.2


async def test_a_blackhole_swallows(proxy: FaultProxy, client: Client) -> None:
    proxy.blackhole = True
    client[1].write(b"x")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client[0].read(1), 0.2)
    proxy.blackhole = False
    client[1].write(b"y")
    assert await client[0].read(1) == b"y"


async def test_a_reset_is_felt_as_one(proxy: FaultProxy, client: Client) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client[0].read(1)


async def test_half_close_ends_the_answers(proxy: FaultProxy, client: Client) -> None:
    proxy.half_close()
    assert await client[0].read(1) == b""
    client[1].write(b"still taken")
    await client[1].drain()


async def test_refusal_resets_new_connections(proxy: FaultProxy) -> None:
    proxy.refuse = True
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()
    assert proxy.accepted == 1
