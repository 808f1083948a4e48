"""The model card's figures on our own held-out mentions are those of the shipped files."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from nlp import manifest
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS
from nlp.shipped import SIZES, folder_of
from nlp.training.corpora import Corpus, own_corpora, own_files
from nlp.training.measure import Figures, answered, false_alarms, figures, header, ordinary_texts, row
from nlp.training.recalibrate import threshold_rows

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"
NEAR = 0.02
"""How far a figure may lie from the card's: the last digit of a float hangs on the processor and can move a value over
a step of int8, so a text or two change."""
TEXTS_APART = 2
COMPOSED = "plain-"
OURS = ("own-", "posts-", "events")
"""Composed verdicts teach plain words; the card judges nothing by them."""
STALE = "take the first table of `python -m nlp.training.measure --data FOLDER` into docs/model-card.md"


class Cell(NamedTuple):
    texts: int
    macro_f1: float


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def card_figures(text: str) -> dict[tuple[str, str, str], Cell]:
    """(model, task, texts) to what the card says: of every table that has a column `<model>: macro-F1`."""
    found: dict[tuple[str, str, str], Cell] = {}
    columns: dict[int, str] = {}
    for line in text.splitlines():
        row_cells = cells(line)
        if not line.startswith("|"):
            columns = {}
        elif names := {
            at: match[1] for at, cell in enumerate(row_cells) if (match := re.match(r"(\w+): macro-F1", cell))
        }:
            columns = names
        elif columns and row_cells[0] in LABELS:
            for at, model in columns.items():
                found[model, row_cells[0], row_cells[1]] = Cell(int(row_cells[2]), float(row_cells[at]))
    return found


def own() -> list[Corpus]:
    return [corpus for corpus in own_corpora(own_files()) if corpus.dev and not corpus.name.startswith(COMPOSED)]


def gaps(
    model: str, found: dict[tuple[str, str], tuple[int, float]], card: dict[tuple[str, str, str], Cell]
) -> list[str]:
    """What is not as the card says: rows that miss, other counts, figures that lie further than NEAR apart."""
    said = []
    for (task, texts), (count, macro_f1) in found.items():
        cell = card.get((model, task, texts))
        if cell is None or cell.texts != count:
            said.append(f"{model}, {task}, {texts}: {count} texts, the card has {cell.texts if cell else 'no row'}")
        elif abs(cell.macro_f1 - macro_f1) > max(NEAR, TEXTS_APART / count):
            said.append(f"{model}, {task}, {texts}: macro-F1 {macro_f1:.3f}, the card says {cell.macro_f1:.3f}")
    known = {texts for _, texts in found}
    gone = [key for key in card if key[0] == model and key[2].startswith(OURS) and key[2] not in known]
    return said + [f"{', '.join(key)}: the card has a row of texts that are not there" for key in gone]


@pytest.mark.parametrize("size", SIZES)
def test_the_card_tells_the_shipped_files_figures_per_task_and_language(size: str) -> None:
    found = {}
    with closing(OnnxScorer(folder_of(Path(size)))) as scorer:
        for corpus in own():
            answers = answered(scorer, corpus)
            for task in LABELS.keys() & set(corpus.tasks):
                found[task, corpus.name] = len(corpus.dev), figures(corpus, answers, task).macro_f1
    assert found
    assert not gaps(size, found, card_figures(CARD.read_text(encoding="utf-8"))), STALE


def test_the_card_has_the_thresholds_of_the_default_model_and_no_others() -> None:
    lines = CARD.read_text(encoding="utf-8").splitlines()
    table = lines[lines.index("| task | family | threshold | stated | reached | coverage | texts |") + 2 :]
    rows = threshold_rows(manifest.read(folder_of(None)).thresholds)
    assert len(rows) > 2
    assert table[: table.index("")] == rows


def test_the_card_tells_the_sizes_of_the_files() -> None:
    sizes = [sum(path.stat().st_size for path in folder_of(Path(size)).glob("*.*")) / 1e6 for size in SIZES]
    assert f"| files (int8 ONNX, tokenizer) | {sizes[0]:.1f} MB | {sizes[1]:.1f} MB |" in CARD.read_text(
        encoding="utf-8"
    )
    assert max(sizes) <= 60


def test_a_drop_a_lost_row_and_other_texts_are_told() -> None:
    card = {("small", "urgency", "own-en"): Cell(342, 0.868), ("small", "urgency", "own-xx"): Cell(9, 0.5)}
    assert gaps("small", {("urgency", "own-en"): (342, 0.85), ("urgency", "own-xx"): (9, 0.4)}, card) == []
    for found in ((342, 0.84), (342, 0.9), (343, 0.868)):
        assert len(gaps("small", {("urgency", "own-en"): found, ("urgency", "own-xx"): (9, 0.5)}, card)) == 1
    assert gaps("small", {("urgency", "own-xx"): (9, 0.5), ("intent", "own-xx"): (9, 0.5)}, card) == [
        "small, intent, own-xx: 9 texts, the card has no row",
        "small, urgency, own-en: the card has a row of texts that are not there",
    ]


def test_what_is_measured_is_printed_as_the_card_has_it() -> None:
    corpus = own()[0]
    found = [Figures(0.8125, 0.7, 0.9, 0.1, {"low": 0.5}, 0.83), Figures(0.5, 0.4, 0.6, 0.1, {"low": 0.4})]
    text = "\n".join([*header(["small", "fast"]), row("urgency", corpus, found)])
    count = len(corpus.dev)
    assert card_figures(text) == {
        ("small", "urgency", corpus.name): Cell(count, 0.812),
        ("fast", "urgency", corpus.name): Cell(count, 0.5),
    }
    assert text.splitlines()[0] in CARD.read_text(encoding="utf-8")
    assert "| low 0.50, critical found at precision 0.7: 0.83 |" in text


def test_ordinary_texts_are_whole_and_false_alarms_are_those_called_critical() -> None:
    texts = ordinary_texts()
    assert len(texts) == len(set(texts)) > 150
    assert not [text for text in texts if "{" in text]
    with closing(OnnxScorer(folder_of(None))) as scorer:
        assert len(false_alarms(scorer, texts)) <= len(texts) // 20
        fire = "help, fire in the stairwell, my mother cannot get out"
        assert false_alarms(scorer, ["lovely weather today", "", fire]) == [fire]
