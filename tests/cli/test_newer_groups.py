"""`pykbroker groups` on consumer groups of the newer protocol (KIP-848) and on share groups (KIP-932)."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cli.conftest import Command

from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from pykbroker.protocol.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


class Member:
    """A member of the group `mine`, as its coordinator knows it."""

    def __init__(self, client: WireClient, kind: type[Message], version: int, group: str, **fields: Any) -> None:
        self._ask = lambda **more: client.request(kind(group_id=group, member_id="m1", **more), version)
        self._fields = fields
        self.epoch = 0

    def join(self, topic: str) -> None:
        """Until it has the topic's two partitions."""
        fields = {"subscribed_topic_names": [topic], **self._fields}
        while True:
            answer = self._ask(member_epoch=self.epoch, **fields)
            assert answer.error_code == 0, answer
            self.epoch = answer.member_epoch
            if answer.assignment is not None and answer.assignment.topic_partitions:
                assert sorted(answer.assignment.topic_partitions[0].partitions) == [0, 1]
                return

    def leave(self) -> None:
        assert self._ask(member_epoch=-1).error_code == 0


@pytest.fixture
def client(broker: KafkaBroker) -> Iterator[WireClient]:
    with WireClient(broker.host, broker.port) as client:
        yield client


@pytest.fixture
def topic(pykbroker: Command, request: pytest.FixtureRequest) -> str:
    name = request.node.name
    pykbroker("topics", "create", name, "--partitions", 2)
    pykbroker("produce", name, "--value", "a", "--value", "b", "--partition", 0)
    return name


def test_a_consumer_group(pykbroker: Command, client: WireClient, topic: str) -> None:
    pykbroker("groups", "reset-offsets", topic, "--topic", f"{topic}:0", "--to-earliest", "--execute")
    words = {"rebalance_timeout_ms": 60_000, "topic_partitions": []}
    member = Member(client, ConsumerGroupHeartbeatRequest, 1, topic, **words)
    member.join(topic)
    assert [topic, "consumer", "consumer", "Stable"] in pykbroker("groups", "list", "--type", "consumer").rows
    rows = [row[1:] for row in pykbroker("groups", "describe", topic).rows[1:]]
    assert rows == [
        [topic, "0", "0", "2", "2", "m1", "/127.0.0.1", "wire-client"],
        [topic, "1", "-", "0", "-", "m1", "/127.0.0.1", "wire-client"],
    ]
    (found,) = pykbroker("groups", "describe", topic, "--members", "--verbose", "--json").document
    assert (found["epoch"], found["assignment"]) == (member.epoch, f"{topic}:0,1")
    state = pykbroker("groups", "describe", topic, "--state", "--verbose").rows
    assert state[0][-2:] == ["GROUP-EPOCH", "ASSIGNMENT-EPOCH"]
    assert state[1] == [topic, "consumer", "1", "uniform", "Stable", "1", *[str(member.epoch)] * 2]
    ran = pykbroker("groups", "reset-offsets", topic, "--all-topics", "--to-latest", "--execute")
    assert (ran.status, "is Stable, and can only be reset while nobody reads with it" in ran.err) == (1, True)
    ran = pykbroker("groups", "delete-offsets", topic, "--topic", topic)
    assert (ran.status, "(GROUP_SUBSCRIBED_TO_TOPIC); stop the members that read" in ran.err) == (1, True)
    ran = pykbroker("groups", "delete", topic)
    assert (ran.status, "(NON_EMPTY_GROUP); stop its members first" in ran.err) == (1, True)
    member.leave()
    assert pykbroker("groups", "reset-offsets", topic, "--all-topics", "--to-latest", "--execute").rows[1][-1] == "2"
    assert pykbroker("groups", "delete", topic).out == f"deleted group {topic}\n"


def test_a_share_group(pykbroker: Command, client: WireClient, topic: str) -> None:
    pykbroker("configs", "alter", "group", topic, "--set", "share.auto.offset.reset=earliest")
    pykbroker("consume", topic, "--group", "beside")
    member = Member(client, ShareGroupHeartbeatRequest, 1, topic)
    member.join(topic)
    assert [topic, "share", "share", "Stable"] in pykbroker("groups", "list", "--type", "share").rows
    (found,) = pykbroker("groups", "describe", topic, "--members", "--json").document
    assert (found["consumer_id"], found["assignment"]) == ("m1", f"{topic}:0,1")
    assert pykbroker("groups", "describe", topic, "--state").rows[1] == [topic, "share", "1", "simple", "Stable", "1"]
    ran = pykbroker("groups", "reset-offsets", topic, "--topic", topic, "--to-latest", "--execute")
    assert (ran.status, "can only be reset while nobody reads" in ran.err) == (1, True)
    member.leave()
    ran = pykbroker("groups", "reset-offsets", topic, "--topic", topic, "--shift-by", 1)
    assert (ran.status, "is a share group: only to earliest, latest or a time" in ran.err) == (2, True)
    ran = pykbroker("groups", "reset-offsets", topic, "--topic", f"{topic}:0", "--to-latest", "--execute")
    assert (ran.status, ran.rows[1:]) == (0, [[topic, topic, "0", "2"]])
    shown = pykbroker("groups", "describe", topic, "beside").rows
    assert shown[0][3] == "CURRENT-OFFSET"
    heading = shown.index(["GROUP", "TOPIC", "PARTITION", "START-OFFSET", "LAG"])
    assert [topic, topic, "0", "2", "0"] in shown[heading:]
    ran = pykbroker("groups", "delete-offsets", topic, "--topic", f"{topic}:0")
    assert (ran.status, "a share group forgets whole topics" in ran.err) == (2, True)
    assert pykbroker("groups", "delete-offsets", topic, "--topic", topic).out == f"forgot the offsets of {topic}\n"
    assert pykbroker("groups", "delete", topic).out == f"deleted group {topic}\n"
