"""Replay: recorded mentions through the same engine and hub, in a process of their own with a folder of their own.

Owns what differs from a live start: a scratch log and store, one source (the recording), rules that watch the realm
`replay`, and no receiver but the console. Does not own engine, hub or scorer: they are the live ones. The live store is
only read. A FILE is scored anew, and a rule hears all of it; mentions from the store keep their scores and sources.

A span of the store is played with what came before it, without pause, for as long as a rule remembers: windows,
alerts and cooldowns then stand at its beginning as they stood live. What the store no longer has can't be played: the
words before an edit, what was deleted since, and how late a mention came.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click

from alerts.contributions import event_time
from alerts.moments import instant
from alerts.rules import Rule
from app.configuration import Configuration
from app.process import Process, utc_now
from app.roles import ROLES, Role
from app.settings import Settings
from app.store import Store
from app.supervision import exit_code, supervise
from streams.records import REPLAY, SCORED, Action, Mention, Pulse, ScoredMention, SourceStatus, encode
from streams.source import SourceSettings
from streams.sources.checks import MAX_AHEAD
from streams.sources.file import FileSettings
from streams.stream import Item

SOURCE: Final = "replay"
PULSE: Final = 0.2
"""Seconds between pulses: at 60x a wall second is a minute of event time."""
FORGET_EVERY: Final = 20.0
_PAGE: Final = 200
MOST_REMEMBERED: Final = timedelta(days=2)
"""A cooldown may be long; what came earlier than this before the span is left out."""


@dataclass(frozen=True)
class Recording:
    """What is replayed, and how fast: a file, or a span of the store (from, to) of one realm."""

    file: Path | None
    span: tuple[datetime, datetime] | None
    realm: str
    speed: float
    stop_at_end: bool = False


def run_replay(settings: Settings, configuration: Configuration, recording: Recording, port: int) -> int:
    """Replay until the end or a signal; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="warroom-replay-") as scratch:
        apart = settings.model_copy(
            update={
                "data": Path(scratch),
                "kafka": "",
                "database_url": type(settings.database_url)(""),
                "port": port,
                "title": f"{settings.title} REPLAY"[:60],
            }
        )
        roles: Sequence[Role] = ROLES if recording.file else ("alert", "store", "serve")
        work = [] if recording.file else [lambda process: play_store(process, settings, recording)]
        if recording.stop_at_end:
            work.append(stop_at_end)
        return exit_code(supervise(apart, rehearsed(configuration, recording), roles, _announce, work))


def rehearsed(configuration: Configuration, recording: Recording) -> Configuration:
    """Return the configuration with the recording as its only source and nobody to wake but the console."""
    console = {receiver.id for receiver in configuration.receivers if receiver.kind == "console"}
    sources: tuple[SourceSettings, ...] = ()
    if recording.file is not None:
        name = recording.file.name.lower().removesuffix(".gz")
        sources = (
            FileSettings(
                id=SOURCE,
                kind="file",
                path=recording.file.resolve(),
                format="csv" if name.endswith((".csv", ".tsv")) else "jsonl",
                delimiter="\t" if name.endswith(".tsv") else ",",
                speed=recording.speed,
                realm=REPLAY,
            ),
        )
    rules = tuple(
        rule.model_copy(
            update={
                "realms": (REPLAY,),
                "sources": () if recording.file else rule.sources,
                "receivers": tuple(receiver for receiver in rule.receivers if receiver in console),
            }
        )
        for rule in configuration.rules
    )
    receivers = tuple(
        receiver.model_copy(update={"realms": (REPLAY,)})
        for receiver in configuration.receivers
        if receiver.id in console
    )
    return replace(configuration, sources=sources, rules=rules, receivers=receivers)


def _announce(address: str) -> None:
    click.echo(f"The replay is on {address}/wall/replay  (Ctrl-C stops it; live data is not touched)")


async def play_store(process: Process, live: Settings, recording: Recording) -> None:
    """Play the span, and keep the replay free of what is deleted upstream while it runs and stays open."""
    played: dict[str, Mention] = {}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_play(process, live, recording, played))
        tasks.create_task(forget_withdrawn(process, live, recording.realm, played))


async def _play(process: Process, live: Settings, recording: Recording, played: dict[str, Mention]) -> None:
    """Put the span's mentions into the scratch [scored] at `speed` times their own pace, with pulses of their time."""
    if recording.span is None:
        return
    begin, end = recording.span
    before = begin - remembered(process.desk.configuration.rules)
    async with contextlib.aclosing(_recorded(live, recording.realm, before, end)) as recorded:
        tick = asyncio.get_running_loop().time
        started = tick()
        page: list[ScoredMention] = []
        async for scored in in_event_time(recorded):
            at = instant(event_time(scored.mention))
            while (reached := begin + timedelta(seconds=(tick() - started) * recording.speed)) < at:
                await _put(process, page, reached, SourceStatus.LIVE)
                page = []
                await asyncio.sleep(min(PULSE, (at - reached).total_seconds() / recording.speed))
            page.append(replayed(scored))
            played[scored.mention.key] = scored.mention.model_copy(update={"text": ""})
            if len(page) >= _PAGE:
                await _put(process, page, at, SourceStatus.LIVE)
                page = []
        await _put(process, page, end, SourceStatus.FINISHED)


def remembered(rules: Sequence[Rule]) -> timedelta:
    """Return for how long before a moment a mention can still matter to what a rule says at it."""
    spans = (rule.window + 2 * rule.every + rule.hold + rule.keep_firing + rule.cooldown for rule in rules)
    return min(max(spans, default=timedelta(0)), MOST_REMEMBERED)


async def _recorded(live: Settings, realm: str, begin: datetime, end: datetime) -> AsyncGenerator[ScoredMention]:
    store = await Store.open(live.database, utc_now)
    try:
        async for scored in store.mentions_between(realm, begin, end):
            yield scored
    finally:
        await store.aclose()


async def in_event_time(published: AsyncIterator[ScoredMention]) -> AsyncGenerator[ScoredMention]:
    """Yield mentions that come in the order of publication in that of event time, which is at most MAX_AHEAD before."""
    waiting: list[tuple[datetime, int, ScoredMention]] = []
    number = 0
    async for scored in published:
        number += 1
        heapq.heappush(waiting, (instant(event_time(scored.mention)), number, scored))
        safe = (scored.mention.published_at or scored.mention.received_at) - MAX_AHEAD
        while waiting and waiting[0][0] <= safe:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def replayed(scored: ScoredMention) -> ScoredMention:
    """Return the mention as of the realm `replay`; its source stays, for rules that hear some sources alone."""
    return scored.model_copy(update={"mention": scored.mention.model_copy(update={"realm": REPLAY})})


async def forget_withdrawn(process: Process, live: Settings, realm: str, played: Mapping[str, Mention]) -> None:
    """Take from the replay what its authors delete meanwhile: looked for in the live store every 20 seconds."""
    store = await Store.open(live.database, utc_now)
    try:
        while True:
            await asyncio.sleep(FORGET_EVERY)
            gone = await store.withdrawn(realm, list(played)) if played else set()
            now = process.clock()
            stones = [_tombstone(played[key], now) for key in sorted(gone)]
            await process.stream.append(SCORED, [Item(stone.mention.key, encode(stone)) for stone in stones])
    finally:
        await store.aclose()


def _tombstone(mention: Mention, now: datetime) -> ScoredMention:
    gone = Mention(
        source_id=SOURCE,
        source_kind=mention.source_kind,
        native_id=mention.native_id,
        revision=2**62,
        action=Action.DELETE,
        realm=REPLAY,
        received_at=now,
    )
    return ScoredMention(mention=gone, score=None, scored_at=now)


async def _put(process: Process, page: Sequence[ScoredMention], at: datetime, status: SourceStatus) -> None:
    pulse = Pulse(source_id=SOURCE, source_kind="store", realm=REPLAY, at=at, sent_at=process.clock(), status=status)
    items = [Item(scored.mention.key, encode(scored)) for scored in page]
    await process.stream.append(SCORED, [*items, Item(SOURCE, encode(pulse), everywhere=True)])


async def stop_at_end(process: Process) -> None:
    """Return when the recording is finished and the store has all of it."""
    while True:
        await asyncio.sleep(1.0)
        states = await process.store.sources(REPLAY)
        if any(state.pulse.status is SourceStatus.FINISHED for state in states):
            process.stopping.set()
            return
