"""The classic groups of a shard: JoinGroup, SyncGroup, Heartbeat and LeaveGroup find their group, or make it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.config import GroupConfig
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.member import Joiner, Leaving
from pykbroker.coordinator.group.records import GROUP_KEY, read_group
from pykbroker.coordinator.result import Draft, Now, Parked, Record
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse


class ClassicGroups:
    """What is asked of classic groups. Methods raise what Kafka answers."""

    def __init__(self, groups: Groups, config: GroupConfig) -> None:
        self._groups = groups
        self._config = config
        self.replays: Mapping[int, Callable[[Record], None]] = {GROUP_KEY: self._replay}
        """What takes a record for the truth, by the type in its key."""

    def join(self, request: JoinGroupRequest, joiner: Joiner, now: Now, draft: Draft) -> JoinGroupResponse | Parked:
        """JoinGroup; the first member makes the group, an empty consumer group's too."""
        group = self._groups.get(request.group_id)
        if isinstance(group, ConsumerGroup) and not group.members and not request.member_id:
            group.tombstones(draft)
            group = None
        if group is None:
            if request.member_id:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            group = self.made(request.group_id)
        if not isinstance(group, ClassicGroup):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        return group.join(request, joiner, now, draft)

    def sync(self, request: SyncGroupRequest, now: Now, draft: Draft) -> SyncGroupResponse | Parked:
        """SyncGroup."""
        return self._known(request.group_id).sync(request, now, draft)

    def heartbeat(self, request: HeartbeatRequest, now: Now) -> HeartbeatResponse:
        """Heartbeat."""
        group = self._known(request.group_id)
        code = group.heartbeat(request.member_id, request.group_instance_id, request.generation_id, now)
        return HeartbeatResponse(error_code=code)

    def leave(self, group_id: str, leaving: Iterable[Leaving], now: Now, draft: Draft) -> LeaveGroupResponse:
        """LeaveGroup: an error for each member; an unknown group has no members."""
        group = self._groups.of_kind(group_id, ClassicGroup)
        response = LeaveGroupResponse()
        for member_id, instance_id in leaving:
            code = ErrorCode.UNKNOWN_MEMBER_ID
            if group is not None:
                code = group.leave(member_id, instance_id, now, draft)
            response.members.append(
                LeaveGroupResponse.Member(member_id=member_id, group_instance_id=instance_id, error_code=code)
            )
        return response

    def made(self, group_id: str) -> ClassicGroup:
        """A new group of this id, in place of whatever had it."""
        return self._groups.keep(ClassicGroup(group_id, self._config))

    def _known(self, group_id: str) -> ClassicGroup:
        group = self._groups.of_kind(group_id, ClassicGroup)
        if group is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        return group

    def _replay(self, record: Record) -> None:
        group_id, stored = read_group(record)
        group = self._groups.of_kind(group_id, ClassicGroup)
        if stored is not None:
            (group or self.made(group_id)).restore(stored)
        elif group is not None:
            del self._groups[group_id]
