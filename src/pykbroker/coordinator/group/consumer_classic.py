"""Members of consumer groups that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup (KIP-848).

The coordinator assigns for them, too. A JoinGroup is answered at once with the member's epoch as its generation, and a
SyncGroup with what it has; a Heartbeat tells it to rejoin when its target is another or more has become free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pykbroker.coordinator.group.assignment import Assignment, TopicIdPartition, by_topic
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.consumer_groups import ConsumerGroups, Step
from pykbroker.coordinator.group.consumer_member import UNRELEASED, UNREVOKED, ClassicProtocol, ConsumerMember
from pykbroker.coordinator.group.consumer_requests import check_fenced, check_room
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.member import Joiner, Leaving, join_error, protocols_of, rebalance_timeout_ms
from pykbroker.coordinator.group.subscriptions import (
    CONSUMER_PROTOCOL,
    read_subscription,
    version_of,
    write_assignment,
)
from pykbroker.coordinator.result import Draft, Now
from pykbroker.protocol.consumer_protocol import Subscription
from pykbroker.protocol.errors import ErrorCode, KafkaError, MalformedMessage
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse


def _sees_all(topic: str) -> bool:
    return True


class ClassicMembers:
    """The classic protocol as consumer groups understand it. Methods raise what Kafka answers."""

    def __init__(
        self, groups: Groups, consumers: ConsumerGroups, config: GroupConfig, surroundings: Surroundings
    ) -> None:
        self._groups = groups
        self._consumers = consumers
        self._config = config
        self._surroundings = surroundings

    def join(self, request: JoinGroupRequest, joiner: Joiner, now: Now, draft: Draft) -> JoinGroupResponse:
        """JoinGroup; a static member that comes back with the classic protocol may make a classic group of it."""
        group = self._groups.find(request.group_id, ConsumerGroup)
        unknown, instance_id = not request.member_id, request.group_instance_id
        member_id = request.member_id or joiner.uuid
        check_room(group, member_id, self._config.group_consumer_max_size)
        _check_protocols(group, request)
        if unknown and instance_id is None and joiner.requires_known_id:
            return join_error(ErrorCode.MEMBER_ID_REQUIRED, member_id)
        subscription = _subscription(request)
        joins = unknown or instance_id is None
        step = self._consumers.begin(group, member_id, instance_id, now, draft, joins=joins, classic=True)
        static = group.static_member(instance_id)
        downgrade = static is not None and self._consumers.migration.may_downgrade_by(group, static)
        step.updated = _told(step.member, request, joiner, subscription)
        step.owned = self._owned(subscription)
        self._consumers.subscribe(step, _sees_all)
        if downgrade and static is not None:
            updated = self._downgrade(step, static)
        else:
            updated = self._consumers.advance(step)
            if step.replaced is not None:
                group.forget_time(step.replaced)
            group.touch(member_id, now, request.session_timeout_ms)
            group.wait_for(updated, updated.rebalance_timeout_ms, now)
        return JoinGroupResponse(
            member_id=member_id,
            generation_id=updated.epoch,
            protocol_type=CONSUMER_PROTOCOL,
            protocol_name=request.protocols[0].name,
        )

    def _downgrade(self, step: Step, static: ConsumerMember) -> ConsumerMember:
        group = step.group
        rebalance = group.target_epoch < step.epoch
        updated = step.updated
        if not rebalance:
            target = group.targets.get(static.member_id, frozenset())
            updated = self._consumers.reconcile(step, group.target_epoch, target)
        self._consumers.migration.downgrade_by(
            group, updated, static.member_id, step.now, step.draft, rebalance=rebalance
        )
        return updated

    def sync(self, request: SyncGroupRequest, now: Now, draft: Draft) -> SyncGroupResponse:
        """SyncGroup: answered at once, in the version of the member's own subscription."""
        group = self._groups.find(request.group_id, ConsumerGroup)
        member, classic = self._known(group, request.member_id, request.group_instance_id)
        _check_generation(member, request.generation_id)
        name, metadata = classic.protocols[0]
        given_type, given_name = request.protocol_type, request.protocol_name
        if given_type not in (None, CONSUMER_PROTOCOL) or given_name not in (None, name):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        if group.target_epoch > member.epoch and member.state is not UNREVOKED:
            group.wait_for(member, member.rebalance_timeout_ms, now, anew=False)
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        group.waits.pop(member.member_id, None)
        group.touch(member.member_id, now, classic.session_timeout_ms)
        names = self._surroundings.image().topic_names
        partitions = {names[one]: these for one, these in by_topic(member.assigned).items() if one in names}
        return SyncGroupResponse(
            protocol_type=given_type,
            protocol_name=given_name,
            assignment=write_assignment(partitions, version_of(metadata)),
        )

    def heartbeat(self, request: HeartbeatRequest, now: Now) -> HeartbeatResponse:
        """Heartbeat: REBALANCE_IN_PROGRESS where a new JoinGroup brings the member further."""
        group = self._groups.find(request.group_id, ConsumerGroup)
        member, classic = self._known(group, request.member_id, request.group_instance_id)
        _check_generation(member, request.generation_id)
        group.touch(member.member_id, now, classic.session_timeout_ms)
        freed = member.state is UNRELEASED and not group.waits_for_others(member)
        # A new epoch without a target yet: where only classic members are left, a JoinGroup has to compute it. Kafka
        # 4.3 waits for a heartbeat of the other kind, and leaves such members with what they had.
        due = group.target_epoch < group.epoch and group.may_assign(group.assignment_interval_ms, now)
        if member.epoch < group.target_epoch or due or member.state is UNREVOKED or freed:
            group.wait_for(member, member.rebalance_timeout_ms, now, anew=False)
            return HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
        return HeartbeatResponse()

    def leave(self, group_id: str, leaving: Iterable[Leaving], now: Now, draft: Draft) -> LeaveGroupResponse:
        """LeaveGroup, of members with either protocol: all in one epoch."""
        group = self._groups.find(group_id, ConsumerGroup)
        response = LeaveGroupResponse()
        gone: dict[str, ConsumerMember] = {}
        for member_id, instance_id in leaving:
            code = ErrorCode.NONE
            try:
                member = _identified(group, member_id, instance_id)
                gone[member.member_id] = member
            except KafkaError as error:
                code = error.code
            response.members.append(
                LeaveGroupResponse.Member(member_id=member_id, group_instance_id=instance_id, error_code=code)
            )
        group.fence(list(gone.values()), now, draft)
        return response

    def _known(
        self, group: ConsumerGroup, member_id: str, instance_id: str | None
    ) -> tuple[ConsumerMember, ClassicProtocol]:
        member = group.member(member_id) if instance_id is None else group.static_member(instance_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if instance_id is not None:
            check_fenced(member, member_id, instance_id)
        if member.classic is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} does not use the classic protocol.")
        return member, member.classic

    def _owned(self, subscription: Subscription) -> Assignment:
        topics = self._surroundings.image().topics
        return frozenset(
            TopicIdPartition(topics[one.topic].topic_id, index)
            for one in subscription.owned_partitions
            if one.topic in topics
            for index in one.partitions
        )


def _identified(group: ConsumerGroup, member_id: str, instance_id: str | None) -> ConsumerMember:
    """Whom LeaveGroup means: an administrator may name a static member by its instance id alone."""
    if instance_id is None:
        return group.member(member_id)
    member = group.static_member(instance_id)
    if member is None:
        raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
    if member_id:
        check_fenced(member, member_id, instance_id)
    return member


def _check_protocols(group: ConsumerGroup, request: JoinGroupRequest) -> None:
    """Raises INCONSISTENT_GROUP_PROTOCOL unless all classic members know one of the protocols."""
    others = [member.classic for member in group.members.values() if member.classic is not None]
    known = [{name for name, _ in other.protocols} for other in others]
    names = [protocol.name for protocol in request.protocols]
    if request.protocol_type != CONSUMER_PROTOCOL or not any(all(name in one for one in known) for name in names):
        raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def _check_generation(member: ConsumerMember, generation: int) -> None:
    if member.epoch != generation:
        raise KafkaError(
            ErrorCode.ILLEGAL_GENERATION,
            f"The request generation id {generation} is not equal to the member epoch {member.epoch} of member "
            f"{member.member_id}.",
        )


def _subscription(request: JoinGroupRequest) -> Subscription:
    try:
        return read_subscription(bytes(request.protocols[0].metadata))
    except MalformedMessage as error:
        raise KafkaError(
            ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The embedded consumer protocol is malformed."
        ) from error


def _told(
    member: ConsumerMember, request: JoinGroupRequest, joiner: Joiner, subscription: Subscription
) -> ConsumerMember:
    return replace(
        member,
        instance_id=member.instance_id if request.group_instance_id is None else request.group_instance_id,
        rack_id=subscription.rack_id or member.rack_id,
        rebalance_timeout_ms=rebalance_timeout_ms(request),
        topics=frozenset(subscription.topics),
        pattern="",
        client_id=joiner.client_id,
        client_host=joiner.client_host,
        classic=ClassicProtocol(request.session_timeout_ms, protocols_of(request)),
    )
