"""CreateTopics, DeleteTopics and CreatePartitions."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from pykbroker.apis.topics import create_partitions, create_topics, delete_topics
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_partitions import CreatePartitionsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.topic_partition import TopicPartition

NewTopic = CreateTopicsRequest.Topic


def creation(*topics: NewTopic, **fields: Any) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=list(topics), **fields)


def new(name: str, partitions: int = 1, factor: int = 1, **fields: Any) -> NewTopic:
    return NewTopic(name=name, num_partitions=partitions, replication_factor=factor, **fields)


@pytest.mark.parametrize("version", range(8))
async def test_creation_in_every_version(one_broker: Any, version: int) -> None:
    config = NewTopic.Config(name="retention.ms", value="5")
    answer = await one_broker.ask(create_topics, creation(new("t", 2, configs=[config])), version)
    (topic,) = answer.topics
    assert (topic.name, topic.error_code) == ("t", ErrorCode.NONE)
    assert (one_broker.directory / "t-1").is_dir()
    assert one_broker.services.replica_manager.log(TopicPartition("t", 1)).config.retention_ms == 5
    if version >= 5:
        assert (topic.num_partitions, topic.replication_factor) == (2, 1)
        configs = {config.name: (config.value, config.config_source) for config in topic.configs}
        assert configs["retention.ms"] == ("5", 1)
        assert configs["cleanup.policy"] == ("delete", 5)
    if version >= 7:
        assert topic.topic_id == one_broker.services.metadata.topic_id("t")


async def test_the_brokers_defaults(start_broker: Callable[..., Any]) -> None:
    broker = await start_broker(num_partitions=3)
    answer = await broker.ask(create_topics, creation(new("t", -1, -1)), 5)
    assert answer.topics[0].num_partitions == 3


async def test_a_placement_by_hand(one_broker: Any) -> None:
    assignments = [NewTopic.Assignment(partition_index=index, broker_ids=[1]) for index in range(2)]
    answer = await one_broker.ask(create_topics, creation(new("t", -1, -1, assignments=assignments)), 7)
    assert answer.topics[0].num_partitions == 2


async def test_each_topic_has_its_own_error(one_broker: Any) -> None:
    request = creation(new("good"), new("bad name"), new("wide", 1, 3), new("twice"), new("twice"))
    answer = await one_broker.ask(create_topics, request, 7)
    assert [topic.error_code for topic in answer.topics] == [
        ErrorCode.NONE,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.INVALID_REPLICATION_FACTOR,
        ErrorCode.INVALID_REQUEST,
    ]
    assert answer.topics[3].error_message == "Duplicate topic name."
    answer = await one_broker.ask(create_topics, creation(new("good")), 7)
    assert answer.topics[0].error_code == ErrorCode.TOPIC_ALREADY_EXISTS


async def test_validating_only(one_broker: Any) -> None:
    answer = await one_broker.ask(create_topics, creation(new("t", 4), validate_only=True), 7)
    assert (answer.topics[0].error_code, answer.topics[0].num_partitions) == (ErrorCode.NONE, 4)
    assert one_broker.services.metadata.topic("t") is None
    assert not (one_broker.directory / "t-0").exists()


def deletion(*names: str) -> DeleteTopicsRequest:
    topics = [DeleteTopicsRequest.Topic(name=name) for name in names]
    return DeleteTopicsRequest(topics=topics, topic_names=list(names))


@pytest.mark.parametrize("version", range(7))
async def test_deletion_in_every_version(one_broker: Any, version: int) -> None:
    await one_broker.ask(create_topics, creation(new("t", 2)), 7)
    before = one_broker.services.metadata.topic_id("t")
    request = deletion("t", "none")
    if version < 6:
        request.topics = []
    answer = await one_broker.ask(delete_topics, request, version)
    assert [(one.name, one.error_code) for one in answer.responses] == [
        ("t", ErrorCode.NONE),
        ("none", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert [path.name for path in one_broker.directory.iterdir() if path.is_dir()] == []
    assert one_broker.services.metadata.topic("t") is None
    await one_broker.ask(create_topics, creation(new("t")), 7)
    assert one_broker.services.metadata.topic_id("t") != before


async def test_deletion_by_id(one_broker: Any) -> None:
    await one_broker.ask(create_topics, creation(new("t"), new("u")), 7)
    known = one_broker.services.metadata.topic_id("t")
    topics = [
        DeleteTopicsRequest.Topic(name=None, topic_id=known),
        DeleteTopicsRequest.Topic(name=None, topic_id=UUID(int=7)),
        DeleteTopicsRequest.Topic(name="u", topic_id=UUID(int=7)),
        DeleteTopicsRequest.Topic(name=None),
    ]
    answer = await one_broker.ask(delete_topics, DeleteTopicsRequest(topics=topics), 6)
    assert [(one.name, one.topic_id, one.error_code) for one in answer.responses] == [
        ("t", known, ErrorCode.NONE),
        (None, UUID(int=7), ErrorCode.UNKNOWN_TOPIC_ID),
        ("u", UUID(int=7), ErrorCode.INVALID_REQUEST),
        (None, UUID(int=0), ErrorCode.INVALID_REQUEST),
    ]
    assert list(one_broker.services.metadata.image.topics) == ["u"]


async def test_a_topic_named_twice_is_kept(one_broker: Any) -> None:
    await one_broker.ask(create_topics, creation(new("t")), 7)
    known = one_broker.services.metadata.topic_id("t")
    topics = [DeleteTopicsRequest.Topic(name="t"), DeleteTopicsRequest.Topic(name=None, topic_id=known)]
    answer = await one_broker.ask(delete_topics, DeleteTopicsRequest(topics=topics), 6)
    assert [one.error_code for one in answer.responses] == [ErrorCode.INVALID_REQUEST]
    assert one_broker.services.metadata.topic("t") is not None


@pytest.mark.parametrize(("version", "code"), [(2, "INVALID_REQUEST"), (3, "TOPIC_DELETION_DISABLED")])
async def test_deletion_may_be_disabled(start_broker: Callable[..., Any], version: int, code: str) -> None:
    broker = await start_broker(delete_topic_enable=False)
    await broker.ask(create_topics, creation(new("t")), 7)
    answer = await broker.ask(delete_topics, DeleteTopicsRequest(topic_names=["t"]), version)
    assert answer.responses[0].error_code == ErrorCode[code]
    assert broker.services.metadata.topic("t") is not None


@pytest.mark.parametrize("version", range(4))
async def test_growth_in_every_version(one_broker: Any, version: int) -> None:
    await one_broker.ask(create_topics, creation(new("t"), new("u")), 7)
    topics = [
        CreatePartitionsRequest.Topic(name="t", count=3, assignments=None),
        CreatePartitionsRequest.Topic(
            name="u", count=2, assignments=[CreatePartitionsRequest.Topic.Assignment(broker_ids=[1])]
        ),
        CreatePartitionsRequest.Topic(name="none", count=3, assignments=None),
    ]
    answer = await one_broker.ask(create_partitions, CreatePartitionsRequest(topics=topics), version)
    assert [(one.name, one.error_code) for one in answer.results] == [
        ("t", ErrorCode.NONE),
        ("u", ErrorCode.NONE),
        ("none", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert (one_broker.directory / "t-2").is_dir()
    assert (one_broker.directory / "u-1").is_dir()


async def test_growth_that_is_refused(one_broker: Any) -> None:
    await one_broker.ask(create_topics, creation(new("t", 3)), 7)
    shrinking = CreatePartitionsRequest.Topic(name="t", count=2, assignments=None)
    answer = await one_broker.ask(create_partitions, CreatePartitionsRequest(topics=[shrinking]), 3)
    assert answer.results[0].error_code == ErrorCode.INVALID_PARTITIONS
    answer = await one_broker.ask(create_partitions, CreatePartitionsRequest(topics=[shrinking, shrinking]), 3)
    assert [one.error_message for one in answer.results] == ["Duplicate topic name."]
    growing = CreatePartitionsRequest.Topic(name="t", count=5, assignments=None)
    validated = CreatePartitionsRequest(topics=[growing], validate_only=True)
    assert (await one_broker.ask(create_partitions, validated, 3)).results[0].error_code == ErrorCode.NONE
    assert len(one_broker.services.metadata.topic("t").partitions) == 3


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(1500, 1.5), (-1, 0)])
async def test_a_topic_is_waited_for_as_long_as_the_client_says(
    one_broker: Any, monkeypatch: pytest.MonkeyPatch, timeout_ms: int, seconds: float
) -> None:
    told: list[float] = []

    async def note(wanted: Any, *, timeout: float, **options: Any) -> list[None]:
        told.append(timeout)
        return [None for _ in wanted]

    monkeypatch.setattr(one_broker.services.controller, "delete_topics", note)
    monkeypatch.setattr(one_broker.services.controller, "create_partitions", note)
    await one_broker.ask(create_topics, creation(new("t"), timeout_ms=timeout_ms), 7)
    await one_broker.ask(delete_topics, DeleteTopicsRequest(topic_names=["t"], timeout_ms=timeout_ms), 5)
    growth = CreatePartitionsRequest.Topic(name="t", count=2, assignments=None)
    await one_broker.ask(create_partitions, CreatePartitionsRequest(topics=[growth], timeout_ms=timeout_ms), 3)
    assert told == [seconds, seconds]
