"""The engine's saved state (alerts.ports.EngineLog).

Owns `engines`. Does not own the state's content, nor who runs the engine (`claims`). The version fences: a leader that
lost its claim without noticing can't save.
"""

from __future__ import annotations

import json

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.ports import SavedEngine, StaleEngine
from app.tables import engines


async def load(connection: AsyncConnection, name: str) -> SavedEngine | None:
    """Return what was saved last."""
    row = (await connection.execute(select(engines).where(engines.c.name == name))).one_or_none()
    if row is None:
        return None
    places = {int(partition): offset for partition, offset in json.loads(row.positions).items()}
    return SavedEngine(row.state, places, row.version, row.log)


async def save(connection: AsyncConnection, name: str, saved: SavedEngine) -> None:
    """Replace the state if the stored version is `version - 1` (0 before the first); else StaleEngine."""
    values = {
        "version": saved.version,
        "state": saved.state,
        "positions": json.dumps({str(partition): offset for partition, offset in sorted(saved.positions.items())}),
        "log": saved.log,
    }
    before = saved.version - 1
    changed = update(engines).where(engines.c.name == name, engines.c.version == before).values(**values)
    if (await connection.execute(changed)).rowcount == 1:
        return
    stale = StaleEngine(f"engine {name!r} was saved by another process; version {before} is not the stored one")
    if before != 0:
        raise stale
    try:
        await connection.execute(insert(engines).values(name=name, **values))
    except IntegrityError as error:
        raise stale from error
