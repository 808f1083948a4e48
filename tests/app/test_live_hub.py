"""The hub's totals are the store's at the store's offset plus what the tail read since: exact at start and refresh."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.api.server import make_app
from app.live import hub as live_hub
from app.live.board import Board, Spans
from app.live.hub import Hub, HubSettings, Offsets
from app.roles.serve import make_hub, run_serve
from app.roles.store import GROUP
from app.store import StoreUnavailable
from streams.pump import Received
from streams.records import ALERTS, AlertEvent, AlertState, Pulse, ScoredMention, SourceStatus, encode
from streams.stream import Delivery, Item, Position
from tests.app.conftest import Served
from tests.app.store_world import alert
from tests.app.test_live_board import scored


def at(offset: int, record: ScoredMention | Pulse | AlertEvent) -> Received:
    return Received(Delivery(Position(0, offset), "k", b"", datetime.now(UTC)), record)


def fresh(number: int, **fields: Any) -> ScoredMention:
    now = datetime.now(UTC)
    return scored(str(number), **{"received_at": now, "published_at": now - timedelta(seconds=1), **fields})


async def keep(served: Served, *received: Received) -> None:
    store, identity = served.process.store, served.process.stream.identity
    pairs = [(one.delivery.position, one.record) for one in received]
    fitting = [(place, record) for place, record in pairs if isinstance(record, ScoredMention | Pulse)]
    await store.keep(GROUP, fitting, log=identity)


def totals(hub: Hub) -> tuple[int, int, int]:
    snap = hub.snapshot("live")
    return snap.figures.heard_today, snap.figures.stored_total, sum(minute.total for minute in snap.minutes)


async def test_a_hub_starts_where_the_store_stands_and_counts_nothing_twice(served: Served) -> None:
    log = [at(offset, fresh(offset, sentiment="negative")) for offset in range(20)]
    await keep(served, *log[:12])
    hub = make_hub(served.process)
    starts = await hub.start()
    assert starts.scored == {0: 12}
    assert totals(hub) == (12, 12, 12)
    await hub.take_scored(log[12:])
    assert totals(hub) == (20, 20, 20)
    await hub.take_scored(log[8:])
    assert totals(hub) == (20, 20, 20), "a tail that repeats itself counts once"


async def test_a_wall_that_is_not_filled_yet_is_not_shown(served: Served) -> None:
    hub = make_hub(served.process)
    api = make_app(served.process, hub, lambda _: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://127.0.0.1") as client:
        early = await client.get("/api/wall/live/snapshot")
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        await hub.start()
        assert (await client.get("/api/wall/live/snapshot")).status_code == 200


async def test_a_refresh_heals_what_the_tail_missed_and_keeps_what_the_store_has_not_yet(served: Served) -> None:
    hub = make_hub(served.process)
    log = [at(offset, fresh(offset)) for offset in range(30)]
    await hub.start()
    await hub.take_scored(log[:5])
    await hub.take_scored(log[10:30])
    await keep(served, *log[:20])
    assert totals(hub) == (25, 25, 25)
    await hub.refresh()
    assert totals(hub) == (30, 30, 30)
    await keep(served, *log[20:])
    await hub.refresh()
    assert totals(hub) == (30, 30, 30)


async def test_a_refresh_sends_the_minutes_that_it_changed(served: Served) -> None:
    hub = make_hub(served.process)
    log = [at(offset, fresh(offset)) for offset in range(4)]
    await hub.start()
    await hub.take_scored(log[:1])
    hub.tick()
    before = hub.snapshot("live").seq
    await keep(served, *log)
    await hub.refresh()
    hub.tick()
    frames = hub.ring("live", 5).after(before)
    assert frames
    assert '"total":4' in frames[-1].text.replace(" ", "")


def siren(seq: int, offset: int, state: AlertState = AlertState.FIRING, hours: int = 0) -> Received:
    moment = datetime.now(UTC) - timedelta(hours=hours)
    return at(offset, alert("siren", seq, state=state, at=moment, started_at=moment))


async def keep_alerts(served: Served, *received: Received) -> None:
    pairs = [(one.delivery.position, one.record) for one in received]
    events = [(place, record) for place, record in pairs if isinstance(record, AlertEvent)]
    await served.process.store.keep_alerts(GROUP, events, log=served.process.stream.identity)


async def shown_alerts(hub: Hub) -> tuple[list[str], list[str] | None]:
    """Refresh; return the states of the alerts in a snapshot, and in the frame that open walls get."""
    before = hub.snapshot("live").seq
    await hub.refresh()
    hub.tick()
    frames = hub.ring("live", 5).after(before)
    assert frames
    sent = json.loads(frames[-1].text)["alerts"]
    told = None if sent is None else [line["state"] for line in sent]
    return [line.state for line in hub.snapshot("live").alerts], told


async def test_a_refresh_brings_open_walls_the_alerts_that_the_tail_missed(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    await keep_alerts(served, siren(0, 0))
    assert await shown_alerts(hub) == (["firing"], ["firing"])
    assert await shown_alerts(hub) == (["firing"], None)


async def test_an_alert_whose_end_the_tail_missed_leaves_and_one_that_the_store_lacks_yet_stays(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    fired = siren(0, 0, hours=5)
    await hub.take_alerts([fired])
    assert (await shown_alerts(hub))[0] == ["firing"], "the store is behind the tail"
    await keep_alerts(served, fired, siren(1, 1, AlertState.RESOLVED, hours=4))
    assert await shown_alerts(hub) == ([], [])


async def test_an_alert_between_the_filling_and_the_tail_is_shown(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = make_hub(served.process)
    fill = hub.start

    async def start() -> Offsets:
        filled = await fill()
        event = alert("siren", at=datetime.now(UTC), started_at=datetime.now(UTC))
        await served.process.stream.append(ALERTS, [Item(event.key, encode(event))])
        return filled

    monkeypatch.setattr(hub, "start", start)
    running = asyncio.create_task(run_serve(served.process, hub))
    async with asyncio.timeout(10):
        while not hub.snapshot("live").alerts:  # noqa: ASYNC110  nothing else tells
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = make_hub(served.process)
    fill, calls = hub.start, 0

    async def start() -> Offsets:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise StoreUnavailable("restarting")
        return await fill()

    monkeypatch.setattr(hub, "start", start)
    running = asyncio.create_task(run_serve(served.process, hub))
    async with asyncio.timeout(10):
        while not hub.filled:
            assert not running.done()
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_hangs_holds_up_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 8: a deletion leaves open walls at once, whatever the store does; a refresh is given up in time."""
    monkeypatch.setattr(live_hub, "REFRESH", 0.3)
    asked: list[str] = []
    given_up = asyncio.Event()

    async def seed(realm: str, _now: datetime, spans: Spans) -> tuple[Board, Offsets]:
        asked.append(realm)
        if len(asked) > len(live_hub.REALMS):
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()
        return Board(spans), Offsets({}, {})

    hub = Hub(HubSettings("wall", ("UTC",), "b"), seed, lambda _text, _queries: [], lambda: datetime.now(UTC))
    await hub.start()
    running = asyncio.create_task(hub.run())
    async with asyncio.timeout(10):
        await given_up.wait()
    before = hub.snapshot("live").seq
    await hub.take_scored([at(0, fresh(1))])
    await asyncio.sleep(3 * live_hub.TICK)
    assert hub.ring("live", 5).after(before), "no frame was cut"
    await hub.stop()
    async with asyncio.timeout(1):
        await running


async def test_sources_and_their_last_words_survive_a_restart_but_are_no_sign_of_life(served: Served) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    pulse = Pulse(source_id="s", source_kind="file", at=long_ago, sent_at=long_ago, status=SourceStatus.LIVE)
    await keep(served, at(0, pulse))
    hub = make_hub(served.process)
    await hub.start()
    snap = hub.snapshot("live")
    assert [(source.id, source.status) for source in snap.sources] == [("s", "lost")]
    assert snap.pulse is None


async def test_auto_is_the_rehearsal_until_a_live_mention_comes(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    assert hub.realm("auto") == "rehearsal"
    await hub.take_scored([at(0, fresh(1))])
    assert hub.realm("auto") == "live"
    assert hub.realm("moon") is None


async def test_realms_never_mix(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    await hub.take_scored([at(0, fresh(1, realm="rehearsal")), at(1, fresh(2))])
    assert totals(hub) == (1, 1, 1)
    assert [item.id for item in hub.snapshot("rehearsal").items] == ["file\x1f1"]


@pytest.mark.parametrize("gone", [{"action": "delete"}, {"native_id": "a", "action": "delete_author"}])
async def test_what_is_withdrawn_upstream_leaves_every_wall_at_once(served: Served, gone: dict[str, Any]) -> None:
    """Invariant 8: a rehearsal or a replay may show what was live."""
    hub = make_hub(served.process)
    await hub.start()
    await hub.take_scored([at(number, fresh(1, realm=realm)) for number, realm in enumerate(live_hub.REALMS)])
    assert [len(hub.snapshot(realm).items) for realm in live_hub.REALMS] == [1, 1, 1]
    await hub.take_scored([at(3, scored(**{"native_id": "1", "revision": 2, **gone}))])
    assert [len(hub.snapshot(realm).items) for realm in live_hub.REALMS] == [0, 0, 0]
    await hub.refresh()
    await hub.take_scored([at(4, fresh(1, realm="replay"))])
    assert [len(hub.snapshot(realm).items) for realm in live_hub.REALMS] == [0, 0, 0]


async def test_a_rehearsal_s_deletion_leaves_the_live_wall_alone(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    await hub.take_scored([at(0, fresh(1)), at(1, fresh(1, revision=2, action="delete", realm="rehearsal"))])
    assert len(hub.snapshot("live").items) == 1


async def test_a_replay_runs_on_its_own_clock(served: Served) -> None:
    hub = make_hub(served.process)
    await hub.start()
    then = datetime(2020, 2, 2, 12, tzinfo=UTC)
    pulse = Pulse(
        source_id="replay", source_kind="store", realm="replay", at=then, sent_at=datetime.now(UTC),
        status=SourceStatus.LIVE,
    )  # fmt: skip
    await hub.take_scored([at(0, pulse), at(1, fresh(1, realm="replay", published_at=then))])
    snap = hub.snapshot("replay")
    assert snap.ts == int(then.timestamp() * 1000)
    assert sum(minute.total for minute in snap.minutes) == 1
