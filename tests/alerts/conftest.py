"""The real parts that alerting stands on: a migrated SQLite store and an embedded log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.migrations import migrate
from app.store import Store
from streams.embedded import EmbeddedStream


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    await migrate(sqlite_url)
    opened = await Store.open(sqlite_url, lambda: datetime.now(UTC))
    yield opened
    await opened.aclose()


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[EmbeddedStream]:
    opened = await EmbeddedStream.open(tmp_path / "log.db")
    yield opened
    await opened.aclose()
