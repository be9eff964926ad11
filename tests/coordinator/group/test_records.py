"""Records of every version that a Kafka has written are read; those written now are read by every Kafka."""

from __future__ import annotations

import pytest

from pykbroker.coordinator.group.config import GroupConfig
from pykbroker.coordinator.group.records import (
    CommittedOffset,
    OffsetEntry,
    StoredGroup,
    StoredMember,
    group_record,
    offset_record,
    read_group,
    read_offset,
)
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.result import Record
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.stored.group_metadata import GroupMetadataValue
from pykbroker.protocol.stored.offset_commit import OffsetCommitValue
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 3)
MEMBER = StoredMember("m", "host-a", "client", "/10.0.0.1", 60_000, 10_000, b"topics", b"partitions")
GROUP = StoredGroup("consumer", 7, "range", "m", 123, [MEMBER])


def test_what_is_written_is_read() -> None:
    committed = CommittedOffset(5, 2, "mine", 99)
    assert read_group(group_record("g", GROUP)) == ("g", GROUP)
    assert read_group(group_record("g", None)) == ("g", None)
    assert read_offset(offset_record("g", TP, committed)) == OffsetEntry("g", TP, committed)
    assert read_offset(offset_record("g", TP, None)) == OffsetEntry("g", TP, None)
    expiring = committed._replace(leader_epoch=-1, expire_timestamp_ms=500)
    assert read_offset(offset_record("g", TP, expiring)) == OffsetEntry("g", TP, expiring)


@pytest.mark.parametrize("version", range(5))
def test_groups_of_every_version(version: int) -> None:
    value = GroupMetadataValue(
        protocol_type="consumer",
        generation=7,
        protocol="range",
        leader="m",
        current_state_timestamp=123,
        members=[
            GroupMetadataValue.Member(
                member_id="m",
                group_instance_id="host-a",
                client_id="client",
                client_host="/10.0.0.1",
                rebalance_timeout=60_000,
                session_timeout=10_000,
                subscription=b"topics",
                assignment=b"partitions",
            )
        ],
    )
    _, group = read_group(Record(b"\x00\x02\x00\x01g", version.to_bytes(2, "big") + value.encode(version)))
    assert group is not None
    assert group.state_timestamp_ms == (123 if version >= 2 else -1)
    (member,) = group.members
    assert member.group_instance_id == ("host-a" if version >= 3 else None)
    assert member.member("range").rebalance_timeout_ms == (60_000 if version >= 1 else 10_000)


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("kind", [0, 1])
def test_offsets_of_every_version(version: int, kind: int) -> None:
    value = OffsetCommitValue(offset=5, leader_epoch=2, metadata="m", commit_timestamp=99, expire_timestamp=500)
    key = kind.to_bytes(2, "big") + b"\x00\x01g\x00\x01t\x00\x00\x00\x03"
    entry = read_offset(Record(key, version.to_bytes(2, "big") + value.encode(version)))
    epoch, expiry = (2 if version >= 3 else -1), (500 if version == 1 else -1)
    assert entry == OffsetEntry("g", TP, CommittedOffset(5, epoch, "m", 99, expiry))


@pytest.mark.parametrize(
    "record",
    [
        Record(b"", b""),
        Record(b"\x00", b""),
        Record(b"\x00\x02\x00\x05g", None),
        Record(b"\x00\x02\x00\x01g", b""),
        Record(b"\x00\x02\x00\x01g", b"\x00\x05"),
        Record(b"\x00\x02\x00\x01g", b"\xff\xff"),
        Record(b"\x00\x02\x00\x01g", b"\x00\x03\x00\x08cons"),
    ],
)
def test_damage_is_one_kind_of_error(record: Record) -> None:
    with pytest.raises(MalformedMessage):
        GroupShard(GroupConfig()).replay(record)
