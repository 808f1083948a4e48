"""Fixtures of the application's tests: a migrated database of either kind, and a store on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.migrations import migrate
from app.store import Store
from tests.app.store_world import NOON


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def database(empty_database: str) -> str:
    """The address of a migrated database, once of each kind."""
    await migrate(empty_database)
    return empty_database


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """A store whose clock stands at noon."""
    opened = await Store.open(database, lambda: NOON)
    yield opened
    await opened.aclose()
