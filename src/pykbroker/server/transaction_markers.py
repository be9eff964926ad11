"""Where a transaction's markers go: to the logs of the partitions led here, and over the wire to the other leaders.

It writes what it is told and says what became of it. Whether to try again is the transaction coordinator's to say.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import trio

from pykbroker.cluster.image import GROUP_METADATA_TOPIC, NO_LEADER, TRANSACTION_STATE_TOPIC
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersRequest
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannels, ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykbroker.config.broker import BrokerConfig
    from pykbroker.server.clock import Clock
    from pykbroker.server.group_coordinator import GroupCoordinator
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

PURPOSE = "transaction-markers"
LOADING = (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR)
"""What a group's partition may answer, and a transaction coordinator doesn't know: said as NOT_LEADER_OR_FOLLOWER."""

Codes = dict[TopicPartition, ErrorCode]


class Marker(NamedTuple):
    """The end of one transaction, for whatever partitions."""

    producer_id: int
    producer_epoch: int
    committed: bool
    coordinator_epoch: int
    transaction_version: int = 0
    """The feature level of the client, on which it depends whether the epoch has to be a new one."""


class TransactionMarkers:
    """Writes markers."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        clock: Clock,
        replica_manager: ReplicaManager,
        groups: GroupCoordinator,
        metadata: MetadataCache,
        channels: BrokerChannels,
    ) -> None:
        self._config = config
        self._clock = clock
        self._replicas = replica_manager
        self._groups = groups
        self._metadata = metadata
        self._channels = channels

    async def write(self, marker: Marker, partitions: Iterable[TopicPartition]) -> Codes:
        """Has the leaders of these partitions write a marker; back when it is committed, with a code for each.

        A partition that is gone needs none: NONE. One whose leader can't be reached: NOT_LEADER_OR_FOLLOWER.
        """
        codes: Codes = {}
        by_leader: dict[int, list[TopicPartition]] = defaultdict(list)
        # A broker that has yet to hear of the cluster doesn't know what is gone.
        informed = self._metadata.topic(TRANSACTION_STATE_TOPIC) is not None
        for tp in sorted(partitions):
            state = self._metadata.partition(tp)
            if state is None:
                codes[tp] = ErrorCode.NONE if informed else ErrorCode.NOT_LEADER_OR_FOLLOWER
            elif state.leader == NO_LEADER:
                codes[tp] = ErrorCode.NOT_LEADER_OR_FOLLOWER
            else:
                by_leader[state.leader].append(tp)

        async def write(leader: int, led: list[TopicPartition]) -> None:
            here = leader == self._config.node_id
            codes.update(await (self.write_here(marker, led) if here else self._send(leader, marker, led)))

        async with trio.open_nursery() as nursery:  # One that doesn't answer mustn't hold up the others' readers.
            for leader, led in by_leader.items():
                nursery.start_soon(write, leader, led)
        return codes

    async def write_here(self, marker: Marker, partitions: Iterable[TopicPartition]) -> Codes:
        """Writes a marker to partitions led here; back when it is committed, with a code for each."""
        codes: Codes = {}
        written: dict[TopicPartition, int] = {}
        kind = ControlType.COMMIT if marker.committed else ControlType.ABORT
        for tp in partitions:
            try:
                if self._replicas.find(tp) is None:
                    raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                if tp.topic == GROUP_METADATA_TOPIC:
                    await self._end_offsets(tp.partition, kind, marker)
                else:
                    written[tp] = self._append(tp, kind, marker)
                codes[tp] = ErrorCode.NONE
            except KafkaError as error:
                codes[tp] = error.code
        for tp, offset in written.items():
            try:
                await self._replicas.wait_for_high_watermark(tp, offset, self._config.request_timeout_ms / 1000)
            except KafkaError as error:
                codes[tp] = error.code
        return codes

    def _append(self, tp: TopicPartition, kind: ControlType, marker: Marker) -> int:
        batch = build_marker(
            kind, marker.producer_id, marker.producer_epoch, marker.coordinator_epoch, self._clock.now_ms()
        )
        info = self._replicas.append_internal(tp, batch, transaction_version=marker.transaction_version)
        return info.last_offset + 1

    async def _end_offsets(self, partition: int, kind: ControlType, marker: Marker) -> None:
        try:
            await self._groups.end_transaction(
                partition,
                kind,
                marker.producer_id,
                marker.producer_epoch,
                coordinator_epoch=marker.coordinator_epoch,
                transaction_version=marker.transaction_version,
            )
        except KafkaError as error:
            if error.code in LOADING:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER) from error
            raise

    async def _send(self, leader: int, marker: Marker, partitions: list[TopicPartition]) -> Codes:
        topics: dict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            topics[tp.topic].append(tp.partition)
        request = WriteTxnMarkersRequest(
            markers=[
                WriteTxnMarkersRequest.Marker(
                    producer_id=marker.producer_id,
                    producer_epoch=marker.producer_epoch,
                    transaction_result=marker.committed,
                    coordinator_epoch=marker.coordinator_epoch,
                    transaction_version=marker.transaction_version,
                    topics=[
                        WriteTxnMarkersRequest.Marker.Topic(name=name, partition_indexes=indexes)
                        for name, indexes in topics.items()
                    ],
                )
            ]
        )
        codes: Codes = dict.fromkeys(partitions, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        try:
            answer = await self._channels.channel(leader, PURPOSE).request(request)
        except ChannelError as error:
            log.info("markers of producer %d didn't reach broker %d: %s", marker.producer_id, leader, error)
            return codes
        for one in answer.markers:
            for topic in one.topics:
                for partition in topic.partitions:
                    codes[TopicPartition(topic.name, partition.partition_index)] = ErrorCode(partition.error_code)
        return codes
