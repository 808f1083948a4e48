"""Fixtures of the scorer's tests: the shipped model, opened once, and a small real scorer for queue tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nlp import manifest
from nlp.onnx_cpu import SHIPPED, OnnxScorer


@pytest.fixture(scope="session")
def shipped() -> Iterator[OnnxScorer]:
    if not (SHIPPED / manifest.NAME).exists():
        pytest.skip(f"misses the shipped model: no {SHIPPED / manifest.NAME}")
    scorer = OnnxScorer(threads=2)
    yield scorer
    scorer.close()
