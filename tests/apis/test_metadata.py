"""Metadata and DescribeTopicPartitions."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from pykbroker.apis.metadata import MAX_ENCODED, describe_topic_partitions, metadata
from pykbroker.cluster.image import BrokerImage, Endpoint, PartitionState, TopicImage
from pykbroker.controller.topics import NewTopic
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest

ALL_VERSIONS = range(14)


def asking(*names: str | None, **fields: Any) -> MetadataRequest:
    return MetadataRequest(topics=[MetadataRequest.Topic(name=name) for name in names], **fields)


async def create(broker: Any, *names: str, partitions: int = 1) -> None:
    await broker.services.controller.create_topics([NewTopic(name, partitions) for name in names])


@pytest.mark.parametrize("version", ALL_VERSIONS)
async def test_a_topic_in_every_version(one_broker: Any, version: int) -> None:
    await create(one_broker, "t", partitions=2)
    answer = await one_broker.ask(metadata, asking("t"), version)
    assert [(broker.node_id, broker.host, broker.port) for broker in answer.brokers] == [(1, "127.0.0.1", 9092)]
    (topic,) = answer.topics
    assert (topic.error_code, topic.name) == (ErrorCode.NONE, "t")
    assert [
        (one.error_code, one.partition_index, one.leader_id, one.replica_nodes, one.isr_nodes)
        for one in topic.partitions
    ] == [(0, 0, 1, [1], [1]), (0, 1, 1, [1], [1])]
    if version >= 1:
        assert answer.controller_id == 1
    if version >= 2:
        assert answer.cluster_id == one_broker.services.metadata.image.cluster_id
    if version >= 7:
        assert topic.partitions[0].leader_epoch == 0
    if version >= 10:
        assert topic.topic_id == one_broker.services.metadata.topic_id("t")


@pytest.mark.parametrize("version", ALL_VERSIONS)
async def test_all_topics_and_none(one_broker: Any, version: int) -> None:
    await create(one_broker, "a", "b")
    empty = await one_broker.ask(metadata, MetadataRequest(topics=[]), version)
    assert [topic.name for topic in empty.topics] == (["a", "b"] if version == 0 else [])
    if version >= 1:
        everything = await one_broker.ask(metadata, MetadataRequest(topics=None), version)
        assert [topic.name for topic in everything.topics] == ["a", "b"]


@pytest.mark.parametrize("version", [0, 4, 13])
async def test_a_missing_topic_is_made_and_led_at_once(one_broker: Any, version: int) -> None:
    answer = await one_broker.ask(metadata, asking("new"), version)
    assert answer.topics[0].error_code == ErrorCode.NONE
    assert answer.topics[0].partitions[0].leader_id == 1
    assert (one_broker.directory / "new-0").is_dir()


async def test_a_client_may_forbid_that(one_broker: Any) -> None:
    answer = await one_broker.ask(metadata, asking("new", allow_auto_topic_creation=False), 4)
    assert answer.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert one_broker.services.metadata.topic("new") is None


async def test_and_so_may_the_broker(start_broker: Callable[..., Any]) -> None:
    broker = await start_broker(auto_create_topics_enable=False)
    answer = await broker.ask(metadata, asking("new"), 9)
    assert answer.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_why_a_topic_could_not_be_made(start_broker: Callable[..., Any]) -> None:
    broker = await start_broker(default_replication_factor=3)
    answer = await broker.ask(metadata, asking("new"), 9)
    assert answer.topics[0].error_code == ErrorCode.INVALID_REPLICATION_FACTOR


@pytest.mark.parametrize("allowed", [True, False])
async def test_invalid_names(one_broker: Any, allowed: bool) -> None:
    answer = await one_broker.ask(metadata, asking("a b", "", allow_auto_topic_creation=allowed), 9)
    assert [topic.error_code for topic in answer.topics] == [ErrorCode.INVALID_TOPIC_EXCEPTION] * 2


async def test_a_topic_asked_for_twice_is_answered_once(one_broker: Any) -> None:
    answer = await one_broker.ask(metadata, asking("t", "t"), 9)
    assert len(answer.topics) == 1


async def test_internal_topics_are_made_as_they_should_be_and_marked(one_broker: Any) -> None:
    answer = await one_broker.ask(metadata, asking("__consumer_offsets", "t"), 9)
    assert [(topic.is_internal, len(topic.partitions)) for topic in answer.topics] == [(True, 50), (False, 1)]


async def test_topics_by_id(one_broker: Any) -> None:
    await create(one_broker, "t")
    known = one_broker.services.metadata.topic_id("t")
    request = MetadataRequest(
        topics=[
            MetadataRequest.Topic(name=None, topic_id=known),
            MetadataRequest.Topic(name=None, topic_id=UUID(int=7)),
        ]
    )
    first, second = (await one_broker.ask(metadata, request, 12)).topics
    assert (first.error_code, first.name, first.topic_id) == (ErrorCode.NONE, "t", known)
    assert (second.error_code, second.name, second.topic_id) == (ErrorCode.UNKNOWN_TOPIC_ID, None, UUID(int=7))


@pytest.mark.parametrize("version", [10, 11])
async def test_versions_that_have_ids_but_cannot_be_asked_by_them(one_broker: Any, version: int) -> None:
    topics = [MetadataRequest.Topic(name=None, topic_id=UUID(int=7)), MetadataRequest.Topic(name=None)]
    answer = await one_broker.ask(metadata, MetadataRequest(topics=topics), version)
    assert [topic.error_code for topic in answer.topics] == [ErrorCode.INVALID_REQUEST] * 2


async def test_authorized_operations_where_asked_for(one_broker: Any) -> None:
    asked = asking("t", include_cluster_authorized_operations=True, include_topic_authorized_operations=True)
    answer = await one_broker.ask(metadata, asked, 8)
    assert (answer.cluster_authorized_operations, answer.topics[0].topic_authorized_operations) == (8096, 3576)
    answer = await one_broker.ask(metadata, asking("t"), 8)
    assert answer.cluster_authorized_operations == answer.topics[0].topic_authorized_operations == -(1 << 31)


async def test_the_address_is_the_one_at_which_the_client_came(one_broker: Any) -> None:
    answer = await one_broker.ask(metadata, asking("t"), 9, local_address=("::1", 32000))
    assert [(broker.host, broker.port) for broker in answer.brokers] == [("::1", 32000)]


@pytest.mark.parametrize(("version", "code"), [(5, "LEADER_NOT_AVAILABLE"), (6, "LISTENER_NOT_FOUND")])
async def test_leaders_that_are_gone_or_out_of_reach(one_broker: Any, version: int, code: str) -> None:
    cache = one_broker.services.metadata
    states = {
        0: PartitionState(2, 3, (2,), (2, 9), 0, 1),
        1: PartitionState(9, 3, (9,), (9,), 0, 1),
    }
    hidden = BrokerImage(2, {"INTERNAL": Endpoint("h", 1, "PLAINTEXT")})
    image = cache.image.with_brokers(*cache.image.brokers.values(), hidden)
    cache.publish(image.with_topics(TopicImage("t", UUID(int=5), states)))
    (topic,) = (await one_broker.ask(metadata, asking("t"), version)).topics
    assert [one.error_code for one in topic.partitions] == [ErrorCode[code], ErrorCode.LEADER_NOT_AVAILABLE]
    assert [one.leader_id for one in topic.partitions] == [-1, -1]
    assert [one.offline_replicas for one in topic.partitions] == [[9], [9]]


def describing(*names: str, **fields: Any) -> DescribeTopicPartitionsRequest:
    topics = [DescribeTopicPartitionsRequest.Topic(name=name) for name in names]
    return DescribeTopicPartitionsRequest(topics=topics, **fields)


def pages(answer: Any) -> list[tuple[str, list[int]]]:
    return [(topic.name, [one.partition_index for one in topic.partitions]) for topic in answer.topics]


async def test_topics_are_described_in_order(one_broker: Any) -> None:
    await create(one_broker, "b", "a", partitions=2)
    answer = await one_broker.ask(describe_topic_partitions, describing("b", "none", "a", "x y"), 0)
    assert pages(answer) == [("a", [0, 1]), ("b", [0, 1]), ("none", []), ("x y", [])]
    assert [topic.error_code for topic in answer.topics] == [
        ErrorCode.NONE,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
    ]
    assert answer.next_cursor is None
    assert answer.topics[0].partitions[0].leader_id == 1
    assert one_broker.services.metadata.topic("none") is None


async def test_pages_follow_the_cursor_to_the_end(one_broker: Any) -> None:
    await create(one_broker, "a", "b", "c", partitions=2)
    cursor, found = None, []
    for _ in range(10):
        request = describing(response_partition_limit=3, cursor=cursor)
        answer = await one_broker.ask(describe_topic_partitions, request, 0)
        found.append(pages(answer))
        if answer.next_cursor is None:
            break
        cursor = DescribeTopicPartitionsRequest.Cursor(
            topic_name=answer.next_cursor.topic_name, partition_index=answer.next_cursor.partition_index
        )
    assert found == [[("a", [0, 1]), ("b", [0])], [("b", [1]), ("c", [0, 1])]]


async def test_a_page_that_ends_with_a_topic_leads_to_the_next_one(one_broker: Any) -> None:
    await create(one_broker, "a", "b", partitions=2)
    answer = await one_broker.ask(describe_topic_partitions, describing(response_partition_limit=2), 0)
    assert pages(answer) == [("a", [0, 1])]
    assert (answer.next_cursor.topic_name, answer.next_cursor.partition_index) == ("b", 0)


async def test_the_brokers_own_limit(start_broker: Callable[..., Any]) -> None:
    broker = await start_broker(max_request_partition_size_limit=1)
    await create(broker, "a", partitions=2)
    answer = await broker.ask(describe_topic_partitions, describing(), 0)
    assert pages(answer) == [("a", [0])]


@pytest.mark.parametrize(("topic", "partition"), [("a", -1), ("c", 0)])
async def test_a_cursor_that_leads_nowhere(one_broker: Any, topic: str, partition: int) -> None:
    cursor = DescribeTopicPartitionsRequest.Cursor(topic_name=topic, partition_index=partition)
    answer = await one_broker.ask(describe_topic_partitions, describing("b", "a", cursor=cursor), 0)
    assert [(one.name, one.error_code) for one in answer.topics] == [
        ("a", ErrorCode.INVALID_REQUEST),
        ("b", ErrorCode.INVALID_REQUEST),
    ]


async def test_all_topics_are_encoded_once_until_something_changes(one_broker: Any) -> None:
    await create(one_broker, "a")
    kept = one_broker.services.metadata.encoded
    assert [topic.name for topic in (await one_broker.ask(metadata, MetadataRequest(topics=None), 12)).topics] == ["a"]
    (encoded,) = kept.values()
    again = await one_broker.ask(metadata, MetadataRequest(topics=None), 12)
    assert ([topic.name for topic in again.topics], list(kept.values())) == (["a"], [encoded])
    elsewhere = await one_broker.ask(metadata, MetadataRequest(topics=None), 12, local_address=("10.0.0.1", 19092))
    assert [(broker.host, broker.port) for broker in elsewhere.brokers] == [("10.0.0.1", 19092)]
    asked = MetadataRequest(topics=None, include_topic_authorized_operations=True)
    assert (await one_broker.ask(metadata, asked, 12)).topics[0].topic_authorized_operations > 0
    await create(one_broker, "b")
    everything = await one_broker.ask(metadata, MetadataRequest(topics=None), 12)
    assert [topic.name for topic in everything.topics] == ["a", "b"]


async def test_answers_kept_are_few(one_broker: Any) -> None:
    for port in range(100):
        await one_broker.ask(metadata, MetadataRequest(topics=None), 12, local_address=("127.0.0.1", port))
    assert len(one_broker.services.metadata.encoded) <= MAX_ENCODED
