"""Short, dry emergencies, as a passer-by types them. The training data has such kinds of events, in other words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nlp.onnx_cpu import OnnxScorer
from nlp.shipped import SIZES, folder_of
from nlp.training.corpora import own_corpora, own_files

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"
EMERGENCIES = (
    "my dad collapsed at your store on 5th, nobody is coming",
    "my mom fainted in your pharmacy and no one helps",
    "man not breathing on platform 3 please send someone",
    "fire on the 4th floor of your hotel we can't get out",
    "there is a child locked in a car in your parking lot, it's 40 degrees",
    "the bus driver is drunk and driving like crazy, line 14",
    "somebody is hitting a woman outside branch",
    "my insulin pump app stopped and my sugar is 450",
    "אבא שלי התמוטט אצלכם בסניף ואף אחד לא בא",
    "יש פה אדם מחוסר הכרה ברציף 2",
    "אש בקומה רביעית במלון שלכם",
    "پدرم تو فروشگاهتون از حال رفته هیچ کس نمیاد",
    "یه نفر کنار در مترو بیهوشه",
    "أبي وقع مغمى عليه في فرعكم ولا أحد يساعد",
    "حريق في الطابق الرابع من الفندق",
    "mi padre se ha desmayado en su tienda y nadie viene",
    "mon père s'est effondré dans votre magasin, personne ne vient",
    "mein Vater ist in eurem Laden zusammengebrochen und keiner kommt",
    "mio padre è svenuto nel vostro negozio e nessuno arriva",
    "meu pai desmaiou na loja de vocês e ninguém vem",
)
APART = 1
"""The last digit of a float hangs on the processor, and a value may cross a step of int8: one text may change."""
LIKE_IT = 0.6
"""Share of common words from which a training text would give the answer away."""


@pytest.mark.parametrize("size", SIZES)
def test_the_card_says_how_many_are_found(size: str) -> None:
    scorer = OnnxScorer(folder_of(Path(size)))
    found = sum(score.urgency.label == "critical" for score in scorer.score(list(EMERGENCIES)))
    scorer.close()
    stated = re.search(r"Of 20 such texts in nine languages (\d+)[^.]*\(`fast`: (\d+)\)", CARD.read_text())
    assert stated is not None
    assert abs(found - int(stated.group(1 + SIZES.index(size)))) <= APART


def test_none_of_them_was_trained_on() -> None:
    bags = [words(text) for text in EMERGENCIES]
    for corpus in own_corpora(own_files()):
        for example in corpus.train:
            mine = words(example.text)
            alike = [bag for bag in bags if len(mine & bag) >= LIKE_IT * len(mine | bag)]
            assert not alike, example.text


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))
