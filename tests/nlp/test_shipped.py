from __future__ import annotations

from pathlib import Path

import pytest

from nlp import manifest
from nlp.onnx_cpu import OnnxScorer
from nlp.shipped import DEFAULT, SIZES, WEIGHTS, folder_of

PLAIN = [
    ("my dad collapsed at your store on 5th, nobody is coming", "negative", "critical", "distress"),
    ("השירות שלכם זבל, מחכה שעתיים על הקו", "negative", "normal", "complaint"),
    ("ممنون از پشتیبانی عالیتون", "positive", "low", "praise"),
    ("شكرا لكم على الخدمة الرائعة", "positive", "low", "praise"),
    ("la app se cayó y no puedo pagar, me cortan la luz hoy", "negative", "high", "complaint"),
    ("thinking of getting the X200, is it worth it?", "neutral", "normal", "purchase"),
]


def test_a_model_is_chosen_by_name_or_folder(tmp_path: Path) -> None:
    assert folder_of(None) == WEIGHTS / DEFAULT
    assert [folder_of(Path(size)) for size in SIZES] == [WEIGHTS / size for size in SIZES]
    assert folder_of(tmp_path) == tmp_path
    assert folder_of(tmp_path / "small") == tmp_path / "small"


@pytest.mark.parametrize("size", SIZES)
def test_each_size_is_whole_small_enough_and_knows_the_plain_cases(size: str) -> None:
    folder = folder_of(Path(size))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 60_000_000
    scorer = OnnxScorer(folder)
    assert scorer.model_id == f"warroom-{size}"
    found = scorer.score([text for text, *_ in PLAIN])
    scorer.close()
    for score, (text, *labels) in zip(found, PLAIN, strict=True):
        assert [score.sentiment.label, score.urgency.label, score.intent.label] == labels, text
        assert score.embedding is not None


def test_every_shipped_folder_has_a_name() -> None:
    assert {path.name for path in WEIGHTS.iterdir() if path.is_dir()} == set(SIZES)
    assert all(manifest.read(WEIGHTS / size).calibration for size in SIZES)
