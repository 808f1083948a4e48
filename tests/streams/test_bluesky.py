"""Bluesky: the recorded fixture, a local server that speaks Jetstream v1, and frames that nobody should send."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from streams.records import Action
from streams.source import Arrival, SourceRefused, SourceUnreachable
from streams.sources.bluesky import BlueskySettings, BlueskySource, _refusal
from streams.sources.bluesky_events import POSTS, Parsed, parse, tid_microseconds

NOW = datetime(2026, 5, 25, 14, 30, tzinfo=UTC)
T0 = 1_779_719_009_000_000


def event(index: int, operation: str = "create", **changes: Any) -> dict[str, Any]:
    commit: dict[str, Any] = {"rev": "", "operation": operation, "collection": POSTS, "rkey": f"post{index}"}
    if operation != "delete":
        commit["record"] = {"text": f"text {index}", "langs": ["he"], "createdAt": "2026-05-25T14:23:28.757Z"}
    return {"did": "did:plc:a", "time_us": T0 + index * 1000, "kind": "commit", "commit": commit} | changes


def read(frame: Any) -> Parsed:
    return parse(frame if isinstance(frame, bytes | str) else json.dumps(frame), "bs", NOW)


def recorded() -> list[bytes]:
    folder = os.environ.get("WARROOM_TEST_FIXTURES")
    if not folder:
        pytest.skip("misses the recorded Jetstream events: set WARROOM_TEST_FIXTURES to their folder")
    return (Path(folder) / "jetstream_v1_golden.jsonl").read_bytes().splitlines()


def test_recorded_events_give_the_golden_list() -> None:
    found = [read(line) for line in recorded()]
    assert [one.dead for one in found if one.dead] == []
    assert all(one.time_us for one in found)
    (mention,) = [one.mention for one in found if one.mention]
    root = "at://did:plc:j76trmiofvaxxpvx2vnb2vwf/app.bsky.feed.post/3mmojbrjwbs26"
    assert mention.model_dump(exclude_defaults=True, mode="json") == {
        "source_kind": "bluesky",
        "native_id": "at://did:plc:q235v55g5unth4zjjdpacfdr/app.bsky.feed.post/3mmoojp4cd223",
        "source_id": "bs",
        "revision": tid_microseconds("3mmoojpaqkn2z"),
        "received_at": "2026-05-25T14:30:00Z",
        "published_at": "2026-05-25T14:23:28.757000Z",
        "author": {"id": "did:plc:q235v55g5unth4zjjdpacfdr"},
        "text": "Try RSV for a good time !!",
        "lang": "en",
        "url": "https://bsky.app/profile/did:plc:q235v55g5unth4zjjdpacfdr/post/3mmoojp4cd223",
        "thread_id": root,
        "reply_to": root,
    }
    assert [read(line) for line in recorded()] == found


def test_a_tid_is_the_time_at_which_it_was_made() -> None:
    made = tid_microseconds("3mmoojpaqkn2z")
    assert made is not None
    assert datetime.fromtimestamp(made / 1e6, UTC).isoformat()[:19] == "2026-05-25T14:23:28"
    for wrong in ("", "3mmoojpaqkn2", "3mmoojpaqkn2!", "zzzzzzzzzzzzz", None, 3):
        assert tid_microseconds(wrong) is None


def test_edits_and_deletes_keep_the_identity_and_raise_the_revision() -> None:
    found = [read(event(1)), read(event(1, "update", time_us=T0 + 5000)), read(event(1, "delete", time_us=T0 + 9000))]
    mentions = [one.mention for one in found if one.mention]
    assert len({mention.key for mention in mentions}) == 1
    assert [mention.action for mention in mentions] == [Action.PUBLISH, Action.PUBLISH, Action.DELETE]
    assert sorted({mention.revision for mention in mentions}) == [mention.revision for mention in mentions]


def tid(microseconds: int) -> str:
    places = range(12, -1, -1)
    return "".join("234567abcdefghijklmnopqrstuvwxyz"[microseconds << 10 >> 5 * place & 31] for place in places)


def revised(index: int, ahead: float, operation: str = "create") -> int:
    """Return the revision of an event of the second `index` whose `rev` is `ahead` seconds ahead."""
    frame = event(1, operation, time_us=T0 + index * 1_000_000)
    frame["commit"]["rev"] = tid(frame["time_us"] + int(ahead * 1_000_000))
    found = read(frame).mention
    assert found is not None
    return found.revision


def test_a_revision_from_the_future_is_believed_for_seconds() -> None:
    assert tid_microseconds(tid(T0)) == T0
    assert revised(0, -3600) == T0 - 3_600_000_000
    assert revised(0, 2) == T0 + 2_000_000
    far = [revised(0, ahead) for ahead in (5, 600, 3000, 1e9)]
    assert far == [T0 + 5_000_000] * 4


@pytest.mark.parametrize(("ahead", "later"), [(4.9, 5.1), (600, 600), (3000, 4200), (3000, 1)])
def test_what_a_clock_ahead_wrote_can_be_edited_deleted_and_withdrawn(ahead: float, later: float) -> None:
    """A repository writes its own `rev`: one ten minutes ahead outlived the end of its account."""
    posted = revised(0, ahead)
    assert posted < revised(5, later, "update")
    assert posted < revised(5, later, "delete")
    gone = {"did": "did:plc:a", "time_us": T0 + 1000, "kind": "account", "account": {"active": False}}
    withdrawn = read(gone).mention
    assert withdrawn is not None
    assert posted <= withdrawn.revision


@pytest.mark.parametrize(
    ("account", "withdrawn"),
    [
        ({"active": False, "status": "deleted"}, True),
        ({"active": False, "status": "takendown"}, True),
        ({"active": False, "status": "suspended"}, True),
        ({"active": False, "status": "deactivated"}, True),
        ({"active": False, "status": "throttled"}, False),
        ({"active": True}, False),
    ],
)
def test_an_account_that_goes_withdraws_all_it_wrote(account: dict[str, Any], withdrawn: bool) -> None:
    found = read({"did": "did:plc:a", "time_us": T0, "kind": "account", "account": account})
    assert found.dead is None
    assert (found.mention is not None) is withdrawn
    if found.mention:
        assert (found.mention.action, found.mention.native_id) == (Action.DELETE_AUTHOR, "did:plc:a")


def broken() -> dict[str, Any]:
    def record(**changes: Any) -> dict[str, Any]:
        frame = event(1)
        frame["commit"]["record"] |= changes
        return frame

    return {
        "half a line": '{"did":"did:plc:a","time_',
        "not UTF-8": b'{"did":"\xff\xfe"}',
        "an HTML page": "<!doctype html><h1>502</h1>",
        "a list": "[]",
        "deep": "[" * 100_000,
        "digits": '{"time_us": ' + "9" * 5000 + "}",
        "16 MiB": '{"x": "' + "a" * (16 << 20),
        "no time": event(1, time_us=None),
        "text of no kind": record(text=None),
        "too much text": record(text="x" * 100_001),
        "no date": record(createdAt=None),
        "a date without a zone": record(createdAt="2026-05-25T14:23:28"),
        "year 1": record(createdAt="0001-01-01T00:00:00+10:00"),
        "year 9999": record(createdAt="9999-12-31T23:59:59-10:00"),
        "tomorrow": record(createdAt="2026-05-26T14:23:28Z"),
        "no did": event(1, did="x"),
        "no kind": event(1, kind=None),
        "no commit": event(1, commit=None),
        "another operation": event(1, "merge"),
    }


@pytest.mark.parametrize("name", broken())
def test_a_malformed_event_is_a_dead_letter(name: str) -> None:
    found = read(broken()[name])
    assert found.mention is None
    assert found.dead is not None
    assert found.dead.reason
    assert len(found.dead.payload) <= 4096


def test_other_collections_kinds_and_fields_are_nothing() -> None:
    other = event(1)
    other["commit"]["collection"] = "app.bsky.feed.like"
    for frame in (other, event(1, kind="identity"), event(1, kind="something new")):
        assert read(frame) == Parsed(time_us=frame["time_us"])
    assert read(event(1, extra=1)).mention == read(event(1)).mention


def test_nul_and_lone_surrogates_are_cleaned() -> None:
    frame = event(1)
    frame["commit"]["record"]["text"] = "a\x00b\ud83d"
    assert read(frame).mention.text == "ab�"  # type: ignore[union-attr]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_parse_never_raises_for_any_bytes(payload: bytes | str) -> None:
    assert read(payload).mention is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["did", "time_us", "kind", "commit"]), _JSON), max_size=2), _JSON, _JSON)
def test_parse_never_raises_for_any_change(changes: list[tuple[str, Any]], text: Any, date: Any) -> None:
    frame = event(1)
    frame["commit"]["record"] |= {"text": text, "createdAt": date, "langs": text, "reply": date}
    found = read(frame | dict(changes))
    assert found.mention is None or found.dead is None


Speak = Callable[[ServerConnection, int], Awaitable[None]]


@asynccontextmanager
async def jetstream(speak: Speak, refuse: HTTPStatus | None = None) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A local Jetstream; `speak(connection, cursor)` says what it sends. Yields the endpoint and the asked queries."""
    asked: list[dict[str, Any]] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        asked.append(query)
        await speak(connection, int(query.get("cursor", ["0"])[0]))

    def refusal(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(refuse, "no\n") if refuse else None

    async with serve(handle, "127.0.0.1", 0, process_request=refusal, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/subscribe", asked


def source(endpoint: str, **changes: Any) -> BlueskySource:
    return BlueskySource(BlueskySettings(id="bs", endpoint=endpoint, **changes), clock=lambda: NOW)


async def until_it_breaks(listening: AsyncIterator[Arrival]) -> tuple[list[Arrival], Exception]:
    got: list[Arrival] = []
    try:
        async for arrival in listening:
            got.append(arrival)  # noqa: PERF401  what came before the error is the point
    except (SourceUnreachable, SourceRefused) as error:
        return got, error
    raise AssertionError("a live source never ends")


async def test_cutting_after_every_event_loses_none() -> None:
    events = [event(index) for index in range(12)]
    events[3]["time_us"], events[4]["time_us"] = events[4]["time_us"], events[3]["time_us"]
    allowed = 1

    async def speak(connection: ServerConnection, cursor: int) -> None:
        for frame in [frame for frame in events if frame["time_us"] >= cursor][:allowed]:
            await connection.send(json.dumps(frame))

    async with jetstream(speak) as (endpoint, asked):
        for cut in range(1, 13):
            allowed, cursor, seen = cut, None, set[str]()
            listener = source(endpoint)
            for _ in range(3):
                got, error = await until_it_breaks(listener.listen(cursor))
                assert isinstance(error, SourceUnreachable)
                seen |= {mention.native_id for arrival in got for mention in arrival.mentions}
                cursor = got[-1].cursor
                assert [arrival.reconnected for arrival in got[:1]] == [len(asked) % 3 != 1]
                allowed = 12
            assert len(seen) == 12
            assert cursor == str(T0 + 11_000)
    assert asked[0]["wantedCollections"] == [POSTS]
    assert "cursor" not in asked[0]
    assert int(asked[2]["cursor"][0]) == T0 + 11_000 - 5_000_000


async def test_the_cursor_never_goes_back_nor_into_the_future() -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        for time_us in (T0, T0 - 4_000_000, 9 * 10**15):
            await connection.send(json.dumps(event(1, kind="identity", time_us=time_us)))
            await asyncio.sleep(0.12)

    async with jetstream(speak) as (endpoint, _):
        got, _ = await until_it_breaks(source(endpoint).listen(str(T0 + 1)))
    assert [arrival.cursor for arrival in got] == [str(T0 + 1)] * 3


async def test_a_clamped_cursor_and_a_future_cursor_are_gaps() -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        await connection.send(json.dumps(event(1)))

    async with jetstream(speak) as (endpoint, asked):
        listener = source(endpoint)
        old, _ = await until_it_breaks(listener.listen(str(T0 - 48 * 3_600_000_000)))
        fresh, _ = await until_it_breaks(listener.listen(str(T0)))
        future, _ = await until_it_breaks(listener.listen(str(T0 + 10**15)))
    assert "172800 s after the cursor" in old[0].gap
    assert fresh[0].gap == ""
    assert "future" in future[0].gap
    assert "cursor" not in asked[2]


async def test_one_strange_time_among_the_first_hides_no_gap() -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        for time_us in (5, T0, T0 + 1):
            await connection.send(json.dumps(event(1, time_us=time_us)))

    async with jetstream(speak) as (endpoint, _):
        got, _ = await until_it_breaks(source(endpoint).listen(str(T0 - 48 * 3_600_000_000)))
    assert "172800 s after the cursor" in got[0].gap


async def test_a_quiet_stream_that_is_replayed_whole_has_no_gap() -> None:
    """Hours of it come at once: half of them lie long after the cursor."""
    cursor = T0 - 7_200_000_000

    async def speak(connection: ServerConnection, asked: int) -> None:
        for time_us in range(asked, T0, 60_000_000):
            await connection.send(json.dumps(event(1, time_us=time_us)))

    async with jetstream(speak) as (endpoint, _):
        got, _ = await until_it_breaks(source(endpoint).listen(str(cursor)))
    assert {one.gap for one in got} == {""}


@pytest.mark.parametrize("ahead", [6, 290, 7200])
async def test_a_cursor_ahead_of_a_time_that_went_back_is_a_gap_and_asked_for_again(ahead: int) -> None:
    """Jetstream answers it with what comes from now on: the posts of the pause were lost without a word."""
    events = [event(1), event(2)]
    now = T0 + 3_000

    async def speak(connection: ServerConnection, cursor: int) -> None:
        for frame in [frame for frame in events if frame["time_us"] >= cursor] if cursor <= now else [event(3)]:
            await connection.send(json.dumps(frame))

    cursor, gaps, seen = str(now + ahead * 1_000_000), list[str](), set[str]()
    async with jetstream(speak) as (endpoint, _):
        listener = BlueskySource(
            BlueskySettings(id="bs", endpoint=endpoint, gap_after=9e9), clock=lambda: NOW + timedelta(seconds=ahead)
        )
        for _ in range(4):
            got, _ = await until_it_breaks(listener.listen(cursor))
            cursor = got[-1].cursor or cursor
            gaps += [one.gap for one in got if one.gap]
            seen |= {mention.native_id[-1] for arrival in got for mention in arrival.mentions}
    assert seen == {"1", "2", "3"}
    assert 0 < len(gaps) < 4
    assert all("went back" in gap for gap in gaps)


async def test_garbage_among_events_stops_nothing() -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        for frame in ("{", b"\xff", "x" * (16 << 20), json.dumps(event(1))):
            await connection.send(frame)

    async with jetstream(speak) as (endpoint, _):
        got, _ = await until_it_breaks(source(endpoint).listen(None))
    assert sum(len(arrival.dead) for arrival in got) == 3
    assert sum(len(arrival.mentions) for arrival in got) == 1


async def test_silence_makes_it_connect_again() -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        await connection.wait_closed()

    async with jetstream(speak) as (endpoint, _):
        got, error = await until_it_breaks(source(endpoint, keep_alive=0.1).listen(None))
    assert got == []
    assert "no event" in str(error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (HTTPStatus.TOO_MANY_REQUESTS, SourceUnreachable),
        (HTTPStatus.SERVICE_UNAVAILABLE, SourceUnreachable),
        (HTTPStatus.NOT_FOUND, SourceRefused),
    ],
)
async def test_an_http_answer_is_told_apart(status: HTTPStatus, expected: type[Exception]) -> None:
    async def speak(connection: ServerConnection, cursor: int) -> None:
        raise AssertionError("refused connections never speak")

    async with jetstream(speak, refuse=status) as (endpoint, _):
        _, error = await until_it_breaks(source(endpoint).listen(None))
    assert isinstance(error, expected)
    assert str(status.value) in str(error)


@pytest.mark.parametrize(("asked", "seconds"), [("7", 7), ("9" * 400, 86_400), ("100000", 86_400), ("inf", 0), ("", 0)])
def test_an_upstream_that_asks_for_years_is_asked_again_in_a_day(asked: str, seconds: float) -> None:
    error = _refusal(InvalidStatus(Response(503, "busy", Headers({"Retry-After": asked}))))
    assert isinstance(error, SourceUnreachable)
    assert error.retry_after == seconds


async def test_nobody_there_is_unreachable_and_metadata_is_refused() -> None:
    _, error = await until_it_breaks(source("ws://127.0.0.1:1/subscribe").listen(None))
    assert isinstance(error, SourceUnreachable)
    _, error = await until_it_breaks(source("ws://169.254.169.254/subscribe").listen(None))
    assert isinstance(error, SourceRefused)


async def test_a_damaged_cursor_of_our_own_stops() -> None:
    with pytest.raises(ValueError, match="damaged"):
        await anext(source("ws://127.0.0.1:1").listen("12a"))


def test_settings_refuse_another_scheme() -> None:
    with pytest.raises(ValidationError, match="scheme"):
        BlueskySettings(id="bs", endpoint="https://example.org")


@pytest.mark.parametrize("absurd", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"])
def test_a_date_beyond_the_calendar_is_a_dead_letter(absurd: str) -> None:
    frame = event(1)
    frame["commit"]["record"]["createdAt"] = absurd
    found = read(frame)
    assert found.mention is None
    assert found.dead is not None
