import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from streams.embedded import EmbeddedStream
from streams.stream import Stream
from tests.contracts.stream_contract import Reopen, StreamContract, numbered, values


class TestEmbeddedContract(StreamContract):
    @pytest.fixture
    async def stream(self, tmp_path: Path) -> AsyncIterator[Stream]:
        stream = await EmbeddedStream.open(tmp_path / "log.db")
        yield stream
        await stream.aclose()

    @pytest.fixture
    async def reopen(self, tmp_path: Path) -> AsyncIterator[Reopen]:
        opened: list[Stream] = []

        async def again(stream: Stream) -> Stream:
            await stream.aclose()
            opened.append(await EmbeddedStream.open(tmp_path / "log.db"))
            return opened[-1]

        yield again
        for stream in opened:
            await stream.aclose()


async def at(stream: EmbeddedStream, wanted: int, group: str | None = "g") -> list[int]:
    """What a reader gets that asks for a stored position."""

    async def positions(_: frozenset[int]) -> Mapping[int, int]:
        return {0: wanted}

    async with aclosing(await stream.consumer("t", group, positions=positions)) as consumer:
        return values(await consumer.fetch(100, 0))


async def test_a_log_made_anew_is_another_one(tmp_path: Path) -> None:
    seen = set()
    for folder in ("one", "two"):
        stream = await EmbeddedStream.open(tmp_path / folder / "log.db")
        seen.add(stream.identity)
        await stream.aclose()
    assert len(seen) == 2


async def test_a_log_set_back_to_an_older_copy_is_another_one_from_its_first_reader_on(tmp_path: Path) -> None:
    stream = await EmbeddedStream.open(tmp_path / "log.db")
    await stream.append("t", numbered(3))
    before = stream.identity
    assert await at(stream, 2) == [2]
    assert stream.identity == before
    assert await at(stream, 9, group=None) == [0, 1, 2]
    renewed = stream.identity
    assert renewed != before
    await stream.aclose()
    again = await EmbeddedStream.open(tmp_path / "log.db")
    assert again.identity == renewed
    await again.aclose()


async def test_a_log_from_before_logs_had_names_gets_one(tmp_path: Path) -> None:
    stream = await EmbeddedStream.open(tmp_path / "log.db")
    await stream.aclose()
    with closing(sqlite3.connect(tmp_path / "log.db")) as link:
        link.execute("DROP TABLE identity")
    again = await EmbeddedStream.open(tmp_path / "log.db")
    assert again.identity
    await again.aclose()
