import gzip
import json
import resource
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streams.records import (
    Action,
    Author,
    DeadLetter,
    Mention,
    Opinion,
    Pulse,
    Score,
    ScoredMention,
    SourceStatus,
    encode,
)
from streams.source import Arrival, SourceRefused, SourceUnreachable
from streams.sources import load_source
from streams.sources.file import FileSettings, FileSource
from streams.sources.file_rows import BadRow, instant

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
START = datetime(2026, 11, 20, 8, tzinfo=UTC)


def row(number: int, **more: Any) -> dict[str, Any]:
    published = (START + timedelta(seconds=number)).isoformat()
    return {"id": f"p{number}", "text": f"post {number} שלום", "created_at": published, "author": "Dana", **more}


def write(path: Path, *lines: bytes | dict[str, Any]) -> Path:
    whole = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(whole) if path.suffix.lower() == ".gz" else whole)
    return path


def source(path: Path, **more: Any) -> FileSource:
    return FileSource(FileSettings(id="f", kind="file", path=path, **more), clock=lambda: NOW)


async def listen(path: Path, cursor: str | None = None, **more: Any) -> list[Arrival]:
    return [arrival async for arrival in source(path, **more).listen(cursor)]


def posts(arrivals: list[Arrival]) -> list[Mention]:
    return [mention for arrival in arrivals for mention in arrival.mentions]


def letters(arrivals: list[Arrival]) -> list[DeadLetter]:
    return [letter for arrival in arrivals for letter in arrival.dead]


def test_it_is_found_by_its_kind() -> None:
    assert load_source("file") is FileSource
    assert FileSource.settings_model is FileSettings


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "A.JSONL.GZ"])
async def test_json_lines_become_mentions(tmp_path: Path, name: str) -> None:
    more = {"author": {"id": "u1", "name": "Dana", "handle": "@d"}, "likes": 3, "lang": "he", "url": "https://x/1"}
    found = await listen(write(tmp_path / name, row(0, **more), b"", row(1)))
    first, second = posts(found)
    assert first == Mention(
        source_kind="file",
        native_id="p0",
        source_id="f",
        revision=0,
        realm="live",
        received_at=NOW,
        published_at=START,
        author=Author(id="u1", name="Dana", handle="@d"),
        text="post 0 שלום",
        lang="he",
        url="https://x/1",
        reach=first.reach,
    )
    assert first.reach.likes == 3
    assert second.author == Author(id="Dana", name="Dana")
    assert found[-1].at == START + timedelta(seconds=1)
    assert letters(found) == []


async def test_csv_becomes_mentions_with_quotes_lines_and_own_column_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["when;what;who", "20/11 ;x;y", '2026-11-20 10:00;"two ""lines""', 'and; more";דנה', "1763625600;plain;", ""]
    path.write_bytes(("\ufeff" + "\r\n".join(rows)).encode())
    fields = {"published_at": "when", "text": "what", "author_name": "who"}
    found = await listen(path, fields=fields, delimiter=";", timezone="Asia/Jerusalem")
    first, second = posts(found)
    assert (first.text, first.author) == ('two "lines"\r\nand; more', Author(id="דנה", name="דנה"))
    assert first.published_at == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert second.published_at == datetime(2025, 11, 20, 8, tzinfo=UTC)
    (bad,) = letters(found)
    assert bad.reason.startswith("line 2: published_at '20/11' is no date")


async def test_rows_that_cannot_be_mentions_are_dead_letters_with_their_line(tmp_path: Path) -> None:
    bad: list[tuple[bytes | dict[str, Any], str]] = [
        (b'{"id": 1, "text": ', "bad JSON"),
        (b"[1, 2]", "object is expected"),
        (b'{"id": "\xff\xfe", "text": "x"}', "invalid UTF-8 at byte 8"),
        (b"[" * 50_000, "bad JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "bad JSON"),
        (b"\x00\x00", "bad JSON"),
        (row(1, created_at="yesterday"), "is no date"),
        (row(1, created_at="0001-01-01T00:00:00+14:00"), "is no date"),
        (row(1, created_at=1e300), "is no date"),
        (row(1, created_at=True), "is no date"),
        (row(1, created_at="1970-01-01"), "before 2000-01-01"),
        (row(1, created_at="2999-01-01"), "after receipt"),
        ({"id": "a", "text": "x"}, "published_at is missing"),
        (row(1, text=" "), "text is missing"),
        (row(1, text="x" * 100_001), "text:"),
        (row(1, action="shout"), "is none of publish"),
        ({"action": "delete"}, "a deletion without id"),
        (b'{"type":"mention","v":9}', "not a record of this version"),
        (b'{"type":["mention"],"v":1}', "published_at is missing"),
        (b'{"type":{"mention":1},"v":1}', "published_at is missing"),
    ]
    path = write(tmp_path / "a.jsonl", row(0), *(line for line, _ in bad), row(9))
    found = await listen(path)
    assert [one.native_id for one in posts(found)] == ["p0", "p9"]
    dead = letters(found)
    assert [one.reason.split(":")[0] for one in dead] == [f"line {number}" for number in range(2, len(bad) + 2)]
    for letter, (_, words) in zip(dead, bad, strict=True):
        assert words in letter.reason
    assert dead[0].origin == "a.jsonl:2"
    assert len({letter.key for letter in dead}) == len(dead)


async def test_a_huge_line_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0), b'{"id":"big","text":"' + b"x" * (64 * 2**20) + b'"}', row(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = await listen(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert [one.native_id for one in posts(found)] == ["p0", "p2"]
    (letter,) = letters(found)
    assert letter.payload_bytes == 64 * 2**20 + len('{"id":"big","text":""}\n')
    assert "the limit is" in letter.reason
    assert grown < 32 * 1024, f"{grown} KiB"


async def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = ["id,text,date", "1,fine,2026-11-20", '2,"5 screens,2026-11-20', "3,fine,2026-11-20", "4,a,b,2026-11-20"]
    path.write_text("\n".join(lines) + "\n")
    found = await listen(path)
    assert [one.native_id for one in posts(found)] == ["1", "3"]
    assert [one.reason for one in letters(found)] == [
        "line 3: a quote is never closed",
        "line 5: bad CSV: 4 columns, the header has 3",
    ]


async def test_nul_and_surrogates_and_decomposed_letters_are_made_holdable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0, text="a\x00b\ud800 e\u0301 \u202bש\u202c"))
    (only,) = posts(await listen(path))
    assert only.text == "ab\ufffd \u00e9 \u202bש\u202c"
    encode(only)


async def test_a_row_without_id_is_the_same_post_each_time(tmp_path: Path) -> None:
    nameless = {name: value for name, value in row(0).items() if name != "id"}
    one, two, other = posts(
        await listen(write(tmp_path / "a.jsonl", nameless, nameless, {**nameless, "text": "other"}))
    )
    assert one.key == two.key != other.key
    assert one.native_id.startswith("sha256:")


async def test_our_own_records_are_read_as_they_were(tmp_path: Path) -> None:
    mention = Mention(
        source_kind="bluesky",
        native_id="at://1",
        source_id="old",
        revision=7,
        received_at=START,
        published_at=START,
        text="acme",
        queries=("brand",),
    )
    opinion = Opinion(label="a", probabilities={"a": 1.0})
    score = Score(sentiment=opinion, urgency=opinion, intent=opinion, model_id="m", model_revision="1")
    scored = ScoredMention(mention=mention.model_copy(update={"native_id": "at://2"}), score=score, scored_at=START)
    gone = mention.model_copy(update={"action": Action.DELETE, "published_at": None, "text": "", "revision": 8})
    pulse = Pulse(source_id="old", source_kind="bluesky", at=START, sent_at=START, status=SourceStatus.LIVE)
    path = write(tmp_path / "a.jsonl", *(encode(record) for record in (mention, scored, pulse, gone)))
    found = await listen(path, realm="rehearsal")
    assert letters(found) == []
    assert [(one.source_kind, one.native_id, one.revision, one.action) for one in posts(found)] == [
        ("bluesky", "at://1", 7, Action.PUBLISH),
        ("bluesky", "at://2", 7, Action.PUBLISH),
        ("bluesky", "at://1", 8, Action.DELETE),
    ]
    assert {(one.source_id, one.realm, one.received_at, one.queries) for one in posts(found)} == {
        ("f", "rehearsal", NOW, ())
    }


async def test_our_own_records_are_checked_like_strangers(tmp_path: Path) -> None:
    mention = Mention(
        source_kind="x",
        native_id="1",
        source_id="old",
        revision=1,
        received_at=START,
        published_at=START,
        text="a\0cme",
    )
    timeless = mention.model_copy(update={"published_at": None})
    found = await listen(write(tmp_path / "a.jsonl", encode(mention), encode(timeless)))
    assert [one.text for one in posts(found)] == ["acme"]
    assert [one.reason for one in letters(found)] == ["line 2: published_at is missing; only a deletion goes without"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
async def test_a_kill_after_any_arrival_resumes_with_no_gap_and_no_repeat(tmp_path: Path, name: str) -> None:
    if name == "a.csv":
        path = tmp_path / name
        cells = [f'{number},"post ""{number}""\nsecond line",{START.isoformat()}\n' for number in range(12)]
        path.write_text("id,text,date\n" + "".join(cells))
    else:
        path = write(tmp_path / name, *(row(number) if number % 4 else b"junk" for number in range(12)))
    whole = await listen(path, speed=1e6)
    steps = [arrival for arrival in whole if arrival.cursor]
    assert len(steps) == 12
    for kill, step in enumerate(steps):
        rest = [arrival for arrival in await listen(path, step.cursor, speed=1e6) if arrival.cursor]
        assert posts(steps[: kill + 1]) + posts(rest) == posts(whole)
        assert [one.origin for one in letters(steps[: kill + 1]) + letters(rest)] == [
            one.origin for one in letters(whole)
        ]


async def test_the_same_file_again_gives_nothing_and_a_longer_one_its_tail(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0), row(1))
    end = (await listen(path))[-1].cursor
    assert await listen(path, end) == []
    with path.open("ab") as file:
        file.write(json.dumps(row(2)).encode() + b"\n")
    assert [one.native_id for one in posts(await listen(path, end))] == ["p2"]


async def test_another_file_at_the_same_path_is_read_from_its_beginning(tmp_path: Path) -> None:
    end = (await listen(write(tmp_path / "a.jsonl", row(0), row(1), row(2))))[-1].cursor
    assert len(posts(await listen(write(tmp_path / "a.jsonl", row(7), row(8), row(9), row(10)), end))) == 4
    assert len(posts(await listen(write(tmp_path / "a.jsonl", row(0)), end))) == 1


async def test_pages_bound_what_is_held(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(row(number) for number in range(1001)))
    found = await listen(path)
    assert [len(arrival.mentions) for arrival in found] == [200, 200, 200, 200, 200, 1]


async def test_a_pace_keeps_the_recorded_distances_and_shows_life_meanwhile(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0), row(30), row(20), row(60))
    found = await listen(path, speed=100.0, stall_after=0.3)
    rows = [arrival for arrival in found if arrival.cursor]
    assert [arrival.at for arrival in rows] == [START + timedelta(seconds=s) for s in (0, 30, 30, 60)]
    assert len(found) >= len(rows) + 4
    reached = [arrival.at for arrival in found if arrival.at]
    assert len(reached) == len(found)
    assert reached == sorted(reached)


async def test_a_long_silence_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0), row(10_000_000 - 9_900_000), row(100_002))
    assert len(posts(await listen(path, speed=1.0, longest_wait=0.05))) == 3


async def test_a_loop_goes_on_with_new_identities_and_later_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0), row(4))
    found: list[Arrival] = []
    async for arrival in source(path, loop=True).listen(None):
        found.append(arrival)
        if len(found) == 3:
            break
    times = [(one.native_id, one.published_at) for one in posts(found)]
    seconds = {"p0": 0, "p4": 4, "p0~1": 5, "p4~1": 9, "p0~2": 10, "p4~2": 14}
    assert times == [(name, START + timedelta(seconds=second)) for name, second in seconds.items()]
    async for arrival in source(path, loop=True).listen(found[1].cursor):
        assert posts([arrival]) == posts([found[2]])
        break


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda path: None, SourceUnreachable, "can't be read"),
        (lambda path: path.mkdir(), SourceRefused, "folder"),
        (lambda path: path.write_bytes(gzip.compress(b"{}\n" * 9999)[:50]), SourceUnreachable, "can't be read"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, make: Callable[[Path], object], error: type[Exception], words: str
) -> None:
    path = tmp_path / "a.jsonl.gz"
    make(path)
    with pytest.raises(error, match=words):
        await listen(path)


async def test_a_csv_without_the_needed_columns_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,inhalt,date\n1,x,2026-11-20\n")
    with pytest.raises(
        SourceRefused, match=r"no column is text; set fields: \{text: ...\} to one of: id, inhalt, date"
    ):
        await listen(path)


async def test_an_empty_file_ends_at_once_even_in_a_loop(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_bytes(b"")
        assert await listen(tmp_path / name, loop=True) == []


async def test_a_cursor_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="another id"):
        await listen(write(tmp_path / "a.jsonl", row(0)), "17")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"path": "a.txt"}, "set format"),
        ({"path": "a.csv", "speed": 0}, "greater than 0"),
        ({"path": "a.csv", "fields": {"txt": "x"}}, "unknown: txt"),
        ({"path": "a.csv", "timezone": "Mars/North"}, "Asia/Jerusalem"),
        ({"path": "a.csv", "realm": "real"}, "realm"),
    ],
)
def test_wrong_settings_name_the_remedy(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FileSettings(id="f", kind="file", **more)


@pytest.mark.parametrize(
    "value",
    [
        1795161600,
        1795161600.0,
        "1795161600",
        1795161600000,
        1795161600000000,
        "2026-11-20T08:00:00Z",
        "2026-11-20 10:00:00+02:00",
        "Fri, 20 Nov 2026 08:00:00 GMT",
        "2026-11-20T08:00:00",
    ],
)
def test_dates_are_understood_as_they_come(value: object) -> None:
    assert instant(value, UTC) == START


@pytest.mark.parametrize("value", ["", "20.11.2026", "nan", "1e400", [], {}, "9" * 400, -1e18])
def test_what_is_no_date_says_so(value: object) -> None:
    with pytest.raises(BadRow):
        instant(value, UTC)
