"""Labels of real posts: two answers become one by the guide, and a text that is not the labelled one is left out."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nlp.agreement import kappa, raw_agreement
from nlp.scorer import INTENT, LABELS, SENTIMENT, URGENCY
from nlp.training.corpora import Corpus, Example
from nlp.training.real_texts import FILE, PRECEDENCE, RealLabels, _part, decide, read, real_corpora

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


@pytest.mark.parametrize("name", ["set.tsv", "xlm_t/en_train.tsv"])
def test_only_the_text_that_was_labelled_counts_and_a_set_teaches_its_own_sentiment(tmp_path: Path, name: str) -> None:
    texts = [f"post{n} says{n} thing{n}" for n in range(40)]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("\n".join(["text\tlabel", *(f"{t}\tx" for t in texts)]), encoding="utf-8")
    lines = [HEAD]
    for number, text in enumerate(texts, start=1):
        digest = sha256((text if number != 7 else "another release").encode()).hexdigest()[:16]
        lines.append(f"{name}\t{number}\t{digest}\ten\tlow\tother\tneutral\tnormal\tother\tneutral")
    lines.append(f"{name}\t999\t{'0' * 16}\ten\tlow\tother\tneutral\tnormal\tother\tneutral")
    path = tmp_path / "labels.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpora = {corpus.name: corpus for corpus in real_corpora(tmp_path, path)}
    kept = [e for corpus in corpora.values() for e in [*corpus.train, *corpus.dev]]
    assert {e.text for e in kept} == set(texts) - {texts[6]}
    assert corpora["real-en"].dev
    assert all(e.labels.keys() == {URGENCY, INTENT} for e in [*corpora["real-en"].train, *corpora["real-en"].dev])
    taught = [e.labels for corpus in corpora.values() for e in corpus.train]
    labels = {URGENCY: 0, INTENT: LABELS[INTENT].index("other")}
    assert all(found == (labels | {SENTIMENT: 1} if name == "set.tsv" else labels) for found in taught)


def test_a_share_of_a_training_text_is_not_held_out() -> None:
    def corpus(train: list[str], dev: list[str]) -> Corpus:
        return Corpus("real-en", 0.1, *([Example(text, {URGENCY: 0}, "en") for text in part] for part in (train, dev)))

    first = corpus(["Fire near the old bridge, stay away"], ["a text of its own"])
    second = corpus([], ["RT @user: fire near the old bridge, stay away! http", "fire near the harbour"])
    _part([first, second])
    assert [example.text for example in [*first.dev, *second.dev]] == ["a text of its own", "fire near the harbour"]


def confusion(task: str, rows: list[RealLabels]) -> NDArray[np.int64]:
    """How often annotator 1 (rows) and 2 (columns) gave which labels."""
    counts = Counter((row.first[task], row.second[task]) for row in rows)
    return np.array([[counts[one, other] for other in LABELS[task]] for one in LABELS[task]], dtype=np.int64)


def test_the_datasheet_counts_them_and_states_their_agreement() -> None:
    sheet, rows = FILE.with_name("DATASHEET.md").read_text(encoding="utf-8"), read()
    by_language = Counter(row.lang for row in rows).most_common()
    stated = ", ".join(f"{lang} {count:,}" for lang, count in by_language)
    assert f"of {len(rows):,} real posts ({stated})" in sheet
    calm = sum(row.first[URGENCY] == row.second[URGENCY] == "low" for row in rows)
    assert f"{calm:,} of the {len(rows):,} posts are low for both" in sheet
    for task in (SENTIMENT, URGENCY, INTENT):
        same, whole = raw_agreement(confusion(task, rows)), kappa(confusion(task, rows))
        found = re.search(rf"^\| {task} \| {same:.2f} \| {whole:.2f} \(.*\) \| (.*) \|$", sheet, re.MULTILINE)
        assert found, task
        each = [kappa(confusion(task, [row for row in rows if row.lang == lang])) for lang in sorted(dict(by_language))]
        assert found[1] == " | ".join(f"{value:.2f}" for value in each)


def test_an_unknown_label_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(f"{HEAD}\nset.tsv\t1\t0\ten\tlow\tother\tneutral\turgent\tother\tneutral\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: 'urgent' is not one of low, normal, high, critical"):
        read(path)
