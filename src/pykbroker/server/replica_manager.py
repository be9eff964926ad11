"""The partitions that this broker hosts: appends and reads on the leader, leadership taken up and given back.

It joins the pure `cluster.partition` with the partition's log and says to the purgatory what has changed. It decides
neither who leads nor what a request answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from pykbroker.cluster.image import NO_EPOCH, NO_LEADER
from pykbroker.cluster.partition import Partition
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.flusher import Flusher
from pykbroker.server.followers import Followers
from pykbroker.server.isr_changes import IsrChanges
from pykbroker.server.leadership import Fetchers, LeadershipCallback, LeaderState, Listener
from pykbroker.server.log_dir_moves import LogDirMoves
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica import Replica
from pykbroker.storage.log import AppendInfo, AppendOrigin, UnifiedLog
from pykbroker.storage.log_manager import LogManager
from pykbroker.storage.log_validator import LATEST_PRODUCE
from pykbroker.storage.producer_state import NOT_REQUIRED, Verification

log = logging.getLogger(__name__)

HIGH_WATERMARK = -1
"""In DeleteRecords, the offset that stands for the high watermark."""


class ReplicaManager:
    """The partitions of this broker, led and followed."""

    def __init__(
        self, logs: LogManager, metadata: MetadataCache, purgatory: Purgatory, disk: Disk, clock: Clock
    ) -> None:
        self._logs = logs
        self._metadata = metadata
        self._purgatory = purgatory
        self._disk = disk
        self._clock = clock
        self._replicas: dict[TopicPartition, Replica] = {}
        self._offline: set[TopicPartition] = set()
        self._flusher = Flusher(disk, clock, self._flushed)
        self.node_id = metadata.config.node_id
        self.fetchers: Fetchers | None = None
        """Set by whoever builds the broker; without them followed partitions stand still."""
        self._state_change = trio.Lock()
        self.moves = LogDirMoves(metadata.config, self, logs, purgatory, disk, clock, self._state_change)
        self.isr_changes = IsrChanges(clock, self._isr_changed)
        self.followers = Followers(metadata, purgatory, clock, self.isr_changes)
        self.on_storage_lost: Callable[[str], None] = lambda reason: None
        """Called when no data directory is left."""
        self.on_directory_lost: Callable[[], None] = lambda: None
        """Called when one of several data directories has failed."""
        self._listeners: dict[str, Listener] = {}

    # ---- leadership ------------------------------------------------------------------------------------------------

    def on_leadership(
        self,
        topic: str,
        elected: LeadershipCallback,
        resigned: LeadershipCallback,
        reelected: LeadershipCallback | None = None,
    ) -> None:
        """Has these called, with partition and leader epoch, for an internal topic's partitions.

        `reelected` where this broker goes on leading in the next epoch, without a break; by default it is `elected`.
        """
        self._listeners[topic] = Listener(elected, resigned, reelected or elected)
        for tp, replica in self._replicas.items():
            if tp.topic == topic and replica.partition.is_leader:
                elected(tp.partition, replica.partition.leader_epoch)

    async def apply_leader_and_isr(self, states: Sequence[LeaderState]) -> dict[TopicPartition, ErrorCode]:
        """Leads or follows these partitions from now on; a missing log is made. Answers an error code for each.

        NONE; STALE_CONTROLLER_EPOCH for a decision that isn't newer than what is known, which is ignored;
        UNKNOWN_TOPIC_OR_PARTITION where this broker is no replica; INCONSISTENT_TOPIC_ID; KAFKA_STORAGE_ERROR. One call
        at a time, `stop_replicas` included; controller and broker epochs are the caller's to check.
        """
        answers = {
            one.topic_partition: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            for one in states
            if self.node_id not in one.state.replicas
        }
        async with self._state_change:
            answers |= await self._apply([one for one in states if one.topic_partition not in answers])
        return answers

    async def _apply(self, states: Sequence[LeaderState]) -> dict[TopicPartition, ErrorCode]:
        answers: dict[TopicPartition, ErrorCode] = {}
        logs = await self._disk.run(self._open_logs, states)
        if self.fetchers is not None:
            await self.fetchers.release([one.topic_partition for one in states if self._is_newer(one)])
        for leader_state in states:
            tp = leader_state.topic_partition
            opened = logs[tp]
            if isinstance(opened, ErrorCode):
                answers[tp] = opened
                if self._logs.is_offline(tp) or not leader_state.is_new:
                    self._offline.add(tp)
                continue
            leads = leader_state.state.leader == self.node_id
            answers[tp] = (self._lead if leads else self._follow)(leader_state, opened)
        self.take_failures()
        self.moves.resume(answers)
        return answers

    def _is_newer(self, leader_state: LeaderState) -> bool:
        known = self._replicas.get(leader_state.topic_partition)
        return known is None or known.partition.leader_epoch < leader_state.state.leader_epoch

    def _open_logs(self, states: Sequence[LeaderState]) -> dict[TopicPartition, UnifiedLog | ErrorCode]:
        logs: dict[TopicPartition, UnifiedLog | ErrorCode] = {}
        for leader_state in states:
            tp = leader_state.topic_partition
            try:
                config = self._metadata.log_config(tp.topic)
                logs[tp] = self._logs.get_or_create(tp, leader_state.topic_id, config, is_new=leader_state.is_new)
            except KafkaError as error:
                logs[tp] = error.code
            except OSError as error:
                log.error("can't open the log of %s: %s", tp, error)
                logs[tp] = ErrorCode.KAFKA_STORAGE_ERROR
        return logs

    def _replica(self, leader_state: LeaderState, opened: UnifiedLog) -> Replica:
        """The hosted partition, made where it is new here or its log is."""
        tp = leader_state.topic_partition
        replica = self._replicas.get(tp)
        if replica is not None and replica.log is opened:
            return replica
        partition = Partition(
            tp,
            leader_state.topic_id,
            self.node_id,
            self._logs.high_watermark(tp),
            opened.log_end_offset,
            max_lag=self._metadata.config.replica_lag_time_max_ms / 1000,
            min_insync_replicas=opened.config.min_insync_replicas,
        )
        return Replica(partition, opened)

    def _lead(self, leader_state: LeaderState, opened: UnifiedLog) -> ErrorCode:
        tp, replica = leader_state.topic_partition, self._replica(leader_state, opened)
        led, epoch = replica.partition.is_leader, leader_state.state.leader_epoch
        if not replica.partition.become_leader(leader_state.state, self._clock.monotonic()):
            return ErrorCode.STALE_CONTROLLER_EPOCH
        try:
            opened.assign_epoch(epoch)
        except KafkaError as error:
            log.error("can't lead %s: %s", tp, error.message)
            return error.code
        self._host(tp, replica)
        listener = self._listeners.get(tp.topic)
        if listener is not None:
            if not led:
                listener.elected(tp.partition, epoch)
            elif replica.partition.leading_since < epoch:
                listener.reelected(tp.partition, epoch)
            else:
                listener.resigned(tp.partition, epoch)
                listener.elected(tp.partition, epoch)
        return ErrorCode.NONE

    def _follow(self, leader_state: LeaderState, opened: UnifiedLog) -> ErrorCode:
        tp, replica = leader_state.topic_partition, self._replica(leader_state, opened)
        led = replica.partition.is_leader
        if not replica.partition.become_follower(leader_state.state):
            return ErrorCode.STALE_CONTROLLER_EPOCH
        self._host(tp, replica)
        if led and tp.topic in self._listeners:
            self._listeners[tp.topic].resigned(tp.partition, leader_state.state.leader_epoch)
        if self.fetchers is not None and leader_state.state.leader != NO_LEADER:
            self.fetchers.follow(replica)
        return ErrorCode.NONE

    def _host(self, tp: TopicPartition, replica: Replica) -> None:
        self._offline.discard(tp)
        self._replicas[tp] = replica
        self._purgatory.check(tp)

    async def stop_replicas(self, tps: Iterable[TopicPartition], delete: bool) -> dict[TopicPartition, ErrorCode]:
        """Stops hosting these partitions; with `delete` their data is gone when this returns."""
        answers: dict[TopicPartition, ErrorCode] = {}
        tps = list(tps)
        async with self._state_change:
            if self.fetchers is not None:
                await self.fetchers.release(tps)
            await self.moves.release(tps)
            for tp in tps:
                self._offline.discard(tp)
                self._resign(tp)
                answers[tp] = ErrorCode.NONE
            if delete:
                answers |= await self._disk.run(self._delete_logs, list(answers))
        return answers

    def _resign(self, tp: TopicPartition) -> None:
        replica = self._replicas.pop(tp, None)
        if replica is not None:
            if tp.topic in self._listeners and replica.partition.is_leader:
                self._listeners[tp.topic].resigned(tp.partition, replica.partition.leader_epoch)
            self._purgatory.check(tp)

    def _delete_logs(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, ErrorCode]:
        failed: dict[TopicPartition, ErrorCode] = {}
        for tp in tps:
            try:
                self._logs.delete(tp)
            except OSError as error:
                log.error("can't delete the log of %s: %s", tp, error)
                failed[tp] = ErrorCode.KAFKA_STORAGE_ERROR
        return failed

    def update_configs(self, configs: Mapping[str, LogConfig]) -> None:
        """Has topics' logs follow their changed configuration."""
        for tp, replica in self._replicas.items():
            config = configs.get(tp.topic)
            if config is not None and config != replica.log.config:
                replica.log.config = config
                replica.partition.min_insync_replicas = config.min_insync_replicas
                replica.flush_at_ms = 0
                if replica.log.recovery_point < replica.log.log_end_offset:
                    self._flusher.appended(replica)

    # ---- partitions ------------------------------------------------------------------------------------------------

    def leader(self, tp: TopicPartition) -> Replica:
        """The replica of a partition led here.

        Raises NOT_LEADER_OR_FOLLOWER where another broker leads it, UNKNOWN_TOPIC_OR_PARTITION where nobody does,
        KAFKA_STORAGE_ERROR where its data directory is offline.
        """
        replica = self.hosted(tp)
        if not replica.partition.is_leader:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return replica

    def hosted(self, tp: TopicPartition) -> Replica:
        """The replica of a partition led or followed here.

        Raises NOT_LEADER_OR_FOLLOWER where only others have it, and else as `leader` does.
        """
        if self._logs.failed:
            self.take_failures()
        replica = self._replicas.get(tp)
        if replica is None:
            if tp in self._offline:
                raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
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

    def high_watermark(self, tp: TopicPartition) -> int:
        """The first offset of a hosted partition that isn't known to be committed; 0 for another one."""
        replica = self._replicas.get(tp)
        return 0 if replica is None else replica.partition.high_watermark

    def log_directories(self) -> dict[str, list[UnifiedLog] | None]:
        """Each data directory with the logs in it; None for one that is offline."""
        return self._logs.directories()

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
        verification: Verification | None = NOT_REQUIRED,
    ) -> AppendInfo:
        """Appends what a producer sent. Runs inline: the page cache takes it in microseconds.

        `verification`: see `start_verification`.
        Raises KafkaError with the error that the partition's answer carries.
        """
        replica = self.leader(tp)
        if acks == -1:
            replica.partition.check_min_insync()
        return self._append(replica, records, AppendOrigin.CLIENT, request_version, verification)

    def start_verification(
        self, tp: TopicPartition, producer_id: int, epoch: int, sequence: int, *, bumps_epoch: bool
    ) -> Verification | None:
        """What the first append to a transaction has to hand in, once its coordinator has been asked (KIP-890).

        None where the transaction is under way here, or NOT_REQUIRED (see `transaction.partition.verification.enable`).
        Raises KafkaError as `leader` does, and INVALID_PRODUCER_EPOCH.
        """
        if not bumps_epoch and not self._metadata.verifies_transactions:
            return NOT_REQUIRED
        return self.leader(tp).log.producers.start_verification(
            producer_id, epoch, sequence, bumps_epoch=bumps_epoch, now_ms=self._clock.now_ms()
        )

    def append_internal(
        self,
        tp: TopicPartition,
        batch: bytes,
        leader_epoch: int | None = None,
        *,
        verification: Verification | None = NOT_REQUIRED,
        transaction_version: int = 0,
    ) -> AppendInfo:
        """Appends a coordinator's records or a transaction's marker (acks=all; see `wait_for_high_watermark`).

        `leader_epoch` is the one in which the coordinator was elected: another one now raises NOT_LEADER_OR_FOLLOWER.
        """
        replica = self.leader(tp)
        if leader_epoch is not None and replica.partition.leader_epoch != leader_epoch:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        replica.partition.check_min_insync()
        records = memoryview(bytearray(batch))
        return self._append(
            replica, records, AppendOrigin.COORDINATOR, LATEST_PRODUCE, verification, transaction_version
        )

    def _append(
        self,
        replica: Replica,
        records: memoryview,
        origin: AppendOrigin,
        request_version: int,
        verification: Verification | None,
        transaction_version: int = 0,
    ) -> AppendInfo:
        partition, target = replica.partition, replica.log
        now_ms = self._clock.now_ms()
        try:
            info = target.append_as_leader(
                records,
                partition.leader_epoch,
                now_ms,
                origin=origin,
                request_version=request_version,
                verification=verification,
                transaction_version=transaction_version,
            )
        except KafkaError as error:
            if self._logs.failed:
                self.take_failures()
            elif error.code is ErrorCode.KAFKA_STORAGE_ERROR and not replica.failing:
                replica.failing = True
                log.error("can't append to %s: %s", partition.topic_partition, error.message)
            raise
        if replica.failing:
            replica.failing = False
            log.info("appends to %s succeed again", partition.topic_partition)
        if partition.followers:
            if not self._flusher.appended(replica):
                partition.appended(target.log_end_offset, self._clock.monotonic())
            self._purgatory.check(partition.topic_partition)
        elif not self._flusher.appended(replica) and partition.appended(target.log_end_offset):
            self._purgatory.check(partition.topic_partition)
        return info

    async def wait_for_flush(self, tp: TopicPartition) -> None:
        """Waits where `flush.messages` wants what was appended on the disk before it is answered or seen.

        Raises KAFKA_STORAGE_ERROR where that failed (the records may be there all the same), NOT_LEADER_OR_FOLLOWER
        where the broker stops or leadership was lost meanwhile.
        """
        replica = self._replicas.get(tp)
        if replica is None or not replica.log.must_flush:
            return
        offset, failures, term = replica.log.log_end_offset, replica.failed_flushes, self._term(tp, replica)

        def flushed() -> bool:
            lost = self._term(tp, replica) != term
            return lost or replica.log.recovery_point >= offset or replica.failed_flushes != failures

        await self._purgatory.wait_until(flushed, [tp], float("inf"))
        if replica.log.recovery_point >= offset:
            return
        failed = replica.failed_flushes != failures or tp in self._offline
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR if failed else ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def _term(self, tp: TopicPartition, replica: Replica) -> int:
        """Since which epoch this broker leads the partition without a break; -1 when it doesn't (any more)."""
        lost = self._replicas.get(tp) is not replica or not replica.partition.is_leader
        return NO_EPOCH if lost else replica.partition.leading_since

    def _flushed(self, replica: Replica) -> None:
        """Until it is flushed, what `flush.messages` is waiting for isn't committed."""
        self.take_failures()
        partition, end = replica.partition, replica.log.recovery_point
        if partition.is_leader and end > partition.log_end_offset:
            partition.appended(end, self._clock.monotonic())
        self._purgatory.check(partition.topic_partition)

    def _isr_changed(self, partition: Partition) -> None:
        """The next proposal, if one is due, and whoever waits for what the ISR says."""
        self._purgatory.check(partition.topic_partition)

    async def wait_for_high_watermark(
        self, tp: TopicPartition, offset: int, timeout: float, leader_epoch: int | None = None
    ) -> None:
        """Waits until everything below `offset` is committed, for at most `timeout` seconds.

        `leader_epoch` is the one in which it was appended: who has lost the partition since then, and led it again,
        may have lost the records too.

        Raises REQUEST_TIMED_OUT (the data stays), NOT_LEADER_OR_FOLLOWER where leadership was lost meanwhile,
        NOT_ENOUGH_REPLICAS_AFTER_APPEND where the ISR is too small by then, and what `wait_for_flush` does.
        """
        replica = self._replicas.get(tp)
        if replica is None or not replica.partition.is_leader:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        partition, term = replica.partition, replica.partition.leading_since
        if leader_epoch is not None and leader_epoch < term:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if partition.high_watermark < offset:
            await self.wait_for_flush(tp)

            def committed() -> bool:
                return self._term(tp, replica) != term or partition.high_watermark >= offset

            done = await self._purgatory.wait_until(committed, [tp], timeout)
            if self._term(tp, replica) != term:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            if not done:
                raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)
        partition.check_min_insync_after_append()

    # ---- as follower -----------------------------------------------------------------------------------------------

    def replicate(self, replica: Replica, records: memoryview | None, high_watermark: int, log_start: int) -> None:
        """As follower: appends what the leader sent, as it is, and believes what it says of its offsets.

        Raises KafkaError: CORRUPT_MESSAGE, OFFSET_OUT_OF_RANGE for records that don't follow, KAFKA_STORAGE_ERROR.
        """
        partition, target = replica.partition, replica.log
        appended = None
        if records:
            try:
                if target.log_start_offset == target.log_end_offset:
                    self._begin_with(replica, records)
                appended = target.append_as_follower(records, self._clock.now_ms())
            except KafkaError:
                if self._logs.failed:
                    self.take_failures()
                raise
        moved = partition.replicated(target.log_end_offset, high_watermark)
        if log_start > target.log_start_offset and log_start <= partition.high_watermark:
            target.raise_log_start(log_start)
            moved = True
        if appended is not None:
            self._flusher.appended(replica)
        if moved:
            self._purgatory.check(partition.topic_partition)

    def cut(self, replica: Replica, cut: Callable[[int, int], None], offset: int) -> None:
        """As follower: drops records, by `truncate_to` or `truncate_fully` of the log. Blocks: in a thread."""
        cut(offset, self._clock.now_ms())
        self._logs.checkpoint_cut(replica.log)

    def log_replaced(self, replica: Replica, target: UnifiedLog) -> None:
        """A partition's log is another one, which ends where the old one did."""
        replica.log = target
        self._flusher.appended(replica)
        self._purgatory.check(replica.partition.topic_partition)

    def log_changed(self, replica: Replica) -> None:
        """A followed log was cut or begun anew: whoever waits on it looks again."""
        self.take_failures()
        self._purgatory.check(replica.partition.topic_partition)

    def _begin_with(self, replica: Replica, records: memoryview) -> None:
        """An empty log begins with its leader's first batch, which a log start may lie inside of (KAFKA-6361)."""
        first = next(batches(records), None)
        if first is not None and first.base_offset < replica.log.log_end_offset <= first.last_offset:
            replica.log.truncate_fully(first.base_offset, self._clock.now_ms())
            replica.partition.restarted(first.base_offset)

    # ---- retention -------------------------------------------------------------------------------------------------

    async def run_retention(self) -> int:
        """Applies retention to every partition now, as its config stands; how many segments were deleted.

        Their files go after `file.delete.delay.ms`.
        """
        deleted = 0
        for tp, replica in list(self._replicas.items()):
            if self._replicas.get(tp) is not replica or not self._may_expire(replica):
                continue
            try:
                found = replica.log.expire(self._clock.now_ms(), replica.partition.high_watermark)
                if found.oldest:
                    count = await self._disk.run(self._logs.drop_hidden_segments, replica.log, self._clock.now_ms())
                    log.info("deleted %d segments of %s by %s", count, tp, " and ".join(found.reasons))
                    deleted += count
                    self._purgatory.check(tp)
            except (KafkaError, OSError) as error:
                log.error("can't apply retention to %s: %s", tp, error)
            await trio.lowlevel.checkpoint()
        self.take_failures()
        return deleted

    def _may_expire(self, replica: Replica) -> bool:
        return not replica.log.closed and replica.log.log_end_offset > 0

    def delete_records(self, tp: TopicPartition, offset: int, *, internal: bool = False) -> int:
        """DeleteRecords: hides the records below an offset (-1: all below the high watermark); the log's start then.

        `internal`: it is a coordinator that prunes its own topic.
        Raises KafkaError: INVALID_TOPIC_EXCEPTION for internal topics, POLICY_VIOLATION for a topic that isn't
        deleted by policy, OFFSET_OUT_OF_RANGE, and those of `leader`.
        """
        replica = self.leader(tp)
        if self._metadata.is_internal(tp.topic) and not internal:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Cannot delete records of internal topic {tp.topic}")
        if "delete" not in replica.log.config.cleanup_policy:
            raise KafkaError(
                ErrorCode.POLICY_VIOLATION, f"Records of partition {tp} can not be deleted due to the configured policy"
            )
        high_watermark = replica.partition.high_watermark
        wanted = high_watermark if offset == HIGH_WATERMARK else offset
        if not 0 <= wanted <= high_watermark:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"Cannot delete up to {offset}: {tp} is committed up to {high_watermark}"
            )
        replica.log.raise_log_start(wanted)
        self._purgatory.check(tp)
        return replica.log.log_start_offset

    # ---- failing directories ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs flushes that appends ask for and ISR changes, takes failing directories offline, until cancelled."""
        token = trio.lowlevel.current_trio_token()

        def tell() -> None:
            try:
                token.run_sync_soon(self.take_failures)
            except trio.RunFinishedError:
                pass

        self._logs.on_failure = tell
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flusher.run)
            nursery.start_soon(self.isr_changes.run)
            nursery.start_soon(self.moves.run)
            nursery.start_soon(self.followers.shrink_isrs, self._replicas.values)

    def take_failures(self) -> None:
        """Gives up the partitions whose data directory has failed. One line says so for each directory."""
        for path, error, partitions in self._logs.take_failures():
            self._offline.update(partitions)
            reason = error.strerror or error
            log.error("the data directory %s is offline, and %d partitions with it: %s", path, len(partitions), reason)
            if self.fetchers is not None:
                self.fetchers.forget(partitions)
            for tp in partitions:
                self._resign(tp)
            if self._logs.all_offline:
                self.on_storage_lost(f"all data directories are offline, the last one {path}: {reason}")
            else:
                self.on_directory_lost()
