"""What the oracle does not know: losses of hearing, evidence, lateness, changed rules, the state's size."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta

import pytest

from alerts.engine import Engine, UnreadableState
from streams.records import AlertEvent, AlertState, AnyRecord, Pulse, SourceStatus
from tests.alerts.worlds import at, deletion, mention, pulse, rule

LIVE, STALLED, UNREACHABLE = SourceStatus.LIVE, SourceStatus.STALLED, SourceStatus.UNREACHABLE


def beats(first: int, last: int, source: str = "a", status: SourceStatus = LIVE) -> list[Pulse]:
    return [pulse(second, source=source, status=status) for second in range(first, last + 1)]


def burst(second: float, count: int = 4, source: str = "a") -> list[AnyRecord]:
    return [mention(f"{source}{second}-{n}", second + n / 100, source=source) for n in range(count)]


def merged(*streams: Iterable[AnyRecord]) -> list[tuple[AnyRecord, int]]:
    """In order of sending: pulses by their wall clock, mentions by their receipt."""

    def sent(record: AnyRecord) -> float:
        moment = record.sent_at if isinstance(record, Pulse) else record.scored_at  # type: ignore[union-attr]
        return (moment - at(0)).total_seconds()

    records = [record for stream in streams for record in stream]
    return [(record, 0) for record in sorted(records, key=sent)]


def said(events: Iterable[AlertEvent]) -> list[tuple[str, int, float]]:
    return [(event.state.value, event.seq, (event.at - at(0)).total_seconds()) for event in events]


def test_a_stalled_source_turns_a_firing_alert_to_no_data_and_never_resolves_it() -> None:
    """Invariant 4."""
    engine = Engine([rule()])
    events = engine.step(merged(beats(0, 20), burst(12), beats(21, 600, status=STALLED))).events
    assert [state for state, _, _ in said(events)] == ["firing", "no_data"]
    assert events[-1].reason == "can't be seen: a is stalled"
    back = engine.step(merged(beats(601, 700))).events
    assert [event.state for event in back] == ["resolved"]
    assert back[0].alert_id == events[0].alert_id


def test_an_alert_fires_again_when_the_window_still_breaches_after_the_silence() -> None:
    engine = Engine([rule(window="30s")])
    events = engine.step(
        merged(beats(0, 20), burst(12), [pulse(second + 21, status=STALLED) for second in range(5)])
    ).events
    events += engine.step(merged(burst(25.5), beats(26, 60))).events
    assert [state for state, _, _ in said(events)][:3] == ["firing", "no_data", "firing"]
    assert len({event.alert_id for event in events}) == 1
    assert [event.seq for event in events] == list(range(len(events)))


def test_one_stalled_source_among_two_holds_the_alert_but_not_a_new_page() -> None:
    engine = Engine([rule()])
    quiet = beats(31, 200, source="b", status=STALLED)
    events = engine.step(merged(beats(0, 200), beats(0, 30, source="b"), quiet, burst(50), burst(120))).events
    assert [state for state, _, _ in said(events)] == ["firing", "no_data", "firing", "no_data"]
    assert "b is stalled" in events[1].reason


def test_a_group_by_source_depends_on_that_source_alone() -> None:
    engine = Engine([rule(group_by=["source"])])
    quiet = beats(11, 200, source="b", status=UNREACHABLE)
    events = engine.step(merged(beats(0, 200), beats(0, 10, source="b"), quiet, burst(50))).events
    assert [state for state, _, _ in said(events)] == ["firing", "resolved"]


def test_sources_that_stop_pulsing_are_lost_and_time_goes_on_without_them() -> None:
    engine = Engine([rule()])
    events = engine.step(merged(beats(0, 10, source="b"), beats(0, 200), burst(60), burst(150))).events
    assert [state for state, _, _ in said(events)] == ["firing", "no_data", "firing", "no_data"]
    assert events[1].reason == "can't be seen: b is lost"


def test_ticks_lose_all_sources_when_nothing_arrives_any_more() -> None:
    engine = Engine([rule()])
    events = engine.step(merged(beats(0, 20), burst(9))).events
    for second in range(25, 400, 5):
        engine.tick(at(second))
        engine.advance()
    assert [event.state.value for event in events] == ["firing"]
    assert said(engine.drain().events) == [("no_data", 1, 80.0)]


def test_a_tick_is_state_and_its_events_come_again_after_a_load() -> None:
    engine = Engine([rule()])
    engine.step(merged(beats(0, 20), burst(9)))
    for second in range(25, 90, 5):
        engine.tick(at(second))
    again = Engine.load(engine.dump(), engine.rules)
    engine.advance()
    again.advance()
    assert engine.drain().events == (events := again.drain().events)
    assert [event.state.value for event in events] == ["no_data"]


def test_a_machine_that_slept_loses_nobody() -> None:
    engine = Engine([rule()])
    hours = 8 * 3600
    events = engine.step(
        merged(beats(0, 20), beats(0, 20, "b"), beats(hours, hours + 90), beats(hours, hours + 90, "b"))
    ).events
    assert events == []


def test_an_idle_rule_says_no_data_when_all_its_sources_are_away_for_two_minutes() -> None:
    engine = Engine([rule(), rule(id="deaf", no_data="ignore")])
    away = beats(21, 200, status=UNREACHABLE)
    events = engine.step(merged(beats(0, 20), away)).events
    assert [(event.rule_id, event.state.value) for event in events] == [("r", "no_data")]
    assert said(events) == [("no_data", 0, 141.0)]
    assert said(engine.step(merged(beats(201, 230))).events)[0][:2] == ("resolved", 1)


def test_a_source_that_was_never_heard_pages_nobody() -> None:
    engine = Engine([rule()])
    never = beats(0, 500, source="b", status=UNREACHABLE)
    events = engine.step(merged(beats(0, 500), never, burst(50))).events
    assert [state for state, _, _ in said(events)] == ["firing", "resolved"]
    assert Engine([rule()]).step(merged(never)).events == []


def test_while_no_source_is_live_time_stands_still_and_the_backlog_is_evaluated_in_full() -> None:
    engine = Engine([rule()])
    down = [pulse(second, status=UNREACHABLE) for second in range(21, 80)]
    backlog = [mention(f"late{n}", 40 + n / 10, received=81) for n in range(4)]
    caught_up = [pulse(50, sent=81.5), *beats(82, 120)]
    step = engine.step(merged(beats(0, 20), down, backlog, caught_up))
    assert step.late == {}
    assert said(step.events)[0][0] == "firing"
    assert at(40) <= step.events[0].at <= at(50)


def test_a_late_mention_is_counted_and_still_enters_its_windows() -> None:
    engine = Engine([rule(window="30s")])
    late = mention("late", 10, received=29.5)
    step = engine.step(merged(beats(0, 60), burst(20, 2), [late, late]))
    assert step.late == {"a": 1}
    assert [event.state.value for event in step.events] == ["firing", "resolved"]
    assert step.events[0].count == 3


def test_old_entries_of_a_feed_in_real_time_page_nobody() -> None:
    old = [mention(f"old{n}", -90_000 + n, received=0) for n in range(5)]
    assert Engine([rule()]).step(merged(old, beats(1, 60))).events == []
    told = [pulse(-80_000, sent=1), pulse(-70_000, sent=2)]
    assert [e.state.value for e in Engine([rule()]).step(merged(old, told)).events] == ["firing", "resolved"]


@pytest.mark.parametrize("deleted", [False, True])
def test_after_all_sources_finished_nothing_stays_open_though_no_mention_is_left(deleted: bool) -> None:
    engine, last = Engine([rule(keep_firing="10m")]), 40 if deleted else 300
    told = [pulse(second, sent=second + 86_400) for second in range(last)]
    gone = [deletion(f"a12-{n}", last, revision=2) for n in range(4)] if deleted else []
    events = engine.step(merged(burst(12))).events + engine.step([(one, 0) for one in told]).events
    events += engine.step([(one, 0) for one in gone]).events
    finished = pulse(last, sent=last + 86_400, status=SourceStatus.FINISHED)
    events += engine.step([(finished, 0), (finished, 0)]).events
    assert [event.state.value for event in events] == ["firing", "resolved"]


def test_realms_never_meet_and_a_replay_has_its_own_time() -> None:
    engine = Engine([rule()])
    live = [mention(f"x{n}", 10, realm="live") for n in range(2)]
    rehearsed = [mention(f"x{n}", 10, realm="rehearsal") for n in range(4)]
    pulses = [pulse(second, realm="rehearsal") for second in range(60)]
    events = engine.step(merged(beats(0, 60), live, rehearsed, pulses)).events
    assert {event.realm for event in events} == {"rehearsal"}


def test_evidence_is_bounded_and_has_the_first_and_the_most_urgent() -> None:
    engine = Engine([rule(threshold=40, window="30s")])
    plain = [mention(f"m{n}", 5 + n / 100, text="word " * 100) for n in range(40)]
    urgent = mention("worst", 8, urgency="critical", author="x" * 300)
    (event, *_) = engine.step(merged(beats(0, 20), plain, [urgent])).events
    names = [one.native_id for one in event.evidence]
    assert names[0] == "worst"
    assert {"m0", "m1", "m2", "m3", "m4"} < set(names)
    assert len(names) == 10
    assert all(len(one.excerpt) <= 280 for one in event.evidence)


def test_deleted_mentions_leave_evidence_and_state() -> None:
    """Invariant 8."""
    engine = Engine([rule(threshold=3, window="30s")])
    secret = mention("gone", 5, text="a secret", author="me")
    withdrawn = mention("withdrawn", 5, text="another secret", author="leaver")
    engine.step(merged(beats(0, 8), [secret, withdrawn, *burst(6, 4)]))
    assert "secret" in engine.dump()
    gone = [deletion("gone", 9, revision=2), deletion("leaver", 9, revision=2, whole_author=True)]
    (event, *_) = engine.step(merged(gone, [secret, withdrawn], beats(9, 30))).events
    assert event.count == 4
    assert "secret" not in engine.dump() + event.model_dump_json()


def test_changed_and_removed_rules_resolve_what_they_had_open() -> None:
    engine = Engine([rule(id="kept"), rule(id="changed"), rule(id="removed")])
    assert len(engine.step(merged(beats(0, 19), burst(9))).events) == 3
    rules = [rule(id="kept"), rule(id="changed", threshold=30)]
    again = Engine.load(engine.dump(), rules)
    assert [(event.rule_id, event.state.value, event.seq, event.reason) for event in again.drain().events] == [
        ("changed", "resolved", 1, "the rule was changed"),
        ("removed", "resolved", 1, "the rule was removed"),
    ]
    assert [event.rule_id for event in again.step(merged(beats(20, 60))).events] == ["kept"]


def test_a_rule_that_changes_during_an_outage_says_no_data_again_each_time() -> None:
    one, other, deaf = rule(), rule(name="Renamed"), rule(no_data="ignore")
    engine = Engine([one])
    events = engine.step(merged(beats(0, 20), beats(21, 160, status=UNREACHABLE))).events
    for changed in (other, one, deaf, one):
        engine = Engine.load(engine.dump(), [changed])
        engine.advance()
        again = Engine.load(engine.dump(), [changed])
        events += engine.drain().events
        engine = again
        events += engine.step(merged([pulse(161, status=UNREACHABLE)])).events
    events += engine.step(merged(beats(162, 200))).events
    opened = [event for event in events if event.seq == 0]
    assert [event.rule_revision for event in opened] == [one.revision, other.revision, one.revision, one.revision]
    assert {event.state for event in opened} == {AlertState.NO_DATA}
    assert len({event.alert_id for event in opened}) == 4
    closed = [(event.alert_id, event.seq, event.state.value) for event in events if event.seq]
    assert closed == [(event.alert_id, 1, "resolved") for event in opened]


def test_a_second_no_data_alert_over_the_same_outage_is_another_one() -> None:
    """Its key would be that of the first, so that nobody were told."""
    engine = Engine([rule()], sources=frozenset("ab"))
    a_away, b_away = beats(60, 400, status=UNREACHABLE), beats(30, 300, "b", UNREACHABLE)
    events = engine.step(merged(beats(0, 59), beats(0, 29, "b"), a_away, b_away, beats(301, 400, "b"))).events
    engine = Engine.load(engine.dump(), engine.rules, sources=frozenset("a"))
    events += engine.step(merged(beats(401, 700, status=UNREACHABLE))).events
    assert [event.state.value for event in events] == ["no_data", "resolved", "no_data"]
    assert len({(event.alert_id, event.seq) for event in events}) == 3


def test_a_new_rule_sees_the_window_that_is_already_known() -> None:
    engine = Engine([rule(window="60s")])
    engine.step(merged(beats(0, 20), burst(9)))
    again = Engine.load(engine.dump(), [rule(id="new", window="60s")])
    events = again.step(merged(beats(21, 30))).events
    assert [(event.rule_id, event.state.value) for event in events][-1] == ("new", "firing")


def test_sources_that_are_configured_no_more_hold_nothing() -> None:
    engine = Engine([rule()])
    engine.step(merged(beats(0, 20), beats(0, 20, "b"), burst(9)))
    again = Engine.load(engine.dump(), engine.rules, sources=frozenset({"a"}))
    assert [state for state, _, _ in said(again.step(merged(beats(21, 120), beats(21, 22, "b"))).events)] == [
        "resolved"
    ]


@pytest.mark.parametrize("sources", [[], ["a"]])
def test_a_changed_or_new_rule_fires_with_the_evidence_that_is_known(sources: list[str]) -> None:
    engine = Engine([rule(window="60s"), rule(id="other", measure="urgency", window="20s")])
    posts = [*burst(9), mention("urgent", 9.5, urgency="high"), mention("gone", 9.6), mention("old", 9.7)]
    engine.step(merged(beats(0, 19), posts, [deletion("gone", 15, revision=2)], [mention("old", 9.7, revision=2)]))
    rules = [rule(window="60s", name="Changed"), rule(id="new", measure="urgency", window="60s", threshold=1)]
    rules.append(rule(id="young", window="5s", threshold=1))
    again = Engine.load(engine.dump(), [one.model_copy(update={"sources": tuple(sources)}) for one in rules])
    events = again.step(merged(beats(20, 30))).events
    shown = {event.rule_id: {one.native_id for one in event.evidence} for event in events if event.state == "firing"}
    assert shown == {"r": {"a9-0", "a9-1", "a9-2", "a9-3", "urgent", "old"}, "new": {"urgent"}}


@pytest.mark.parametrize(("named", "others"), [(["a"], True), ([], False)])
def test_an_alert_whose_only_source_is_switched_off_turns_to_no_data_until_it_is_back(
    named: list[str], others: bool
) -> None:
    engine = Engine([rule(sources=named)])
    events = engine.step(merged(beats(0, 19), burst(9), beats(0, 19, "b") if others else ())).events
    for _ in range(2):
        engine = Engine.load(engine.dump(), engine.rules, sources=frozenset("b"))
        engine.advance()
        events += engine.drain().events
    never = [] if others else beats(20, 200, "b", UNREACHABLE)
    events += engine.step(merged(never, beats(20, 200, "b") if others else ())).events
    assert [(event.state.value, event.seq) for event in events] == [("firing", 0), ("no_data", 1)]
    assert events[1].reason == "can't be seen: a is switched off or removed"
    engine = Engine.load(engine.dump(), engine.rules)
    back = engine.step(merged(beats(201, 230))).events
    assert [event.state.value for event in back] == ["firing", "resolved"], "what was known still counts"
    assert {event.alert_id for event in back} == {events[0].alert_id}


def test_an_alert_of_a_switched_off_source_turns_to_no_data_where_the_rule_groups_by_source() -> None:
    engine = Engine([rule(group_by=["source"])])
    events = engine.step(merged(beats(0, 19), burst(9), beats(0, 19, "b"))).events
    for first, last in ((20, 60), (61, 200)):
        engine = Engine.load(engine.dump(), engine.rules, sources=frozenset("b"))
        engine.advance()
        events += engine.step(merged(beats(first, last, "b"))).events
    assert [(event.state.value, event.seq) for event in events] == [("firing", 0), ("no_data", 1)]
    assert events[1].reason == "can't be seen: a is switched off or removed"
    engine = Engine.load(engine.dump(), engine.rules)
    back = engine.step(merged(beats(201, 230), beats(201, 230, "b"))).events
    assert [(event.alert_id, event.state.value) for event in back] == [(events[0].alert_id, "resolved")]


def test_what_was_over_when_the_state_was_saved_changes_no_name_of_a_new_alert() -> None:
    """Killed between append and save; retention may take some of the past between two starts."""
    engine = Engine([rule(), rule(id="other")])
    saved = (engine.step(merged(beats(0, 9))), engine.dump())[1]
    fired = engine.step(merged(burst(9), beats(10, 19))).events
    hour = timedelta(hours=1)
    over = fired[0].model_copy(update={"state": AlertState.RESOLVED, "started_at": fired[0].started_at - hour})
    past = [over.model_copy(update={"alert_id": f"{number:032x}"}) for number in range(300)]
    names = []
    for known in ([*past, *fired], [*fired, *past[:7]], fired):
        again = Engine.load(saved, [rule(name="Changed"), rule(id="other", name="Changed")])
        again.disown(known)
        ends = again.drain().events
        assert [(event.alert_id, event.state.value) for event in ends] == [(one.alert_id, "resolved") for one in fired]
        anew = again.step(merged(burst(9), beats(10, 19))).events
        assert [event.started_at for event in anew] == [event.started_at for event in fired]
        names.append([event.alert_id for event in anew])
    assert names[0] == names[1] == names[2]
    assert not set(names[0]) & {event.alert_id for event in fired}


def test_memory_is_bounded_by_the_horizon() -> None:
    engine = Engine([rule(threshold=1000)])
    sizes = []
    for second in range(0, 1200, 10):
        engine.step(merged(burst(second, 20), beats(second, second + 9)))
        sizes.append(len(engine.dump()))
    assert len(engine.realms["live"].contributions.entries) < 20 * 20
    assert max(sizes[60:]) < 1.2 * max(sizes[20:60])


def test_an_absurdly_long_jump_is_quick() -> None:
    engine = Engine([rule()])
    year = 365 * 86_400
    events = engine.step(merged(beats(0, 9), burst(3), [pulse(year, sent=10)])).events
    assert [state for state, _, _ in said(events)] == ["firing", "resolved"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"v":1}', '{"v":9,"realms":{}}', '{"v":1,"realms":{"live":3}}']
)
def test_damaged_state_is_refused(text: str) -> None:
    """Invariant 3."""
    with pytest.raises(UnreadableState):
        Engine.load(text, [rule()])


def test_state_cut_anywhere_is_refused() -> None:
    engine = Engine([rule()])
    engine.step(merged(beats(0, 20), burst(9)))
    whole = engine.dump()
    assert json.loads(whole)["v"] == 2
    for cut in range(0, len(whole) - 1, 97):
        with pytest.raises(UnreadableState):
            Engine.load(whole[:cut], [rule()])


def test_records_of_other_topics_are_refused() -> None:
    engine = Engine([rule()])
    with pytest.raises(TypeError, match="holds no mention"):
        engine.feed(mention("x", 1).mention)
    with pytest.raises(ValueError, match="needs published_at and score"):
        engine.feed(mention("x", 1).model_copy(update={"score": None}))


def test_a_strangers_languages_leave_the_engine() -> None:
    engine = Engine([rule(group_by=["lang"])])
    for number in range(400):
        lang = "abcdefghijklmnopqrst"[number // 20] + "abcdefghijklmnopqrst"[number % 20]
        engine.step([(mention(f"m{number}", number * 10.0, lang=lang), 0), (pulse(number * 10.0 + 5), 0)])
    (realm,) = engine.realms.values()
    assert len(realm.contributions.facets) < 40
    assert all(len(cell.window._groups) < 40 for cell in realm.cells)
    assert len(json.loads(engine.dump())["realms"]["live"]["contributions"]["facets"]) < 40


@pytest.mark.parametrize("whole_author", [False, True])
@pytest.mark.parametrize("after", [2.0, 8.0, 13.0, 40.0, 200.0])
def test_no_text_outlives_its_deletion_in_state_or_events(after: float, whole_author: bool) -> None:
    """Invariant 8: whenever the deletion comes, and however long the group goes on without another hit."""
    canary = "CANARY"
    engine = Engine([rule(threshold=2, measure="urgency", level="high", window="10s")])
    urgent = [mention(f"u{n}", 20 + n / 10, urgency="high", text=canary, author="w") for n in range(3)]
    calm = [mention(f"c{n}", 20 + n, urgency="low") for n in range(300)]
    until = int(20 + after)
    events = engine.step(merged(beats(0, until), urgent, calm[: until - 20])).events
    fired = [event for event in events if event.state is AlertState.FIRING]
    assert any(canary in event.evidence[0].excerpt for event in fired) == (after > 10)
    gone = [
        deletion("w" if whole_author else f"u{n}", 20 + after, revision=9, whole_author=whole_author) for n in range(3)
    ]
    for record in gone:
        engine.feed(record)
    assert canary not in engine.dump()
    later = engine.step(merged(beats(until + 1, 300), calm[until - 20 :])).events
    assert all(canary not in event.model_dump_json() for event in later)
