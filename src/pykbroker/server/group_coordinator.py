"""The groups of this broker, as handlers ask for them: finds the shard of a group's partition and asks it.

The rules are in `coordinator.group`, waiting and appending in `coordinator_runtime`.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import trio

from pykbroker.cluster.image import GROUP_METADATA_TOPIC
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.member import NOBODY, Fetcher, Joiner, Leaving
from pykbroker.coordinator.partitioning import partition_of
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.coordinator_runtime import CoordinatorRuntime, Hosted, TransactionalProducer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pykbroker.config.broker import BrokerConfig
    from pykbroker.coordinator.group.group import Committer
    from pykbroker.coordinator.group.offsets import OffsetToCommit
    from pykbroker.coordinator.group.records import CommittedOffset
    from pykbroker.coordinator.group.shard import GroupShard
    from pykbroker.coordinator.result import Now, Result
    from pykbroker.protocol.messages.describe_groups import DescribeGroupsResponse
    from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
    from pykbroker.protocol.messages.leave_group import LeaveGroupResponse
    from pykbroker.protocol.messages.list_groups import ListGroupsResponse
    from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
    from pykbroker.protocol.records.control import ControlType
    from pykbroker.server.clock import Clock
    from pykbroker.server.disk import Disk
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

A = TypeVar("A")


def _new_shard(config: GroupConfig, surroundings: Surroundings) -> GroupShard:
    from pykbroker.coordinator.group.shard import GroupShard  # All the rules: a broker without groups needs none.

    return GroupShard(config, surroundings)


def follow(settings: GroupConfig, config: BrokerConfig) -> None:
    """Has the groups' settings be what the broker's config says now."""
    for each in fields(GroupConfig):
        setattr(settings, each.name, getattr(config, each.name, each.default))


class GroupCoordinator:
    """The groups of this broker, as handlers ask for them. Every method raises KafkaError with Kafka's answer."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        clock: Clock,
        replica_manager: ReplicaManager,
        metadata: MetadataCache,
        disk: Disk,
    ) -> None:
        self._config = config
        self._metadata = metadata
        group_config = GroupConfig()
        follow(group_config, config)
        config.subscribe(lambda changed: follow(group_config, config))
        surroundings = Surroundings(
            image=lambda: metadata.image, group_config=lambda group: metadata.group_values(group)
        )
        self._runtime = CoordinatorRuntime(
            GROUP_METADATA_TOPIC,
            lambda: _new_shard(group_config, surroundings),
            clock=clock,
            replica_manager=replica_manager,
            disk=disk,
            commit_timeout=config.offsets_commit_timeout_ms / 1000,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; started once timers run and loads are under way."""
        await self._runtime.run(task_status)

    def close(self) -> None:
        """Answers all that wait; the broker stops."""
        self._runtime.close()

    def partition_for(self, group_id: str) -> TopicPartition:
        """Where a group's records are. The topic's own number of partitions counts, once it is there."""
        topic = self._metadata.topic(GROUP_METADATA_TOPIC)
        count = len(topic.partitions) if topic is not None else self._config.offsets_topic_num_partitions
        return TopicPartition(GROUP_METADATA_TOPIC, partition_of(group_id, count))

    async def wait_loaded(self, group_id: str) -> bool:
        """Waits until the group's shard answers here; False if it doesn't in `offsets.commit.timeout.ms`."""
        return await self._runtime.wait_loaded(self.partition_for(group_id).partition)

    async def ask(self, group_id: str, decide: Callable[[GroupShard, Now], Result[A]], *, offsets: bool = False) -> A:
        """Has the group's shard decide, and answers once what it wrote is committed; `offsets`: it concerns them alone.

        Raises KafkaError as the shard does, NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS.
        """
        return await self._runtime.ask(self._find(group_id), decide, offsets=offsets)

    async def join(
        self, request: JoinGroupRequest, *, client_id: str, client_host: str, version: int
    ) -> JoinGroupResponse:
        """JoinGroup; may take as long as the rebalance."""
        joiner = Joiner(client_id, client_host, str(uuid4()), version >= 4, version >= 9)
        return await self.ask(request.group_id, lambda shard, now: shard.join(request, joiner, now))

    async def sync(self, request: SyncGroupRequest) -> SyncGroupResponse:
        """SyncGroup; waits for the leader's. While the group is being loaded its members are told to rejoin."""
        try:
            hosted = self._find(request.group_id)
        except KafkaError as error:
            if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS) from error
            raise
        return await self._runtime.ask(hosted, lambda shard, now: shard.sync(request, now))

    def heartbeat(self, request: HeartbeatRequest) -> HeartbeatResponse:
        """Heartbeat. While the group is being loaded all is well: sessions begin after it."""
        try:
            hosted = self._find(request.group_id)
        except KafkaError as error:
            if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                return HeartbeatResponse()
            raise
        return self._runtime.ask_now(hosted, lambda shard, now: shard.heartbeat(request, now))

    async def leave(self, group_id: str, leaving: Sequence[Leaving]) -> LeaveGroupResponse:
        """LeaveGroup of any number of members."""
        return await self.ask(group_id, lambda shard, now: shard.leave(group_id, leaving, now))

    async def commit(
        self, group_id: str, committer: Committer, offsets: Mapping[TopicPartition, OffsetToCommit]
    ) -> dict[TopicPartition, ErrorCode]:
        """OffsetCommit."""
        return await self.ask(
            group_id, lambda shard, now: shard.commit(group_id, committer, offsets, now), offsets=True
        )

    async def commit_pending(
        self,
        group_id: str,
        committer: Committer,
        offsets: Mapping[TopicPartition, OffsetToCommit],
        producer: TransactionalProducer,
    ) -> dict[TopicPartition, ErrorCode]:
        """TxnOffsetCommit: the offsets count once the producer's transaction is committed."""
        return await self._runtime.ask(
            self._find(group_id),
            lambda shard, now: shard.commit_pending(group_id, committer, offsets, now),
            offsets=True,
            producer=producer,
        )

    async def end_transaction(
        self,
        partition: int,
        kind: ControlType,
        producer_id: int,
        producer_epoch: int,
        *,
        coordinator_epoch: int,
        transaction_version: int,
    ) -> None:
        """A transaction's marker in a partition of `__consumer_offsets`. Raises KafkaError as the log does."""
        await self._runtime.end_transaction(
            self._runtime.find(partition),
            kind,
            producer_id,
            producer_epoch,
            coordinator_epoch=coordinator_epoch,
            transaction_version=transaction_version,
        )

    async def fetch(
        self,
        group_id: str,
        partitions: Collection[TopicPartition] | None,
        *,
        stable: bool = False,
        member: Fetcher = NOBODY,
    ) -> dict[TopicPartition, CommittedOffset | None]:
        """OffsetFetch of these partitions; None asks for all that have an offset.

        `stable`: UNSTABLE stands where an open transaction may change the offset. `member`: who asks, from 9 on.
        """
        return await self.ask(
            group_id, lambda shard, now: shard.fetch(group_id, partitions, stable=stable, member=member), offsets=True
        )

    async def delete_offsets(
        self, group_id: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, ErrorCode]:
        """OffsetDelete."""
        return await self.ask(group_id, lambda shard, now: shard.delete_offsets(group_id, partitions), offsets=True)

    async def topics_deleted(self, topics: Collection[str]) -> None:
        """Topics are gone: so are their offsets, in every group whose coordinator is here."""

        async def delete(tp: TopicPartition) -> None:
            try:
                if not await self._runtime.wait_loaded(tp.partition):
                    raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
                hosted = self._runtime.find(tp.partition)
                await self._runtime.ask(hosted, lambda shard, now: shard.delete_topics(topics), offsets=True)
            except KafkaError as error:
                log.warning("can't remove the offsets of deleted topics from %s: %s", tp, error)

        async with trio.open_nursery() as nursery:  # The controller's next word waits for this: it mustn't take long.
            for hosted in self._runtime.hosted(loading=True):
                nursery.start_soon(delete, hosted.tp)

    async def describe(self, group_id: str) -> DescribeGroupsResponse.Group:
        """DescribeGroups of one group. Raises GROUP_ID_NOT_FOUND where there is no classic one."""
        return await self.ask(group_id, lambda shard, now: shard.describe(group_id))

    async def list_groups(self, states: Collection[str], types: Collection[str]) -> list[ListGroupsResponse.Group]:
        """ListGroups of those groups whose coordinator is here."""
        groups: list[ListGroupsResponse.Group] = []
        for hosted in self._runtime.hosted():
            listed = await self._runtime.ask(hosted, lambda shard, now: shard.list_groups(states, types))
            groups.extend(listed)
        return groups

    async def delete(self, group_id: str) -> ErrorCode:
        """DeleteGroups of one group."""
        return await self.ask(group_id, lambda shard, now: shard.delete(group_id))

    def _find(self, group_id: str) -> Hosted[GroupShard]:
        return self._runtime.find(self.partition_for(group_id).partition)
