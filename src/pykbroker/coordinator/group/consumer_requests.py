"""What a ConsumerGroupHeartbeat must say, and what its sender must be, before it changes anything (KIP-848)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pykbroker.coordinator.group.assignment import Assignment, TopicIdPartition
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.consumer_member import LEFT, LEFT_FOR_A_WHILE, ConsumerMember
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

FIRST_WITH_OWN_IDS = 1
"""From this version on members make their ids themselves (KIP-1082)."""


def check_heartbeat(request: ConsumerGroupHeartbeatRequest, version: int, assignors: Collection[str]) -> None:
    """Raises INVALID_REQUEST, UNSUPPORTED_ASSIGNOR."""
    epoch = request.member_epoch
    if version >= FIRST_WITH_OWN_IDS or epoch > 0 or epoch == LEFT:
        _check_text(request.member_id, "MemberId")
    _check_text(request.group_id, "GroupId")
    _check_text(request.instance_id, "InstanceId")
    _check_text(request.rack_id, "RackId")
    if epoch == 0:
        if request.rebalance_timeout_ms == -1:
            raise _invalid("RebalanceTimeoutMs must be provided in first request.")
        if request.topic_partitions is None or request.topic_partitions:
            raise _invalid("TopicPartitions must be empty when (re-)joining.")
        if request.subscribed_topic_names is None and request.subscribed_topic_regex is None:
            raise _invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
    elif epoch == LEFT_FOR_A_WHILE and request.instance_id is None:
        raise _invalid("InstanceId can't be null.")
    elif epoch < LEFT_FOR_A_WHILE:
        raise _invalid("MemberEpoch is invalid.")
    if request.server_assignor is not None and request.server_assignor not in assignors:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_ASSIGNOR,
            f"ServerAssignor {request.server_assignor} is not supported. Supported assignors: {', '.join(assignors)}.",
        )


def check_room(group: ConsumerGroup, member_id: str, limit: int) -> None:
    """Raises GROUP_MAX_SIZE_REACHED for a new member of a full group."""
    if len(group.members) >= limit and member_id not in group.members:
        raise KafkaError(
            ErrorCode.GROUP_MAX_SIZE_REACHED,
            f"The consumer group has reached its maximum capacity of {limit} members.",
        )


def check_epoch(member: ConsumerMember, epoch: int, owned: Assignment | None) -> None:
    """Raises FENCED_MEMBER_EPOCH unless it is the member's epoch, or the one before of a member that missed an answer.

    0 is always allowed: it gives all up and rejoins.
    """
    if epoch in (0, member.epoch):
        return
    missed_answer = epoch == member.previous_epoch and owned is not None and owned <= member.assigned.keys()
    if epoch < member.epoch and missed_answer:
        return
    relation = "greater" if epoch > member.epoch else "smaller"
    raise KafkaError(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The consumer group member has a {relation} member epoch ({epoch}) than the one known by the group "
        f"coordinator ({member.epoch}). The member must abandon all its partitions and rejoin.",
    )


def check_released(static: ConsumerMember, member_id: str) -> None:
    """Raises UNRELEASED_INSTANCE_ID unless the owner of the instance id has left for a while."""
    if static.epoch != LEFT_FOR_A_WHILE:
        raise KafkaError(
            ErrorCode.UNRELEASED_INSTANCE_ID,
            f"Static member {member_id} with instance id {static.instance_id} cannot join the group because the "
            f"instance id is owned by {static.member_id} member.",
        )


def check_fenced(static: ConsumerMember, member_id: str, instance_id: str) -> None:
    """Raises FENCED_INSTANCE_ID for one whose instance id is another's."""
    if static.member_id != member_id:
        raise KafkaError(
            ErrorCode.FENCED_INSTANCE_ID,
            f"Static member {member_id} with instance id {instance_id} was fenced by member {static.member_id}.",
        )


def told(
    member: ConsumerMember, request: ConsumerGroupHeartbeatRequest, client_id: str, client_host: str
) -> ConsumerMember:
    """The member with what it says of itself; what it doesn't say stays."""
    names, pattern, timeout = (
        request.subscribed_topic_names,
        request.subscribed_topic_regex,
        request.rebalance_timeout_ms,
    )
    return replace(
        member,
        instance_id=member.instance_id if request.instance_id is None else request.instance_id,
        rack_id=member.rack_id if request.rack_id is None else request.rack_id,
        rebalance_timeout_ms=member.rebalance_timeout_ms if timeout == -1 else timeout,
        assignor=member.assignor if request.server_assignor is None else request.server_assignor,
        topics=member.topics if names is None else frozenset(names),
        pattern=member.pattern if pattern is None else pattern,
        client_id=client_id,
        client_host=client_host,
        classic=None,
    )


def is_full(request: ConsumerGroupHeartbeatRequest) -> bool:
    """Whether it says everything, as one does that rejoins, or missed an answer."""
    subscribes = request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None
    return request.rebalance_timeout_ms != -1 and subscribes and request.topic_partitions is not None


def owned_by(request: ConsumerGroupHeartbeatRequest) -> Assignment | None:
    """The partitions that a member says it has; None where it doesn't say."""
    if request.topic_partitions is None:
        return None
    return frozenset(
        TopicIdPartition(one.topic_id, index) for one in request.topic_partitions for index in one.partitions
    )


def _check_text(text: str | None, name: str) -> None:
    if text is not None and not text.strip():
        raise _invalid(f"{name} can't be empty.")


def _invalid(message: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_REQUEST, message)
