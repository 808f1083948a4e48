from collections.abc import AsyncIterator

import pytest

from streams.kafka import KafkaStream
from streams.kafka_cluster import KafkaSettings
from streams.stream import Stream
from tests.brokers import LANES, Broker, Brokers
from tests.contracts.stream_contract import Reopen, StreamContract

pytestmark = pytest.mark.kafka


INSIDE = "its latest offset lies inside the last batch"
TANSU_LACKS = {
    "test_a_tail_from_latest_sees_only_what_comes_and_has_nothing_to_commit": INSIDE,
    "test_a_group_that_began_at_latest_keeps_its_beginning": INSIDE,
    "test_a_position_beyond_the_end_reads_all_that_is_kept": "it answers a fetch beyond the end with nothing",
}


@pytest.fixture(autouse=True)
def _known_lacks(request: pytest.FixtureRequest, lane: Broker) -> None:
    reason = TANSU_LACKS.get(getattr(request.node, "originalname", ""))
    if lane.lane == "tansu" and reason:
        request.applymarker(pytest.mark.xfail(reason=f"Tansu: {reason}", strict=True))


@pytest.fixture(scope="module", params=LANES)
def lane(request: pytest.FixtureRequest, brokers: Brokers) -> Broker:
    return brokers.lane(request.param)


@pytest.fixture
def settings(lane: Broker) -> KafkaSettings:
    return lane.settings(partitions=3)


class TestKafkaContract(StreamContract):
    @pytest.fixture
    async def stream(self, settings: KafkaSettings) -> AsyncIterator[Stream]:
        stream = await KafkaStream.open(settings)
        yield stream
        await stream.aclose()

    @pytest.fixture
    async def reopen(self, settings: KafkaSettings) -> AsyncIterator[Reopen]:
        opened: list[Stream] = []

        async def again(stream: Stream) -> Stream:
            await stream.aclose()
            opened.append(await KafkaStream.open(settings))
            return opened[-1]

        yield again
        for stream in opened:
            await stream.aclose()
