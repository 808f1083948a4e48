"""The way out: a table of URLs, names that change their answer, redirects, and bodies without end."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import httpx
import pytest

from streams.addresses import AddressRefused, check_endpoint, checked_url, guard, is_public, operator_hosts, unwrap
from streams.outgoing import ResponseTooLarge, _BoundedBody, get_checked, outgoing_client

Served = tuple[int, dict[str, str], bytes]

REFUSED = [
    "http://127.0.0.1/",
    "http://127.8.9.1:8080/",
    "http://localhost/",
    "http://localhost./",
    "http://LOCALHOST/",
    "http://0.0.0.0/",
    "http://0/",
    "http://0.1.2.3/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.7/",
    "http://203.0.113.7/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://xn--/",
    "http://①②⑦.⓪.⓪.①/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[5f00::1]/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://private.example/",
    "http://mixed.example/",
    "http://user@public.example/",
    "http://user:secret@public.example/",
    "http://public.example:80@127.0.0.1/",
    "file:///etc/passwd",
    "gopher://public.example/",
    "ftp://public.example/",
    "//public.example/",
    "http:///",
    "http://%31%32%37.0.0.1/",
    "javascript:alert(1)",
]
REACHED = [
    "http://public.example/",
    "http://PUBLIC.example./x",
    "http://8.8.8.8:8080/",
    "http://[2606:4700::1111]/",
    "http://[2002:808:808::1]/",
    "http://[64:ff9b::808:808]/",
]
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "private.example": ["10.1.2.3"],
    "mixed.example": ["93.184.216.34", "192.168.0.1"],
    "public.example": ["93.184.216.34", "2606:4700::1111"],
    "metadata.example": ["169.254.169.254"],
}


async def names(host: str, port: int) -> Sequence[str]:
    if host not in NAMES:
        raise OSError(f"unknown to this resolver: {host}")
    return NAMES[host]


async def verdict(url: str, allow: Sequence[str] = (), trusted: Sequence[str] = ()) -> list[str]:
    parsed = checked_url(url)
    return await guard(allow, trusted, names).addresses(parsed.host, parsed.port or 80)


@pytest.mark.parametrize("url", REFUSED)
async def test_a_forbidden_url_is_refused_before_any_connection(url: str) -> None:
    with pytest.raises(AddressRefused):
        await verdict(url)
    async with outgoing_client(timeout=2, resolve=names) as client:
        with pytest.raises((AddressRefused, httpx.InvalidURL, httpx.UnsupportedProtocol)):
            await get_checked(client, url, {})


@pytest.mark.parametrize("url", REACHED)
async def test_a_public_url_is_reached(url: str) -> None:
    assert await verdict(url)


async def test_trust_is_for_exactly_the_host_that_was_written_as_a_literal() -> None:
    hosts = operator_hosts("http://127.0.0.1:9000/feed", "ws://LOCALHOST:1/x", "https://private.example/")
    assert hosts == {"127.0.0.1", "localhost"}
    assert await verdict("http://127.0.0.1/", trusted=list(hosts)) == ["127.0.0.1"]
    for other in ("http://127.0.0.2/", "http://private.example/", "http://[::1]/"):
        with pytest.raises(AddressRefused):
            await verdict(other, trusted=list(hosts))


async def test_allowed_names_and_networks_are_reached_but_metadata_never() -> None:
    assert await verdict("http://private.example/", allow=["Private.Example."]) == ["10.1.2.3"]
    assert await verdict("http://private.example/", allow=["10.1.0.0/16"]) == ["10.1.2.3"]
    with pytest.raises(AddressRefused):
        await verdict("http://private.example/", allow=["10.2.0.0/16"])
    for url, allow in (("http://metadata.example/", "metadata.example"), ("http://169.254.169.254/", "169.254.0.0/16")):
        with pytest.raises(AddressRefused, match="never"):
            await verdict(url, allow=[allow], trusted=["169.254.169.254"])


async def test_the_message_names_the_remedy() -> None:
    with pytest.raises(AddressRefused, match=r"private\.example leads to 10\.1\.2\.3.*allow"):
        await verdict("http://private.example/")


def test_hidden_ipv4_is_unwrapped() -> None:
    for text, inner in (("::ffff:1.2.3.4", "1.2.3.4"), ("64:ff9b::102:304", "1.2.3.4"), ("2002:102:304::", "1.2.3.4")):
        assert unwrap(ip_address(text)) == ip_address(inner)
    assert unwrap(ip_address("::1")) == ip_address("::1")
    assert not is_public(ip_address("::1"))


@asynccontextmanager
async def server(answer: Callable[[str, dict[str, str]], Served]) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            status, extra, body = answer(head[0].split()[1], headers)
            lines = {"content-length": str(len(body)), "connection": "close"} | extra
            text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            writer.write(f"HTTP/1.1 {status} x\r\n{text}\r\n".encode() + body)
            await writer.drain()
        writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield running.sockets[0].getsockname()[1]


async def test_the_connection_goes_to_the_checked_address_and_host_keeps_the_name() -> None:
    hosts: list[str] = []

    def answer(path: str, headers: dict[str, str]) -> Served:
        hosts.append(headers["host"])
        return 200, {}, b"hello"

    async def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with (
        server(answer) as port,
        outgoing_client(timeout=2, allow=["feeds.example"], resolve=inside) as client,
    ):
        response = await client.get(f"http://feeds.example:{port}/")
    assert response.text == "hello"
    assert hosts == [f"feeds.example:{port}"]


async def test_a_name_that_changes_its_answer_is_asked_once_per_connection_and_checked_each_time() -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    reached: list[str] = []

    def answer(path: str, headers: dict[str, str]) -> Served:
        reached.append(path)
        return 200, {}, b""

    async with (
        server(answer) as port,
        outgoing_client(timeout=0.3, allow=["192.0.2.1/32"], resolve=rebinding) as client,
    ):
        # The first answer passes the check and is where the connection goes: nothing listens there.
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://rebinding.example:{port}/")
        assert asked == ["rebinding.example"]
        with pytest.raises(AddressRefused):
            await client.get(f"http://rebinding.example:{port}/")
    assert reached == []


async def test_a_redirect_to_another_host_gets_no_trust() -> None:
    targets = {"/a": "http://localhost:{port}/b", "/c": "/b", "/d": "http://u:p@127.0.0.1:{port}/b", "/e": "file:///b"}

    def answer(path: str, headers: dict[str, str]) -> Served:
        to = targets.get(path, "").format(port=headers["host"].rpartition(":")[2])
        return (302, {"location": to}, b"") if to else (200, {}, b"end")

    async with server(answer) as port, outgoing_client(timeout=2, trusted_hosts=["127.0.0.1", "localhost"]) as client:
        url = f"http://127.0.0.1:{port}"
        assert (await client.get(f"http://localhost:{port}/b")).status_code == 200
        assert (await client.get(url + "/c")).status_code == 302
        found = await get_checked(client, url + "/c", {})
        assert (found.response.text, found.moved_to) == ("end", None)
        for path in ("/a", "/d", "/e"):
            with pytest.raises(AddressRefused):
                await get_checked(client, url + path, {})


def bare_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


@pytest.mark.parametrize(
    ("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare_deflate)]
)
async def test_a_compressed_body_is_read_whole_and_a_bomb_is_stopped(
    encoding: str, squeeze: Callable[[bytes], bytes]
) -> None:
    bodies = {
        "/good": squeeze(bytes(range(256)) * 300),
        "/zeros": squeeze(bytes(100_000)),
        "/bomb": squeeze(bytes(50 << 20)),
    }
    bodies["/cut"] = bodies["/good"][:-9]

    async with (
        server(lambda path, headers: (200, {"content-encoding": encoding}, bodies[path])) as port,
        outgoing_client(timeout=5, trusted_hosts=["127.0.0.1"], max_bytes=100_000) as client,
    ):
        url = f"http://127.0.0.1:{port}"
        assert (await client.get(url + "/good")).content == bytes(range(256)) * 300
        assert (await client.get(url + "/zeros")).content == bytes(100_000)
        with pytest.raises(ResponseTooLarge):
            await client.get(url + "/bomb")
        with pytest.raises(httpx.DecodingError):
            await client.get(url + "/cut")


@pytest.mark.parametrize("squeeze", [zlib.compress, bare_deflate])
async def test_deflate_is_told_apart_however_it_is_cut(squeeze: Callable[[bytes], bytes]) -> None:
    class ByteByByte(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for byte in squeeze(b"some text" * 9):
                yield bytes([byte])

    assert b"".join([part async for part in _BoundedBody(ByteByByte(), "deflate", 1000)]) == b"some text" * 9


async def test_a_body_at_the_limit_passes_and_one_above_does_not() -> None:
    async with (
        server(lambda path, headers: (200, {}, bytes(int(path[1:])))) as port,
        outgoing_client(timeout=5, trusted_hosts=["127.0.0.1"], max_bytes=1000) as client,
    ):
        assert len((await client.get(f"http://127.0.0.1:{port}/1000")).content) == 1000
        with pytest.raises(ResponseTooLarge):
            await client.get(f"http://127.0.0.1:{port}/1001")


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with (
        server(lambda path, headers: (200, {}, b"direct")) as port,
        outgoing_client(timeout=5, trusted_hosts=["127.0.0.1"]) as client,
    ):
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "direct"


async def test_websocket_endpoints_go_through_the_same_check() -> None:
    place = await check_endpoint("ws://127.0.0.1:6008/subscribe")
    assert (place.port, place.addresses) == (6008, ("127.0.0.1",))
    secure = await check_endpoint("wss://public.example/x", guard(resolve=names))
    assert (secure.host, secure.port, len(secure.addresses)) == ("public.example", 443, 2)
    for url in ("http://public.example/", "ws://private.example/", "ws://169.254.169.254/", "ws://u:p@public.example/"):
        with pytest.raises(AddressRefused):
            await check_endpoint(url, guard(resolve=names, trusted_hosts=operator_hosts("ws://169.254.169.254/")))
