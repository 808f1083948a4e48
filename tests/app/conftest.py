"""Fixtures of the application's tests: a migrated database of either kind, and a store on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.api.server import bind, make_app, make_server
from app.configuration import parse_configuration
from app.live.hub import Hub
from app.migrations import migrate
from app.process import Process, open_process
from app.roles.serve import make_hub
from app.settings import Settings
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


@dataclass
class Served:
    """A process without roles, served on a real socket: the test itself feeds the hub."""

    process: Process
    hub: Hub
    api: FastAPI
    host: str

    @property
    def http(self) -> str:
        return f"http://{self.host}"


@asynccontextmanager
async def serve(data: Path, **settings: Any) -> AsyncIterator[Served]:
    chosen = Settings(data=data, **settings)
    listener = bind("127.0.0.1", 0)
    async with open_process(chosen, parse_configuration("version: 1")) as process:
        hub = make_hub(process)
        await hub.start()
        api = make_app(process, hub, lambda _: None)
        server = make_server(api)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        ticking = asyncio.create_task(hub.run())
        await server.ready.wait()
        try:
            yield Served(process, hub, api, f"127.0.0.1:{listener.getsockname()[1]}")
        finally:
            await hub.stop()
            ticking.cancel()
            server.should_exit = True
            await asyncio.gather(serving, ticking, return_exceptions=True)
            listener.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server without a token, as on a laptop."""
    async with serve(tmp_path) as running:
        yield running


@pytest.fixture
def serve_with(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Start a server with other settings."""
    return lambda **settings: serve(tmp_path, **settings)


TOKEN = SecretStr("a-long-random-word")
