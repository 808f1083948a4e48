"""Outbox and sender over the real store and real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from alerts.notifiers import Attempt, Notifier, ReceiverSettings, Reject, Retry, Sent
from alerts.notifiers.console import ConsoleReceiver
from alerts.notifiers.webhook import WebhookNotifier
from alerts.outbox import Decision, Outbox, decide, send_key
from alerts.ports import Outcome, Send
from alerts.sender import Lane, Sender, outcome_of, wait_before
from app.store import TRANSIENT, Store
from streams.pump import Received
from streams.records import AlertEvent, AlertState, AnyRecord, encode
from streams.stream import Delivery, Position
from tests.alerts.receivers import HANG, Receiver, alert, hook, receiving
from tests.alerts.worlds import pulse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(hours=24)


def received(record: AnyRecord, offset: int = 0) -> Received:
    return Received(Delivery(Position(0, offset), "k", encode(record), NOW), record)


@asynccontextmanager
async def sending(store: Store, notifiers: Mapping[str, Notifier]) -> AsyncIterator[Callable[[AlertEvent], None]]:
    """Run outbox and sender; what is yielded hands an event over. Waits are short: chance is 0."""
    wake = asyncio.Event()
    known: dict[str, ReceiverSettings] = {name: hook("https://example.org/") for name in notifiers}
    box = Outbox(store, known, wake)
    sender = Sender(store, notifiers, wake, transient=TRANSIENT, chance=lambda: 0.0)

    def tell(event: AlertEvent) -> None:
        tasks.create_task(box.handle([received(event)]))

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sender.run())
        try:
            yield tell
        finally:
            running.cancel()
    for notifier in notifiers.values():
        await notifier.aclose()


async def until(condition: Callable[[], bool], receiver: Receiver) -> None:
    async with asyncio.timeout(20):
        while not condition():
            receiver.arrived.clear()
            await receiver.arrived.wait()


async def results(store: Store, alert_id: str, least: int) -> list[tuple[int, str, str]]:
    """The attempts, once there are enough of them: the last one is recorded a moment after it was made."""
    async with asyncio.timeout(20):
        while len(found := await store.notifications(alert_id)) < least:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)
    return [(one.seq, one.receiver, one.result) for one in found]


@pytest.mark.parametrize(
    ("event", "receiver", "expected"),
    [
        (alert(), hook("https://x.org/"), Decision.SEND),
        (alert(state=AlertState.NO_DATA), hook("https://x.org/"), Decision.SEND),
        (alert(state=AlertState.RESOLVED), hook("https://x.org/"), Decision.SEND),
        (alert(state=AlertState.PENDING), hook("https://x.org/"), Decision.QUIET_STATE),
        (alert(state=AlertState.ACKNOWLEDGED), hook("https://x.org/"), Decision.QUIET_STATE),
        (alert(realm="rehearsal"), hook("https://x.org/"), Decision.OTHER_REALM),
        (alert(realm="replay"), ConsoleReceiver(id="c"), Decision.OTHER_REALM),
        (alert(realm="rehearsal"), ConsoleReceiver(id="c"), Decision.SEND),
        (alert(), None, Decision.UNKNOWN_RECEIVER),
    ],
)
def test_each_decision_has_a_reason(event: AlertEvent, receiver: ReceiverSettings | None, expected: Decision) -> None:
    assert decide(event, receiver) is expected


async def test_an_event_read_twice_is_in_the_outbox_once(store: Store) -> None:
    box = Outbox(store, {"hook": hook("https://x.org/")}, asyncio.Event())
    batch = [received(alert()), received(alert(realm="rehearsal", alert_id="a2")), received(pulse(1))]
    for _ in range(2):
        rejected = await box.handle(batch)
        assert [one.reason for one in rejected] == ["[alerts] holds no pulse"]
    (send,) = await store.claim(datetime.now(UTC), 10, 1)
    assert send.key == send_key(alert(), "hook") == "a1:0:hook"
    assert send.expires_at - send.due_at == timedelta(hours=24)


async def test_an_alert_is_delivered_and_a_failing_receiver_gets_it_later(store: Store) -> None:
    async with receiving(["503", "429 retry-after: 0", "200"]) as receiver:
        async with sending(store, {"hook": WebhookNotifier(hook(receiver.url))}) as tell:
            tell(alert())
            await until(lambda: len(receiver.got) == 3, receiver)
            assert [one[2] for one in await results(store, "a1", 3)] == ["retry", "retry", "delivered"]
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


async def test_firing_and_resolved_arrive_in_order_though_the_first_attempt_fails(store: Store) -> None:
    async with receiving(["500", "500", "200"]) as receiver:
        notifier = WebhookNotifier(hook(receiver.url))
        async with sending(store, {"hook": notifier}) as tell:
            tell(alert())
            await until(lambda: len(receiver.got) == 1, receiver)
            tell(alert(seq=1, state=AlertState.RESOLVED))
            await until(lambda: len(receiver.got) == 3, receiver)
    assert [json.loads(got.body)["alert"]["seq"] for got in receiver.got] == [0, 0, 0]


async def test_both_events_of_one_claim_go_in_order(store: Store) -> None:
    box = Outbox(store, {"hook": hook("https://x.org/")}, asyncio.Event())
    await box.handle([received(alert(seq=1, state=AlertState.RESOLVED)), received(alert())])
    async with receiving(["200"]) as receiver, sending(store, {"hook": WebhookNotifier(hook(receiver.url))}):
        await until(lambda: len(receiver.got) == 2, receiver)
    assert [json.loads(got.body)["alert"]["seq"] for got in receiver.got] == [0, 1]


class Scripted:
    """Answers as it is told, then takes all; `got` has the keys."""

    settings_model: ClassVar[type[ReceiverSettings]] = ReceiverSettings

    def __init__(self, *answers: Attempt) -> None:
        self.answers, self.got = list(answers), list[str]()

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
        self.got.append(key)
        return self.answers.pop(0) if self.answers else Sent()

    async def aclose(self) -> None:
        return


async def test_what_another_process_delivered_holds_nothing_back_here(store: Store) -> None:
    ours, wake = Scripted(Retry("503", 1.0)), asyncio.Event()
    sender = Sender(store, {"hook": ours}, wake, transient=TRANSIENT, chance=lambda: 0.0)
    box = Outbox(store, {"hook": hook("https://example.org/")}, wake)
    running = asyncio.create_task(sender.run())
    await box.handle([received(alert())])
    await results(store, "a1", 1)
    running.cancel()
    await asyncio.wait({running})
    async with sending(store, {"hook": Scripted()}):
        assert [one[2] for one in await results(store, "a1", 2)] == ["retry", "delivered"]
    running = asyncio.create_task(sender.run())
    await box.handle([received(alert(seq=1, state=AlertState.RESOLVED))])
    assert (await results(store, "a1", 3))[-1] == (1, "hook", "delivered")
    running.cancel()
    await asyncio.wait({running})
    assert ours.got == ["a1:0:hook", "a1:1:hook"]


async def test_a_hanging_receiver_delays_no_other(store: Store) -> None:
    async with receiving([HANG]) as deaf, receiving(["200"]) as well:
        notifiers = {"deaf": WebhookNotifier(hook(deaf.url)), "well": WebhookNotifier(hook(well.url))}
        async with sending(store, notifiers) as tell:
            for number in range(20):
                tell(alert(f"a{number}", receivers=("deaf", "well")))
            await until(lambda: len(well.got) == 20, well)
        assert len(deaf.got) <= 8


async def test_a_storm_for_a_hanging_receiver_delays_no_page_of_another(store: Store) -> None:
    class Deaf(Scripted):
        async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
            self.got.append(key)
            await asyncio.sleep(3600)
            return Sent()

    deaf, well = Deaf(), Scripted()
    storm = [received(alert(f"s{number}", receivers=("deaf",)), number) for number in range(300)]
    known = {"deaf": hook("https://example.org/"), "well": hook("https://example.org/")}
    await Outbox(store, known, asyncio.Event()).handle(storm)
    async with sending(store, {"deaf": deaf, "well": well}) as tell:
        async with asyncio.timeout(20):
            while not deaf.got:  # noqa: ASYNC110  the storm is claimed
                await asyncio.sleep(0.01)
        tell(alert("page", receivers=("well",)))
        async with asyncio.timeout(5):
            assert await results(store, "page", 1) == [(0, "well", "delivered")]
    assert len(deaf.got) <= 8


async def test_a_receiver_that_rests_is_not_claimed_for(store: Store) -> None:
    failing = Scripted()
    storm = [received(alert(f"s{number}", receivers=("failing",)), number) for number in range(300)]
    known = {"failing": hook("https://example.org/"), "well": hook("https://example.org/")}
    await Outbox(store, known, asyncio.Event()).handle(storm)
    sender = Sender(store, {"failing": failing, "well": Scripted()}, asyncio.Event())
    lane = sender._lanes.setdefault("failing", Lane())
    assert sender._busy() == frozenset()
    lane.rests_until = datetime.now(UTC) + timedelta(minutes=1)
    assert await sender._claim(sender._busy()) == []


async def test_what_is_refused_is_recorded_as_failed_and_not_tried_again(store: Store) -> None:
    async with receiving(["404", "200"]) as receiver:
        notifier = WebhookNotifier(hook(receiver.url))
        async with sending(store, {"hook": notifier}) as tell:
            tell(alert(receivers=("hook",)))
            assert await results(store, "a1", 1) == [(0, "hook", "failed")]
            tell(alert("a2"))
            await until(lambda: len(receiver.got) == 2, receiver)
    assert [one.reason for one in await store.notifications("a1")] == ["HTTP 404"]


async def test_a_receiver_that_is_not_configured_yet_gets_its_page_later(store: Store) -> None:
    """One process may look for a new configuration a moment after another."""
    event = alert(receivers=("new",))
    async with sending(store, {"hook": Scripted()}) as tell:
        tell(event)
        assert (await results(store, "a1", 1))[0] == (0, "new", "retry")
    assert {one.reason for one in await store.notifications("a1")} == {
        "receiver 'new' is not configured; add it, or take it out of the rule"
    }
    new = Scripted()
    async with sending(store, {"new": new}):
        while not new.got:  # noqa: ASYNC110  a scripted receiver tells nobody
            await asyncio.sleep(0.01)
    assert new.got == [send_key(event, "new")]


async def test_a_receiver_that_stays_unknown_is_given_up_where_everybody_sees_it(store: Store) -> None:
    now = datetime.now(UTC)
    sends = [
        Send(f"{name}:0:gone", "gone", alert(name), attempts, now, now + DAY - timedelta(minutes=minutes))
        for name, attempts, minutes in (("young", 0, 1), ("old", 8, 10))
    ]
    await store.enqueue(sends)
    async with sending(store, {"hook": Scripted()}):
        assert (await results(store, "old", 1))[0] == (0, "gone", "failed")
        assert (await results(store, "young", 1))[0] == (0, "gone", "retry")
    assert len(await store.notifications("old")) == 1


async def test_attempts_that_fail_together_are_one_failure_of_their_receiver(store: Store) -> None:
    class Down(Scripted):
        async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
            self.got.append(key)
            await asyncio.sleep(0.05)
            return Retry("HTTP 503", 30.0)

    down, wake = Down(), asyncio.Event()
    sender = Sender(store, {"hook": down}, wake, transient=TRANSIENT, chance=lambda: 0.5)
    box = Outbox(store, {"hook": hook("https://example.org/")}, wake)
    await box.handle([received(alert(f"a{number}"), number) for number in range(8)])
    running = asyncio.create_task(sender.run())
    for number in range(8):
        await results(store, f"a{number}", 1)
    assert (len(down.got), sender._lanes["hook"].failures) == (8, 1)
    await asyncio.sleep(0.6)
    await box.handle([received(alert("later"), 8)])
    await results(store, "later", 1)
    assert sender._lanes["hook"].failures == 2
    running.cancel()
    await asyncio.wait({running})


class Faulty:
    """A stranger's notifier with a bug."""

    settings_model: ClassVar[type[ReceiverSettings]] = ReceiverSettings

    def __init__(self) -> None:
        self.calls = 0

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
        self.calls += 1
        if self.calls == 1:
            raise KeyError("bug")
        return Sent()

    async def aclose(self) -> None:
        return


async def test_a_fault_in_a_notifier_stops_nothing(store: Store) -> None:
    async with sending(store, {"hook": Faulty()}) as tell:
        tell(alert())
        assert [one[2] for one in await results(store, "a1", 2)] == ["retry", "delivered"]


async def test_a_lease_that_ran_out_is_sent_again_with_the_same_key(store: Store) -> None:
    box = Outbox(store, {"hook": hook("https://x.org/")}, asyncio.Event())
    await box.handle([received(alert())])
    (claimed,) = await store.claim(datetime.now(UTC), 10, 0.0)  # a process that died after its claim
    async with receiving(["200"]) as receiver, sending(store, {"hook": WebhookNotifier(hook(receiver.url))}):
        await until(lambda: len(receiver.got) == 1, receiver)
    assert receiver.got[0].headers["webhook-id"] == claimed.key


def keys(sends: Sequence[Send]) -> set[str]:
    return {send.key for send in sends}


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_a_wrong_clock_enqueued_settled_or_leased_goes_out_when_it_is_set_back(
    store: Store, restarted: bool
) -> None:
    """Invariant 6: a clock that was a day ahead, and was believed."""
    leap = timedelta(0)

    def clock() -> datetime:
        return datetime.now(UTC) + leap

    box = Outbox(store, {"hook": hook("https://x.org/")}, asyncio.Event(), clock)
    sender = Sender(store, {}, asyncio.Event(), clock=clock)
    await store.enqueue([Send("a4:0:hook", "hook", alert("a4"), 3, clock() + timedelta(minutes=59), clock() + DAY)])
    assert await sender._claim(frozenset()) == []
    leap = timedelta(hours=25)
    await box.handle([received(alert()), received(alert("a2"))])
    assert keys(await sender._claim(frozenset())) == {"a1:0:hook", "a2:0:hook", "a4:0:hook"}
    again = datetime.now(UTC) + timedelta(minutes=59)
    await store.settle([Outcome("a2:0:hook", "retry", "503", clock(), clock() + timedelta(seconds=5))])
    await store.settle([Outcome("a4:0:hook", "retry", "503", clock(), again)])
    await box.handle([received(alert("a3"))])
    leap = timedelta(0)
    sender = Sender(store, {}, asyncio.Event(), clock=clock) if restarted else sender
    assert keys(await sender._claim(frozenset())) == {"a1:0:hook", "a2:0:hook", "a3:0:hook"}
    assert await sender._claim(frozenset()) == []


async def test_a_process_whose_clock_is_behind_repeats_no_page_of_another(store: Store) -> None:
    right = Sender(store, {}, asyncio.Event())
    slow = Sender(store, {}, asyncio.Event(), clock=lambda: datetime.now(UTC) - timedelta(hours=2))
    assert await slow._claim(frozenset()) == []
    await Outbox(store, {"hook": hook("https://x.org/")}, asyncio.Event()).handle([received(alert())])
    assert keys(await right._claim(frozenset())) == {"a1:0:hook"}
    assert [await slow._claim(frozenset()) for _ in range(3)] == [[]] * 3
    now = datetime.now(UTC)
    await store.settle([Outcome("a1:0:hook", "retry", "503", now, now + timedelta(minutes=5))])
    assert [await slow._claim(frozenset()) for _ in range(3)] == [[]] * 3


async def test_a_send_that_is_claimed_again_while_it_is_under_way_or_waits_goes_out_once(store: Store) -> None:
    class Slow(Scripted):
        async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
            await asyncio.sleep(0.05)
            return await super().send(event, key, now)

    slow, now = Slow(), datetime.now(UTC)
    events = [alert(), alert(seq=1, state=AlertState.RESOLVED)]
    sends = [Send(send_key(event, "hook"), "hook", event, 0, now, now + DAY) for event in events]
    await store.enqueue(sends)
    sender = Sender(store, {"hook": slow}, asyncio.Event(), transient=TRANSIENT)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            for send in sends:
                sender._place(group, send)
            await asyncio.sleep(0.01)
    assert slow.got == [send.key for send in sends]


def pending(attempts: int, expires: float) -> Send:
    return Send("k", "hook", alert(), attempts, NOW, NOW + timedelta(seconds=expires))


@pytest.mark.parametrize(
    ("attempt", "attempts", "expires", "result", "wait"),
    [
        (Sent("HTTP 200"), 0, 60, "delivered", None),
        (Reject("HTTP 400"), 0, 60, "failed", None),
        (Retry("HTTP 500"), 0, 60, "retry", 0.5),
        (Retry("HTTP 500"), 4, 60, "retry", 8.0),
        (Retry("HTTP 500"), 400, 1000, "retry", 150.0),
        (Retry("HTTP 429", 40.0), 0, 60, "retry", 40.0),
        (Retry("HTTP 429", 90_000.0), 0, 90_000, "retry", 3600.0),
        (Retry("HTTP 500"), 400, 100, "failed", None),
    ],
)
def test_outcomes(attempt: Attempt, attempts: int, expires: float, result: str, wait: float | None) -> None:
    outcome = outcome_of(pending(attempts, expires), attempt, NOW, 0.5)
    assert outcome.result == result
    assert outcome.retry_at == (None if wait is None else NOW + timedelta(seconds=wait))


def test_waits_have_full_jitter_and_a_ceiling() -> None:
    assert [wait_before(n, None, 0.999999) for n in (1, 2, 3, 9, 10, 1000)] == pytest.approx(
        [1, 2, 4, 256, 300, 300], rel=1e-4
    )
    assert wait_before(5, None, 0.0) == 0.05


async def test_an_expired_send_fails_where_it_is_seen(store: Store) -> None:
    past = datetime.now(UTC) - timedelta(hours=25)
    await store.enqueue([Send("a1:0:hook", "hook", alert(), 0, past, past + timedelta(hours=24))])
    async with sending(store, {"hook": Faulty()}):
        assert [one[2] for one in await results(store, "a1", 1)] == ["failed"]
