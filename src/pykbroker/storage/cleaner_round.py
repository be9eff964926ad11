"""One round of cleaning of one log: the map of its dirty part, then every group of segments copied and replaced.

What to clean and when is the log cleaner's to choose. Blocking and slow: it runs in a thread beside the log's writer.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykbroker.protocol.records.batch import MAX_TIMESTAMP_AT, CorruptBatch, RecordBatch
from pykbroker.storage.cleaner_filter import RecordFilter, body_of, emptied, filtered_legacy, spans_of
from pykbroker.storage.cleaner_swap import Buffer, CleanedSegment, CleaningAborted
from pykbroker.storage.cleaner_transactions import CleanedTransactions
from pykbroker.storage.log_segment import MAX_RELATIVE_OFFSET, LogSegment
from pykbroker.storage.offset_map import OffsetMap
from pykbroker.storage.transaction_index import AbortedTransaction

if TYPE_CHECKING:
    from pykbroker.storage.log import UnifiedLog


@dataclass(slots=True)
class CleanCounts:
    """What a round of cleaning went through."""

    bytes_read: int = 0
    bytes_written: int = 0
    keys: int = 0
    segments_before: int = 0
    segments_after: int = 0


class CleaningRound:
    """Cleans a log between its first dirty offset and the first offset that mustn't be cleaned, which begins a segment.

    `proceed` is told of every so many bytes that are read or written: it may wait, and raises CleaningAborted to end.
    """

    def __init__(
        self,
        log: UnifiedLog,
        first_dirty: int,
        first_uncleanable: int,
        now_ms: int,
        *,
        proceed: Callable[[int], None],
        buffer_size: int,
    ) -> None:
        self.log = log
        self.counts = CleanCounts()
        self._first_dirty = first_dirty
        self._upper_bound = first_uncleanable
        self._now_ms = now_ms
        self._proceed = proceed
        self._buffer_size = buffer_size
        self._generation = log.generation
        self._segments = [segment for segment in log.segments if segment.base_offset < first_uncleanable]

    def _check(self, size: int) -> None:
        if self.log.closed or self.log.generation != self._generation:
            raise CleaningAborted(f"{self.log.topic_partition} was closed or truncated while it was cleaned")
        self._proceed(size)

    def _batches(self, segment: LogSegment, position: int) -> Iterator[RecordBatch]:
        """All batches from a position on. Raises CorruptBatch where one isn't whole and right."""
        counts = self.counts
        unreported = 0
        end = position
        for place, batch in segment.read_batches(position):
            batch.check_crc()
            end = place + batch.size
            unreported += batch.size
            if unreported >= self._buffer_size:
                counts.bytes_read += unreported
                self._check(unreported)
                unreported = 0
            yield batch
        counts.bytes_read += unreported
        self._check(unreported)
        segment.let_go()
        if end != segment.size:
            raise CorruptBatch(f"{segment.path} has no whole batch at position {end}")

    # -- the map -----------------------------------------------------------------------------------------------

    def build_map(self, offsets: OffsetMap) -> int:
        """Enters the keys of the dirty part as far as there is room; returns the offset where the round ends."""
        transactions = CleanedTransactions()
        transactions.add_aborted(self._aborted(self._first_dirty, self._upper_bound))
        dirty = self._segments[max(bisect_right(self._segments, self._first_dirty, key=_base_offset) - 1, 0) :]
        offsets.latest_offset = self._first_dirty - 1
        for place, segment in enumerate(dirty):
            if not self._enter(segment, offsets, transactions):
                break
            following = dirty[place + 1].base_offset if place + 1 < len(dirty) else self._upper_bound
            offsets.latest_offset = max(offsets.latest_offset, following - 1)
        self.counts.keys = len(offsets)
        return offsets.latest_offset + 1

    def _enter(self, segment: LogSegment, offsets: OffsetMap, transactions: CleanedTransactions) -> bool:
        """Enters a segment's keys; False when the map is full."""
        first = self._first_dirty
        put = offsets.put
        for batch in self._batches(segment, segment.end_position(first)):
            if not transactions.can_discard(batch) and not batch.is_control:
                for offset, key in _keys(batch):
                    if key is not None and offset >= first and not put(key, offset):
                        return False
            offsets.latest_offset = max(offsets.latest_offset, batch.last_offset)
        return True

    def _aborted(self, start: int, stop: int) -> list[AbortedTransaction]:
        """The aborted transactions with a part in [start, stop)."""
        found: list[AbortedTransaction] = []
        for segment in self.log.segments_from(start):
            for entry in segment.txn_index.entries:
                if entry.last_offset >= start and entry.first_offset < stop:
                    found.append(entry)
                if entry.last_stable_offset >= stop:
                    return found
        return found

    # -- the copy ----------------------------------------------------------------------------------------------

    def copy(self, offsets: OffsetMap) -> None:
        """Cleans everything before the map's end, a group of adjacent segments after the other."""
        config = self.log.config
        record_filter = RecordFilter(offsets.get, offsets.latest_offset, self._now_ms, config.delete_retention_ms)
        transactions = CleanedTransactions()
        clean = [segment for segment in self._segments if segment.base_offset < self._first_dirty]
        legacy_horizon = _modified_ns(clean[-1]) // 1_000_000 - config.delete_retention_ms if clean else 0
        wanted = [segment for segment in self._segments if segment.base_offset <= offsets.latest_offset]
        for group in grouped(wanted, config.segment_bytes, config.segment_index_bytes, self._upper_bound):
            self._clean_group(group, record_filter, transactions, legacy_horizon)

    def _clean_group(
        self,
        group: list[LogSegment],
        record_filter: RecordFilter,
        transactions: CleanedTransactions,
        legacy_horizon: int,
    ) -> None:
        log = self.log
        cleaned = CleanedSegment(
            log.directory, group[0].base_offset, self._buffer_size, log.config.index_interval_bytes
        )
        try:
            ends = self._producers_ends()
            transactions.retained = []
            for place, segment in enumerate(group):
                stop = group[place + 1].base_offset if place + 1 < len(group) else segment.next_offset()
                transactions.add_aborted(self._aborted(segment.base_offset, stop))
                keep_tombstones = _modified_ns(segment) // 1_000_000 > legacy_horizon
                self._clean_into(cleaned, segment, record_filter, transactions, keep_tombstones, ends)
            cleaned.finish(transactions.retained, _modified_ns(group[-1]))
            self._check(0)
        except BaseException:
            cleaned.give_up()
            raise
        try:
            cleaned.put_in_place(log, group, self._generation)
        except CleaningAborted:
            cleaned.give_up()
            raise
        self.counts.segments_before += len(group)
        self.counts.segments_after += 1

    def _producers_ends(self) -> dict[int, tuple[int, int]]:
        """Of every producer that the log remembers: its last data's offset (-1 when unknown) and its epoch."""
        return {entry.producer_id: (entry.last_offset, entry.epoch) for entry in self.log.active_producers()}

    def _clean_into(
        self,
        cleaned: CleanedSegment,
        segment: LogSegment,
        record_filter: RecordFilter,
        transactions: CleanedTransactions,
        keep_legacy_tombstones: bool,
        ends: dict[int, tuple[int, int]],
    ) -> None:
        written = cleaned.segment.size
        for batch in self._batches(segment, 0):
            data: Buffer | None = None
            if batch.magic < 2:
                data = filtered_legacy(record_filter, batch, keep_tombstones=keep_legacy_tombstones)
            else:
                discard = transactions.can_discard(batch)
                empty_marker = discard and batch.is_control
                if empty_marker:
                    horizon = record_filter.delete_horizon(batch)
                    discard = horizon is not None and horizon <= self._now_ms
                if not discard:
                    data = record_filter.filtered(batch, marker_is_empty=empty_marker)
                if data is None and (batch.next_offset == self._upper_bound or _is_end_of_producer(batch, ends)):
                    data = emptied(batch)
            if data is not None:
                cleaned.append(data, batch, _max_timestamp(data, batch))
        self.counts.bytes_written += cleaned.segment.size - written
        self._check(cleaned.segment.size - written)


def _max_timestamp(data: Buffer, batch: RecordBatch) -> int:
    if batch.magic < 2:
        return batch.max_timestamp
    return int.from_bytes(data[MAX_TIMESTAMP_AT : MAX_TIMESTAMP_AT + 8], "big", signed=True)


def _is_end_of_producer(batch: RecordBatch, ends: dict[int, tuple[int, int]]) -> bool:
    """Whether a batch is what is left of a producer: its last sequence, or its epoch where it has no data."""
    found = ends.get(batch.producer_id) if batch.producer_id >= 0 else None
    if found is None:
        return False
    last_offset, epoch = found
    if last_offset >= 0:
        return batch.last_offset == last_offset
    return batch.is_control and batch.producer_epoch == epoch


def _keys(batch: RecordBatch) -> Iterator[tuple[int, bytes | None]]:
    if batch.magic < 2:
        return ((record.offset, record.key) for record in batch.records())
    base = batch.base_offset
    return ((base + span[2], span[3]) for span in spans_of(batch, body_of(batch)))


def _base_offset(segment: LogSegment) -> int:
    return segment.base_offset


def _modified_ns(segment: LogSegment) -> int:
    return os.stat(segment.path).st_mtime_ns


def grouped(segments: list[LogSegment], size: int, index_size: int, upper_bound: int) -> list[list[LogSegment]]:
    """Adjacent segments that fit into one: together at most `size` bytes, `index_size` of either index, 2³¹ offsets.

    `upper_bound` is the offset that follows the last segment.
    """
    groups: list[list[LogSegment]] = []
    sizes = [0, 0, 0]
    for place, segment in enumerate(segments):
        own = [
            segment.size,
            len(segment.index) * segment.index.entry.size,
            len(segment.time_index) * segment.time_index.entry.size,
        ]
        following = segments[place + 1].base_offset if place + 1 < len(segments) else upper_bound
        total = [a + b for a, b in zip(sizes, own, strict=True)]
        fits = total[0] <= size and max(total[1:]) <= index_size
        if groups and fits and (not own[0] or following - 1 - groups[-1][0].base_offset <= MAX_RELATIVE_OFFSET):
            groups[-1].append(segment)
            sizes = total
        else:
            groups.append([segment])
            sizes = own
    return groups
