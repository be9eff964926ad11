"""Where a share-partition's leader and a share group's coordinator have states stored: at the share coordinator.

It finds the broker that leads the key's partition of `__share_group_state`, which is made when it is first needed, and
asks it: by a call if that is this broker, else by Kafka's inter-broker requests. What passes by itself is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.share.state import ShareKey, ShareState
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.server.broker_channel import BrokerChannels, ChannelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pykbroker.coordinator.share.shard import ShareWrite
    from pykbroker.protocol.message import Message
    from pykbroker.server.controller_runtime import ControllerRuntime
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.share_coordinator import ShareCoordinator

A = TypeVar("A")

ATTEMPTS = 5
FIRST_BACKOFF_S = 0.1
RETRIED = (
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.NOT_COORDINATOR,
)


class SharePersister:
    """Reads and writes share-partitions' states, wherever they are kept. Methods raise KafkaError."""

    def __init__(
        self,
        coordinator: ShareCoordinator,
        controller: ControllerRuntime,
        metadata: MetadataCache,
        channels: BrokerChannels,
    ) -> None:
        self._coordinator = coordinator
        self._controller = controller
        self._metadata = metadata
        self._channels = channels

    async def initialize(self, key: ShareKey, state_epoch: int, start_offset: int) -> None:
        """Begins a state; -1 leaves the start to the group's config."""
        from pykbroker.protocol.messages.initialize_share_group_state import InitializeShareGroupStateRequest

        topic = InitializeShareGroupStateRequest.Topic
        part = topic.Partition(partition=key.partition, state_epoch=state_epoch, start_offset=start_offset)
        await self._ask(
            key,
            lambda: self._coordinator.ask(
                key, lambda shard, now: shard.initialize(key, state_epoch, start_offset, now)
            ),
            InitializeShareGroupStateRequest(
                group_id=key.group_id, topics=[topic(topic_id=key.topic_id, partitions=[part])]
            ),
            lambda answer: None,
        )

    async def read(self, key: ShareKey, leader_epoch: int) -> ShareState:
        """The state, for the leader of this epoch."""
        from pykbroker.protocol.messages.read_share_group_state import ReadShareGroupStateRequest

        topic = ReadShareGroupStateRequest.Topic
        part = topic.Partition(partition=key.partition, leader_epoch=leader_epoch)
        return await self._ask(
            key,
            lambda: self._coordinator.ask(key, lambda shard, now: shard.read(key, leader_epoch, now)),
            ReadShareGroupStateRequest(group_id=key.group_id, topics=[topic(topic_id=key.topic_id, partitions=[part])]),
            lambda answer: ShareState(
                state_epoch=answer.state_epoch,
                start_offset=answer.start_offset,
                batches=_batches(answer.state_batches),
            ),
        )

    async def summary(self, key: ShareKey) -> ShareState:
        """The state without its batches; one that isn't begun has no start offset."""
        from pykbroker.protocol.messages.read_share_group_state_summary import ReadShareGroupStateSummaryRequest

        topic = ReadShareGroupStateSummaryRequest.Topic
        part = topic.Partition(partition=key.partition, leader_epoch=-1)
        return await self._ask(
            key,
            lambda: self._coordinator.ask(key, lambda shard, now: shard.summary(key)),
            ReadShareGroupStateSummaryRequest(
                group_id=key.group_id, topics=[topic(topic_id=key.topic_id, partitions=[part])]
            ),
            lambda answer: ShareState(
                state_epoch=answer.state_epoch,
                leader_epoch=answer.leader_epoch,
                start_offset=answer.start_offset,
                completed_count=answer.delivery_complete_count,
            ),
        )

    async def write(self, key: ShareKey, write: ShareWrite) -> None:
        """Stores a change."""
        from pykbroker.protocol.messages.write_share_group_state import WriteShareGroupStateRequest

        topic = WriteShareGroupStateRequest.Topic
        part = topic.Partition(
            partition=key.partition,
            state_epoch=write.state_epoch,
            leader_epoch=write.leader_epoch,
            start_offset=write.start_offset,
            delivery_complete_count=write.completed_count,
            state_batches=[
                topic.Partition.StateBatch(first_offset=first, last_offset=last, delivery_state=state, delivery_count=n)
                for first, last, state, n in write.batches
            ],
        )
        await self._ask(
            key,
            lambda: self._coordinator.ask(key, lambda shard, now: shard.write(key, write, now)),
            WriteShareGroupStateRequest(
                group_id=key.group_id, topics=[topic(topic_id=key.topic_id, partitions=[part])]
            ),
            lambda answer: None,
        )

    async def delete(self, key: ShareKey) -> None:
        """Deletes a state, if there is one."""
        from pykbroker.protocol.messages.delete_share_group_state import DeleteShareGroupStateRequest

        topic = DeleteShareGroupStateRequest.Topic
        part = topic.Partition(partition=key.partition)
        await self._ask(
            key,
            lambda: self._coordinator.ask(key, lambda shard, now: shard.delete(key)),
            DeleteShareGroupStateRequest(
                group_id=key.group_id, topics=[topic(topic_id=key.topic_id, partitions=[part])]
            ),
            lambda answer: None,
        )

    async def _ask(
        self,
        key: ShareKey,
        here: Callable[[], Awaitable[A]],
        request: Message,
        read: Callable[[Any], A],
    ) -> A:
        """Asks the key's coordinator; what isn't there yet, or has moved, a few times."""
        backoff = FIRST_BACKOFF_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                tp = self._coordinator.partition_for(key)
                if self._metadata.topic(tp.topic) is None:
                    await self._controller.ensure_internal_topic(tp.topic)
                    tp = self._coordinator.partition_for(key)
                state = self._metadata.partition(tp)
                if state is None or state.leader < 0:
                    raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
                if state.leader == self._metadata.config.node_id:
                    return await here()
                return read(await self._elsewhere(state.leader, request))
            except KafkaError as error:
                if error.code not in RETRIED or attempt == ATTEMPTS:
                    raise
            await trio.sleep(backoff)
            backoff *= 2
        raise AssertionError("the last attempt returns or raises")

    async def _elsewhere(self, broker_id: int, request: Message) -> Any:
        try:
            answer = await self._channels.channel(broker_id, "share-state").request(request)
        except ChannelError as error:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE, str(error)) from error
        partition = answer.results[0].partitions[0]
        if partition.error_code != ErrorCode.NONE:
            raise KafkaError(ErrorCode(partition.error_code), partition.error_message)
        return partition


def _batches(batches: Sequence[Any]) -> tuple[StateBatch, ...]:
    return tuple(
        StateBatch(batch.first_offset, batch.last_offset, batch.delivery_state, batch.delivery_count)
        for batch in batches
    )
