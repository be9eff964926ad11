"""The partitions that this broker hosts: appends and reads on the leader, leadership taken up and given back.

It joins the pure `cluster.partition` with the partition's log and says to the purgatory what has changed. It decides
neither who leads nor what a request answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from pykbroker.cluster.image import PartitionState
from pykbroker.cluster.partition import Partition
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.storage.log import AppendInfo, AppendOrigin, UnifiedLog
from pykbroker.storage.log_manager import LogManager

log = logging.getLogger(__name__)

LeadershipCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LeaderState:
    """A leadership decision for one partition, as LeaderAndIsr carries it."""

    topic_partition: TopicPartition
    topic_id: UUID
    state: PartitionState
    is_new: bool


class Replica:
    """A hosted partition: its rules and its log."""

    __slots__ = ("failing", "log", "partition")

    def __init__(self, partition: Partition, log: UnifiedLog) -> None:
        self.partition = partition
        self.log = log
        self.failing = False
        """Whether the last append met a disk that is full or broken: said once, not for each retry."""

    @property
    def last_stable_offset(self) -> int:
        """Up to here no transaction is undecided; never above the high watermark."""
        return self.log.last_stable_offset(self.partition.high_watermark)


class ReplicaManager:
    """Appends to and reads from the partitions that this broker leads."""

    def __init__(
        self, logs: LogManager, metadata: MetadataCache, purgatory: Purgatory, disk: Disk, clock: Clock
    ) -> None:
        self._logs = logs
        self._metadata = metadata
        self._purgatory = purgatory
        self._disk = disk
        self._clock = clock
        self._replicas: dict[TopicPartition, Replica] = {}
        self._listeners: dict[str, tuple[LeadershipCallback, LeadershipCallback]] = {}

    # ---- leadership ------------------------------------------------------------------------------------------------

    def on_leadership(self, topic: str, elected: LeadershipCallback, resigned: LeadershipCallback) -> None:
        """Has `elected` and `resigned` called, with partition and leader epoch, for an internal topic's partitions."""
        self._listeners[topic] = elected, resigned
        for tp, replica in self._replicas.items():
            if tp.topic == topic:
                elected(tp.partition, replica.partition.leader_epoch)

    async def become_leader(self, states: Sequence[LeaderState]) -> dict[TopicPartition, ErrorCode]:
        """Leads these partitions from now on; a missing log is made. Answers an error code for each."""
        logs = await self._disk.run(self._open_logs, states)
        answers: dict[TopicPartition, ErrorCode] = {}
        for leader_state in states:
            tp = leader_state.topic_partition
            opened = logs[tp]
            if isinstance(opened, ErrorCode):
                answers[tp] = opened
                continue
            answers[tp] = self._lead(leader_state, opened)
        return answers

    def _open_logs(self, states: Sequence[LeaderState]) -> dict[TopicPartition, UnifiedLog | ErrorCode]:
        logs: dict[TopicPartition, UnifiedLog | ErrorCode] = {}
        for leader_state in states:
            tp = leader_state.topic_partition
            try:
                logs[tp] = self._logs.get_or_create(tp, leader_state.topic_id, self._metadata.log_config(tp.topic))
            except KafkaError as error:
                logs[tp] = error.code
            except OSError as error:
                log.error("can't open the log of %s: %s", tp, error)
                logs[tp] = ErrorCode.KAFKA_STORAGE_ERROR
        return logs

    def _lead(self, leader_state: LeaderState, opened: UnifiedLog) -> ErrorCode:
        tp = leader_state.topic_partition
        replica = self._replicas.get(tp)
        if replica is None or replica.log is not opened:
            partition = Partition(tp, leader_state.topic_id, self._logs.high_watermark(tp), opened.log_end_offset)
            replica = Replica(partition, opened)
        if not replica.partition.become_leader(leader_state.state):
            return ErrorCode.STALE_CONTROLLER_EPOCH
        opened.assign_epoch(leader_state.state.leader_epoch)
        self._replicas[tp] = replica
        self._purgatory.check(tp)
        if tp.topic in self._listeners:
            self._listeners[tp.topic][0](tp.partition, leader_state.state.leader_epoch)
        return ErrorCode.NONE

    async def stop_replicas(self, tps: Iterable[TopicPartition], delete: bool) -> dict[TopicPartition, ErrorCode]:
        """Stops hosting these partitions; with `delete` their data is gone when this returns."""
        answers: dict[TopicPartition, ErrorCode] = {}
        for tp in tps:
            replica = self._replicas.pop(tp, None)
            if replica is not None:
                if tp.topic in self._listeners:
                    self._listeners[tp.topic][1](tp.partition, replica.partition.leader_epoch)
                self._purgatory.check(tp)
            answers[tp] = ErrorCode.NONE
        if delete:
            answers |= await self._disk.run(self._delete_logs, list(answers))
        return answers

    def _delete_logs(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, ErrorCode]:
        failed: dict[TopicPartition, ErrorCode] = {}
        for tp in tps:
            try:
                self._logs.delete(tp)
            except OSError as error:
                log.error("can't delete the log of %s: %s", tp, error)
                failed[tp] = ErrorCode.KAFKA_STORAGE_ERROR
        return failed

    def update_config(self, topic: str, config: LogConfig) -> None:
        """Has a topic's logs follow its changed configuration."""
        for tp, replica in self._replicas.items():
            if tp.topic == topic:
                replica.log.config = config

    # ---- partitions ------------------------------------------------------------------------------------------------

    def leader(self, tp: TopicPartition) -> Replica:
        """The replica of a partition led here.

        Raises NOT_LEADER_OR_FOLLOWER where another broker leads it, UNKNOWN_TOPIC_OR_PARTITION where nobody does.
        """
        replica = self._replicas.get(tp)
        if replica is None:
            if self._metadata.partition(tp) is not None:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return replica

    def find(self, tp: TopicPartition) -> Replica | None:
        """The replica of a partition hosted here, if it is."""
        return self._replicas.get(tp)

    def log(self, tp: TopicPartition) -> UnifiedLog | None:
        """The log of a partition hosted here, if it is."""
        replica = self._replicas.get(tp)
        return None if replica is None else replica.log

    def high_watermarks(self) -> dict[TopicPartition, int]:
        """Every hosted partition's high watermark, for the checkpoint."""
        return {tp: replica.partition.high_watermark for tp, replica in self._replicas.items()}

    # ---- appends ---------------------------------------------------------------------------------------------------

    def append(
        self,
        tp: TopicPartition,
        records: memoryview,
        *,
        acks: int,
        request_version: int,
    ) -> AppendInfo:
        """Appends what a producer sent. Runs inline: the page cache takes it in microseconds.

        Raises KafkaError with the error that the partition's answer carries.
        """
        replica = self.leader(tp)
        if acks == -1:
            replica.partition.check_min_insync(replica.log.config.min_insync_replicas)
        return self._append(replica, records, AppendOrigin.CLIENT, request_version)

    def append_internal(self, tp: TopicPartition, batch: bytes, leader_epoch: int | None = None) -> AppendInfo:
        """Appends a coordinator's records (acks=all; see `wait_for_high_watermark`).

        `leader_epoch` is the one in which the coordinator was elected: another one now raises NOT_LEADER_OR_FOLLOWER.
        """
        replica = self.leader(tp)
        if leader_epoch is not None and replica.partition.leader_epoch != leader_epoch:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        replica.partition.check_min_insync(replica.log.config.min_insync_replicas)
        return self._append(replica, memoryview(bytearray(batch)), AppendOrigin.COORDINATOR, None)

    def _append(
        self, replica: Replica, records: memoryview, origin: AppendOrigin, request_version: int | None
    ) -> AppendInfo:
        partition, target = replica.partition, replica.log
        now_ms = self._clock.now_ms()
        try:
            if request_version is None:
                info = target.append_as_leader(records, partition.leader_epoch, now_ms, origin=origin)
            else:
                info = target.append_as_leader(
                    records, partition.leader_epoch, now_ms, origin=origin, request_version=request_version
                )
        except KafkaError as error:
            if error.code is ErrorCode.KAFKA_STORAGE_ERROR and not replica.failing:
                replica.failing = True
                log.error("can't append to %s: %s", partition.topic_partition, error.message)
            raise
        if replica.failing:
            replica.failing = False
            log.info("appends to %s succeed again", partition.topic_partition)
        if partition.appended(target.log_end_offset):
            self._purgatory.check(partition.topic_partition)
        return info

    async def wait_for_high_watermark(self, tp: TopicPartition, offset: int, timeout: float) -> None:
        """Waits until everything below `offset` is committed, for at most `timeout` seconds.

        Raises REQUEST_TIMED_OUT (the data stays), or NOT_LEADER_OR_FOLLOWER where leadership was lost meanwhile.
        """
        replica = self._replicas.get(tp)
        if replica is not None and replica.partition.high_watermark >= offset:
            return

        def committed() -> bool:
            current = self._replicas.get(tp)
            return current is not replica or current is None or current.partition.high_watermark >= offset

        done = await self._purgatory.wait_until(committed, [tp], timeout)
        if self._replicas.get(tp) is not replica or replica is None:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if not done:
            raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)
