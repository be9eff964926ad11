"""A member of a classic consumer group: joins, is given partitions, stays by heartbeats, commits, leaves.

It reads no records: `consumer` does. The leader's assignment is Kafka's range assignor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from pykbroker.client.cluster import GROUP, Backoff, Cluster, error_of, raise_for
from pykbroker.client.committed import Membership, commit
from pykbroker.client.connection import Versioned
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.consumer_protocol import Assignment, Subscription
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.protocol.topic_partition import TopicPartition

SESSION_TIMEOUT = 45.0
REBALANCE_TIMEOUT = 60.0
HEARTBEAT_INTERVAL = 3.0
PURPOSE = "group"

_AGAIN = frozenset({ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID})


class GroupMember:
    """One member, subscribed to topics by name."""

    def __init__(self, cluster: Cluster, group: str, topics: Sequence[str]) -> None:
        self._cluster = cluster
        self._group = group
        self._topics = sorted(topics)
        self._generation = -1
        self._member_id = ""

    async def join(self) -> list[TopicPartition]:
        """Joins, or joins again, and returns the partitions to read. Raises KafkaError."""
        backoff = Backoff(self._cluster.settings.timeout)
        while True:
            joined = await self._join()
            if joined.error_code in _AGAIN or joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
                required = joined.error_code == ErrorCode.MEMBER_ID_REQUIRED
                self._member_id = joined.member_id if required else ""
                if not required and not await backoff.wait():
                    raise_for(joined.error_code, f"group {self._group}")
                continue
            raise_for(joined.error_code, f"group {self._group}")
            self._generation, self._member_id = joined.generation_id, joined.member_id
            backoff = Backoff(self._cluster.settings.timeout)  # What waited for the others isn't counted.
            synced = await self._sync(joined)
            if synced.error_code not in _AGAIN:
                raise_for(synced.error_code, f"group {self._group}")
                return assigned_partitions(synced.assignment)
            if not await backoff.wait():
                raise_for(synced.error_code, f"group {self._group}")

    async def _join(self) -> JoinGroupResponse:
        metadata = bytes(2) + Subscription(topics=self._topics).encode(0)
        request = JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=int(SESSION_TIMEOUT * 1000),
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT * 1000),
            member_id=self._member_id,
            protocol_type="consumer",
            protocols=[JoinGroupRequest.Protocol(name="range", metadata=metadata)],
        )
        answer: JoinGroupResponse = await self._ask(request, REBALANCE_TIMEOUT + 10)
        return answer

    async def _sync(self, joined: JoinGroupResponse) -> SyncGroupResponse:
        request = SyncGroupRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            protocol_type=joined.protocol_type,
            protocol_name=joined.protocol_name,
        )
        if joined.leader == self._member_id and not joined.skip_assignment:
            subscriptions = {member.member_id: _subscribed(member.metadata) for member in joined.members}
            names = sorted({topic for topics in subscriptions.values() for topic in topics})
            counts = {topic.name or "": len(topic.partitions) for topic in (await self._cluster.metadata(names)).topics}
            request.assignments = [
                SyncGroupRequest.Assignment(member_id=member, assignment=_encoded(partitions))
                for member, partitions in range_assignment(subscriptions, counts).items()
            ]
        synced: SyncGroupResponse = await self._ask(request, REBALANCE_TIMEOUT + 10)
        return synced

    async def stay(self) -> None:
        """Sends heartbeats; returns when the group wants its members to join again. Raises KafkaError."""
        request = HeartbeatRequest(group_id=self._group, generation_id=self._generation, member_id=self._member_id)
        while True:
            await trio.sleep(HEARTBEAT_INTERVAL)
            answer = await self._ask(request)
            if answer.error_code in _AGAIN:
                return
            raise_for(answer.error_code, f"group {self._group}")

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits offsets; a rebalance under way makes that the next member's. Raises KafkaError."""
        if not offsets:
            return
        membership = Membership(self._generation, self._member_id)
        for partition, error in (await commit(self._cluster, self._group, offsets, membership, PURPOSE)).items():
            if error is not None and error.code not in _AGAIN:
                raise error_of(error.code, f"{partition} can't be committed")

    async def leave(self) -> None:
        """Leaves, so that the others need not wait for the session's end."""

        def build(version: int) -> Message:
            if version < 3:
                return LeaveGroupRequest(group_id=self._group, member_id=self._member_id)
            member = LeaveGroupRequest.Member(member_id=self._member_id, reason="the consumer is done")
            return LeaveGroupRequest(group_id=self._group, members=[member])

        if self._member_id:
            await self._ask(Versioned(ApiKey.LEAVE_GROUP, build))

    async def _ask(self, request: Message | Versioned, timeout: float | None = None) -> Any:
        return await self._cluster.coordinator(GROUP, self._group, request, purpose=PURPOSE, timeout=timeout)


def range_assignment(
    subscriptions: Mapping[str, Sequence[str]], counts: Mapping[str, int]
) -> dict[str, list[TopicPartition]]:
    """Each topic's partitions in even ranges over the members that read it, in order of their ids."""
    assigned: dict[str, list[TopicPartition]] = {member: [] for member in subscriptions}
    for topic, count in sorted(counts.items()):
        readers = sorted(member for member, topics in subscriptions.items() if topic in topics)
        if not readers:
            continue
        size, more = divmod(count, len(readers))
        start = 0
        for place, member in enumerate(readers):
            end = start + size + (place < more)
            assigned[member] += (TopicPartition(topic, index) for index in range(start, end))
            start = end
    return assigned


def _subscribed(metadata: bytes | memoryview) -> list[str]:
    version = min(int.from_bytes(metadata[:2], "big"), 3)
    return Subscription.decode(bytes(metadata), version, 2).topics


def _encoded(partitions: Sequence[TopicPartition]) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for topic, index in partitions:
        by_topic.setdefault(topic, []).append(index)
    of = Assignment.AssignedPartition
    listed = [of(topic=topic, partitions=indexes) for topic, indexes in by_topic.items()]
    return bytes(2) + Assignment(assigned_partitions=listed).encode(0)


def assigned_partitions(assignment: bytes | memoryview) -> list[TopicPartition]:
    """The partitions in what a leader told a member; none in an empty assignment."""
    if len(assignment) < 2:
        return []
    version = min(int.from_bytes(assignment[:2], "big"), 3)
    topics = Assignment.decode(bytes(assignment), version, 2).assigned_partitions
    return [TopicPartition(one.topic, index) for one in topics for index in one.partitions]
