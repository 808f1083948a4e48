from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.contributions import Contributions, Entry, Facet, facet_of
from alerts.windows import Window, excerpt, exhibit
from streams.records import ScoredMention
from tests.alerts.worlds import deletion, mention, rule

SECOND = 1_000_000


def taken(*records: ScoredMention) -> list[int]:
    known = Contributions()
    for record in records:
        known.take(record, 0, None)
    return [entry.revision for _, entry in known.counted()]


@pytest.mark.parametrize(
    ("records", "standing"),
    [
        ([mention("m", 1, revision=2), mention("m", 1, revision=1)], [2]),
        ([mention("m", 1, revision=1), mention("m", 1, revision=2)], [2]),
        ([mention("m", 1, revision=1), deletion("m", 2, revision=2)], []),
        ([deletion("m", 2, revision=2), mention("m", 1, revision=2)], []),
        ([deletion("m", 2, revision=2), mention("m", 1, revision=1)], []),
        ([deletion("m", 2, revision=2), mention("m", 1, revision=3)], [3]),
        ([mention("m", 1, author="w", revision=5), deletion("w", 2, revision=5, whole_author=True)], []),
        ([mention("m", 1, author="w", revision=6), deletion("w", 2, revision=5, whole_author=True)], [6]),
        ([deletion("w", 2, revision=5, whole_author=True), mention("m", 1, author="w", revision=5)], []),
        ([deletion("w", 2, revision=5, whole_author=True), mention("m", 1, author="w", revision=6)], [6]),
        ([deletion("w", 2, revision=5, whole_author=True), mention("w", 1, author="x", revision=1)], [1]),
    ],
)
def test_the_highest_revision_stands_and_nothing_brings_a_deleted_one_back(
    records: list[ScoredMention], standing: list[int]
) -> None:
    """Invariant 8."""
    assert taken(*records) == standing


def test_contributions_survive_a_dump_and_are_forgotten_behind_the_horizon() -> None:
    known = Contributions()
    for number in range(300):
        known.take(mention(f"m{number}", number, author=f"w{number % 7}", lang="pt-BR"), None, None)
    known.take(deletion("w3", 300, revision=1, whole_author=True), None, None)
    again = Contributions.load(known.dump())
    assert again.entries == known.entries
    assert again.facets == known.facets == [Facet("a", "pt", ("q",))]
    assert again.dump() == known.dump()
    newest = known.newest()
    assert newest is not None
    known.forget(newest + 1)
    assert len(known.entries) <= 60
    known.forget(newest + 120 * SECOND)
    assert known.entries == {}
    assert known.newest() is None


def filled(*at: float) -> Window:
    window = Window(rule(window="10s", every="5s"))
    for second in at:
        window.add(Entry(int(second * SECOND), 0, 1, 1, 0), ((),), 1)
    return window


@pytest.mark.parametrize(
    ("at", "step", "count"),
    [(5, 5, 1), (5.000001, 5, 0), (5.000001, 10, 1), (5, 10, 1), (5, 15, 0), (5.000001, 15, 1), (0, 10, 0)],
)
def test_a_window_is_open_at_its_start_and_closed_at_its_end(at: float, step: int, count: int) -> None:
    window = filled(at)
    window.move(step * SECOND)
    assert window.read(()).mentions == count


@pytest.mark.parametrize(("at", "count"), [(9, 1), (10, 1), (10.1, 1), (5, 0), (5.1, 1), (4, 0), (20, 0)])
def test_a_late_contribution_enters_only_where_it_belongs(at: float, count: int) -> None:
    window = filled()
    window.move(15 * SECOND)
    entry = Entry(int(at * SECOND), 0, 1, 1, 0)
    window.add(entry, ((),), 1)
    assert window.read(()).mentions == count
    window.add(entry, ((),), -1)
    assert window.sums == {}


@pytest.mark.parametrize("measure", ["count", "urgency"])
@given(times=st.lists(st.integers(1, 600), min_size=1, max_size=120), ahead=st.sampled_from([0, 50, 600]))
def test_a_window_with_hits_has_evidence(measure: str, times: list[int], ahead: int) -> None:
    """However many came before, and however far ahead of the evaluation they came."""
    window = Window(rule(measure=measure, window="10s", every="5s"))
    waiting = [
        exhibit(key, Entry(tenth * SECOND // 10, 0, 9, 1, 0), mention(f"m{key}", 0))
        for key, tenth in enumerate(sorted(times))
    ]
    for step in range(5, 75, 5):
        while waiting and waiting[0].at <= step * SECOND + ahead * SECOND // 10:
            one = waiting.pop(0)
            window.add(Entry(one.at, 0, 9, 1, 0), ((),), 1)
            window.show(one, ((),))
        window.move(step * SECOND)
        assert (window.read(()).value > 0) == bool(window.evidence(()))
        assert len(window.evidence(())) <= 10
        assert len(window.exhibits.get((), ())) <= 10 + 2 * 7


def test_the_next_step_jumps_over_what_is_empty() -> None:
    window = filled(7, 3600)
    assert window.next_step() == 10 * SECOND
    window.move(10 * SECOND)
    assert window.next_step() == 15 * SECOND
    window.move(20 * SECOND)
    assert window.next_step() == 3600 * SECOND
    window.move(4000 * SECOND)
    assert window.next_step() is None


@pytest.mark.parametrize(
    ("lang", "expected"),
    [("iw", "he"), ("he-IL", "he"), ("FA", "fa"), (None, "und"), ("zh_Hant", "zh"), ("x" * 30, "und"), ("ע", "und")],
)
def test_languages_are_primary_subtags(lang: str | None, expected: str) -> None:
    assert facet_of(mention("m", 1, lang=lang).mention).lang == expected


def test_excerpts_are_cut_between_words() -> None:
    assert excerpt("short") == "short"
    assert excerpt("word " * 100).endswith("word…")
    assert len(excerpt("x" * 1000)) == 280


def test_facets_that_nothing_counted_has_are_forgotten_and_their_places_used_again() -> None:
    """A language is a stranger's word: thousands of them must not stay for ever."""
    known = Contributions()
    languages = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "xyz"]
    for number, lang in enumerate(languages):
        known.take(mention(f"m{number}", number, lang=lang), None, None)
        newest = known.newest()
        assert newest is not None
        known.forget(newest - 60 * SECOND)
        living = {known.facets[entry.facet].lang for _, entry in known.counted()}
        assert living == set(languages[max(0, number - len(living) + 1) : number + 1])
    assert len(known.facets) <= 130
    assert len(known._facet_index) <= 130
    again = Contributions.load(known.dump())
    assert (again.facets, again._free, again._uses) == (known.facets, sorted(known._free), known._uses)
    for one in (known, again):
        one.take(mention("late", len(languages), lang="zzz"), None, None)
    assert again.dump() == known.dump()
