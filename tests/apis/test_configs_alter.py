"""AlterConfigs and IncrementalAlterConfigs, over the wire."""

from pathlib import Path
from typing import Any

import pytest

from pykbroker.controller.configs import APPEND, DELETE, SET, SUBTRACT
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_configs import AlterConfigsRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

TOPIC, BROKER = 2, 4
EARLIEST = -2

Answers = list[tuple[ErrorCode, str | None]]


def replace(wire: Any, *topics: tuple[str, dict[str, str | None]], version: int = 2, **fields: Any) -> Answers:
    """The answers of AlterConfigs."""
    resources = [
        AlterConfigsRequest.Resource(
            resource_type=TOPIC,
            resource_name=name,
            configs=[AlterConfigsRequest.Resource.Config(name=key, value=value) for key, value in configs.items()],
        )
        for name, configs in topics
    ]
    return answers(wire.request(AlterConfigsRequest(resources=resources, **fields), version), topics)


def change(
    wire: Any, *topics: tuple[str, list[tuple[str, int, str | None]]], version: int = 1, **fields: Any
) -> Answers:
    """The answers of IncrementalAlterConfigs."""
    config = IncrementalAlterConfigsRequest.Resource.Config
    resources = [
        IncrementalAlterConfigsRequest.Resource(
            resource_type=TOPIC,
            resource_name=name,
            configs=[config(name=key, config_operation=operation, value=value) for key, operation, value in configs],
        )
        for name, configs in topics
    ]
    return answers(wire.request(IncrementalAlterConfigsRequest(resources=resources, **fields), version), topics)


def answers(response: Any, topics: Any) -> Answers:
    assert [(one.resource_type, one.resource_name) for one in response.responses] == [(TOPIC, one[0]) for one in topics]
    return [(ErrorCode(one.error_code), one.error_message) for one in response.responses]


def overrides(wire: Any, name: str) -> dict[str, str]:
    resource = DescribeConfigsRequest.Resource(resource_type=TOPIC, resource_name=name, configuration_keys=None)
    (result,) = wire.request(DescribeConfigsRequest(resources=[resource]), 4).results
    return {config.name: config.value for config in result.configs if config.config_source == 1}


FINE: Answers = [(ErrorCode.NONE, None)]


@pytest.mark.parametrize("version", range(3))
def test_all_overrides_are_replaced(wire: Any, version: int) -> None:
    topic = wire.topic(retention_ms="5", flush_ms="9")
    assert replace(wire, (topic.name, {"retention.ms": "6"}), version=version, validate_only=True) == FINE
    assert overrides(wire, topic.name) == {"retention.ms": "5", "flush.ms": "9"}
    assert replace(wire, (topic.name, {"retention.ms": "6", "max.message.bytes": "100"}), version=version) == FINE
    assert overrides(wire, topic.name) == {"retention.ms": "6", "max.message.bytes": "100"}
    assert replace(wire, (topic.name, {}), version=version) == FINE
    assert overrides(wire, topic.name) == {}


@pytest.mark.parametrize("version", range(2))
def test_single_keys_are_changed(wire: Any, version: int) -> None:
    topic = wire.topic(flush_ms="9")
    asked: list[tuple[str, int, str | None]] = [("retention.ms", SET, "6"), ("cleanup.policy", APPEND, "compact")]
    assert change(wire, (topic.name, asked), version=version, validate_only=True) == FINE
    assert overrides(wire, topic.name) == {"flush.ms": "9"}
    assert change(wire, (topic.name, asked), version=version) == FINE
    assert overrides(wire, topic.name) == {"flush.ms": "9", "retention.ms": "6", "cleanup.policy": "delete,compact"}
    asked = [("flush.ms", DELETE, None), ("cleanup.policy", SUBTRACT, "delete")]
    assert change(wire, (topic.name, asked), version=version) == FINE
    assert overrides(wire, topic.name) == {"retention.ms": "6", "cleanup.policy": "compact"}


@pytest.mark.parametrize("version", range(3))
def test_errors_of_a_replacement_in_the_order_of_the_request(wire: Any, version: int) -> None:
    topics = [wire.topic().name for _ in range(4)]
    asked = [
        (topics[0], {"retention.ms": "soon"}),
        ("unknown", {"retention.ms": "6"}),
        (topics[1], {"retention.ms": "6"}),
        (topics[2], {"no.such.key": "6"}),
        (topics[3], {"retention.ms": None}),
    ]
    assert replace(wire, *asked, version=version) == [
        (ErrorCode.INVALID_CONFIG, "Invalid value soon for configuration retention.ms: Not a number of type LONG"),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'unknown' does not exist."),
        (ErrorCode.NONE, None),
        (ErrorCode.INVALID_CONFIG, "Unknown topic config name: no.such.key"),
        (ErrorCode.INVALID_REQUEST, "Null value not supported for : retention.ms"),
    ]
    assert [overrides(wire, name) for name in topics] == [{}, {"retention.ms": "6"}, {}, {}]


@pytest.mark.parametrize("version", range(2))
@pytest.mark.parametrize("validate_only", [False, True])
def test_errors_of_changes(wire: Any, version: int, validate_only: bool) -> None:
    topics = [wire.topic().name for _ in range(3)]
    asked: list[tuple[str, list[tuple[str, int, str | None]]]] = [
        (topics[0], [("retention.ms", APPEND, "6")]),
        (topics[1], [("retention.ms", SET, "6"), ("retention.ms", DELETE, None)]),
        ("unknown", [("retention.ms", DELETE, None)]),
        (topics[2], [("flush.ms", SET, "9"), ("compression.type", SET, "rar")]),
    ]
    allowed = "uncompressed, zstd, lz4, snappy, gzip, producer"
    assert change(wire, *asked, version=version, validate_only=validate_only) == [
        (ErrorCode.INVALID_CONFIG, "Can't APPEND to key retention.ms because its type is not LIST."),
        (ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys"),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'unknown' does not exist."),
        (
            ErrorCode.INVALID_CONFIG,
            f"Invalid value rar for configuration compression.type: String must be one of: {allowed}",
        ),
    ]
    assert [overrides(wire, name) for name in topics] == [{}, {}, {}]


def test_a_resource_that_comes_twice_is_not_changed(wire: Any) -> None:
    topic, other = wire.topic().name, wire.topic().name
    twice = (ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
    asked = [(topic, {"retention.ms": "1"}), (other, {"retention.ms": "2"}), (topic, {"retention.ms": "3"})]
    assert replace(wire, *asked) == [twice, FINE[0], twice]
    assert (overrides(wire, topic), overrides(wire, other)) == ({}, {"retention.ms": "2"})
    incremental: Any = [(topic, [("retention.ms", SET, "1")]), (topic, [])]
    assert change(wire, *incremental) == [twice, twice]


def test_an_unknown_type_of_resource(wire: Any) -> None:
    resources = [
        AlterConfigsRequest.Resource(resource_type=BROKER, resource_name="2"),
        AlterConfigsRequest.Resource(resource_type=77, resource_name="1"),
    ]
    answered = wire.request(AlterConfigsRequest(resources=resources), 2).responses
    assert [(one.resource_type, one.error_code) for one in answered] == [
        (BROKER, ErrorCode.INVALID_REQUEST),
        (77, ErrorCode.INVALID_REQUEST),
    ]
    assert answered[0].error_message == "Unexpected broker id, expected 1, but received 2"
    assert answered[1].error_message == "Unknown resource type 77"
    assert wire.request(AlterConfigsRequest(), 2).responses == []


def test_a_size_limit_holds_at_once(wire: Any) -> None:
    topic = wire.topic()
    batch = build_batch([(None, b"x" * 1000)], timestamp=1)
    assert wire.produce(topic, batch).error_code == ErrorCode.NONE
    assert change(wire, (topic.name, [("max.message.bytes", SET, "500")])) == FINE
    assert wire.produce(topic, batch).error_code == ErrorCode.MESSAGE_TOO_LARGE
    assert change(wire, (topic.name, [("max.message.bytes", DELETE, None)])) == FINE
    assert wire.produce(topic, batch).error_code == ErrorCode.NONE


def earliest(wire: Any, name: str) -> int:
    partition = ListOffsetsRequest.Topic.Partition(partition_index=0, timestamp=EARLIEST)
    asked = ListOffsetsRequest.Topic(name=name, partitions=[partition])
    ((found,),) = (topic.partitions for topic in wire.request(ListOffsetsRequest(topics=[asked]), 5).topics)
    offset: int = found.offset
    return offset


def test_records_expire_by_a_changed_retention(wire: Any, shared_broker: KafkaBroker) -> None:
    topic = wire.topic(retention_ms="-1")
    assert wire.produce(topic, build_batch([(None, b"old")], timestamp=1)).error_code == ErrorCode.NONE
    shared_broker.run_retention()
    assert earliest(wire, topic.name) == 0
    assert change(wire, (topic.name, [("retention.ms", SET, "1000")])) == FINE
    shared_broker.run_retention()
    assert earliest(wire, topic.name) == 1


def test_changes_survive_a_restart(tmp_path: Path) -> None:
    with KafkaBroker(data_dir=tmp_path) as broker, WireClient(broker.host, broker.port) as wire:
        wire.request(MetadataRequest(topics=[MetadataRequest.Topic(name="made")]), 8)
        assert change(wire, ("made", [("retention.ms", SET, "1000"), ("flush.ms", SET, "5")])) == FINE
        assert change(wire, ("made", [("flush.ms", DELETE, None)])) == FINE
        data = ProduceRequest.TopicData.PartitionData(index=0, records=build_batch([(None, b"old")], timestamp=1))
        topic = ProduceRequest.TopicData(name="made", partition_data=[data])
        wire.request(ProduceRequest(acks=1, timeout_ms=1000, topic_data=[topic]), 9)
    with KafkaBroker(data_dir=tmp_path) as broker, WireClient(broker.host, broker.port) as wire:
        assert overrides(wire, "made") == {"retention.ms": "1000"}
        broker.run_retention()
        assert earliest(wire, "made") == 1
