"""Groups that change their kind while in use, as far as `group.consumer.migration.policy` allows it (KIP-848).

A classic group becomes a consumer group when the first member with the new protocol joins, and a classic one again when
the last such member is gone. Members, generation or epoch, and assignments stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from pykbroker.coordinator.group import consumer_records as records
from pykbroker.coordinator.group.assignment import NOTHING, Assignment, TopicIdPartition, by_topic, metadata_hash
from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.classic_state import EMPTY, STABLE
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.consumer_member import ClassicProtocol, ConsumerMember
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.member import ClassicMember, select_protocol
from pykbroker.coordinator.group.records import group_record
from pykbroker.coordinator.group.subscriptions import (
    CONSUMER_PROTOCOL,
    read_assignment,
    read_subscription,
    version_of,
    write_assignment,
)
from pykbroker.coordinator.result import Draft, Now, Record
from pykbroker.protocol.consumer_protocol import Assignment as ProtocolAssignment
from pykbroker.protocol.errors import ErrorCode, KafkaError, MalformedMessage

AssignedPartition = ProtocolAssignment.AssignedPartition


class Migration:
    """Changes kinds, and says where it may not."""

    def __init__(self, groups: Groups, config: GroupConfig, surroundings: Surroundings) -> None:
        self._groups = groups
        self._config = config
        self._surroundings = surroundings

    # Upgrade

    def upgrade(self, group: ClassicGroup, now: Now, draft: Draft) -> list[Record]:
        """Makes a classic group void, and returns the records of the consumer group with its members: none if empty.

        Raises GROUP_ID_NOT_FOUND, GROUP_MAX_SIZE_REACHED. Whoever waits in the group is told to rejoin.
        """
        if group.state is EMPTY:
            draft.records.append(group_record(group.group_id, None))
            return []
        self._check_upgrade(group)
        try:
            members = [self._upgraded(group, member) for member in group.members.values()]
        except MalformedMessage as error:
            raise self._refused(group, "the embedded consumer protocol is malformed.") from error
        group.unload(ErrorCode.REBALANCE_IN_PROGRESS, draft)
        group_id, epoch = group.group_id, group.generation
        topics = {topic for member in members for topic in member.topics}
        made = [group_record(group_id, None)]
        made += [records.member_record(group_id, member) for member in members]
        made.append(records.epoch_record(group_id, epoch, metadata_hash(topics, self._surroundings.image())))
        made += [records.target_record(group_id, one.member_id, frozenset(one.assigned)) for one in members]
        made.append(records.target_epoch_record(group_id, epoch, 0))
        made += [records.current_record(group_id, member) for member in members]
        draft.records += made
        return made[1:]

    def _check_upgrade(self, group: ClassicGroup) -> None:
        if self._config.group_consumer_migration_policy.lower() not in ("upgrade", "bidirectional"):
            raise self._refused(group, "online upgrade is disabled.")
        if group.protocol_type != CONSUMER_PROTOCOL:
            raise self._refused(group, "the group does not use the consumer embedded protocol.")
        limit = self._config.group_consumer_max_size
        if len(group.members) > limit:
            raise self._refused(group, "the group size exceeds the consumer group maximum size.")
        if len(group.members) == limit:
            raise KafkaError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The consumer group has reached its maximum capacity of {limit} members.",
            )

    def _refused(self, group: ClassicGroup, why: str) -> KafkaError:
        return KafkaError(
            ErrorCode.GROUP_ID_NOT_FOUND,
            f"Cannot upgrade classic group {group.group_id} to consumer group because {why}",
        )

    def _upgraded(self, group: ClassicGroup, member: ClassicMember) -> ConsumerMember:
        """The member with what it has; its assignor's own data would be lost. Raises MalformedMessage."""
        chosen = group.protocol or member.protocols[0][0]
        subscription = read_subscription(member.metadata(chosen))
        held: dict[TopicIdPartition, int] = {}
        if member.assignment:
            assignment = read_assignment(member.assignment)
            if assignment.user_data:
                raise self._refused(
                    group,
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a "
                    "default assignor before re-attempting the upgrade.",
                )
            held = dict.fromkeys(sorted(self._by_id(assignment.assigned_partitions)), group.generation)
        return ConsumerMember(
            member_id=member.member_id,
            instance_id=member.group_instance_id,
            rack_id=subscription.rack_id or None,
            client_id=member.client_id,
            client_host=member.client_host,
            topics=frozenset(subscription.topics),
            epoch=group.generation,
            previous_epoch=group.generation,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            assigned=held,
            classic=ClassicProtocol(member.session_timeout_ms, member.protocols),
        )

    def _by_id(self, assigned: Iterable[AssignedPartition]) -> Assignment:
        """Partitions by topic id; those of topics that are gone are dropped."""
        topics = self._surroundings.image().topics
        return frozenset(
            TopicIdPartition(topics[one.topic].topic_id, index)
            for one in assigned
            if one.topic in topics
            for index in one.partitions
        )

    # Downgrade

    def downgrade(self, group: ConsumerGroup, leaving: Collection[ConsumerMember], now: Now, draft: Draft) -> bool:
        """Makes a classic group of it without some members, where all others speak the classic protocol."""
        gone = {member.member_id for member in leaving}
        left = [member for member in group.members.values() if member.member_id not in gone]
        if not left or not self._may_downgrade(left):
            return False
        targets = {member.member_id: group.targets.get(member.member_id, NOTHING) for member in left}
        self._become_classic(group, left, targets, now, draft, rebalance=True)
        return True

    def downgrade_by(
        self, group: ConsumerGroup, joined: ConsumerMember, replaced: str, now: Now, draft: Draft, *, rebalance: bool
    ) -> None:
        """The same where a static member came back with the classic protocol, in the place of one without."""
        left = [joined if member_id == replaced else member for member_id, member in group.members.items()]
        targets = {
            member.member_id: group.targets.get(replaced if member is joined else member.member_id, NOTHING)
            for member in left
        }
        self._become_classic(group, left, targets, now, draft, rebalance=rebalance)
        draft.records += records.member_tombstones(group.group_id, joined.member_id)

    def may_downgrade_by(self, group: ConsumerGroup, replaced: ConsumerMember) -> bool:
        """Whether only this member doesn't speak the classic protocol, and the group may become a classic one."""
        others = [member for member in group.members.values() if member is not replaced]
        return replaced.classic is None and self._may_downgrade(others, len(group.members))

    def _may_downgrade(self, others: Collection[ConsumerMember], size: int | None = None) -> bool:
        return (
            all(member.classic is not None for member in others)
            and self._config.group_consumer_migration_policy.lower() in ("downgrade", "bidirectional")
            and (len(others) if size is None else size) <= self._config.group_max_size
        )

    def _become_classic(
        self,
        group: ConsumerGroup,
        members: Collection[ConsumerMember],
        targets: dict[str, Assignment],
        now: Now,
        draft: Draft,
        *,
        rebalance: bool,
    ) -> None:
        group.tombstones(draft)
        classic = ClassicGroup(group.group_id, self._config)
        classic.state, classic.state_timestamp_ms = STABLE, now.wall_ms
        classic.generation = group.epoch
        classic.protocol_type = CONSUMER_PROTOCOL
        for member in members:
            classic.members[member.member_id] = _downgraded(member)
            if member.instance_id is not None:
                classic.static[member.instance_id] = member.member_id
        classic.leader = next(iter(classic.members))
        classic.protocol = select_protocol(classic.members)
        names = self._surroundings.image().topic_names
        for one in classic.members.values():
            version = version_of(one.metadata(classic.protocol))
            one.assignment = write_assignment(_by_name(targets[one.member_id], names), version)
            classic.deadline = min(classic.deadline, one.touch(now))
        draft.records.append(group_record(group.group_id, classic.stored(now)))
        if rebalance:
            # Taken for members that don't sync in time, of which there are none: a rebalance begins at once, but after
            # the record of the stable group has been replayed.
            classic.sync_deadline = classic.deadline = now.monotonic
        self._groups.keep(classic)


def _downgraded(member: ConsumerMember) -> ClassicMember:
    assert member.classic is not None
    return ClassicMember(
        member.member_id,
        member.instance_id,
        member.client_id,
        member.client_host,
        member.rebalance_timeout_ms,
        member.classic.session_timeout_ms,
        member.classic.protocols,
        is_new=False,
    )


def _by_name(assignment: Assignment, names: Mapping[UUID, str]) -> dict[str, list[int]]:
    return {names[topic_id]: partitions for topic_id, partitions in by_topic(assignment).items() if topic_id in names}
