"""The engine's saved state and its leadership (alerts.ports.EngineLog).

Owns `engines` and the PostgreSQL session lock that lets one process run the engine. Does not own the state's content.
The version fences: a leader that lost the lock without noticing can't save.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.ports import SavedEngine, StaleEngine
from app.store.database import Database
from app.tables import engines

LEADER = 0x57A2_0003
"""Key of the PostgreSQL advisory lock that the engine's process holds."""


async def load(connection: AsyncConnection, name: str) -> SavedEngine | None:
    """Return what was saved last."""
    row = (await connection.execute(select(engines).where(engines.c.name == name))).one_or_none()
    if row is None:
        return None
    places = {int(partition): offset for partition, offset in json.loads(row.positions).items()}
    return SavedEngine(row.state, places, row.version)


async def save(connection: AsyncConnection, name: str, saved: SavedEngine) -> None:
    """Replace the state if the stored version is `version - 1` (0 before the first); else StaleEngine."""
    values = {
        "version": saved.version,
        "state": saved.state,
        "positions": json.dumps({str(partition): offset for partition, offset in sorted(saved.positions.items())}),
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


@dataclass
class Leadership:
    """One process's claim to run the engine: held as long as its own connection lives."""

    database: Database
    _connection: AsyncConnection | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def lead(self) -> bool:
        """Become or stay leader; False while another process is. Errors of the connection come through."""
        if not self.database.flavour.fence_alone:
            return True  # SQLite serves one process
        async with self._turn:
            if self._connection is not None and await self._alive(self._connection):
                return True
            return await self._stand()

    async def _alive(self, connection: AsyncConnection) -> bool:
        try:
            async with self.database.translated():
                await connection.execute(text("SELECT 1"))
        except BaseException:
            await self._drop(connection)
            raise
        return True

    async def _stand(self) -> bool:
        async with self.database.translated():
            connection = await self.database.engine.connect()
            try:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                won = (await connection.execute(text(f"SELECT pg_try_advisory_lock({LEADER})"))).scalar_one()
            except BaseException:
                await self._drop(connection)
                raise
        if won:
            self._connection = connection
            return True
        await connection.close()
        return False

    async def _drop(self, connection: AsyncConnection) -> None:
        self._connection = None
        await connection.invalidate()
        await connection.close()

    async def resign(self) -> None:
        """Give the lock back by closing its connection."""
        if self._connection is not None:
            await self._drop(self._connection)
