"""One partition of `__consumer_offsets`: its groups, of all kinds beside each other, and their offsets.

Every question becomes a `Result` (records, answer, answers to those who waited); `replay` alone takes records for the
truth. What is asked of one kind of groups is decided in `classic_groups`, `consumer_groups` and so on; here stands what
holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from pykbroker.coordinator.group import describe
from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.classic_groups import ClassicGroups
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.consumer_classic import ClassicMembers
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.consumer_groups import Caller, ConsumerGroups
from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.member import NOBODY, Fetcher, Joiner, Leaving, join_error
from pykbroker.coordinator.group.offsets import GroupOffsets, OffsetToCommit
from pykbroker.coordinator.group.records import (
    LEGACY_OFFSET_KEY,
    OFFSET_KEY,
    CommittedOffset,
    read_offset,
    record_type,
)
from pykbroker.coordinator.group.share_groups import ShareGroups
from pykbroker.coordinator.result import NEVER, Draft, Now, Parked, Record, Result
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.consumer_group_describe import ConsumerGroupDescribeResponse
from pykbroker.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupResponse
from pykbroker.protocol.messages.list_groups import ListGroupsResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.protocol.topic_partition import TopicPartition

A = TypeVar("A")


class GroupShard:
    """The groups whose ids fall to one partition."""

    def __init__(self, config: GroupConfig, surroundings: Surroundings | None = None) -> None:
        self.config = config
        self.surroundings = surroundings or Surroundings()
        self.offsets = GroupOffsets()
        self.groups = Groups(self.offsets)
        self._next_cleanup = NEVER
        self.classic = ClassicGroups(self.groups, config)
        self.consumer = ConsumerGroups(self.groups, config, self.surroundings)
        self.share = ShareGroups(self.groups, config, self.surroundings)
        self._classic_members = ClassicMembers(self.groups, self.consumer, config, self.surroundings)
        self._replays: Mapping[int, Callable[[Record], None]] = {
            LEGACY_OFFSET_KEY: self._replay_offset,
            OFFSET_KEY: self._replay_offset,
            **self.classic.replays,
            **self.consumer.replays,
            **self.share.replays,
        }

    # Members with the classic protocol, of classic groups or of consumer groups

    def join(self, request: JoinGroupRequest, joiner: Joiner, now: Now) -> Result[JoinGroupResponse]:
        """JoinGroup; the first member makes the group."""
        draft = Draft()
        answer: JoinGroupResponse | Parked
        try:
            self._check_group_id(request.group_id)
            lowest, highest = self.config.group_min_session_timeout_ms, self.config.group_max_session_timeout_ms
            if not lowest <= request.session_timeout_ms <= highest:
                raise KafkaError(ErrorCode.INVALID_SESSION_TIMEOUT)
            answer = self._classic(request.group_id).join(request, joiner, now, draft)
        except KafkaError as error:
            answer = join_error(error.code, request.member_id)
        return self.decided(request.group_id, answer, draft)

    def sync(self, request: SyncGroupRequest, now: Now) -> Result[SyncGroupResponse]:
        """SyncGroup."""
        draft = Draft()
        answer: SyncGroupResponse | Parked
        try:
            self._check_group_id(request.group_id)
            answer = self._classic(request.group_id).sync(request, now, draft)
        except KafkaError as error:
            answer = SyncGroupResponse(error_code=error.code)
        return self.decided(request.group_id, answer, draft)

    def heartbeat(self, request: HeartbeatRequest, now: Now) -> Result[HeartbeatResponse]:
        """Heartbeat."""
        draft = Draft()
        try:
            self._check_group_id(request.group_id)
            answer = self._classic(request.group_id).heartbeat(request, now)
        except KafkaError as error:
            answer = HeartbeatResponse(error_code=error.code)
        return self.decided(request.group_id, answer, draft)

    def leave(self, group_id: str, leaving: Iterable[Leaving], now: Now) -> Result[LeaveGroupResponse]:
        """LeaveGroup: an error for each member; an unknown group has no members."""
        draft = Draft()
        self._check_group_id(group_id)
        return self.decided(group_id, self._classic(group_id).leave(group_id, leaving, now, draft), draft)

    def _classic(self, group_id: str) -> ClassicGroups | ClassicMembers:
        group = self.groups.of_kind(group_id, ConsumerGroup)
        return self.classic if group is None or not group.members else self._classic_members

    def describe(self, group_id: str) -> Result[DescribeGroupsResponse.Group]:
        """DescribeGroups of one group. Raises GROUP_ID_NOT_FOUND where there is none, or one of another kind."""
        return Result(describe.described(self.groups.find(group_id, ClassicGroup)))

    # Consumer groups

    def consumer_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, now: Now
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        """ConsumerGroupHeartbeat."""
        draft = Draft()
        try:
            answer = self.consumer.heartbeat(request, caller, now, draft)
        except KafkaError as error:
            draft = Draft()
            answer = ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=error.message)
        return self.decided(request.group_id, answer, draft)

    def consumer_describe(self, group_id: str) -> Result[ConsumerGroupDescribeResponse.Group]:
        """ConsumerGroupDescribe of one group. Raises GROUP_ID_NOT_FOUND where there is none, or one of another kind."""
        return Result(self.consumer.describe(group_id))

    # Offsets

    def commit(
        self, group_id: str, committer: Committer, offsets: Mapping[TopicPartition, OffsetToCommit], now: Now
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """OffsetCommit. Raises what holds for all. A group that nobody has joined comes to be by its first commit."""
        draft = Draft()
        group = self.groups.get(group_id)
        if group is not None:
            group.check_commit(committer, offsets.keys(), now)
        elif committer.epoch >= 0:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        answer = self.offsets.commit(group_id, offsets, self.config.offset_metadata_max_bytes, now, draft)
        return self.decided(group_id, answer, draft)

    def commit_pending(
        self, group_id: str, committer: Committer, offsets: Mapping[TopicPartition, OffsetToCommit], now: Now
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """TxnOffsetCommit: the records are to be appended as part of the producer's transaction.

        Older clients don't say which member they are; in which state the group is doesn't matter (KIP-447).
        """
        draft = Draft()
        self._check_group_id(group_id)
        group = self.groups.get(group_id)
        try:
            if group is not None:
                group.check_commit(committer, offsets.keys(), now, transactional=True)
            elif committer.epoch >= 0:
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        except KafkaError as error:
            if error.code is ErrorCode.STALE_MEMBER_EPOCH:  # The request has no version that knows of it.
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION) from error
            raise
        answer = self.offsets.commit(group_id, offsets, self.config.offset_metadata_max_bytes, now, draft)
        return self.decided(group_id, answer, draft)

    def fetch(
        self,
        group_id: str,
        partitions: Collection[TopicPartition] | None,
        *,
        stable: bool = False,
        member: Fetcher = NOBODY,
    ) -> Result[dict[TopicPartition, CommittedOffset | None]]:
        """OffsetFetch of these partitions, or with None of all that the group has committed.

        With `stable` UNSTABLE stands where an open transaction may change the offset. Raises what a member is told that
        isn't one, or is in another epoch.
        """
        group = self.groups.get(group_id)
        if group is not None:
            group.check_fetch(*member)
        return Result(self.offsets.fetch(group_id, partitions, stable=stable))

    def delete_offsets(
        self, group_id: str, partitions: Collection[TopicPartition]
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """OffsetDelete: not of topics that a member subscribes to. Raises what holds for the whole group."""
        draft = Draft()
        group = self.groups.get(group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        group.check_delete_offsets()
        subscribed = group.subscribed_topics()
        if subscribed is None:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)
        answer = {
            tp: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if tp.topic in subscribed else ErrorCode.NONE for tp in partitions
        }
        self.offsets.delete(group_id, [tp for tp, code in answer.items() if code is ErrorCode.NONE], draft)
        return draft.result(answer, divisible=True)

    def delete_topics(self, topics: Collection[str]) -> Result[None]:
        """Topics are gone, and with them every offset committed for them."""
        draft = Draft()
        self.offsets.delete_topics(topics, draft)
        self.share.forget_topics(draft)
        return draft.result(None, divisible=True)

    # Share groups

    def of_share(self, group_id: str, rule: Callable[[ShareGroups, Draft], A]) -> Result[A]:
        """What is asked of share groups alone; raises as the rule does."""
        draft = Draft()
        return self.decided(group_id, rule(self.share, draft), draft)

    # Groups of all kinds

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
            group.check_delete()
        except KafkaError as error:
            return Result(error.code)
        self.offsets.delete_all(group_id, draft)
        group.tombstones(draft)
        return draft.result(ErrorCode.NONE, divisible=True)

    # The shard's own life

    @property
    def deadline(self) -> float:
        """When `expire` is due next: early where a heartbeat has put a session off since, never late."""
        return min(self.groups.deadline, self._next_cleanup)

    def expire(self, now: Now) -> Result[None]:
        """Ends what is overdue in every group; where nothing is, it cleans up if that is due."""
        draft = Draft()
        cleans = self._next_cleanup <= now.monotonic
        for group in self.groups.due(now):
            group.expire(now, draft)
            self.groups.settle(group.group_id)
            cleans = False
        if cleans:
            self._clean_up(now, draft)
        return draft.result(None, divisible=cleans)

    def _clean_up(self, now: Now, draft: Draft) -> None:
        """Every `offsets.retention.check.interval.ms`: expired offsets, and groups that then have nothing left."""
        self._next_cleanup = now.after_ms(self.config.offsets_retention_check_interval_ms)
        retention_ms = self.config.offsets_retention_minutes * 60_000
        for group in list(self.groups.values()):
            if not group.goes_when_idle or not self.offsets.expire(group, now, retention_ms, draft):
                continue
            try:
                group.check_delete()
            except KafkaError:
                continue
            group.tombstones(draft)

    def replay(self, record: Record) -> None:
        """Takes a record for the truth; a type that isn't known is passed over. Raises MalformedMessage."""
        replay = self._replays.get(record_type(record))
        if replay is not None:
            replay(record)

    def _replay_offset(self, record: Record) -> None:
        entry = read_offset(record)
        if entry.committed is not None and entry.group_id not in self.groups:
            self.classic.made(entry.group_id)
        self.offsets.replay(entry)
        self.groups.settle(entry.group_id)

    def replay_pending(self, record: Record, producer_id: int) -> None:
        """Takes a record of an open transaction for the truth. Raises MalformedMessage."""
        if record_type(record) in (LEGACY_OFFSET_KEY, OFFSET_KEY):
            entry = read_offset(record)
            if entry.committed is not None and entry.group_id not in self.groups:
                self.classic.made(entry.group_id)
            self.offsets.replay_pending(entry, producer_id)
            self.groups.settle(entry.group_id)

    def replay_marker(self, producer_id: int, *, committed: bool) -> None:
        """A producer's transaction is decided, and with it the offsets that it holds back."""
        for group_id in self.offsets.replay_marker(producer_id, committed=committed):
            self.groups.settle(group_id)

    def loaded(self, now: Now) -> Result[None]:
        """Every record is replayed: sessions begin now."""
        draft = Draft()
        self._next_cleanup = now.after_ms(self.config.offsets_retention_check_interval_ms)
        for group in list(self.groups.values()):
            group.loaded(now, draft)
            self.groups.settle(group.group_id)
        return draft.result(None)

    def abandon(self, parked: Parked, now: Now) -> Result[None]:
        """Nobody waits for this request any more."""
        draft = Draft()
        group = self.groups.get(parked.group_id)
        if group is not None:
            group.abandon(parked, now, draft)
        return self.decided(parked.group_id, None, draft)

    def unload(self, code: int) -> Result[None]:
        """Answers every waiting request with this error: the partition is another's now, or its log failed."""
        draft = Draft()
        for group in self.groups.values():
            group.unload(ErrorCode(code), draft)
        return draft.result(None)

    def decided(self, group_id: str, answer: A | Parked, draft: Draft) -> Result[A]:
        """Ends a decision about one group."""
        self.groups.settle(group_id)
        return draft.result(answer)

    @staticmethod
    def _check_group_id(group_id: str) -> None:
        """The empty id is one for offsets alone."""
        if not group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
