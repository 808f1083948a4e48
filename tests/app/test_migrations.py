from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from app.migrations import migrate
from app.store.database import make_engine
from app.store.rows import sought
from app.tables import metadata
from streams.normal import normalise


async def _inspected(url: str) -> tuple[list[object], set[str], dict[str, object]]:
    def look(connection: Connection) -> tuple[list[object], set[str], dict[str, object]]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        seen = inspect(connection)
        tables = set(seen.get_table_names())
        keys = {
            name: (seen.get_pk_constraint(name)["constrained_columns"], seen.get_foreign_keys(name))
            for name in sorted(tables)
        }
        return list(compare_metadata(context, metadata)), tables, dict(keys)

    engine, _ = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(look)
    finally:
        await engine.dispose()


async def _created(url: str) -> dict[str, object]:
    engine, _ = make_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    return (await _inspected(url))[2]


async def test_the_migrated_schema_is_the_metadata(empty_database: str) -> None:
    await migrate(empty_database)
    differences, tables, keys = await _inspected(empty_database)
    assert differences == []
    assert tables == {*metadata.tables, "alembic_version"}
    await migrate(empty_database, "base")
    keys.pop("alembic_version")
    created = await _created(empty_database)
    created.pop("alembic_version", None)
    assert created == keys


async def test_down_and_up_again(empty_database: str) -> None:
    await migrate(empty_database)
    await migrate(empty_database, "base")
    assert (await _inspected(empty_database))[1] == {"alembic_version"}
    await migrate(empty_database)
    assert (await _inspected(empty_database))[0] == []


async def test_texts_of_before_are_found_as_new_ones_are(empty_database: str) -> None:
    texts = ["Coca-Cola\r\n--  \u2028down", "می\u200cخواهم תל־אביב", "plain text", "", "-"]
    await migrate(empty_database, "0003")
    engine, _ = make_engine(empty_database)
    async with engine.begin() as connection:
        for name, words in enumerate(texts):
            await connection.execute(text(_FORMER), {"key": bytes([name]), "words": normalise(words)})
    await migrate(empty_database, "0004")
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT text_normal FROM mentions ORDER BY key"))
        assert [row.text_normal for row in found] == [sought(words, normalise) for words in texts]
    await engine.dispose()


_FORMER = """INSERT INTO mentions (realm, key, source_kind, native_id, revision, source_id, published_at, received_at,
scored_at, text_normal, queries, sentiment, urgency, urgency_rank, model_id, model_revision) VALUES ('live', :key,
'rss', 'x', 1, 's', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, :words, '[]', 'neutral', 'low', 0, 'm', 'r'
)"""


async def test_many_processes_may_migrate_at_once(empty_database: str) -> None:
    await asyncio.gather(*(migrate(empty_database) for _ in range(5)))
    assert (await _inspected(empty_database))[0] == []


async def test_a_database_of_a_newer_version_is_refused(empty_database: str) -> None:
    await migrate(empty_database)
    engine, _ = make_engine(empty_database)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(CommandError, match="9999"):
        await migrate(empty_database)


async def test_the_folder_of_a_database_file_is_made(tmp_path: Path) -> None:
    await migrate(f"sqlite:///{tmp_path}/new folder/100%/war room.db")
    assert (tmp_path / "new folder/100%/war room.db").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y"])
async def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///PATH or postgresql://"):
        await migrate(url)
