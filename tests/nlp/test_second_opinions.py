"""Second opinions: what an answer means in a set, which texts it is joined with, and what the file may hold."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from nlp.scorer import LABELS, SENTIMENT
from nlp.training.corpora import Corpus, Example
from nlp.training.second_opinions import FILE, Opinion, read, with_opinions

HEADER = "file\trow\tsha256\tfirst\tsecond\n"
NEGATIVE, NEUTRAL, POSITIVE = range(3)


def opinion(text: str, *answers: str) -> Opinion:
    return Opinion("set.tsv", 1, sha256(text.encode()).hexdigest()[:16], answers)


def test_an_answer_means_what_the_set_calls_such_texts() -> None:
    """This set calls most of what others find positive neutral: "positive" leans to neutral there."""
    labels = {"a": NEUTRAL, "b": NEUTRAL, "c": NEUTRAL, "d": POSITIVE, "e": NEGATIVE}
    corpus = Corpus("set", 1.0, [Example(text, {SENTIMENT: label}, "en") for text, label in labels.items()])
    judged = [opinion(text, "positive", "") for text in "abcd"] + [opinion("e", "negative neutral", "negative")]
    (found,) = with_opinions([corpus], judged)
    assert found.train[3].opinion == pytest.approx((1 / 7, 4 / 7, 2 / 7))
    assert found.train[4].opinion == pytest.approx((2 / 4, 1 / 4, 1 / 4))


def test_two_annotators_count_alike() -> None:
    corpus = Corpus("set", 1.0, [Example("a", {SENTIMENT: POSITIVE}, "en"), Example("b", {SENTIMENT: NEUTRAL}, "en")])
    judged = [opinion("a", "positive", "neutral"), opinion("b", "positive", "")]
    (found,) = with_opinions([corpus], judged)
    said_positive, said_neutral = (1 / 5, 2 / 5, 2 / 5), (1 / 4, 1 / 4, 2 / 4)
    assert found.train[0].opinion == pytest.approx([sum(p) / 2 for p in zip(said_positive, said_neutral, strict=True)])
    assert found.train[1].opinion == pytest.approx(said_positive)


def test_only_the_text_that_was_judged_carries_its_opinion_and_no_held_out_one() -> None:
    corpus = Corpus("set", 1.0, [Example(text, {SENTIMENT: 0}, "en") for text in ("judged", "not judged")])
    corpus.train.append(Example("judged", {"crisis": 0}, "en"))
    corpus.dev.append(Example("judged", {SENTIMENT: 0}, "en"))
    (found,) = with_opinions([corpus], [opinion("judged", "positive")])
    assert [bool(example.opinion) for example in found.train] == [True, False, False]
    assert not found.dev[0].opinion


@pytest.mark.parametrize("answers", ["good\t", "\tbad", "neutral neutral\t", "negative neutral positive\t"])
def test_an_unknown_answer_is_named_with_its_line(tmp_path: Path, answers: str) -> None:
    path = tmp_path / "opinions.tsv"
    path.write_text(f"{HEADER}a.tsv\t1\t00\tneutral positive\t\nb.tsv\t2\t00\t{answers}\n")
    with pytest.raises(ValueError, match=r"line 3: .* is not one or two of negative, neutral, positive"):
        read(path)


def test_the_committed_rows_are_usable_and_name_no_row_twice_and_no_held_out_file() -> None:
    rows = read(FILE)
    assert Counter((row.file, row.row) for row in rows).most_common(1)[0][1] == 1
    assert all(row.file.endswith("train.tsv") and len(row.sha256) == 16 and any(row.answers) for row in rows)
    assert {answer.split()[0] for row in rows for answer in row.answers if answer} == set(LABELS[SENTIMENT])


def test_the_datasheet_counts_them() -> None:
    """How many, how many of each set, and what share of the answers names a second label, in whole percent."""
    sheet, rows = FILE.with_name("DATASHEET.md").read_text(encoding="utf-8"), read(FILE)
    assert f"of {len(rows):,} training posts" in sheet
    stated = re.findall(r"^\| [\w-]+ \| ([\d,]+) \|", sheet, re.MULTILINE)
    assert sorted(f"{count:,}" for count in Counter(row.file for row in rows).values()) == sorted(stated)
    answers = [((row.file, who), answer) for row in rows for who, answer in enumerate(row.answers) if answer]
    everyone, torn = Counter(of for of, _ in answers), Counter(of for of, answer in answers if " " in answer)
    shares = [round(100 * torn[of] / count) for of, count in everyone.items()]
    assert f"{min(shares)} to {max(shares)} %" in sheet
