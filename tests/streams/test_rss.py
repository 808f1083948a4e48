"""RSS: feeds of both kinds, a local HTTP server that answers as servers do, and feeds that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.records import Mention
from streams.source import Arrival, SourceRefused, SourceUnreachable
from streams.sources import rss_entries
from streams.sources.markup import plain_text
from streams.sources.rss import RssSettings, RssSource
from streams.sources.rss_entries import Entries, Reading, parse
from streams.sources.rss_repair import NotAFeed, well_formed
from streams.sources.supervise_choice import Chooser

NOW = datetime(2026, 5, 25, 14, 30, tzinfo=UTC)
READING = Reading("feed", "https://news.example/feed.xml", NOW)

Headers = dict[str, str]
Answer = tuple[int, Headers, bytes]


def item(number: int, body: str = "", date: str = "Mon, 25 May 2026 10:00:00 GMT") -> str:
    stamp = f"<pubDate>{date}</pubDate>" if date else ""
    text = body or f"body {number}"
    return (
        f"<item><guid>g{number}</guid><title>Title {number}</title><link>https://news.example/{number}</link>"
        f"<description>{text}</description>{stamp}</item>"
    )


def rss(*items: str, channel: str = "") -> bytes:
    head = f"<title>News</title><link>https://news.example</link><language>he-IL</language>{channel}"
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{head}{"".join(items)}</channel></rss>'.encode()


ATOM = """<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="fa">
<title>وبلاگ</title>
<entry><id>urn:1</id><title type="html">قیمت &amp;amp; خدمات</title><link href="https://b.example/1"/>
<author><name>مریم</name></author><published>2026-05-25T09:00:00Z</published><updated>2026-05-25T10:00:00+03:30</updated>
<content type="html">&lt;p&gt;سلام&lt;br&gt;دنیا&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</content>
</entry></feed>"""


def read(body: bytes, seen: Entries | None = None, content_type: str = "application/xml") -> Entries:
    return parse(body, content_type, READING, seen.seen if seen else {})


def test_an_rss_item_becomes_a_mention() -> None:
    (mention,) = read(rss(item(1))).mentions
    assert mention.model_dump(exclude_defaults=True, mode="json") == {
        "source_kind": "rss",
        "native_id": "https://news.example/feed.xml|https://news.example/g1",
        "source_id": "feed",
        "revision": 1_779_703_200_000,
        "received_at": "2026-05-25T14:30:00Z",
        "published_at": "2026-05-25T10:00:00Z",
        "author": {"id": "https://news.example/feed.xml#News", "name": "News"},
        "text": "Title 1\n\nbody 1",
        "lang": "he-IL",
        "url": "https://news.example/1",
    }


def test_an_atom_entry_becomes_a_mention_without_markup() -> None:
    (mention,) = read(ATOM.encode()).mentions
    assert mention.text == "قیمت & خدمات\n\nسلام\nدنیا"
    assert mention.published_at == datetime(2026, 5, 25, 9, tzinfo=UTC)
    assert mention.revision == int(datetime(2026, 5, 25, 6, 30, tzinfo=UTC).timestamp() * 1000)
    assert (mention.lang, mention.author.name if mention.author else "") == ("fa", "مریم")


def test_the_same_feed_twice_gives_nothing_new() -> None:
    first = read(rss(item(1), item(2)))
    assert len(first.mentions) == 2
    assert read(rss(item(1), item(2)), first) == Entries([], [], [], first.seen)
    # An entry that is in the feed twice, with two bodies, is not an endless edit.
    double = read(rss(item(1), item(1, "other")))
    assert len(double.mentions) == 1
    assert read(rss(item(1), item(1, "other")), double).mentions == []


def test_entries_that_all_have_the_guid_of_the_feed_are_told_apart_by_their_links() -> None:
    """Only the uppermost was ever taken, and nothing said so."""
    items = [item(number).replace(f"<guid>g{number}<", "<guid isPermaLink='false'>news<") for number in (1, 2, 3)]
    first = read(rss(*items))
    assert {one.native_id.rpartition("/")[2] for one in first.mentions} == {"1", "2", "3"}
    assert read(rss(*items), first).mentions == []
    assert len(read(rss(item(1), *[item(2)] * 3)).mentions) == 2


def test_entries_that_were_told_apart_by_their_links_stay_so_in_a_shorter_feed() -> None:
    """They came again under the guid when only two were left, and a third time when the feed grew."""
    items = [item(number).replace(f"<guid>g{number}<", "<guid isPermaLink='false'>news<") for number in (1, 2, 3, 4)]
    seen = read(rss(*items[:3]))
    assert read(rss(*items[1:3]), seen).mentions == []
    (new,) = read(rss(*items[2:]), seen).mentions
    assert new.native_id.endswith("/4")


def test_an_edit_keeps_the_identity_and_raises_the_revision_though_the_date_stays() -> None:
    first = read(rss(item(1)))
    second = read(rss(item(1, "corrected")), first)
    third = read(rss(item(1, "corrected again", "Mon, 25 May 2026 11:00:00 GMT")), second)
    revisions = [found.mentions[0].revision for found in (first, second, third)]
    assert [revisions[0], revisions[2]] == [1_779_703_200_000, 1_779_706_800_000]
    assert 0 < revisions[1] - revisions[0] <= 4096
    assert {found.mentions[0].key for found in (first, second, third)} == {first.mentions[0].key}


@pytest.mark.parametrize("edits", [1, 3])
def test_an_edit_is_taken_though_more_is_known_by_another_cursor(edits: int) -> None:
    """Under a new id a source begins to count anew: its edits were dropped as repeats until it had caught up."""
    chooser, known = Chooser(lambda _: ("brand",)), dict[str, int]()

    def poll(body: str, before: Entries | None) -> tuple[Entries, int]:
        found = read(rss(item(1, body)), before)
        chosen = chooser.choose(found.mentions, known, NOW, unversioned=found.edited)
        known.update({one.key: one.revision for one in chosen.accepted})
        return found, len(chosen.accepted)

    seen: Entries | None = None
    for version in range(edits + 1):
        seen, taken = poll(f"v{version}", seen)
        assert taken == 1
    again, taken = poll(f"v{edits}", None)
    assert taken == 0
    for version in (4, 5):
        again, taken = poll(f"v{version}", again)
        assert taken == 1


def test_two_sources_of_one_feed_deliver_each_edit_once() -> None:
    known, taken = dict[str, int](), list[int]()
    seen: list[Entries | None] = [None, None]
    for version in ("v0", "v1", "v2"):
        for number in (0, 1):
            seen[number] = found = read(rss(item(1, version)), seen[number])
            chosen = Chooser(lambda _: ("brand",)).choose(found.mentions, known, NOW, unversioned=found.edited)
            known.update({one.key: one.revision for one in chosen.accepted})
            taken += [number for _ in chosen.accepted]
    assert taken == [0, 0, 0]


def test_a_missing_date_is_never_the_time_of_receipt() -> None:
    (dead,) = read(rss(item(1, date=""))).dead
    assert "date" in dead.reason
    (mention,) = read(rss(item(1, date=""), channel="<pubDate>Sun, 24 May 2026 10:00:00 GMT</pubDate>")).mentions
    assert mention.published_at == datetime(2026, 5, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize("date", ["Fri, 25 May 1900 10:00:00 GMT", "Tue, 26 May 2026 20:00:00 GMT", "yesterday"])
def test_an_absurd_date_is_a_dead_letter_once(date: str) -> None:
    found = read(rss(item(1, date=date), item(2)))
    assert (len(found.dead), len(found.mentions)) == (1, 1)
    assert read(rss(item(1, date=date), item(2)), found).dead == []


def test_an_entry_with_a_date_some_hours_ahead_is_taken_when_that_has_come() -> None:
    """Local time that is labelled GMT: such posts were never seen again."""
    early = rss(item(1, date="Mon, 25 May 2026 17:00:00 GMT"))
    first = read(early)
    assert (len(first.dead), len(first.mentions)) == (1, 0)
    assert read(early, first) == Entries([], [], [], first.seen)
    later = replace(READING, received_at=NOW + timedelta(hours=3))
    (taken,) = parse(early, "", later, first.seen).mentions
    assert taken.published_at == datetime(2026, 5, 25, 17, tzinfo=UTC)


async def test_a_feed_in_which_an_entry_waits_for_its_date_is_asked_without_conditions() -> None:
    asked: list[Headers] = []

    def answer(path: str, headers: Headers) -> Answer:
        asked.append(headers)
        date = "Mon, 25 May 2026 17:00:00 GMT" if len(asked) < 3 else "Mon, 25 May 2026 14:00:00 GMT"
        return 200, {"etag": '"1"'}, rss(item(1, date=date))

    async with server(answer) as url:
        got = await polls(source(url).listen(None), 4)
    assert ["if-none-match" in headers for headers in asked] == [False, False, False, True]
    assert [(len(one.mentions), len(one.dead)) for one in got] == [(0, 1), (0, 0), (1, 0), (0, 0)]


def test_old_entries_are_left_out_when_asked() -> None:
    reading = Reading("feed", READING.url, NOW, timedelta(hours=1))
    assert parse(rss(item(1)), "", reading, {}).mentions == []


@pytest.mark.parametrize("link", ["javascript:alert(1)", "http://xn--/", "http://[::1"])
def test_links_that_are_no_web_addresses_are_dropped(link: str) -> None:
    body = rss(item(1).replace("https://news.example/1", link))
    assert read(body).mentions[0].url is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>502 Bad Gateway</title>",
        b'{"version": "https://jsonfeed.org/version/1"}',
        b"\xff\xfe\x00",
        rss(item(1)).replace(b"?><rss", b'?><!DOCTYPE r [<!ENTITY a "b">]><rss'),
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss version="2.0"/>'.encode("utf-16"),
    ],
)
def test_what_is_no_feed_says_so(body: bytes) -> None:
    with pytest.raises(NotAFeed):
        read(body)


@pytest.mark.parametrize("body", ["&#{};", "&amp;#{};", "<![CDATA[&#{};]]>", "&#x{};", "&#55357;", "&#8;", "&#x1f;"])
def test_a_reference_to_no_character_costs_no_entry(body: str) -> None:
    """Python reads no number of more than 4,300 digits; one such entry ended its source at every start."""
    found = read(rss(item(1), item(2, body.format("9" * 5000)), item(3)))
    assert [mention.native_id[-2:] for mention in found.mentions] == ["g1", "g2", "g3"]
    assert found.dead == []


def test_what_one_entry_raises_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(entry: Any) -> str:
        if "2" in entry.title:
            raise ValueError("what nobody thought of")
        return str(entry.title)

    monkeypatch.setattr(rss_entries, "_text", text)
    found = read(rss(item(1), item(2), item(3)))
    assert len(found.mentions) == 2
    assert [one.reason for one in found.dead] == ["the entry can't be read: ValueError: what nobody thought of"]


@pytest.mark.parametrize("name", ["published_parsed", "updated_parsed"])
@pytest.mark.parametrize("form", ["<{0}>foobar</{0}>", "<{0} a='b'/>"])
def test_an_element_named_like_a_date_that_was_read_is_none(name: str, form: str) -> None:
    """It took the place of the date in the parsed entry, and made the whole feed unreadable."""
    element = form.format(name)
    poisoned = item(2, date="").replace("</item>", f"{element}</item>")
    found = read(rss(item(1), poisoned, item(3)))
    assert [one.text for one in found.mentions] == ["Title 1\n\nbody 1", "Title 3\n\nbody 3"]
    assert ["date" in letter.reason for letter in found.dead] == [True]
    assert len(read(rss(item(1), channel=element)).mentions) == 1


def test_half_a_feed_gives_the_entries_that_are_whole_and_says_what_is_missing() -> None:
    whole = rss(item(1), item(2), item(3))
    found = read(whole[: whole.index(b"Title 3")])
    assert sorted(mention.native_id[-2:] for mention in found.mentions) == ["g1", "g2"]
    assert [dead.reason[:19] for dead in found.dead] == ["the feed is damaged"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (rss(item(1, "fish &amp; café")), ""),
        (rss(item(1, "fish & café")), ""),
        (rss(item(1, "fish &amp;\x0b caf&eacute;")), "text/html"),
        (b"\n\n  " + rss(item(1, "<![CDATA[fish &amp; caf\u00e9]]>")), "application/xml; charset=iso-8859-1"),
        (rss(item(1, "fish & café")).decode().encode("utf-16"), ""),
        (rss(item(1, "fish & café")).decode().encode("utf-8-sig"), "text/xml; charset=us-ascii"),
        (rss(item(1, "fish & café")).decode().encode("cp1252"), "text/xml; charset=windows-1252"),
        (
            rss(item(1, "fish & café")).replace(b"?>", b' encoding="ISO-8859-1"?>').decode().encode("latin-1"),
            "text/xml; charset=rot13",
        ),
    ],
)
def test_what_is_commonly_wrong_is_put_right(body: bytes, content_type: str) -> None:
    found = read(body, content_type=content_type)
    assert [mention.text for mention in found.mentions] == ["Title 1\n\nfish & café"]
    assert found.dead == []


@pytest.mark.parametrize(
    "unit", [b"<a>", b"<", b"<a ", b"&", b"<![CDATA[", b"<!--", b"<a b='", b"&lt;!--", b"&lt;a &quot;"]
)
def test_no_small_feed_takes_long(unit: bytes) -> None:
    # A reader whose time grows with the square of the length takes minutes for each: the time-out fails it.
    body = rss(item(1)).replace(b"body 1", unit * (1_000_000 // len(unit)))
    texts: list[str] = []
    with contextlib.suppress(NotAFeed):
        texts = [mention.text for mention in read(body).mentions]
    assert texts in ([], ["Title 1"])


def test_too_deep_is_refused() -> None:
    with pytest.raises(NotAFeed, match="deep"):
        well_formed(b"<a>" * 200 + b"</a>" * 200, "", "")


def test_letters_that_grow_in_lower_case_move_no_text() -> None:
    """The lower-case form of İ is two characters: what was found in it was cut elsewhere in the text."""
    shown = "İ" * 9
    assert plain_text(f"{shown}<script>x</SCRIPT>after<STYLE>y</style>end") == f"{shown}afterend"
    assert plain_text("a<script>b</ſcript>c") == "a"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a &lt;b&gt;</p><style>p{}</style><img src=x onerror=y>c", "a <b>\nc"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<a title=\"x > y\" href='z'>link</a>", "link"),
        ("2 < 3 &amp;&nbsp;4", "2 < 3 & 4"),
        ("a<!-- <b>hidden</b> -->b", "ab"),
        ("a<script>alert('<b>')</script>b", "ab"),
        ("a<SCRIPT>never closed", "a"),
        ("kept<!-- never closed", "kept"),
        ("kept<a href=", "kept"),
        ("&lt;script&gt;", "<script>"),
        ("  plain  ", "plain"),
        ("a &#" + "9" * 5000 + "; b", "a \ufffd b"),
        ("a &#" + "0" * 5000 + "65; b", "a A b"),
        ("a &#12345678", "a \ufffd"),
        ("a &#00000038; &#1114111;b", "a & b"),
    ],
)
def test_plain_text_shows_what_a_reader_sees(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["application/xml", "text/html; charset=nope", ""]))
def test_parse_raises_only_not_a_feed(noise: bytes, content_type: str) -> None:
    for body in (noise, b'<?xml version="1.0" encoding="nope"?><rss version="2.0"><channel>' + noise):
        try:
            found = parse(body, content_type, READING, {})
        except NotAFeed:
            continue
        assert all(isinstance(mention, Mention) for mention in found.mentions)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_parse_never_raises_for_any_field(body: str, date: str, guid: str) -> None:
    cdata = f"<![CDATA[{body}]]>"
    raw = rss(item(1, cdata).replace("g1", guid), item(2, date=date))
    try:
        parse(raw, "", READING, {})
    except NotAFeed:
        pass
    except UnicodeEncodeError:
        raise AssertionError("a surrogate came through") from None


@asynccontextmanager
async def server(answer: Callable[[str, Headers], Answer | None]) -> AsyncIterator[str]:
    """A local HTTP/1.1 server of few words; None means: cut the connection in the middle of the answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        made = answer(head[0].split()[1], headers)
        if made is None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<rss")
        else:
            status, extra, body = made
            lines = {"content-length": str(len(body)), "connection": "close"} | extra
            text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            writer.write(f"HTTP/1.1 {status} x\r\n{text}\r\n".encode() + body)
        with contextlib.suppress(ConnectionError):  # a client may have seen enough
            await writer.drain()
        writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


def source(url: str, **changes: Any) -> RssSource:
    return RssSource(RssSettings(id="feed", url=url, **{"poll": 0.01, "timeout": 5} | changes), clock=lambda: NOW)


async def polls(listening: AsyncIterator[Arrival], count: int) -> list[Arrival]:
    return [await anext(listening) for _ in range(count)]


async def test_polls_are_conditional_and_resume_from_the_cursor() -> None:
    asked: list[Headers] = []
    holds = [item(1)]

    def answer(path: str, headers: Headers) -> Answer:
        asked.append(headers)
        tag = f'W/"{len(holds)}"'
        if headers.get("if-none-match") == tag:
            return 304, {"etag": tag}, b""
        return 200, {"etag": tag, "last-modified": "Mon, 25 May 2026 10:00:00 GMT"}, rss(*holds)

    async with server(answer) as url:
        first, idle = await polls(source(url).listen(None), 2)
        assert [len(first.mentions), len(idle.mentions), idle.cursor] == [1, 0, None]
        holds.append(item(2))
        (second,) = await polls(source(url).listen(first.cursor), 1)
    assert [mention.native_id[-2:] for mention in second.mentions] == ["g2"]
    assert "if-none-match" not in asked[0]
    assert asked[1]["if-none-match"] == asked[2]["if-none-match"] == 'W/"1"'
    assert asked[2]["if-modified-since"] == "Mon, 25 May 2026 10:00:00 GMT"


async def test_not_modified_without_a_condition_is_no_sign_of_life() -> None:
    async with server(lambda path, headers: (304, {}, b"")) as url:
        with pytest.raises(SourceUnreachable, match="304"):
            await polls(source(url).listen(None), 1)


async def test_a_cut_at_every_answer_loses_nothing() -> None:
    answers = 0

    def answer(path: str, headers: Headers) -> Answer | None:
        nonlocal answers
        answers += 1
        return None if answers % 2 else (200, {}, rss(*(item(number) for number in range(answers))))

    async with server(answer) as url:
        cursor, got = None, set[str]()
        for _ in range(6):
            try:
                async for arrival in source(url).listen(cursor):
                    got |= {mention.native_id for mention in arrival.mentions}
                    cursor = arrival.cursor or cursor
            except SourceUnreachable:
                continue
    assert len(got) == answers // 2 * 2


async def test_a_permanent_redirect_moves_the_feed_and_keeps_identities() -> None:
    paths: list[str] = []

    def answer(path: str, headers: Headers) -> Answer:
        paths.append(path)
        return (301, {"location": "/new"}, b"") if path == "/old" else (200, {}, rss(item(1)))

    async with server(answer) as url:
        first, second = await polls(source(url + "/old").listen(None), 2)
        (third,) = await polls(source(url + "/old").listen(first.cursor), 1)
    assert paths == ["/old", "/new", "/new", "/new"]
    assert json.loads(first.cursor or "")["url"] == url + "/new"
    assert first.mentions[0].native_id == f"{url}/old|{url}/g1"
    assert [second.mentions, third.mentions] == [[], []]


async def test_a_feed_that_moved_to_another_host_took_no_trust_along() -> None:
    """Its new owner could point the name into a network that was allowed for the old one."""
    async with server(lambda path, headers: (200, {}, rss(item(1)))) as url:
        moved = json.dumps(
            {"for": url, "url": url.replace("127.0.0.1", "localhost"), "etag": "", "modified": "", "seen": {}}
        )
        with pytest.raises(SourceRefused, match="localhost"):
            await polls(source(url, allow=("localhost",)).listen(moved), 1)


@pytest.mark.parametrize(
    ("status", "headers", "error", "after"),
    [
        (429, {"retry-after": "120"}, SourceUnreachable, 120.0),
        (503, {"retry-after": "Mon, 25 May 2026 14:31:00 GMT"}, SourceUnreachable, 60.0),
        (503, {"retry-after": "soon"}, SourceUnreachable, 0.01),
        (429, {"retry-after": "9" * 400}, SourceUnreachable, 86_400.0),
        (500, {}, SourceUnreachable, 0.01),
        (404, {}, SourceUnreachable, 0.01),
        (410, {}, SourceRefused, None),
        (403, {}, SourceRefused, None),
        (302, {"location": "http://169.254.169.254/latest"}, SourceRefused, None),
        (302, {"location": "http://localhost:1/"}, SourceRefused, None),
        (302, {"location": "/again"}, SourceRefused, None),
        (302, {"location": "http://xn--/"}, SourceUnreachable, 0.01),
        (302, {"location": "http://[::1"}, SourceUnreachable, 0.01),
    ],
)
async def test_each_answer_has_its_meaning(
    status: int, headers: Headers, error: type[Exception], after: float | None
) -> None:
    async with server(lambda path, asked: (status, headers, b"<h1>no</h1>")) as url:
        with pytest.raises(error) as caught:
            await polls(source(url).listen(None), 1)
    assert getattr(caught.value, "retry_after", None) == after


GARBAGE: list[tuple[Headers, bytes]] = [
    ({"content-type": "text/html"}, b"<!doctype html><title>Sign in to the hotel's network</title>"),
    (
        {"content-type": "text/html"},
        b"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>Maintenance</p></body></html>",
    ),
    ({}, b""),
    ({"content-encoding": "gzip"}, gzip.compress(b"\0" * (64 << 20))),
    ({"content-encoding": "gzip"}, b"not gzip at all"),
    ({"content-encoding": "br"}, b"???"),
    ({}, b"x" * (16 << 20)),
]


@pytest.mark.parametrize(("extra", "body"), GARBAGE)
async def test_what_is_no_feed_is_kept_and_makes_the_source_unreachable(extra: Headers, body: bytes) -> None:
    """A captive portal answers 200: it must not pass for a feed without news."""
    async with server(lambda path, headers: (200, extra, body)) as url:
        with pytest.raises(SourceUnreachable) as caught:
            await polls(source(url, poll=7).listen(None), 1)
    assert [one.reason for one in caught.value.dead] == [str(caught.value)]
    assert caught.value.retry_after == 7


async def test_a_feed_without_entries_is_a_quiet_source() -> None:
    async with server(lambda path, headers: (200, {"etag": "\x7f"}, rss())) as url:
        for arrival in await polls(source(url).listen(None), 2):
            assert (len(arrival.mentions), len(arrival.dead)) == (0, 0)


async def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable):
        await polls(source("http://127.0.0.1:1/").listen(None), 1)


async def test_a_damaged_cursor_of_our_own_stops() -> None:
    for cursor in ("{", "[]", '{"url": 1}', '{"for":"","url":"","etag":"","modified":"","seen":{"a":1}}'):
        with pytest.raises(ValueError, match="damaged"):
            await polls(source("http://127.0.0.1:1/").listen(cursor), 1)


def test_settings_name_what_is_wrong() -> None:
    for wrong, word in (
        ({"url": "file:///etc/passwd"}, "scheme"),
        ({"url": "https://a", "poll": 900}, "stall_after"),
        ({"url": "https://a", "allow": ("10.0.0.5/8",)}, "can't be allowed"),
    ):
        with pytest.raises(ValidationError, match=word):
            RssSettings(id="feed", **wrong)
