"""Share groups as members and administrators see them over the wire (KIP-932)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest
from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest
from pykbroker.protocol.messages.delete_share_group_offsets import DeleteShareGroupOffsetsRequest
from pykbroker.protocol.messages.describe_share_group_offsets import DescribeShareGroupOffsetsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.protocol.messages.share_acknowledge import ShareAcknowledgeRequest
from pykbroker.protocol.messages.share_fetch import ShareFetchRequest
from pykbroker.protocol.messages.share_group_describe import ShareGroupDescribeRequest
from pykbroker.protocol.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from pykbroker.protocol.messages.update_features import UpdateFeaturesRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.process import BrokerProcess

LONG = 20_000

_groups = count()


class Member:
    """A member of a share group, as far as its coordinator is concerned, and a fetch or two."""

    def __init__(self, wire: Any, group: str | None = None, name: str = "m1") -> None:
        self.wire = wire
        self.group = group or f"share-{next(_groups)}"
        self.name = name
        self.epoch = 0
        request = FindCoordinatorRequest(key_type=0, coordinator_keys=[self.group])
        assert wire.request(request, 6).coordinators[0].error_code == E.NONE

    def beat(self, topics: list[Any] | None = None, epoch: int | None = None, **fields: Any) -> Any:
        values = {
            "group_id": self.group,
            "member_id": self.name,
            "member_epoch": self.epoch if epoch is None else epoch,
            "subscribed_topic_names": None if topics is None else [topic.name for topic in topics],
        }
        answer = self.wire.request(ShareGroupHeartbeatRequest(**(values | fields)), 1)
        if answer.error_code == E.NONE:
            self.epoch = answer.member_epoch
        return answer

    def assigned(self, *topics: Any) -> dict[Any, list[int]]:
        """What it is told to read, after as many heartbeats as that takes."""
        answer = self.beat(list(topics) or None)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if answer.assignment is not None and answer.assignment.topic_partitions:
                return {one.topic_id: one.partitions for one in answer.assignment.topic_partitions}
            time.sleep(0.02)
            answer = self.beat()
        raise AssertionError("nothing is assigned")

    def fetch(self, topic: Any, epoch: int = 0) -> list[tuple[int, int, int]]:
        parts = [ShareFetchRequest.Topic.Partition(partition_index=0)]
        request = ShareFetchRequest(
            group_id=self.group,
            member_id=self.name,
            share_session_epoch=epoch,
            max_wait_ms=LONG,
            min_bytes=1,
            max_bytes=1 << 20,
            max_records=500,
            batch_size=500,
            topics=[ShareFetchRequest.Topic(topic_id=topic.id, partitions=parts)],
        )
        (partition,) = self.wire.request(request, 2).responses[0].partitions
        assert partition.error_code == E.NONE, partition
        return [(one.first_offset, one.last_offset, one.delivery_count) for one in partition.acquired_records]

    def accept(self, topic: Any, first: int, last: int, epoch: int = 1) -> None:
        cls = ShareAcknowledgeRequest.Topic
        batch = cls.Partition.AcknowledgementBatch(first_offset=first, last_offset=last, acknowledge_types=[1])
        part = cls.Partition(partition_index=0, acknowledgement_batches=[batch])
        request = ShareAcknowledgeRequest(
            group_id=self.group,
            member_id=self.name,
            share_session_epoch=epoch,
            topics=[cls(topic_id=topic.id, partitions=[part])],
        )
        assert self.wire.request(request, 2).responses[0].partitions[0].error_code == E.NONE

    def leave(self) -> None:
        assert self.beat(epoch=-1).member_epoch == -1
        self.epoch = 0

    def offsets(self, topic: Any | None = None) -> dict[tuple[str, int], tuple[int, int]]:
        """Start and lag by partition; with no topic of all that there is."""
        group = DescribeShareGroupOffsetsRequest.Group
        topics = None if topic is None else [group.Topic(topic_name=topic.name, partitions=[0])]
        request = DescribeShareGroupOffsetsRequest(groups=[group(group_id=self.group, topics=topics)])
        (answer,) = self.wire.request(request, 1).groups
        assert answer.error_code == E.NONE, answer
        return {
            (one.topic_name, part.partition_index): (part.start_offset, part.lag)
            for one in answer.topics
            for part in one.partitions
        }

    def alter(self, topic: Any, start: int) -> int:
        cls = AlterShareGroupOffsetsRequest.Topic
        parts = [cls.Partition(partition_index=0, start_offset=start)]
        request = AlterShareGroupOffsetsRequest(
            group_id=self.group, topics=[cls(topic_name=topic.name, partitions=parts)]
        )
        answer = self.wire.request(request, 0)
        return int(answer.error_code or answer.responses[0].partitions[0].error_code)

    def forget(self, topic: Any) -> int:
        cls = DeleteShareGroupOffsetsRequest
        answer = self.wire.request(cls(group_id=self.group, topics=[cls.Topic(topic_name=topic.name)]), 0)
        return int(answer.error_code or answer.responses[0].error_code)

    def delete(self) -> int:
        return int(self.wire.request(DeleteGroupsRequest(groups_names=[self.group]), 2).results[0].error_code)


def batch(records: int = 10) -> bytes:
    return build_batch([(b"k", b"v")] * records, timestamp=int(time.time() * 1000))


@pytest.fixture(scope="module")
def shared_broker() -> Any:
    """One broker for the module, which assigns at once."""
    config = {"group.share.assignment.interval.ms": "0"}
    with KafkaBroker(config=config) as broker:
        yield broker


def test_a_member_is_assigned_reads_and_goes(wire: Any) -> None:
    topic, member = wire.topic(partitions=2), Member(wire)
    assert member.assigned(topic) == {topic.id: [0, 1]}
    other = Member(wire, member.group, "m2")
    assert other.assigned(topic) == {topic.id: [1]}
    (group,) = wire.request(ShareGroupDescribeRequest(group_ids=[member.group]), 1).groups
    assert (group.error_code, group.group_state, group.assignor_name, len(group.members)) == (0, "Stable", "simple", 2)
    (listed,) = wire.request(ListGroupsRequest(types_filter=["share"], states_filter=["stable"]), 5).groups
    assert (listed.group_id, listed.group_type) == (member.group, "share")
    other.leave()
    member.leave()
    (group,) = wire.request(ShareGroupDescribeRequest(group_ids=[member.group]), 1).groups
    assert group.group_state == "Empty"
    assert member.delete() == E.NONE
    (group,) = wire.request(ShareGroupDescribeRequest(group_ids=[member.group]), 1).groups
    assert (group.error_code, group.error_message) == (E.GROUP_ID_NOT_FOUND, f"Group {member.group} not found.")


def test_offsets_are_described_altered_and_deleted(wire: Any, wire_to: Callable[..., Any], shared_broker: Any) -> None:
    topic, member = wire.topic(), Member(wire_to(shared_broker))
    wire.produce(topic, batch(10))
    assert member.offsets() == {}
    assert member.offsets(topic) == {(topic.name, 0): (-1, -1)}
    assert member.alter(topic, 2) == E.NONE
    assert member.offsets(topic) == {(topic.name, 0): (2, 8)}
    member.assigned(topic)
    assert member.fetch(topic) == [(2, 9, 1)]
    member.accept(topic, 5, 6)
    assert member.offsets() == {(topic.name, 0): (2, 6)}
    assert member.alter(topic, 0) == E.NON_EMPTY_GROUP
    assert member.forget(topic) == E.NON_EMPTY_GROUP
    assert member.delete() == E.NON_EMPTY_GROUP
    member.leave()
    member.wire.close()
    member = Member(wire, member.group)
    assert member.alter(topic, 4) == E.NONE
    assert member.offsets() == {(topic.name, 0): (4, 6)}
    assert member.forget(topic) == E.NONE
    assert member.offsets() == {}
    assert member.forget(topic) == E.UNKNOWN_TOPIC_OR_PARTITION
    assert member.delete() == E.NONE


def test_a_deleted_topic_is_forgotten(wire: Any) -> None:
    topic, member = wire.topic(), Member(wire)
    member.assigned(topic)
    assert list(member.offsets()) == [(topic.name, 0)]
    wire.delete(topic)
    assert member.offsets() == {}


@pytest.mark.parametrize("name", ["", "x" * 37])
def test_a_member_has_a_name(wire: Any, name: str) -> None:
    answer = Member(wire, name=name).beat([])
    assert (answer.error_code, answer.error_message) == (E.INVALID_REQUEST, "Invalid member id in the request.")


def test_without_the_feature_there_are_no_share_groups() -> None:
    from pykbroker.testing.client import WireClient

    with KafkaBroker() as broker, WireClient(broker.host, broker.port) as client:
        change = UpdateFeaturesRequest.FeatureUpdate(feature="share.version", max_version_level=0, upgrade_type=2)
        assert client.request(UpdateFeaturesRequest(feature_updates=[change]), 1).error_code == E.NONE
        heartbeat = ShareGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=0)
        assert client.request(heartbeat, 1).error_code == E.UNSUPPORTED_VERSION
        assert client.request(ShareFetchRequest(group_id="g", member_id="m"), 2).error_code == E.UNSUPPORTED_VERSION
        (group,) = client.request(ShareGroupDescribeRequest(group_ids=["g"]), 1).groups
        assert group.error_code == E.UNSUPPORTED_VERSION


@pytest.mark.slow
def test_a_killed_broker_knows_its_share_groups(tmp_path: Path, wire_to: Callable[..., Any]) -> None:
    config = {"group.share.assignment.interval.ms": "0"}
    with BrokerProcess(data_dir=tmp_path, config=config) as broker:
        wire = wire_to(broker)
        topic, member = wire.topic(), Member(wire, "g")
        assert member.alter(topic, 0) == E.NONE
        wire.produce(topic, batch(10))
        member.assigned(topic)
        assert member.fetch(topic) == [(0, 9, 1)]
        member.accept(topic, 0, 3)
        broker.kill()
        broker.start()
        again = Member(wire_to(broker), "g")
        assert again.beat(epoch=member.epoch).error_code == E.NONE
        assert again.offsets() == {(topic.name, 0): (0, 6)}  # The start is stored with the next change.
        assert again.fetch(topic) == [(4, 9, 1)]
