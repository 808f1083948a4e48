"""What an author deletes while a replay runs leaves the replay too; a replay wakes nobody but the console."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import replay
from app.configuration import parse_configuration
from app.migrations import migrate
from app.process import utc_now
from app.replay import Recording, forget_withdrawn, rehearsed, replayed
from app.settings import Settings
from app.store import Store
from streams.records import SCORED, Action, ScoredMention, decode
from streams.stream import Position
from tests.app.conftest import Served
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


def test_a_replayed_mention_is_of_the_replay() -> None:
    mention = replayed(scored("1")).mention
    assert (mention.realm, mention.source_id) == ("replay", "replay")
