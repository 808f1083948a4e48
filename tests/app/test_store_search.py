from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.store import MentionFilter, Rollup, Span, Store
from streams.normal import normalise
from streams.records import Author
from tests.app.store_world import NOON, placed, post, withdrawal

MINUTE = timedelta(minutes=1)
LATER = NOON + timedelta(hours=1)


async def _ids(store: Store, wanted: MentionFilter) -> list[str]:
    return [scored.mention.native_id for scored in (await store.mentions(wanted)).items]


async def test_pages_are_newest_first_and_miss_nothing_while_more_comes(store: Store) -> None:
    records = [post(f"p{at}", published_at=NOON + timedelta(seconds=at // 3)) for at in range(50)]
    await store.keep("store", placed(records))
    seen: list[str] = []
    after = None
    while True:
        page = await store.mentions(MentionFilter(), 7, after)
        seen += [scored.mention.native_id for scored in page.items]
        await store.keep("store", placed([post(f"new{len(seen)}", published_at=NOON + MINUTE)], start=50 + len(seen)))
        after = page.after
        if after is None:
            break
    assert sorted(seen) == sorted(f"p{at}" for at in range(50))
    numbers = [int(name[1:]) // 3 for name in seen]
    assert all(first >= second for first, second in pairwise(numbers))


@pytest.mark.parametrize("after", ["", "x", "1", "1.2.3", "9" * 18 + ".1", "1.-1", "1.1\n"])
async def test_a_foreign_cursor_is_refused(store: Store, after: str) -> None:
    with pytest.raises(ValueError, match="after"):
        await store.mentions(MentionFilter(), 7, after)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (MentionFilter(), ["c", "b", "a"]),
        (MentionFilter(realm="rehearsal"), ["d"]),
        (MentionFilter(start=NOON + MINUTE), ["c", "b"]),
        (MentionFilter(end=NOON + MINUTE), ["a"]),
        (MentionFilter(queries=["q1"]), ["b", "a"]),
        (MentionFilter(queries=["q1", "q2"]), ["c", "b", "a"]),
        (MentionFilter(queries=[]), []),
        (MentionFilter(source="rss-1"), ["b"]),
        (MentionFilter(source_kind="rss"), ["b"]),
        (MentionFilter(lang="he"), ["a"]),
        (MentionFilter(sentiment="negative"), ["a"]),
        (MentionFilter(urgency="critical"), ["c"]),
        (MentionFilter(intent="praise"), ["b"]),
        (MentionFilter(author="did:ben", source_kind="bluesky"), ["c"]),
        (MentionFilter(author="ben.example"), ["c"]),
        (MentionFilter(text="STRASSE"), ["b"]),
        (MentionFilter(text="100%"), ["c"]),
        (MentionFilter(text="0%_"), []),
        (MentionFilter(text="שלום"), ["a"]),
        (MentionFilter(text="o", sentiment="neutral", queries=["q1"], start=NOON), ["b"]),
    ],
)
async def test_filters(store: Store, wanted: MentionFilter, expected: list[str]) -> None:
    ben = Author(id="did:ben", name="Ben", handle="ben.example")
    feed: dict[str, Any] = {"source_kind": "rss", "source_id": "rss-1"}
    batch = [
        post("a", text="שלום עולם", lang="he", sentiment="negative", queries=("q1",)),
        post("b", **feed, text="Die Straße of old", intent="praise", queries=("q1", "q2"), published_at=NOON + MINUTE),
        post("c", text="100% off", author=ben, urgency="critical", queries=("q2",), published_at=NOON + 2 * MINUTE),
        post("d", realm="rehearsal"),
        post("e", text="100% gone"),
        withdrawal("e", 3),
    ]
    await store.keep("store", placed(batch))
    assert await _ids(store, wanted) == expected


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("José", "Jose\u0301"),
        ("Jose\u0301", "JOSÉ"),
        ("ÉLODIE", "élodie"),
        ("Élodie", "ÉLODIE"),
        ("علي شريك", "علی شریک"),
        ("علی شریک", "علي شريك"),
        ("Ben.Example", "ben.example"),
        ("nul\x00name", "NUL\x00name"),
    ],
)
async def test_an_author_is_found_however_the_name_is_typed(store: Store, stored: str, asked: str) -> None:
    await store.keep("store", placed([post("a", author=Author(id="a", name=stored)), post("b")]))
    assert await _ids(store, MentionFilter(author=asked)) == ["a"]
    await store.keep("store", placed([post("c", author=Author(id="c", handle=stored))], start=2))
    assert await _ids(store, MentionFilter(author=asked)) == ["c", "a"]


async def test_an_endless_search_text_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at most"):
        await store.mentions(MentionFilter(text="x" * 1001))


async def test_search_normalises_both_sides(database: str) -> None:
    store = await Store.open(database, lambda: NOON, lambda words: words.replace("ي", "ی").replace("ك", "ک"))
    await store.keep("store", placed([post("a", text="كتابي")]))
    assert await _ids(store, MentionFilter(text="کتابی")) == ["a"]
    await store.aclose()


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("می\u200cخواهم بانک\u200cها را", "میخواهم بانکها"),
        ("می\u200cخواهم بانک\u200cها را", "می خواهم"),
        ("میخواهم", "می\u200cخواهم"),
        ("می خواهم", "می\u200cخواهم"),
        ("گرچه می\u200cخواهم", "\u200cمی\u200cخواهم "),
        ("לתל־אביב", "תל אביב"),
        ("לתל אביב", "תל־אביב"),
        ("coca-cola is back", "Coca Cola"),
        ("coca cola", "coca-cola"),
        ("acme\nbank down", "acme bank"),
        ("acme  -  bank", "acme\tbank"),
        ("100%\u2028off_", "100% off_"),
    ],
)
async def test_search_finds_words_however_they_are_joined(database: str, stored: str, asked: str) -> None:
    store = await Store.open(database, lambda: NOON, normalise)
    await store.keep("store", placed([post("a", text=stored), post("b", text="می رود cola coca")]))
    assert await _ids(store, MentionFilter(text=asked)) == ["a"]
    await store.aclose()


@pytest.mark.parametrize("text", ["", " ", "\u0640", "\u200f", "\u200c", " - "])
async def test_a_search_text_with_nothing_in_it_is_refused(database: str, text: str) -> None:
    store = await Store.open(database, lambda: NOON, normalise)
    with pytest.raises(ValueError, match="text: nothing"):
        await store.mentions(MentionFilter(text=text))
    await store.aclose()


async def test_a_replay_reads_in_event_time(store: Store) -> None:
    records = [post(f"p{at}", published_at=NOON + timedelta(seconds=(at * 37) % 600)) for at in range(1200)]
    for start in range(0, 1200, 200):
        await store.keep("store", placed(records[start : start + 200], start=start))
    await store.keep("store", placed([withdrawal("p7", 3)], start=1200))
    span = (NOON + timedelta(seconds=10), NOON + timedelta(seconds=590))
    found = [scored async for scored in store.mentions_between("live", *span)]
    wanted = [
        r for r in records if r.mention.native_id != "p7" and span[0] <= (r.mention.published_at or NOON) < span[1]
    ]
    assert sorted(f.mention.native_id for f in found) == sorted(w.mention.native_id for w in wanted)
    times = [scored.mention.published_at for scored in found]
    assert times == sorted(times, key=lambda at: at or NOON)
    assert len(found) > 1000


async def test_rollups_by_step_query_and_source(store: Store) -> None:
    records = [
        post(f"p{at}", published_at=NOON + at * MINUTE, received_at=LATER, source_id=f"s{at % 2}", sentiment=mood)
        for at, mood in enumerate(["negative"] * 4 + ["positive"] * 6)
    ]
    edit = post("p9", 2, published_at=NOON + 9 * MINUTE, received_at=LATER, queries=("other",))
    await store.keep("store", placed([*records, edit]))

    async def totals(**changes: object) -> list[tuple[int, int, int]]:
        values: dict[str, object] = {"realm": "live", "start": NOON, "end": NOON + timedelta(hours=1)}
        steps: list[Rollup] = list(await store.rollups(Span(**(values | changes))))  # type: ignore[arg-type]  # by case
        return [((s.at - NOON) // MINUTE, s.counts["total"], s.counts["negative"]) for s in steps]

    assert await totals(step=5) == [(0, 5, 4), (5, 5, 0)]
    assert await totals(step=60) == [(0, 10, 4)]
    assert await totals(step=5, source="s0") == [(0, 3, 2), (5, 2, 0)]
    assert await totals(step=60, query="brand") == [(0, 9, 4)]
    assert await totals(query="other") == [(9, 1, 0)]
    assert await totals(end=NOON + MINUTE) == [(0, 1, 1)]
    assert await totals(realm="replay") == []
    with pytest.raises(ValueError, match="step"):
        await totals(step=0)


@pytest.mark.parametrize("bound", ["start", "end"])
@pytest.mark.parametrize("absurd", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_moment_beyond_the_calendar_is_refused_as_a_value(store: Store, bound: str, absurd: str) -> None:
    moment = datetime.fromisoformat(absurd)
    wanted = MentionFilter(start=moment) if bound == "start" else MentionFilter(end=moment)
    with pytest.raises(ValueError, match="out of range"):
        await store.mentions(wanted)
