"""The HTTP server of a process: its routes put together, bound before anything starts, stopped last.

Owns assembly and the socket. Does not own routes (`app.api.*`) nor signals: they belong to the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, status
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

from app.api.access import Access
from app.api.connection import Connection, HttpConnection
from app.api.headers import SafeHeaders
from app.api.history import history_routes
from app.api.ingest import ingest_routes
from app.api.labels import label_routes
from app.api.operations import operation_routes
from app.api.review import review_routes
from app.api.walls import STATIC, wall_routes
from app.live.hub import Hub
from app.process import Process
from app.store.database import StoreUnavailable
from streams.sources.webhook import WebhookSource


class PortTaken(OSError):
    """The address can't be bound; the message says what to change."""


def make_app(process: Process, hub: Hub | None, find: Callable[[str], WebhookSource | None]) -> FastAPI:
    """Return the application: operations and webhooks always, walls, history and review where there is a hub."""
    access = Access(process.settings)
    api = FastAPI(title="War Room", docs_url=None, redoc_url=None, openapi_url=None)
    api.add_exception_handler(StoreUnavailable, _away)
    api.include_router(operation_routes(process.health, access, api.openapi))
    api.include_router(ingest_routes(find, lambda source_id: _is_webhook(process, source_id)))
    if hub is not None:
        api.include_router(history_routes(process.store, access))
        api.include_router(review_routes(process.store, access))
        api.include_router(label_routes(process.store, access))
        api.include_router(wall_routes(hub, access, process.settings.max_clients))
        assets = STATIC / "assets"
        if assets.is_dir():
            api.mount("/assets", StaticFiles(directory=assets), name="assets")
    api.add_middleware(GZipMiddleware, minimum_size=2000)
    api.add_middleware(SafeHeaders)
    return api


async def _away(_request: Request, _error: Exception) -> JSONResponse:
    """Answer while the database is away: nothing was done, the same request may be right in a moment."""
    detail = "the database is not available; nothing was done, try again"
    return JSONResponse({"detail": detail}, status.HTTP_503_SERVICE_UNAVAILABLE, {"Retry-After": "5"})


def _is_webhook(process: Process, source_id: str) -> bool:
    return any(one.id == source_id and one.kind == "webhook" for one in process.desk.configuration.sources)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; PortTaken says whether the host or the port is to be changed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        of_port = isinstance(error, OSError) and error.errno in {errno.EADDRINUSE, errno.EACCES}
        remedy = "WARROOM_PORT to a free port" if of_port else "WARROOM_HOST to an address of this machine"
        why = getattr(error, "strerror", None) or "not a host name"
        raise PortTaken(f"{host}:{port} can't be served on ({why}): set {remedy}") from error
    listener.set_inheritable(True)
    return listener


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may: the usual 1,024 are fewer than the clients of a wall."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every platform; some allow less than they say
        import resource  # noqa: PLC0415

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers; `ready` is set once it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command line."""
        yield


def make_server(api: FastAPI) -> Server:
    """Return a server for `api`; deflate is off: it costs more than it saves on the fan-out path."""
    config = uvicorn.Config(
        api,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        http=HttpConnection,
        ws=Connection,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        limit_concurrency=None,
    )
    return Server(config)


def build_hash() -> str:
    """Return the hash of the front end's build, '' where it is not built."""
    path: Path = STATIC / "build.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["hash"]) if path.is_file() else ""
