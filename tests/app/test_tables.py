from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import StatementError

from app.store import Store
from app.tables import configurations

INDIA = timezone(timedelta(hours=5, minutes=30))


async def _through(store: Store, moment: datetime, text: str = "x") -> tuple[datetime, str]:
    async with store._database.write() as connection:
        values = {"sha256": "", "text": text, "saved_at": moment}
        await connection.execute(insert(configurations).values(**values))
        row = (await connection.execute(select(configurations).order_by(configurations.c.revision.desc()))).first()
    assert row is not None
    return row.saved_at, row.text


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=INDIA),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    ],
)
async def test_moments_come_back_as_the_same_instant_in_utc(store: Store, moment: datetime) -> None:
    back, _ = await _through(store, moment)
    assert back == moment
    assert back.utcoffset() == timedelta(0)


async def test_a_naive_moment_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="without a time zone"):
        await _through(store, datetime(2026, 3, 1))  # noqa: DTZ001  the fault under test


async def test_nul_is_replaced_and_everything_else_of_unicode_stays(store: Store) -> None:
    text = "שָׁלוֹם \u200f می\u200cخواهم 👩‍👩‍👧 \x01 \ufeff"
    assert (await _through(store, datetime(2026, 3, 1, tzinfo=UTC), f"a\x00b {text}"))[1] == f"a\ufffdb {text}"
