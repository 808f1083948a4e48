"""`make bench` does not lose what it cannot measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as page

OLD = """\
# Benchmarks

## The scorer

old stamp

| way | texts a second |
|---|---|
| transformers pipeline, one at a time | 43 |

## Matching

old too
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "benchmarks.md"
    path.write_text(OLD, encoding="utf-8")
    monkeypatch.setattr(page, "ROOT", tmp_path)
    monkeypatch.setattr(page, "PAGE", path)
    monkeypatch.setattr(page, "table", lambda module: f"measured {module}")
    return path


def test_a_table_with_peers_is_not_replaced_by_one_without(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.bench_scorer.PEERS", ("a_package_that_is_not_there",))
    monkeypatch.setattr("sys.argv", ["benchmarks", "bench_scorer", "bench_matching"])
    page.main()
    text = written.read_text(encoding="utf-8")
    assert "| transformers pipeline, one at a time | 43 |" in text
    assert "measured bench_scorer" not in text
    assert "measured bench_matching" in text
    assert "old too" not in text
    assert "need a_package_that_is_not_there" in capsys.readouterr().out


def test_with_the_peers_or_without_an_old_table_it_is_measured(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "bench_scorer"])
    monkeypatch.setattr("benchmarks.bench_scorer.PEERS", ("json",))
    page.main()
    assert "measured bench_scorer" in written.read_text(encoding="utf-8")
    assert "old too" in written.read_text(encoding="utf-8")
    written.unlink()
    monkeypatch.setattr("benchmarks.bench_scorer.PEERS", ("a_package_that_is_not_there",))
    page.main()
    assert "measured bench_scorer" in written.read_text(encoding="utf-8")


def test_an_unknown_benchmark_is_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "bench_scorers"])
    with pytest.raises(SystemExit, match="bench_scorers"):
        page.main()
    assert written.read_text(encoding="utf-8") == OLD
