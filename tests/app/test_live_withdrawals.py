"""What is withdrawn leaves the wall at once and no replay brings it back; a wall's figures are the store's."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from app.live.board import Board, ms
from app.live.seed import board_of
from app.live.withdrawn import SLICE
from app.store import Store
from streams.records import Action, Author, ScoredMention
from tests.app.store_world import NOON, placed, post, withdrawal

NOW = NOON + timedelta(seconds=30)
ANN, BEN = "did:plc:ann", "did:plc:ben"


def board() -> Board:
    made = Board(lambda _text, _queries: [])
    made.tick(ms(NOW))
    return made


def shown(one: Board) -> set[str]:
    return {item.id.rpartition("\x1f")[2] for item in one.chosen()}


def figures(one: Board) -> dict[str, Any]:
    """Return what a wall has of the past: what only a tail knows (rate, delay) is left out."""
    found = one.figures(ms(NOW)).model_dump(exclude={"per_minute", "delay_p95"})
    return {**found, "minutes": one.minutes.chart(ms(NOW)), "shown": shown(one)}


def gone_author(revision: int, author: str = ANN) -> ScoredMention:
    return withdrawal(author, revision, Action.DELETE_AUTHOR)


def test_a_replayed_create_of_a_withdrawn_author_is_counted_but_not_shown() -> None:
    """Invariant 8."""
    one = board()
    one.mention(gone_author(5), ms(NOW))
    assert not one.mention(post("late", 5, urgency="critical"), ms(NOW))
    assert one.mention(post("later", 6), ms(NOW))
    assert shown(one) == {"later"}
    assert "bluesky\x1flate" not in one.tick(ms(NOW)).items
    assert (one.figures(ms(NOW)).urgent, one.figures(ms(NOW)).stored_total) == (0, 2)


def test_what_an_author_withdraws_is_searched_for_by_slices_and_leaves_open_walls() -> None:
    one = board()
    count = 2 * SLICE + 100
    for at in range(count):
        author = Author(id=ANN if at % 2 else BEN)
        one.mention(post(f"p{at}", author=author, published_at=NOW - timedelta(milliseconds=at)), ms(NOW))
    one.tick(ms(NOW))
    on_wall = shown(one)
    one.mention(gone_author(5), ms(NOW))
    assert {int(name[1:]) % 2 for name in shown(one)} == {0}
    first = one.tick(ms(NOW)).gone
    assert {f"bluesky\x1f{name}" for name in on_wall if int(name[1:]) % 2} <= first
    assert len(first) <= SLICE / 2 + len(on_wall)
    one.mention(gone_author(5, BEN), ms(NOW))
    rest: set[str] = set()
    for _ in range(8):
        rest |= one.tick(ms(NOW)).gone
    assert first | rest == {f"bluesky\x1fp{at}" for at in range(count)}
    assert one.tick(ms(NOW)).gone == set()


def test_a_search_goes_on_after_a_refresh() -> None:
    old, new = board(), board()
    old.mention(post("a"), ms(NOW))
    old.mention(gone_author(5), ms(NOW))
    new.adopt(old, ms(NOW))
    assert not new.mention(post("b", 4), ms(NOW))
    assert new.tick(ms(NOW)).gone == {"bluesky\x1fa", "bluesky\x1fb"}
    assert shown(new) == set()


async def test_an_urgent_one_that_only_the_store_knew_leaves_with_its_author(store: Store) -> None:
    at = NOON - timedelta(minutes=12)
    await store.keep("store", placed([post("old", urgency="high", received_at=at, published_at=at)]))
    one = board_of(await store.wall("live", NOW, "scored", "store"), lambda _text, _queries: [], NOW, NOW)
    assert one.figures(ms(NOW)).urgent == 1
    one.mention(gone_author(5), ms(NOW))
    assert one.figures(ms(NOW)).urgent == 0


@pytest.mark.parametrize("seed", range(8))
async def test_a_walls_figures_are_the_stores_whatever_is_edited_and_withdrawn(store: Store, seed: int) -> None:
    random, records = Random(seed), list[ScoredMention]()
    for _ in range(120):
        number, revision = random.randrange(12), random.randrange(8)
        name, author = f"p{number}", (ANN, BEN)[number % 2]
        kind = random.random()
        if kind < 0.12:
            records.append(withdrawal(name, revision))
        elif kind < 0.16:
            records.append(gone_author(revision, author))
        else:
            words = {"sentiment": random.choice(["negative", "neutral"]), "urgency": random.choice(["normal", "high"])}
            then = NOON + timedelta(minutes=random.choice([-2, 0, 4]))  # some by a clock that is ahead of ours
            records.append(post(name, revision, author=Author(id=author), published_at=then, **words))
    live = board()
    for start in range(0, len(records), 20):
        part = records[start : start + 20]
        await store.keep("store", placed(part, start=start))
        for record in part:
            live.mention(record, ms(NOW))
        live.tick(ms(NOW))
        state = await store.wall("live", NOW, "scored", "store")
        assert figures(live) == figures(board_of(state, lambda _text, _queries: [], NOW, NOW)), start
