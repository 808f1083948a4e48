"""Files that nobody meant well with, or that another program wrote in its own way."""

import gzip
import json
from pathlib import Path

import pytest

from streams.records import Author, Mention, encode
from streams.sources import file_reader
from streams.sources.file_rows import BadRow, csv_cells
from tests.streams.test_file import START, letters, listen, posts, row, source, write


async def test_our_own_records_are_made_holdable_in_every_field(tmp_path: Path) -> None:
    """PostgreSQL takes no NUL: a post with one in its id could not be stored."""
    mention = Mention(
        source_kind="x\0",
        native_id="\x001",
        source_id="old",
        revision=1,
        received_at=START,
        published_at=START,
        text="\0acme",
        lang="h\0e",
        url="javascript:alert(1)",
        thread_id="\0t",
        reply_to="r\0",
        place="\0p",
        author=Author(id="\0a", name="n\0", handle="\0h"),
    )
    nameless = mention.model_copy(update={"native_id": "\0"})
    found = await listen(write(tmp_path / "a.jsonl", encode(mention), encode(nameless)))
    (only,) = posts(found)
    assert "\0" not in repr(only.model_dump())
    assert "\\x00" not in repr(only.model_dump())
    assert (only.source_kind, only.native_id, only.place, only.url) == ("x", "1", "p", None)
    assert only.author == Author(id="a", name="n", handle="h")
    assert [one.reason for one in letters(found)] == ["line 2: native_id: String should have at least 1 character"]


async def test_links_that_are_no_web_addresses_are_dropped(tmp_path: Path) -> None:
    links = ("javascript:alert(1)", "http://xn--/", "http://[::1", "https://x.example/1")
    path = write(tmp_path / "a.jsonl", *(row(number, url=link) for number, link in enumerate(links)))
    assert [one.url for one in posts(await listen(path))] == [None, None, None, "https://x.example/1"]


async def test_a_line_of_csv_ends_where_its_writer_ended_it(tmp_path: Path) -> None:
    """U+2028 and others are text: what stood behind them was lost without a word."""
    path = tmp_path / "a.csv"
    rows = [
        "id,date,text",
        *(f"{number},2026-11-20,a{char}b" for number, char in enumerate("\u2028\u2029\x85\x0b\x0c\x1c")),
    ]
    path.write_bytes("\n".join(rows).encode())
    found = await listen(path)
    assert [one.text for one in posts(found)] == ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb"]
    assert letters(found) == []


async def test_two_inch_signs_swallow_no_rows_between_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [
        "id,text,date",
        '1,5" screen,2026-11-20',
        "2,fine,2026-11-20",
        '3,6" phone,2026-11-20',
        "4,fine,2026-11-20",
    ]
    path.write_text("\n".join(lines) + "\n")
    for speed in (None, 1e9):
        found = await listen(path, speed=speed)
        assert [one.text for one in posts(found)] == ['5" screen', "fine", '6" phone', "fine"]
        assert letters(found) == []


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
async def test_each_way_to_end_a_line_of_csv_ends_one(tmp_path: Path, name: str, end: str) -> None:
    """A lone CR, as spreadsheets on a Mac write it, hid all rows of a file behind its header."""
    path = tmp_path / name
    lines = ["id,text,date", "1,one,2026-11-20", '2,"two\r2,\r\n2",2026-11-20', '3,5" screen,2026-11-20', "4,bad"]
    whole = end.join([*lines, "5,five,2026-11-20"]).encode()
    path.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    found = await listen(path, speed=1e9)
    assert [one.text for one in posts(found)] == ["one", "two\r2,\r\n2", '5" screen', "five"]
    assert [one.reason for one in letters(found)] == ["line 7: bad CSV: 2 columns, the header has 3"]
    for arrival in found:
        if arrival.cursor:
            rest = await listen(path, arrival.cursor, speed=1e9)
            assert posts(rest) == posts(found[found.index(arrival) + 1 :])


async def test_rows_ended_by_a_lone_cr_among_others_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text,date\n1,a,2026-11-20\r2,b,2026-11-20\n3,c,2026-11-20\r\r4,d,2026-11-20")
    found = await listen(path)
    assert [one.text for one in posts(found)] == ["a", "b", "c", "d"]
    assert letters(found) == []


async def test_a_long_file_of_lone_crs_is_read_across_every_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "MAX_CSV", 64)
    path = tmp_path / "a.csv"
    rows = [f"{number},{'x' * (number % 40)}y,2026-11-20" for number in range(200)]
    path.write_text("\r".join(["id,text,date", *rows, f"200,{'x' * 100},2026-11-20", "201,end,2026-11-20"]))
    found = await listen(path)
    assert [one.native_id for one in posts(found)] == [*map(str, range(200)), "201"]
    assert [one.reason for one in letters(found)] == ["line 202: the line has 116 bytes, the limit is 64"]


def test_two_records_are_never_read_as_one() -> None:
    with pytest.raises(BadRow, match="2 records in one line"):
        csv_cells(b"1,a\r2,b\n")


async def test_a_row_too_deep_to_be_named_costs_no_other(tmp_path: Path) -> None:
    """What could be read, but not be written again for its hash, was tried for ever."""
    path = tmp_path / "a.jsonl"
    deep = [b'{"text":"x","date":"2026-11-20","z":' + b"[" * n + b"]" * n + b"}" for n in range(600, 1001)]
    found = await listen(write(path, *deep, row(9)))
    assert posts(found)[-1].native_id == "p9"
    assert len(posts(found)) + len(letters(found)) == len(deep) + 1
    assert any("nested too deep" in one.reason for one in letters(found))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
async def test_a_last_line_that_is_not_ended_is_read_again_when_the_file_has_grown(tmp_path: Path, name: str) -> None:
    """A file that was still written lost the row in the middle of which it was read, for two dead letters."""
    path = tmp_path / name
    cells = [f'{n},"post, {n}",2026-11-20\n'.encode() for n in range(1, 5)]
    lines = cells if name == "a.csv" else [json.dumps(row(n)).encode() + b"\n" for n in range(1, 5)]
    head = b"id,text,date\n" if name == "a.csv" else b""
    path.write_bytes(head + lines[0] + lines[1][:9])
    found = await listen(path)
    assert len(posts(found)) == len(letters(found)) == 1
    assert "read again when it has grown" in letters(found)[0].reason
    again = await listen(path, found[-1].cursor)
    assert not posts(again)
    assert not letters(again)
    for whole in (lines[:2], lines[:3], lines):
        path.write_bytes(head + b"".join(whole).removesuffix(b"\n"))
        rest = await listen(path, found[-1].cursor)
        assert len(posts(rest)) == len(whole) - 1
        assert letters(rest) == []
    path.write_bytes(head + lines[0] + lines[1][:9] + b"\n" + lines[2])
    (dead,) = letters(await listen(path, found[-1].cursor))
    assert "grown" not in dead.reason


async def test_a_loop_over_a_file_cut_short_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0))
    path.write_bytes(path.read_bytes() + b'{"id":')
    found = []
    async for arrival in source(path, loop=True).listen(None):
        found.append(arrival)
        if len(found) == 2:
            break
    assert [one.native_id for one in posts(found)] == ["p0", "p0~1"]
    assert len(letters(found)) == 2
