"""A share group: its members with their epochs, what each shall read, and which share-partitions' states have begun.

Nobody waits for anybody: a partition may have many readers, so a member takes its new assignment at once (KIP-932).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from uuid import UUID

from pykbroker.coordinator.group import share_records as records
from pykbroker.coordinator.group.assignment import Assignment, TopicIdPartition, topic_ids
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.group import GroupKind
from pykbroker.coordinator.group.modern_group import FIRST_EPOCH, ModernGroup
from pykbroker.coordinator.group.records import read_key, read_value, tombstone
from pykbroker.coordinator.group.share_records import ShareMember, ShareTopics, read_topics
from pykbroker.coordinator.result import Draft, Now, Record
from pykbroker.protocol.errors import ErrorCode, KafkaError
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
)


class ShareGroupState(Enum):
    """Kafka's names, as ShareGroupDescribe and ListGroups spell them."""

    EMPTY = "Empty"
    STABLE = "Stable"
    DEAD = "Dead"


EMPTY, STABLE, DEAD = ShareGroupState

TRANSITIONS: tuple[tuple[ShareGroupState, str, ShareGroupState], ...] = (
    (EMPTY, "a member joins", STABLE),
    (STABLE, "the last member leaves, or its session is over", EMPTY),
    (EMPTY, "the group is deleted", DEAD),
)
"""From, why, to."""


class ShareGroup(ModernGroup[ShareMember]):
    """One share group."""

    __slots__ = ("begun_ms", "config", "topics")

    kind = GroupKind.SHARE
    goes_when_idle = False

    def __init__(self, group_id: str, config: GroupConfig, surroundings: Surroundings) -> None:
        super().__init__(group_id, surroundings)
        self.config = config
        self.topics = ShareTopics()
        self.begun_ms: dict[UUID, int] = {}
        """When a topic's states that haven't begun yet were last asked to; volatile."""

    # What it shows

    @property
    def state(self) -> ShareGroupState:
        """Whether there is anybody in it."""
        return STABLE if self.members else EMPTY

    @property
    def state_name(self) -> str:
        """Its state by Kafka's name."""
        return self.state.value

    @property
    def protocol_name(self) -> str:
        """Its protocol type, as ListGroups shows it."""
        return "share"

    @property
    def is_unwritten(self) -> bool:
        """Nobody is in it or about to be, and no record of it has been written."""
        return super().is_unwritten and not self.topics and not self.begun_ms

    # What it allows

    def check_fetch(self, member_id: str | None, epoch: int) -> None:
        """A share group has no committed offsets."""
        raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {self.group_id} is not a consumer group.")

    def check_delete_offsets(self) -> None:
        """A share group has no committed offsets."""
        raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {self.group_id} is not a consumer group.")

    # Members and epochs

    def led(self, member: ShareMember, epoch: int, target: Assignment, *, forced: bool) -> ShareMember:
        """The member with the target of an epoch, less what it doesn't subscribe to any more."""
        if epoch == member.epoch and not forced:
            return member
        topics = topic_ids(member.topics, self.surroundings.image())
        assigned = frozenset(one for one in target if one.topic_id in topics)
        if epoch == member.epoch:
            return replace(member, assigned=assigned)
        return replace(member, assigned=assigned, epoch=epoch, previous_epoch=member.epoch)

    @property
    def has_unassigned(self) -> bool:
        """Whether states have begun of partitions that nobody was told to read yet.

        A topic that is gone may be known for a while, and another one have its name: nobody will be told to read it.
        """
        subscribed, there = self.subscribed(self.members), self.surroundings.image().topic_names
        assigned: dict[UUID, set[int]] = {}
        for target in self.targets.values():
            for one in target:
                assigned.setdefault(one.topic_id, set()).add(one.partition)
        return any(
            state.name in subscribed and topic_id in there and assigned.get(topic_id, set()) != state.partitions
            for topic_id, state in self.topics.initialized.items()
        )

    def fence(self, members: Collection[ShareMember], now: Now, draft: Draft) -> None:
        """Takes members out of the group and bumps its epoch."""
        gone = {member.member_id for member in members}
        for member_id in gone:
            names = {"group_id": self.group_id, "member_id": member_id}
            draft.records.append(tombstone(ShareGroupCurrentMemberAssignmentKey(**names)))
            draft.records.append(tombstone(ShareGroupTargetAssignmentMemberKey(**names)))
            draft.records.append(tombstone(ShareGroupMemberMetadataKey(**names)))
            self.sessions.pop(member_id, None)
        left = {member_id: member for member_id, member in self.members.items() if member_id not in gone}
        self.bumped(left, draft, forced=True)

    # What it writes

    def write_epoch(self, epoch: int, hash_: int, draft: Draft) -> None:
        """Writes the group's epoch and the hash of its topics."""
        draft.records.append(records.epoch_record(self.group_id, epoch, hash_))

    def write_target(self, member_id: str, assignment: Assignment, draft: Draft) -> None:
        """Writes a member's target assignment."""
        draft.records.append(records.target_record(self.group_id, member_id, assignment))

    def write_target_epoch(self, epoch: int, timestamp_ms: int, draft: Draft) -> None:
        """Writes the epoch that all targets are for; when that was is known to this shard alone."""
        draft.records.append(records.target_epoch_record(self.group_id, epoch))
        self.target_timestamp_ms = timestamp_ms

    def write_topics(self, topics: ShareTopics, draft: Draft) -> None:
        """Writes which share-partitions' states have begun."""
        draft.records.append(records.topics_record(self.group_id, topics))

    def tombstones(self, draft: Draft) -> None:
        """Writes what makes every record of the group void."""
        names = {"group_id": self.group_id}
        draft.records.append(tombstone(ShareGroupTargetAssignmentMetadataKey(**names)))
        draft.records.append(tombstone(ShareGroupStatePartitionMetadataKey(**names)))
        draft.records.append(tombstone(ShareGroupMetadataKey(**names)))

    # Its life

    def loaded(self, now: Now, draft: Draft) -> None:
        """Every record is replayed: sessions begin, and states that were about to begin are given their time."""
        for member_id in self.members:
            self.touch(member_id, now, self.session_timeout_ms)
        self.begun_ms = dict.fromkeys(self.topics.initializing, now.wall_ms)

    @property
    def session_timeout_ms(self) -> int:
        """`share.session.timeout.ms`."""
        return self._setting("share.session.timeout.ms", self.config.group_share_session_timeout_ms)

    @property
    def heartbeat_interval_ms(self) -> int:
        """`share.heartbeat.interval.ms`."""
        return self._setting("share.heartbeat.interval.ms", self.config.group_share_heartbeat_interval_ms)

    @property
    def assignment_interval_ms(self) -> int:
        """`share.assignment.interval.ms`."""
        return self._setting("share.assignment.interval.ms", self.config.group_share_assignment_interval_ms)

    def _setting(self, name: str, default: int) -> int:
        value = self.surroundings.group_config(self.group_id).get(name)
        return default if value is None else int(value)


# What records say

Replay = Callable[[ShareGroup, Record], None]


def _replay_member(group: ShareGroup, record: Record) -> None:
    key = read_key(record, ShareGroupMemberMetadataKey)
    value = read_value(record, ShareGroupMemberMetadataValue)
    if value is None:
        group.members.pop(key.member_id, None)
        group.sessions.pop(key.member_id, None)
        return
    known = group.members.get(key.member_id) or ShareMember(member_id=key.member_id)
    group.members[key.member_id] = replace(
        known,
        rack_id=value.rack_id,
        client_id=value.client_id,
        client_host=value.client_host,
        topics=frozenset(value.subscribed_topic_names),
    )


def _replay_epoch(group: ShareGroup, record: Record) -> None:
    value = read_value(record, ShareGroupMetadataValue)
    if value is not None:
        group.epoch, group.metadata_hash = value.epoch, value.metadata_hash


def _replay_target_epoch(group: ShareGroup, record: Record) -> None:
    value = read_value(record, ShareGroupTargetAssignmentMetadataValue)
    group.target_epoch = FIRST_EPOCH if value is None else value.assignment_epoch


def _replay_target(group: ShareGroup, record: Record) -> None:
    key = read_key(record, ShareGroupTargetAssignmentMemberKey)
    value = read_value(record, ShareGroupTargetAssignmentMemberValue)
    if value is None:
        group.targets.pop(key.member_id, None)
        return
    group.targets[key.member_id] = frozenset(
        TopicIdPartition(topic.topic_id, index) for topic in value.topic_partitions for index in topic.partitions
    )


def _replay_current(group: ShareGroup, record: Record) -> None:
    key = read_key(record, ShareGroupCurrentMemberAssignmentKey)
    value = read_value(record, ShareGroupCurrentMemberAssignmentValue)
    known = group.members.get(key.member_id)
    if value is None:
        if known is not None:
            group.members[key.member_id] = replace(known, epoch=-1, previous_epoch=-1, assigned=frozenset())
        return
    assigned = frozenset(
        TopicIdPartition(topic.topic_id, index) for topic in value.assigned_partitions for index in topic.partitions
    )
    group.members[key.member_id] = replace(
        known or ShareMember(member_id=key.member_id),
        epoch=value.member_epoch,
        previous_epoch=value.previous_member_epoch,
        assigned=assigned,
    )


def _replay_topics(group: ShareGroup, record: Record) -> None:
    value = read_value(record, ShareGroupStatePartitionMetadataValue)
    group.topics = ShareTopics() if value is None else read_topics(value)
    group.begun_ms = {one: ms for one, ms in group.begun_ms.items() if one in group.topics.initializing}


REPLAYS: dict[int, Replay] = {
    ShareGroupMemberMetadataKey.key: _replay_member,
    ShareGroupMetadataKey.key: _replay_epoch,
    ShareGroupTargetAssignmentMetadataKey.key: _replay_target_epoch,
    ShareGroupTargetAssignmentMemberKey.key: _replay_target,
    ShareGroupCurrentMemberAssignmentKey.key: _replay_current,
    ShareGroupStatePartitionMetadataKey.key: _replay_topics,
}
"""What each type of record makes of a group."""


def group_of(record: Record) -> str:
    """The group id: every key of these types begins with it. Raises MalformedMessage."""
    return read_key(record, ShareGroupMetadataKey).group_id
