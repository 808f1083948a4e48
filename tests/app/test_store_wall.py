from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from app.store import Store
from streams.records import Action, AlertState, Author
from streams.stream import Position
from tests.app.store_world import NOON, alert, placed, post, pulse, withdrawal

MINUTE = timedelta(minutes=1)


async def test_an_empty_wall(store: Store) -> None:
    state = await store.wall("live", NOON, "scored", "store")
    assert state.positions == {}
    assert state.minutes_from == NOON - 1439 * MINUTE
    assert (len(state.totals), sum(state.totals), len(state.negatives)) == (1440, 0, 1440)
    assert (len(state.urgent), state.heard_today, state.stored_total) == (0, 0, 0)
    assert (state.known, state.chosen, state.alerts, state.sources, state.live_seen) == ([], [], [], [], False)


async def test_minutes_and_totals(store: Store) -> None:
    batch = [
        post("now", sentiment="negative"),
        post("hour", published_at=NOON - 59 * MINUTE),
        post("day", published_at=NOON - 1439 * MINUTE, received_at=NOON - 1439 * MINUTE),
        post("older", published_at=NOON - 1440 * MINUTE),
        post("now2", queries=("q1", "q2")),
        post("other", realm="rehearsal"),
        withdrawal("now", 5),
    ]
    await store.keep("store", placed(batch))
    state = await store.wall("live", NOON, "scored", "store")
    assert state.positions == {0: 7}
    assert {at: n for at, n in enumerate(state.totals) if n} == {1439: 2, 1380: 1, 0: 1}
    assert {at: n for at, n in enumerate(state.negatives) if n} == {1439: 1}
    assert len(state.hour) == 60
    assert state.hour[0] == (NOON - 59 * MINUTE, 1, 0)
    assert state.hour[-1] == (NOON, 2, 1)
    assert (state.heard_today, state.stored_total) == (4, 5)


async def test_urgent_and_chosen(store: Store) -> None:
    batch = [
        *(post(f"n{at}", published_at=NOON - timedelta(seconds=at)) for at in range(60)),
        post("high", urgency="high", published_at=NOON - 14 * MINUTE),
        post("critical", urgency="critical", published_at=NOON - 20 * MINUTE),
        post("critical2", urgency="critical", published_at=NOON - 2 * MINUTE),
        post("too old", urgency="critical", published_at=NOON - 31 * MINUTE),
        post("gone", urgency="critical"),
        withdrawal("gone", 2),
    ]
    await store.keep("store", placed(batch))
    state = await store.wall("live", NOON, "scored", "store")
    assert (len(state.urgent), min(state.urgent.values()).at) == (2, NOON - 14 * MINUTE)
    names = [scored.mention.native_id for scored in state.chosen]
    assert names == ["critical2", "critical", "high", *(f"n{at}" for at in range(47))]
    assert state.chosen[0] == await store.mention("bluesky", "critical2")


async def test_known_identities_of_the_last_minutes(store: Store) -> None:
    old: dict[str, Any] = {"received_at": NOON - timedelta(minutes=11)}
    batch = [
        post("a", 3, sentiment="negative"),
        post("old", **old),
        post("gone", 1),
        withdrawal("gone", 7),
        post("old gone", 1, **old),
        withdrawal("old gone", 4),
        post("theirs", 2, author=Author(id="ben")),
        withdrawal("ben", 9, Action.DELETE_AUTHOR),
        post("elsewhere", realm="rehearsal"),
    ]
    await store.keep("store", placed(batch))
    state = await store.wall("live", NOON, "scored", "store")
    found = {one.key.split("\x1f")[1]: (one.revision, one.negative, one.author, one.deleted) for one in state.known}
    assert found == {
        "a": (3, True, "bluesky\x1fdid:plc:ann", False),
        "gone": (7, False, "", True),
        "old gone": (4, False, "", True),
        "theirs": (2, False, "", True),
    }


async def test_alerts_and_sources(store: Store) -> None:
    earlier = NOON - timedelta(minutes=11)
    events = [
        alert("firing", severity=2),
        alert("quiet", state=AlertState.PENDING),
        alert("done", 0),
        alert("done", 1, state=AlertState.RESOLVED, at=NOON - timedelta(minutes=9)),
        alert("long done", 1, state=AlertState.RESOLVED, at=earlier),
        alert("blind", state=AlertState.NO_DATA, at=earlier),
        alert("seen", 2, state=AlertState.ACKNOWLEDGED, at=earlier, severity=3),
        alert("theirs", realm="rehearsal"),
    ]
    await store.keep_alerts("store", placed(events))
    await store.keep("store", placed([pulse(), pulse("r", realm="rehearsal"), post("a")]))
    state = await store.wall("live", NOON, "scored", "store")
    assert {event.alert_id for event in state.alerts} == {"done", "blind", "firing", "seen"}
    assert [event.severity for event in state.alerts] == [1, 1, 2, 3]
    assert all(event.seq == {"done": 1, "seen": 2}.get(event.alert_id, 0) for event in state.alerts)
    assert [source.pulse.source_id for source in state.sources] == ["bluesky-main"]
    assert state.live_seen
    assert not (await store.wall("live", NOON + timedelta(hours=2), "scored", "store")).live_seen
    assert (await store.wall("rehearsal", NOON, "scored", "store")).live_seen


async def test_a_wall_is_one_moment(store: Store, database: str) -> None:
    """While a writer goes on, every figure belongs to the same offset."""
    other = await Store.open(database, lambda: NOON)
    batches = 60
    written = asyncio.Event()

    async def write() -> None:
        for at in range(0, batches * 5, 5):
            await other.keep("store", [(Position(0, at + i), post(f"{at + i}", urgency="high")) for i in range(5)])
            written.set()

    writer = asyncio.create_task(write())
    await written.wait()  # however loaded the machine: the walls lie between the first batch and the last
    seen: list[int] = []
    while not seen or seen[-1] < batches * 5:
        state = await store.wall("live", NOON, "scored", "store")
        count = state.positions.get(0, 0)
        seen.append(count)
        assert (sum(state.totals), len(state.urgent), state.heard_today, state.stored_total) == (count,) * 4
        assert len(state.known) == count
        assert len(state.chosen) == min(count, 50)
    await writer
    await other.aclose()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


async def test_retired_sources_leave_the_wall_and_their_counts_stay(store: Store) -> None:
    batch = [pulse("kept"), pulse("gone"), pulse("gone", realm="rehearsal"), pulse("gone", realm="replay")]
    await store.keep("store", placed([*batch, post("a", source_id="gone")]))
    in_force = [("live", "kept"), ("live", "not heard yet")]
    assert await store.retire_sources(in_force) == 2
    assert await store.retire_sources(in_force) == 0
    walls = {realm: await store.wall(realm, NOON, "scored", "store") for realm in ("live", "rehearsal", "replay")}
    shown = {realm: [one.pulse.source_id for one in wall.sources] for realm, wall in walls.items()}
    assert shown == {"live": ["kept"], "rehearsal": [], "replay": ["gone"]}
    assert (await store.ledger())["live", "gone"]["stored"] == 1
    assert await store.retire_sources([], ["live"]) == 1


async def test_a_source_that_changed_its_realm_leaves_the_former_one(store: Store) -> None:
    await store.keep("store", placed([pulse("one", realm="rehearsal"), pulse("one")]))
    assert await store.retire_sources([("live", "one")]) == 1
    assert [(one.pulse.realm, one.pulse.source_id) for one in await store.sources()] == [("live", "one")]
