"""The records of share groups in `__consumer_offsets` (KIP-932).

Group epoch, members' metadata, target epoch, target and current assignments; and which topics' states have begun, are
about to, or are to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from pykbroker.coordinator.group.assignment import NOTHING, Assignment, by_topic
from pykbroker.coordinator.group.modern_group import ModernMember
from pykbroker.coordinator.group.records import keyed, valued
from pykbroker.coordinator.result import Record
from pykbroker.protocol.stored.share_group import (
    ShareGroupCurrentMemberAssignmentKey,
    ShareGroupCurrentMemberAssignmentValue,
    ShareGroupMemberMetadataKey,
    ShareGroupMemberMetadataValue,
    ShareGroupMetadataKey,
    ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataKey,
    ShareGroupStatePartitionMetadataValue,
    ShareGroupTargetAssignmentMemberKey,
    ShareGroupTargetAssignmentMemberValue,
    ShareGroupTargetAssignmentMetadataKey,
    ShareGroupTargetAssignmentMetadataValue,
    TopicPartitionsInfo,
)

STABLE = 0
"""The one state of a share group's member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareMember(ModernMember):
    """A member of a share group."""

    previous_epoch: int = -1
    assigned: Assignment = NOTHING
    """The partitions that it was told to read."""


class TopicState(NamedTuple):
    """The partitions of a topic whose states have begun, or are about to."""

    name: str
    partitions: frozenset[int]


Topics = Mapping[UUID, TopicState]


@dataclass(frozen=True, slots=True)
class ShareTopics:
    """What a share group knows of its share-partitions' states."""

    initializing: Topics = field(default_factory=dict)
    initialized: Topics = field(default_factory=dict)
    deleting: Mapping[UUID, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.initializing or self.initialized or self.deleting)

    @property
    def begun(self) -> Topics:
        """All of which there may be states."""
        return joined(self.initialized, self.initializing)


def joined(one: Topics, other: Topics) -> dict[UUID, TopicState]:
    """The partitions of both."""
    result = dict(one)
    for topic_id, (name, partitions) in other.items():
        known = result.get(topic_id)
        result[topic_id] = TopicState(name, partitions if known is None else known.partitions | partitions)
    return result


def without(topics: Topics, gone: Mapping[UUID, Set[int]]) -> dict[UUID, TopicState]:
    """What is left of the partitions."""
    left = {
        topic_id: TopicState(state.name, state.partitions - gone.get(topic_id, frozenset()))
        for topic_id, state in topics.items()
    }
    return {topic_id: state for topic_id, state in left.items() if state.partitions}


def epoch_record(group_id: str, epoch: int, metadata_hash: int) -> Record:
    """The group's epoch, with the hash of the topics that it was made for."""
    value = ShareGroupMetadataValue(epoch=epoch, metadata_hash=metadata_hash)
    return Record(keyed(ShareGroupMetadataKey(group_id=group_id)), valued(value))


def member_record(group_id: str, member: ShareMember) -> Record:
    """What a member told of itself."""
    value = ShareGroupMemberMetadataValue(
        rack_id=member.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topics),
    )
    return Record(keyed(ShareGroupMemberMetadataKey(group_id=group_id, member_id=member.member_id)), valued(value))


def target_record(group_id: str, member_id: str, assignment: Assignment) -> Record:
    """What a member shall have."""
    cls = ShareGroupTargetAssignmentMemberValue
    value = cls(
        topic_partitions=[
            cls.TopicPartition(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(assignment).items()
        ]
    )
    return Record(keyed(ShareGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)), valued(value))


def target_epoch_record(group_id: str, epoch: int) -> Record:
    """The epoch that all targets are for."""
    value = ShareGroupTargetAssignmentMetadataValue(assignment_epoch=epoch)
    return Record(keyed(ShareGroupTargetAssignmentMetadataKey(group_id=group_id)), valued(value))


def current_record(group_id: str, member: ShareMember) -> Record:
    """What a member was told to read, in which epoch."""
    cls = ShareGroupCurrentMemberAssignmentValue
    value = cls(
        member_epoch=member.epoch,
        previous_member_epoch=member.previous_epoch,
        state=STABLE,
        assigned_partitions=[
            cls.AssignedPartition(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(member.assigned).items()
        ],
    )
    key = ShareGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member.member_id)
    return Record(keyed(key), valued(value))


def topics_record(group_id: str, topics: ShareTopics) -> Record:
    """What is known of the share-partitions' states."""
    cls = ShareGroupStatePartitionMetadataValue
    value = cls(
        initializing_topics=_infos(topics.initializing),
        initialized_topics=_infos(topics.initialized),
        deleting_topics=[
            cls.DeletingTopic(topic_id=topic_id, topic_name=name) for topic_id, name in sorted(topics.deleting.items())
        ],
    )
    return Record(keyed(ShareGroupStatePartitionMetadataKey(group_id=group_id)), valued(value))


def read_topics(value: ShareGroupStatePartitionMetadataValue) -> ShareTopics:
    """What such a record says."""
    return ShareTopics(
        {each.topic_id: TopicState(each.topic_name, frozenset(each.partitions)) for each in value.initializing_topics},
        {each.topic_id: TopicState(each.topic_name, frozenset(each.partitions)) for each in value.initialized_topics},
        {each.topic_id: each.topic_name for each in value.deleting_topics},
    )


def _infos(topics: Topics) -> list[TopicPartitionsInfo]:
    return [
        TopicPartitionsInfo(topic_id=topic_id, topic_name=name, partitions=sorted(partitions))
        for topic_id, (name, partitions) in sorted(topics.items())
    ]
