import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from streams import metrics
from streams.backoff import Backoff
from streams.embedded import EmbeddedStream
from streams.records import (
    DEAD,
    MENTIONS,
    Action,
    AnyRecord,
    Author,
    DeadLetter,
    Mention,
    Pulse,
    SourceStatus,
    Tally,
    decode,
    encode,
)
from streams.source import Accepted, Arrival, SourceRefused, SourceSettings, SourceUnreachable
from streams.sources import supervise as supervise_module
from streams.sources.file import FileSettings, FileSource
from streams.sources.letters import letter
from streams.sources.supervise import supervise
from streams.sources.supervise_choice import Chooser, author_key
from streams.sources.supervise_standing import CONNECTING, Standing
from streams.stream import Item, StreamCorrupted, StreamError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def mention(number: int, revision: int = 1, text: str = "acme", action: Action = Action.PUBLISH) -> Mention:
    return Mention(
        source_kind="test",
        native_id=f"post{number}",
        source_id="s",
        revision=revision,
        action=action,
        received_at=NOW,
        published_at=NOW if action is Action.PUBLISH else None,
        author=Author(id=f"author{number % 3}") if action is Action.PUBLISH else None,
        text=text if action is Action.PUBLISH else "",
    )


def gone_author(number: int, revision: int = 9) -> Mention:
    return Mention(
        source_kind="test",
        native_id=f"author{number}",
        source_id="s",
        revision=revision,
        action=Action.DELETE_AUTHOR,
        received_at=NOW,
    )


def match(one: Mention) -> tuple[str, ...]:
    return ("brand",) if "acme" in one.text else ()


class Memory:
    """An IngestLog whose every write is whole; `faults` are raised by the next saves."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.tally = Tally()
        self.revisions: dict[str, int] = {}
        self.saves = 0
        self.faults: list[Exception] = []
        self.before_save: Callable[[], Awaitable[None]] | None = None

    async def load_cursor(self, source_id: str) -> tuple[str | None, Tally]:
        assert source_id == "s"
        return self.cursor, self.tally

    async def known(self, keys: Sequence[str]) -> Mapping[str, int]:
        return {key: self.revisions[key] for key in keys if key in self.revisions}

    async def save(self, source_id: str, cursor: str | None, accepted: Sequence[Accepted], tally: Tally) -> None:
        assert source_id == "s"
        if self.before_save is not None:
            await self.before_save()
        if self.faults:
            raise self.faults.pop(0)
        self.saves += 1
        self.cursor = cursor if cursor is not None else self.cursor
        self.tally = tally
        for one in accepted:
            for key in filter(None, (one.key, one.author_key)):
                self.revisions[key] = max(one.revision, self.revisions.get(key, -1))


Step = Arrival | Exception | float


class Scripted:
    """A source that plays steps from its cursor on: an arrival, an error, or a pause in seconds."""

    settings_model: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(self, steps: Sequence[Step], endless: bool = False) -> None:
        self.steps = list(steps)
        self.endless = endless
        self.listened: list[str | None] = []
        self.closed = 0

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        self.listened.append(cursor)
        place = int(cursor or 0)
        try:
            while place < len(self.steps):
                step = self.steps[place]
                place += 1
                if isinstance(step, Exception):
                    self.steps[place - 1] = Arrival()
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield replace(step, cursor=str(place))
            if self.endless:
                await asyncio.sleep(600)
        finally:
            self.closed += 1


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[EmbeddedStream]:
    stream = await EmbeddedStream.open(tmp_path / "log.db")
    yield stream
    await stream.aclose()


async def records(stream: EmbeddedStream, topic: str = MENTIONS) -> list[AnyRecord]:
    tail = await stream.consumer(topic, None)
    found = [decode(one.value) for one in await tail.fetch(10_000, 0)]
    await tail.aclose()
    return found


async def mentions(stream: EmbeddedStream) -> list[tuple[str, int]]:
    return [(one.native_id, one.revision) for one in await records(stream) if isinstance(one, Mention)]


async def pulses(stream: EmbeddedStream) -> list[Pulse]:
    return [one for one in await records(stream) if isinstance(one, Pulse)]


def settings(stall_after: float = 60.0) -> SourceSettings:
    return SourceSettings(id="s", kind="test", stall_after=stall_after)


async def run(source: Scripted, stream: EmbeddedStream, log: Memory, **more: object) -> None:
    async with asyncio.timeout(20):
        await supervise(source, more.pop("settings", settings()), stream, log, match, backoff=Backoff(0.001, 0.01))  # type: ignore[arg-type]


async def run_until(source: Scripted, stream: EmbeddedStream, log: Memory, seen: Callable[[], Awaitable[bool]]) -> None:
    task = asyncio.create_task(run(source, stream, log, settings=settings(0.2)))
    try:
        async with asyncio.timeout(20):
            while not await seen():
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_matches_is_appended_with_its_queries_and_noise_is_not(stream: EmbeddedStream) -> None:
    log = Memory()
    await run(Scripted([Arrival([mention(1), mention(2, text="noise"), mention(3)])]), stream, log)
    found = [one for one in await records(stream) if isinstance(one, Mention)]
    assert [(one.native_id, one.queries) for one in found] == [("post1", ("brand",)), ("post3", ("brand",))]
    assert log.cursor == "1"
    assert log.tally == Tally(received=3, matched=2)
    assert log.revisions == {
        "test\x1fpost1": 1,
        "test\x1fpost3": 1,
        author_key("test", "author1"): 1,
        author_key("test", "author0"): 1,
    }


async def test_repeats_are_dropped_and_counted_within_a_batch_and_across(stream: EmbeddedStream) -> None:
    log = Memory()
    again = [Arrival([mention(1), mention(1)]), Arrival([mention(1, 2), mention(1, 1)])]
    await run(Scripted(again), stream, log)
    await run(Scripted([*again, *again]), stream, log)
    assert await mentions(stream) == [("post1", 1), ("post1", 2)]
    assert log.tally.duplicated == 6
    assert log.tally.received == 8


async def test_edits_and_deletes_of_known_posts_pass_and_of_unknown_ones_do_not(stream: EmbeddedStream) -> None:
    log = Memory()
    delete = Action.DELETE
    steps = [
        Arrival([mention(1), mention(2, text="noise")]),
        Arrival([mention(1, 2, "edited"), mention(2, 2, "still noise"), mention(9, 2, action=delete)]),
        Arrival([mention(1, 3, action=delete), mention(2, 3, action=delete)]),
        Arrival([mention(1, 1), mention(9, 1)]),
        Arrival([gone_author(1), gone_author(7)]),
    ]
    await run(Scripted(steps), stream, log)
    assert await mentions(stream) == [("post1", 1), ("post1", 2), ("post1", 3), ("author1", 9)]
    edited = [one for one in await records(stream) if isinstance(one, Mention) and one.revision == 2]
    assert edited[0].queries == ()


@pytest.mark.parametrize("after", range(7))
async def test_a_cut_after_any_arrival_loses_nothing_and_repeats_nothing(stream: EmbeddedStream, after: int) -> None:
    log = Memory()
    steps: list[Step] = [Arrival([mention(2 * number), mention(2 * number + 1)]) for number in range(6)]
    steps.insert(after, SourceUnreachable("cut"))
    source = Scripted(steps)
    await run(source, stream, log)
    assert await mentions(stream) == [(f"post{number}", 1) for number in range(12)]
    assert source.closed == len(source.listened) == 2
    assert log.tally.duplicated == 0


@pytest.mark.parametrize("kill_at", range(6))
async def test_a_kill_between_append_and_save_repeats_but_loses_nothing(stream: EmbeddedStream, kill_at: int) -> None:
    log = Memory()

    async def kill() -> None:
        if log.saves == kill_at:
            log.before_save = None
            raise asyncio.CancelledError

    log.before_save = kill
    steps: list[Step] = []
    for number in range(6):
        steps += [Arrival([mention(number)]), 0.06]
    with suppress(asyncio.CancelledError):
        await run(Scripted(steps), stream, log)
    await run(Scripted(steps), stream, log)
    found = await mentions(stream)
    assert sorted(set(found)) == [(f"post{number}", 1) for number in range(6)]
    assert max(Counter(found).values()) <= 2, "one batch is repeated, however many came together"


async def test_the_cursor_is_saved_only_after_the_append_and_then_the_caller_is_told(stream: EmbeddedStream) -> None:
    log = Memory()
    told: list[tuple[int, str | None]] = []
    in_log: list[int] = []

    async def look() -> None:
        in_log.append(len(await mentions(stream)))

    log.before_save = look
    await run(Scripted([Arrival([mention(1)], settled=lambda: told.append((log.saves, log.cursor)))]), stream, log)
    assert in_log[0] == 1
    assert told == [(1, "1")]


async def test_a_log_or_database_that_is_away_is_waited_for_with_the_same_batch(
    stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Memory()
    log.faults = [OSError("reset"), TimeoutError()]
    away = [StreamError("no broker"), StreamError("no broker")]
    real = stream.append

    async def append(topic: str, items: Sequence[Item]) -> None:
        if away:
            raise away.pop()
        await real(topic, items)

    monkeypatch.setattr(stream, "append", append)
    await run(Scripted([Arrival([mention(1)]), Arrival([mention(2)])]), stream, log)
    assert await mentions(stream) == [("post1", 1), ("post2", 1)]
    assert log.cursor == "2"


async def test_damage_of_our_own_state_is_raised(stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append(topic: str, items: Sequence[Item]) -> None:
        raise StreamCorrupted(f"{topic} {len(items)}")

    monkeypatch.setattr(stream, "append", append)
    log = Memory()
    with pytest.raises(StreamCorrupted):
        await run(Scripted([Arrival([mention(1)])]), stream, log)
    assert log.cursor is None


async def test_dead_letters_go_to_dead_and_count(stream: EmbeddedStream) -> None:
    log = Memory()
    before = metrics.DEAD.labels("s")._value.get()
    bad = letter("bad json", b"{", source_id="s", at=NOW, origin="line 1")
    unholdable = mention(3).model_copy(update={"url": "\ud800", "text": "acme"})
    await run(Scripted([Arrival([mention(1), unholdable, mention(2)], [bad])]), stream, log)
    dead = [one for one in await records(stream, DEAD) if isinstance(one, DeadLetter)]
    assert [one.origin for one in dead] == ["line 1", "post3"]
    assert await mentions(stream) == [("post1", 1), ("post2", 1)]
    assert log.tally.dead == 2
    assert metrics.DEAD.labels("s")._value.get() - before == 2


@pytest.mark.parametrize("bad", ["\0", "\ud800", "\x1f"])
async def test_what_no_database_can_hold_is_a_dead_letter_whoever_brings_it(stream: EmbeddedStream, bad: str) -> None:
    log = Memory()
    known = log.known

    async def refuse(keys: Sequence[str]) -> Mapping[str, int]:
        assert not any("\0" in key or key.count("\x1f") > 1 + ("author\x1f" in key) for key in keys)
        for key in keys:
            key.encode()
        return await known(keys)

    log.known = refuse  # type: ignore[method-assign]
    one = mention(1)
    strange = [
        one.model_copy(update={"native_id": f"a{bad}b"}),
        one.model_copy(update={"native_id": "x", "author": Author.model_construct(id=f"a{bad}b")}),
    ]
    if bad != "\x1f":
        strange += [one.model_copy(update={"native_id": name, name: f"a{bad}b"}) for name in ("place", "thread_id")]
    letters = [letter("r", b"", source_id="s", at=NOW).model_copy(update={"origin": f"a{bad}", "payload": bad})]
    await run(Scripted([Arrival([*strange, mention(2)], letters)]), stream, log)
    assert await mentions(stream) == [("post2", 1)]
    assert len(await records(stream, DEAD)) == len(strange) + 1
    assert log.tally.dead == len(strange) + 1


async def test_what_came_in_place_of_a_feed_is_kept_and_is_no_sign_of_life(stream: EmbeddedStream) -> None:
    log = Memory()
    page = letter("no feed", b"<html>", source_id="s", at=NOW)
    await run(Scripted([SourceUnreachable("no feed", dead=[page]), 0.05]), stream, log)
    assert await records(stream, DEAD) == [page]
    assert (log.tally.received, log.tally.dead) == (1, 1)
    said = await pulses(stream)
    assert (said[0].status, said[0].detail) == (SourceStatus.UNREACHABLE, "no feed")
    assert SourceStatus.LIVE not in {one.status for one in said[:-1]}


async def test_a_plug_in_that_fails_is_unreachable_and_tried_again(stream: EmbeddedStream) -> None:
    log = Memory()
    source = Scripted([Arrival([mention(1)]), ZeroDivisionError("a bug"), Arrival([mention(2)], gap="a hole")])
    await run(source, stream, log)
    assert await mentions(stream) == [("post1", 1), ("post2", 1)]
    said = await pulses(stream)
    assert any(one.status is SourceStatus.UNREACHABLE and "a bug" in one.detail for one in said)
    assert log.tally.gaps == 1
    assert log.tally.reconnects == 1


class BadAtEnding(Scripted):
    """Its first listening ends by a cancellation of its own, or fails when it is closed; its second is good."""

    def __init__(self, fault: str) -> None:
        super().__init__([Arrival([mention(1)])])
        self.fault = fault

    async def aclose(self) -> None:
        if len(self.listened) == 1 and self.fault == "closing":
            raise ZeroDivisionError("a bug at the end")

    def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        self.arrivals = super().listen(cursor)
        return self

    def __aiter__(self) -> AsyncIterator[Arrival]:
        return self

    async def __anext__(self) -> Arrival:
        try:
            return await anext(self.arrivals)
        except StopAsyncIteration:
            if len(self.listened) == 1 and self.fault == "cancelled":
                inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                inner.cancel()
                await inner
            raise


@pytest.mark.parametrize(("fault", "word"), [("cancelled", "CancelledError"), ("closing", "a bug at the end")])
async def test_a_plug_in_that_ends_by_its_own_cancellation_or_fails_in_closing_is_tried_again(
    stream: EmbeddedStream, fault: str, word: str
) -> None:
    """Nobody was told of such an end: the source was waited for, for ever."""
    source = BadAtEnding(fault)
    await run(source, stream, Memory())
    assert len(source.listened) == 2
    assert any(one.status is SourceStatus.UNREACHABLE and word in one.detail for one in await pulses(stream))


async def test_a_stop_is_not_held_up_by_a_plug_in_that_fails_in_closing(stream: EmbeddedStream) -> None:
    class Stubborn(Scripted):
        async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
            try:
                while True:
                    yield Arrival(cursor=cursor)
                    await asyncio.sleep(0)
            finally:
                raise ZeroDivisionError("a bug at the end")

    async def begun() -> bool:
        return bool(await pulses(stream))

    await run_until(Stubborn([]), stream, Memory(), begun)


async def test_the_end_of_a_file_is_the_last_pulse(stream: EmbeddedStream) -> None:
    event = NOW - timedelta(days=3)
    await run(Scripted([Arrival([mention(1)], at=event)]), stream, Memory())
    last = (await pulses(stream))[-1]
    assert (last.status, last.at, last.tally.matched) == (SourceStatus.FINISHED, event, 1)
    assert (await records(stream))[-1] == last


async def test_a_silent_source_still_gives_a_pulse_then_is_stalled(stream: EmbeddedStream) -> None:
    source = Scripted([Arrival([mention(1)])], endless=True)

    async def stalled() -> bool:
        return any(one.status is SourceStatus.STALLED for one in await pulses(stream))

    await run_until(source, stream, Memory(), stalled)
    last = (await pulses(stream))[-1]
    assert "no sign of life" in last.detail
    assert last.tally.matched == 1


async def test_a_refused_source_says_so_and_is_not_hammered(stream: EmbeddedStream) -> None:
    source = Scripted([SourceRefused("410 gone")], endless=True)

    async def twice() -> bool:
        return sum(one.status is SourceStatus.UNREACHABLE for one in await pulses(stream)) >= 2

    await run_until(source, stream, Memory(), twice)
    assert len(source.listened) == 1
    assert "410 gone" in (await pulses(stream))[-1].detail


async def test_a_source_refused_once_is_soon_tried_again_and_then_ever_more_rarely(
    stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A captive portal or one 403 of a load balancer must not silence a source for an hour."""
    delays: list[float] = []

    async def rest(_: object, delay: float) -> None:
        delays.append(delay)

    monkeypatch.setattr(supervise_module._Run, "_rest", rest)
    refusals = [SourceRefused("403")] * 9
    good = Arrival(mentions=[mention(1)], cursor="10")
    await run(Scripted([*refusals, good, *refusals[:2]]), stream, Memory())
    assert delays == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 30, 60]


@pytest.mark.parametrize("lasting", [False, True])
async def test_an_upstream_that_kicks_us_is_called_ever_more_rarely_though_it_brings_something(
    stream: EmbeddedStream, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    """It was called five times a second, for ever: each time it sent a post or two before it closed."""
    delays: list[float] = []

    async def rest(_: object, delay: float) -> None:
        delays.append(delay)

    class Most(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    monkeypatch.setattr(supervise_module._Run, "_rest", rest)
    monkeypatch.setattr(supervise_module, "_FRUITFUL", 0.02 if lasting else 5.0)
    kicks: list[Step] = [
        step for number in range(4) for step in (Arrival([mention(number)]), 0.05, SourceUnreachable("too slow"))
    ]
    async with asyncio.timeout(20):
        await supervise(Scripted(kicks), settings(), stream, Memory(), match, backoff=Backoff(0.25, 1.0, Most()))
    assert delays == ([0.25] * 4 if lasting else [0.25, 0.5, 1.0, 1.0])


async def test_a_lone_arrival_does_not_wait_for_company(stream: EmbeddedStream) -> None:
    log = Memory()
    loop = asyncio.get_running_loop()
    told: list[float] = []
    source = Scripted([0.2, Arrival([mention(1)], settled=lambda: told.append(loop.time()))], endless=True)

    async def settled() -> bool:
        return bool(told)

    await run_until(source, stream, log, settled)
    assert await mentions(stream) == [("post1", 1)]


async def test_the_same_file_twice_and_a_copy_of_it_give_nothing_new(stream: EmbeddedStream, tmp_path: Path) -> None:
    log = Memory()
    rows = [{"id": f"p{number}", "text": "acme", "date": "2026-11-20"} for number in range(450)]
    for name in ("a.jsonl", "a.jsonl", "copy.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        log.cursor = None if name == "copy.jsonl" else log.cursor
        chosen = FileSettings(id="s", kind="file", path=tmp_path / name)
        async with asyncio.timeout(20):
            await supervise(FileSource(chosen), chosen, stream, log, match)
    assert await mentions(stream) == [(f"p{number}", 0) for number in range(450)]
    assert (log.tally.matched, log.tally.duplicated) == (450, 450)


async def test_a_busy_stream_shares_appends(stream: EmbeddedStream) -> None:
    log = Memory()
    await run(Scripted([Arrival([mention(number)]) for number in range(1200)]), stream, log)
    assert len(await mentions(stream)) == 1200
    assert log.saves < 30


@pytest.mark.parametrize("first", [mention(1, 5, action=Action.DELETE), gone_author(1, 5)])
async def test_a_pushed_deletion_of_what_is_not_known_holds_over_a_restart(
    stream: EmbeddedStream, first: Mention
) -> None:
    """Invariant 8: it was answered, so it comes no second time, and was only in memory."""
    log = Memory()
    pushed = Arrival([first, first], settled=lambda: None)
    await run(Scripted([pushed]), stream, log)
    await run(Scripted([Arrival([first]), pushed]), stream, log)
    assert await mentions(stream) == [(first.native_id, 5)]
    await run(Scripted([*[Arrival()] * 2, Arrival([mention(1, 4)], settled=lambda: None)]), stream, log)
    # An author's posts enter, and the tombstone in the log is over them.
    assert ("post1", 4) not in await mentions(stream) or first.action is Action.DELETE_AUTHOR


def test_a_deletion_that_came_first_keeps_its_post_out() -> None:
    chooser = Chooser(match)
    assert chooser.choose([mention(1, 5, action=Action.DELETE)], {}, NOW).items == []
    assert chooser.choose([mention(1, 4)], {}, NOW).items == []
    assert len(chooser.choose([mention(1, 6)], {}, NOW).items) == 1


def test_an_author_withdrawn_before_the_first_post_was_known_stays_out() -> None:
    """Its posts come in any order: a create that was replayed after the withdrawal entered, and was readable."""
    chooser = Chooser(match)
    assert chooser.choose([gone_author(1, 5)], {}, NOW).items == []
    assert chooser.choose([mention(1, 5), mention(4, 4)], {}, NOW).items == []
    assert len(chooser.choose([mention(1, 6), mention(2, 4)], {}, NOW).items) == 2


def test_event_time_never_runs_ahead_of_what_a_source_may_still_deliver() -> None:
    late = NOW + timedelta(hours=1)
    standing = Standing(settings(), "test", 0.0)
    assert standing.pulse(NOW).at < NOW - timedelta(days=365)
    standing.arrived([Arrival(at=NOW - timedelta(hours=2))], NOW, 1.0)
    assert standing.pulse(late).at == NOW - timedelta(hours=2)
    standing.arrived([Arrival()], NOW, 2.0)
    assert standing.pulse(late).at == late
    standing.failed("away")
    assert standing.pulse(late + timedelta(hours=9)).at == late
    standing.arrived([Arrival(at=NOW)], late, 3.0)
    assert standing.pulse(late).at == late
    assert standing.pulse(late).status is SourceStatus.LIVE
    assert not standing.silent(63.0)
    assert standing.silent(63.1)
    assert standing.pulse(late).status is SourceStatus.STALLED


async def test_a_withdrawn_author_is_no_post_of_the_same_id(stream: EmbeddedStream) -> None:
    """The ids of a forum's users and of its posts are both numbers: post 42 was dropped as a repeat of author 42."""
    log = Memory()
    one = mention(1)
    posted = one.model_copy(update={"native_id": "42", "author": Author(id="7")})
    steps = [
        Arrival([one.model_copy(update={"author": Author(id="42")})]),
        Arrival([gone_author(1).model_copy(update={"native_id": "42"})] * 2),
        Arrival([posted]),
    ]
    await run(Scripted(steps), stream, log)
    assert await mentions(stream) == [("post1", 1), ("42", 9), ("42", 1)]
    assert log.tally.duplicated == 1


@pytest.mark.parametrize("known", [5, 2**62])
def test_a_deletion_without_a_revision_holds_against_what_is_known(known: int) -> None:
    gone = mention(1, 3, action=Action.DELETE)
    author = gone_author(1, 3)
    revisions = {gone.key: known, author_key("test", "author1"): known}
    assert Chooser(match).choose([gone], revisions, NOW).duplicated == 1
    chosen = Chooser(match).choose([gone, author], revisions, NOW, unversioned={gone, author})
    lifted = [decode(item.value) for item in chosen.items]
    assert [one.revision for one in lifted if isinstance(one, Mention)] == [known + 1, known + 1]
    assert [one.revision for one in chosen.accepted] == [known + 1, known + 1]


def test_a_deletion_with_the_revision_of_the_post_in_the_same_batch_comes_after_it() -> None:
    posted, gone = mention(1, 7), mention(1, 3, action=Action.DELETE)
    chosen = Chooser(match).choose([posted, gone, mention(1, 8)], {}, NOW, unversioned={gone})
    assert [one.revision for one in chosen.accepted] == [7, 8]
    assert chosen.duplicated == 1


async def test_a_source_that_takes_a_while_to_connect_does_not_blind_the_rules(stream: EmbeddedStream) -> None:
    """A pulse that says stalled turns firing alerts to no-data: a restart must not send one."""
    began = time.process_time()
    await run(Scripted([1.5, Arrival(mentions=[mention(1)])]), stream, Memory())
    assert time.process_time() - began < 1.0  # waiting, not spinning
    assert {one.status for one in await pulses(stream)} <= {SourceStatus.LIVE, SourceStatus.FINISHED}


def test_a_source_that_never_connects_is_called_stalled_all_the_same() -> None:
    standing = Standing(settings(), "test", 100.0)
    assert [standing.connecting(100.0 + after) for after in (0, CONNECTING - 0.1, CONNECTING)] == [True, True, False]
    assert standing.pulse(NOW).status is SourceStatus.STALLED
    failed = Standing(settings(), "test", 100.0)
    failed.failed("refused")
    assert not failed.connecting(100.0)


@pytest.mark.parametrize("reason", ["can't read \udcff.jsonl", "no\x00thing", "\U0001f4a5" * 600])
def test_any_reason_of_a_failure_fits_into_a_pulse(reason: str) -> None:
    standing = Standing(settings(), "test", 0.0)
    standing.failed(reason)
    said = standing.pulse(NOW)
    assert decode(encode(said)) == said
    assert len(said.detail) == min(len(reason), 500)
    assert said.detail[:8] == reason[:8].replace("\x00", "\ufffd")
