"""A cluster whose topics come and go, and consumers of the newer protocol as far as the coordinator can see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from tests.coordinator.conversation import Conversation

from pykbroker.cluster.image import BrokerImage, ClusterImage, PartitionState, TopicImage
from pykbroker.coordinator.group.assignment import TopicIdPartition
from pykbroker.coordinator.group.config import Surroundings
from pykbroker.coordinator.group.consumer_group import TRANSITIONS, ConsumerGroup, ConsumerGroupState
from pykbroker.coordinator.group.consumer_groups import Caller
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.group.share_group import TRANSITIONS as SHARE_TRANSITIONS
from pykbroker.coordinator.group.share_group import ShareGroup, ShareGroupState
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

State = ConsumerGroupState | ShareGroupState
WAYS = {(before, after) for before, _, after in (*TRANSITIONS, *SHARE_TRANSITIONS)}
Owned = ConsumerGroupHeartbeatRequest.TopicPartition


class Cluster(Conversation):
    """A conversation with a shard that sees topics."""

    def __init__(self, topics: Mapping[str, int] | None = None, **config: Any) -> None:
        self.image = ClusterImage(cluster_id="c")
        self.group_config: dict[str, Any] = {}
        self.hidden: set[str] = set()
        self._topic_ids = 0
        self.ways: set[tuple[State, State]] = set()
        super().__init__(**config)
        for name, partitions in (topics or {}).items():
            self.create(name, partitions)

    def new_shard(self) -> GroupShard:
        surroundings = Surroundings(image=lambda: self.image, group_config=lambda group_id: self.group_config)
        return GroupShard(self.config, surroundings)

    def take(self, result: Any) -> Any:
        """As ever; the group's state goes the ways of the table, which are noted."""
        before = self._state()
        answer = super().take(result)
        after = self._state()
        if before is not after and before is not None:
            way = before, type(before).DEAD if after is None else after
            assert way in WAYS, "not in the table"
            self.ways.add(way)
        return answer

    def _state(self) -> State | None:
        group = self.shard.groups.get("g")
        return group.state if isinstance(group, (ConsumerGroup, ShareGroup)) else None

    def create(self, name: str, partitions: int) -> None:
        known = self.image.topics.get(name)
        if known is None:
            self._topic_ids += 1
        topic_id = UUID(int=self._topic_ids) if known is None else known.topic_id
        states = {index: PartitionState(1, 0, (1,), (1,), 0, 0) for index in range(partitions)}
        self.image = self.image.with_topics(TopicImage(name, topic_id, states))

    def delete(self, name: str) -> None:
        self.image = self.image.without_topics(name)

    def racks(self, **racks: str) -> None:
        self.image = self.image.with_brokers(BrokerImage(1, {}, racks["broker_1"]))

    def beat(self, member_id: str, epoch: int, *, group: str = "g", version: int = 1, **fields: Any) -> Any:
        """One heartbeat with these fields."""
        request = ConsumerGroupHeartbeatRequest(group_id=group, member_id=member_id, member_epoch=epoch, **fields)
        caller = Caller("client", "/127.0.0.1", f"uuid-{next(self._ids)}", version, self._may_see)
        return self.take(self.shard.consumer_heartbeat(request, caller, self.now))

    def _may_see(self, topic: str) -> bool:
        return topic not in self.hidden

    def full(self, member_id: str, epoch: int = 0, *, topics: Iterable[str] | None = ("t",), **fields: Any) -> Any:
        """A heartbeat that says everything."""
        names = None if topics is None else list(topics)
        return self.beat(
            member_id,
            epoch,
            **{"rebalance_timeout_ms": 60_000, "subscribed_topic_names": names, "topic_partitions": [], **fields},
        )

    def group(self, group_id: str = "g") -> Any:
        return self.shard.groups[group_id]

    def name(self, tp: TopicIdPartition) -> tuple[str, int]:
        return self.image.topic_names.get(tp.topic_id, "gone"), tp.partition


class Consumer:
    """A member that heartbeats, gives up what it isn't told of any more, and says what it has."""

    def __init__(self, talk: Cluster, member_id: str, **fields: Any) -> None:
        self.talk = talk
        self.member_id = member_id
        self.fields = {"topics": ("t",), **fields}
        self.epoch = 0
        self.owned: set[TopicIdPartition] = set()
        self.unanswered: set[TopicIdPartition] | None = None

    @property
    def partitions(self) -> set[tuple[str, int]]:
        return {self.talk.name(tp) for tp in self.owned}

    def beat(self, *, revokes: bool = True) -> ErrorCode:
        """One heartbeat; one that is slow to revoke keeps what it has for now."""
        if self.epoch == 0:
            answer = self.talk.full(self.member_id, **self.fields)
        else:
            answer = self.talk.beat(self.member_id, self.epoch, topic_partitions=self._held())
        code = ErrorCode(answer.error_code)
        if code in (ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.GROUP_ID_NOT_FOUND):
            self.epoch, self.owned = 0, set()
        elif code is ErrorCode.NONE:
            self.epoch = answer.member_epoch
            if answer.assignment is not None:
                told = {
                    TopicIdPartition(one.topic_id, index)
                    for one in answer.assignment.topic_partitions
                    for index in one.partitions
                }
                self.unanswered = told
            if self.unanswered is not None:
                kept = self.owned if not revokes else set()
                self.owned = self.unanswered | kept
                if revokes:
                    self.unanswered = None
        return code

    def leave(self, epoch: int = -1) -> ErrorCode:
        fields = {"instance_id": self.fields["instance_id"]} if "instance_id" in self.fields else {}
        answer = self.talk.beat(self.member_id, epoch, **fields)
        self.epoch, self.owned, self.unanswered = 0, set(), None
        return ErrorCode(answer.error_code)

    def _held(self) -> list[Any]:
        topics: dict[UUID, list[int]] = {}
        for tp in sorted(self.owned):
            topics.setdefault(tp.topic_id, []).append(tp.partition)
        return [Owned(topic_id=topic_id, partitions=partitions) for topic_id, partitions in topics.items()]


def settle(talk: Cluster, consumers: Iterable[Consumer], rounds: int = 8) -> None:
    """Everybody heartbeats for a while; more than an assignment interval passes each time."""
    consumers = list(consumers)
    for _ in range(rounds):
        talk.advance(1.5)
        for consumer in consumers:
            consumer.beat()
