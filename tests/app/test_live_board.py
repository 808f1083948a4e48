"""A board counts each identity once, follows edits and deletions, and knows what is usual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.frames import Usual
from app.live.board import LOST_AFTER, Board, Seen, ms
from app.live.figures import MINUTE, MinuteCounts, Window, percentile, usual
from app.live.ring import Encoded, Ring
from streams.records import (
    Action,
    AlertEvent,
    AlertState,
    Author,
    DeadLetter,
    Mention,
    Opinion,
    Pulse,
    Score,
    ScoredMention,
    SourceStatus,
)

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


def opinion(label: str, labels: tuple[str, ...]) -> Opinion:
    return Opinion(label=label, probabilities={name: float(name == label) for name in labels})


def scored(native_id: str = "1", sentiment: str = "neutral", urgency: str = "low", **fields: Any) -> ScoredMention:
    values: dict[str, Any] = {
        "source_id": "s",
        "source_kind": "file",
        "native_id": native_id,
        "revision": 1,
        "received_at": NOW,
        "published_at": NOW - timedelta(seconds=5),
        "author": Author(id="a"),
        "text": "text",
        **fields,
    }
    if values.get("action", Action.PUBLISH) is not Action.PUBLISH:
        values |= {"text": "", "published_at": None, "author": None}
        return ScoredMention(mention=Mention(**values), score=None, scored_at=NOW)
    score = Score(
        sentiment=opinion(sentiment, ("negative", "neutral", "positive")),
        urgency=opinion(urgency, ("low", "normal", "high", "critical")),
        intent=opinion("other", ("other",)),
        model_id="m",
        model_revision="1",
    )
    return ScoredMention(mention=Mention(**values), score=score, scored_at=NOW)


def board() -> Board:
    made = Board(lambda _text, _queries: [])
    made.tick(ms(NOW))
    return made


def test_a_repeat_counts_once() -> None:
    b = board()
    assert b.mention(scored(), ms(NOW))
    assert not b.mention(scored(), ms(NOW))
    assert b.figures(ms(NOW)).heard_today == 1
    assert b.minutes.chart(ms(NOW))[-1].total == 1


def test_an_edit_replaces_and_an_older_revision_changes_nothing() -> None:
    b = board()
    b.mention(scored(sentiment="negative", revision=2), ms(NOW))
    assert b.mention(scored(sentiment="positive", revision=3, text="edited"), ms(NOW))
    assert not b.mention(scored(sentiment="negative", revision=1), ms(NOW))
    minute = b.minutes.chart(ms(NOW))[-1]
    assert (minute.total, minute.negative) == (1, 0)
    assert [item.text for item in b.chosen()] == ["edited"]
    assert b.figures(ms(NOW)).stored_total == 1


@pytest.mark.parametrize("missed", [False, True])
def test_an_edit_that_dates_a_post_earlier_leaves_no_older_words(missed: bool) -> None:
    b = board()
    b.mention(scored(text="older words"), ms(NOW))
    edit = scored(revision=2, text="newer words", published_at=NOW - timedelta(hours=2))
    if missed:
        old, b = b, board()
        b.mention(edit, ms(NOW))
        b.adopt(old, ms(NOW))
    else:
        b.mention(edit, ms(NOW))
    assert b.chosen() == []


def test_a_deletion_takes_the_text_away_at_once_and_a_replayed_create_does_not_bring_it_back() -> None:
    b = board()
    b.mention(scored(urgency="critical"), ms(NOW))
    assert b.mention(scored(revision=2, action=Action.DELETE), ms(NOW))
    assert b.chosen() == []
    assert b.figures(ms(NOW)).urgent == 0
    changes = b.tick(ms(NOW))
    assert changes.gone == {"file\x1f1"}
    assert changes.items == {}
    assert not b.mention(scored(revision=1), ms(NOW))
    assert b.minutes.chart(ms(NOW))[-1].total == 1, "heard is heard: counts stay"


def test_an_edit_that_takes_a_deletion_back_counts_no_second_time() -> None:
    b = board()
    b.mention(scored(), ms(NOW))
    b.mention(scored(revision=2, action=Action.DELETE), ms(NOW))
    assert b.mention(scored(revision=3, sentiment="negative"), ms(NOW))
    minute = b.minutes.chart(ms(NOW))[-1]
    assert (minute.total, minute.negative) == (1, 1)
    assert len(b.chosen()) == 1


def test_a_deletion_before_its_create_hides_it_too() -> None:
    b = board()
    b.mention(scored(revision=2, action=Action.DELETE), ms(NOW))
    assert not b.mention(scored(revision=1), ms(NOW))
    assert b.chosen() == []


def test_an_author_withdrawn_takes_all_of_theirs() -> None:
    b = board()
    b.mention(scored("1"), ms(NOW))
    b.mention(scored("2"), ms(NOW))
    b.mention(scored("3", author=Author(id="b")), ms(NOW))
    b.mention(scored("a", revision=9, action=Action.DELETE_AUTHOR), ms(NOW))
    assert {item.id for item in b.chosen()} == {"file\x1f3"}


def shown_dead(b: Board) -> int:
    (line,) = b.source_states(ms(NOW))
    return line.dead


def test_dead_letters_show_without_another_pulse_and_a_refresh_brings_those_that_the_tail_missed() -> None:
    def letter(stage: Any = "score") -> DeadLetter:
        return DeadLetter(stage=stage, reason="no words", source_id="s", at=NOW)

    finished = Pulse(source_id="s", source_kind="file", at=NOW, sent_at=NOW, status=SourceStatus.FINISHED)
    b = board()
    b.bury(letter())
    b.beat(finished, 0, ms(NOW))
    b.bury(letter())
    b.bury(letter("source"))
    assert shown_dead(b) == 2
    assert b.tick(ms(NOW)).sources
    fresh = board()
    fresh.dead["s"] = 5
    fresh.recall(finished, ms(NOW))
    fresh.adopt(b, ms(NOW))
    assert shown_dead(fresh) == 5
    fresh.bury(letter())
    fresh.beat(finished, 0, ms(NOW))
    assert shown_dead(fresh) == 6


def test_urgent_ones_leave_after_a_quarter_of_an_hour() -> None:
    b = board()
    b.mention(scored("1", urgency="high"), ms(NOW))
    assert b.figures(ms(NOW)).urgent == 1
    later = ms(NOW + timedelta(minutes=16))
    b.tick(later)
    assert b.figures(later).urgent == 0
    assert b.figures(later).urgent_oldest is None


def test_the_most_urgent_come_first() -> None:
    b = board()
    for number, urgency in enumerate(("low", "critical", "normal", "high")):
        b.mention(scored(str(number), urgency=urgency), ms(NOW))
    assert [item.urgency for item in b.chosen()] == ["critical", "high", "normal", "low"]


def test_heard_today_starts_again_at_midnight_utc() -> None:
    b = board()
    b.mention(scored(), ms(NOW))
    tomorrow = ms(NOW + timedelta(days=1))
    b.tick(tomorrow)
    assert b.figures(tomorrow).heard_today == 0
    assert b.figures(tomorrow).stored_total == 1


def pulse(sent_at: datetime, source_id: str = "s") -> Pulse:
    return Pulse(source_id=source_id, source_kind="file", at=sent_at, sent_at=sent_at, status=SourceStatus.LIVE)


def test_a_source_whose_pulses_stop_is_lost_and_the_slowest_partition_speaks() -> None:
    b = board()
    b.beat(pulse(NOW), 0, ms(NOW) + 30_000)
    b.beat(pulse(NOW + timedelta(seconds=30)), 1, ms(NOW) + 30_000)
    assert b.pulse == ms(NOW)
    assert b.source_states(ms(NOW))[0].status == "live"
    assert b.source_states(ms(NOW) + LOST_AFTER + 1)[0].status == "lost"


@pytest.mark.parametrize("take", ["beat", "recall"])
def test_a_sender_s_clock_that_runs_ahead_gives_no_life_beyond_its_last_pulse(take: str) -> None:
    b = board()
    ahead = pulse(NOW + timedelta(hours=2))
    if take == "beat":
        b.beat(ahead, 0, ms(NOW))
        assert b.pulse == ms(NOW)
    else:
        b.recall(ahead, ms(NOW))
    assert b.source_states(ms(NOW))[0].status == "live"
    assert b.source_states(ms(NOW) + LOST_AFTER + 1)[0].status == "lost"


def alert(seq: int, state: AlertState) -> AlertEvent:
    return AlertEvent(
        alert_id="a", seq=seq, rule_id="r", rule_name="R", rule_revision="1", team="main", realm="live", group={},
        severity=1, state=state, at=NOW, started_at=NOW, value=1, threshold=1, count=1, reason="x",
    )  # fmt: skip


def test_alerts_follow_their_sequence_and_leave_ten_minutes_after_they_resolved() -> None:
    b = board()
    assert not b.alert(alert(0, AlertState.PENDING))
    assert b.alert(alert(1, AlertState.FIRING))
    assert b.alert(alert(2, AlertState.RESOLVED))
    assert not b.alert(alert(1, AlertState.FIRING))
    assert [line.state for line in b.open_alerts()] == ["resolved"]
    b.tick(ms(NOW + timedelta(minutes=11)))
    assert b.open_alerts() == []


def test_usual_needs_history_and_leaves_the_last_minutes_out() -> None:
    counts = MinuteCounts()
    now = ms(NOW)
    for back in range(20):
        counts.put(now - back * MINUTE, 10, 5)
    assert counts.usual(now) == (None, None)
    counts = MinuteCounts()
    for back in range(90):
        counts.put(now - back * MINUTE, 1000 if back < 10 else 10, 2)
    rate, share = counts.usual(now)
    assert rate is not None
    assert rate.middle == 10
    assert share is not None
    assert share.middle == pytest.approx(0.2)


def test_small_numbers_give_no_share_and_no_percentile() -> None:
    counts = MinuteCounts()
    counts.add(ms(NOW), 4, 4)
    assert counts.share(ms(NOW)) is None
    counts.add(ms(NOW), 1, 0)
    assert counts.share(ms(NOW)) == pytest.approx(0.8)
    assert usual([1.0], 1, 1.0) is None
    assert percentile([], 0.95) is None
    assert percentile([3, 1, 2], 0.95) == 3


def test_past_bursts_neither_move_nor_widen_what_is_usual() -> None:
    calm = usual([30, 36, 33, 40, 36, 38, 35, 36, 31, 37] * 7, 30, 10)
    stormy = usual([30, 36, 33, 40, 36, 38, 35, 150, 180, 160] * 7, 30, 10)
    assert calm is not None
    assert stormy is not None
    assert stormy.middle == pytest.approx(calm.middle, abs=2)
    assert stormy.high < 60


def test_a_window_forgets() -> None:
    window = Window(1000)
    window.add(0, 1)
    window.add(900, 2)
    assert window.values(1000) == [2]
    window.add(100, 3)
    assert window.values(1100) == [2], "one that came out of order"


def test_history_that_comes_at_once_is_no_storm() -> None:
    """At the first start an hour of mentions is heard in seconds."""
    b = board()
    for number in range(120):
        then = NOW - timedelta(seconds=30 * number)
        b.mention(scored(str(number), received_at=NOW, published_at=then), ms(NOW))
    assert b.figures(ms(NOW)).per_minute == 2


def rates(heard: dict[int, list[int]], seconds: range) -> list[tuple[float, Usual]]:
    """Return rate and usual range at each second after NOW; `heard`: second -> seconds of publication of what comes."""
    b = board()
    for back in range(1, 24 * 60):
        b.minutes.put(ms(NOW) - back * MINUTE, 20, 0)
    found = []
    for second in range(seconds.stop):
        now = NOW + timedelta(seconds=second)
        for number, published in enumerate(heard.get(second, ())):
            then = NOW + timedelta(seconds=published)
            b.mention(scored(f"{second}-{number}", received_at=now, published_at=then), ms(now))
        b.tick(ms(now))
        figures = b.figures(ms(now))
        assert figures.per_minute_usual is not None
        if second >= seconds.start:
            found.append((figures.per_minute, figures.per_minute_usual))
    return found


@pytest.mark.parametrize("every", [1, 60, 120, 300])
def test_what_comes_in_batches_is_not_below_what_is_usual(every: int) -> None:
    """A feed that is polled, a webhook that collects: 20 a minute, however they are delivered."""
    batches = {at: list(range(max(0, at - every) // 3 * 3 + 3, at + 1, 3)) for at in range(every, 1800, every)}
    found = rates(batches, range(900, 1800))
    assert all(wonted.low <= rate <= wonted.high for rate, wonted in found)


def test_a_source_that_stops_is_below_what_is_usual() -> None:
    ((rate, wonted),) = rates({second: [second] for second in range(0, 900, 3)}, range(1020, 1021))
    assert rate < wonted.low


def test_a_burst_between_batches_shows_at_once() -> None:
    batches = {at: list(range(at - 120, at, 3)) for at in range(120, 961, 120)}
    ((rate, wonted),) = rates({**batches, 1000: [999] * 60}, range(1001, 1002))
    assert rate > wonted.high


def test_a_ring_resumes_or_says_that_it_cannot() -> None:
    ring = Ring(1)
    for seq in range(2, 400):
        ring.append(Encoded(seq - 1, seq, f"{seq}"))
    assert ring.after(399) == ()
    behind = ring.after(390)
    assert behind is not None
    assert [frame.seq for frame in behind] == list(range(391, 400))
    assert ring.after(5) is None, "fell out of the ring"
    assert ring.after(1000) is None, "from another life"


def test_a_client_between_two_merged_frames_gets_the_one_that_covers_it() -> None:
    ring = Ring(1)
    ring.append(Encoded(1, 4, "a"))
    ring.append(Encoded(4, 9, "b"))
    middle = ring.after(6)
    assert middle is not None
    assert [frame.text for frame in middle] == ["b"]


def test_an_author_withdrawn_leaves_a_wall_that_was_filled_anew_meanwhile() -> None:
    old = board()
    old.mention(scored("1"), ms(NOW))
    old.tick(ms(NOW))
    new = board()
    new.adopt(old, ms(NOW))
    assert [item.id for item in new.chosen()] == ["file\x1f1"]
    assert new.mention(scored("a", revision=9, action=Action.DELETE_AUTHOR), ms(NOW))
    assert new.chosen() == []
    assert new.tick(ms(NOW)).gone == {"file\x1f1"}


def test_a_source_that_was_retired_leaves_at_the_next_refresh() -> None:
    old, new = board(), board()
    old.beat(pulse(NOW - timedelta(minutes=5), source_id="gone"), 0, ms(NOW))
    old.beat(pulse(NOW, source_id="new"), 0, ms(NOW))
    new.adopt(old, ms(NOW))
    assert [source.id for source in new.source_states(ms(NOW))] == ["new"]


def test_what_the_store_knows_to_be_deleted_leaves_open_walls_at_the_next_refresh() -> None:
    old = board()
    old.mention(scored("1", urgency="critical"), ms(NOW))
    old.tick(ms(NOW))
    new = board()
    new.remember("file\x1f1", Seen(2, ms(NOW), 0, "file\x1fa", stone=2))
    new.adopt(old, ms(NOW))
    assert new.chosen() == []
    assert "file\x1f1" in new.tick(ms(NOW)).gone
