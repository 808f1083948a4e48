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
from app.opening import NotOpened, database_name, expect_database
from app.process import Process, utc_now
from app.roles import ROLES, Role
from app.settings import Settings
from app.store import SourceState, Store
from app.supervision import exit_code, supervise
from streams.records import REPLAY, SCORED, Action, Mention, Pulse, ScoredMention, SourceStatus, encode
from streams.source import SourceRefused, SourceSettings, SourceUnreachable
from streams.sources.checks import MAX_AHEAD
from streams.sources.file import FileSettings, FileSource
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


class RecordingRefused(ValueError):
    """What is to be replayed can't be used; the message names it and the remedy."""


@dataclass
class Ending:
    """What a replay came to: an exit code, as soon as it is known."""

    code: int = 0


def run_replay(settings: Settings, configuration: Configuration, recording: Recording, port: int) -> int:
    """Replay until the end or a signal; return the exit code: 2 for a file that breaks off, 1 if there was nothing.

    Raises RecordingRefused, before anything is started, for a file or a store that can't be replayed.
    """
    apart_configuration = rehearsed(configuration, recording)
    check_recording(settings, recording, apart_configuration)
    ending, played = Ending(), dict[str, Mention]()
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
        work = [lambda process: tell_end(process, settings, recording, played, ending)]
        if recording.span:
            work.append(lambda process: play_store(process, settings, recording, played))
        return exit_code(supervise(apart, apart_configuration, roles, _announce, work)) or ending.code


def check_recording(settings: Settings, recording: Recording, configuration: Configuration) -> None:
    """Raise RecordingRefused if the store or the head of the file can't be read."""
    try:
        if recording.file is None:
            expect_database(settings)
        for source in configuration.sources:
            asyncio.run(_first_page(source))
    except NotOpened as error:
        raise RecordingRefused(str(error)) from error
    except (SourceRefused, SourceUnreachable) as error:
        remedy = "a replay knows no `fields`: give the columns these names in the file itself, text and published_at"
        told = f"{error}; {remedy}" if isinstance(error, SourceRefused) else f"{error}; name a file that can be read"
        raise RecordingRefused(f"{recording.file}: {told}") from error


async def _first_page(source: SourceSettings) -> None:
    if isinstance(source, FileSettings):
        await anext(FileSource(source.model_copy(update={"speed": None})).listen(None), None)


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


async def play_store(process: Process, live: Settings, recording: Recording, played: dict[str, Mention]) -> None:
    """Play the span, and keep the replay free of what is deleted upstream while it runs and stays open."""
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


async def tell_end(
    process: Process, live: Settings, recording: Recording, played: Mapping[str, Mention], ending: Ending
) -> None:
    """Say how much was replayed once the store has all of it, and stop then if the recording says so.

    A file that breaks off half-way is no end of a replay that stays open: its wall shows the source as unreachable.
    """
    state = await _last_state(process, recording)
    if state.pulse.status is SourceStatus.UNREACHABLE:
        ending.code = 2
        click.echo(f"{recording.file}: {state.pulse.detail}; what came before it was replayed", err=True)
    count = state.counters.get("stored", 0) if recording.file else _within(recording, played)
    if count:
        click.echo(f"mentions replayed: {count}")
    else:
        ending.code = ending.code or 1
        click.echo(f"nothing was replayed: {_why_nothing(live, recording, state)}", err=True)
    if recording.stop_at_end:
        process.stopping.set()


async def _last_state(process: Process, recording: Recording) -> SourceState:
    ends = {SourceStatus.FINISHED, SourceStatus.UNREACHABLE} if recording.stop_at_end else {SourceStatus.FINISHED}
    while True:
        await asyncio.sleep(1.0)
        for state in await process.store.sources(REPLAY):
            if state.pulse.status in ends:
                return state


def _within(recording: Recording, played: Mapping[str, Mention]) -> int:
    """Return how many were played of the span itself, not of what came before it for the rules' sake."""
    return sum(recording.span is None or instant(event_time(one)) >= recording.span[0] for one in played.values())


def _why_nothing(live: Settings, recording: Recording, state: SourceState) -> str:
    if recording.file is None:
        return (
            f"{database_name(live)} has no mentions of the realm {recording.realm} in this span; look at --from and "
            "--to (UTC), --realm, and WARROOM_DATA or WARROOM_DATABASE_URL"
        )
    tally, dead = state.pulse.tally, state.counters.get("dead", 0)
    return (
        f"of {tally.received} rows of {recording.file} {dead} can't be read as mentions and {tally.matched} match a "
        "query; look at its text and published_at, and at `queries` in the configuration"
    )
