"""ConsumerGroupHeartbeat and ConsumerGroupDescribe through their bytes, where the newer protocol is served and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

JOIN = ConsumerGroupHeartbeatRequest(
    group_id="g", member_id="m", rebalance_timeout_ms=1000, subscribed_topic_names=["t"], topic_partitions=[]
)
DESCRIBE = ConsumerGroupDescribeRequest(group_ids=["g", "other"], include_authorized_operations=True)


def serving(**options: Any) -> Iterator[WireClient]:
    with KafkaBroker(**options) as broker, WireClient(broker.host, broker.port) as client:
        topic = CreateTopicsRequest.Topic(name="t", num_partitions=2, replication_factor=1)
        client.request(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 5)
        client.request(FindCoordinatorRequest(key="g"), 3)
        yield client


@pytest.fixture
def client() -> Iterator[WireClient]:
    yield from serving()


@pytest.fixture
def classic_only() -> Iterator[WireClient]:
    yield from serving(config={"group.coordinator.rebalance.protocols": "classic"})


def test_a_member_joins_and_is_described(client: WireClient) -> None:
    answer = client.request(JOIN, 1)
    assert (answer.error_code, answer.member_epoch, answer.heartbeat_interval_ms) == (0, 2, 5000)
    assert answer.assignment.topic_partitions[0].partitions == [0, 1]
    group, other = client.request(DESCRIBE, 1).groups
    assert (group.group_state, group.assignor_name, group.group_epoch) == ("Stable", "uniform", 2)
    (member,) = group.members
    assert (member.client_id, member.client_host, member.member_type) == ("wire-client", "/127.0.0.1", 1)
    assert member.assignment.topic_partitions[0].topic_name == "t"
    assert group.authorized_operations > 0
    assert (other.error_code, other.error_message) == (E.GROUP_ID_NOT_FOUND, "Group other not found.")


def test_a_group_without_an_id(client: WireClient) -> None:
    """As Apache Kafka 4.3.0 answers it."""
    nameless, other = client.request(ConsumerGroupDescribeRequest(group_ids=["", "other"]), 1).groups
    assert (nameless.group_id, nameless.error_code, nameless.error_message) == ("", E.INVALID_GROUP_ID, None)
    assert other.error_code == E.GROUP_ID_NOT_FOUND


def test_an_older_member_is_given_its_id(client: WireClient) -> None:
    nameless = ConsumerGroupHeartbeatRequest(
        group_id="g", rebalance_timeout_ms=1000, subscribed_topic_names=["t"], topic_partitions=[]
    )
    assert client.request(nameless, 0).member_id
    assert client.request(nameless, 1).error_code == E.INVALID_REQUEST


def test_a_broker_may_not_serve_the_protocol(classic_only: WireClient) -> None:
    answers: Any = [classic_only.request(JOIN, 1), *classic_only.request(DESCRIBE, 1).groups]
    assert [answer.error_code for answer in answers] == [E.UNSUPPORTED_VERSION] * 3
