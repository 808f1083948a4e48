"""Labels of real posts: two answers become one by the guide, and a text that is not the labelled one is left out."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from nlp.scorer import INTENT, LABELS, SENTIMENT, URGENCY
from nlp.training.real_texts import PRECEDENCE, decide, read, real_corpora

HEAD = "file\trow\tsha256\tlang\turgency_1\tintent_1\tsentiment_1\turgency_2\tintent_2\tsentiment_2"


@pytest.mark.parametrize(
    ("task", "one", "other", "decided"),
    [
        (URGENCY, "low", "normal", "low"),
        (URGENCY, "high", "normal", "normal"),
        (URGENCY, "high", "critical", "critical"),
        (URGENCY, "critical", "low", "low"),
        (INTENT, "praise", "complaint", "complaint"),
        (INTENT, "other", "question", "question"),
        (SENTIMENT, "negative", "positive", "neutral"),
        (SENTIMENT, "negative", "negative", "negative"),
    ],
)
def test_the_guide_decides_between_two_answers(task: str, one: str, other: str, decided: str) -> None:
    assert decide(task, one, other) == decide(task, other, one) == decided


def test_the_committed_labels_are_all_usable_and_name_each_row_once() -> None:
    rows = read()
    assert len(rows) > 1500
    assert max(Counter((row.file, row.row) for row in rows).values()) == 1
    assert set(PRECEDENCE) == set(LABELS[INTENT])
    assert {row.decided[URGENCY] for row in rows} == set(LABELS[URGENCY])


def test_only_the_text_that_was_labelled_counts(tmp_path: Path) -> None:
    texts = [f"a real post number {n}" for n in range(40)]
    (tmp_path / "set.tsv").write_text("\n".join(["text\tlabel", *(f"{t}\tx" for t in texts)]), encoding="utf-8")
    lines = [HEAD]
    for number, text in enumerate(texts, start=1):
        digest = sha256((text if number != 7 else "another release").encode()).hexdigest()[:16]
        lines.append(f"set.tsv\t{number}\t{digest}\ten\tlow\tother\tneutral\tnormal\tother\tneutral")
    lines.append(f"set.tsv\t999\t{'0' * 16}\ten\tlow\tother\tneutral\tnormal\tother\tneutral")
    path = tmp_path / "labels.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (corpus,) = real_corpora(tmp_path, path)
    assert {e.text for e in [*corpus.train, *corpus.dev]} == set(texts) - {texts[6]}
    assert corpus.dev
    assert corpus.train[0].labels == {URGENCY: 0, INTENT: LABELS[INTENT].index("other"), SENTIMENT: 1}


def test_an_unknown_label_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(f"{HEAD}\nset.tsv\t1\t0\ten\tlow\tother\tneutral\turgent\tother\tneutral\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: 'urgent' is not one of low, normal, high, critical"):
        read(path)
