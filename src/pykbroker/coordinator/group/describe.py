"""Groups as DescribeGroups, ConsumerGroupDescribe and ListGroups show them.

It reads; it never changes a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pykbroker.cluster.image import ClusterImage
from pykbroker.coordinator.group.assignment import TopicIdPartition, by_topic
from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.classic_state import GroupState
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.group import Group
from pykbroker.protocol.messages.consumer_group_describe import Assignment as DescribedAssignment
from pykbroker.protocol.messages.consumer_group_describe import ConsumerGroupDescribeResponse
from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
from pykbroker.protocol.messages.list_groups import ListGroupsResponse

DescribedConsumerGroup = ConsumerGroupDescribeResponse.Group
CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1


def described(group: ClassicGroup) -> DescribeGroupsResponse.Group:
    """The group; its protocol and the members' metadata are told of a stable one only."""
    protocol = group.protocol if group.state is GroupState.STABLE else None
    return DescribeGroupsResponse.Group(
        group_id=group.group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_data=protocol or "",
        members=[
            DescribeGroupsResponse.Group.Member(
                member_id=m.member_id,
                group_instance_id=m.group_instance_id,
                client_id=m.client_id,
                client_host=m.client_host,
                member_metadata=b"" if protocol is None else m.metadata(protocol),
                member_assignment=m.assignment,
            )
            for m in group.members.values()
        ],
    )


def described_consumer_group(group: ConsumerGroup, image: ClusterImage) -> DescribedConsumerGroup:
    """A consumer group, with what each member has, still or already, and shall have; topics that are gone aside."""
    members = group.members.values()
    return DescribedConsumerGroup(
        group_id=group.group_id,
        group_state=group.state_name,
        group_epoch=group.epoch,
        assignment_epoch=group.target_epoch,
        assignor_name=group.preferred_assignor(members),
        members=[
            DescribedConsumerGroup.Member(
                member_id=m.member_id,
                instance_id=m.instance_id,
                rack_id=m.rack_id,
                member_epoch=m.epoch,
                client_id=m.client_id,
                client_host=m.client_host,
                subscribed_topic_names=sorted(m.topics),
                subscribed_topic_regex=m.pattern,
                assignment=_assignment((*m.assigned, *m.revoking), image),
                target_assignment=_assignment(group.targets.get(m.member_id, ()), image),
                member_type=CLASSIC_MEMBER if m.classic is not None else CONSUMER_MEMBER,
            )
            for m in members
        ],
    )


def _assignment(partitions: Iterable[TopicIdPartition], image: ClusterImage) -> DescribedAssignment:
    return DescribedAssignment(
        topic_partitions=[
            ConsumerGroupDescribeResponse.TopicPartition(
                topic_id=topic_id, topic_name=image.topic_names[topic_id], partitions=indexes
            )
            for topic_id, indexes in by_topic(partitions).items()
            if topic_id in image.topic_names
        ]
    )


def listed(groups: Iterable[Group], states: Collection[str], types: Collection[str]) -> list[ListGroupsResponse.Group]:
    """The groups in one of these states and of one of these types, whatever the case; an empty filter lets all pass."""
    states = {state.lower() for state in states}
    types = {kind.lower() for kind in types}
    return [
        ListGroupsResponse.Group(
            group_id=group.group_id,
            protocol_type=group.protocol_name,
            group_state=group.state_name,
            group_type=group.kind.value,
        )
        for group in groups
        if (not states or group.state_name.lower() in states) and (not types or group.kind.value in types)
    ]
