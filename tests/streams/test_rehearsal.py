"""The rehearsal: its texts in four languages, its timetable, and what it sends, first and from a cursor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import yaml

from streams.queries import Matcher, Query, compile_queries
from streams.records import REHEARSAL, Action, Mention
from streams.source import Arrival, SourceRefused, SourceSettings
from streams.sources.rehearsal import (
    LANGUAGES,
    Line,
    RehearsalSettings,
    RehearsalSource,
    Step,
    Timetable,
    stories,
    texts,
)

NOW = datetime(2026, 5, 25, 14, 30, tzinfo=UTC)
BRANDS = {"altoair", "kartiva", "voltiva"}
STORIES = {
    ("altoair", "stranded-night"),
    ("altoair", "smoke-cabin"),
    ("kartiva", "payments-down"),
    ("kartiva", "leak"),
    ("voltiva", "blackout"),
    ("voltiva", "gas-smell"),
}
SLOT = re.compile(r"\{([^{}]*)\}")
PER_PHASE = {0: 6, 1: 7, 2: 8, 3: 6}
CYCLE = 100.0


def settings(**changes: float) -> RehearsalSettings:
    return RehearsalSettings.model_validate({"id": "rehearsal", "crisis_every": CYCLE} | changes)


def played(count: int, **changes: float) -> list[tuple[Step, Mention]]:
    """Return the first `count` mentions of the timetable, without waiting for them."""
    timetable = Timetable(settings(**changes))
    step, sent = Step(0, 0.0), []
    for _ in range(count):
        step = timetable.after(step)
        moment = NOW + timedelta(seconds=step.time)
        sent.append((step, timetable.mention(step, moment, moment)))
    return sent


async def heard(count: int, cursor: str | None = None, **changes: float) -> list[Arrival]:
    """Return the first `count` arrivals of a source that hardly waits."""
    quick = settings(**{"rate": 1000, "peak": 0, "history": 0.001} | changes)
    stream = cast("AsyncGenerator[Arrival]", RehearsalSource(quick, clock=lambda: NOW).listen(cursor))
    arrivals: list[Arrival] = []
    async with aclosing(stream):
        async for arrival in stream:
            arrivals.append(arrival)
            if len(arrivals) == count:
                break
    return arrivals


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    shipped = yaml.safe_load((Path(__file__).parents[2] / "warroom.yaml").read_text(encoding="utf-8"))
    return compile_queries(Query.model_validate(query) for query in shipped["queries"])


def mention(line: Line, lang: str, text: str) -> Mention:
    return Mention(
        source_id="rehearsal",
        source_kind="rehearsal",
        native_id=f"{line.brand}-{line.part}",
        revision=1,
        realm=REHEARSAL,
        received_at=NOW,
        published_at=NOW,
        text=text,
        lang=lang,
    )


def pattern(line: Line) -> re.Pattern[str]:
    """Return what a sent text of this line looks like, whatever stands in its slots."""
    return re.compile(".+".join(re.escape(part) for part in SLOT.split(line.text)[::2]))


def test_every_crisis_is_told_in_every_language() -> None:
    assert set(stories()) == STORIES
    for lang in LANGUAGES:
        assert {(line.brand, line.story) for line in texts(lang).lines if line.part == "crisis"} == STORIES


@pytest.mark.parametrize("lang", LANGUAGES)
def test_there_is_enough_to_say(lang: str) -> None:
    lines = texts(lang).lines
    ordinary = Counter(line.brand for line in lines if line.part == "ordinary")
    assert ordinary.keys() == BRANDS
    assert ordinary.total() >= 45
    assert min(ordinary.values()) >= 12
    told = Counter((line.brand, line.story, line.phase) for line in lines if line.part == "crisis")
    for brand, story in STORIES:
        for phase, least in PER_PHASE.items():
            assert told[brand, story, phase] >= least, (brand, story, phase)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_ordinary_lines_have_neither_story_nor_phase(lang: str) -> None:
    for line in texts(lang).lines:
        if line.part == "ordinary":
            assert (line.story, line.phase) == ("", 0)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_slots_have_words_and_every_used_slot_exists(lang: str) -> None:
    slots = texts(lang).slots
    assert len(slots["name"]) >= 40
    for slot, words in slots.items():
        assert len(words) >= 15, slot
        assert len(set(words)) == len(words), slot
        assert all(word.strip() == word and word and "{" not in word for word in words), slot
    for line in texts(lang).lines:
        assert set(SLOT.findall(line.text)) <= slots.keys(), line.text
        assert not re.search("[{}]", SLOT.sub("", line.text)), line.text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_texts_are_short_and_no_two_are_alike(lang: str) -> None:
    lines = texts(lang).lines
    for line in lines:
        assert 3 <= len(line.text.split()) <= 45, line.text
    bare = Counter(re.sub(r"[\W\d_]+", " ", SLOT.sub("", line.text)).casefold().strip() for line in lines)
    assert [text for text, times in bare.items() if times > 1] == []
    words = [frozenset(re.findall(r"\w+", SLOT.sub("", line.text).casefold())) for line in lines]
    for index, these in enumerate(words):
        for other, those in enumerate(words[:index]):
            shared = len(these & those) / len(these | those)
            assert shared < 0.6, (lines[index].text, lines[other].text)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_text_is_found_by_its_brand_and_by_no_other(lang: str, matcher: Matcher) -> None:
    for line in texts(lang).lines:
        found = matcher.match(mention(line, lang, line.text))
        assert BRANDS & set(found) == {line.brand}, line.text


def test_what_is_sent_is_found_by_the_shipped_queries(matcher: Matcher) -> None:
    for _, sent in played(1500):
        assert BRANDS & set(matcher.match(sent)), sent.text


def test_slots_are_filled_in_what_is_sent() -> None:
    for _, sent in played(1500):
        assert not re.search("[{}]", sent.text), sent.text


def test_one_seed_is_one_show() -> None:
    assert played(300, seed=7) == played(300, seed=7)


def test_another_seed_is_another_show() -> None:
    one, other = played(300, seed=7), played(300, seed=8)
    assert [step.time for step, _ in one] != [step.time for step, _ in other]
    assert [sent.text for _, sent in one] != [sent.text for _, sent in other]
    assert {sent.native_id for _, sent in one}.isdisjoint(sent.native_id for _, sent in other)


def test_a_step_does_not_depend_on_what_was_sent_before() -> None:
    step, sent = played(120)[-1]
    again = Timetable(settings()).mention(step, NOW + timedelta(seconds=step.time), NOW + timedelta(seconds=step.time))
    assert again == sent


def test_a_crisis_grows_peaks_and_ends() -> None:
    course = [Timetable(settings()).crisis(float(second)) for second in range(int(CYCLE))]
    strengths = [strength for strength, _ in course]
    phases = [phase for _, phase in course]
    assert all(0 <= strength <= 1 for strength in strengths)
    assert set(strengths[:25]) == {0.0}
    growth = strengths[25:65]
    assert growth == sorted(growth)
    assert growth[-1] > 10 * growth[10] > 0
    assert set(strengths[66:79]) == {1.0}
    aftermath = strengths[81:]
    assert aftermath == sorted(aftermath, reverse=True)
    assert aftermath[0] <= 0.5
    assert aftermath[-1] == 0.0
    assert phases == sorted(phases)
    assert set(phases) == {0, 1, 2, 3}
    assert {phase for strength, phase in course if strength == 1.0} == {2}


def test_cycles_repeat() -> None:
    timetable = Timetable(settings())
    for time in (0.0, 31.25, 60.5, 70.0, 90.0):
        strength, phase = timetable.crisis(time)
        later, same = timetable.crisis(time + 3 * CYCLE)
        assert later == pytest.approx(strength)
        assert same == phase


def test_the_crisis_is_louder_than_the_ordinary_day_and_every_story_has_its_turn() -> None:
    sent = played(3000, peak=5)
    counts = Counter(int(step.time % CYCLE // 5) for step, _ in sent if step.time < 6 * CYCLE)
    assert counts[14] > 3 * counts[2]
    lines = {lang: [(pattern(line), line) for line in texts(lang).lines if line.part == "crisis"] for lang in LANGUAGES}
    told: set[tuple[str, str, int]] = set()
    for step, one in sent:
        if step.time < 6 * CYCLE and 66 <= step.time % CYCLE < 79:
            fitting = [line for form, line in lines[one.lang or ""] if form.fullmatch(one.text)]
            told.update((line.brand, line.story, int(step.time // CYCLE)) for line in fitting)
            assert {line.phase for line in fitting} <= {2}
    assert told == {(brand, story, turn) for turn, (brand, story) in enumerate(stories())}


def test_everything_is_of_the_realm_rehearsal_in_all_languages() -> None:
    sent = [one for _, one in played(600)]
    assert {one.realm for one in sent} == {REHEARSAL}
    assert {one.source_kind for one in sent} == {"rehearsal"}
    assert {one.lang for one in sent} == set(LANGUAGES)


async def test_the_past_is_ordinary_oldest_first_and_sent_once() -> None:
    ordinary = {lang: [pattern(line) for line in texts(lang).lines if line.part == "ordinary"] for lang in LANGUAGES}
    arrivals = await heard(6)
    past = [one for arrival in arrivals if arrival.at for one in arrival.mentions]
    assert len(past) == 60
    published = [one.published_at for one in past if one.published_at]
    assert published == sorted(published)
    assert len(set(published)) == len(past)
    assert published[-1] < NOW
    for one in past:
        assert any(form.fullmatch(one.text) for form in ordinary[one.lang or ""]), one.text
        assert one.realm == REHEARSAL
    pages = [arrival for arrival in arrivals if arrival.at]
    assert [arrival.at for arrival in pages] == [arrival.mentions[-1].published_at for arrival in pages]
    assert all(arrival.cursor is None for arrival in pages)
    assert arrivals[len(pages)].cursor is not None
    resumed = await heard(6, arrivals[len(pages)].cursor)
    assert not any(arrival.at for arrival in resumed)


async def test_no_past_was_asked_for() -> None:
    first, second, *_ = await heard(3, history=0)
    assert not first.mentions
    assert first.cursor is not None
    assert [one.published_at for one in second.mentions] == [NOW]


async def test_resuming_goes_on_and_repeats_no_identity() -> None:
    first = await heard(40)
    second = await heard(40, first[-1].cursor)
    unbroken = await heard(80)
    keys = [one.key for arrival in first + second for one in arrival.mentions if one.action is Action.PUBLISH]
    assert len(set(keys)) == len(keys)
    assert [arrival.mentions for arrival in first + second] == [arrival.mentions for arrival in unbroken]
    assert second[-1].cursor == unbroken[-1].cursor


async def test_some_authors_delete_what_they_wrote() -> None:
    arrivals = await heard(800, history=0)
    published: set[str] = set()
    deleted = []
    for one in (one for arrival in arrivals for one in arrival.mentions):
        if one.action is Action.DELETE:
            assert one.key in published
            assert (one.revision, one.realm, one.text) == (2, REHEARSAL, "")
            deleted.append(one.key)
        else:
            published.add(one.key)
    assert deleted
    assert len(set(deleted)) == len(deleted)


@pytest.mark.parametrize("cursor", ["", "{}", "[1]", "12", '["a", "b"]', "bluesky:1748", "[null, 0]"])
async def test_a_strange_cursor_is_refused_with_a_remedy(cursor: str) -> None:
    with pytest.raises(SourceRefused, match="give it another id"):
        await heard(1, cursor)


def test_other_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="RehearsalSettings"):
        RehearsalSource(SourceSettings(id="rehearsal", kind="rehearsal"))
