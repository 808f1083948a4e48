"""Settings come from the environment alone; a wrong or unknown variable names itself and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings


def test_defaults_need_nothing() -> None:
    settings = load_settings({})
    assert settings.host == "127.0.0.1"
    assert settings.database == "sqlite:///data/warroom.db"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WARROOM_PROT": "1"}, ["WARROOM_PROT", "unknown", "WARROOM_PORT"]),
        ({"WARROOM_PORT": "http"}, ["WARROOM_PORT", "integer"]),
        ({"WARROOM_PORT": "70000"}, ["WARROOM_PORT", "65535"]),
        ({"WARROOM_ZONES": "Asia/Tel_Aviv,Mars/Base"}, ["WARROOM_ZONES", "Mars/Base", "IANA"]),
        ({"WARROOM_HOST": "0.0.0.0"}, ["WARROOM_ACCESS_TOKEN"]),
        ({"WARROOM_HOST": "::"}, ["WARROOM_ACCESS_TOKEN"]),
        ({"WARROOM_DATABASE_URL": "file:/no/such/file"}, ["WARROOM_DATABASE_URL", "can't be read"]),
        ({"WARROOM_LATENESS": "nan"}, ["WARROOM_LATENESS"]),
        ({"WARROOM_RETENTION_DAYS": "1000000"}, ["WARROOM_RETENTION_DAYS", "36500"]),
        ({"WARROOM_LOG_RETENTION_HOURS": "inf"}, ["WARROOM_LOG_RETENTION_HOURS", "876000"]),
        ({"WARROOM_LOG_RETENTION_HOURS": "1e12"}, ["WARROOM_LOG_RETENTION_HOURS", "876000"]),
        ({"WARROOM_ORIGINS": "https://wall.example/"}, ["WARROOM_ORIGINS", "wall.example/", "https://wall.example"]),
        ({"WARROOM_ORIGINS": "wall.example"}, ["WARROOM_ORIGINS", "no origin", "https://wall.example"]),
        ({"WARROOM_ORIGINS": "https://Wall.example"}, ["WARROOM_ORIGINS", "small letters"]),
        ({"WARROOM_ORIGINS": "https://wall.example:443"}, ["WARROOM_ORIGINS", "port"]),
        ({"WARROOM_SENTIMENT_LABELS": "a=negative,b"}, ["WARROOM_SENTIMENT_LABELS", "'b'", "LABEL_0=negative"]),
    ],
)
def test_a_wrong_variable_is_named_with_its_remedy(environment: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(environment)
    for word in words:
        assert word in str(error.value)


def test_origins_are_taken_as_browsers_send_them() -> None:
    origins = ("https://wall.example", "http://wall:8080", "http://[::1]:443", "https://xn--4dbrk0ce.example")
    assert load_settings({"WARROOM_ORIGINS": ", ".join(origins)}).origins == origins


def test_several_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"WARROOM_PORT.*WARROOM_RETENTION_DAYS"):
        load_settings({"WARROOM_PORT": "x", "WARROOM_RETENTION_DAYS": "0"})


def test_an_empty_variable_means_the_default() -> None:
    assert load_settings({f"WARROOM_{name.upper()}": "" for name in Settings.model_fields}) == Settings()
    with pytest.raises(SettingsError, match="WARROOM_PROT"):
        load_settings({"WARROOM_PROT": ""})


def test_variables_of_tests_are_left_alone() -> None:
    assert load_settings({"WARROOM_TEST_KAFKA": "x"}) == Settings()


def test_a_secret_can_come_from_a_file_and_is_never_printed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://u:hunter2@db/w\n")
    settings = load_settings({"WARROOM_DATABASE_URL": f"file:{secret}"})
    assert settings.database == "postgresql://u:hunter2@db/w"
    assert "hunter2" not in repr(settings)


def test_a_bad_secret_is_not_echoed() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({"WARROOM_ACCESS_TOKEN": "hunter2", "WARROOM_PORT": "x"})
    assert "hunter2" not in str(error.value)
