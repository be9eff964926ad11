"""What may be created and grown, with Kafka's codes and messages."""

from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.image import BrokerImage, ClusterImage, PartitionState, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.topics import (
    Draw,
    NewTopic,
    internal_topic,
    invalid_name,
    plan_creation,
    plan_growth,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError

ONE = ClusterImage("id").with_brokers(BrokerImage(1, {}))
THREE = ClusterImage("id").with_brokers(*(BrokerImage(node, {}) for node in (1, 2, 3)))
DRAW = Draw(UUID(int=9), 0, 0)
CONFIG = BrokerConfig()


def create(image: ClusterImage, broker: BrokerConfig = CONFIG, **fields: Any) -> TopicImage:
    return plan_creation(image, broker, NewTopic(**{"name": "t", **fields}), DRAW, 5)


def refusal(image: ClusterImage, **fields: Any) -> tuple[ErrorCode, str | None]:
    with pytest.raises(KafkaError) as caught:
        create(image, **fields)
    return caught.value.code, caught.value.message


def test_the_brokers_defaults() -> None:
    topic = create(THREE, BrokerConfig(num_partitions=2, default_replication_factor=3))
    assert topic.topic_id == UUID(int=9)
    assert topic.partitions[0] == PartitionState(1, 0, (1, 2, 3), (1, 2, 3), 0, 5)
    assert list(topic.partitions) == [0, 1]


def test_a_placement_by_hand() -> None:
    topic = create(THREE, assignments=[(1, (2, 3)), (0, (3, 1))])
    assert {index: state.replicas for index, state in topic.partitions.items()} == {0: (3, 1), 1: (2, 3)}


def test_overrides_are_kept() -> None:
    topic = plan_creation(ONE, CONFIG, NewTopic("t", config={"retention.ms": "5"}), DRAW, 1)
    assert topic.config == {"retention.ms": "5"}


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"partitions": 0}, ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive"),
        ({"partitions": -2}, ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive"),
        ({"partitions": 10_001}, ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request."),
        ({"replication_factor": 0}, ErrorCode.INVALID_REPLICATION_FACTOR, "must be larger than 0, or -1"),
        ({"replication_factor": 2}, ErrorCode.INVALID_REPLICATION_FACTOR, "only 1 broker(s) are registered."),
        ({"assignments": [(0, (1,))], "partitions": 1}, ErrorCode.INVALID_REQUEST, "numPartitions was not set to -1"),
        (
            {"assignments": [(0, (1,))], "replication_factor": 1},
            ErrorCode.INVALID_REQUEST,
            "replication factor was not set to -1",
        ),
        ({"assignments": [(1, (1,))]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "consecutive 0-based"),
        ({"assignments": [(0, (1,)), (0, (1,))]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "multiple manual partition"),
        ({"assignments": [(0, ())]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "empty replica list"),
        ({"assignments": [(0, (1, 1))]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "the broker 1 more than once"),
        ({"assignments": [(0, (7,))]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "broker 7, but no such broker"),
        ({"config": {"nope": "1"}}, ErrorCode.INVALID_CONFIG, "Unknown topic config name: nope"),
        ({"config": {"retention.ms": None}}, ErrorCode.INVALID_CONFIG, "Null value not supported"),
        ({"config": {"retention.ms": "x"}}, ErrorCode.INVALID_CONFIG, "Invalid value x for configuration retention.ms"),
        ({"name": "a b"}, ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid: 'a b' contains"),
        ({"name": "__cluster_metadata"}, ErrorCode.INVALID_REQUEST, "is prohibited"),
    ],
)
def test_what_may_not_be_created(fields: dict[str, Any], code: ErrorCode, said: str) -> None:
    found, message = refusal(ONE, **fields)
    assert found is code
    assert said in (message or "")


def test_replica_lists_of_different_length() -> None:
    found, message = refusal(THREE, assignments=[(0, (1, 2)), (1, (1,))])
    assert found is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert "1 replica(s), but this is not consistent with previous partitions, which have 2" in (message or "")


def test_a_name_that_is_taken_or_collides() -> None:
    image = ONE.with_topics(create(ONE, name="a.b"))
    assert refusal(image, name="a.b") == (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'a.b' already exists.")
    assert refusal(image, name="a_b")[0] is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert create(image, name="ab").name == "ab"


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249, "...", "__consumer_offsets"])
def test_legal_names(name: str) -> None:
    assert invalid_name(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a/b", "ü", "a\n"])
def test_illegal_names(name: str) -> None:
    assert (invalid_name(name) or "").startswith("Topic name is invalid: ")


def test_growth() -> None:
    topic = create(THREE, partitions=2, replication_factor=2)
    added = plan_growth(THREE.with_topics(topic), "t", 4, None, 0, 6)
    assert list(added) == [2, 3]
    assert added[2].replicas == (3, 1)
    by_hand = plan_growth(THREE.with_topics(topic), "t", 3, [(3, 2)], 0, 6)
    assert by_hand == {2: PartitionState(3, 0, (3, 2), (3, 2), 0, 6)}


@pytest.mark.parametrize(
    ("name", "count", "assignments", "code", "said"),
    [
        ("none", 3, None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ""),
        ("t", 2, None, ErrorCode.INVALID_PARTITIONS, "Topic already has 2 partition(s)."),
        ("t", 1, None, ErrorCode.INVALID_PARTITIONS, "currently has 2 partition(s); 1 would not be an increase."),
        ("t", 20_000, None, ErrorCode.POLICY_VIOLATION, "Excessively large"),
        ("t", 4, [(1,)], ErrorCode.INVALID_REPLICA_ASSIGNMENT, "2 additional partition(s), but only 1 assignment(s)"),
        ("t", 3, [(9,)], ErrorCode.INVALID_REPLICA_ASSIGNMENT, "no such broker"),
        ("t", 3, [(1, 2)], ErrorCode.INVALID_REPLICA_ASSIGNMENT, "not consistent"),
    ],
)
def test_what_may_not_grow(
    name: str, count: int, assignments: list[tuple[int, ...]] | None, code: ErrorCode, said: str
) -> None:
    image = THREE.with_topics(create(THREE, partitions=2, replication_factor=1))
    with pytest.raises(KafkaError) as caught:
        plan_growth(image, name, count, assignments, 0, 6)
    assert caught.value.code is code
    assert said in (caught.value.message or "")


def test_internal_topics_make_do_with_the_brokers_there_are() -> None:
    offsets = internal_topic("__consumer_offsets", CONFIG, 1)
    assert (offsets.partitions, offsets.replication_factor) == (50, 1)
    assert offsets.config["cleanup.policy"] == "compact"
    assert internal_topic("__consumer_offsets", CONFIG, 5).replication_factor == 3
    state = internal_topic("__transaction_state", CONFIG, 1)
    assert state.config["min.insync.replicas"] == "1"
    assert internal_topic("__transaction_state", CONFIG, 3).config["min.insync.replicas"] == "2"
    assert internal_topic("__share_group_state", CONFIG, 1).config["min.insync.replicas"] == "1"
    strict = BrokerConfig(min_insync_replicas=2)
    assert internal_topic("__consumer_offsets", strict, 1).config["min.insync.replicas"] == "1"
    for name in ("__consumer_offsets", "__transaction_state", "__share_group_state"):
        plan_creation(ONE, CONFIG, internal_topic(name, CONFIG, 1), DRAW, 1)
    with pytest.raises(ValueError, match="other"):
        internal_topic("other", CONFIG, 1)
