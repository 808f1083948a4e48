"""What a wall clock that jumps does to the pulses of a source."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from streams.embedded import EmbeddedStream
from streams.records import MENTIONS, Pulse, decode
from streams.source import Arrival, SourceSettings
from streams.sources.supervise import supervise
from streams.sources.supervise_standing import MOST_AHEAD, Standing
from streams.steady_clock import BELIEVED_AFTER, SteadyClock
from tests.streams.test_supervise import Memory, match, settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BELIEVED = int(BELIEVED_AFTER)


class Machine:
    """A machine whose wall clock is off by `wrong`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.wrong = timedelta(0)
        self.steady = SteadyClock(self.wall, lambda: self.seconds)

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds) + self.wrong

    def off(self, wrong: timedelta, seconds: int = 1) -> list[timedelta]:
        """Let `seconds` pass with that error; return by how much the steady clock was off in each."""
        self.wrong = wrong
        told: list[timedelta] = []
        for _ in range(seconds):
            self.seconds += 1
            told.append(self.steady() - NOW - timedelta(seconds=self.seconds))
        return told


@pytest.mark.parametrize("wrong", [DAY, -DAY, timedelta(seconds=61), timedelta(days=9000)])
def test_a_clock_that_is_wrong_for_a_while_is_not_believed(wrong: timedelta) -> None:
    machine = Machine()
    right = timedelta(0)
    assert set(machine.off(right, 5) + machine.off(wrong, BELIEVED - 1) + machine.off(right, 5)) == {right}
    assert set(machine.off(wrong, BELIEVED - 1)) == {right}


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_was_set_right_is_followed_in_the_end(jump: timedelta) -> None:
    machine = Machine()
    assert machine.off(jump, BELIEVED + 2)[-3:] == [timedelta(0), jump, jump]
    assert machine.off(jump + timedelta(seconds=30)) == [jump + timedelta(seconds=30)]


def test_two_jumps_are_two_doubts() -> None:
    machine = Machine()
    assert set(machine.off(DAY, BELIEVED - 1) + machine.off(2 * DAY, BELIEVED - 1)) == {timedelta(0)}


def test_event_time_that_a_wrong_clock_stamped_is_taken_back() -> None:
    standing = Standing(settings(), "test", 0.0)
    standing.arrived([Arrival()], NOW + DAY, 1.0)
    assert standing.pulse(NOW + DAY).at == NOW + DAY
    assert standing.pulse(NOW).at == NOW + MOST_AHEAD
    standing.arrived([Arrival()], NOW, 2.0)
    later = NOW + 2 * MOST_AHEAD
    assert standing.pulse(later).at == later
    assert standing.promised == later


class Steady:
    """A source with a sign of life every moment."""

    settings_model: ClassVar[type[SourceSettings]] = SourceSettings

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        assert cursor is None
        while True:
            yield Arrival()
            await asyncio.sleep(0.05)


async def pulses_under(clock: Callable[[], datetime], folder: Path, enough: int) -> list[Pulse]:
    stream = await EmbeddedStream.open(folder / "log.db")
    task = asyncio.create_task(supervise(Steady(), settings(), stream, Memory(), match, clock=clock))
    tail = await stream.consumer(MENTIONS, None)
    said: list[Pulse] = []
    try:
        async with asyncio.timeout(20):
            while len(said) < enough:
                records = [decode(one.value) for one in await tail.fetch(100, 1.0)]
                said += [one for one in records if isinstance(one, Pulse)]
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await stream.aclose()
    return said


async def test_a_wrong_second_is_in_no_pulse(tmp_path: Path) -> None:
    """Rules would be deaf until the time that the pulse told of."""
    began = asyncio.get_running_loop().time()

    def clock() -> datetime:
        passed = asyncio.get_running_loop().time() - began
        return datetime.now(UTC) + (DAY if 0.5 < passed < 2.2 else timedelta(0))

    for pulse in await pulses_under(clock, tmp_path, 4):
        for stamp in (pulse.at, pulse.sent_at):
            assert abs(stamp - datetime.now(UTC)) < timedelta(minutes=1)
