"""RSS: feeds that are small, and would cost the reader far more than their length."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Final

import pytest

from streams.sources.rss_entries import Entries, Reading, parse
from streams.sources.rss_repair import NotAFeed, well_formed

READING: Final = Reading("feed", "https://news.example/feed.xml", datetime(2026, 5, 25, 14, 30, tzinfo=UTC))
N: Final = 50_000
DTD: Final = '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://n.example/rss-0.91.dtd">'


def read(body: str) -> Entries:
    return parse(body.encode(), "", READING, {})


def rss(*inner: str) -> str:
    date = "<pubDate>Mon, 25 May 2026 10:00:00 GMT</pubDate>"
    items = "".join(f"<item><guid>g{i}</guid><title>T</title>{date}{one}</item>" for i, one in enumerate(inner))
    return f"<rss version='2.0'><channel><title>News</title>{items}</channel></rss>"


def many(pattern: str, count: int = N) -> str:
    return "".join(pattern.replace("%", str(number)) for number in range(count))


HOSTILE: Final = {
    "author": f"<author>{'a.' * N}</author>",
    "publisher": f"<publisher>{'a.' * N}</publisher><x><webMaster/></x>",
    "attributes": "<a" + many(" a%='1'") + "/>",
    "categories": many("<category>%</category>", 9_000),
    "keywords": f"<keywords>{many('%,')}</keywords><tags>{many('%,')}</tags>",
    "base": f"<a xml:base='http://a/{'a/' * N}'>{'<a/>' * 9_000}</a>",
    "longer and longer bases": f"<a xml:base='{'a/' * 200}'>" * 90 + "<a/>" * 9_000 + "</a>" * 90,
    "language": f"<a xml:lang='{'a_' * N}'>{'<title/>' * 9_000}</a>",
    "elements": f"<description>{' <div/>' * N}<b/></description>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_element_costs_more_than_its_length(name: str) -> None:
    """feedparser's search for an address in <author> held the interpreter, and with it every wall, for minutes."""
    began = time.process_time()
    with contextlib.suppress(NotAFeed):
        read(rss(HOSTILE[name]))
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "body",
    [
        f"<!DOCTYPE rss [<!ATTLIST a b CDATA '{'x' * N}'>]><rss version='2.0'>{'<a/>' * N}</rss>",
        "<!DOCTYPE rss [<!ATTLIST a" + many(" a% CDATA '1'") + ">]><rss version='2.0'/>",
        f"<rss version='2.0'><a xmlns='{'x' * N}'>{'<a/>' * 9_000}</a></rss>",
        "<rss version='2.0'>" + many("<a xmlns='%'/>") + "</rss>",
        f"<rss version='2.0'><{'a' * N}/></rss>",
    ],
)
def test_what_costs_something_at_every_element_is_refused(body: str) -> None:
    began = time.process_time()
    with pytest.raises(NotAFeed):
        read(body)
    assert time.process_time() - began < 3


def test_an_entry_out_of_bounds_takes_none_before_it_along() -> None:
    found = read(rss("", "<b/>" * 10_001, ""))
    assert [mention.native_id[-2:] for mention in found.mentions] == ["g0"]
    assert ["more than 10000 elements" in dead.reason for dead in found.dead] == [True]


@pytest.mark.parametrize("name", ["authors", "contributors", "links", "tags", "author_detail"])
@pytest.mark.parametrize("form", ["<{0} a='1'/>", "<{0}>b</{0}>"])
def test_an_element_named_like_a_list_of_the_readers_own_costs_no_entry(name: str, form: str) -> None:
    rest = "<author>Jane</author><contributor/><link>https://news.example/1</link>"
    (mention,) = read(rss(form.format(name) + rest)).mentions
    assert (mention.author and mention.author.name, mention.url) == ("Jane", "https://news.example/1")


def test_the_document_type_of_old_feeds_hides_no_unknown_entity() -> None:
    """expat forgives them there, and feedparser's slow reader got the feed."""
    (mention,) = read(DTD + rss("<description>caf&eacute; &nosuch;</description>")).mentions
    assert mention.text == "T\n\ncafé &nosuch;"


def test_what_is_written_anew_says_the_same() -> None:
    text = 'a<!-- b -->c<![CDATA[ <i>d</i> &amp; ]]>&#13;&lt;e a="1"&gt;'
    assert written(f"{DTD}<a:a xmlns:a='u' b='&#10;&quot;&lt;'><?c d?>{text}<b/></a:a>") == (
        '<a:a xmlns:a="u" b=\'&#10;"&lt;\'>ac &lt;i&gt;d&lt;/i&gt; &amp;amp; &#13;&lt;e a="1"&gt;<b></b></a:a>'
    )


def written(body: str) -> str:
    return well_formed(body.encode(), "", READING.url).document.decode()


def test_markup_stays_in_one_piece() -> None:
    """Escaped, each of its signs came as a piece of its own: an ordinary feed cost three times as much."""
    assert written("<a>1 > &lt;b&gt; &amp;amp; 2]]</a>") == "<a><![CDATA[1 > <b> &amp; 2]]]]></a>"
    assert written("<a><![CDATA[<b>]]]]>&gt;</a>") == "<a>&lt;b&gt;]]&gt;</a>"


def test_a_base_within_a_base_holds_for_the_links_within() -> None:
    """It was dropped: the links were others, and each entry an edit."""
    link = "<link href='1'/><updated>2026-05-25T10:00:00Z</updated>"
    entries = (
        f"<entry xml:base='sub/'><id>a</id><title>T</title>{link}</entry>",
        f"<entry xml:base='/other/'><id>b</id><title xml:base='x/'>T</title>{link}</entry>",
        f"<entry xml:base='http://[/'><id>c</id><title>T</title>{link}</entry>",
        f"<entry xml:base='{'a/' * 300}'><id>d</id><title>T</title>{link}</entry>",
    )
    atom = "<feed xmlns='http://www.w3.org/2005/Atom' xml:base='posts/'><title>News</title>%s</feed>"
    found = {one.native_id[-1]: one.url for one in read(atom % "".join(entries)).mentions}
    news = "https://news.example"
    assert found == {
        "a": f"{news}/posts/sub/1",
        "b": f"{news}/other/1",
        "c": f"{news}/posts/1",
        "d": f"{news}/posts/1",
    }


def test_no_namespace_is_lost_among_many_attributes() -> None:
    """Those beyond the hundredth were, and with them the whole feed."""
    root = "<rss" + many(" a%='1'", 120) + many(" xmlns:n%='http://n.example/%'", 150)
    feed = rss("<n149:a>b</n149:a>").replace("<rss", root)
    assert len(read(feed).mentions) == 1


@pytest.mark.parametrize("subset", [" ", "<!ELEMENT rss (channel)>", "<!-- none -->"])
def test_a_document_type_that_declares_no_attribute_costs_no_feed(subset: str) -> None:
    assert len(read(f"<!DOCTYPE rss [{subset}]>" + rss("")).mentions) == 1
