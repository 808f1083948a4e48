"""The kind of numbers that training computes with is the one that this processor is faster in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

MISSES = "misses the numbers of training: torch is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
from nlp.training import precision  # noqa: E402 - only where the extra is


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was chosen, before and after."""
    precision._chosen.cache_clear()
    yield
    precision._chosen.cache_clear()


@pytest.mark.parametrize(("taken", "best"), [(0.5, torch.bfloat16), (0.95, torch.float32), (27.0, torch.float32)])
def test_bfloat16_is_taken_where_it_is_clearly_faster(
    taken: float, best: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, choice = [], precision.faster

    def measured(kind: object) -> float:
        asked.append(kind)
        return taken if kind is torch.bfloat16 else 1.0

    monkeypatch.setattr(precision, "faster", lambda: choice(measured))
    for _ in range(2):
        with precision.quick():
            assert (torch.ones(2, 3) @ torch.ones(3, 2)).dtype is best
    assert len(asked) == 2  # each kind once, though two steps asked


def test_a_product_of_the_asked_kind_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made, ones = [], torch.ones

    def noted(*shape: int, dtype: object) -> object:
        made.append(dtype)
        return ones(*shape, dtype=dtype)

    monkeypatch.setattr(torch, "ones", noted)
    assert precision.seconds(torch.bfloat16) > 0
    assert set(made) == {torch.bfloat16}
