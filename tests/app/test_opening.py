"""A start that can't open its log or store says in one line which setting, which place and what to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.configuration import parse_configuration
from app.opening import NotOpened, database_name, usual_faults
from app.process import open_process
from app.settings import Settings
from app.supervision import exit_code
from tests.brokers import free_ports


def start(settings: Settings) -> int:
    async def run() -> None:
        async with open_process(settings, parse_configuration("version: 1")):
            pass

    return exit_code(run())


def a_file(folder: Path) -> Settings:
    (folder / "data").write_text("x")
    return Settings(data=folder / "data")


def under_a_file(folder: Path) -> Settings:
    return Settings(data=a_file(folder).data / "below")


def damaged(folder: Path) -> Settings:
    (folder / "warroom.db").write_bytes(b"no database" * 1000)
    return Settings(data=folder)


def newer(folder: Path) -> Settings:
    assert start(Settings(data=folder)) == 0
    with closing(sqlite3.connect(folder / "warroom.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'of_tomorrow'")
        database.commit()
    return Settings(data=folder)


def away(folder: Path) -> Settings:
    address = f"postgresql://u:hunter2@127.0.0.1:{free_ports(1)}/w?password=hunter2"
    return Settings(data=folder, database_url=SecretStr(address))


def a_folder(folder: Path) -> Settings:
    (folder / "w.db").mkdir()
    return Settings(data=folder, database_url=SecretStr(f"sqlite:///{folder / 'w.db'}"))


def no_authority(folder: Path) -> Settings:
    return Settings(data=folder, kafka="127.0.0.1:1", kafka_security_protocol="SSL", kafka_ca=folder / "missing.pem")


def no_brokers(folder: Path) -> Settings:
    return Settings(data=folder, kafka=f"127.0.0.1:{free_ports(1)}", kafka_request_timeout=1)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (a_file, ["WARROOM_DATA", "/data can't be made", "name a folder"]),
        (under_a_file, ["WARROOM_DATA", "/data/below can't be made", "name a folder"]),
        (damaged, ["WARROOM_DATA", "/warroom.db is damaged", "move it and its -wal away"]),
        (newer, ["WARROOM_DATA", "/warroom.db is of a newer War Room", "run that version"]),
        (away, ["WARROOM_DATABASE_URL", "postgresql://u:***@127.0.0.1:", "can't be reached; start it, or correct"]),
        (a_folder, ["WARROOM_DATABASE_URL", "/w.db can't be written to", "name another place"]),
        (no_authority, ["WARROOM_KAFKA_CA", "/missing.pem", "name its PEM file"]),
        (no_brokers, ["WARROOM_KAFKA:", "127.0.0.1:", "start the brokers, or correct the address"]),
    ],
)
def test_a_usual_fault_is_one_line_with_setting_place_and_remedy(
    made: object, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(made)
    settings = made(tmp_path)
    assert start(settings) == 1
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if "War Room" in line]
    assert len(told) == 1
    for word in ["War Room can't start: ", *words]:
        assert word in told[0]
    assert "hunter2" not in said.out + said.err
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "disk is full; free space"),
        (sqlite3.SQLITE_IOERR_WRITE, "look after its disk"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "can't be written to; give this user the right"),
    ],
)
def test_what_a_disk_does_to_the_database_is_told_with_its_remedy(tmp_path: Path, code: int, words: str) -> None:
    error = sqlite3.OperationalError("as the driver says it")
    error.sqlite_errorcode = code
    told = f"WARROOM_DATA: .*{words}.*as the driver says it"
    with pytest.raises(NotOpened, match=told), usual_faults(Settings(data=tmp_path)):
        raise error


def test_a_fault_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("no such column")
    error.sqlite_errorcode = sqlite3.SQLITE_ERROR
    with pytest.raises(sqlite3.OperationalError), usual_faults(Settings(data=tmp_path)):
        raise error


def test_a_database_is_named_without_its_secrets() -> None:
    address = SecretStr("postgresql://u:hunter2@/w?host=a&host=b&passfile=hunter2")
    shown = database_name(Settings.model_construct(database_url=address, data=Path("data")))
    assert shown == "postgresql://u:***@/w?host=a&host=b"
    assert database_name(Settings(data=Path("data"))) == str(Path.cwd() / "data" / "warroom.db")
