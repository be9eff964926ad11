"""A conversation with a shard: no loop, no clock, and every parked request watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from pykbroker.coordinator.group.config import GroupConfig
from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.member import Joiner
from pykbroker.coordinator.group.offsets import OffsetToCommit
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.result import Now, Parked, Record, Result
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest
from pykbroker.protocol.topic_partition import TopicPartition


class Conversation:
    """Asks a shard as clients do, and does with its results what the runtime does."""

    def __init__(self, **config: Any) -> None:
        self.config = GroupConfig(**config)
        self.shard = self.new_shard()
        self.records: list[Record] = []
        self.seconds = 1000.0
        self.open: set[Parked] = set()
        self.answers: dict[Parked, Any] = {}
        self._ids = count(1)

    def new_shard(self) -> GroupShard:
        return GroupShard(self.config)

    @property
    def now(self) -> Now:
        return Now(self.seconds, 1_700_000_000_000 + int(self.seconds * 1000))

    def take(self, result: Result[Any]) -> Any:
        if isinstance(result.answer, Parked):
            assert result.answer not in self.open
            self.open.add(result.answer)
        for record in result.records:
            self.records.append(record)
            self.shard.replay(record)
        for parked, answer in result.released.items():
            self.open.remove(parked)
            self.answers[parked] = answer
        return result.answer

    def restarted(self) -> GroupShard:
        """What a load of the records so far makes."""
        shard = self.new_shard()
        for record in self.records:
            shard.replay(record)
        return shard

    def compacted(self) -> GroupShard:
        """What a load makes of what the cleaner leaves in the end: each key's last record, and no tombstone."""
        last: dict[bytes, Record] = {}
        for record in self.records:
            last.pop(record.key, None)
            last[record.key] = record
        shard = self.new_shard()
        for record in last.values():
            if record.value is not None:
                shard.replay(record)
        return shard

    def check_loads(self, persisted: Callable[[GroupShard], Any]) -> None:
        """However the log is loaded, it makes what was written."""
        written = persisted(self.shard)
        assert persisted(self.restarted()) == written
        assert persisted(self.compacted()) == written

    def advance(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.shard.deadline <= end:
            self.seconds = max(self.seconds, self.shard.deadline)
            self.take(self.shard.expire(self.now))
        self.seconds = end

    def join(
        self,
        member_id: str = "",
        *,
        group: str = "g",
        instance: str | None = None,
        protocols: Mapping[str, bytes] | None = None,
        protocol_type: str = "consumer",
        session: float = 10,
        rebalance: float = 60,
        version: int = 9,
    ) -> Any:
        request = JoinGroupRequest(
            group_id=group,
            member_id=member_id,
            group_instance_id=instance,
            session_timeout_ms=int(session * 1000),
            rebalance_timeout_ms=int(rebalance * 1000),
            protocol_type=protocol_type,
            protocols=[
                JoinGroupRequest.Protocol(name=name, metadata=metadata)
                for name, metadata in (protocols or {"range": b"about me"}).items()
            ],
        )
        joiner = Joiner("client", "/127.0.0.1", str(next(self._ids)), version >= 4, version >= 9)
        return self.take(self.shard.join(request, joiner, self.now))

    def sync(
        self,
        member_id: str,
        generation: int,
        assignments: Mapping[str, bytes] | None = None,
        *,
        group: str = "g",
        instance: str | None = None,
        **protocol: str,
    ) -> Any:
        request = SyncGroupRequest(
            group_id=group,
            member_id=member_id,
            generation_id=generation,
            group_instance_id=instance,
            assignments=[
                SyncGroupRequest.Assignment(member_id=name, assignment=assignment)
                for name, assignment in (assignments or {}).items()
            ],
            **protocol,
        )
        return self.take(self.shard.sync(request, self.now))

    def heartbeat(self, member_id: str, generation: int, instance: str | None = None, group: str = "g") -> ErrorCode:
        request = HeartbeatRequest(
            group_id=group, member_id=member_id, generation_id=generation, group_instance_id=instance
        )
        return ErrorCode(self.take(self.shard.heartbeat(request, self.now)).error_code)

    def leave(self, member_id: str, instance: str | None = None, group: str = "g") -> ErrorCode:
        answer = self.take(self.shard.leave(group, [(member_id, instance)], self.now))
        return ErrorCode(answer.members[0].error_code)

    def commit(
        self, member_id: str = "", generation: int = -1, *, group: str = "g", topic: str = "t", **offset: Any
    ) -> ErrorCode:
        offsets = {TopicPartition(topic, 0): OffsetToCommit(**{"offset": 5, **offset})}
        try:
            answer = self.take(self.shard.commit(group, Committer(member_id, None, generation), offsets, self.now))
        except KafkaError as error:
            return error.code
        return ErrorCode(answer[TopicPartition(topic, 0)])

    def committed(self, group: str = "g", topic: str = "t") -> Any:
        return self.shard.fetch(group, [TopicPartition(topic, 0)]).answer[TopicPartition(topic, 0)]

    def state(self, group: str = "g") -> str:
        return self.shard.groups[group].state_name if group in self.shard.groups else ""

    def known(self, **options: Any) -> str:
        """A member id, as a client of JoinGroup 4 or later gets it."""
        answer = self.join(**options)
        assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
        return str(answer.member_id)

    def answer(self, answer: Any) -> Any:
        """The answer itself, wherever it came."""
        return self.answers[answer] if isinstance(answer, Parked) else answer

    def stable(self, *assignments: bytes, **options: Any) -> tuple[int, list[str]]:
        """A stable group of dynamic members with these assignments, the first leads: its generation, and ids."""
        ids = [self.known(**options)]
        joined = [self.join(ids[0], **options)]
        for _ in assignments[1:]:
            ids.append(self.known(**options))
            joined.append(self.join(ids[-1], **options))
        if len(ids) > 1:
            joined[0] = self.join(ids[0], **options)
        generation = self.answer(joined[0]).generation_id
        group = options.get("group", "g")
        waits = [self.sync(member_id, generation, group=group) for member_id in ids[1:]]
        self.sync(ids[0], generation, dict(zip(ids, assignments, strict=True)), group=group)
        assert self.state(group) == "Stable"
        assert [self.answer(wait).assignment for wait in waits] == list(assignments[1:])
        return int(generation), ids
