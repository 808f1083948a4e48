"""What an author deletes while a replay runs leaves the replay too; a replay wakes nobody but the console."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from alerts.engine import Engine
from app import replay
from app.commands import main
from app.configuration import parse_configuration
from app.migrations import migrate
from app.process import open_process, utc_now
from app.replay import Recording, forget_withdrawn, rehearsed, replayed
from app.settings import Settings
from app.store import Store
from streams.records import SCORED, Action, AlertEvent, AnyRecord, Pulse, ScoredMention, decode
from streams.sources.file import FileSettings
from streams.stream import Position
from tests.alerts import worlds as world
from tests.app.conftest import Served
from tests.app.store_world import placed
from tests.app.test_live_board import scored

CONFIGURATION = """\
version: 1
sources: [{id: practice, kind: rehearsal}]
queries: [{id: nova, name: Nova, match: nova}]
receivers: [{id: console, kind: console}, {id: pager, kind: webhook, url: "https://pager.example", secret: "env:S"}]
rules: [{id: r, name: R, query: nova, measure: count, threshold: 5, window: 1m, receivers: [console, pager]}]
"""


async def test_a_deletion_reaches_a_running_replay(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "FORGET_EVERY", 0.05)
    live = Settings(data=tmp_path / "live")
    await migrate(live.database)
    store = await Store.open(live.database, utc_now)
    mention = scored("1", author=None).mention
    await store.keep("store", [(Position(0, 0), scored("1")), (Position(0, 1), scored("2"))])
    watching = asyncio.create_task(forget_withdrawn(served.process, live, "live", {mention.key: mention}))
    await store.keep("store", [(Position(0, 2), scored("1", revision=2, action=Action.DELETE))])
    consumer = await served.process.stream.consumer(SCORED, None)
    (delivery, *_) = await consumer.fetch(10, 10.0)
    record = decode(delivery.value)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await consumer.aclose()
    await store.aclose()
    assert isinstance(record, ScoredMention)
    assert (record.mention.action, record.mention.realm, record.mention.native_id) == (Action.DELETE, "replay", "1")


def test_a_replay_wakes_nobody_and_watches_its_own_realm() -> None:
    recording = Recording(Path("crisis.csv"), None, "live", 60.0)
    apart = rehearsed(parse_configuration(CONFIGURATION), recording)
    assert [receiver.id for receiver in apart.receivers] == ["console"]
    assert apart.rules[0].receivers == ("console",)
    assert apart.rules[0].realms == ("replay",)
    assert [(source.id, source.kind) for source in apart.sources] == [("replay", "file")]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("POSTS.CSV", ("csv", ",")),
        ("posts.csv.gz", ("csv", ",")),
        ("posts.Tsv.gz", ("csv", "\t")),
        ("my.csv.export.jsonl", ("jsonl", ",")),
        ("posts", ("jsonl", ",")),
    ],
)
def test_what_a_file_to_replay_is_stands_at_the_end_of_its_name(name: str, form: tuple[str, str]) -> None:
    (source,) = rehearsed(parse_configuration(CONFIGURATION), Recording(Path(name), None, "live", 60.0)).sources
    assert isinstance(source, FileSettings)
    assert (source.format, source.delimiter) == form


def test_a_replayed_mention_is_of_the_replay_and_keeps_its_source() -> None:
    mention = replayed(scored("1")).mention
    assert (mention.realm, mention.source_id) == ("replay", "s")


RULES = """\
version: 1
sources: [{id: a, kind: rehearsal}, {id: b, kind: rehearsal}]
rules:
  - {id: r, name: R, sources: a, measure: count, threshold: 3, window: 10s, cooldown: 2m}
  - {id: all, name: All, measure: count, threshold: 4, window: 20s, group_by: [source], keep_firing: 30s}
"""


def burst(second: float, source: str = "a", ahead: float = 0.0) -> list[ScoredMention]:
    return [
        world.mention(f"{source}{second}-{n}", second + n + ahead, received=second + n, source=source) for n in range(5)
    ]


HEARD = [burst(10), burst(70), burst(150, "b"), burst(240), burst(400, ahead=200.0), burst(410, "b")]
"""A burst; one in its cooldown; one of another source; one after; one whose upstream's clock is ahead of ours."""


def told_live() -> list[tuple[object, ...]]:
    engine = Engine(parse_configuration(RULES).rules)
    records: list[AnyRecord] = [one for part in HEARD for one in part]
    records += [world.pulse(second, source=source, sent=second + 3600) for second in range(500) for source in "ab"]
    records.sort(key=lambda one: one.at if isinstance(one, Pulse) else one.mention.received_at)  # type: ignore[union-attr]
    return told(engine.step((record, 0) for record in records).events)


def told(events: list[AlertEvent]) -> list[tuple[object, ...]]:
    return [(one.rule_id, one.group, one.state.value, one.started_at, one.at, one.seq, one.value) for one in events]


@pytest.mark.parametrize("begin", [-1.0, 60.0, 130.0, 239.0])
async def test_the_store_replays_what_was_told_live_from_any_moment_on(tmp_path: Path, begin: float) -> None:
    """Invariant 5: sources that a rule does not hear, cooldowns under way, and clocks that are ahead included."""
    live = Settings(data=tmp_path / "live")
    await migrate(live.database)
    store = await Store.open(live.database, utc_now)
    await store.keep("store", placed([one for part in HEARD for one in part]))
    await store.aclose()
    recording = Recording(None, (world.at(begin), world.at(700)), "live", 1e6)
    apart = rehearsed(parse_configuration(RULES), recording)
    async with open_process(Settings(data=tmp_path / "scratch"), apart) as process:
        await replay._play(process, live, recording, {})
        async with contextlib.aclosing(await process.stream.consumer(SCORED, None)) as consumer:
            records = [decode(one.value) for one in await consumer.fetch(500, 5.0)]
    engine = Engine(apart.rules)
    events = engine.step((record, 0) for record in records).events
    since = world.at(begin)
    expected = [one for one in told_live() if one[4] >= since]  # type: ignore[operator]
    found = [one for one in told(events) if one[4] >= since]  # type: ignore[operator]
    assert found[: len(expected)] == expected
    assert {one[2] for one in found[len(expected) :]} <= {"resolved"}, "at its end a replay lets time go on"
    assert len(expected) >= 4


@pytest.mark.parametrize("speed", ["inf", "1e300", "nan", "0"])
def test_a_speed_that_no_clock_can_follow_is_refused(speed: str) -> None:
    result = CliRunner().invoke(main, ["replay", "--speed", speed])
    assert result.exit_code == 2
    assert "'--speed'" in result.output


def replay_of(place: Path, *arguments: str) -> Result:
    (place / "warroom.yaml").write_text(CONFIGURATION.replace("rules: [{", "# ["), encoding="utf-8")
    environment = {"WARROOM_CONFIG": str(place / "warroom.yaml"), "WARROOM_DATA": str(place / "data")}
    with mock.patch("app.logs.configure_logs"):  # the tests' own logging stays as it is
        return CliRunner().invoke(main, ["replay", *arguments, "--exit-at-end", "--port", "0"], env=environment)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "wrong.csv",
            b"when,words\n2026-05-01T10:00:00Z,nova lost my bag\n",
            ["no column is text", "in the file itself"],
        ),
        ("half.jsonl.gz", b"no gzip at all", ["half.jsonl.gz can't be read", "name a file that can be read"]),
    ],
)
def test_a_file_that_can_not_be_replayed_is_refused_at_once(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    result = replay_of(tmp_path, str(tmp_path / name))
    assert result.exit_code == 2
    for word in [name, *words]:
        assert word in result.stderr


def test_a_span_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    for end in ("2026-11-29", "2026-11-30"):
        result = replay_of(tmp_path, "--from", "2026-11-30", "--to", end)
        assert result.exit_code == 2
        assert "--from 2026-11-30T00:00:00 must be before --to" in result.stderr


def test_a_span_of_a_store_that_is_not_there_is_refused_and_none_is_made(tmp_path: Path) -> None:
    result = replay_of(tmp_path, "--from", "2026-11-29", "--to", "2026-11-30")
    assert result.exit_code == 2
    assert f"WARROOM_DATA: there is no database {tmp_path / 'data' / 'warroom.db'}" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_replay_of_nothing_says_why_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("text,published_at\nhello,2026-05-01T10:00:00Z\nnova,soon\n")
    rows = replay_of(tmp_path, str(tmp_path / "other.csv"))
    assert rows.exit_code == 1, rows.output
    assert "nothing was replayed: of 2 rows of " in rows.stderr
    assert "1 can't be read as mentions and 0 match a query" in rows.stderr
    asyncio.run(migrate(f"sqlite:///{tmp_path / 'data' / 'warroom.db'}"))
    span = replay_of(tmp_path, "--from", "2001-01-01", "--to", "2001-01-02")
    assert span.exit_code == 1, span.output
    assert f"{tmp_path / 'data' / 'warroom.db'} has no mentions of the realm live in this span" in span.stderr


def test_a_replay_says_how_many_mentions_it_had(tmp_path: Path) -> None:
    rows = "text,published_at\nnova is fine,2026-05-01T10:00:00Z\nnova,2026-05-01T10:00:01Z\n"
    (tmp_path / "two.csv").write_text(rows)
    result = replay_of(tmp_path, str(tmp_path / "two.csv"))
    assert result.exit_code == 0, result.output
    assert "mentions replayed: 2\n" in result.stdout


def test_a_file_that_breaks_off_ends_a_replay_with_2(tmp_path: Path) -> None:
    noise = (f"{random.Random(n).random()},2026-05-01T10:00:00Z\n" for n in range(3000))
    rows = "text,published_at\nnova,2026-05-01T10:00:00Z\n" + "".join(noise)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(rows.encode())[:-2000])
    result = replay_of(tmp_path, str(path))
    assert result.exit_code == 2, result.output
    assert f"{path}: {path} can't be read" in result.stderr
    assert "what came before it was replayed" in result.stderr
    assert "mentions replayed: 1\n" in result.stdout
