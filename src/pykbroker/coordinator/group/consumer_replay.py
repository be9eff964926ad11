"""How the records of consumer groups change them: the only place where their state does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.consumer_member import ConsumerMember
from pykbroker.coordinator.group.consumer_records import target_of, with_current, with_metadata
from pykbroker.coordinator.group.records import read_key, read_value, record_type
from pykbroker.coordinator.group.topic_patterns import ResolvedPattern
from pykbroker.coordinator.result import Record
from pykbroker.protocol.stored.consumer_group import (
    ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey,
    ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue,
)

NO_TARGETS = -1
"""The target epoch of a group whose targets are void: it is about to go."""

_KEYS = (
    ConsumerGroupMetadataKey,
    ConsumerGroupPartitionMetadataKey,
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupRegularExpressionKey,
)
_BY_TYPE: Mapping[int, type[Any]] = {kind.key: kind for kind in _KEYS}

RECORD_TYPES = tuple(_BY_TYPE)


def record_group(record: Record) -> str:
    """The group that a record is of. Raises MalformedMessage."""
    group_id: str = read_key(record, _BY_TYPE[record_type(record)]).group_id
    return group_id


def replay(group: ConsumerGroup, record: Record) -> bool:
    """Takes a record for the truth; False once the group is gone. Raises MalformedMessage."""
    kind = record_type(record)
    if kind == ConsumerGroupMetadataKey.key:
        epoch = read_value(record, ConsumerGroupMetadataValue)
        if epoch is None:
            return False
        group.epoch, group.metadata_hash = epoch.epoch, epoch.metadata_hash
    elif kind == ConsumerGroupPartitionMetadataKey.key:
        group.has_legacy_record = record.value is not None
    elif kind == ConsumerGroupMemberMetadataKey.key:
        _replay_member(group, record)
    elif kind == ConsumerGroupTargetAssignmentMetadataKey.key:
        target = read_value(record, ConsumerGroupTargetAssignmentMetadataValue)
        group.target_epoch = NO_TARGETS if target is None else target.assignment_epoch
        group.target_timestamp_ms = 0 if target is None else target.assignment_timestamp
    elif kind == ConsumerGroupTargetAssignmentMemberKey.key:
        _replay_target(group, record)
    elif kind == ConsumerGroupCurrentMemberAssignmentKey.key:
        _replay_current(group, record)
    else:
        _replay_pattern(group, record)
    return True


def _replay_member(group: ConsumerGroup, record: Record) -> None:
    member_id = read_key(record, ConsumerGroupMemberMetadataKey).member_id
    value = read_value(record, ConsumerGroupMemberMetadataValue)
    if value is None:
        group.remove_member(member_id)
    else:
        group.put_member(with_metadata(_member(group, member_id), value))


def _replay_target(group: ConsumerGroup, record: Record) -> None:
    member_id = read_key(record, ConsumerGroupTargetAssignmentMemberKey).member_id
    value = read_value(record, ConsumerGroupTargetAssignmentMemberValue)
    if value is None:
        group.targets.pop(member_id, None)
    else:
        group.targets[member_id] = target_of(value)


def _replay_current(group: ConsumerGroup, record: Record) -> None:
    member_id = read_key(record, ConsumerGroupCurrentMemberAssignmentKey).member_id
    value = read_value(record, ConsumerGroupCurrentMemberAssignmentValue)
    if value is None:
        group.reset_member(member_id)
    else:
        group.put_member(with_current(_member(group, member_id), value))


def _replay_pattern(group: ConsumerGroup, record: Record) -> None:
    pattern = read_key(record, ConsumerGroupRegularExpressionKey).regular_expression
    value = read_value(record, ConsumerGroupRegularExpressionValue)
    if value is None:
        group.patterns.pop(pattern, None)
    else:
        group.patterns[pattern] = ResolvedPattern(frozenset(value.topics), value.timestamp)


def _member(group: ConsumerGroup, member_id: str) -> ConsumerMember:
    return group.members.get(member_id) or ConsumerMember(member_id=member_id)
