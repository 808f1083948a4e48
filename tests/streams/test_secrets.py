"""References to secrets: both forms, and errors that say what to do without saying the secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.secrets import SecretMissing, resolve_secret


def test_a_secret_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARROOM_TEST_SECRET", "from the environment")
    kept = tmp_path / "secret"
    kept.write_text("from a file\r\n")
    assert resolve_secret("env:WARROOM_TEST_SECRET") == "from the environment"
    assert resolve_secret(f"file:{kept}") == "from a file"


def test_what_leads_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    for reference, word in (
        ("env:WARROOM_TEST_NOT_SET", "not set"),
        ("file:relative", "absolute"),
        (f"file:{tmp_path}/none", "No such file"),
        (f"file:{tmp_path}/empty", "empty"),
        (f"file:{tmp_path}/binary", "UTF-8"),
        (f"file:{tmp_path}/large", "64 KiB"),
        ("env:", "reference"),
    ):
        with pytest.raises(SecretMissing, match=word):
            resolve_secret(reference)


def test_a_secret_written_in_place_of_a_reference_is_not_repeated() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolve_secret("hunter2-hunter2")
    assert "hunter2" not in str(caught.value)
