"""Role alert: what it is given from its process, and that it follows each configuration."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.configuration import Configuration, parse_configuration
from app.process import Desk, Process, open_process
from app.roles.alert import _always, _notify
from app.settings import Settings
from streams.records import ALERTS, encode
from streams.stream import Item
from tests.alerts.receivers import alert, hook, receiving


async def test_a_wall_clock_that_leaps_for_a_moment_lets_no_page_expire(tmp_path: Path) -> None:
    """Invariant 6."""
    leap = timedelta(0)

    def wall() -> datetime:
        return datetime.now(UTC) + leap

    async with (
        receiving(["503", "503", "200"]) as receiver,
        open_process(Settings(data=tmp_path), parse_configuration("version: 1"), wall) as process,
    ):
        running = asyncio.create_task(_notify(process, Configuration("", receivers=(hook(receiver.url),))))
        event = alert()
        await process.stream.append(ALERTS, [Item(event.key, encode(event))])
        async with asyncio.timeout(20):
            await receiver.arrived.wait()
            leap = timedelta(hours=25)
            while len(found := await process.store.notifications("a1")) < 3:  # noqa: ASYNC110  the store tells nobody
                await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait({running})
    assert [one.result for one in found] == ["retry", "retry", "delivered"]


@pytest.mark.parametrize("turns", range(8))
async def test_a_configuration_that_comes_while_the_last_one_is_taken_up_is_not_missed(turns: int) -> None:
    configurations = [Configuration(str(number)) for number in range(3)]
    desk, ran = Desk(configurations[0], 0), list[str]()

    async def part(_: Process, configuration: Configuration) -> None:
        ran.append(configuration.text)
        await asyncio.Event().wait()

    process: Any = SimpleNamespace(desk=desk)
    running = asyncio.create_task(_always(process, part))
    await asyncio.sleep(0.01)
    desk.replace(configurations[1], 1)
    for _ in range(turns):
        await asyncio.sleep(0)
    desk.replace(configurations[2], 2)
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait({running})
    assert ran[-1] == "2"
