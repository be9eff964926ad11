"""What members of a classic group are answered. It reads the group; it never changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykbroker.protocol.messages.join_group import JoinGroupResponse
from pykbroker.protocol.messages.sync_group import SyncGroupResponse

if TYPE_CHECKING:
    from pykbroker.coordinator.group.classic_group import ClassicGroup
    from pykbroker.coordinator.group.member import ClassicMember


def joined(
    group: ClassicGroup, member: ClassicMember, *, members: bool = True, skip_assignment: bool = False
) -> JoinGroupResponse:
    """The current generation; the leader is told of all members."""
    leads = member.member_id == group.leader
    response = JoinGroupResponse(
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        leader=group.leader or "",
        skip_assignment=leads and skip_assignment,
        member_id=member.member_id,
    )
    if leads and members:
        response.members = [
            JoinGroupResponse.Member(
                member_id=m.member_id, group_instance_id=m.group_instance_id, metadata=m.metadata(group.protocol)
            )
            for m in group.members.values()
        ]
    return response


def assigned(group: ClassicGroup, assignment: bytes) -> SyncGroupResponse:
    """A member's part of the leader's assignment."""
    return SyncGroupResponse(protocol_type=group.protocol_type, protocol_name=group.protocol, assignment=assignment)
