"""Our own mentions: every line is usable, every label occurs in every language, and no scenario crosses the split."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nlp.scorer import LABELS, SENTIMENT
from nlp.tokens import clean
from nlp.training.corpora import held_out, own_corpora, own_files

FIELDS = {"text", "lang", "sentiment", "scenario"}
LABELLED_FOR_ALL = [path for path in own_files() if not path.name.startswith("posts")]


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_every_line_is_usable(path: Path) -> None:
    for number, row in enumerate(rows(path), start=1):
        assert row.keys() >= FIELDS, f"{path.name}:{number}"
        assert clean(row["text"]), f"{path.name}:{number}"
        for task, labels in LABELS.items():
            if task == SENTIMENT or path in LABELLED_FOR_ALL:
                assert row[task] in labels, f"{path.name}:{number}: {task} {row[task]!r}"
            else:
                assert task not in row, f"{path.name}:{number}: posts have a sentiment alone"


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_texts_are_not_repeated(path: Path) -> None:
    repeated = [text for text, count in Counter(clean(row["text"]) for row in rows(path)).items() if count > 1]
    assert repeated == []


def test_every_label_occurs_in_every_language() -> None:
    found = defaultdict(set)
    for path in LABELLED_FOR_ALL:
        for row in rows(path):
            for task in LABELS:
                found[row["lang"], task].add(row[task])
    assert {lang for lang, _ in found} >= {"he", "fa", "ar", "en", "es", "fr", "de"}
    for (lang, task), seen in found.items():
        assert seen == set(LABELS[task]), lang


def test_no_scenario_is_on_both_sides_of_the_split() -> None:
    sides = defaultdict(set)
    for path in own_files():
        for row in rows(path):
            sides[row["scenario"]].add(held_out(row["scenario"], 0.15))
    assert all(len(side) == 1 for side in sides.values())
    corpora = own_corpora(own_files())
    assert all(corpus.train and corpus.dev for corpus in corpora)


def test_the_held_out_share_is_stable() -> None:
    names = [f"scenario-{n}" for n in range(1000)]
    held = [name for name in names if held_out(name, 0.15)]
    assert held[:3] == ["scenario-8", "scenario-18", "scenario-22"]
    assert 120 < len(held) < 180
