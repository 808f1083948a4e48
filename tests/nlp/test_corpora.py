from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from nlp.scorer import INTENT, LABELS, SENTIMENT, URGENCY
from nlp.training.corpora import auxiliary_corpora, own_corpora, posts_and_others, sentiment_corpora


def table(folder: Path, name: str, rows: Sequence[Sequence[str]]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in [["header"] * len(rows[0]), *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    for lang in ("ar", "en", "fr", "de", "it", "pt", "es"):
        for part in ("train", "val"):
            table(
                tmp_path, f"xlm_t/{lang}_{part}.tsv", [('a "quoted" one', "negative"), ("b", "positive"), ("c", "odd")]
            )
    table(tmp_path, "semeval2017_en/train.tsv", [("a", "neutral", "file")])
    table(tmp_path, "tweeteval_sentiment/val.tsv", [("@you a quoted, ONE http://x", "neutral"), ("fresh", "neutral")])
    for part in ("train", "val"):
        table(tmp_path, f"hebrew_sentiment/{part}.tsv", [("טוב", "positive"), ("שונה", "neutral"), ("רע", "negative")])
    reviews = [(f"review number {n} of many words here {n}", "positive", "1") for n in range(60)]
    table(tmp_path, "persian_deepsentipers/train.tsv", reviews)
    table(
        tmp_path,
        "persian_deepsentipers/train_balanced.tsv",
        [(f"{text} indeed", label, s) for text, label, s in reviews],
    )
    table(tmp_path, "complaints_2019/all.tsv", [("a", "1", "cars"), ("b", "0", "cars")])
    table(tmp_path, "purchase_intent/all.tsv", [("a", "yes"), ("b", "undefined")])
    row = ["help", "", "direct", "1", "0", "0", "1", "0", "1", "1", "x", "0"]
    table(tmp_path, "disaster_response/val.tsv", [row])
    crisis = [("a", "Caution and advice", "Related", "x", "y"), ("b", "Not labeled", "Not related", "x", "y")]
    table(tmp_path, "crisislext26/all.tsv", crisis)
    return tmp_path


def test_labels_are_mapped_by_name_and_quotes_are_text(public: Path) -> None:
    tweets = sentiment_corpora(public)[0]
    assert tweets.tasks == (SENTIMENT,)
    assert [example.text for example in tweets.train] == ['a "quoted" one', "b"]
    assert [LABELS[SENTIMENT][example.labels[SENTIMENT]] for example in tweets.train] == ["negative", "positive"]


def test_what_any_set_teaches_is_not_held_out(public: Path) -> None:
    (english,) = (corpus for corpus in sentiment_corpora(public) if corpus.name == "semeval")
    assert [example.text for example in english.dev] == ["fresh"]


def test_off_topic_is_not_taken_for_neutral(public: Path) -> None:
    (hebrew,) = (corpus for corpus in sentiment_corpora(public) if corpus.name == "hebrew")
    assert [example.text for example in hebrew.train] == ["טוב", "רע"]


def test_rewritten_reviews_do_not_cross_the_split(public: Path) -> None:
    (persian,) = (corpus for corpus in sentiment_corpora(public) if corpus.name == "persian")
    assert persian.dev
    for held in persian.dev:
        words = set(held.text.split())
        assert all(
            len(words & set(other.text.split())) < 0.6 * len(words | set(other.text.split())) for other in persian.train
        )


def test_auxiliary_sets_have_heads_of_their_own(public: Path) -> None:
    found = {corpus.name: corpus for corpus in auxiliary_corpora(public)}
    assert [example.labels for example in found["complaints"].train] == [{"complaint": 1}, {"complaint": 0}]
    assert found["disaster"].train[0].labels == {"request": 1}
    assert [example.labels["crisis"] for example in found["crisis"].train] == [4, 0]


def test_our_own_mentions_carry_all_labels_and_whole_scenarios_are_held_out(tmp_path: Path) -> None:
    rows = [
        {"text": f"text {n}", "lang": "he", "sentiment": "negative", "urgency": "critical", "intent": "distress"}
        | {"scenario": f"s{n % 20}"}
        for n in range(100)
    ]
    path = tmp_path / "mentions.he.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (corpus,) = own_corpora([path])
    assert corpus.tasks == (SENTIMENT, URGENCY, INTENT)
    assert len(corpus.train) + len(corpus.dev) == 100
    assert len(corpus.dev) % 5 == 0
    assert corpus.dev[0].labels == {SENTIMENT: 0, URGENCY: 3, INTENT: 5}


def test_posts_have_a_sentiment_alone_and_are_drawn_beside_the_public_sets(tmp_path: Path) -> None:
    row = {"text": "finally weekend", "lang": "en", "sentiment": "positive", "scenario": "s1"}
    (tmp_path / "posts.en.jsonl").write_text(json.dumps(row), encoding="utf-8")
    mention = row | {"urgency": "low", "intent": "other"}
    (tmp_path / "mentions.en.jsonl").write_text(json.dumps(mention), encoding="utf-8")
    posts, others = posts_and_others(own_corpora(tmp_path.glob("*.jsonl")))
    assert [(corpus.name, corpus.tasks) for corpus in posts] == [("posts-en", (SENTIMENT,))]
    assert [corpus.name for corpus in others] == ["own-en"]
