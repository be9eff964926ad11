"""Groups as DescribeGroups and ListGroups show them.

It reads; it never changes a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.classic_state import GroupState
from pykbroker.coordinator.group.group import Group
from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
from pykbroker.protocol.messages.list_groups import ListGroupsResponse


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
