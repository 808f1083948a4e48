"""What a source catches up with after an outage gives the alerts that it would have given without."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from alerts.engine import Engine
from alerts.rules import Rule
from streams.records import AlertEvent, AnyRecord, SourceStatus
from tests.alerts.worlds import History, at, deletion, mention, pulse, rule

OUTAGE = range(30, 400)
BURSTS = (20, 100, 300, 500)


def burst(second: float) -> list[AnyRecord]:
    return [mention(f"{second}-{n}", second + n / 10, received=second + n / 10) for n in range(4)]


def steady(source: str, begin: int, end: int) -> list[tuple[float, AnyRecord]]:
    return [(float(second), pulse(second, source=source)) for second in range(begin, end)]


def undisturbed() -> list[tuple[float, AnyRecord]]:
    found = steady("a", 0, 600)
    return found + [(second + 0.5, one) for second in BURSTS for one in burst(second)]


def with_outage(back: float) -> list[tuple[float, AnyRecord]]:
    """Source a is not reachable during OUTAGE; it is back at `back` and delivers what it missed within seconds."""
    found = [(came, one) for came, one in undisturbed() if came < OUTAGE.start or came >= back + 10]
    found += [
        (float(second), pulse(OUTAGE.start - 1, source="a", sent=second, status=SourceStatus.UNREACHABLE))
        for second in range(OUTAGE.start, int(back))
    ]
    missed = [one for one in undisturbed() if OUTAGE.start <= one[0] < back + 10]
    missed.sort(key=lambda one: one[0])
    for place, (_, one) in enumerate(missed):
        came = back + 10 * place / len(missed)
        late = one.model_copy(update={"sent_at": at(came)}) if one.type == "pulse" else one
        found.append((came, late))
    return found


def events_of(deliveries: Sequence[tuple[float, AnyRecord]], rules: Sequence[Rule]) -> list[AlertEvent]:
    engine = Engine(rules)
    parts: list[AlertEvent] = []
    for _, record in sorted(deliveries, key=lambda one: one[0]):
        parts += engine.step([(record, 0)]).events
        engine = Engine.load(engine.dump(), rules)
    return parts


def fired(events: Sequence[AlertEvent]) -> list[object]:
    """When somebody was told: an alert that could not be seen for a while is not another one when it fires again."""
    return [(one.at, one.value) for one in events if one.state.value == "firing"]


@pytest.mark.parametrize("others", [False, True])
def test_a_rule_that_names_its_source_waits_for_it(*, others: bool) -> None:
    rules = (rule(sources=["a"]),)
    rest = steady("b", 0, 600) if others else []
    expected = fired(events_of([*undisturbed(), *rest], rules))
    assert len(expected) == len(BURSTS)
    events = events_of([*with_outage(OUTAGE.stop), *rest], rules)
    assert fired(events) == expected
    assert [one.state.value for one in events].count("no_data") >= 1


def test_after_an_outage_of_all_the_first_one_back_waits_for_the_others() -> None:
    rules = (rule(),)
    other = [one for one in steady("b", 0, 600) if one[0] < OUTAGE.start or one[0] >= OUTAGE.stop - 30]
    other += [
        (float(second), pulse(OUTAGE.start - 1, source="b", sent=second, status=SourceStatus.UNREACHABLE))
        for second in range(OUTAGE.start, OUTAGE.stop - 30)
    ]
    expected = fired(events_of([*undisturbed(), *steady("b", 0, 600)], rules))
    assert fired(events_of([*with_outage(OUTAGE.stop), *other], rules)) == expected


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_one_that_is_back_in_one_partition_is_waited_for_until_it_is_in_all(partitions: int) -> None:
    engine = Engine([rule()])
    engine.assign(frozenset(range(partitions)))
    events: list[AlertEvent] = []
    late = 0

    def put(*records: AnyRecord) -> None:
        nonlocal late
        step = engine.step([(record, partition) for record in records for partition in range(partitions)])
        events.extend(step.events)
        late += step.late.total()

    def away(second: int, source: str) -> AnyRecord:
        return pulse(30, source=source, sent=second, status=SourceStatus.UNREACHABLE)

    for second in range(31):
        put(pulse(second), pulse(second, source="b"))
    for second in range(31, 100):
        put(away(second, "a"), away(second, "b"))
    for second in range(100, 110):
        put(pulse(second), away(second, "b"))
    put(pulse(30, source="b", sent=110))
    engine.step([(mention(f"m{n}", 50 + n / 10, source="b", received=110.5), n % partitions) for n in range(4)])
    for second in range(111, 150):
        put(pulse(second), pulse(second, source="b"))
    assert (late, fired(events)) == (0, [(at(53.5), 4.0)])


def test_nobody_waits_for_long_nor_for_one_that_was_away_before() -> None:
    rules = (rule(),)
    gone = [(float(second), pulse(-1, source="b", sent=second, status=SourceStatus.STALLED)) for second in range(700)]
    long_gone = [(-1.0, pulse(-1, source="b")), *gone]
    assert fired(events_of([*with_outage(OUTAGE.stop), *long_gone], rules)) == fired(events_of(undisturbed(), rules))
    with_it = [*steady("b", 0, 30), *((came, one) for came, one in gone if came >= 30)]
    engine = Engine(rules)
    frontiers = []
    for came, record in sorted([*with_outage(OUTAGE.stop), *with_it], key=lambda one: one[0]):
        engine.step([(record, 0)])
        frontiers.append((came, engine.realms["live"].clock.frontier or 0))
    waited = [came for came, frontier in frontiers if came > OUTAGE.stop and frontier == frontiers[-1][1]]
    assert frontiers[-1][1] == max(frontier for _, frontier in frontiers)
    assert waited
    assert max(frontier for came, frontier in frontiers if came < OUTAGE.stop + 59) < min(
        frontier for came, frontier in frontiers if came > OUTAGE.stop + 62
    )


@pytest.mark.parametrize("whole_author", [False, True])
@pytest.mark.parametrize("outage", [40, 300])
def test_what_was_deleted_meanwhile_does_not_count_when_it_comes(outage: int, *, whole_author: bool) -> None:
    """Invariant 8: the deletion comes by another source, before the backlog."""
    engine, back = Engine([rule(sources=["a"])]), 30 + outage
    engine.step([(one, 0) for _, one in sorted([*steady("a", 0, 30), *steady("b", 0, 30)], key=lambda one: one[0])])
    engine.step([(pulse(29, sent=second, status=SourceStatus.UNREACHABLE), 0) for second in range(30, back)])
    names = ["w"] if whole_author else [f"m{n}" for n in range(4)]
    for gone in (deletion(name, back, revision=9, whole_author=whole_author) for name in names):
        sent = gone.mention.model_copy(update={"source_id": "b"})
        engine.feed(gone.model_copy(update={"mention": sent}))
    missed: History = [(pulse(second, sent=back + 1), 0) for second in range(30, back)]
    posts = [(mention(f"m{n}", back - 15 + n / 10, author="w", received=back + 1), 0) for n in range(4)]
    missed += [(pulse(second), 0) for second in range(back, back + 60)]
    events = engine.step([*missed[: outage - 15], *posts, *missed[outage - 15 :]]).events
    assert fired(events) == []


@pytest.mark.parametrize("whole_author", [False, True])
def test_others_deletions_leave_nothing_where_all_sources_have_finished(*, whole_author: bool) -> None:
    engine = Engine([rule(sources=["c"]), rule(id="all")])
    known = mention("known", 0, source="c", author="w")
    engine.step([(pulse(0, source="c"), 0), (pulse(0), 0), (known, 0)])
    engine.step([(pulse(1, source="c", status=SourceStatus.FINISHED), 0)])
    for second in range(1, 100):
        engine.step([(deletion(f"d{second}", second, revision=1, whole_author=whole_author), 0), (pulse(second), 0)])
    contributions = engine.realms["live:c"].contributions
    assert len(contributions.entries) + len(contributions._withdrawn) == 1
    engine.step([(deletion("w" if whole_author else "known", 100, revision=2, whole_author=whole_author), 0)])
    assert not list(contributions.counted())


def test_a_state_of_one_clock_a_realm_goes_on_with_a_clock_for_each_choice_of_sources() -> None:
    rules = (rule(), rule(id="named", sources=["a"]))
    records = [(one, 0) for _, one in sorted(undisturbed(), key=lambda one: one[0])]
    engine = Engine(rules)
    before = engine.step(records[:130]).events
    state = json.loads(engine.dump())
    whole, named = state["realms"].pop("live"), state["realms"].pop("live:a")
    del whole["realm"], whole["clock"]["awaited"]
    whole["cells"] |= named["cells"]
    old = json.dumps(state | {"v": 1, "realms": {"live": whole}})
    after = Engine.load(old, rules).step(records[130:]).events
    assert [*before, *after] == Engine(rules).step(records).events
    assert {event.rule_id for event in after} == {"r", "named"}
