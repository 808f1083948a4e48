"""A clock that was wrong for a moment must not make alerting deaf until its time has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alerts.engine import Engine
from alerts.rules import Rule
from app.store import Store
from streams.embedded import EmbeddedStream
from streams.records import AlertEvent, AnyRecord, SourceStatus
from tests.alerts.test_worker import fill, read, run, worker_on
from tests.alerts.worlds import at, mention, pulse, rule

DAY = 86_400.0
HOUR = 3600
RULES = (rule(cooldown="30s"),)


def burst(second: float, ahead: float = 0.0) -> list[AnyRecord]:
    return [mention(f"{second}-{n}", second + ahead) for n in range(4)]


def pulses(begin: int, end: int) -> list[AnyRecord]:
    return [pulse(second) for second in range(begin, end)]


def told(events: Sequence[AlertEvent]) -> list[tuple[str, datetime]]:
    return [(event.state.value, event.at) for event in events]


def live(engine: Engine, records: Sequence[AnyRecord]) -> list[AlertEvent]:
    """Feed records as they come: the present is that of the last believable pulse of source a."""
    events: list[AlertEvent] = []
    second = 0.0
    for record in records:
        if record.type == "pulse" and record.source_id == "a" and record.at < at(DAY / 2):
            second = (record.at - at(0)).total_seconds()
        engine.believe(at(second))
        events += engine.step([(record, 0)]).events
    return events


def test_a_pulse_from_tomorrow_changes_nothing() -> None:
    calm = [*pulses(0, 20), *burst(18), *pulses(20, 90), *burst(88), *pulses(90, 130)]
    wrong = [*calm[:10], pulse(DAY), *calm[10:30], pulse(DAY + 1), *calm[30:]]
    expected = live(Engine(RULES), calm)
    engine = Engine(RULES)
    assert live(engine, wrong) == expected
    assert [state for state, _ in told(expected)] == ["firing", "resolved"] * 2


def test_a_source_that_pulses_from_the_future_alone_is_lost_and_said_to_be() -> None:
    engine = Engine((rule(sources=["b"]),))
    live(engine, [record for second in range(5) for record in (pulse(second), pulse(second, source="b"))])
    ahead = [record for second in range(5, 200) for record in (pulse(second), pulse(second + 300, source="b"))]
    events = live(engine, ahead)
    assert [(event.state.value, event.reason) for event in events] == [("no_data", "nothing can be heard: b is lost")]


def test_other_statuses_from_the_future_are_heard_without_their_time() -> None:
    engine = Engine(RULES)
    stalled = pulse(DAY, status=SourceStatus.STALLED)
    events = live(engine, [*pulses(0, 20), *burst(18), *pulses(20, 27), stalled, *pulses(28, 60)])
    assert [state for state, _ in told(events)] == ["firing", "no_data", "resolved"]


def test_mentions_from_tomorrow_count_now() -> None:
    engine = Engine(RULES)
    events = live(engine, [*pulses(0, 20), *burst(18, ahead=DAY), *pulses(20, 40)])
    assert [state for state, _ in told(events)][:1] == ["firing"]
    assert at(15) < events[0].at < at(30)


def test_a_saved_frontier_from_tomorrow_is_not_believed_and_open_alerts_stay() -> None:
    deaf = Engine(RULES)
    first = deaf.step([(one, 0) for one in [*pulses(0, 20), *burst(18), *pulses(20, 28)]]).events
    deaf.step([(pulse(DAY), 0), (mention("odd", DAY), 0)])
    deaf.step([(one, 0) for one in [*burst(30), *pulses(30, 60)]])
    engine = Engine.load(deaf.dump(), RULES)
    events = live(engine, [*pulses(60, 70), *burst(80), *pulses(70, 150)])
    assert [state for state, _ in told(first)] == ["firing"]
    assert [state for state, _ in told(events)] == ["firing", "resolved"]
    assert at(75) < events[0].at < at(95)


def test_the_time_that_goes_on_after_a_file_ended_is_no_mistake() -> None:
    engine = Engine((rule(window="1h", every="5s"),))
    records = [*pulses(0, 20), *burst(18), *pulses(20, 30), pulse(30, status=SourceStatus.FINISHED)]
    events = live(engine, records)
    engine.believe(at(31))
    engine.advance()
    assert [state for state, _ in told(events)] == ["firing", "resolved"]
    later = live(engine, [*pulses(40, 60), *burst(58), *pulses(60, 80)])
    assert [state for state, _ in told(later)] == ["firing"], "a source that begins after it is heard now"


def an_hour_ahead(rules: Sequence[Rule]) -> tuple[Engine, list[AlertEvent]]:
    """Both sources and we ourselves are right for a minute, and then an hour ahead for a while, and believe it."""
    engine, events = Engine(rules), list[AlertEvent]()
    for second in [*range(60), *range(HOUR + 60, HOUR + 100)]:
        engine.believe(at(second))
        events += engine.step([(pulse(second, source=source), 0) for source in "ab"]).events
    return engine, events


def test_an_alert_at_a_time_that_was_there_before_has_a_name_of_its_own() -> None:
    """The clock was an hour ahead and believed while an alert began; then that hour comes."""
    rules, events = (rule(window="60s", every="60s"),), list[AlertEvent]()
    engine = Engine(rules)
    bursts = {HOUR + 100: "ahead"}
    for second in [*range(60), *range(HOUR + 60, HOUR + 200), *range(200, HOUR + 400)]:
        engine.believe(at(second))
        name = bursts.pop(second, "")
        came: list[AnyRecord] = [pulse(second)]
        came += [mention(f"{name}{n}", second - 5 + n / 10) for n in range(4)] if name else []
        events += engine.step([(one, 0) for one in came]).events
        if second == 250:
            bursts[HOUR + 100] = "true"
            engine = Engine.load(engine.dump(), [rules[0].model_copy(update={"name": "Changed"})])
        engine = Engine.load(engine.dump(), engine.rules)
    assert [event.state.value for event in events] == ["firing", "resolved"] * (len(events) // 2)
    assert events[0].started_at == events[-1].started_at
    assert len({(event.alert_id, event.seq) for event in events}) == len(events)


def test_evidence_goes_back_with_its_mentions_when_a_clock_is_set_back() -> None:
    """Invariant 8: kept until the wrong time came, it would outlive its mention, and no deletion would find it."""
    rules = (rule(window="60s", threshold=10),)
    engine, _ = an_hour_ahead(rules)
    engine.step([(mention(f"m{n}", HOUR + 90), 0) for n in range(9)])
    engine.believe(at(100))
    engine.step([(mention("last", 101), 0)])
    events = engine.step([(pulse(second, source=name), 0) for second in range(100, 120) for name in "ab"]).events
    assert [(event.state.value, len(event.evidence)) for event in events] == [("firing", 10)]


def test_a_source_that_is_not_heard_after_a_clock_was_set_back_is_lost_and_said_to_be() -> None:
    rules = (rule(), rule(id="b", sources=["b"]))
    engine, events = an_hour_ahead(rules)
    for second in range(100, 400):
        engine = Engine.load(engine.dump(), rules)
        engine.believe(at(second))
        events += engine.step([(pulse(second), 0)]).events
    assert [(event.rule_id, event.state.value, event.reason) for event in events] == [
        ("b", "no_data", "nothing can be heard: b is lost")
    ]
    assert at(200) < events[0].at < at(400)


def test_when_nobody_is_heard_after_a_clock_was_set_back_all_are_lost_by_ticks() -> None:
    rules = (rule(),)
    engine, events = an_hour_ahead(rules)
    for second in range(100, 400, 5):
        engine.believe(at(second))
        engine.tick(at(second))
        engine = Engine.load(engine.dump(), rules)  # a restart between a tick and what follows from it
        engine.advance()
        events += engine.drain().events
    assert [(event.state.value, event.reason) for event in events] == [
        ("no_data", "nothing can be heard: a is lost, b is lost")
    ]


async def test_a_worker_survives_a_second_in_tomorrow_and_a_restart(stream: EmbeddedStream, store: Store) -> None:
    """The clock of the whole process leaps, so that pulses, present and mentions all claim tomorrow."""
    now = [0.0]
    worker = worker_on(stream, store, clock=lambda: at(now[0]))
    parts: list[tuple[float, list[AnyRecord]]] = [
        (20, pulses(0, 20)),
        (DAY, [pulse(DAY), mention("odd", DAY)]),
        (31, [*burst(22), *pulses(22, 32)]),
    ]
    await worker.start()
    for second, records in parts:
        now[0] = second
        await fill(stream, records)
        await run(stream, worker)
    again = worker_on(stream, store, clock=lambda: at(100))
    await fill(stream, [*pulses(70, 81), *burst(80), *pulses(81, 100)])
    await run(stream, again)
    events = [event for event in await read(stream, "alerts") if isinstance(event, AlertEvent)]
    states = told([event for event in events if event.rule_id == "r"])
    assert [state for state, _ in states] == ["firing", "resolved"] * 2
    assert all(moment < at(200) for _, moment in states)
