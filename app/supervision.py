"""A process from start to stop: port, parts, roles, signals, and one line when it can't go on.

Owns order and signals. Start: bind the port, open log and store, start the roles, serve. Stop (SIGTERM, SIGINT): say
bye to the walls, stop the roles where they stand (what is not committed is read again), close what is open. A role that
ends with an error ends the process with exit code 1: a supervisor or an operator starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import click
import structlog

from app.api.server import PortTaken, Server, allow_descriptors, bind, make_app, make_server
from app.configuration import Configuration
from app.opening import NotOpened
from app.process import Process, open_process
from app.roles import ROLES, Role
from app.roles.alert import run_alert
from app.roles.ingest import Webhooks, run_ingest
from app.roles.score import run_score
from app.roles.serve import make_hub, run_serve
from app.roles.store import run_store
from app.settings import Settings
from nlp.choice import BackendMissing
from nlp.labels import LabelsRefused
from nlp.scorer import ModelFilesDamaged
from streams.stream import StreamError

STOP_WITHIN: Final = 20.0
_log = structlog.get_logger("process")

Started = Callable[[str], None]
Work = Callable[[Process], Coroutine[Any, Any, None]]


def run_process(settings: Settings, configuration: Configuration, roles: Sequence[Role]) -> int:
    """Run until a signal; return the exit code."""
    return exit_code(supervise(settings, configuration, roles, announce))


def exit_code(process: Coroutine[Any, Any, None]) -> int:
    """Run a process to its end; say in one line why it could not go on, and return its exit code."""
    code = 0
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(process)
    except* (NotOpened, PortTaken, ModelFilesDamaged, BackendMissing, LabelsRefused, StreamError) as group:
        for error in _leaves(group):
            click.echo(f"War Room can't start: {error}", err=True)
        code = 1
    except* Exception as group:  # noqa: BLE001  the end of the process: one line, then exit 1
        for error in _leaves(group):
            _log.error("stopped", error=f"{type(error).__name__}: {error}", exc_info=error)
            click.echo(f"War Room stopped: {type(error).__name__}: {error}", err=True)
        code = 1
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def announce(address: str) -> None:
    """Say where the product is open."""
    click.echo(f"War Room is open at {address}  (Ctrl-C stops it)")


async def supervise(
    settings: Settings,
    configuration: Configuration,
    roles: Sequence[Role],
    started: Started,
    more: Sequence[Work] = (),
) -> None:
    """Run `roles` and `more` until a stop signal or until `process.stopping`; raise what ended them."""
    allow_descriptors()
    port = settings.port if settings.port is not None else (8000 if "serve" in roles else 0)
    listener = bind(settings.host, port)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    running = asyncio.create_task(_run(settings, configuration, roles, listener, started, more, stopping))
    stop = asyncio.create_task(stopping.wait())
    with contextlib.closing(listener):
        await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not running.done():
            await asyncio.wait({running}, timeout=STOP_WITHIN)
            running.cancel()
        await _ended(running)


async def _ended(running: asyncio.Task[None]) -> None:
    """Raise what a process ended with, save that it was stopped."""
    await asyncio.wait({running})
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error


async def _run(
    settings: Settings,
    configuration: Configuration,
    roles: Sequence[Role],
    listener: socket.socket,
    started: Started,
    more: Sequence[Work],
    stopping: asyncio.Event,
) -> None:
    async with open_process(settings, configuration, stopping=stopping, single=len(roles) == len(ROLES)) as process:
        if not stopping.is_set():
            await _serve_until(process, roles, listener, started, more)


async def _serve_until(
    process: Process, roles: Sequence[Role], listener: socket.socket, started: Started, more: Sequence[Work]
) -> None:
    hub = make_hub(process) if "serve" in roles else None
    webhooks = Webhooks()
    server = make_server(make_app(process, hub, webhooks.find))
    running: dict[Role, Work] = {
        "ingest": lambda process: run_ingest(process, webhooks),
        "score": run_score,
        "alert": run_alert,
        "store": run_store,
        "serve": lambda process: run_serve(process, hub) if hub else asyncio.sleep(0),
    }
    host, port = listener.getsockname()[:2]
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]))
        work = tasks.create_task(_work([*(running[role] for role in ROLES if role in roles), *more], process))
        tell = tasks.create_task(_tell(server, started, f"http://{f'[{host}]' if ':' in host else host}:{port}"))
        stop = asyncio.create_task(process.stopping.wait())
        await asyncio.wait({serving, work, stop}, return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping")
        tell.cancel()
        stop.cancel()
        if hub is not None:
            await hub.stop()
        work.cancel()
        server.should_exit = True


async def _work(parts: Sequence[Work], process: Process) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.desk.watch(process.store))
        for part in parts:
            tasks.create_task(part(process))


async def _tell(server: Server, started: Started, address: str) -> None:
    await server.ready.wait()
    started(address)
