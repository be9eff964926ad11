"""The records of consumer groups in `__consumer_offsets`, as Kafka writes them since 4.1, and how they are read.

Group epoch, members' metadata, target epoch, target and current assignments, resolved regular expressions. The older
record of the subscribed topics' metadata is read to be removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pykbroker.coordinator.group.assignment import Assignment, TopicIdPartition, by_topic
from pykbroker.coordinator.group.consumer_member import ClassicProtocol, ConsumerMember, Held, MemberState
from pykbroker.coordinator.group.records import keyed, tombstone, valued
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
from pykbroker.protocol.stored.consumer_group import TopicPartitions as HeldPartitions

Current = ConsumerGroupCurrentMemberAssignmentValue
Target = ConsumerGroupTargetAssignmentMemberValue
Metadata = ConsumerGroupMemberMetadataValue


def epoch_record(group_id: str, epoch: int, metadata_hash: int) -> Record:
    """The group's epoch, with the hash of the topics that it was made for."""
    return Record(
        keyed(ConsumerGroupMetadataKey(group_id=group_id)),
        valued(ConsumerGroupMetadataValue(epoch=epoch, metadata_hash=metadata_hash)),
    )


def member_record(group_id: str, member: ConsumerMember) -> Record:
    """What a member told of itself."""
    value = Metadata(
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topics),
        subscribed_topic_regex=member.pattern,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        server_assignor=member.assignor,
    )
    if member.classic is not None:
        value.classic_member_metadata = Metadata.ClassicMemberMetadata(
            session_timeout_ms=member.classic.session_timeout_ms,
            supported_protocols=[
                Metadata.ClassicMemberMetadata.SupportedProtocol(name=name, metadata=metadata)
                for name, metadata in member.classic.protocols
            ],
        )
    return Record(keyed(ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member.member_id)), valued(value))


def target_record(group_id: str, member_id: str, assignment: Assignment) -> Record:
    """What a member shall have."""
    value = Target(
        topic_partitions=[
            Target.TopicPartition(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(assignment).items()
        ]
    )
    return Record(keyed(ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)), valued(value))


def target_epoch_record(group_id: str, epoch: int, timestamp_ms: int) -> Record:
    """The epoch of all targets, and when they were computed."""
    value = ConsumerGroupTargetAssignmentMetadataValue(assignment_epoch=epoch, assignment_timestamp=timestamp_ms)
    return Record(keyed(ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)), valued(value))


def current_record(group_id: str, member: ConsumerMember) -> Record:
    """A member's epoch, state and partitions."""
    value = Current(
        member_epoch=member.epoch,
        previous_member_epoch=member.previous_epoch,
        state=member.state.value,
        assigned_partitions=_held(member.assigned),
        partitions_pending_revocation=_held(member.revoking),
    )
    return Record(
        keyed(ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member.member_id)), valued(value)
    )


def pattern_record(group_id: str, pattern: str, topics: Iterable[str], timestamp_ms: int) -> Record:
    """The topics that a regular expression stands for."""
    return Record(
        keyed(ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=pattern)),
        valued(ConsumerGroupRegularExpressionValue(topics=sorted(topics), timestamp=timestamp_ms)),
    )


def pattern_tombstone(group_id: str, pattern: str) -> Record:
    """Nobody subscribes to it any more."""
    return tombstone(ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=pattern))


def member_tombstones(group_id: str, member_id: str) -> list[Record]:
    """A member is gone."""
    return [
        tombstone(ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id)),
        tombstone(ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)),
        tombstone(ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id)),
    ]


def legacy_tombstone(group_id: str) -> Record:
    """Kafka 4.0 wrote the subscribed topics' metadata; the epoch's hash has taken its place."""
    return tombstone(ConsumerGroupPartitionMetadataKey(group_id=group_id))


def group_tombstones(group_id: str, member_ids: Iterable[str], patterns: Iterable[str]) -> list[Record]:
    """The group is gone, members first."""
    members = list(member_ids)
    records = [
        tombstone(key(group_id=group_id, member_id=member_id))
        for key in (ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupTargetAssignmentMemberKey)
        for member_id in members
    ]
    records.append(tombstone(ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)))
    records += [
        tombstone(ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id)) for member_id in members
    ]
    records += [pattern_tombstone(group_id, pattern) for pattern in patterns]
    return [*records, legacy_tombstone(group_id), tombstone(ConsumerGroupMetadataKey(group_id=group_id))]


def with_metadata(member: ConsumerMember, value: ConsumerGroupMemberMetadataValue) -> ConsumerMember:
    """The member with what its metadata record says."""
    classic = value.classic_member_metadata
    return replace(
        member,
        instance_id=value.instance_id,
        rack_id=value.rack_id,
        client_id=value.client_id,
        client_host=value.client_host,
        topics=frozenset(value.subscribed_topic_names),
        pattern=value.subscribed_topic_regex or "",
        rebalance_timeout_ms=value.rebalance_timeout_ms,
        assignor=value.server_assignor,
        classic=None
        if classic is None
        else ClassicProtocol(
            classic.session_timeout_ms, tuple((one.name, bytes(one.metadata)) for one in classic.supported_protocols)
        ),
    )


def with_current(member: ConsumerMember, value: Current) -> ConsumerMember:
    """The member with what its assignment record says."""
    return replace(
        member,
        epoch=value.member_epoch,
        previous_epoch=value.previous_member_epoch,
        state=MemberState(value.state),
        assigned=_read_held(value.assigned_partitions, value.member_epoch),
        revoking=_read_held(value.partitions_pending_revocation, value.member_epoch),
    )


def target_of(value: ConsumerGroupTargetAssignmentMemberValue) -> Assignment:
    """The partitions of a target record."""
    return frozenset(
        TopicIdPartition(one.topic_id, index) for one in value.topic_partitions for index in one.partitions
    )


def _held(held: Held) -> list[HeldPartitions]:
    return [
        HeldPartitions(
            topic_id=topic_id,
            partitions=partitions,
            assignment_epochs=[held[TopicIdPartition(topic_id, partition)] for partition in partitions],
        )
        for topic_id, partitions in by_topic(held).items()
    ]


def _read_held(topics: Iterable[HeldPartitions], member_epoch: int) -> Held:
    """Records before 4.3 have no assignment epochs: the member's own counts, which is negative for one on leave."""
    held = {}
    for one in topics:
        epochs = one.assignment_epochs
        if epochs is None or len(epochs) != len(one.partitions):
            epochs = [max(member_epoch, 0)] * len(one.partitions)
        for partition, epoch in zip(one.partitions, epochs, strict=True):
            held[TopicIdPartition(one.topic_id, partition)] = epoch
    return held
