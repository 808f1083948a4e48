from __future__ import annotations

from collections.abc import Mapping, Sequence

from nlp.cache import AnswerCache
from nlp.scorer import LABELS, Prepared, ScorerError
from streams.records import Opinion, Score


def opinion(task: str, lead: float) -> Opinion:
    first, second, *others = LABELS[task]
    rest = dict.fromkeys(others, 0.0)
    return Opinion(label=first, probabilities={first: (1 + lead) / 2, second: (1 - lead) / 2, **rest})


class Model:
    """Answers with a score whose lead is `sure`, or `unsure` for texts with a question mark; fails on a skull."""

    def __init__(self, sure: float = 0.9, unsure: float = 0.1) -> None:
        self.sure, self.unsure = sure, unsure
        self.ran: list[str] = []

    def __call__(self, entries: Sequence[Prepared]) -> Mapping[str, Score | ScorerError]:
        self.ran += [entry.text for entry in entries]
        return {entry.text: self._answer(entry.text) for entry in entries}

    def _answer(self, text: str) -> Score | ScorerError:
        if "\u2620" in text:
            return ScorerError(text)
        lead = self.unsure if "?" in text else self.sure
        found = {task: opinion(task, lead) for task in LABELS}
        return Score(**found, model_id=text, model_revision="1")


def ask(cache: AnswerCache, model: Model, *texts: str) -> list[Score | ScorerError]:
    return cache.answer([Prepared(text, [ord(char) for char in text]) for text in texts], model)


def scored_as(answers: Sequence[Score | ScorerError]) -> list[str]:
    """The texts that the model really read."""
    return [answer.model_id if isinstance(answer, Score) else "error" for answer in answers]


def test_near_copies_of_a_settled_answer_run_once_in_a_batch_and_later() -> None:
    cache, model = AnswerCache(10), Model()
    assert scored_as(ask(cache, model, "no power.", "no power", "no power @user", "no heat")) == [
        *["no power."] * 3,
        "no heat",
    ]
    assert scored_as(ask(cache, model, "no power @user @user", "no power.")) == ["no power."] * 2
    assert model.ran == ["no power.", "no heat"]
    assert (cache.counts.exact, cache.counts.near, cache.counts.missed) == (1, 3, 2)


def test_an_unsettled_answer_stands_for_its_very_text_alone() -> None:
    cache, model = AnswerCache(10), Model()
    texts = ["power? no.", "power? no", "power? no."]
    assert scored_as(ask(cache, model, *texts)) == texts
    assert scored_as(ask(cache, model, *texts, "power? no @user")) == [*texts, "power? no @user"]
    assert model.ran == ["power? no.", "power? no", "power? no @user"]
    assert (cache.counts.exact, cache.counts.near, cache.counts.missed) == (4, 0, 3)


def test_texts_of_the_same_ids_are_no_copies_for_a_second_model_reads_them_by_another_vocabulary() -> None:
    cache, model = AnswerCache(10), Model()
    unknown = [Prepared(text, [1, 2, 3]) for text in ("Acme \u7cdf\u7cd5", "Acme \u5f88\u597d")]
    assert scored_as([*cache.answer(unknown[:1], model), *cache.answer(unknown[1:], model)]) == [
        one.text for one in unknown
    ]
    assert (cache.counts.exact, cache.counts.missed) == (0, 2)


def test_errors_are_neither_remembered_nor_shared_with_near_copies() -> None:
    cache, model = AnswerCache(10), Model()
    assert scored_as(ask(cache, model, "b\u2620d", "b\u2620d", "b\u2620d.")) == ["error"] * 3
    assert model.ran == ["b\u2620d", "b\u2620d."]
    assert (cache.counts.exact, cache.counts.near, cache.counts.missed) == (0, 0, 3)
    ask(cache, model, "b\u2620d")
    assert len(model.ran) == 3
    assert len(cache) == 0


def test_the_least_recently_used_answers_leave_first_and_are_counted() -> None:
    cache, model = AnswerCache(2), Model()
    ask(cache, model, "a")
    ask(cache, model, "b")
    ask(cache, model, "a")
    ask(cache, model, "c")
    assert (len(cache), cache.counts.evicted) == (2, 1)
    ask(cache, model, "a", "c")
    assert model.ran == ["a", "b", "c"]
    ask(cache, model, "b")
    assert model.ran[3:] == ["b"]


def test_a_size_of_zero_remembers_nothing_but_runs_copies_of_a_batch_once() -> None:
    cache, model = AnswerCache(0), Model()
    for _ in range(2):
        assert scored_as(ask(cache, model, "a", "a.", "a")) == ["a"] * 3
    assert model.ran == ["a", "a"]
    assert (len(cache), cache.counts.evicted) == (0, 0)


def test_a_batch_larger_than_the_memory_is_answered_whole() -> None:
    cache, model = AnswerCache(3), Model()
    texts = [f"text {number}" for number in range(20)]
    assert scored_as(ask(cache, model, *texts)) == texts
    assert (len(cache), cache.counts.evicted) == (3, 17)
