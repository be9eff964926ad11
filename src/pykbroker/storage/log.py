"""The log of one partition: what may be appended, where it goes, what can be read, where it ends.

One writer. Time is an argument. Nothing here waits for a disk but what says so; the high watermark is the replica's.
Every OSError is told to `on_error`, which decides what becomes of the directory; appends and reads raise
KafkaError(KAFKA_STORAGE_ERROR).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import RecordBatch, batches
from pykbroker.protocol.records.control import read_marker
from pykbroker.storage import retention
from pykbroker.storage.checkpoints import sync_directory, sync_path
from pykbroker.storage.files import remove_tree
from pykbroker.storage.leader_epochs import LeaderEpochs
from pykbroker.storage.log_reader import LogReader
from pykbroker.storage.log_results import AppendInfo, LogRead
from pykbroker.storage.log_segment import Located, LogSegment, fitting
from pykbroker.storage.log_validator import LATEST_PRODUCE, InvalidRecords, give_place, validate
from pykbroker.storage.meta_properties import remove_begun, write_topic_id
from pykbroker.storage.offset_lookup import TimestampOffset
from pykbroker.storage.producer_state import (
    NOT_REQUIRED,
    AppendOrigin,
    ProducerState,
    Verification,
)
from pykbroker.storage.transaction_index import index_transaction

if TYPE_CHECKING:
    from uuid import UUID

    from pykbroker.config.topic import LogConfig
    from pykbroker.protocol.topic_partition import TopicPartition

Buffer = bytes | bytearray | memoryview

__all__ = ["AppendInfo", "AppendOrigin", "InvalidRecords", "LogRead", "TimestampOffset", "UnifiedLog"]


class UnifiedLog(LogReader):
    """A partition's log. Made by `create`, or by `log_loader.load_log` from what lies in a directory."""

    __slots__ = (
        "_bases",
        "_directory_changed",
        "_flushed_ms",
        "_maintenance",
        "_rolled",
        "_shape",
        "closed",
        "config",
        "directory",
        "epochs",
        "generation",
        "log_end_offset",
        "log_start_offset",
        "on_error",
        "producers",
        "recovery_point",
        "segments",
        "topic_id",
        "topic_partition",
        "truncated_to",
    )

    def __init__(
        self,
        topic_partition: TopicPartition,
        directory: str,
        config: LogConfig,
        *,
        topic_id: UUID | None,
        segments: list[LogSegment],
        epochs: LeaderEpochs,
        producers: ProducerState,
        log_start_offset: int,
        log_end_offset: int,
        recovery_point: int,
    ) -> None:
        self.topic_partition = topic_partition
        self.directory = directory
        self.config = config
        self.topic_id = topic_id
        self.segments = segments
        self._bases = [segment.base_offset for segment in segments]
        self.epochs = epochs
        self.producers = producers
        self.log_start_offset = log_start_offset
        self.log_end_offset = log_end_offset
        self.recovery_point = recovery_point
        self.on_error: Callable[[LogReader, OSError], None] | None = None
        """Told in whichever thread met the error."""
        self.closed = False
        self._rolled = False
        self._directory_changed = True
        self._flushed_ms = -1
        self._maintenance = Lock()
        """Held by what must not meet a flush in another thread: truncation, closing, deletion."""
        self._shape = Lock()
        """Held for the moment in which the list of segments changes."""
        self.generation = 0
        """How often the log was truncated: what was read in an earlier generation may be gone."""
        self.truncated_to: int | None = None
        """The lowest offset that the log was truncated to, until compaction takes note of it."""

    @classmethod
    def create(
        cls, topic_partition: TopicPartition, directory: str, config: LogConfig, topic_id: UUID | None, now_ms: int
    ) -> UnifiedLog:
        """Makes the directory of a new, empty log. Doesn't wait for the disk: `flush` makes it durable.

        Raises OSError, and leaves nothing then.
        """
        os.mkdir(directory)
        segment = LogSegment(directory, 0)
        try:
            if topic_id is not None and topic_id.int:
                write_topic_id(directory, topic_id, sync=False)
            segment.create(now_ms)
        except OSError:
            remove_begun(directory)
            raise
        return cls(
            topic_partition,
            directory,
            config,
            topic_id=topic_id,
            segments=[segment],
            epochs=LeaderEpochs(directory),
            producers=ProducerState(directory),
            log_start_offset=0,
            log_end_offset=0,
            recovery_point=0,
        )

    def __repr__(self) -> str:
        return f"UnifiedLog({self.topic_partition}, {self.log_start_offset}..{self.log_end_offset})"

    # -- what it is --------------------------------------------------------------------------------------------

    def set_topic_id(self, topic_id: UUID) -> None:
        """Gives an id to a log that has none. Raises KafkaError(INCONSISTENT_TOPIC_ID) where it has another."""
        if self.topic_id is None or not self.topic_id.int:
            write_topic_id(self.directory, topic_id, sync=False)
            self.topic_id = topic_id
            self._directory_changed = True
        elif self.topic_id != topic_id:
            raise KafkaError(
                ErrorCode.INCONSISTENT_TOPIC_ID, f"{self.directory} belongs to topic id {self.topic_id}, not {topic_id}"
            )

    # -- appending ---------------------------------------------------------------------------------------------

    def append_as_leader(
        self,
        records: Buffer,
        leader_epoch: int,
        now_ms: int,
        *,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        request_version: int = LATEST_PRODUCE,
        verification: Verification | None = NOT_REQUIRED,
        transaction_version: int = 0,
    ) -> AppendInfo:
        """Checks one batch, gives it its offsets (in the caller's memory, where that is writable) and writes it.

        `verification`: what `ProducerState.start_verification` gave, for the first batch of a transaction.
        `transaction_version`: the feature level that a marker was written under.
        When this returns the records are the kernel's: a crash of the process doesn't lose them. Raises KafkaError
        for what a broker refuses and for a failing disk; nothing is appended then.
        """
        validated = validate(records, self.config, origin, now_ms, request_version)
        batch = validated.batch
        if batch.producer_id >= 0:
            duplicate = self._check_producer(batch, origin, verification, transaction_version)
            if duplicate is not None:
                return duplicate
        base = self.log_end_offset
        data = give_place(validated, base, leader_epoch)
        if leader_epoch != self.epochs.latest:
            self._assign_epoch(leader_epoch, base)
        self._write(data, base, batch.last_offset, batch.max_timestamp, now_ms)
        segment, size = self.segments[-1], len(data)
        segment.tail = Located(segment.size - size, size, base, batch.last_offset)
        self._accept(batch)
        return AppendInfo(
            base, batch.last_offset, batch.max_timestamp, validated.log_append_time, self.log_start_offset, batch.count
        )

    def append_as_follower(self, records: Buffer, now_ms: int) -> AppendInfo | None:
        """Writes batches as a leader sent them; an incomplete one at the end is left out, None when nothing is left.

        Raises KafkaError(CORRUPT_MESSAGE) for a wrong checksum, OFFSET_OUT_OF_RANGE for offsets that don't ascend
        from the log's end.
        """
        found: list[RecordBatch] = []
        following = self.log_end_offset
        for batch in batches(records):
            batch.check_crc()
            if batch.base_offset < following or batch.last_offset < batch.base_offset:
                raise KafkaError(
                    ErrorCode.OFFSET_OUT_OF_RANGE, f"Out of order: {batch!r} where offset {following} was expected"
                )
            following = batch.last_offset + 1
            found.append(batch)
        if not found:
            return None
        first, max_timestamp = found[0].base_offset, max(batch.max_timestamp for batch in found)
        view, position = memoryview(records), 0
        for group in fitting(found, self.config.segment_bytes, attrgetter("size")):
            size = sum(batch.size for batch in group)
            for batch in group:
                self._assign_epoch(batch.leader_epoch, batch.base_offset)
            newest = max(batch.max_timestamp for batch in group)
            self._write(view[position : position + size], group[0].base_offset, group[-1].last_offset, newest, now_ms)
            for batch in group:
                self._accept(batch)
            position += size
        return AppendInfo(first, following - 1, max_timestamp, -1, self.log_start_offset, following - first)

    def _check_producer(
        self, batch: RecordBatch, origin: AppendOrigin, verification: Verification | None, transaction_version: int
    ) -> AppendInfo | None:
        if batch.is_control:
            marker = read_marker(batch)
            if marker is not None:
                self.producers.check_marker(batch, marker, transaction_version)
            return None
        if origin is AppendOrigin.CLIENT:
            earlier = self.producers.find_duplicate(batch)
            if earlier is not None:
                first, last, timestamp = earlier.first_offset, earlier.last_offset, earlier.timestamp
                count = last - first + 1
                return AppendInfo(first, last, timestamp, timestamp, self.log_start_offset, count, duplicate=True)
        self.producers.check(batch, origin, verification)
        return None

    def _write(self, data: Buffer, first_offset: int, last_offset: int, max_timestamp: int, now_ms: int) -> None:
        if self.closed:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"The log of {self.topic_partition} is closed")
        config = self.config
        size = len(data)
        segment = self.segments[-1]
        try:
            if segment.size + size > config.segment_bytes or not self._fits(
                segment, last_offset, max_timestamp, now_ms
            ):
                if size > config.segment_bytes:
                    raise KafkaError(
                        ErrorCode.RECORD_LIST_TOO_LARGE,
                        f"{size} bytes in one append, more than segment.bytes, {config.segment_bytes}",
                    )
                self.roll(now_ms, first_offset)
                segment = self.segments[-1]
            segment.append(data, last_offset, max_timestamp, config.index_interval_bytes)
        except OSError as error:
            raise self._storage_error(f"Cannot write to {self.directory}", error) from error

    def _fits(self, segment: LogSegment, last_offset: int, max_timestamp: int, now_ms: int) -> bool:
        if segment.size:
            first = segment.first_timestamp()
            age = max_timestamp - first if first >= 0 and max_timestamp >= 0 else now_ms - segment.created_ms
            if age > self.segment_ms - segment.jitter_ms:
                return False
        return segment.has_room(last_offset, self.config.segment_index_bytes)

    @property
    def segment_ms(self) -> int:
        """The age (ms) at which a segment is rolled; compaction must reach records in time."""
        config = self.config
        if config.compact:
            return min(config.segment_ms, config.max_compaction_lag_ms)
        return config.segment_ms

    def _accept(self, batch: RecordBatch) -> None:
        """What the log knows about its records follows what was written."""
        self.log_end_offset = batch.last_offset + 1
        if batch.producer_id >= 0:
            completed = self.producers.appended(batch)
            if completed is not None:
                try:
                    index_transaction(completed, self.producers, self.segments[-1])
                except OSError as error:  # The marker is in the log; its entry is in memory and written later.
                    self._storage_error("Cannot index a transaction", error)

    def roll(self, now_ms: int = 0, base_offset: int | None = None) -> None:
        """Begins a new segment. Doesn't wait for the disk: the old one is left to `flush`."""
        base = self.log_end_offset if base_offset is None else base_offset
        active = self.segments[-1]
        if active.size == 0 and active.base_offset == base:
            return
        active.add_time_entry()
        active.release()
        self.producers.take_snapshot(self.log_end_offset)
        segment = LogSegment(self.directory, base)
        segment.create(now_ms)
        if self.config.segment_jitter_ms:
            from random import randrange

            segment.jitter_ms = randrange(min(self.config.segment_jitter_ms, self.segment_ms))
        with self._shape:
            self.segments.append(segment)
            self._bases.append(base)
        self._rolled = self._directory_changed = True

    # -- leader epochs -----------------------------------------------------------------------------------------

    def assign_epoch(self, epoch: int) -> None:
        """This replica became leader: the epoch begins at the log's end. Raises KafkaError(KAFKA_STORAGE_ERROR)."""
        self._assign_epoch(epoch, self.log_end_offset)

    def _assign_epoch(self, epoch: int, start: int) -> None:
        try:
            self.epochs.assign(epoch, start)
        except OSError as error:
            raise self._storage_error(f"Cannot write the epochs of {self.directory}", error) from error

    # -- cutting -----------------------------------------------------------------------------------------------

    def truncate_to(self, offset: int, now_ms: int = 0) -> None:
        """Drops all records at and above `offset`; reads batches of producers again. Blocks on a flush."""
        if offset < self._bases[0]:
            self.truncate_fully(offset, now_ms)
            return
        with self._maintenance, self._telling(f"Cannot cut {self.directory}"):
            self._truncating(offset)
            self.epochs.truncate_from_end(min(offset, self.log_end_offset))
            if offset >= self.log_end_offset:
                return
            count = bisect_right(self._bases, offset)
            gone = self.segments[count:]
            with self._shape:  # Before the files: who doesn't find them looks at the list again.
                self._bases, self.segments = self._bases[:count], self.segments[:count]
            for segment in reversed(gone):
                segment.delete()
            self.segments[-1].truncate_to(offset)
            self.log_end_offset = offset
            self.log_start_offset = min(self.log_start_offset, offset)
            self.recovery_point = min(self.recovery_point, offset)
            self.restore_producers()

    def truncate_fully(self, offset: int, now_ms: int = 0) -> None:
        """Drops everything; the log begins anew at `offset`. Blocks on a flush that runs. Raises OSError."""
        with self._maintenance, self._telling(f"Cannot cut {self.directory}"):
            self._truncating(offset)
            bounds = self.log_start_offset, self.log_end_offset
            self.log_start_offset = self.log_end_offset = offset  # Before the files: nobody looks for them.
            try:
                segment = self._begin_anew(offset, now_ms)
            except OSError:
                self.log_start_offset, self.log_end_offset = bounds
                raise
            with self._shape:
                self.segments, self._bases = [segment], [offset]
            self.epochs.clear()
            self.producers.clear(offset)
            self.recovery_point = offset
            self._directory_changed = True

    def _begin_anew(self, offset: int, now_ms: int) -> LogSegment:
        for segment in self.segments:
            segment.delete()
        for snapshot in self.producers.snapshots.copy():
            self.producers.delete_snapshot(snapshot)
        segment = LogSegment(self.directory, offset)
        segment.create(now_ms)
        return segment

    def _truncating(self, offset: int) -> None:
        self.generation += 1
        self.truncated_to = offset if self.truncated_to is None else min(self.truncated_to, offset)

    @contextmanager
    def replacing(self, old: list[LogSegment], new: LogSegment, generation: int) -> Iterator[bool]:
        """Puts one segment in the place of adjacent ones when the block ends; the block moves their files.

        Gives False, and changes nothing, where the log was closed, truncated or lost one of the segments since
        `generation`. Readers meet the old segments, which `pin` made independent of their names, or the new one.
        Blocks on a flush that runs.
        """
        with self._maintenance:
            place = self.segments.index(old[0]) if old[0] in self.segments else 0
            fits = not self.closed and self.generation == generation
            if not fits or self.segments[place : place + len(old)] != old or self.segments[-1] is old[-1]:
                yield False
                return
            for segment in old:
                segment.pin()
            yield True
            stop = place + len(old)
            with self._shape:
                self._bases = [*self._bases[:place], new.base_offset, *self._bases[stop:]]
                self.segments = [*self.segments[:place], new, *self.segments[stop:]]
            for segment in old[1:]:
                self.producers.delete_snapshot(segment.base_offset)

    def raise_log_start(self, offset: int) -> None:
        """Hides the records below `offset`; their segments go with retention. Raises KAFKA_STORAGE_ERROR."""
        if offset > self.log_start_offset:
            self.log_start_offset = min(offset, self.log_end_offset)
            try:
                self.epochs.truncate_from_start(self.log_start_offset)
            except OSError as error:
                raise self._storage_error(f"Cannot write the epochs of {self.directory}", error) from error

    # -- retention ---------------------------------------------------------------------------------------------

    def expire(self, now_ms: int, high_watermark: int) -> retention.Expired:
        """Hides what retention lets go; `drop_hidden_segments` follows, in a thread. Rolls where all of it goes.

        Raises KafkaError(KAFKA_STORAGE_ERROR).
        """
        segments = self.segments
        try:
            found = retention.expired(
                segments,
                self.config,
                now_ms,
                log_start_offset=self.log_start_offset,
                log_end_offset=self.log_end_offset,
                high_watermark=high_watermark,
            )
            if found.oldest == len(segments):
                self.roll(now_ms)
        except OSError as error:
            raise self._storage_error(f"Cannot apply retention to {self.directory}", error) from error
        if found.oldest:
            self.raise_log_start(self.segments[found.oldest].base_offset)
        return found

    def drop_hidden_segments(self) -> list[LogSegment]:
        """Gives up the segments wholly below the log start and marks their files; the caller deletes them later.

        Blocks on a flush that runs. Raises OSError; the next call goes on then.
        """
        with self._maintenance:
            segments, start = self.segments, self.log_start_offset
            count = 0
            while count + 1 < len(segments) and segments[count + 1].base_offset <= start:
                count += 1
            gone = segments[:count]
            if self.closed or not gone:
                return []
            with self._shape:  # Before the files: who doesn't find them looks at the list again.
                self._bases = self._bases[count:]
                self.segments = self.segments[count:]
            for segment in gone:
                segment.mark_deleted(self.directory)
            self._directory_changed = True
            for snapshot in self.producers.snapshots:
                if snapshot < self._bases[0]:
                    self.producers.delete_snapshot(snapshot)
            return gone

    def restore_producers(self) -> None:
        """Producer state from the newest snapshot below the log's end and the batches after it."""
        producers = self.producers
        producers.load(self._bases[0], self.log_end_offset)
        start = producers.end_offset
        if start < self.log_end_offset:
            for segment in self.segments_from(start):
                position = segment.end_position(start)
                for _, batch in segment.read_batches(position):
                    producers.appended(batch)
                segment.let_go()
        producers.end_offset = self.log_end_offset

    # -- durability --------------------------------------------------------------------------------------------

    @property
    def must_flush(self) -> bool:
        """Whether `flush.messages` wants a flush before the last append is answered."""
        return self.log_end_offset - self.recovery_point >= self.config.flush_messages

    @property
    def rolled(self) -> bool:
        """Whether a segment is complete and waits for its flush."""
        return self._rolled

    def flush_due(self, now_ms: int) -> bool:
        """Whether a rolled segment, `flush.messages` or `flush.ms` asks for a flush."""
        unflushed = self.log_end_offset - self.recovery_point
        if self._rolled or self.must_flush:
            return True
        return unflushed > 0 and now_ms - max(self._flushed_ms, self.segments[0].created_ms) >= self.config.flush_ms

    def flush(self, now_ms: int = -1, *, rolled_only: bool = False) -> None:
        """Makes everything appended so far durable (or complete segments only) and raises the recovery point.

        Blocks on fsync. Safe in a thread while the event loop appends, reads and rolls. Raises OSError.
        """
        with self._maintenance:
            if not self.closed:
                self._flush(now_ms, rolled_only=rolled_only)

    def _flush(self, now_ms: int, *, rolled_only: bool = False) -> None:
        active = self.segments[-1]
        end = active.base_offset if rolled_only else self.log_end_offset
        point = self.recovery_point
        changed, self._directory_changed = self._directory_changed, False
        self._rolled = False
        try:
            for segment in self.segments_from(point):
                if rolled_only and segment.base_offset >= end:
                    break
                segment.flush()
                if segment is not self.segments[-1]:
                    segment.let_go()
            for snapshot in self.producers.snapshots:
                if snapshot >= point:
                    sync_path(self.producers.snapshot_path(snapshot))
            self.epochs.flush()
            if changed:
                sync_directory(self.directory)
        except OSError as error:
            self._rolled = self._directory_changed = True
            self._storage_error("Cannot flush", error)
            raise
        self.recovery_point = max(point, end)
        if not rolled_only:
            self._flushed_ms = now_ms

    def close(self, *, sync: bool = True) -> None:
        """A clean end: time index complete, indexes written, producers' snapshot; all synced unless `sync` is false.

        Blocks on fsync. A log that nothing was appended to needs none.
        """
        with self._maintenance:
            if self.closed:
                return
            active = self.segments[-1]
            active.add_time_entry()
            self.producers.take_snapshot(self.log_end_offset)
            if sync and (self.log_end_offset > self.recovery_point or self._rolled):
                self._flush(-1)
            self.recovery_point = self.log_end_offset
            self._release()

    def abandon(self) -> None:
        """Its directory is offline: nothing is written any more and no file is touched."""
        self.closed = True
        for segment in self.segments:
            segment.let_go()

    def _release(self) -> None:
        self.closed = True
        for segment in self.segments:
            segment.release()
            segment.let_go()

    def rename_for_deletion(self, directory: str) -> None:
        """Its directory becomes `directory`; nothing is appended or flushed any more. Quick."""
        with self._maintenance:
            self.closed = True
            self._rename(directory)

    def _rename(self, directory: str) -> None:
        os.rename(self.directory, directory)
        self.directory = self.epochs.directory = self.producers.directory = directory
        for segment in self.segments:
            segment.moved(directory)
        self._directory_changed = True

    def replace(self, other: UnifiedLog, directory: str) -> None:
        """Goes on in the place of another log that ends where it does, in a directory of another name (KIP-113).

        What the other one knows beyond its records comes with it: elections, and transactions being verified.
        """
        with self._maintenance:
            self.raise_log_start(other.log_start_offset)
            self.epochs.take_over(other.epochs)
            self._rename(directory)
            self.producers.take_over(other.producers)  # Last: nothing may fail while two logs share a state.
            self.config = other.config

    @property
    def in_use(self) -> bool:
        """Whether a flush, or what else must not meet a change of its files' names, is under way in a thread."""
        return self._maintenance.locked()

    def wait_until_unused(self) -> None:
        """Blocks for as long as it is `in_use` now."""
        with self._maintenance:
            pass

    def remove_files(self) -> None:
        """Removes everything on disk. A slice being sent still finishes. Slow for a large log: run it in a thread."""
        self.closed = True
        for segment in self.segments:
            segment.delete()
        remove_tree(self.directory)
