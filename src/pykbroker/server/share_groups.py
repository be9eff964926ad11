"""Share groups as handlers ask for them: the group's coordinator and the share coordinator, one after the other.

The coordinator decides which share-partitions' states have to begin or go; here they do, and it hears of the outcome.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import trio

from pykbroker.coordinator.share.state import NO_COUNT, NO_OFFSET, ShareKey, ShareState
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.server.broker_channel import BrokerChannels, ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pykbroker.coordinator.group.share_groups import (
        AlteredTopic,
        Begin,
        Caller,
        DeletedTopic,
        Described,
        ShareGroups,
    )
    from pykbroker.coordinator.result import Draft
    from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest
    from pykbroker.protocol.messages.share_group_heartbeat import (
        ShareGroupHeartbeatRequest,
        ShareGroupHeartbeatResponse,
    )
    from pykbroker.protocol.topic_partition import TopicPartition
    from pykbroker.server.group_coordinator import GroupCoordinator
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.replica_manager import ReplicaManager
    from pykbroker.server.share_persister import SharePersister

log = logging.getLogger(__name__)

A = TypeVar("A")

CONSUMER, LATEST = -1, -1
LIST_OFFSETS = 9
"""The version of the inter-broker requests up to Kafka 3.9, which any peer here speaks."""

Outcomes = dict[tuple[UUID, int], KafkaError]
"""The partitions for which it didn't work."""


class ShareGroupService:
    """What is asked of share groups that takes both coordinators. Methods raise KafkaError."""

    def __init__(
        self,
        groups: GroupCoordinator,
        persister: SharePersister,
        metadata: MetadataCache,
        replica_manager: ReplicaManager,
        channels: BrokerChannels,
    ) -> None:
        self._groups = groups
        self._persister = persister
        self._metadata = metadata
        self._replicas = replica_manager
        self._channels = channels
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Has states begin in the background until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def heartbeat(self, request: ShareGroupHeartbeatRequest, caller: Caller) -> ShareGroupHeartbeatResponse:
        """ShareGroupHeartbeat; what it asks to begin does so afterwards."""
        heartbeat = await self._groups.ask(
            request.group_id,
            lambda shard, now: shard.of_share(
                request.group_id, lambda share, draft: share.heartbeat(request, caller, now, draft)
            ),
        )
        if heartbeat.begin is not None and self._nursery is not None:
            self._nursery.start_soon(self._begin, heartbeat.begin)
        return heartbeat.response

    async def _begin(self, begin: Begin) -> Outcomes:
        """Has states begin, and tells the group; in part is not at all."""
        group_id, partitions = begin.group_id, {topic_id: list(parts) for topic_id, parts in begin.offsets.items()}
        failed: Outcomes = {}
        for topic_id, offsets in begin.offsets.items():
            for index, start in offsets.items():
                try:
                    await self._persister.initialize(ShareKey(group_id, topic_id, index), begin.state_epoch, start)
                except KafkaError as error:
                    failed[topic_id, index] = error
        try:
            if not failed:
                await self._ask(group_id, lambda share, draft: share.initialized(group_id, partitions, draft))
            else:
                log.warning("can't begin the states of share group %s: %s", group_id, next(iter(failed.values())))
                await self._ask(group_id, lambda share, draft: share.uninitialized(group_id, partitions, draft))
        except KafkaError as error:
            log.warning("can't write what became of the states of share group %s: %s", group_id, error)
        return failed

    async def alter_offsets(
        self, group_id: str, topics: Collection[AlterShareGroupOffsetsRequest.Topic]
    ) -> list[AlteredTopic]:
        """AlterShareGroupOffsets: states begin anew at these offsets."""
        answers, begin = await self._groups.ask(
            group_id,
            lambda shard, now: shard.of_share(
                group_id, lambda share, draft: share.alter_offsets(group_id, topics, now, draft)
            ),
        )
        failed = await self._begin(begin) if begin.offsets else {}
        for topic in answers:
            for part in topic.partitions:
                error = failed.get((topic.topic_id, part.partition_index))
                if error is not None:
                    part.error_code, part.error_message = error.code, error.message
        return answers

    async def delete_offsets(self, group_id: str, names: Collection[str]) -> list[DeletedTopic]:
        """DeleteShareGroupOffsets: the states of these topics go."""
        from pykbroker.coordinator.group.share_groups import DeletedTopic

        refused, doomed = await self._ask(group_id, lambda share, draft: share.delete_offsets(group_id, names, draft))
        failed = await self._delete(group_id, doomed)
        answers: list[DeletedTopic] = []
        gone = []
        for topic_id in doomed:
            error = next((error for (of, _), error in failed.items() if of == topic_id), None)
            answer = DeletedTopic(topic_name=self._metadata.topic_name(topic_id) or "", topic_id=topic_id)
            if error is None:
                gone.append(topic_id)
            else:
                answer.error_code, answer.error_message = error.code, error.message
            answers.append(answer)
        if gone:
            await self._ask(group_id, lambda share, draft: share.offsets_deleted(group_id, gone, draft))
        return [*answers, *refused]

    async def delete_states(self, group_id: str) -> ErrorCode:
        """Before a group is deleted its states go; a group of another kind has none."""
        try:
            doomed = await self._ask(group_id, lambda share, draft: share.doom(group_id, draft))
        except KafkaError as error:
            return error.code
        failed = await self._delete(group_id, doomed)
        return next((error.code for error in failed.values()), ErrorCode.NONE)

    async def _delete(self, group_id: str, partitions: Mapping[UUID, Iterable[int]]) -> Outcomes:
        failed: Outcomes = {}
        for topic_id, indexes in partitions.items():
            for index in indexes:
                try:
                    await self._persister.delete(ShareKey(group_id, topic_id, index))
                except KafkaError as error:
                    failed[topic_id, index] = error
        return failed

    async def describe(self, group_id: str) -> Described:
        """ShareGroupDescribe of one group."""
        return await self._ask(group_id, lambda share, draft: share.describe(group_id))

    async def _ask(self, group_id: str, rule: Callable[[ShareGroups, Draft], A]) -> A:
        return await self._groups.ask(group_id, lambda shard, now: shard.of_share(group_id, rule))

    async def begun(self, group_id: str) -> dict[UUID, list[int]]:
        """The partitions whose states have begun."""
        return await self._ask(group_id, lambda share, draft: share.begun(group_id))

    async def summary(self, key: ShareKey) -> ShareState:
        """Where a group is in a partition; no start where it has none, or where that can't be known."""
        try:
            return await self._persister.summary(key)
        except KafkaError as error:
            log.debug("no summary of %s: %s", key, error)
            return ShareState()

    async def end_offset(self, tp: TopicPartition) -> int:
        """The high watermark, asked of the partition's leader. Raises KafkaError."""
        state = self._metadata.partition(tp)
        if state is None or state.leader < 0:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if state.leader == self._metadata.config.node_id:
            return self._replicas.leader(tp).partition.high_watermark
        cls = ListOffsetsRequest.Topic
        part = cls.Partition(partition_index=tp.partition, timestamp=LATEST)
        request = ListOffsetsRequest(replica_id=CONSUMER, topics=[cls(name=tp.topic, partitions=[part])])
        try:
            answer = await self._channels.channel(state.leader, "share-offsets").request(request, highest=LIST_OFFSETS)
        except ChannelError as error:
            raise KafkaError(ErrorCode.NETWORK_EXCEPTION, str(error)) from error
        found = answer.topics[0].partitions[0]
        if found.error_code != ErrorCode.NONE:
            raise KafkaError(ErrorCode(found.error_code))
        offset: int = found.offset
        return offset


def has_lag(state: ShareState) -> bool:
    """Whether it is known how much lies before the group."""
    return state.start_offset != NO_OFFSET and state.completed_count != NO_COUNT
