"""The kind of numbers that training computes with is the one that this processor is faster in."""

from __future__ import annotations

import pytest

MISSES = "misses the numbers of training: torch is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
from nlp.training import precision  # noqa: E402 - only where the extra is


@pytest.mark.parametrize("best", [torch.bfloat16, torch.float32])
def test_the_faster_kind_is_taken(best: object, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = precision.faster(lambda kind: 1.0 if kind is best else 2.0)
    assert chosen is best
    monkeypatch.setattr(precision, "_chosen", lambda: chosen)
    with precision.quick():
        made = torch.ones(2, 3) @ torch.ones(3, 2)
    assert made.dtype is best


def test_both_kinds_are_measured() -> None:
    assert precision.seconds(torch.float32) > 0
    assert precision.seconds(torch.bfloat16) > 0
