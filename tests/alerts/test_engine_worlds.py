"""The engine against the brute-force oracle, and against itself, over random worlds."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine import Engine
from streams.records import AlertEvent
from tests.alerts.worlds import History, Post, history_of, posts, rule
from tests.oracle_alerts import expected_alerts, transitions

RULES = (
    rule(id="count"),
    rule(id="by-lang", threshold=2, window="20s", group_by=["lang"], cooldown="15s", **{"for": "10s"}),
    rule(id="share", measure="negative_share", threshold=0.7, at_least=4, resolve_below=0.5, window="30s", query="q"),
    rule(id="urgent", measure="urgency", threshold=2, every="3s", window="12s", keep_firing="9s", group_by=["query"]),
    rule(id="critical", measure="urgency", level="critical", threshold=1, window="7s", every="7s", sources=["a", "b"]),
    rule(id="per-source", threshold=2, group_by=["source", "query"], query=["p", "q"], resolve_below=1),
)
KINDS = ("publish", "publish", "publish", "edit", "edit", "delete", "withdraw")


def run(history: History, partitions: int) -> list[AlertEvent]:
    engine = Engine(RULES)
    engine.assign(frozenset(range(partitions)))
    return engine.step(history).events


@settings(max_examples=80, deadline=None)
@given(chosen=posts(300, KINDS), partitions=st.integers(1, 3), seed=st.integers(0, 99), finish=st.booleans())
def test_alerts_equal_the_oracles(chosen: list[Post], partitions: int, seed: int, finish: bool) -> None:
    history = history_of(chosen, partitions, seed, finish=finish)
    assert transitions(run(history, partitions)) == expected_alerts(history, RULES, partitions=partitions)


@settings(max_examples=25, deadline=None)
@given(chosen=posts(300, KINDS), seed=st.integers(0, 99))
def test_alerts_equal_the_oracles_in_real_time(chosen: list[Post], seed: int) -> None:
    history = history_of(chosen, 1, seed, behind=0.0)
    assert transitions(run(history, 1)) == expected_alerts(history, RULES)


@settings(max_examples=40, deadline=None)
@given(chosen=posts(49, ("publish",)), partitions=st.integers(1, 3), seeds=st.tuples(st.integers(), st.integers()))
def test_order_within_the_lateness_does_not_matter(chosen: list[Post], partitions: int, seeds: tuple[int, int]) -> None:
    one = run(history_of(chosen, partitions, seeds[0]), partitions)
    other = run(history_of(chosen, 1, seeds[1]), 1)
    assert transitions(one) == transitions(other)
    assert {(event.alert_id, event.seq) for event in one} == {(event.alert_id, event.seq) for event in other}


@settings(max_examples=30, deadline=None)
@given(chosen=posts(200, KINDS), partitions=st.integers(1, 2), seed=st.integers(0, 99))
def test_any_split_with_dump_and_load_gives_the_same_events(chosen: list[Post], partitions: int, seed: int) -> None:
    history = history_of(chosen, partitions, seed)
    whole = run(history, partitions)
    random, parts, start = Random(seed), [], 0
    engine = Engine(RULES)
    engine.assign(frozenset(range(partitions)))
    while start < len(history):
        size = random.randint(1, 60)
        parts += engine.step(history[start : start + size]).events
        start += size
        engine = Engine.load(engine.dump(), RULES)
        engine.assign(frozenset(range(partitions)))
    assert parts == whole


def test_the_worlds_do_fire() -> None:
    chosen = [
        Post(n, 10 * (n % 40), 5, "publish", "abc"[n % 3], "negative", "critical", n % 4, "he", ("q",), repeat=True)
        for n in range(60)
    ]
    states = [event.state.value for event in run(history_of(chosen, 2, 1), 2)]
    assert states.count("firing") == states.count("resolved") >= len(RULES)
