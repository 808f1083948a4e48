"""Files that nobody meant well with, or that another program wrote in its own way."""

from pathlib import Path

from streams.records import Author, Mention, encode
from tests.streams.test_file import START, letters, listen, posts, row, write


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
