"""Reads a partition's batches for a share group: their headers alone, as far as records may be acquired.

Record bytes aren't read: what is acquired goes from the file to the socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pykbroker.cluster.share_acquire import Acquired, Fetched
from pykbroker.protocol.records.batch import HEADER_SIZE, MIN_SCAN, RecordBatch
from pykbroker.protocol.records.control import ControlType, read_marker
from pykbroker.storage.file_slice import FileSlice


class Placed(NamedTuple):
    """A batch, and where its bytes are in the slice."""

    batch: Fetched
    start: int
    size: int


def read_headers(records: FileSlice, offset: int, last_wanted: int) -> list[Placed]:
    """The whole batches of a slice that was read from `offset` on, up to the one that holds `last_wanted`."""
    found: list[Placed] = []
    for placed in _headers(records, offset):
        if placed.batch.base_offset > last_wanted:
            break
        found.append(placed)
    return found


def _headers(records: FileSlice, offset: int) -> Iterator[Placed]:
    start, size = 0, len(records)
    while size - start >= MIN_SCAN:
        header = RecordBatch(memoryview(records.read_at(start, HEADER_SIZE)))
        if start + header.size > size:
            return
        abort = False
        if header.is_control:
            marker = read_marker(RecordBatch(memoryview(records.read_at(start, header.size))))
            abort = marker is not None and marker.type is ControlType.ABORT
        # An entry of an older format bears its last record's offset.
        base_offset = header.base_offset if header.magic > 1 else min(offset, header.base_offset)
        batch = Fetched(base_offset, header.last_offset, header.producer_id, header.is_transactional, abort)
        yield Placed(batch, start, header.size)
        start, offset = start + header.size, header.next_offset


def slice_acquired(records: FileSlice, placed: Sequence[Placed], acquired: Sequence[Acquired]) -> FileSlice:
    """The part of a slice with the batches that hold acquired records, and those between them."""
    first, last = acquired[0].first, acquired[-1].last
    begin = max((one.start for one in placed if one.batch.base_offset <= first), default=0)
    end = max((one.start + one.size for one in placed if one.batch.base_offset <= last), default=len(records))
    return records.part(begin, end - begin)
