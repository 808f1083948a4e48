"""What the embedded log does when the disk, the file, the process or its readers misbehave."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams import embedded_file, metrics
from streams.embedded import EmbeddedStream
from streams.embedded_file import connect
from streams.embedded_log import Readers
from streams.embedded_retention import Retention
from streams.embedded_writer import Tables, Work, Writer
from streams.stream import Item, Lag, StreamCorrupted, StreamError
from tests.contracts.stream_contract import numbered, values

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPEN = """
import asyncio, pathlib, sys
from streams.embedded import EmbeddedStream
asyncio.run(EmbeddedStream.open(pathlib.Path(sys.argv[1])))
"""
APPEND = """
import asyncio, pathlib, sys
from streams.embedded import EmbeddedStream
from streams.stream import Item
async def main():
    stream = await EmbeddedStream.open(pathlib.Path(sys.argv[1]))
    for number in range(10**9):
        await stream.append("t", [Item("k", str(number).encode())])
        print(number, flush=True)
asyncio.run(main())
"""


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "log.db"


@pytest.fixture
async def stream(path: Path) -> AsyncIterator[EmbeddedStream]:
    stream = await EmbeddedStream.open(path)
    yield stream
    await stream.aclose()


async def all_of(stream: EmbeddedStream, topic: str = "t") -> list[int]:
    async with aclosing(await stream.consumer(topic, None)) as tail:
        found: list[int] = []
        while part := await tail.fetch(10_000, 0):
            found += values(part)
    return found


async def test_a_second_process_is_told_which_file_and_what_to_do(path: Path, stream: EmbeddedStream) -> None:
    await stream.append("t", numbered(1))
    command = [sys.executable, "-c", OPEN, str(path)]
    other = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await other.communicate()
    assert other.returncode == 1
    assert f"StreamError: the log {path} is in use by another process; stop that one" in said.decode()
    with pytest.raises(StreamError, match="in use"):
        await EmbeddedStream.open(path)


async def test_a_closed_log_is_free_again(path: Path, stream: EmbeddedStream) -> None:
    await stream.aclose()
    await (await EmbeddedStream.open(path)).aclose()


async def test_kill_9_loses_nothing_that_was_acknowledged(path: Path) -> None:
    acknowledged = -1
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", APPEND, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(40):
            acknowledged = int(await process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = (await process.stdout.read()).split()
        await process.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        stream = await EmbeddedStream.open(path)
        found = await all_of(stream)
        await stream.aclose()
        last_run = found[len(found) - 1 - found[::-1].index(0) :]
        assert last_run == list(range(len(last_run)))
        assert len(last_run) >= acknowledged + 1


def damage(path: Path, what: str) -> None:
    raw = bytearray(path.read_bytes())
    if what == "pages":
        raw[8192 : 8192 + 4096] = os.urandom(4096)
    elif what == "header":
        raw[:16] = b"this is no log.."
    elif what == "value":
        raw[raw.rindex(b"v" * 900) + 450] ^= 1
    else:
        raw = bytearray(b"hello\n" * 100)
    path.write_bytes(raw)


@pytest.mark.parametrize("what", ["pages", "header", "value", "text"])
async def test_damage_stops_with_the_file_and_the_remedy(path: Path, stream: EmbeddedStream, what: str) -> None:
    await stream.append("t", [Item("key", b"v" * 900 + str(number).encode()) for number in range(200)])
    await stream.aclose()
    damage(path, what)
    with pytest.raises(StreamCorrupted, match=r"log\.db is damaged .*; move it away"):  # noqa: PT012  found at open or at the read
        damaged = await EmbeddedStream.open(path)
        try:
            await all_of(damaged)
        finally:
            await damaged.aclose()


async def test_a_wrong_counter_is_damage(path: Path, stream: EmbeddedStream) -> None:
    await stream.append("t", numbered(10))
    await stream.aclose()
    with sqlite3.connect(path) as link:
        link.execute("UPDATE topics SET next = 5")
    link.close()
    with pytest.raises(StreamCorrupted, match="topic t ends at 9, should at 4"):
        await EmbeddedStream.open(path)


async def test_a_file_that_is_not_ours_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE theirs (a)")
    link.close()
    with pytest.raises(StreamError, match="not a War Room log"):
        await EmbeddedStream.open(path)


async def test_a_first_start_that_was_cut_off_is_no_foreign_file(path: Path) -> None:
    path.parent.mkdir()
    connect(path, readonly=False, make=True).close()
    assert os.path.getsize(path) > 0  # noqa: ASYNC240, PTH202  one stat
    stream = await EmbeddedStream.open(path)
    await stream.append("t", numbered(3))
    assert await all_of(stream) == [0, 1, 2]
    await stream.aclose()


async def test_a_disk_that_is_full_at_the_first_start_is_waited_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> sqlite3.Connection:
        link = connect(path, readonly=False, make=True)
        link.execute("PRAGMA max_page_count = 2")
        return link

    with monkeypatch.context() as patch:
        patch.setattr(embedded_file, "connect", full)
        with pytest.raises(StreamError, match=r"disk of the log .* is full"):
            await EmbeddedStream.open(path)
    await (await EmbeddedStream.open(path)).aclose()


@pytest.mark.parametrize(
    "made", ["PRAGMA application_id = 7", "PRAGMA user_version = 7", "CREATE VIEW theirs AS SELECT 1"]
)
async def test_an_empty_file_of_another_program_is_left_alone(path: Path, made: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as link:
        link.execute(made)
    with pytest.raises(StreamError, match="not a War Room log"):
        await EmbeddedStream.open(path)


async def test_a_full_disk_is_an_error_that_passes(stream: EmbeddedStream) -> None:
    await stream.append("t", numbered(3))
    link = stream._log.writer._tables.connection
    pages = link.execute("PRAGMA page_count").fetchone()[0]
    link.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StreamError, match=r"disk of the log .* is full"):
        await stream.append("t", [Item("k", b"9" * 900_000)])
    assert await all_of(stream) == [0, 1, 2]
    link.execute("PRAGMA max_page_count = 1000000")
    await stream.append("t", numbered(2, first=3))
    assert await all_of(stream) == [0, 1, 2, 3, 4]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real disk of 2 MiB; not under pytest's folder, which deletes what it finds."""
    mount = Path(tempfile.mkdtemp(prefix="warroom-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if sys.platform != "linux" or subprocess.run(command, check=False, capture_output=True).returncode:
        mount.rmdir()
        pytest.skip("misses ENOSPC of a real disk: mounting a small one needs root on Linux")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)
    mount.rmdir()


async def test_a_disk_with_no_space_left_is_waited_out(small_disk: Path) -> None:
    log = await EmbeddedStream.open(small_disk / "log.db")

    async def keys() -> list[int]:
        async with aclosing(await log.consumer("t", None)) as tail:
            return [int(one.key) for one in await tail.fetch(1000, 0)]

    ballast = small_disk / "ballast"
    await asyncio.to_thread(ballast.write_bytes, b"x" * 2**20)
    taken = 0
    try:
        with pytest.raises(StreamError, match=r"log\.db"):  # noqa: PT012  some append of many
            while taken < 1000:
                await log.append("t", [Item(str(taken), b"0" * 20_000)])
                taken += 1
        assert taken > 5
        assert await keys() == list(range(taken))
        await asyncio.to_thread(ballast.unlink)
        await log.append("t", [Item(str(taken), b"")])
        assert await keys() == list(range(taken + 1))
    finally:
        await log.aclose()


async def test_waiting_appends_share_a_transaction(stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    real = Writer._transact

    def counted(writer: Writer, works: Sequence[Work]) -> Sequence[object] | Exception:
        begun.append(len(works))
        return real(writer, works)

    monkeypatch.setattr(Writer, "_transact", counted)
    await asyncio.gather(*(stream.append("t", numbered(1, key=str(number))) for number in range(300)))
    assert sum(begun) >= 300
    assert len(begun) < 60


async def retained(stream: EmbeddedStream, *, settled: bool = True) -> None:
    """Let the writer look at retention now, after its next transaction; `settled`: as if long after the start."""
    if settled:
        stream._log.writer._opened = -1e9
    stream._log.writer._retained = -1e9
    await stream.append("other", numbered(1))
    await stream._log.writer.submit(lambda tables: tables.topic("t"))


async def test_age_takes_what_every_group_has_read_and_nothing_else(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, Retention(age=timedelta(hours=1)), clock)
    slow, fast = await stream.consumer("t", "slow"), await stream.consumer("t", "fast")
    await stream.append("t", numbered(10))
    await fast.commit(await fast.fetch(10, 1))
    await slow.commit(await slow.fetch(4, 1))
    clock.now += timedelta(minutes=59)
    await retained(stream)
    assert await all_of(stream) == list(range(10))
    clock.now += timedelta(minutes=2)
    await retained(stream)
    assert await all_of(stream) == [4, 5, 6, 7, 8, 9]
    assert values(await slow.fetch(10, 1)) == [4, 5, 6, 7, 8, 9]
    assert await stream.losses() == {}
    await stream.append("t", numbered(1, first=10))
    assert (await slow.end())[0] == 11
    await stream.aclose()


def counted(group: str) -> float:
    return float(metrics.LOST.labels("t", group)._value.get())


async def test_age_takes_unread_items_only_where_that_was_configured(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, Retention(age=timedelta(hours=1), keep_unread=False), clock)
    slow, tail = await stream.consumer("t", "slow"), await stream.consumer("t", None)
    before, tailed = counted("slow"), counted("tail")
    await stream.append("t", numbered(10))
    clock.now += timedelta(hours=2)
    await stream.append("t", numbered(1, first=10))
    await retained(stream)
    assert values(await slow.fetch(100, 1)) == [10]
    assert await stream.losses() == {("t", "slow"): 10}
    assert counted("slow") == before + 10
    assert values(await tail.fetch(100, 1)) == [10]
    assert counted("tail") == tailed + 10
    await stream.aclose()


async def test_what_comes_while_a_reader_finds_that_all_is_gone_is_read(
    stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.append("t", numbered(5))
    tail = await stream.consumer("t", None)
    await stream._log.writer.submit(lambda tables: tables.connection.execute("DELETE FROM items_1") and None)
    real = Readers.run

    async def slow(readers: Readers, read: Callable[[sqlite3.Connection], object]) -> object:
        found = await real(readers, read)
        await stream.append("t", numbered(1, first=5))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Readers, "run", slow)
        assert await tail.fetch(10, 1) == []
    assert values(await tail.fetch(10, 1)) == [5]


async def test_size_is_a_hard_limit_and_what_it_takes_unread_is_said(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await EmbeddedStream.open(path, Retention(size=100_000))
    reader = await stream.consumer("t", "slow")
    for number in range(300):
        await stream.append("t", [Item("k", str(number).encode().rjust(1000, b"0"))])
    await retained(stream)
    kept = await all_of(stream)
    assert kept == list(range(300 - len(kept), 300))
    assert 80 <= len(kept) <= 101
    assert await stream.losses() == {("t", "slow"): kept[0]}
    assert "retention took unread items: topic=t group=slow" in caplog.text
    assert values(await reader.fetch(1000, 1)) == kept
    assert f"gap in t for slow: {kept[0]} items were gone unread" in caplog.text
    await stream.aclose()
    stream = await EmbeddedStream.open(path, Retention(size=100_000))
    assert await stream.losses() == {("t", "slow"): kept[0]}
    await stream.aclose()
    assert os.path.getsize(path) < 400_000  # noqa: ASYNC240, PTH202  one stat


async def test_a_group_that_never_came_back_stops_holding_items(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, Retention(age=timedelta(hours=1)), clock)
    await (await stream.consumer("t", "gone")).aclose()
    here = await stream.consumer("t", "here")
    await stream.append("t", numbered(5))
    await here.fetch(5, 1)
    clock.now += timedelta(days=29)
    await retained(stream)
    assert len(await all_of(stream)) == 5
    clock.now += timedelta(days=2)
    await retained(stream)
    await here.commit(await (await stream.consumer("t", None)).fetch(5, 1))
    await retained(stream)
    assert await all_of(stream) == []
    await stream.aclose()


async def test_after_a_month_off_the_groups_that_have_not_joined_yet_lose_nothing(path: Path) -> None:
    clock, keep = Clock(), Retention(age=timedelta(hours=72), keep_unread=False)
    stream = await EmbeddedStream.open(path, keep, clock)
    await (await stream.consumer("t", "scorer")).aclose()
    await stream.append("t", numbered(3))
    await stream.aclose()
    clock.now += timedelta(days=31)
    stream = await EmbeddedStream.open(path, keep, clock)
    await stream.consumer("t", "store")
    await retained(stream, settled=False)
    scorer = await stream.consumer("t", "scorer")
    assert values(await scorer.fetch(10, 1)) == [0, 1, 2]
    assert await stream.losses() == {}
    await stream.aclose()


async def test_what_a_forgotten_group_had_not_read_is_counted_and_what_came_after_is_not(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, Retention(age=timedelta(hours=72)), clock)
    before = counted("gone")
    gone, here = await stream.consumer("t", "gone"), await stream.consumer("t", "here")
    await stream.append("t", numbered(5))
    await gone.commit(await gone.fetch(2, 1))
    await gone.aclose()
    clock.now += timedelta(days=31)
    await stream.append("t", numbered(2, first=5))
    await here.commit(await here.fetch(10, 1))
    await retained(stream)
    assert await all_of(stream) == [5, 6]
    assert await stream.losses() == {("t", "gone"): 3}
    clock.now += timedelta(days=31)
    await stream.append("t", numbered(1, first=7))
    await here.commit(await here.fetch(10, 1))
    await retained(stream)
    assert await stream.losses() == {("t", "gone"): 3}
    assert counted("gone") == before + 3
    assert values(await (await stream.consumer("t", "gone")).fetch(10, 1)) == [7]
    await stream.aclose()


async def test_what_came_while_a_group_was_forgotten_is_no_loss_just_after_the_start_either(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, Retention(size=1000), clock)
    await (await stream.consumer("t", "gone")).aclose()
    clock.now += timedelta(days=31)
    await stream.append("t", numbered(100))
    await retained(stream, settled=False)
    assert len(await all_of(stream)) < 100
    assert await stream.losses() == {}
    await stream.aclose()


async def test_append_time_does_not_go_back_with_a_wall_clock_that_is_put_right(path: Path) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, clock=clock)
    await stream.append("t", numbered(1))
    clock.now -= timedelta(seconds=59)
    await stream.append("t", numbered(1))
    async with aclosing(await stream.consumer("t", None)) as tail:
        assert [one.appended_at for one in await tail.fetch(9, 1)] == [NOW, NOW]
    clock.now = NOW + timedelta(seconds=90)
    async with aclosing(await stream.consumer("t", None)) as tail:
        assert (await tail.lag()).seconds == 90.0
    await stream.aclose()


@pytest.mark.parametrize("read", [0, 1])
async def test_one_append_by_a_clock_a_day_ahead_does_not_hide_who_is_behind(path: Path, read: int) -> None:
    clock = Clock()
    stream = await EmbeddedStream.open(path, clock=clock)
    clock.now += timedelta(days=1)
    await stream.append("t", numbered(1))
    clock.now = NOW
    await stream.append("t", numbered(1, first=1))
    tail = await stream.consumer("t", None)
    if read:
        await tail.fetch(read, 1)
    clock.now += timedelta(hours=6)
    assert await tail.lag() == Lag(2 - read, 6 * 3600.0)
    await stream.aclose()


async def test_a_group_has_one_member_and_its_place_is_free_after_it(stream: EmbeddedStream) -> None:
    first = await stream.consumer("t", "g")
    with pytest.raises(StreamError, match="one member per group"):
        await stream.consumer("t", "g")
    await stream.consumer("u", "g")
    await first.aclose()
    await (await stream.consumer("t", "g")).aclose()


async def test_a_reader_far_behind_does_not_hold_the_loop(stream: EmbeddedStream) -> None:
    for _ in range(10):
        await stream.append("t", [Item("k", b"x" * 2000)] * 2000)
    async with aclosing(await stream.consumer("t", None)) as tail:
        reading = asyncio.create_task(tail.fetch(20_000, 1))
        longest = 0.0
        while not reading.done():
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)
        found = await reading
    assert 8 * 2**20 <= sum(len(one.value) for one in found) < 9 * 2**20
    assert longest < 1.0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_fails_leaves_nobody_waiting(
    stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(Tables, "append", broken)
    for _ in range(2):
        with pytest.raises(StreamCorrupted, match=r"the writer of .* has failed"):
            await asyncio.wait_for(stream.append("t", numbered(1)), 10)
