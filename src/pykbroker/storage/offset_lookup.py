"""Offsets by time: the record at which a consumer begins that asks for a moment, or for the newest record.

Time indexes are hints: what is answered was read from the batch itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pykbroker.protocol.records.batch import RecordBatch
from pykbroker.protocol.records.record import Record

if TYPE_CHECKING:
    from pykbroker.storage.log_reader import LogReader
    from pykbroker.storage.log_segment import LogSegment

LATEST = -1
EARLIEST = -2


class TimestampOffset(NamedTuple):
    """A record found by time; the leader epoch is -1 where the log doesn't know it."""

    offset: int
    timestamp: int
    leader_epoch: int


def first_at_or_after(log: LogReader, timestamp: int, upper_bound: int) -> TimestampOffset | None:
    """The first record whose timestamp (ms) is not below `timestamp`, among those from log start to `upper_bound`."""
    for segment in log.segments_from(log.log_start_offset):
        if segment.base_offset >= upper_bound:
            return None
        if segment.max_timestamp < timestamp:
            continue
        for batch in _candidates(segment, timestamp):
            if batch.base_offset >= upper_bound:
                return None
            for record in batch.records():
                if record.timestamp >= timestamp and record.offset >= log.log_start_offset:
                    return _found(batch, record) if record.offset < upper_bound else None
        if segment is not log.segments[-1]:
            segment.let_go()
    return None


def _candidates(segment: LogSegment, timestamp: int) -> Iterator[RecordBatch]:
    """The batches that have a timestamp that large; only these are read whole."""
    hint = segment.time_index.floor(timestamp - 1)
    position = 0 if hint is None else segment.end_position(segment.base_offset + hint[1])
    for place, header in segment.headers(position):
        if header.max_timestamp >= timestamp:
            yield segment.read_batch(place, header.size)


def _found(batch: RecordBatch, record: Record) -> TimestampOffset:
    return TimestampOffset(record.offset, record.timestamp, batch.leader_epoch)


def with_largest_timestamp(log: LogReader, upper_bound: int) -> TimestampOffset | None:
    """The first of the records with the largest timestamp, among those from log start to `upper_bound`."""
    best: tuple[int, LogSegment] | None = None
    for segment in log.segments_from(log.log_start_offset):
        if segment.base_offset >= upper_bound:
            break
        largest = segment.max_timestamp
        if segment.max_timestamp_offset >= upper_bound or segment.base_offset < log.log_start_offset:
            largest = _largest_visible(log, segment, upper_bound)
        if largest >= 0 and (best is None or largest > best[0]):
            best = largest, segment
    return None if best is None else first_at_or_after(log, best[0], upper_bound)


def _largest_visible(log: LogReader, segment: LogSegment, upper_bound: int) -> int:
    """The largest timestamp in a segment of which a part is hidden."""
    largest = -1
    for position, header in segment.headers(0):
        if header.base_offset >= upper_bound:
            break
        if header.last_offset < log.log_start_offset:
            continue
        if header.base_offset < log.log_start_offset or header.last_offset >= upper_bound:
            visible = [
                record.timestamp
                for record in segment.read_batch(position, header.size).records()
                if log.log_start_offset <= record.offset < upper_bound
            ]
            largest = max([largest, *visible])
        else:
            largest = max(largest, header.max_timestamp)
    return largest


def segments_before(
    log: LogReader, timestamp: int, max_num: int, now_ms: int, upper_bound: int | None = None
) -> list[int]:
    """ListOffsets 0: up to `max_num` offsets, descending, at which segments begin that are older than a time (ms).

    Ages are the files' modification times; -1 asks for the log's end, -2 for its start.
    """
    places: list[tuple[int, int]] = []
    for segment in log.segments:
        modified = int(os.stat(segment.path).st_mtime * 1000)
        places.append((max(segment.base_offset, log.log_start_offset), modified))
    if log.segments[-1].size:
        places.append((log.log_end_offset, now_ms))
    if timestamp == LATEST:
        last = len(places) - 1
    elif timestamp == EARLIEST:
        last = 0
    else:
        last = max((place for place, (_, time) in enumerate(places) if time <= timestamp), default=-1)
    offsets = [offset for offset, _ in reversed(places[: last + 1])]
    if upper_bound is not None and any(offset > upper_bound for offset in offsets):
        offsets = [upper_bound, *(offset for offset in offsets if offset <= upper_bound)]
    return offsets[:max_num]
