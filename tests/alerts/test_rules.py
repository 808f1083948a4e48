from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from alerts.rules import parse_duration, write_duration
from tests.alerts.worlds import rule


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("250ms", 0.25), ("0", 0)]
)
def test_durations_are_read_and_written(text: str, seconds: float) -> None:
    read = parse_duration(text)
    assert read == timedelta(seconds=seconds)
    assert parse_duration(write_duration(read)) == read


@pytest.mark.parametrize("text", ["", "5", "5 m", "m5", "-5m", "5m!", "1x", "٥m5", None])
def test_what_is_no_duration_says_how_to_write_one(text: object) -> None:
    with pytest.raises(ValueError, match="write a number with a unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": "7s"}, "window: must be a multiple of every"),
        ({"window": "0s"}, "must be longer than 0"),
        ({"window": "2d"}, "window: at most 1d"),
        ({"cooldown": "999999999999d"}, "not be longer than 366 days"),
        ({"keep_firing": "9" * 400 + "s"}, "not be longer than 366 days"),
        ({"every": "1.0004s", "window": "10.004s"}, "finer than a millisecond; write"),
        ({"every": "200ms"}, "every: must be at least 1s"),
        ({"threshold": 0}, "greater than 0"),
        ({"threshold": float("inf")}, "finite"),
        ({"measure": "negative_share", "threshold": 40}, "write 0.4 for 40 %"),
        ({"level": "high"}, "belongs to `measure: urgency` alone"),
        ({"at_least": 3}, "belongs to `measure: negative_share` alone"),
        ({"resolve_below": 9}, "must not be above threshold"),
        ({"group_by": ["lang", "lang"]}, "names something twice"),
        ({"group_by": ["colour"]}, "'query', 'source' or 'lang'"),
        ({"realms": ["replay"]}, "'live' or 'rehearsal'"),
        ({"realms": []}, "names no realm"),
        ({"severity": 4}, "1, 2 or 3"),
        ({"id": "Not An Id"}, "should match pattern"),
        ({"treshold": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_rule_names_field_and_remedy(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rule(**fields)


def test_the_revision_is_stable_and_changes_with_the_content() -> None:
    assert rule().revision == rule(**{"for": "0s"}).revision
    assert len({rule().revision, rule(threshold=4).revision, rule(name="ناجحة").revision}) == 3


def test_a_replay_runs_every_rule() -> None:
    quiet = rule(realms=["rehearsal"], query="one")
    assert quiet.query == ("one",)
    assert [quiet.watches(realm) for realm in ("live", "rehearsal", "replay")] == [False, True, True]
