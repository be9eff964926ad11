"""Replicas on their way to another data directory (KIP-113): copied while they are written and read, then swapped.

A move is a future log that follows the current one as a follower does its leader: by the same batches, cut where the
current log was cut. The last of it is copied in the event loop, in the same step as the swap, so that no append comes
in between. Kafka's ReplicaAlterLogDirsThread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from pykbroker.cluster.replica import truncation_offset
from pykbroker.cluster.replication_quota import ReplicationQuota
from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.purgatory import Purgatory
from pykbroker.storage.file_slice import FileSlice
from pykbroker.storage.future_logs import LONGEST_NAME
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_manager import LogManager

if TYPE_CHECKING:
    from pykbroker.server.replica import Replica
    from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

MARK_LENGTH = len(".-future") + 32
INLINE_BYTES = 256 * 1024
"""What is copied in the event loop at most, for the swap: a millisecond."""
FIRST_BACKOFF_S = 0.1


class _Move:
    __slots__ = ("ended", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class LogDirMoves:
    """All moves of a broker: `num.replica.alter.log.dirs.threads` at a time, in the partitions' order."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: ReplicaManager,
        logs: LogManager,
        purgatory: Purgatory,
        disk: Disk,
        clock: Clock,
        state_change: trio.Lock,
    ) -> None:
        """`state_change` is held by whoever changes which partitions are led, followed and stopped."""
        self._config = config
        self._replicas = replicas
        self._logs = logs
        self._purgatory = purgatory
        self._disk = disk
        self._clock = clock
        self._state_change = state_change
        self._waiting: set[TopicPartition] = set()
        self._moves: dict[TopicPartition, _Move] = {}
        self._news = trio.Event()
        self._throttle_changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._quota = ReplicationQuota(
            config.alter_log_dirs_replication_quota_window_num,
            config.alter_log_dirs_replication_quota_window_size_seconds,
        )

    # ---- what is moved ---------------------------------------------------------------------------------------------

    async def alter(self, tp: TopicPartition, path: str) -> None:
        """Begins to move a partition's log to a data directory; to the one where it is, a move is given up.

        The directory of a partition that isn't here is noted for when it comes. Raises KafkaError:
        INVALID_TOPIC_EXCEPTION for a name that is too long, LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR,
        INVALID_REPLICA_ASSIGNMENT, REPLICA_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION.
        """
        if len(str(tp)) + MARK_LENGTH > LONGEST_NAME:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic name is too long.")
        self._logs.check_destination(path)
        async with self._state_change:
            try:
                replica = self._replicas.hosted(tp)
            except KafkaError as error:
                if error.code is ErrorCode.KAFKA_STORAGE_ERROR:
                    raise
                self._logs.prefer(tp, path)
                if error.code is ErrorCode.NOT_LEADER_OR_FOLLOWER:
                    raise KafkaError(ErrorCode.REPLICA_NOT_AVAILABLE) from error
                raise
            future = self._logs.future(tp)
            if future is not None and os.path.dirname(future.directory) != path:
                await self.release([tp])
                await self._drop(tp)
                future = None
            if future is None and os.path.dirname(replica.log.directory) != path:
                await self._disk.run(self._logs.create_future, tp, path)
            self.resume([tp])

    async def _drop(self, tp: TopicPartition) -> None:
        try:
            await self._disk.run(self._logs.drop_future, tp)
        except OSError as error:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Cannot give up the move of {tp}: {error}") from error

    def is_future(self, target: UnifiedLog) -> bool:
        """Whether a log is on its way to replace another one."""
        return self._logs.future(target.topic_partition) is target

    def resume(self, tps: Iterable[TopicPartition]) -> None:
        """Goes on with moves that were begun, now or before a restart, of partitions that are hosted here."""
        for tp in tps:
            if self._logs.future(tp) is not None and tp not in self._moves and self._replicas.find(tp) is not None:
                self._waiting.add(tp)
                self._news.set()

    async def release(self, tps: Iterable[TopicPartition]) -> None:
        """Stops moving these; when it returns nothing touches their logs any more. The future logs stay."""
        for tp in tps:
            self._waiting.discard(tp)
            move = self._moves.get(tp)
            if move is not None:
                move.scope.cancel()
                await move.ended.wait()

    async def run(self) -> None:
        """Moves until cancelled."""
        config = self._config
        config.subscribe(lambda changed: self._throttle_changed.set())
        most = config.num_replica_alter_log_dirs_threads or len(self._logs.directories())
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                self._news = trio.Event()
                while self._waiting and len(self._moves) < most:
                    tp = min(self._waiting)
                    self._waiting.discard(tp)
                    self._moves[tp] = move = _Move()
                    nursery.start_soon(self._run_move, tp, move)
                await self._news.wait()

    async def _run_move(self, tp: TopicPartition, move: _Move) -> None:
        backoff = FIRST_BACKOFF_S
        try:
            with move.scope:
                while not await self._try_move(tp):
                    await trio.sleep(backoff)
                    backoff = min(2 * backoff, self._config.replica_fetch_backoff_ms / 1000)
        finally:
            del self._moves[tp]
            move.ended.set()
            self._news.set()

    async def _try_move(self, tp: TopicPartition) -> bool:
        """Whether there is nothing more to do: the partition has moved, or can't."""
        try:
            await self._copy(tp)
        except (KafkaError, OSError) as error:
            self._replicas.take_failures()
            replica, future = self._replicas.find(tp), self._logs.future(tp)
            if replica is None or future is None or future.closed:
                log.error("%s doesn't move to another directory: %s", tp, error)
                return True
            log.warning("%s can't be copied to %s now: %s", tp, future.directory, error)
            return False
        return True

    # ---- copying ---------------------------------------------------------------------------------------------------

    async def _copy(self, tp: TopicPartition) -> None:
        """Copies until the future log has everything and is the partition's log. Raises KafkaError, OSError."""
        generation = -1
        while True:
            replica, future = self._replicas.find(tp), self._logs.future(tp)
            if replica is None or future is None:
                return
            current = replica.log
            if current.generation != generation:
                generation = current.generation
                await self._align(replica, future)
                continue
            self._follow_start(current, future)
            found = self._unread(current, future)
            if found is not None and (len(found) > INLINE_BYTES or self._ends_before(current, future, found)):
                await self._throttle()
                await self._disk.run(_append, future, found, self._clock.now_ms())
                self._quota.record(len(found), self._clock.monotonic())
            elif await self._finish(replica, future, generation):
                return

    async def _align(self, replica: Replica, future: UnifiedLog) -> None:
        """Cuts the future log where its history isn't the current log's (KIP-101)."""
        current, now_ms = replica.log, self._clock.now_ms()
        for _ in range(len(future.epochs.entries) + 1):
            epoch = -1 if future.latest_epoch is None else future.latest_epoch
            known, end = current.end_offset_for_epoch(epoch)
            offset = truncation_offset(
                known,
                end,
                *future.end_offset_for_epoch(known),
                future.log_end_offset,
                min(replica.partition.high_watermark, current.log_end_offset),
            )
            if offset < future.log_end_offset:
                await self._disk.run(future.truncate_to, offset, now_ms)
            if known == epoch:
                break

    def _follow_start(self, current: UnifiedLog, future: UnifiedLog) -> None:
        """Records that were deleted meanwhile aren't copied; a log that lies wholly below the start begins anew."""
        future.config = current.config
        if current.log_start_offset > future.log_end_offset:
            future.truncate_fully(current.log_start_offset, self._clock.now_ms())
        future.raise_log_start(current.log_start_offset)

    def _unread(self, current: UnifiedLog, future: UnifiedLog) -> FileSlice | None:
        most = self._config.replica_fetch_max_bytes
        return current.read(future.log_end_offset, most, upper_bound=current.log_end_offset).records

    def _ends_before(self, current: UnifiedLog, future: UnifiedLog, found: FileSlice) -> bool:
        """Whether there is more of the current log than a slice: it ends with a segment."""
        active = current.segments[-1]
        return future.log_end_offset < active.base_offset or found.position + len(found) < active.size

    async def _throttle(self) -> None:
        """Waits while `replica.alter.log.dirs.io.max.bytes.per.second` is exceeded."""
        config, clock = self._config, self._clock
        while self._quota.is_exceeded(config.replica_alter_log_dirs_io_max_bytes_per_second, clock.monotonic()):
            self._throttle_changed = trio.Event()
            with trio.move_on_after(config.alter_log_dirs_replication_quota_window_size_seconds):
                await self._throttle_changed.wait()

    # ---- the swap --------------------------------------------------------------------------------------------------

    async def _finish(self, replica: Replica, future: UnifiedLog, generation: int) -> bool:
        """Swaps the logs, if everything is as it was; else the copying goes on. Raises KafkaError, OSError."""
        tp, current = replica.partition.topic_partition, replica.log
        await self._disk.run(future.flush, self._clock.now_ms())
        async with self._state_change:
            if self._replicas.find(tp) is not replica or replica.log is not current:
                return False
            fetchers = self._replicas.fetchers
            followed = fetchers is not None and not replica.partition.is_leader
            if fetchers is not None and followed:
                await fetchers.release([tp])
            try:
                await self._purgatory.wait_until(lambda: not replica.flushing, [tp], float("inf"))
                if current.in_use:
                    await self._disk.run(current.wait_until_unused)
                swapped = self._swap(replica, future, generation)
            finally:
                if fetchers is not None and followed and replica.partition.state.leader >= 0:
                    fetchers.follow(replica)
        if swapped:
            log.info("%s has moved from %s to %s", tp, os.path.dirname(current.directory), future.directory)
            if self._nursery is not None:
                self._nursery.start_soon(self._remove_later, current)
        return swapped

    def _swap(self, replica: Replica, future: UnifiedLog, generation: int) -> bool:
        """In the event loop, in one step: the last records, then the swap."""
        current, tp = replica.log, replica.partition.topic_partition
        if current.generation != generation or current.closed or replica.flushing or current.in_use or future.in_use:
            return False
        self._follow_start(current, future)
        found = self._unread(current, future)
        if found is not None:
            if len(found) > INLINE_BYTES:
                return False
            _append(future, found, self._clock.now_ms())
        if future.log_end_offset != current.log_end_offset:
            return False
        if future.recovery_point < current.recovery_point:
            future.flush(self._clock.now_ms())  # What a producer was told to be on the disk is on this one, too.
        self._logs.replace_with_future(tp)
        self._replicas.log_replaced(replica, future)
        return True

    async def _remove_later(self, old: UnifiedLog) -> None:
        """Whoever reads in the old log ends within `file.delete.delay.ms`; a restart removes it at once."""
        await trio.sleep(old.config.file_delete_delay_ms / 1000)
        try:
            await self._disk.run(old.remove_files)
        except OSError as error:
            log.error("can't remove %s, the next start will: %s", old.directory, error)
            self._logs.report(old.directory, error)


def _append(future: UnifiedLog, found: FileSlice, now_ms: int) -> None:
    """Copies a slice of the current log. Raises KafkaError, OSError."""
    records = memoryview(found.read())
    first = next(batches(records), None)
    if first is not None and first.base_offset < future.log_end_offset <= first.last_offset:
        if future.log_start_offset < future.log_end_offset:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, f"{first!r} overlaps the end of {future.directory}")
        start = future.log_start_offset
        future.truncate_fully(first.base_offset, now_ms)
        future.append_as_follower(records, now_ms)
        future.raise_log_start(start)
    else:
        future.append_as_follower(records, now_ms)
    if future.rolled:
        future.flush(now_ms, rolled_only=True)
