"""Groups as DescribeGroups and ListGroups show them, and the topics that a group subscribes to.

It reads; it never changes a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pykbroker.coordinator.group.classic_group import ClassicGroup, GroupState
from pykbroker.protocol.consumer_protocol import Subscription
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
from pykbroker.protocol.messages.list_groups import ListGroupsResponse

CLASSIC = "classic"
CONSUMER = "consumer"


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


def listed(
    groups: Iterable[ClassicGroup], states: Collection[str], types: Collection[str]
) -> list[ListGroupsResponse.Group]:
    """The groups in one of these states and of one of these types, whatever the case; an empty filter lets all pass."""
    states = {state.lower() for state in states}
    if types and CLASSIC not in {kind.lower() for kind in types}:
        return []
    return [
        ListGroupsResponse.Group(
            group_id=group.group_id,
            protocol_type=group.protocol_type or "",
            group_state=group.state.value,
            group_type=CLASSIC,
        )
        for group in groups
        if not states or group.state.value.lower() in states
    ]


def subscribed_topics(group: ClassicGroup) -> Collection[str] | None:
    """The topics that members of a consumer group subscribe to; None where members don't say it in a known way."""
    if not group.members:
        return ()
    if group.protocol_type != CONSUMER:
        return None
    topics: set[str] = set()
    for member in group.members.values():
        for _, metadata in member.protocols[:1]:
            try:
                topics.update(read_subscription(metadata).topics)
            except MalformedMessage:
                return None
    return topics


def read_subscription(metadata: bytes) -> Subscription:
    """A consumer's subscription as version 0, which every later one begins with. Raises MalformedMessage."""
    return Subscription.decode(metadata, 0, 2)
