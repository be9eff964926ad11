"""The reading side of a log: by offset, by time, by epoch, the aborted transactions. It changes nothing.

What a reader may see ends at the bound that it is given; the high watermark is the replica's.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.storage import offset_lookup
from pykbroker.storage.log_results import LogRead
from pykbroker.storage.offset_lookup import TimestampOffset

if TYPE_CHECKING:
    from pykbroker.protocol.topic_partition import TopicPartition
    from pykbroker.storage.file_slice import FileSlice
    from pykbroker.storage.leader_epochs import LeaderEpochs
    from pykbroker.storage.log_segment import LogSegment
    from pykbroker.storage.producer_state import ProducerEntry, ProducerState


class LogReader:
    """What a log can be asked."""

    __slots__ = ()

    topic_partition: TopicPartition
    segments: list[LogSegment]
    epochs: LeaderEpochs
    producers: ProducerState
    log_start_offset: int
    log_end_offset: int
    on_error: Callable[[LogReader, OSError], None] | None
    _bases: list[int]

    # -- what it is --------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of all its segments, indexes not counted."""
        return sum(segment.size for segment in self.segments)

    @property
    def latest_epoch(self) -> int | None:
        """The newest leader epoch that the log knows."""
        return self.epochs.latest

    @property
    def first_unstable_offset(self) -> int | None:
        """Where the oldest open transaction began; None when none is open. See `last_stable_offset`."""
        first = self.producers.first_ongoing_offset
        return None if first is None else max(first, self.log_start_offset)

    def last_stable_offset(self, high_watermark: int) -> int:
        """The end of what read_committed readers see: below it every transaction is decided, its marker replicated."""
        stable = self.producers.last_stable_offset(high_watermark)
        return stable if stable > self.log_start_offset else min(self.log_start_offset, high_watermark)

    def active_producers(self) -> list[ProducerEntry]:
        """The producers whose sequences are remembered."""
        return list(self.producers.producers.values())

    # -- reading -----------------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, *, upper_bound: int, min_one_message: bool = True) -> LogRead:
        """Batches from the one that holds `offset` (or the next existing) up to `upper_bound`, of one segment.

        At most `max_bytes`, the last batch then perhaps cut; `min_one_message`: the first one whole even if larger,
        otherwise nothing when it doesn't fit. Raises KafkaError(OFFSET_OUT_OF_RANGE).
        """
        end = self.log_end_offset
        if offset < self.log_start_offset or offset > end:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Offset {offset} of {self.topic_partition} is outside {self.log_start_offset}..{end}",
            )
        if offset >= upper_bound:
            return LogRead(None, offset, self.log_start_offset, end)
        while True:
            segments = self.segments  # first: a replacement publishes the bases first, so a search begins early
            try:
                records, base = self._slice(segments, offset, max_bytes, upper_bound, min_one_message)
            except OSError as error:
                if self.segments is segments:
                    raise self._storage_error(f"Cannot read {self.topic_partition}", error) from error
                if offset < self.log_start_offset:  # Deleted between the search and the look.
                    raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE) from error
            else:
                return LogRead(records, offset, self.log_start_offset, end, base)

    def _slice(
        self, segments: list[LogSegment], offset: int, max_bytes: int, upper_bound: int, min_one_message: bool
    ) -> tuple[FileSlice | None, int]:
        """The records, and the base offset of the segment that they lie in."""
        place = max(bisect_right(self._bases, offset) - 1, 0)
        while place < len(segments):
            segment = segments[place]
            place += 1
            located = segment.locate(offset)
            if located is None:
                continue
            position, size, base_offset, _ = located
            if base_offset >= upper_bound:
                break
            segment_end = segments[place].base_offset if place < len(segments) else self.log_end_offset
            stop = segment.size if upper_bound >= segment_end else segment.end_position(upper_bound)
            if stop <= position or (size > max_bytes and not min_one_message):
                break
            records = segment.slice(position, min(stop - position, max(max_bytes, size)))
            if place < len(segments):
                segment.let_go()
            return records, segment.base_offset
        return None, -1

    def segments_from(self, offset: int) -> list[LogSegment]:
        """The segment that holds an offset and all later ones."""
        return self.segments[max(bisect_right(self._bases, offset) - 1, 0) :]

    def aborted_transactions(self, start: int, upper_bound: int) -> list[tuple[int, int]]:
        """(producer id, first offset) of the aborted transactions that overlap [start, upper_bound)."""
        found: list[tuple[int, int]] = []
        for segment in self.segments_from(start):
            for entry in segment.txn_index.entries:
                if entry.last_offset >= start and entry.first_offset < upper_bound:
                    found.append((entry.producer_id, entry.first_offset))
                if entry.last_stable_offset >= upper_bound:
                    return sorted(found, key=lambda aborted: aborted[1])
        return sorted(found, key=lambda aborted: aborted[1])

    def aborted_in(self, read: LogRead) -> list[tuple[int, int]]:
        """The same for what was just read: up to the next entry of the offset index behind it, as Kafka does."""
        records = read.records
        if records is None:
            return []
        segments = self.segments_from(read.segment_base)
        end = self.log_end_offset
        if segments[0].base_offset == read.segment_base:  # Else another thread has just replaced it by a larger one.
            following = segments[0].index.at_or_after(records.position + len(records))
            if following is not None:
                end = segments[0].base_offset + following[0]
            elif len(segments) > 1:
                end = segments[1].base_offset
        return self.aborted_transactions(read.start_offset, end)

    def offset_for_timestamp(self, timestamp: int, upper_bound: int) -> TimestampOffset | None:
        """The first record at or after a time (ms) that is visible below `upper_bound`; reads and decodes a batch."""
        return self._looked_up(lambda: offset_lookup.first_at_or_after(self, timestamp, upper_bound))

    def max_timestamp_offset(self, upper_bound: int) -> TimestampOffset | None:
        """The first record with the largest timestamp below `upper_bound`."""
        return self._looked_up(lambda: offset_lookup.with_largest_timestamp(self, upper_bound))

    def _looked_up(self, find: Callable[[], TimestampOffset | None]) -> TimestampOffset | None:
        segments = self.segments
        try:
            return find()
        except OSError as error:
            if self.segments is not segments:  # One of them was deleted meanwhile.
                return find()
            raise self._storage_error(f"Cannot search {self.topic_partition}", error) from error

    def legacy_offsets_before(
        self, timestamp: int, max_num: int, upper_bound: int | None = None, *, now_ms: int | None = None
    ) -> list[int]:
        """The offsets that ListOffsets 0 asks for, descending: segments' beginnings, and the log's end."""
        if now_ms is None:
            now_ms = time.time_ns() // 1_000_000
        return offset_lookup.segments_before(self, timestamp, max_num, now_ms, upper_bound)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest known epoch not above `epoch` and where it ended; (-1, -1) for one that is unknown."""
        return self.epochs.end_offset(epoch, self.log_end_offset)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Has an OSError that passes through the block told to `on_error`."""
        try:
            yield
        except OSError as error:
            self._storage_error(what, error)
            raise

    def _storage_error(self, what: str, error: OSError) -> KafkaError:
        if self.on_error is not None:
            self.on_error(self, error)
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{what}: {error}")
