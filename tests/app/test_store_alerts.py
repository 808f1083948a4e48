from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from alerts.ports import EngineLog, Outcome, SavedEngine, Send, SendLog, StaleEngine
from app.store import AlertFilter, Store
from streams.records import AlertEvent, AlertState
from tests.app.store_world import NOON, alert, placed, quote
from tests.app.test_store_keep import dump

SECOND = timedelta(seconds=1)


def _send(key: str, event: AlertEvent | None = None, **changes: object) -> Send:
    values = {"attempts": 0, "due_at": NOON, "expires_at": NOON + timedelta(hours=1)} | changes
    return Send(key=key, receiver="desk", event=event or alert("one"), **values)  # type: ignore[arg-type]  # by case


async def test_the_store_is_both_logs(store: Store) -> None:
    engine_log: EngineLog = store
    assert await engine_log.load_engine("live") is None
    send_log: SendLog = store
    assert await send_log.claim(NOON, 1, 1) == []


async def test_events_are_kept_once_and_the_highest_seq_stands(store: Store) -> None:
    first = [alert("one", 1), alert("two", 0), alert("one", 0, state=AlertState.PENDING), alert("two", 0)]
    fresh = await store.keep_alerts("store", placed(first))
    assert [(event.alert_id, event.seq) for event in fresh] == [("one", 0), ("one", 1), ("two", 0)]
    assert await store.keep_alerts("store", placed(first)) == []
    assert await store.keep_alerts("other", placed(first)) == []
    resolved = alert("one", 3, state=AlertState.RESOLVED, evidence=(quote("x", "words"),))
    late = alert("one", 2, state=AlertState.ACKNOWLEDGED)
    assert len(await store.keep_alerts("store", placed([resolved, late], start=4))) == 2
    assert await store.alert_events("one") == [first[2], first[0], late, resolved]
    assert await store.alert_events("none") == []
    assert await store.alerts(AlertFilter(rule="rule", states=[AlertState.RESOLVED])) == [resolved]
    assert await store.positions("alerts", "store", [0]) == {0: 6}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AlertFilter(), ["c", "b", "a"]),
        (AlertFilter(realm="live"), ["b", "a"]),
        (AlertFilter(team="main"), ["c", "a"]),
        (AlertFilter(rule="none"), []),
        (AlertFilter(states=[AlertState.FIRING]), ["c", "a"]),
        (AlertFilter(since=NOON + SECOND), ["b"]),
    ],
)
async def test_alerts_are_found(store: Store, wanted: AlertFilter, expected: list[str]) -> None:
    events = [
        alert("a"),
        alert("b", 5, team="others", state=AlertState.ACKNOWLEDGED, started_at=NOON + SECOND),
        alert("c", realm="rehearsal", started_at=NOON + 2 * SECOND),
    ]
    await store.keep_alerts("store", placed(events))
    assert [event.alert_id for event in await store.alerts(wanted)] == expected
    assert [event.alert_id for event in await store.alerts(wanted, 1)] == expected[:1]


async def test_a_send_goes_out_until_it_is_delivered(store: Store) -> None:
    await store.enqueue([_send("k1"), _send("k2", due_at=NOON + 9 * SECOND), _send("k1")])
    await store.enqueue([_send("k1", alert("changed"))])
    assert await store.claim(NOON, 10, 30, frozenset({"desk"})) == []
    (claimed,) = await store.claim(NOON, 10, 30, frozenset({"other"}))
    assert claimed == _send("k1")
    assert await store.claim(NOON + SECOND, 10, 30) == []
    again = NOON + 20 * SECOND
    await store.settle([Outcome("k1", "retry", "503", NOON + SECOND, retry_at=again)])
    assert [send.key for send in await store.claim(NOON + 10 * SECOND, 10, 30)] == ["k2"]
    (claimed,) = await store.claim(again, 1, 30)
    assert (claimed.key, claimed.attempts, claimed.due_at) == ("k1", 1, again)
    await store.settle([Outcome("k1", "delivered", "", again), Outcome("k2", "failed", "gone", again)])
    assert await store.claim(NOON + timedelta(days=9), 10, 30) == []
    history = [(one.key, one.attempt, one.result, one.reason) for one in await store.notifications("one")]
    assert history == [("k1", 1, "retry", "503"), ("k1", 2, "delivered", ""), ("k2", 1, "failed", "gone")]


async def test_a_lease_that_ran_out_frees_the_send_and_a_late_answer_does_no_harm(store: Store) -> None:
    await store.enqueue([_send("k")])
    assert await store.claim(NOON, 10, 30)
    assert await store.claim(NOON + 30 * SECOND, 10, 30)
    await store.settle([Outcome("k", "delivered", "", NOON + 31 * SECOND)])
    await store.settle([Outcome("k", "retry", "time-out", NOON + 32 * SECOND, retry_at=NOON + 40 * SECOND)])
    assert await store.claim(NOON + timedelta(hours=2), 10, 30) == []
    assert [one.attempt for one in await store.notifications("one")] == [1, 2]
    with pytest.raises(KeyError, match="never was"):
        await store.settle([Outcome("never was", "delivered", "", NOON)])


async def test_what_waits_for_a_time_beyond_any_wait_is_set_back(store: Store) -> None:
    day, hour = timedelta(days=1), timedelta(hours=1)
    later = alert("one", 1, state=AlertState.RESOLVED)
    await store.enqueue([_send("far", due_at=NOON + day), _send("next", later), _send("soon", alert("two"))])
    assert [send.key for send in await store.claim(NOON + day, 1, 30)] == ["soon"]
    await store.settle([Outcome("soon", "retry", "503", NOON, retry_at=NOON + hour)])
    assert [send.key for send in await store.claim(NOON + day, 1, 30)] == ["soon"]
    assert await store.claim(NOON + hour, 10, 30) == []
    await store.set_back(NOON, 3600.0)
    (far,) = await store.claim(NOON, 10, 30)
    assert (far.key, far.due_at) == ("far", NOON)
    assert [send.key for send in await store.claim(NOON + hour, 10, 30)] == ["far", "soon"]


async def test_no_two_processes_claim_the_same_send(store: Store, database: str) -> None:
    other = await Store.open(database, lambda: NOON)
    await store.enqueue([_send(f"k{at:03}") for at in range(200)])
    claims = await asyncio.gather(*((store, other)[at % 2].claim(NOON, 15, 30) for at in range(14)))
    keys = [send.key for claim in claims for send in claim]
    assert len(keys) == len(set(keys))
    rest = await store.claim(NOON, 500, 30)
    assert sorted(keys + [send.key for send in rest]) == [f"k{at:03}" for at in range(200)]
    await other.aclose()


async def test_the_engine_is_saved_whole_and_fenced(store: Store) -> None:
    assert await store.load_engine("live") is None
    with pytest.raises(StaleEngine):
        await store.save_engine("live", SavedEngine("{}", {}, 2))
    first = SavedEngine('{"a": "שלום"}', {0: 5, 11: 7}, 1)
    await store.save_engine("live", first)
    assert await store.load_engine("live") == first
    with pytest.raises(StaleEngine):
        await store.save_engine("live", first)
    await store.save_engine("live", SavedEngine("2", {0: 6}, 2))
    with pytest.raises(StaleEngine):
        await store.save_engine("live", SavedEngine("late", {0: 6}, 2))
    assert await store.load_engine("live") == SavedEngine("2", {0: 6}, 2)
    assert await store.load_engine("rehearsal") is None


async def test_of_two_savers_one_is_stale(store: Store, database: str) -> None:
    other = await Store.open(database, lambda: NOON)
    for version in range(1, 20):
        done = await asyncio.gather(
            *(
                keeper.save_engine("live", SavedEngine(str(at), {}, version))
                for at, keeper in enumerate((store, other))
            ),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in done) == ["NoneType", "StaleEngine"]
    await other.aclose()


async def test_one_process_leads_and_the_next_takes_over(postgres_url: str) -> None:
    one, two = [await Store.open(postgres_url, lambda: NOON) for _ in range(2)]
    assert await one.lead()
    assert await one.lead()
    assert not await two.lead()
    await one.aclose()
    for _ in range(50):
        if await two.lead():
            break
        await asyncio.sleep(0.05)
    assert await two.lead()
    assert not await one.lead()
    await one.aclose()
    await two.aclose()


async def test_on_sqlite_the_one_process_leads(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url, lambda: NOON)
    assert await store.lead()
    await store.aclose()


async def test_alert_offsets_and_effects_are_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await dump(store)

    async def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("app.store.offsets.advance", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            await store.keep_alerts("store", placed([alert("one")]))
    assert await dump(store) == before


async def test_a_resolved_never_overtakes_its_firing(store: Store) -> None:
    firing, resolved = alert("one", 0), alert("one", 1, state=AlertState.RESOLVED)
    await store.enqueue([_send("later", resolved), _send("first", firing), _send("other", alert("two", 1))])
    assert {send.key for send in await store.claim(NOON, 10, 30)} == {"first", "other"}
    again = NOON + 20 * SECOND
    await store.settle([Outcome("first", "retry", "503", NOON + SECOND, retry_at=again)])
    assert [send.key for send in await store.claim(NOON + 10 * SECOND, 10, 30)] == []
    assert [send.key for send in await store.claim(again, 10, 30)] == ["first"]
    await store.settle([Outcome("first", "delivered", "", again)])
    assert [send.key for send in await store.claim(again, 10, 30)] == ["later"]
