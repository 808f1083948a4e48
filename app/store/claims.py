"""Claims: what only one process may do at a time (run the engine, listen to a source), by PostgreSQL session locks.

Owns one connection a process, whose life is the claims' life: a process that dies gives all of them back at once. Does
not own what is done under a claim. SQLite serves one process, which holds every claim.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database


def number_of(name: str) -> int:
    """Return the lock's key for a name: 63 bits of its digest."""
    return int.from_bytes(hashlib.sha256(f"warroom claim {name}".encode()).digest()[:8], "big") >> 1


@dataclass
class Claims:
    """What this process holds."""

    database: Database
    _connection: AsyncConnection | None = None
    _held: set[str] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def hold(self, name: str) -> bool:
        """Get or keep the claim; False while another process has it. Errors of the connection come through."""
        if not self.database.flavour.fence_alone:
            return True
        async with self._turn:
            connection = await self._living()
            if name not in self._held and await self._ask(connection, "pg_try_advisory_lock", name):
                self._held.add(name)
            return name in self._held

    async def release(self, name: str) -> None:
        """Give one claim back."""
        async with self._turn:
            if name in self._held and self._connection is not None:
                self._held.discard(name)
                await self._ask(self._connection, "pg_advisory_unlock", name)

    async def resign(self) -> None:
        """Give all claims back by closing their connection."""
        if self._connection is not None:
            await self._drop(self._connection)

    async def _living(self) -> AsyncConnection:
        """Return the connection if it lives, else a new one without claims."""
        if self._connection is None:
            async with self.database.translated():
                connection = await self.database.engine.connect()
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            self._connection = connection
        elif self._held:
            await self._run(self._connection, "SELECT 1", {})
        return self._connection

    async def _ask(self, connection: AsyncConnection, function: str, name: str) -> bool:
        return bool(await self._run(connection, f"SELECT {function}(:key)", {"key": number_of(name)}))

    async def _run(self, connection: AsyncConnection, statement: str, values: dict[str, int]) -> object:
        try:
            async with self.database.translated():
                found: object = (await connection.execute(text(statement), values)).scalar_one()
                return found
        except BaseException:
            await self._drop(connection)
            raise

    async def _drop(self, connection: AsyncConnection) -> None:
        self._connection = None
        self._held.clear()
        await connection.invalidate()
        await connection.close()
