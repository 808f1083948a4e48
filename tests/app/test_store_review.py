"""The review queue and the labels in the store, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from sqlalchemy import inspect, text

from app.migrations import migrate
from app.store import (
    SKIP,
    Horizons,
    LabelFilter,
    OtherRevision,
    QueueFilter,
    Store,
    UnknownMention,
    Verdict,
)
from app.store.database import make_engine
from app.store.review import page_query
from app.store.rows import Doubt
from app.tables import labels, mentions
from streams.records import Action, Identity, ScoredMention
from tests.app.store_world import NOON, placed, post, withdrawal
from tests.app.test_store_keep import dump, rows_of
from tests.app.test_store_withdrawals import CANARY

BOTH: tuple[Doubt, ...] = ("sentiment", "urgency")


def doubted(native_id: str, revision: int = 1, tasks: tuple[Doubt, ...] = BOTH, **changes: object) -> ScoredMention:
    scored = post(native_id, revision, **changes)
    assert scored.score is not None
    return scored.model_copy(update={"score": scored.score.model_copy(update={"uncertain": tasks})})


def verdict(native_id: str, revision: int = 1, person: str = "noa", note: str = "", **given: str | None) -> Verdict:
    identity = Identity(source_kind="bluesky", native_id=native_id)
    return Verdict(identity, revision, given or {"sentiment": "negative"}, person, note)


async def waiting(store: Store, wanted: QueueFilter | None = None) -> list[tuple[str, tuple[Doubt, ...]]]:
    page = await store.queue(wanted or QueueFilter(person="somebody else"), 500)
    assert page.after is None
    return [(one.scored.mention.native_id, one.tasks) for one in page.items]


async def majority(store: Store, wanted: LabelFilter | None = None) -> dict[str, Mapping[str, str]]:
    return {one.native_id: one.labels async for one in store.labelled_texts(wanted or LabelFilter())}


async def test_what_the_model_doubts_is_kept_and_waits_most_urgent_first(store: Store) -> None:
    batch = [
        doubted("low", urgency="low", tasks=("sentiment",), published_at=NOON - timedelta(minutes=1)),
        doubted("old", urgency="critical", published_at=NOON - timedelta(hours=1)),
        doubted("new", urgency="critical", tasks=("urgency",)),
        post("sure", urgency="critical"),
        doubted("elsewhere", realm="rehearsal"),
    ]
    await store.keep("store", placed(batch))
    assert await waiting(store) == [("new", ("urgency",)), ("old", BOTH), ("low", ("sentiment",))]
    assert [name for name, _ in await waiting(store, QueueFilter(order="newest"))] == ["new", "low", "old"]
    assert await waiting(store, QueueFilter(task="sentiment")) == [("old", ("sentiment",)), ("low", ("sentiment",))]
    assert await waiting(store, QueueFilter(realm="rehearsal")) == [("elsewhere", BOTH)]
    for scored in batch:
        assert await store.mention("bluesky", scored.mention.native_id, scored.mention.realm) == scored


async def test_an_answer_takes_a_mention_out_of_the_queue_and_withdrawing_it_brings_it_back(store: Store) -> None:
    await store.keep("store", placed([doubted("a")]))
    assert await store.label(verdict("a", sentiment="positive", intent="praise")) == ("urgency",)
    assert await waiting(store) == [("a", ("urgency",))]
    assert await majority(store) == {"a": {"sentiment": "positive", "intent": "praise"}}
    assert await store.label(verdict("a", urgency="low")) == ()
    assert await waiting(store) == []
    assert await store.label(verdict("a", urgency=None)) == ("urgency",)
    assert await majority(store) == {"a": {"sentiment": "positive", "intent": "praise"}}


async def test_the_same_answer_again_changes_nothing_and_another_replaces_it(database: str) -> None:
    now = [NOON]
    store = await Store.open(database, lambda: now[0])
    await store.keep("store", placed([doubted("a")]))
    await store.label(verdict("a", note="because"))
    first = (await dump(store))["labels"]
    now[0] += timedelta(minutes=5)
    await store.label(verdict("a", note="because"))
    assert (await dump(store))["labels"] == first
    await store.label(verdict("a", sentiment="positive"))
    (row,) = await rows_of(store, labels)
    assert (row["label"], row["note"], row["at"]) == ("positive", None, now[0])
    assert (row["answer"], row["probability"], row["model_id"]) == ("neutral", 0.75, "test/model")
    await store.aclose()


async def test_a_skip_hides_a_mention_from_that_person_and_the_second_one_from_all(store: Store) -> None:
    await store.keep("store", placed([doubted("a", tasks=("urgency",))]))
    assert await store.label(verdict("a", person="noa", urgency=SKIP)) == ("urgency",)
    assert await waiting(store, QueueFilter(person="noa")) == []
    assert await waiting(store, QueueFilter(person="ali")) == [("a", ("urgency",))]
    assert await store.label(verdict("a", person="ali", urgency=SKIP)) == ()
    assert await waiting(store, QueueFilter(person="sara")) == []
    assert await majority(store) == {}
    assert await waiting(store, QueueFilter(person="sara", answered=True)) == [("a", ("urgency",))]


async def test_a_tie_waits_for_a_third_person(store: Store) -> None:
    await store.keep("store", placed([doubted("a", tasks=("sentiment",))]))
    await store.label(verdict("a", person="noa", sentiment="negative"))
    assert await waiting(store, QueueFilter(person="ali", answered=True)) == [("a", ("sentiment",))]
    assert await waiting(store, QueueFilter(person="noa", answered=True)) == []
    assert await store.label(verdict("a", person="ali", sentiment="neutral")) == ("sentiment",)
    assert await majority(store) == {}
    assert await waiting(store, QueueFilter(person="ali")) == []
    (item,) = (await store.queue(QueueFilter(person="sara"))).items
    assert (dict(item.labels), dict(item.skips)) == ({"sentiment": 2}, {})
    assert await store.label(verdict("a", person="sara", sentiment="neutral")) == ()
    assert await majority(store) == {"a": {"sentiment": "neutral"}}
    (one,) = [one async for one in store.rulings(LabelFilter())]
    assert [(ruling.person, ruling.label) for ruling in one.rulings] == [
        ("ali", "neutral"),
        ("noa", "negative"),
        ("sara", "neutral"),
    ]


async def test_labels_of_what_is_not_in_the_queue_are_kept_too(store: Store) -> None:
    await store.keep("store", placed([post("sure")]))
    assert await store.label(verdict("sure", intent="question")) == ()
    assert await majority(store, LabelFilter(task="intent")) == {"sure": {"intent": "question"}}
    assert await majority(store, LabelFilter(task="urgency")) == {}


async def test_unknown_mentions_revisions_tasks_and_labels_are_refused(store: Store) -> None:
    await store.keep("store", placed([doubted("a", 2), doubted("gone"), withdrawal("gone", 1)]))
    for name in ("b", "gone"):
        with pytest.raises(UnknownMention):
            await store.label(verdict(name))
    for revision in (1, 3):
        with pytest.raises(OtherRevision) as refused:
            await store.label(verdict("a", revision))
        assert refused.value.current.mention.text == "post a revision 2"
    with pytest.raises(ValueError, match="urgency: 'negative' is not one of low, normal, high, critical, skip"):
        await store.label(verdict("a", 2, urgency="negative"))
    with pytest.raises(ValueError, match="mood: not a task"):
        await store.label(verdict("a", 2, mood="negative"))
    assert await rows_of(store, labels) == []


async def test_an_edit_asks_anew_and_takes_the_notes(store: Store) -> None:
    await store.keep("store", placed([doubted("a"), doubted("b")]))
    for name in ("a", "b"):
        await store.label(verdict(name, note=f"says {CANARY}", sentiment="negative", urgency="low"))
    assert await waiting(store) == []
    await store.keep("store", placed([doubted("a", 2, tasks=("urgency",)), post("b", 2)], start=2))
    assert await waiting(store, QueueFilter(person="noa")) == [("a", ("urgency",))]
    assert await majority(store) == {}
    assert CANARY not in repr((await dump(store))["labels"])
    assert {row["revision"] for row in await rows_of(store, labels)} == {1}
    await store.label(verdict("a", 2, urgency="high"))
    assert await majority(store) == {"a": {"urgency": "high"}}


async def test_a_revision_with_the_same_text_carries_the_labels_over(store: Store) -> None:
    await store.keep("store", placed([doubted("a", text="same"), doubted("b", text="same", tasks=())]))
    await store.label(verdict("a", note="why", sentiment="negative"))
    await store.label(verdict("b", sentiment="negative"))
    again = [doubted("a", 2, text="same", sentiment="positive"), doubted("b", 2, text="same")]
    await store.keep("store", placed(again, start=2))
    assert await majority(store) == {"a": {"sentiment": "negative"}, "b": {"sentiment": "negative"}}
    assert sorted(await waiting(store)) == [("a", ("urgency",)), ("b", ("urgency",))]
    assert {row["note"] for row in await rows_of(store, labels)} == {"why", None}
    await store.keep("store", placed([doubted("a", 3, text="other")], start=4))
    await store.keep("store", placed([doubted("a", 4, text="same")], start=5))
    assert "a" in dict(await waiting(store, QueueFilter(task="sentiment")))


@pytest.mark.parametrize("action", [Action.DELETE, Action.DELETE_AUTHOR])
async def test_an_erasure_takes_labels_and_notes(store: Store, action: Action) -> None:
    """Invariant 8, for what people wrote about a text too."""
    await store.keep("store", placed([doubted("a", text=CANARY), doubted("a", realm="rehearsal", text=CANARY)]))
    await store.label(verdict("a", note=CANARY))
    of = {Action.DELETE: "a", Action.DELETE_AUTHOR: "did:plc:ann"}
    await store.keep("store", placed([withdrawal(of[action], 1, action)], start=2))
    assert [name for name, rows in (await dump(store)).items() if CANARY in repr(rows)] == []
    assert await rows_of(store, labels) == []
    assert await waiting(store) == []
    assert await waiting(store, QueueFilter(realm="rehearsal")) == []
    with pytest.raises(UnknownMention):
        await store.label(verdict("a", note=CANARY))


async def test_an_edit_that_was_withdrawn_before_it_came_takes_the_labels(store: Store) -> None:
    await store.keep("store", placed([doubted("a")]))
    await store.label(verdict("a", note=CANARY))
    stone = withdrawal("did:plc:ben", 5, Action.DELETE_AUTHOR)
    late = doubted("a", 3, author={"id": "did:plc:ben"}, text=CANARY)
    await store.keep("store", placed([stone, late], start=1))
    assert [name for name, rows in (await dump(store)).items() if CANARY in repr(rows)] == []
    assert await rows_of(store, labels) == []


async def test_retention_takes_labels_with_their_mention(store: Store) -> None:
    await store.keep("store", placed([doubted("a"), doubted("b", received_at=NOON + timedelta(days=1))]))
    await store.label(verdict("a"))
    await store.label(verdict("b"))
    await store.retain(Horizons(mentions=NOON + timedelta(hours=1)))
    assert list(await majority(store)) == ["b"]
    assert len(await rows_of(store, labels)) == 1


@pytest.mark.parametrize("wanted", [QueueFilter(), QueueFilter(order="newest"), QueueFilter(lang="he")])
async def test_pages_miss_nothing_and_repeat_nothing_while_mentions_come_and_are_answered(
    store: Store, wanted: QueueFilter
) -> None:
    def made(at: int, name: str = "p", published_at: datetime | None = None) -> ScoredMention:
        when = published_at or NOON + timedelta(seconds=at // 3)
        levels = ("low", "high", "critical")
        return doubted(f"{name}{at}", urgency=levels[at % 3], published_at=when, lang="he")

    await store.keep("store", placed([made(at) for at in range(40)]))
    seen: list[str] = []
    after, turn = None, 0
    while turn == 0 or after is not None:
        page = await store.queue(wanted, 7, after)
        names = [one.scored.mention.native_id for one in page.items]
        seen += [name for name in names if name.startswith("p")]
        for name in names[::2]:
            await store.label(verdict(name, sentiment="neutral", urgency="low"))
        await store.keep("store", placed([made(turn, "new", NOON + timedelta(hours=1))], start=40 + turn))
        after, turn = page.after, turn + 1
    assert sorted(seen) == sorted(f"p{at}" for at in range(40))


@pytest.mark.parametrize(
    "after", ["", "x", "1.2", "newest.1.2", "urgent.1.2", "urgent.1.2.3.4", "urgent.٣.1.2", f"urgent.1.{'9' * 18}.1"]
)
async def test_a_foreign_cursor_is_refused(store: Store, after: str) -> None:
    with pytest.raises(ValueError, match="after"):
        await store.queue(QueueFilter(), 7, after)


async def test_two_people_at_once_leave_both_words_and_a_true_queue(store: Store) -> None:
    await store.keep("store", placed([doubted(f"p{at}", tasks=("urgency",)) for at in range(8)]))
    people = ("noa", "ali", "sara")
    for at in range(8):
        given = ("low", "high", "high") if at % 2 else ("low", "normal", "high")
        await asyncio.gather(
            *(store.label(verdict(f"p{at}", person=p, urgency=g)) for p, g in zip(people, given, strict=True))
        )
    assert len(await rows_of(store, labels)) == 24
    assert sorted(name for name, _ in await waiting(store)) == ["p0", "p2", "p4", "p6"]
    assert await majority(store) == {f"p{at}": {"urgency": "high"} for at in (1, 3, 5, 7)}


async def test_a_label_an_edit_and_a_deletion_at_once_never_leave_a_word_on_another_text(store: Store) -> None:
    """Whoever comes first: the label is refused, voided or erased, and the queue says so."""
    await store.keep("store", placed([doubted(f"p{at}") for at in range(12)]))

    async def say(at: int) -> None:
        with contextlib.suppress(OtherRevision, UnknownMention):
            await store.label(verdict(f"p{at}", note=CANARY, sentiment="negative", urgency="low"))

    for at in range(12):
        record = doubted(f"p{at}", 2) if at % 2 else withdrawal(f"p{at}", 1)
        moves = [say(at), store.keep(f"g{at}", placed([record]))]
        await asyncio.gather(*(moves if at % 3 else reversed(moves)))
    assert CANARY not in repr(await dump(store))
    assert sorted(await waiting(store, QueueFilter(person="noa"))) == sorted((f"p{at}", BOTH) for at in range(1, 12, 2))
    assert await majority(store) == {}


async def test_figures_count_what_waits_what_is_labelled_and_what_was_said_today(database: str) -> None:
    now = [NOON - timedelta(days=1)]
    store = await Store.open(database, lambda: now[0])
    batch = [doubted("a"), doubted("b", lang="he", tasks=("urgency",)), doubted("c", lang=None), post("d")]
    await store.keep("store", placed([*batch, doubted("e", realm="rehearsal")]))
    await store.label(verdict("a", sentiment="negative"))
    now[0] = NOON
    await store.label(verdict("a", person="ali", sentiment="negative", urgency=SKIP))
    await store.label(verdict("d", intent="praise"))
    found = await store.queue_figures()
    assert found.waiting == {("urgency", "en"): 1, ("urgency", "he"): 1, ("sentiment", None): 1, ("urgency", None): 1}
    assert found.labelled == {("sentiment", "en"): 1, ("intent", "en"): 1}
    assert found.answered_today == {"sentiment": 1, "intent": 1}
    assert found.skipped_today == {"urgency": 1}
    assert (await store.queue_figures("rehearsal")).waiting == {("sentiment", "en"): 1, ("urgency", "en"): 1}
    await store.aclose()


async def test_labelled_texts_come_in_slices_and_by_filter(store: Store) -> None:
    batch = [post(f"p{at}", text=f"שלום {at}", lang="he" if at % 2 else "ar") for at in range(700)]
    await store.keep("store", placed(batch))
    rows = [
        {
            "mention_id": row["id"],
            "task": "sentiment",
            "person": "noa",
            "revision": 1,
            "label": "positive",
            "at": NOON,
            "answer": "neutral",
            "probability": 0.4,
            "model_id": "m",
            "model_revision": "r",
        }
        for row in await rows_of(store, mentions.c.id)
    ]
    async with store._database.write() as connection:
        await connection.execute(labels.insert(), rows)
    found = [one async for one in store.labelled_texts()]
    assert {(one.native_id, one.text, one.lang) for one in found} == {
        (scored.mention.native_id, scored.mention.text, scored.mention.lang) for scored in batch
    }
    assert len(found) == 700
    assert len(await majority(store, LabelFilter(lang="he"))) == 350
    assert await majority(store, LabelFilter(person="ali")) == {}
    assert await majority(store, LabelFilter(realm="replay")) == {}


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (QueueFilter(), "ix_mentions_waiting_urgent"),
        (QueueFilter(task="urgency"), "ix_mentions_waiting_urgent"),
        (QueueFilter(order="newest"), "ix_mentions_waiting_newest"),
        (QueueFilter(lang="he"), "ix_mentions_waiting_lang"),
    ],
)
async def test_the_queue_is_read_from_its_own_index(store: Store, wanted: QueueFilter, index: str) -> None:
    """Among 1,000 mentions, 10 wait: the plan of the very statement that runs names the small index, without a sort."""
    batch = [doubted(f"p{at}", tasks=BOTH if at % 100 == 0 else (), lang="he") for at in range(1000)]
    await store.keep("store", placed(batch))
    postgres = bool(store._database.flavour.fence_alone)
    explain = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "
    async with store._database.write() as connection:
        await connection.execute(text("ANALYZE"))
        if postgres:  # it would rather sort so few
            await connection.execute(text("SET LOCAL enable_sort = off"))
        query = page_query(wanted, 50, None)
        compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        lines = [str(row) for row in await connection.exec_driver_sql(explain + str(compiled))]
    plan = "\n".join(lines)
    assert index in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


async def test_the_migration_keeps_what_is_there_both_ways(empty_database: str) -> None:
    await migrate(empty_database)
    store = await Store.open(empty_database, lambda: NOON)
    await store.keep("store", placed([doubted("a"), post("b")]))
    await store.label(verdict("a"))
    await store.aclose()
    await migrate(empty_database, "-2")
    engine, _ = make_engine(empty_database)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM mentions"))).scalar_one() == 2
        assert (await connection.execute(text("SELECT count(*) FROM mention_queries"))).scalar_one() == 2
        tables = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    await engine.dispose()
    assert "labels" not in tables
    await migrate(empty_database)
    store = await Store.open(empty_database, lambda: NOON)
    assert await waiting(store) == []
    assert await store.mention("bluesky", "b") == post("b")
    await store.keep("store", placed([doubted("a", 2)], start=2))
    assert await waiting(store) == [("a", BOTH)]
    await store.aclose()
