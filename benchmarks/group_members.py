"""Members of groups over the wire, a connection each, as many as wanted in one process: for measurements and storms.

They read no records. A classic member's leader deals partitions out in turn; a consumer group's members do as they are
told. Each goes on until it is told to leave.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import trio

from pykbroker.client.connection import Connection, open_connection
from pykbroker.client.settings import ClientSettings
from pykbroker.protocol.consumer_protocol import Assignment, Subscription
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest

REBALANCE_TIMEOUT_MS = 60_000
SESSION_TIMEOUT_MS = 45_000
AGAIN = frozenset((ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION, ErrorCode.MEMBER_ID_REQUIRED))
AWAY = frozenset(
    (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE)
)


class Member:
    """One member; `owned` is what it reads now."""

    def __init__(self, address: tuple[str, int], group: str, topic: str, partitions: int, interval: float) -> None:
        self.owned: set[int] = set()
        self.settled = False
        """It is a member and has nothing to wait for but its next heartbeat."""
        self._address, self._group, self._topic, self._partitions = address, group, topic, partitions
        self._interval = interval
        self._leaves = trio.Event()

    async def run(self) -> None:
        """Joins and stays until `leave`. Raises RuntimeError for an answer that no client expects."""
        connection = await open_connection(self._address, ClientSettings(request_timeout=REBALANCE_TIMEOUT_MS / 1000))
        try:
            while not self._leaves.is_set():
                await self.step(connection)
                if self.settled:
                    with trio.move_on_after(self._interval):
                        await self._leaves.wait()
            self.owned = set()
            await self.say_goodbye(connection)
        finally:
            connection.abort()

    def leave(self) -> None:
        """Has `run` leave the group and return."""
        self._leaves.set()

    async def step(self, connection: Connection) -> None:
        """One heartbeat, or what it takes to join."""
        raise NotImplementedError

    async def say_goodbye(self, connection: Connection) -> None:
        """Leaves the group."""
        raise NotImplementedError


class ConsumerMember(Member):
    """Of a consumer group (KIP-848)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._member_id, self._epoch = str(uuid.uuid4()), 0
        self._topic_id = uuid.UUID(int=0)

    async def step(self, connection: Connection) -> None:
        """One heartbeat; says what it has, as soon as that changes."""
        request = ConsumerGroupHeartbeatRequest(
            group_id=self._group, member_id=self._member_id, member_epoch=self._epoch, topic_partitions=self._held()
        )
        if self._epoch == 0:
            request.rebalance_timeout_ms, request.subscribed_topic_names = REBALANCE_TIMEOUT_MS, [self._topic]
        answer = await connection.call(request)
        code = ErrorCode(answer.error_code)
        if code in AWAY:
            await trio.sleep(self._interval)
        elif code in (ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID):
            self._epoch, self.owned = 0, set()
        elif code is not ErrorCode.NONE:
            raise RuntimeError(f"{code.name}: {answer.error_message}")
        else:
            self._epoch, self.settled = answer.member_epoch, True
            if answer.assignment is not None:
                before, self.owned = self.owned, set()
                for one in answer.assignment.topic_partitions:
                    self._topic_id = one.topic_id
                    self.owned |= set(one.partitions)
                self.settled = self.owned >= before  # What it gave up it reports at once.

    async def say_goodbye(self, connection: Connection) -> None:
        """Epoch -1."""
        await connection.call(
            ConsumerGroupHeartbeatRequest(group_id=self._group, member_id=self._member_id, member_epoch=-1)
        )

    def _held(self) -> list[ConsumerGroupHeartbeatRequest.TopicPartition]:
        partition = ConsumerGroupHeartbeatRequest.TopicPartition
        return [partition(topic_id=self._topic_id, partitions=sorted(self.owned))] if self.owned else []


class ClassicMember(Member):
    """Of a classic group."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._member_id, self._generation = "", -1

    async def step(self, connection: Connection) -> None:
        """A heartbeat, or a whole rebalance."""
        if self._generation < 0:
            await self._rebalance(connection)
            return
        beat = HeartbeatRequest(group_id=self._group, generation_id=self._generation, member_id=self._member_id)
        self._judge((await connection.call(beat)).error_code)

    async def _rebalance(self, connection: Connection) -> None:
        metadata = b"\x00\x00" + Subscription(topics=[self._topic]).encode(0)
        answer = await connection.call(
            JoinGroupRequest(
                group_id=self._group,
                member_id=self._member_id,
                session_timeout_ms=SESSION_TIMEOUT_MS,
                rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
                protocol_type="consumer",
                protocols=[JoinGroupRequest.Protocol(name="range", metadata=metadata)],
            )
        )
        self._member_id = answer.member_id or self._member_id
        if not self._judge(answer.error_code):
            return
        sync = SyncGroupRequest(
            group_id=self._group,
            generation_id=answer.generation_id,
            member_id=self._member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=self._dealt([member.member_id for member in answer.members]),
        )
        synced = await connection.call(sync)
        if self._judge(synced.error_code):
            self._generation, self.settled = answer.generation_id, True
            assigned = Assignment.decode(synced.assignment, 0, 2).assigned_partitions if synced.assignment else []
            self.owned = {index for one in assigned for index in one.partitions}

    def _dealt(self, members: Sequence[str]) -> list[SyncGroupRequest.Assignment]:
        dealt = []
        for index, member_id in enumerate(members):
            partitions = list(range(index, self._partitions, len(members)))
            assigned = [Assignment.AssignedPartition(topic=self._topic, partitions=partitions)]
            encoded = b"\x00\x00" + Assignment(assigned_partitions=assigned).encode(0)
            dealt.append(SyncGroupRequest.Assignment(member_id=member_id, assignment=encoded))
        return dealt

    def _judge(self, error_code: int) -> bool:
        """Whether all is well; else what to do next."""
        code = ErrorCode(error_code)
        if code is ErrorCode.NONE:
            return True
        self._generation, self.settled, self.owned = -1, False, set()
        if code is ErrorCode.UNKNOWN_MEMBER_ID:
            self._member_id = ""
        elif code not in AGAIN | AWAY:
            raise RuntimeError(code.name)
        return False

    async def say_goodbye(self, connection: Connection) -> None:
        """LeaveGroup."""
        leaving = LeaveGroupRequest.Member(member_id=self._member_id)
        await connection.call(LeaveGroupRequest(group_id=self._group, members=[leaving]))


PROTOCOLS: dict[str, type[Member]] = {"classic": ClassicMember, "consumer": ConsumerMember}
