"""Records: what comes in as bytes is a record or an UnreadableRecord, whatever its dates say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.records import Mention, Pulse, SourceStatus, UnreadableRecord, decode, encode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ABSURD = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]


def mention(**changes: Any) -> bytes:
    made = Mention(
        source_kind="file", native_id="1", source_id="f", revision=1, received_at=NOW, published_at=NOW, text="t"
    )
    return json.dumps(made.model_dump(mode="json") | changes).encode()


@pytest.mark.parametrize("field", ["published_at", "received_at"])
@pytest.mark.parametrize("absurd", ABSURD)
def test_a_date_beyond_the_calendar_is_unreadable_and_says_where(field: str, absurd: str) -> None:
    with pytest.raises(UnreadableRecord, match=rf"{field}: .*out of range"):
        decode(mention(**{field: absurd}))


@pytest.mark.parametrize("year", [2, 1970, 9998])
def test_every_other_year_is_read_and_written_again(year: int) -> None:
    pulse = Pulse(source_id="f", source_kind="file", at=NOW.replace(year=year), sent_at=NOW, status=SourceStatus.LIVE)
    assert decode(encode(pulse)) == pulse


@given(
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["Z", "+14:00", "-12:00", "+23:59", "-23:59", "", "+99:99"]),
)
def test_any_date_is_a_record_or_unreadable(moment: str, zone: str) -> None:
    try:
        decode(mention(published_at=moment + zone))
    except UnreadableRecord as error:
        assert "published_at" in str(error)  # noqa: PT017  either outcome is right
