"""`warroom apply`: a checked configuration becomes the newest revision in the store, where running processes find it.

Owns nothing but that step.
"""

from __future__ import annotations

import asyncio

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from app.configuration import Configuration
from app.migrations import migrate
from app.opening import expect_database, usual_faults
from app.process import put_in_force, utc_now
from app.settings import Settings
from app.store import TRANSIENT, Store


def apply_configuration(settings: Settings, configuration: Configuration) -> tuple[int, bool]:
    """Return the revision in force and whether it is new. Raises RuntimeError when the store won't do it.

    A database is never made: no running process would look there.
    """
    return asyncio.run(_apply(settings, configuration))


async def _apply(settings: Settings, configuration: Configuration) -> tuple[int, bool]:
    expect_database(settings)
    try:
        with usual_faults(settings):
            await migrate(settings.database)
            store = await Store.open(settings.database, utc_now)
            try:
                before = await store.configuration()
                revision = await put_in_force(store, configuration, utc_now())
                return revision, before is None or before[0] != revision
            finally:
                await store.aclose()
    except (*TRANSIENT, SQLAlchemyError, asyncpg.PostgresError) as error:
        raise RuntimeError(str(error)) from error
