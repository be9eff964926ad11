"""The stored states of share groups whose partitions of `__share_group_state` this broker leads.

The rules are in `coordinator.share`. Here stand which partition a key falls to, what a failed append is called, and the
two jobs that keep the log short: snapshots of what is cold, and pruning of what snapshots have superseded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import trio

from pykbroker.cluster.image import SHARE_GROUP_STATE_TOPIC
from pykbroker.coordinator.partitioning import partition_of
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.coordinator_runtime import CoordinatorRuntime, Hosted, client_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pykbroker.config.broker import BrokerConfig
    from pykbroker.coordinator.result import Now, Result
    from pykbroker.coordinator.share.shard import ShareShard
    from pykbroker.coordinator.share.state import ShareKey
    from pykbroker.server.clock import Clock
    from pykbroker.server.disk import Disk
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

A = TypeVar("A")

UPKEEP_S = 300.0
"""Between two rounds of cold snapshots and pruning: Kafka's default for both."""


def _new_shard(updates: int, partitions: Callable[[UUID], int]) -> ShareShard:
    from pykbroker.coordinator.share.shard import ShareShard  # A broker without share groups needs no rules of theirs.

    return ShareShard(updates, partitions)


class ShareCoordinator:
    """The share coordinator's part of this broker. Methods raise KafkaError with Kafka's answer."""

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
        self._replicas = replica_manager
        updates = config.share_coordinator_snapshot_update_records_per_snapshot
        self._runtime = CoordinatorRuntime(
            SHARE_GROUP_STATE_TOPIC,
            lambda: _new_shard(updates, self._partitions),
            clock=clock,
            replica_manager=replica_manager,
            disk=disk,
            commit_timeout=config.share_coordinator_write_timeout_ms / 1000,
            client_error=client_error,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; started once loads are under way."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._runtime.run)
            nursery.start_soon(self._keep)
            task_status.started()

    def close(self) -> None:
        """Gives all states up; the broker stops."""
        self._runtime.close()

    def partition_for(self, key: ShareKey | str) -> TopicPartition:
        """Where a share-partition's state is stored."""
        topic = self._metadata.topic(SHARE_GROUP_STATE_TOPIC)
        count = self._config.share_coordinator_state_topic_num_partitions if topic is None else len(topic.partitions)
        return TopicPartition(SHARE_GROUP_STATE_TOPIC, partition_of(str(key), count))

    async def wait_loaded(self, key: ShareKey | str) -> bool:
        """Waits until the state can be asked for here; False if it can't in `share.coordinator.write.timeout.ms`."""
        return await self._runtime.wait_loaded(self.partition_for(key).partition)

    async def ask(self, key: ShareKey, decide: Callable[[ShareShard, Now], Result[A]]) -> A:
        """Has the state's shard decide, and answers once what it wrote is committed."""
        return await self._runtime.ask(self._runtime.find(self.partition_for(key).partition), decide)

    async def topics_deleted(self) -> None:
        """Topics are gone: so are the states of their share-partitions."""
        await self._ask_all(lambda shard, now: shard.forget_topics())

    async def snapshot_cold(self) -> None:
        """Writes snapshots of states that have had none for long."""
        await self._ask_all(lambda shard, now: shard.snapshot_cold(now))

    def prune(self) -> None:
        """Hides what later snapshots have superseded; retention removes the segments."""
        for hosted in self._loaded():
            try:
                self._replicas.delete_records(hosted.tp, hosted.shard.redundant_below, internal=True)
            except KafkaError as error:
                log.debug("can't prune %s: %s", hosted.tp, error)

    async def _keep(self) -> None:
        while True:
            await trio.sleep(UPKEEP_S)
            await self.snapshot_cold()
            self.prune()

    async def _ask_all(self, decide: Callable[[ShareShard, Now], Result[None]]) -> None:
        for hosted in self._loaded():
            try:
                await self._runtime.ask(hosted, decide)
            except KafkaError as error:
                log.warning("can't write to %s: %s", hosted.tp, error)

    def _loaded(self) -> list[Hosted[ShareShard]]:
        return [hosted for hosted in self._runtime.hosted(loading=True) if hosted.loaded.is_set()]

    def _partitions(self, topic_id: UUID) -> int:
        name = self._metadata.topic_name(topic_id)
        topic = None if name is None else self._metadata.topic(name)
        return 0 if topic is None or topic.topic_id != topic_id else len(topic.partitions)
