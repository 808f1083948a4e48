from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nlp.agreement import agreement, kappa, raw_agreement
from nlp.training.agreement import BadLabelFile, main, read_verdicts


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp.bootstrap.ROUNDS", 200)


COLUMNS = ("id", "urgency", "intent", "sentiment")


def test_kappa_of_a_textbook_case() -> None:
    # 50 grants, two readers: both yes 20, both no 15, yes/no 5, no/yes 10. Agreement 0.70, kappa 0.40.
    table = np.array([[20, 5], [10, 15]])
    assert raw_agreement(table) == pytest.approx(0.7)
    assert kappa(table) == pytest.approx(0.4)
    assert kappa(table, "linear") == pytest.approx(0.4), "with two labels all weightings are one"


def test_weighted_kappa_by_hand() -> None:
    # One pair is one step apart, one two, one alike; by chance the costs would be 7/3, and 9/3 when squared.
    table = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]])
    assert kappa(table, "linear") == pytest.approx(1 - (1 + 2) / (7 / 3))
    assert kappa(table, "quadratic") == pytest.approx(1 - (1 + 4) / (9 / 3))


def test_a_near_miss_counts_less_than_a_far_one() -> None:
    levels = ["low", "normal", "high", "critical"] * 10
    near = ["normal" if at % 8 == 0 else label for at, label in enumerate(levels)]
    far = ["critical" if at % 8 == 0 else label for at, label in enumerate(levels)]
    one, other = agreement("urgency", levels, near), agreement("urgency", levels, far)
    assert one.figures["raw"].value == other.figures["raw"].value
    assert one.figures["quadratic"].value > one.figures["plain"].value > other.figures["quadratic"].value
    assert one.confusions == [("low", "normal", 5)]
    assert "linear" not in agreement("intent", ["praise"], ["other"]).figures


def test_what_chance_alone_explains_is_not_called_agreement() -> None:
    assert math.isnan(agreement("urgency", ["low"] * 20, ["low"] * 20).figures["plain"].value)
    chance = np.random.default_rng(0)
    first, second = (chance.choice(["low", "normal", "high", "critical"], 4000).tolist() for _ in range(2))
    assert agreement("urgency", first, second).figures["plain"].value == pytest.approx(0, abs=0.05)


def test_two_files_become_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.tsv", tmp_path / "b.jsonl"
    first.write_text(
        "".join(f"he{n:03}\tlow\tother\tneutral\n" for n in range(15))
        + "".join(f"en{n:03}\thigh\tquestion\tnegative\n" for n in range(15))
        + "en900\tskip\nfa001\tlow\tother\tneutral\n",
        encoding="utf-8",
    )
    rows = [
        {"id": f"he{n:03}", "lang": "he", "urgency": "low", "intent": "other", "sentiment": "neutral"}
        for n in range(15)
    ]
    rows += [
        {"id": f"en{n:03}", "lang": "en", "urgency": "normal" if n < 5 else "high", "intent": "question"}
        for n in range(15)
    ]
    rows += [{"id": "en900", "lang": "en", "urgency": "low"}]
    second.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main([str(first), str(second)]) == 0
    said = capsys.readouterr().out
    assert "31 texts in both files (1 skipped by one or both), 1 only in the first, 0 only in the second." in said
    assert "| urgency | all | 30 | 0.83 (" in said
    assert "high/normal 5 |" in said
    assert "| urgency | en | 15 | 0.67 (" in said
    assert "| sentiment | he | 15 | 1.00 (1.00 to 1.00) | - | - | - | - |" in said
    assert "| sentiment | en " not in said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("he001\turgent\tother\tneutral", "urgency: 'urgent' is not one of low"),
        ("he001\tlow\tother", "3 columns, wanted 4"),
        ("he000\tlow\tother\tneutral", "he000 was labelled before"),
        ('{"urgency": "low"}', "no `id`"),
        ('{"id": "x", ', "Expecting"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"he000\tlow\tother\tneutral\n{line}\n", encoding="utf-8")
    with pytest.raises(BadLabelFile, match=r"a\.tsv:2"):
        read_verdicts(path, COLUMNS)
    assert main([str(path), str(path)]) == 2
    assert reason in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
