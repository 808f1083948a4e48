"""Fixtures of the end-to-end tests: the sentences, scored once by the shipped model, and the two lanes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from nlp import manifest
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from tests.e2e.lanes import DISTRIBUTED, EMBEDDED, Lane
from tests.process import Place, place
from tests.world_texts import Sentence, sure_sentences

pytest.register_assert_rewrite("tests.e2e.outcome")


@pytest.fixture(scope="session")
def sentences() -> list[Sentence]:
    """What people of the world say, with the labels that the shipped scorer gives."""
    if not (SHIPPED / manifest.NAME).exists():
        pytest.skip(f"misses the shipped model: no {SHIPPED / manifest.NAME}")
    scorer = OnnxScorer()
    try:
        return sure_sentences(scorer)
    finally:
        scorer.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A place for processes on the embedded log and SQLite."""
    with place(tmp_path) as opened:
        yield opened


@pytest.fixture(
    params=[pytest.param(EMBEDDED, id=EMBEDDED), pytest.param(DISTRIBUTED, id=DISTRIBUTED, marks=pytest.mark.kafka)]
)
def lane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lane]:
    """A War Room that is not started yet, once in each setting."""
    if request.param == EMBEDDED:
        with place(tmp_path) as opened:
            yield Lane(EMBEDDED, opened, f"sqlite:///{opened.data / 'warroom.db'}")
        return
    # Tansu holds a JoinGroup longer than the product waits for an answer, which suits Apache Kafka.
    broker = request.getfixturevalue("brokers").lane("kafka")
    database = request.getfixturevalue("postgres_url")
    settings = {
        "kafka": broker.bootstrap,
        "kafka_idempotence": str(broker.idempotence),
        "kafka_prefix": f"e2e-{uuid4().hex[:8]}.",
        "kafka_partitions": "3",
        "database_url": database,
    }
    with place(tmp_path, **settings) as opened:
        yield Lane(DISTRIBUTED, opened, database, broker)
