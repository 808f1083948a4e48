from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from hashlib import sha256

import pytest

from alerts.ports import Outcome, Send
from app.store import AlertFilter, Horizons, Span, Store, retention
from streams.records import AlertState, Tally
from streams.source import Accepted, IngestLog
from tests.app.store_world import NOON, alert, placed, post, quote, withdrawal
from tests.app.test_store_keep import dump

DAY = timedelta(days=1)


async def test_cursor_and_tally_come_back(store: Store) -> None:
    log: IngestLog = store
    assert await log.load_cursor("one") == (None, Tally())
    await log.save("one", "c1", [], Tally(received=3))
    await log.save("two", None, [], Tally(received=1))
    await log.save("one", None, [], Tally(received=4))
    assert await log.load_cursor("one") == ("c1", Tally(received=4))
    assert await log.load_cursor("two") == (None, Tally(received=1))


async def test_known_identities_and_authors(store: Store) -> None:
    accepted = [Accepted("b\x1f1", "b\x1fann", 5), Accepted("b\x1f1", "b\x1fann", 3), Accepted("b\x1f2", "b\x1fann", 9)]
    await store.save("one", "c", accepted, Tally())
    await store.save("one", "c", [Accepted("b\x1f1", "", 7), Accepted("b\x1f2", "b\x1fann", 8)], Tally())
    assert await store.known(["b\x1f1", "b\x1f2", "b\x1fann", "b\x1fben"]) == {"b\x1f1": 7, "b\x1f2": 9, "b\x1fann": 9}
    assert await store.known([]) == {}
    many = [f"x\x1f{at}" for at in range(1500)]
    await store.save("one", "c", [Accepted(key, "", 1) for key in many], Tally())
    assert await store.known([*many, "y"]) == dict.fromkeys(many, 1)


async def test_accepted_keys_hold_nothing_of_a_person(store: Store) -> None:
    await store.save("one", "c", [Accepted("bluesky\x1fcanary", "bluesky\x1fcanary", 1)], Tally())
    assert "canary" not in repr((await dump(store))["accepted"])


async def test_cursor_and_identities_are_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("app.store.ingest._accept", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            await store.save("one", "c", [Accepted("a", "", 1)], Tally())
    assert await store.load_cursor("one") == (None, Tally())


async def test_configurations_are_numbered(store: Store) -> None:
    assert await store.configuration() is None
    texts = ["sources: []", "queries: [שלום]", "queries: [שלום]", "sources: []"]
    numbers = [await store.save_configuration(words, sha256(words.encode()).hexdigest(), NOON) for words in texts]
    assert numbers == [1, 2, 2, 3]
    assert await store.configuration() == (3, "sources: []")


async def _clocked(database: str, now: datetime) -> Store:
    return await Store.open(database, lambda: now)


async def test_old_mentions_go_and_their_counts_stay(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE", 7)
    records = [post(f"p{at}", received_at=NOON + at * DAY) for at in range(20)]
    await store.keep("store", placed([*records, post("r", realm="rehearsal"), post("gone"), withdrawal("gone", 5)]))
    later = await _clocked(database, NOON + 20 * DAY)
    gone = await later.retain(Horizons(mentions=NOON + 10 * DAY, realm="live"))
    assert gone == {"mentions": 10}
    rows = await dump(store)
    assert len(rows["mentions"]) == 12
    assert len(rows["mention_queries"]) == 12
    assert await store.mention("bluesky", "r", "rehearsal") is not None
    assert (await store.rollups(Span("live", NOON, NOON + DAY)))[0].counts["total"] == 21
    await store.keep("again", placed([post("gone")]))
    assert await store.mention("bluesky", "gone") is None
    assert await later.retain(Horizons(mentions=NOON + 10 * DAY)) == {"mentions": 1}
    await later.aclose()


async def test_old_mentions_go_from_open_alerts_too(store: Store, database: str) -> None:
    quotes = (quote("old", "old words"), quote("new", "new words"))
    event = alert("open", evidence=quotes)
    await store.keep("store", placed([post("old"), post("new", received_at=NOON + 9 * DAY)]))
    await store.keep_alerts("store", placed([event]))
    await store.enqueue([Send("open", "desk", event, 0, NOON, NOON + DAY)])
    later = await _clocked(database, NOON + 10 * DAY)
    assert (await later.retain(Horizons(mentions=NOON + DAY, alerts=NOON + DAY)))["mentions"] == 1
    kept = [*await store.alert_events("open"), *[send.event for send in await store.claim(NOON, 9, 9)]]
    assert [[one.excerpt for one in found.evidence] for found in kept] == [["", "new words"]] * 2
    assert "old words" not in repr(await dump(store))
    await later.aclose()


async def test_tombstones_outlive_thirty_days_whatever_is_asked(store: Store, database: str) -> None:
    await store.keep("store", placed([post("gone"), withdrawal("gone", 5)]))
    everything = Horizons(mentions=NOON + 99 * DAY, tombstones=NOON + 99 * DAY)
    early, late = [await _clocked(database, NOON + days * DAY) for days in (29, 31)]
    await early.retain(everything)
    rows = await dump(store)
    assert (len(rows["mentions"]), len(rows["withdrawals"])) == (1, 1)
    assert await late.retain(everything) == {"mentions": 1, "withdrawals": 1}
    await asyncio.gather(early.aclose(), late.aclose())


async def test_resolved_alerts_go_with_all_that_is_theirs(store: Store) -> None:
    done = [alert("done", 0, evidence=(quote("a", "x"),)), alert("done", 1, state=AlertState.RESOLVED)]
    open_one = alert("open", evidence=(quote("a", "x"),))
    waiting = alert("waiting", 1, state=AlertState.RESOLVED)
    await store.keep_alerts("store", placed([*done, open_one, waiting]))
    await store.enqueue([Send(e.alert_id, "desk", e, 0, NOON, NOON + DAY) for e in (done[0], open_one, waiting)])
    await store.settle([Outcome("done", "delivered", "", NOON), Outcome("open", "delivered", "", NOON)])
    await store.save("one", "c", [Accepted("a", "", 1)], Tally())
    gone = await store.retain(Horizons(alerts=NOON + DAY, accepted=NOON + DAY))
    assert gone == {"accepted": 1, "outbox": 1, "notifications": 1, "cited": 1, "alert_events": 2, "alerts": 1}
    assert {event.alert_id for event in await store.alerts(AlertFilter())} == {"open", "waiting"}
    assert [send.key for send in await store.claim(NOON, 9, 9)] == ["waiting"]
    assert await store.known(["a"]) == {}
