"""The records of classic groups and committed offsets: how they are written, and how they are read again.

Written are the forms that every Kafka from 2.1 to 4.3 reads (group value 3, offset value 3, or 1 with an expiry); all
versions are read. Other kinds of groups have records of their own, told apart by the type in the key.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from pykbroker.coordinator.group.member import ClassicMember
from pykbroker.coordinator.result import Record
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.message import Message
from pykbroker.protocol.stored.group_metadata import GroupMetadataKey, GroupMetadataValue
from pykbroker.protocol.stored.offset_commit import OffsetCommitKey, OffsetCommitValue
from pykbroker.protocol.topic_partition import TopicPartition

LEGACY_OFFSET_KEY, OFFSET_KEY, GROUP_KEY = 0, 1, 2
GROUP_VALUE_VERSION = 3
OFFSET_VALUE_VERSION = 3
EXPIRING_OFFSET_VALUE_VERSION = 1
"""The only version with an expiry of its own, which OffsetCommit 2-4 may ask for."""

K = TypeVar("K", bound=Message)

_PREFIX = struct.Struct(">h")


class CommittedOffset(NamedTuple):
    """What a group has committed for a partition; times in milliseconds since the epoch, -1 for none."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int = -1


class StoredMember(NamedTuple):
    """A member of a written generation."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    assignment: bytes

    @classmethod
    def of(cls, member: ClassicMember, protocol: str | None, assignment: bytes) -> StoredMember:
        """A live member as its record has it."""
        return cls(
            member.member_id,
            member.group_instance_id,
            member.client_id,
            member.client_host,
            member.rebalance_timeout_ms,
            member.session_timeout_ms,
            member.metadata(protocol),
            assignment,
        )

    def member(self, protocol: str | None) -> ClassicMember:
        """The member that a load finds; of its protocols the chosen one is known alone."""
        return ClassicMember(
            self.member_id,
            self.group_instance_id,
            self.client_id,
            self.client_host,
            self.session_timeout_ms if self.rebalance_timeout_ms < 0 else self.rebalance_timeout_ms,
            self.session_timeout_ms,
            ((protocol or "", self.subscription),),
            self.assignment,
            is_new=False,
            is_restored=True,
        )


@dataclass(slots=True)
class StoredGroup:
    """A written generation."""

    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    state_timestamp_ms: int
    members: list[StoredMember] = field(default_factory=list)


class OffsetEntry(NamedTuple):
    """An offset's record; no offset is a tombstone."""

    group_id: str
    topic_partition: TopicPartition
    committed: CommittedOffset | None


def group_record(group_id: str, group: StoredGroup | None) -> Record:
    """Writes a generation, or with None the group's tombstone."""
    key = _PREFIX.pack(GROUP_KEY) + GroupMetadataKey(group=group_id).encode(0)
    if group is None:
        return Record(key, None)
    value = GroupMetadataValue(
        protocol_type=group.protocol_type,
        generation=group.generation,
        protocol=group.protocol,
        leader=group.leader,
        current_state_timestamp=group.state_timestamp_ms,
        members=[
            GroupMetadataValue.Member(
                member_id=m.member_id,
                group_instance_id=m.group_instance_id,
                client_id=m.client_id,
                client_host=m.client_host,
                rebalance_timeout=m.rebalance_timeout_ms,
                session_timeout=m.session_timeout_ms,
                subscription=m.subscription,
                assignment=m.assignment,
            )
            for m in group.members
        ],
    )
    return Record(key, _PREFIX.pack(GROUP_VALUE_VERSION) + value.encode(GROUP_VALUE_VERSION))


def offset_record(group_id: str, tp: TopicPartition, committed: CommittedOffset | None) -> Record:
    """Writes a committed offset, or with None its tombstone."""
    key_body = OffsetCommitKey(group=group_id, topic=tp.topic, partition=tp.partition).encode(0)
    key = _PREFIX.pack(OFFSET_KEY) + key_body
    if committed is None:
        return Record(key, None)
    value = OffsetCommitValue(
        offset=committed.offset,
        leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        commit_timestamp=committed.commit_timestamp_ms,
        expire_timestamp=committed.expire_timestamp_ms,
    )
    version = OFFSET_VALUE_VERSION if committed.expire_timestamp_ms < 0 else EXPIRING_OFFSET_VALUE_VERSION
    return Record(key, _PREFIX.pack(version) + value.encode(version))


def keyed(key: Message) -> bytes:
    """A key of any kind: its type, then itself."""
    return _PREFIX.pack(type(key).key) + key.encode(0)


def valued(value: Message, version: int = 0) -> bytes:
    """A value of any kind: its version, then itself."""
    return _PREFIX.pack(version) + value.encode(version)


def tombstone(key: Message) -> Record:
    """What makes the record of this key void."""
    return Record(keyed(key), None)


def read_key(record: Record, kind: type[K]) -> K:
    """The key of a record whose type is known. Raises MalformedMessage."""
    return kind.decode(record.key, 0, _PREFIX.size)


def read_value(record: Record, kind: type[K]) -> K | None:
    """The value; None for a tombstone. Raises MalformedMessage."""
    data = record.value
    return None if data is None else kind.decode(data, _version(data, kind.versions.high), _PREFIX.size)


def record_type(record: Record) -> int:
    """The type that a key begins with. Raises MalformedMessage."""
    return _prefix(record.key)


def read_group(record: Record) -> tuple[str, StoredGroup | None]:
    """A classic group's id and generation, None for a tombstone. Raises MalformedMessage."""
    group_id = GroupMetadataKey.decode(record.key, 0, _PREFIX.size).group
    return group_id, None if record.value is None else _read_group(record.value)


def read_offset(record: Record) -> OffsetEntry:
    """A committed offset or its tombstone. Raises MalformedMessage."""
    key = OffsetCommitKey.decode(record.key, 0, _PREFIX.size)
    committed = None if record.value is None else _read_offset(record.value)
    return OffsetEntry(key.group, TopicPartition(key.topic, key.partition), committed)


def _read_group(data: bytes) -> StoredGroup:
    value = GroupMetadataValue.decode(data, _version(data, GroupMetadataValue.versions.high), _PREFIX.size)
    return StoredGroup(
        value.protocol_type,
        value.generation,
        value.protocol,
        value.leader,
        value.current_state_timestamp,
        [
            StoredMember(
                m.member_id,
                m.group_instance_id,
                m.client_id,
                m.client_host,
                m.rebalance_timeout,
                m.session_timeout,
                bytes(m.subscription),
                bytes(m.assignment),
            )
            for m in value.members
        ],
    )


def _read_offset(data: bytes) -> CommittedOffset:
    value = OffsetCommitValue.decode(data, _version(data, OffsetCommitValue.versions.high), _PREFIX.size)
    return CommittedOffset(
        value.offset, value.leader_epoch, value.metadata, value.commit_timestamp, value.expire_timestamp
    )


def _prefix(data: bytes) -> int:
    if len(data) < _PREFIX.size:
        raise MalformedMessage(f"a key or value of {len(data)} bytes has no type or version")
    number: int = _PREFIX.unpack_from(data)[0]
    return number


def _version(data: bytes, newest: int) -> int:
    version = _prefix(data)
    if not 0 <= version <= newest:
        raise MalformedMessage(f"a value of version {version}; known are 0 to {newest}")
    return version
