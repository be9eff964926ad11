"""What the controller tells this broker: LeaderAndIsr, UpdateMetadata, StopReplica, one after the other.

A controller of an older epoch is refused, and so is a request meant for an earlier registration of this broker. What is
led or followed is the replica manager's work, what clients are told comes from the metadata cache.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import trio

from pykbroker.cluster.image import BrokerImage, ClusterImage, Endpoint, PartitionState, TopicImage
from pykbroker.controller.requests import LEADER_DURING_DELETE, SECURITY_PROTOCOLS
from pykbroker.metadata import znodes
from pykbroker.metadata.store import MetadataStore, StoreError
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.leader_and_isr import (
    LeaderAndIsrPartitionState,
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
)
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from pykbroker.protocol.messages.update_metadata import (
    UpdateMetadataPartitionState,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

DeletionCallback = Callable[[Sequence[TopicPartition]], Awaitable[None]]
NO_EPOCH = -1
FIRST_ERRORS_BY_TOPIC_ID = 5


class ControlRequests:
    """Takes the controller's requests, whichever way they come: over a connection, or from this very process."""

    def __init__(
        self,
        node_id: int,
        store: MetadataStore,
        metadata: MetadataCache,
        replicas: ReplicaManager,
        deleted: Iterable[DeletionCallback],
        joined: trio.Event,
    ) -> None:
        """`deleted` are told of the partitions of every topic that is gone; `joined` is set by the first controller."""
        self._node_id = node_id
        self._store = store
        self._metadata = metadata
        self._replicas = replicas
        self._deleted = deleted
        self._state_change = trio.Lock()
        self.controller_epoch = 0
        """The highest that was seen."""
        self._joined = joined

    async def handle(self, request: Any, version: int) -> Any:
        """The answer to any of the three."""
        if isinstance(request, LeaderAndIsrRequest):
            return await self.leader_and_isr(request, version)
        if isinstance(request, UpdateMetadataRequest):
            return await self.update_metadata(request)
        return await self.stop_replica(request)

    # ---- LeaderAndIsr ----------------------------------------------------------------------------------------------

    async def leader_and_isr(self, request: LeaderAndIsrRequest, version: int) -> LeaderAndIsrResponse:
        """Leads and follows as the controller has decided; an error for each partition."""
        async with self._state_change:
            code = await self._stale(request)
            if code is not ErrorCode.NONE:
                return LeaderAndIsrResponse(error_code=code)
            topics = list(_topics(request))
            await self._read_configs(name for name, _, _ in topics)
            states = [
                LeaderState(TopicPartition(name, one.partition_index), topic_id, _decision(one), one.is_new)
                for name, topic_id, partitions in topics
                for one in partitions
            ]
            answers = await self._replicas.apply_leader_and_isr(states)
        response = LeaderAndIsrResponse()
        for name, topic_id, partitions in topics:
            errors = [
                LeaderAndIsrResponse.PartitionError(
                    topic_name=name if version < FIRST_ERRORS_BY_TOPIC_ID else "",
                    partition_index=one.partition_index,
                    error_code=answers[TopicPartition(name, one.partition_index)],
                )
                for one in partitions
            ]
            if version < FIRST_ERRORS_BY_TOPIC_ID:
                response.partition_errors += errors
            else:
                response.topics.append(LeaderAndIsrResponse.Topic(topic_id=topic_id, partition_errors=errors))
        return response

    async def _read_configs(self, names: Iterable[str]) -> None:
        """Reads the configs of topics that are new here: the controller's requests don't carry them."""
        unknown = [name for name in dict.fromkeys(names) if not self._metadata.knows_config(name)]
        if not unknown:
            return
        found = await self._store.find_many([znodes.config_path(name) for name in unknown])
        for name in unknown:
            node = found.get(znodes.config_path(name))
            self._metadata.set_overrides(name, {} if node is None else znodes.decode_config(node.data))

    # ---- UpdateMetadata --------------------------------------------------------------------------------------------

    async def update_metadata(self, request: UpdateMetadataRequest) -> UpdateMetadataResponse:
        """Takes over which brokers there are, and the partitions that changed; those being deleted are forgotten."""
        async with self._state_change:
            code = await self._stale(request)
            if code is not ErrorCode.NONE:
                return UpdateMetadataResponse(error_code=code)
            changed: dict[str, tuple[UUID, dict[int, PartitionState]]] = {}
            gone: dict[str, list[TopicPartition]] = {}
            for name, topic_id, partitions in _topics(request):
                for one in partitions:
                    if one.leader == LEADER_DURING_DELETE:
                        gone.setdefault(name, []).append(TopicPartition(name, one.partition_index))
                    else:
                        changed.setdefault(name, (topic_id, {}))[1][one.partition_index] = _known(one)
            await self._read_configs(changed)
            image = self._metadata.image.with_brokers(*(self._broker(one) for one in request.live_brokers))
            image = image._replace(controller_id=request.controller_id)
            topics = [self._topic(image, name, topic_id, states) for name, (topic_id, states) in changed.items()]
            self._metadata.publish(image.with_topics(*topics).without_topics(*gone))
            for tps in gone.values():
                for told in self._deleted:
                    await told(tps)
        self._joined.set()
        return UpdateMetadataResponse()

    def _broker(self, broker: UpdateMetadataRequest.LiveBroker) -> BrokerImage:
        endpoints = {
            one.listener or SECURITY_PROTOCOLS[one.security_protocol]: Endpoint(
                one.host, one.port, SECURITY_PROTOCOLS[one.security_protocol]
            )
            for one in broker.endpoints
        }
        if not endpoints:
            endpoints = {"PLAINTEXT": Endpoint(broker.v0_host, broker.v0_port, "PLAINTEXT")}
        epoch = self._metadata.broker_epoch if broker.id == self._node_id else NO_EPOCH
        return BrokerImage(broker.id, endpoints, broker.rack, epoch)

    def _topic(self, image: ClusterImage, name: str, topic_id: UUID, states: dict[int, PartitionState]) -> TopicImage:
        known = image.topics.get(name)
        if known is not None and topic_id in (known.topic_id, ZERO_UUID):
            topic_id, states = known.topic_id, {**known.partitions, **states}
        return TopicImage(name, topic_id, dict(sorted(states.items())), self._metadata.overrides(name))

    # ---- StopReplica -----------------------------------------------------------------------------------------------

    async def stop_replica(self, request: StopReplicaRequest) -> StopReplicaResponse:
        """Gives replicas up, some with their data. A decision older than what is known here: FENCED_LEADER_EPOCH."""
        async with self._state_change:
            code = await self._stale(request)
            if code is not ErrorCode.NONE:
                return StopReplicaResponse(error_code=code)
            answers: dict[TopicPartition, ErrorCode] = {}
            stopped: dict[bool, list[TopicPartition]] = {False: [], True: []}
            for tp, epoch, delete in _stops(request):
                replica = self._replicas.find(tp)
                if replica is not None and 0 <= epoch < replica.partition.leader_epoch:
                    answers[tp] = ErrorCode.FENCED_LEADER_EPOCH
                else:
                    stopped[delete].append(tp)
            for delete, tps in stopped.items():
                if tps:
                    answers |= await self._replicas.stop_replicas(tps, delete=delete)
        return StopReplicaResponse(
            partition_errors=[
                StopReplicaResponse.PartitionError(topic_name=tp.topic, partition_index=tp.partition, error_code=code)
                for tp, code in answers.items()
            ]
        )

    # ---- fencing ---------------------------------------------------------------------------------------------------

    async def _stale(self, request: Any) -> ErrorCode:
        """Why a whole request is refused; takes note of a newer controller.

        A higher broker epoch than the own is taken: the answer to this broker's registration may still be under way.
        A controller epoch that the store doesn't know of is nobody's, where Kafka would follow whoever claims one.
        """
        if request.broker_epoch != NO_EPOCH and request.broker_epoch < self._metadata.broker_epoch:
            log.info("refused what the controller meant for broker epoch %d", request.broker_epoch)
            return ErrorCode.STALE_BROKER_EPOCH
        if request.controller_epoch < self.controller_epoch:
            log.warning("refused controller %d of epoch %d", request.controller_id, request.controller_epoch)
            return ErrorCode.STALE_CONTROLLER_EPOCH
        if request.controller_epoch > self.controller_epoch and await self._is_made_up(request.controller_epoch):
            log.warning("refused controller %d: it claims an epoch that never was", request.controller_id)
            return ErrorCode.STALE_CONTROLLER_EPOCH
        self.controller_epoch = request.controller_epoch
        return ErrorCode.NONE

    async def _is_made_up(self, epoch: int) -> bool:
        try:
            node = await self._store.find(znodes.CONTROLLER_EPOCH)
        except StoreError:
            return False  # ZooKeeper can't be asked now, and what the controller says counts.
        return node is not None and int(node.data) < epoch


def _topics(request: Any) -> Iterator[tuple[str, UUID, list[Any]]]:
    """Name, id and partitions of each topic, of any version."""
    for topic in request.topic_states:
        yield topic.topic_name, topic.topic_id, topic.partition_states
    by_name: dict[str, list[Any]] = {}
    for one in request.ungrouped_partition_states:
        by_name.setdefault(one.topic_name, []).append(one)
    for name, partitions in by_name.items():
        yield name, ZERO_UUID, partitions


def _decision(one: LeaderAndIsrPartitionState) -> PartitionState:
    return PartitionState(
        leader=one.leader,
        leader_epoch=one.leader_epoch,
        isr=tuple(one.isr),
        replicas=tuple(one.replicas),
        partition_epoch=one.partition_epoch,
        controller_epoch=one.controller_epoch,
        adding=tuple(one.adding_replicas),
        removing=tuple(one.removing_replicas),
    )


def _known(one: UpdateMetadataPartitionState) -> PartitionState:
    return PartitionState(
        leader=one.leader,
        leader_epoch=one.leader_epoch,
        isr=tuple(one.isr),
        replicas=tuple(one.replicas),
        partition_epoch=one.zk_version,
        controller_epoch=one.controller_epoch,
    )


def _stops(request: StopReplicaRequest) -> Iterator[tuple[TopicPartition, int, bool]]:
    """Partition, leader epoch and whether to delete, of any version."""
    for one in request.topic_states:
        for partition in one.partition_states:
            tp = TopicPartition(one.topic_name, partition.partition_index)
            yield tp, partition.leader_epoch, partition.delete_partition
    for topic in request.topics:
        for index in topic.partition_indexes:
            yield TopicPartition(topic.name, index), NO_EPOCH, request.delete_partitions
    for single in request.ungrouped_partitions:
        yield TopicPartition(single.topic_name, single.partition_index), NO_EPOCH, request.delete_partitions
