"""DescribeClientQuotas and AlterClientQuotas, and what quotas do to requests, over the wire."""

from collections.abc import Iterator
from typing import Any

import pytest

from pykbroker.cluster.client_quota import ANY_NAME, DEFAULT_NAME, EXACT
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest
from pykbroker.protocol.messages.create_partitions import CreatePartitionsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.messages.describe_client_quotas import DescribeClientQuotasRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

Parts = dict[str, str | None]


def entry(parts: Parts, **quotas: float | None) -> Any:
    return AlterClientQuotasRequest.Entry(
        entity=[
            AlterClientQuotasRequest.Entry.Entity(entity_type=kind.replace("_", "-"), entity_name=name)
            for kind, name in parts.items()
        ],
        ops=[
            AlterClientQuotasRequest.Entry.Op(key=key, value=value or 0, remove=value is None)
            for key, value in quotas.items()
        ],
    )


def alter(wire: WireClient, *entries: Any, version: int = 1, **fields: Any) -> list[tuple[int, str | None]]:
    answer = wire.request(AlterClientQuotasRequest(entries=list(entries), **fields), version)
    return [(one.error_code, one.error_message) for one in answer.entries]


def described(wire: WireClient, *components: tuple[str, int, str | None], strict: bool = False) -> list[Any]:
    asked = [
        DescribeClientQuotasRequest.Component(entity_type=kind, match_type=how, match=match)
        for kind, how, match in components
    ]
    answer = wire.request(DescribeClientQuotasRequest(components=asked, strict=strict), 1)
    assert answer.error_code == ErrorCode.NONE, answer
    found = [
        ([(one.entity_type, one.entity_name) for one in entry.entity], {one.key: one.value for one in entry.values})
        for entry in answer.entries
    ]
    return sorted(found, key=str)


FINE = (ErrorCode.NONE, None)


@pytest.fixture
def kafka_broker_config() -> dict[str, str]:
    return {"controller.quota.window.num": "1"}


@pytest.fixture
def wire(kafka_broker: KafkaBroker) -> Iterator[WireClient]:
    """A broker of its own: quotas are everybody's."""
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        yield client


@pytest.mark.parametrize("version", [0, 1])
def test_quotas_are_set_described_and_removed(wire: WireClient, version: int) -> None:
    answers = alter(
        wire,
        entry({"user": "U v", "client_id": None}, producer_byte_rate=1e9, request_percentage=150.5),
        entry({"user": None}, consumer_byte_rate=2e9),
        entry({"ip": "127.0.0.9"}, connection_creation_rate=7),
        entry({"client_id": ""}, consumer_byte_rate=2e9),
        version=version,
    )
    assert answers == [FINE, FINE, FINE, (ErrorCode.INVALID_REQUEST, "Empty client-id not supported")]
    both = ([("user", "U v"), ("client-id", None)], {"producer_byte_rate": 1e9, "request_percentage": 150.5})
    default = ([("user", None)], {"consumer_byte_rate": 2e9})
    address = ([("ip", "127.0.0.9")], {"connection_creation_rate": 7})
    assert described(wire) == sorted([address, default, both], key=str)
    assert described(wire, ("user", ANY_NAME, None), strict=True) == [default]
    assert described(wire, ("user", EXACT, "U v")) == [both]
    assert described(wire, ("client-id", DEFAULT_NAME, None)) == [both]
    assert described(wire, ("ip", ANY_NAME, None)) == [address]
    alter(wire, entry({"user": "U v", "client_id": None}, producer_byte_rate=None, request_percentage=None))
    assert described(wire, ("user", ANY_NAME, None)) == [default]


def test_what_is_only_validated_is_not_set(wire: WireClient) -> None:
    assert alter(wire, entry({"user": "u"}, producer_byte_rate=1), validate_only=True) == [FINE]
    assert described(wire) == []


def test_quotas_that_can_not_be(wire: WireClient) -> None:
    assert [code for code, _ in alter(wire, entry({}), entry({"user": "u"}, no_such=1), entry({"user": "u"}))] == [
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INVALID_REQUEST,
    ]
    assert alter(wire, entry({"ip": "not an address"}, connection_creation_rate=1))[0][0] == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("component", "code"),
    [(("user", EXACT, None), ErrorCode.INVALID_REQUEST), (("colour", EXACT, "red"), ErrorCode.UNSUPPORTED_VERSION)],
)
def test_questions_that_can_not_be(wire: WireClient, component: tuple[str, int, str | None], code: ErrorCode) -> None:
    kind, how, match = component
    asked = DescribeClientQuotasRequest.Component(entity_type=kind, match_type=how, match=match)
    answer = wire.request(DescribeClientQuotasRequest(components=[asked]), 1)
    assert (answer.error_code, answer.entries) == (code, None)


def produce(wire: WireClient, size: int) -> Any:
    data = ProduceRequest.TopicData.PartitionData(index=0, records=build_batch([(None, b"x" * size)], timestamp=1))
    topic = ProduceRequest.TopicData(name="t", partition_data=[data])
    answer = wire.request(ProduceRequest(acks=1, timeout_ms=1000, topic_data=[topic]), 9)
    assert answer.responses[0].partition_responses[0].error_code == ErrorCode.NONE
    return answer


def fetch(wire: WireClient, offset: int = 0) -> Any:
    partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    topic = FetchRequest.Topic(topic="t", partitions=[partition])
    return wire.request(FetchRequest(max_bytes=1 << 20, min_bytes=1, session_epoch=-1, topics=[topic]), 11)


def test_a_producer_over_its_quota_is_told_and_its_records_stay(wire: WireClient, kafka_broker: KafkaBroker) -> None:
    wire.request(MetadataRequest(topics=[MetadataRequest.Topic(name="t")]), 8)
    alter(wire, entry({"client_id": None}, producer_byte_rate=100_000))
    # 1,100,000 bytes in 10 seconds are 10 % too much: a second.
    throttled = produce(wire, 600_000).throttle_time_ms, produce(wire, 500_000).throttle_time_ms
    assert throttled[0] == 0
    assert 0 < throttled[1] <= 1010
    with WireClient(kafka_broker.host, kafka_broker.port) as other:
        assert len(fetch(other, 1).responses[0].partitions[0].records) > 500_000


def test_a_consumer_over_its_quota_gets_nothing_yet(wire: WireClient) -> None:
    wire.request(MetadataRequest(topics=[MetadataRequest.Topic(name="t")]), 8)
    produce(wire, 600_000)
    alter(wire, entry({"client_id": None}, consumer_byte_rate=100_000))
    first = fetch(wire)
    assert (first.throttle_time_ms, len(first.responses)) == (0, 1)
    second = fetch(wire)
    assert second.responses == []
    assert 0 < second.throttle_time_ms <= 2010


def test_one_answer_holds_no_more_than_the_windows_do(wire: WireClient) -> None:
    wire.request(MetadataRequest(topics=[MetadataRequest.Topic(name="t")]), 8)
    for _ in range(4):
        produce(wire, 1000)
    alter(wire, entry({"client_id": None}, consumer_byte_rate=220))
    answers = [fetch(wire)]
    while not answers[-1].responses:
        assert 0 < answers[-1].throttle_time_ms <= 200, "the answer's frame is what is too much"
        answers.append(fetch(wire))
    assert 1000 < len(answers[-1].responses[0].partitions[0].records) <= 2200


def test_requests_over_their_share_of_time_are_told(wire: WireClient, kafka_broker: KafkaBroker) -> None:
    alter(wire, entry({"user": None}, request_percentage=0.0001))
    with WireClient(kafka_broker.host, kafka_broker.port) as muted:
        assert 0 < muted.request(ListGroupsRequest(), 4).throttle_time_ms <= 1000


def test_partitions_over_their_quota(wire: WireClient, kafka_broker: KafkaBroker) -> None:
    def create(wire: WireClient, *names: str) -> Any:
        topics = [CreateTopicsRequest.Topic(name=name, num_partitions=6, replication_factor=1) for name in names]
        return wire.request(CreateTopicsRequest(topics=topics, timeout_ms=1000), 7)

    alter(wire, entry({"user": None}, controller_mutation_rate=10))
    refused = ErrorCode.THROTTLING_QUOTA_EXCEEDED
    with WireClient(kafka_broker.host, kafka_broker.port) as muted:
        # One second's tokens are there, the second topic overdraws them by two.
        answer = create(muted, "a", "b", "c", "bad name!")
        assert [topic.error_code for topic in answer.topics] == [0, 0, refused, ErrorCode.INVALID_TOPIC_EXCEPTION]
        assert 0 < answer.throttle_time_ms <= 200
    alter(wire, entry({"user": None}, controller_mutation_rate=0.01))
    for request, version in (
        (CreatePartitionsRequest(topics=[CreatePartitionsRequest.Topic(name="a", count=7, assignments=None)]), 3),
        (DeleteTopicsRequest(topic_names=["a"]), 5),
    ):
        with WireClient(kafka_broker.host, kafka_broker.port) as muted:
            answer = muted.request(request, version)
        results = answer.results if version == 3 else answer.responses
        assert [one.error_code for one in results] == [refused]
        assert answer.throttle_time_ms > 200
    assert len(wire.request(MetadataRequest(topics=[MetadataRequest.Topic(name="a")]), 8).topics[0].partitions) == 6


@pytest.mark.slow
def test_an_address_that_connects_too_often(wire: WireClient, kafka_broker: KafkaBroker) -> None:
    alter(wire, entry({"ip": "127.0.0.1"}, connection_creation_rate=1))
    answered = 0
    for _ in range(12):
        with WireClient(kafka_broker.host, kafka_broker.port) as client:
            try:
                client.request(ListGroupsRequest(), 4)
            except (OSError, EOFError):
                break
            answered += 1
    assert answered == 10, "ten windows of one each, the next one is held and closed"
    alter(wire, entry({"ip": "127.0.0.1"}, connection_creation_rate=None))
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        assert client.request(ListGroupsRequest(), 4).error_code == ErrorCode.NONE
