"""One partition of `__consumer_offsets`: its groups and their offsets.

Every question becomes a `Result` (records, answer, answers to those who waited); `replay` alone takes records for the
truth. It finds the group, hands the question on and knows which group is due next. New kinds of groups go beside
`ClassicGroup` here.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from pykbroker.coordinator.group import describe
from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.member import GroupConfig, Joiner, join_error
from pykbroker.coordinator.group.offsets import GroupOffsets, OffsetToCommit
from pykbroker.coordinator.group.records import CommittedOffset, GroupEntry, group_record, read_record
from pykbroker.coordinator.result import NEVER, Draft, Now, Parked, Record, Result
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupResponse
from pykbroker.protocol.messages.list_groups import ListGroupsResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.protocol.topic_partition import TopicPartition

A = TypeVar("A")
Leaving = tuple[str, str | None]
"""Member id and group instance id, as LeaveGroup names who leaves."""


class GroupShard:
    """The groups whose ids fall to one partition."""

    def __init__(self, config: GroupConfig) -> None:
        self.config = config
        self.groups: dict[str, ClassicGroup] = {}
        self.offsets = GroupOffsets()
        self._due: list[tuple[float, str]] = []
        self._scheduled: dict[str, float] = {}

    # Members

    def join(self, request: JoinGroupRequest, joiner: Joiner, now: Now) -> Result[JoinGroupResponse]:
        """JoinGroup; the first member makes the group."""
        draft = Draft()
        group_id, member_id = request.group_id, request.member_id
        answer: JoinGroupResponse | Parked
        try:
            self._check_group_id(group_id)
            lowest, highest = self.config.group_min_session_timeout_ms, self.config.group_max_session_timeout_ms
            if not lowest <= request.session_timeout_ms <= highest:
                raise KafkaError(ErrorCode.INVALID_SESSION_TIMEOUT)
            group = self.groups.get(group_id)
            if group is None:
                if member_id:
                    raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
                group = self.groups[group_id] = ClassicGroup(group_id, self.config)
            answer = group.join(request, joiner, now, draft)
        except KafkaError as error:
            answer = join_error(error.code, member_id)
        return self._decided(group_id, answer, draft)

    def sync(self, request: SyncGroupRequest, now: Now) -> Result[SyncGroupResponse]:
        """SyncGroup."""
        draft = Draft()
        answer: SyncGroupResponse | Parked
        try:
            answer = self._group(request.group_id).sync(request, now, draft)
        except KafkaError as error:
            answer = SyncGroupResponse(error_code=error.code)
        return self._decided(request.group_id, answer, draft)

    def heartbeat(self, request: HeartbeatRequest, now: Now) -> Result[HeartbeatResponse]:
        """Heartbeat."""
        try:
            group = self._group(request.group_id)
            code = group.heartbeat(request.member_id, request.group_instance_id, request.generation_id, now)
        except KafkaError as error:
            code = error.code
        return self._decided(request.group_id, HeartbeatResponse(error_code=code), Draft())

    def leave(self, group_id: str, leaving: Iterable[Leaving], now: Now) -> Result[LeaveGroupResponse]:
        """LeaveGroup: an error for each member; an unknown group has no members."""
        draft = Draft()
        self._check_group_id(group_id)
        group = self.groups.get(group_id)
        response = LeaveGroupResponse()
        for member_id, instance_id in leaving:
            code = ErrorCode.UNKNOWN_MEMBER_ID
            if group is not None:
                code = group.leave(member_id, instance_id, now, draft)
            response.members.append(
                LeaveGroupResponse.Member(member_id=member_id, group_instance_id=instance_id, error_code=code)
            )
        return self._decided(group_id, response, draft)

    # Offsets

    def commit(
        self,
        group_id: str,
        member: tuple[str, str | None, int],
        offsets: Mapping[TopicPartition, OffsetToCommit],
        now: Now,
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """OffsetCommit by `member` (its id, group instance id and generation, -1 for none). Raises what holds for all.

        A group that nobody has joined comes to be by its first commit.
        """
        draft = Draft()
        member_id, instance_id, generation = member
        group = self.groups.get(group_id)
        if group is not None:
            group.check_commit(member_id, instance_id, generation, now)
        elif generation >= 0:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        answer = self.offsets.commit(group_id, offsets, self.config.offset_metadata_max_bytes, now, draft)
        return self._decided(group_id, answer, draft)

    def commit_pending(
        self,
        group_id: str,
        member: tuple[str, str | None, int],
        offsets: Mapping[TopicPartition, OffsetToCommit],
        now: Now,
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """TxnOffsetCommit: the records are to be appended as part of the producer's transaction.

        Older clients don't say which member they are; in which state the group is doesn't matter (KIP-447).
        """
        draft = Draft()
        member_id, instance_id, generation = member
        self._check_group_id(group_id)
        group = self.groups.get(group_id)
        if group is not None:
            group.check_commit(member_id, instance_id, generation, now, transactional=True)
        elif generation >= 0:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        answer = self.offsets.commit(group_id, offsets, self.config.offset_metadata_max_bytes, now, draft)
        return self._decided(group_id, answer, draft)

    def fetch(
        self, group_id: str, partitions: Collection[TopicPartition] | None, *, stable: bool = False
    ) -> Result[dict[TopicPartition, CommittedOffset | None]]:
        """OffsetFetch of these partitions, or with None of all that the group has committed.

        With `stable` UNSTABLE stands where an open transaction may change the offset.
        """
        return Result(self.offsets.fetch(group_id, partitions, stable=stable))

    def delete_offsets(
        self, group_id: str, partitions: Collection[TopicPartition]
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """OffsetDelete: not of topics that a member subscribes to. Raises what holds for the whole group."""
        draft = Draft()
        group = self.groups.get(group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        subscribed = describe.subscribed_topics(group)
        if subscribed is None:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)
        answer = {
            tp: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if tp.topic in subscribed else ErrorCode.NONE for tp in partitions
        }
        self.offsets.delete(group_id, [tp for tp, code in answer.items() if code is ErrorCode.NONE], draft)
        return self._decided(group_id, answer, draft)

    def delete_topics(self, topics: Collection[str]) -> Result[None]:
        """Topics are gone, and with them every offset committed for them."""
        draft = Draft()
        self.offsets.delete_topics(topics, draft)
        return draft.result(None)

    # Groups

    def describe(self, group_id: str) -> Result[DescribeGroupsResponse.Group | None]:
        """DescribeGroups of one group; None if there is none."""
        group = self.groups.get(group_id)
        return Result(None if group is None else describe.described(group))

    def list_groups(self, states: Collection[str], types: Collection[str]) -> Result[list[ListGroupsResponse.Group]]:
        """ListGroups; empty filters let everything pass."""
        return Result(describe.listed(self.groups.values(), states, types))

    def delete(self, group_id: str) -> Result[ErrorCode]:
        """DeleteGroups of one group: tombstones for its offsets and for itself."""
        draft = Draft()
        group = self.groups.get(group_id)
        if group is None:
            return Result(ErrorCode.GROUP_ID_NOT_FOUND)
        try:
            group.delete()
        except KafkaError as error:
            return Result(error.code)
        self.offsets.delete_all(group_id, draft)
        draft.records.append(group_record(group_id, None))
        return draft.result(ErrorCode.NONE)

    # The shard's own life

    @property
    def deadline(self) -> float:
        """When `expire` is due next: early where a heartbeat has put a session off since, never late."""
        return self._due[0][0] if self._due else NEVER

    def expire(self, now: Now) -> Result[None]:
        """Ends what is overdue in every group."""
        draft = Draft()
        while self._due and self._due[0][0] <= now.monotonic:
            deadline, group_id = heapq.heappop(self._due)
            if self._scheduled.get(group_id) != deadline:
                continue
            del self._scheduled[group_id]
            group = self.groups.get(group_id)
            if group is not None:
                group.expire(now, draft)
                self._settle(group)
        return draft.result(None)

    def replay(self, record: Record) -> None:
        """Takes a record for the truth. Raises MalformedMessage."""
        entry = read_record(record)
        if entry is None:
            return
        if isinstance(entry, GroupEntry):
            if entry.group is None:
                self.groups.pop(entry.group_id, None)
                return
            self._made(entry.group_id).restore(entry.group)
            return
        if entry.committed is not None:
            self._made(entry.group_id)
        self.offsets.replay(entry)
        group = self.groups.get(entry.group_id)
        if group is not None:
            self._settle(group)

    def replay_pending(self, record: Record, producer_id: int) -> None:
        """Takes a record of an open transaction for the truth. Raises MalformedMessage."""
        entry = read_record(record)
        if isinstance(entry, OffsetEntry):
            if entry.committed is not None:
                self._made(entry.group_id)
            self.offsets.replay_pending(entry, producer_id)

    def replay_marker(self, producer_id: int, *, committed: bool) -> None:
        """A producer's transaction is decided, and with it the offsets that it holds back."""
        for group_id in self.offsets.replay_marker(producer_id, committed=committed):
            group = self.groups.get(group_id)
            if group is not None:
                self._settle(group)

    def loaded(self, now: Now) -> Result[None]:
        """Every record is replayed: sessions begin now."""
        draft = Draft()
        for group in list(self.groups.values()):
            group.loaded(now, draft)
            self._settle(group)
        return draft.result(None)

    def abandon(self, parked: Parked, now: Now) -> Result[None]:
        """Nobody waits for this request any more."""
        draft = Draft()
        group = self.groups.get(parked.group_id)
        if group is not None:
            group.abandon(parked, now, draft)
        return self._decided(parked.group_id, None, draft)

    def unload(self, code: int) -> Result[None]:
        """Answers every waiting request with this error: the partition is another's now, or its log failed."""
        draft = Draft()
        for group in self.groups.values():
            group.unload(ErrorCode(code), draft)
        return draft.result(None)

    def _decided(self, group_id: str, answer: A | Parked, draft: Draft) -> Result[A]:
        group = self.groups.get(group_id)
        if group is not None:
            self._settle(group)
        return draft.result(answer)

    def _settle(self, group: ClassicGroup) -> None:
        """Forgets a group of which nothing is left or written; else sees to it that it is called when it is due."""
        group_id = group.group_id
        if group.is_unwritten and group_id not in self.offsets:
            del self.groups[group_id]
        elif group.deadline < self._scheduled.get(group_id, NEVER):
            self._scheduled[group_id] = group.deadline
            heapq.heappush(self._due, (group.deadline, group_id))

    def _group(self, group_id: str) -> ClassicGroup:
        self._check_group_id(group_id)
        group = self.groups.get(group_id)
        if group is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        return group

    def _made(self, group_id: str) -> ClassicGroup:
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = ClassicGroup(group_id, self.config)
        return group

    @staticmethod
    def _check_group_id(group_id: str) -> None:
        """The empty id is one for offsets alone."""
        if not group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
