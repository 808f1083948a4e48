from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.embedded import EmbeddedStream
from streams.stream import Stream
from tests.contracts.stream_contract import Reopen, StreamContract


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
