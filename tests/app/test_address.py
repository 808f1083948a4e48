"""The database's address: libpq's words become the driver's, and what we can't do is refused by name."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.applying import apply_configuration
from app.configuration import parse_configuration
from app.migrations import migrate
from app.settings import Settings, SettingsError, load_settings
from app.store import Store
from app.store.address import AddressUnreadable, read_address
from app.store.database import POSTGRESQL, make_engine
from tests.app.store_world import NOON

BASE = "postgresql://u:hunter2@db/w"


def with_parameters(url: str, parameters: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{parameters}"


async def test_libpqs_parameters_reach_postgresql(postgres_url: str) -> None:
    url = with_parameters(
        postgres_url,
        "connect_timeout=7&sslmode=prefer&application_name=desk&options=-c%20work_mem%3D5MB&target_session_attrs=any",
    )
    await migrate(url)
    store = await Store.open(url, lambda: NOON)
    await store.ping()
    await store.aclose()
    engine, _ = make_engine(url)
    async with engine.connect() as connection:
        shown = [
            (await connection.execute(text(f"SHOW {name}"))).scalar_one()
            for name in ("application_name", "work_mem", "lock_timeout")
        ]
    await engine.dispose()
    assert shown == ["desk", "5MB", "20s"]


def test_the_timeout_is_the_drivers() -> None:
    found = read_address(f"{BASE}?connect_timeout=7").arguments(POSTGRESQL.engine["connect_args"])
    assert (found["timeout"], found["server_settings"]["application_name"]) == (7.0, "warroom")
    assert read_address(BASE).arguments({"timeout": 5.0})["timeout"] == 5.0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"{BASE}?keepalives_idle=3", ["keepalives_idle", "remove it"]),
        (f"{BASE}?sslrootcert=/ca.pem", ["sslrootcert", "PGSSLROOTCERT"]),
        (f"{BASE}?connect_timeout=soon", ["connect_timeout", "1 to 3600"]),
        (f"{BASE}?connect_timeout=0", ["connect_timeout", "1 to 3600"]),
        (f"{BASE}?connect_timeout=nan", ["connect_timeout", "1 to 3600"]),
        (f"{BASE}?sslmode=on", ["sslmode", "verify-full"]),
        (f"{BASE}?target_session_attrs=x", ["target_session_attrs", "read-write"]),
        (f"{BASE}?sslmode=require&sslmode=allow", ["sslmode", "twice"]),
        ("postgresql://u:hunter2@db:first/w", ["can't be read"]),
        ("postgresql://u:hunter2@/w?host=a,b&port=1,2,3", ["host and port"]),
        ("postgresql://u:hunter2@/w?host=a&port=hunter2", ["host and port"]),
        ("sqlite:////tmp/w.db?mode=ro", ["mode", "takes no parameters"]),
        ("mysql://u:hunter2@db/w", ["sqlite:///PATH or postgresql://USER@HOST/NAME"]),
        ("hunter2", ["can't be read"]),
    ],
)
def test_what_is_not_understood_is_refused_by_name_and_without_values(url: str, words: list[str]) -> None:
    with pytest.raises(AddressUnreadable) as error:
        read_address(url)
    with pytest.raises(SettingsError) as refused:
        load_settings({"WARROOM_DATABASE_URL": url})
    for word in ["WARROOM_DATABASE_URL", *words]:
        assert word in str(refused.value)
    assert "hunter2" not in f"{error.value} {refused.value}"


def test_apply_says_in_a_line_why_a_database_does_not_take_it(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=postgres_url.replace("/warroom_", "/nowhere_"))
    with pytest.raises(RuntimeError, match="does not exist") as error:
        apply_configuration(settings, parse_configuration("version: 1"))
    assert isinstance(error.value.__cause__, asyncpg.PostgresError) or "nowhere_" in str(error.value)
