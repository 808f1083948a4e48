"""Configuration revisions: every applied `warroom.yaml`, numbered.

Owns `configurations`. Does not own validation (`app.configuration`). Secrets are references there, never values.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import configurations


async def save(connection: AsyncConnection, text: str, sha256: str, at: datetime) -> int:
    """Keep the text as a new revision and return its number; the same text again keeps the latest number."""
    row = (await connection.execute(_latest())).first()
    if row is not None and row.sha256 == sha256:
        return int(row.revision)
    done = await connection.execute(
        insert(configurations).values(text=text, sha256=sha256, saved_at=at).returning(configurations.c.revision)
    )
    return int(done.scalar_one())


async def was_saved(connection: AsyncConnection, sha256: str) -> bool:
    """Return whether a text with this digest was ever in force."""
    query = select(configurations.c.revision).where(configurations.c.sha256 == sha256).limit(1)
    return (await connection.execute(query)).first() is not None


async def latest(connection: AsyncConnection) -> tuple[int, str] | None:
    """Return the latest revision and its text; None before the first."""
    row = (await connection.execute(_latest())).first()
    return None if row is None else (row.revision, row.text)


def _latest() -> Select[Any]:
    return select(configurations).order_by(configurations.c.revision.desc()).limit(1)
