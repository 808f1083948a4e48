from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.store import Span, Store, keeping
from app.store.rollups import COUNTS
from app.tables import mention_queries, mentions, metadata, rollups
from streams.records import Action, Author, DeadLetter, Pulse, ScoredMention, SourceStatus, Tally
from streams.stream import Position
from tests.app.store_world import NOON, SENTIMENTS, URGENCIES, alert, placed, post, pulse, withdrawal

IDS = ("a", "b", "c")
AUTHORS = ("ann", "ben")
REALMS = ("live", "rehearsal")
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _published(native_id: str, revision: int, realm: str) -> ScoredMention:
    """Content is a function of identity and revision, as upstream it is."""
    seed = IDS.index(native_id) * 7 + revision
    return post(
        native_id,
        revision,
        realm=realm,
        author=Author(id=AUTHORS[(seed // 3) % 2]),
        published_at=NOON + timedelta(minutes=seed % 3 - 1),
        sentiment=SENTIMENTS[seed % 3],
        urgency=URGENCIES[seed % 4],
        queries=("q1", "q2")[: seed % 3],
    )


publishes = st.builds(_published, st.sampled_from(IDS), st.integers(0, 6), st.sampled_from(REALMS))
deletes = st.builds(
    lambda native_id, revision, realm: withdrawal(native_id, revision, realm=realm),
    st.sampled_from(IDS),
    st.integers(0, 6),
    st.sampled_from(REALMS),
)
author_deletes = st.builds(
    lambda author, revision, realm: withdrawal(author, revision, Action.DELETE_AUTHOR, realm=realm),
    st.sampled_from(AUTHORS),
    st.integers(0, 6),
    st.sampled_from(REALMS),
)
worlds = st.lists(st.one_of(publishes, publishes, deletes, author_deletes), max_size=24)


class Model:
    """What the store must hold, told from the set of records alone: no order, no batches."""

    def __init__(self, world: Sequence[ScoredMention]) -> None:
        self.best: dict[tuple[str, str], ScoredMention] = {}
        self.posts: dict[tuple[str, str], int] = {}
        self.authors: dict[tuple[str, str], int] = {}
        for scored in world:
            mention = scored.mention
            place = (mention.realm, mention.native_id)
            if mention.action is Action.PUBLISH:
                if place not in self.best or mention.revision > self.best[place].mention.revision:
                    self.best[place] = scored
            else:
                stones = self.posts if mention.action is Action.DELETE else self.authors
                stones[place] = max(mention.revision, stones.get(place, -1))

    def readable(self) -> dict[tuple[str, str], ScoredMention]:
        found = {}
        for (realm, native_id), scored in self.best.items():
            author = scored.mention.author
            assert author is not None
            stones = [self.posts.get((name, native_id), -1) for name in (realm, "live")]
            stones += [self.authors.get((name, author.id), -1) for name in (realm, "live")]
            if scored.mention.revision > max(stones):
                found[realm, native_id] = scored
        return found

    def counts(self) -> Counter[tuple[str, str, int, str]]:
        """(realm, query, minute after noon, column) -> count."""
        found: Counter[tuple[str, str, int, str]] = Counter()
        for (realm, _), scored in self.best.items():
            assert scored.mention.published_at is not None
            assert scored.score is not None
            at = min(scored.mention.published_at, scored.mention.received_at)
            minute = (at - NOON) // timedelta(minutes=1)
            for query in ("", *scored.mention.queries):
                for column in ("total", scored.score.sentiment.label, scored.score.urgency.label):
                    found[realm, query, minute, column] += 1
        return found


async def wipe(store: Store) -> None:
    async with store._database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(table.delete())


async def rows_of(store: Store, *columns: Any) -> list[Mapping[str, Any]]:
    async with store._database.read() as connection:
        return [row._asdict() for row in await connection.execute(select(*columns))]


async def counted(store: Store) -> Counter[tuple[str, str, int, str]]:
    found: Counter[tuple[str, str, int, str]] = Counter()
    noon = int(NOON.timestamp()) // 60
    for row in await rows_of(store, rollups):
        for column in COUNTS:
            found[row["realm"], row["query_id"], row["minute"] - noon, column] += row[column]
    return +found


async def assert_equals_model(store: Store, world: Sequence[ScoredMention]) -> None:
    model = Model(world)
    readable = model.readable()
    for realm in REALMS:
        for native_id in IDS:
            assert await store.mention("bluesky", native_id, realm) == readable.get((realm, native_id))
    assert await counted(store) == model.counts()
    stored = await rows_of(store, mentions)
    assert {(row["realm"], row["native_id"]) for row in stored} == set(model.best)
    for row in stored:
        whole = (row["realm"], row["native_id"]) in readable
        assert (row["deleted_at"] is None) == whole
        assert (row["text"] is None) != whole
    links = await rows_of(store, mention_queries)
    assert len(links) == sum(len(scored.mention.queries) for scored in model.best.values())


@MANY
@given(data=st.data(), world=worlds)
async def test_any_order_any_split_any_repeat_gives_the_same_rows(
    store: Store, data: st.DataObject, world: list[ScoredMention]
) -> None:
    """Invariants 1 and 8."""
    await wipe(store)
    repeats = data.draw(st.lists(st.sampled_from(world), max_size=6)) if world else []
    order = data.draw(st.permutations(world + repeats))
    at = 0
    while at < len(order):
        size = data.draw(st.integers(1, len(order)))
        batch = placed(order[at : at + size], start=at)
        await store.keep("store", batch)
        if data.draw(st.booleans()):
            await store.keep("store", batch)
        at += size
    await assert_equals_model(store, world)
    assert await store.positions("scored", "store", [0]) == ({0: len(order)} if order else {})


async def test_a_batch_is_reported_by_source(store: Store) -> None:
    batch = placed([post("a"), post("b"), post("a", 2), post("b"), withdrawal("c", 9)])
    kept = await store.keep("store", batch)
    assert kept.inserted == {"bluesky-main": 2}
    assert kept.repeated == {"bluesky-main": 2}
    assert kept.revised == {}
    assert [source for source, _ in kept.arrived] == ["bluesky-main"] * 2
    later = await store.keep("store", placed([post("a", 3), withdrawal("b", 9), post("c", 9)], start=5))
    assert later.revised == {"bluesky-main": 1}
    assert later.deleted == {"bluesky-main": 1}
    assert later.inserted == {"bluesky-main": 1}
    again = await store.keep("another group", batch)
    assert (again.inserted, again.revised, again.deleted) == ({}, {}, {})
    assert again.repeated == {"bluesky-main": 4}
    assert await store.mention("bluesky", "c") is None


async def test_a_stored_mention_comes_back_whole(store: Store) -> None:
    given_one = post(
        "x" * 2048,
        revision=2**63 - 1,
        text="שלום می\u200cخواهم \u202eevil\u202c",
        author=Author(id="i", name="", handle="h"),
        lang=None,
        url=None,
        thread_id="t",
        reply_to="r",
        place="Haifa",
        queries=("b", "a"),
        sentiment="negative",
        urgency="critical",
    )
    await store.keep("store", placed([given_one]))
    found = await store.mention("bluesky", "x" * 2048)
    assert found is not None
    assert found.model_copy(update={"mention": found.mention.model_copy(update={"queries": ("b", "a")})}) == given_one
    assert set(found.mention.queries) == {"a", "b"}
    assert ScoredMention.model_validate_json(found.model_dump_json()) == found


async def test_the_unfit_are_named_and_counted_and_never_block(store: Store) -> None:
    no_score = post("a").model_copy(update={"score": None})
    timeless = post("b", published_at=None)
    kept = await store.keep("store", placed([no_score, post("c"), timeless]))
    assert [(position.offset, reason.split(":")[0]) for position, reason in kept.unfit] == [
        (0, "score"),
        (2, "published_at"),
    ]
    assert kept.inserted == {"bluesky-main": 1}
    assert (await store.ledger())["live", "bluesky-main"] == {"scored": 1, "stored": 1, "dead_store": 2}
    assert await store.positions("scored", "store", [0]) == {0: 3}


async def test_the_worst_that_a_record_may_hold_is_stored(store: Store) -> None:
    worst = post(
        "nul\x00id",
        text="\x00" * 3 + "ا" * 99_997,
        author=Author(id="\x00", name="\x00"),
        published_at=NOON.replace(year=2),
        reach={"followers": 10**30},
        queries=("q\x00",),
    )
    far = NOON.replace(year=9998)
    await store.keep("store", placed([worst, post("far", published_at=far, received_at=far)]))
    found = await store.mention("bluesky", "nul\x00id")
    assert found is not None
    assert found.mention.reach.followers == 2**63 - 1
    assert found.mention.text.startswith("\ufffd" * 3 + "ا")
    steps = await store.rollups(
        Span("live", NOON.replace(year=2), NOON.replace(year=9998) + timedelta(days=1), step=60)
    )
    assert [(step.at.year, step.counts["total"]) for step in steps] == [(2, 1), (9998, 1)]


@pytest.mark.parametrize("step", ["publish", "ledger.note", "offsets.advance", "rollups.apply", "withdrawals.erase"])
async def test_effect_and_offset_are_one(store: Store, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Invariant 1: a fault after any step leaves nothing of the batch."""
    await store.keep("store", placed([post("a"), pulse()]))
    before = await dump(store)
    owner: Any = keeping
    *path, name = step.split(".")
    for part in path:
        owner = getattr(owner, part)
    whole = getattr(owner, name)

    async def broken(*args: Any) -> None:
        await whole(*args)
        raise RuntimeError("power cut")

    news: list[ScoredMention | Pulse] = [
        post("a", 2),
        post("b"),
        withdrawal("c", 1),
        pulse(sent_at=NOON + timedelta(1)),
    ]
    batch = placed(news, start=2)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(RuntimeError, match="power cut"):
            await store.keep("store", batch)
    assert await dump(store) == before
    await store.keep("store", batch)
    assert await dump(store) != before
    assert await store.positions("scored", "store", [0]) == {0: 6}


async def dump(store: Store) -> dict[str, list[Any]]:
    """Return every row of every table."""
    async with store._database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


async def test_groups_and_partitions_are_apart(store: Store) -> None:
    await store.keep("store", [(Position(0, 5), post("a")), (Position(3, 9), pulse())])
    assert await store.positions("scored", "store", [0, 1, 3]) == {0: 6, 3: 10}
    assert await store.positions("scored", "store", [1, 3]) == {3: 10}
    assert await store.positions("scored", "other", [0, 3]) == {}
    assert await store.positions("alerts", "store", [0, 3]) == {}


async def test_the_latest_pulse_stays_with_the_counters(store: Store) -> None:
    late = pulse(sent_at=NOON - timedelta(seconds=5), status=SourceStatus.STALLED)
    await store.keep("store", placed([pulse(tally=Tally(received=9)), late, post("a")]))
    await store.keep("store", placed([late], start=3))
    (state,) = await store.sources("live")
    assert state.pulse.status is SourceStatus.LIVE
    assert state.counters["received"] == 9
    assert state.counters["stored"] == state.counters["scored"] == 1
    assert await store.sources("rehearsal") == []


@pytest.mark.parametrize("batches", [1, 2])
async def test_a_pulse_from_the_future_gives_way_to_the_next(store: Store, batches: int) -> None:
    """A sender's clock that ran ahead and was mended: what the source says now counts, not hours later."""
    news = placed([pulse(sent_at=NOON + timedelta(hours=2)), pulse(status=SourceStatus.UNREACHABLE)])
    for batch in (news,) if batches == 1 else (news[:1], news[1:]):
        await store.keep("store", batch)
    (state,) = await store.sources("live")
    assert state.pulse.status is SourceStatus.UNREACHABLE


async def test_dead_letters_are_counted_by_stage_once(store: Store) -> None:
    letters = [
        DeadLetter(stage="score", reason="x", source_id="bluesky-main", at=NOON),
        DeadLetter(stage="source", reason="x", source_id="bluesky-main", at=NOON),
    ]
    assert await store.keep_dead("store", placed(letters)) == 2
    assert await store.keep_dead("store", placed(letters)) == 0
    assert await store.ledger() == {("live", "bluesky-main"): {"dead_score": 1}}


async def test_two_processes_with_the_same_partition_do_it_once(store: Store, database: str) -> None:
    """A zombie and the new owner after a rebalance: the second waits, then sees what was done."""
    other = await Store.open(database, lambda: NOON)
    batches = [placed([post(f"{n}-{i}") for i in range(20)], start=n * 20) for n in range(10)]

    async def all_of(keeper: Store) -> int:
        return sum([sum((await keeper.keep("store", batch)).inserted.values()) for batch in batches])

    assert sum(await asyncio.gather(all_of(store), all_of(other))) == 200
    await other.aclose()
    assert (await counted(store))["live", "", 0, "total"] == 200


async def test_partitions_are_kept_side_by_side(store: Store, database: str) -> None:
    """Shared rollup rows, sources and days: no process waits for another in a ring."""
    stores = [store, await Store.open(database, lambda: NOON)]

    async def partition(number: int) -> None:
        for start in range(0, 60, 10):
            records = [
                post(
                    f"{number}-{at}",
                    published_at=NOON + timedelta(minutes=(at * 7 + number) % 5),
                    source_id=f"s{at % 3}",
                )
                for at in range(start, start + 10)
            ]
            pulses = [pulse(f"s{(at + number) % 3}", sent_at=NOON + timedelta(seconds=start)) for at in range(3)]
            await stores[number % 2].keep("store", placed([*records, *pulses], number, start * 2))

    await asyncio.gather(*(partition(number) for number in range(6)))
    await stores[1].aclose()
    assert (
        sum(n for (_, query, _, column), n in (await counted(store)).items() if (query, column) == ("", "total")) == 360
    )


async def test_an_author_erased_in_one_partition_is_erased_in_all(store: Store, database: str) -> None:
    """The erasure and the author's posts race in different processes; whichever is first, nothing stays readable."""
    other = await Store.open(database, lambda: NOON)
    for turn in range(10):
        author = Author(id=f"did:{turn}")
        posts = [post(f"{turn}-{at}", author=author) for at in range(10)]
        gone = withdrawal(author.id, 5, Action.DELETE_AUTHOR)
        await asyncio.gather(
            store.keep("store", placed(posts, 0, turn * 10)), other.keep("store", placed([gone], 1, turn))
        )
    await other.aclose()
    assert {row["text"] for row in await rows_of(store, mentions)} == {None}
    await store.keep("store", placed([post("again", 6, author=Author(id="did:1"))], start=100))
    assert await store.mention("bluesky", "again") is not None


async def test_offsets_are_void_in_another_log(store: Store) -> None:
    """A log that was moved away begins at 0: what it brings is stored, though the old one was read further."""
    await store.keep("store", placed([post("old"), post("both"), post("third")]), log="first")
    assert await store.positions("scored", "store", [0], log="first") == {0: 3}
    assert await store.positions("scored", "store", [0], log="second") == {0: 0}
    assert (await store.wall("live", NOON, "scored", "store", log="second")).positions == {0: 0}
    kept = await store.keep("store", placed([post("both"), post("new")]), log="second")
    assert (kept.inserted, kept.repeated) == ({"bluesky-main": 1}, {"bluesky-main": 1})
    assert await store.positions("scored", "store", [0], log="second") == {0: 2}
    assert (await store.keep("store", placed([post("new")]), log="second")).repeated == {}


async def test_alerts_and_dead_letters_of_another_log_are_stored_too(store: Store) -> None:
    letter = DeadLetter(stage="score", reason="r", source_id="bluesky-main", origin="x", at=NOON)
    for log in ("first", "second"):
        assert await store.keep_dead("store", placed([letter]), log=log) == 1
        assert await store.keep_dead("store", placed([letter]), log=log) == 0
    assert len(await store.keep_alerts("store", placed([alert("a", 0)]), log="first")) == 1
    assert len(await store.keep_alerts("store", placed([alert("a", 0), alert("b", 0)]), log="second")) == 1


async def test_an_edit_that_cant_be_stored_takes_the_older_words_away(store: Store) -> None:
    """Invariant 8: what an author replaced is not readable any more, though the new words are not here."""
    await store.keep("store", placed([post("a", text="harmless"), post("b", 2)]))
    edits = [post("a", 3).model_copy(update={"score": None}), post("b", 1).model_copy(update={"score": None})]
    kept = await store.keep("store", placed(edits, start=2))
    assert kept.deleted == {"bluesky-main": 1}
    assert await store.mention("bluesky", "a") is None
    assert "harmless" not in repr(await dump(store))
    assert await store.mention("bluesky", "b") is not None, "an older edit that came late replaces nothing"
    await store.keep("store", placed([post("a", 4)], start=4))
    assert await store.mention("bluesky", "a") is not None
    assert (await store.ledger())["live", "bluesky-main"] == {
        "scored": 3,
        "stored": 2,
        "revised": 1,
        "deleted": 1,
        "dead_store": 2,
    }
