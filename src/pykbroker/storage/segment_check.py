"""Whether the files of one segment are right and agree with each other: batches, checksums, the three indexes.

It reads files without changing or locking them and says what it finds. What a crash may leave is the caller's to know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import LOG_OVERHEAD, MIN_SCAN, RecordBatch, batches
from pykbroker.protocol.records.control import ControlType, read_marker
from pykbroker.storage.log_segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    MAX_RELATIVE_OFFSET,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
)
from pykbroker.storage.sparse_index import OffsetIndex, SparseIndex, TimeIndex
from pykbroker.storage.transaction_index import AbortedTransaction, TransactionIndex

_AT_ONCE = 1 << 20


class Finding(NamedTuple):
    """Something that is not as it must be."""

    path: str
    position: int | None
    """The byte in the file; None where it isn't about one."""
    message: str
    mends: bool = False
    """A crash leaves this, and the next start repairs it without losing a whole record."""

    def __str__(self) -> str:
        place = self.path if self.position is None else f"{self.path}:{self.position}"
        return f"{place}: {self.message}" + (" (the next start repairs this)" if self.mends else "")


def scan_batches(path: str, limit: int | None = None) -> Iterator[tuple[int, RecordBatch]]:
    """Position and batch, records included; stops before bytes that are no whole batch.

    `limit` reads only so many bytes of the file. Raises CorruptBatch at a length or magic that can't be, OSError.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        end = size if limit is None else min(size, limit)
        position, wanted = 0, _AT_ONCE
        while end - position >= MIN_SCAN:
            chunk = memoryview(os.pread(file.fileno(), min(wanted, end - position), position))
            at = 0
            for batch in batches(chunk):
                yield position + at, batch
                at += batch.size
            if at == 0:
                needed = int.from_bytes(chunk[8:12], "big") + LOG_OVERHEAD
                if needed <= len(chunk) or position + needed > end:
                    return
                wanted = needed
            else:
                wanted = _AT_ONCE
            position += at


def read_pairs(index: SparseIndex) -> list[tuple[int, int]]:
    """All pairs of an offset or time index, without a preallocated tail; none where there is no file."""
    size = len(index) * index.entry.size
    if not size:
        return []
    with open(index.path, "rb") as file:
        return [(first, second) for first, second in index.entry.iter_unpack(file.read(size))]


class SegmentCheck:
    """The check of one segment; `findings` grow, `next_offset` is the one after its last batch."""

    def __init__(self, directory: str, base_offset: int, *, deep: bool = False) -> None:
        self.stem = os.path.join(directory, f"{base_offset:020d}")
        self.path = self.stem + LOG_SUFFIX
        self.base_offset = base_offset
        self.deep = deep
        self.findings: list[Finding] = []
        self.next_offset = base_offset
        self.end = 0
        self.size = os.stat(self.path).st_size
        self._offsets = _OffsetEntries(self)
        self._times = _TimeEntries(self)
        self._aborts: dict[int, int] = {}

    def report(self, path: str, position: int | None, message: str, *, mends: bool = False) -> None:
        """Adds a finding."""
        self.findings.append(Finding(path, position, message, mends))

    def run(
        self,
        limit: int | None = None,
        *,
        active: bool = False,
        clean: bool = True,
        seen: Callable[[int, RecordBatch], None] | None = None,
    ) -> list[Finding]:
        """Reads the segment once. `limit` is the next segment's base offset; `active`: it is the last one.

        Without a `clean` end the indexes may be behind or ahead of the log; those of the active segment may be
        preallocated and its tail torn. `seen` is handed each batch whose checksum is right.
        """
        torn = active and not clean
        self._offsets.load(preallocated=torn)
        self._times.load(preallocated=torn)
        try:
            for position, batch in scan_batches(self.path):
                sound = self._batch(position, batch, limit)
                self._offsets.see(position, batch)
                self._times.see(position, batch)
                self.end = position + batch.size
                self.next_offset = max(self.next_offset, batch.last_offset + 1)
                if sound:
                    self._marker(position, batch)
                    if seen is not None:
                        seen(position, batch)
        except KafkaError as error:
            self.report(self.path, self.end, error.message or "no batch", mends=torn and self._zeros())
        else:
            if self.end < self.size:
                self.report(self.path, self.end, f"{self.size - self.end} bytes that are no whole batch", mends=torn)
        self._offsets.finish(mends=not clean)
        self._times.finish(mends=not clean)
        self._transactions(torn)
        return self.findings

    def _zeros(self) -> bool:
        with open(self.path, "rb") as file:
            file.seek(self.end)
            return not file.read(_AT_ONCE).strip(b"\0")

    def _batch(self, position: int, batch: RecordBatch, limit: int | None) -> bool:
        before = len(self.findings)
        try:
            batch.check_crc()
            if self.deep:
                self._records(position, batch)
        except KafkaError as error:
            self.report(self.path, position, error.message or "corrupt")
        if batch.base_offset < self.next_offset:
            self.report(self.path, position, f"offset {batch.base_offset} where {self.next_offset} was expected")
        if batch.last_offset < batch.base_offset:
            self.report(self.path, position, f"the last offset {batch.last_offset} is below {batch.base_offset}")
        if batch.last_offset - self.base_offset > MAX_RELATIVE_OFFSET:
            self.report(self.path, position, f"offset {batch.last_offset} is too far from the segment's base offset")
        elif limit is not None and batch.last_offset >= limit:
            self.report(self.path, position, f"offset {batch.last_offset} in a segment that ends before {limit}")
        return len(self.findings) == before

    def _records(self, position: int, batch: RecordBatch) -> None:
        previous = -1 if batch.magic < 2 else batch.base_offset - 1
        for record in batch.records():
            if not previous < record.offset <= batch.last_offset:
                self.report(self.path, position, f"a record of offset {record.offset} after {previous} in {batch!r}")
            previous = record.offset

    def _marker(self, position: int, batch: RecordBatch) -> None:
        if not batch.is_control:
            return
        try:
            marker = read_marker(batch)
        except KafkaError as error:
            self.report(self.path, position, error.message or "no marker")
            return
        if marker is not None and marker.type is ControlType.ABORT:
            self._aborts[batch.base_offset] = batch.producer_id

    def _transactions(self, torn: bool) -> None:
        """`.txnindex`: what can be wrong in itself, and entries without their marker."""
        path = self.stem + TXN_INDEX_SUFFIX
        previous = -1
        for place, entry in enumerate(self.aborted_transactions()):
            position = place * 34
            if entry.last_offset <= previous:
                self.report(path, position, f"offset {entry.last_offset} after {previous}: not ascending")
            if entry.first_offset < 0 or entry.last_stable_offset > entry.last_offset + 1:
                self.report(path, position, f"can't be right: {entry}")
            if self._aborts.get(entry.last_offset) != entry.producer_id:
                message = f"no abort marker of producer {entry.producer_id} at offset {entry.last_offset}"
                self.report(path, position, message, mends=torn and entry.last_offset >= self.next_offset)
            previous = entry.last_offset

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """What `.txnindex` holds; an unreadable one is reported once and counts as empty."""
        path = self.stem + TXN_INDEX_SUFFIX
        try:
            return TransactionIndex(path, exists=True).entries
        except ValueError as error:
            if not any(finding.path == path for finding in self.findings):
                self.report(path, None, str(error))
            return []


class _Entries:
    """The pairs of an index while the batches of its segment pass by."""

    def __init__(self, check: SegmentCheck, index: SparseIndex) -> None:
        self.check = check
        self.index = index
        self.pairs: list[tuple[int, int]] = []
        self.place = 0

    def report(self, place: int | None, message: str, *, mends: bool = False) -> None:
        position = None if place is None else place * self.index.entry.size
        self.check.report(self.index.path, position, message, mends=mends)

    def load(self, *, preallocated: bool) -> None:
        """Reads the pairs; says what is wrong with the file as such."""
        try:
            size = os.stat(self.index.path).st_size
        except FileNotFoundError:
            self.report(None, "is missing")
            return
        self.pairs = read_pairs(self.index)
        if size % self.index.entry.size:
            self.report(None, f"has {size} bytes, no multiple of {self.index.entry.size}")
        elif size != len(self.pairs) * self.index.entry.size and not preallocated:
            self.report(len(self.pairs), f"{size - len(self.pairs) * self.index.entry.size} bytes of zeros at the end")

    def ascending(
        self, place: int, previous: tuple[int, int], pair: tuple[int, int], *, names: tuple[str, str]
    ) -> None:
        for name, before, value in zip(names, previous, pair, strict=True):
            if value <= before:
                self.report(place, f"{name} {value} after {before}: not ascending")


class _OffsetEntries(_Entries):
    """Every entry (offset, position) needs a batch at that position that begins at or below that offset."""

    def __init__(self, check: SegmentCheck) -> None:
        super().__init__(check, OffsetIndex(check.stem + INDEX_SUFFIX))

    def load(self, *, preallocated: bool) -> None:
        super().load(preallocated=preallocated)
        for place in range(1, len(self.pairs)):
            self.ascending(place, self.pairs[place - 1], self.pairs[place], names=("offset", "position"))

    def see(self, position: int, batch: RecordBatch) -> None:
        pairs = self.pairs
        while self.place < len(pairs) and pairs[self.place][1] <= position:
            relative, at = pairs[self.place]
            offset = self.check.base_offset + relative
            if at < position:
                self.report(self.place, f"no batch begins at position {at}, where offset {offset} is said to be")
            elif batch.base_offset > offset:
                self.report(
                    self.place, f"offset {offset} is said to be at position {at}, where {batch.base_offset} begins"
                )
            self.place += 1

    def finish(self, *, mends: bool) -> None:
        """Entries for which no batch came."""
        check = self.check
        for place in range(self.place, len(self.pairs)):
            at = self.pairs[place][1]
            self.report(place, f"position {at} is not within the log's {check.end} bytes", mends=mends)
        if self.place and self.place == len(self.pairs):
            last = check.base_offset + self.pairs[-1][0]
            if last >= check.next_offset:
                self.report(len(self.pairs) - 1, f"offset {last} is not in the segment", mends=mends)


class _TimeEntries(_Entries):
    """Every entry (timestamp, offset) names the largest timestamp of all records up to that offset."""

    def __init__(self, check: SegmentCheck) -> None:
        super().__init__(check, TimeIndex(check.stem + TIME_INDEX_SUFFIX))
        self.largest = -1
        self.named = -1
        """The largest timestamp of batches, those without records among them."""

    def load(self, *, preallocated: bool) -> None:
        super().load(preallocated=preallocated)
        for place in range(1, len(self.pairs)):
            self.ascending(place, self.pairs[place - 1], self.pairs[place], names=("timestamp", "offset"))

    def see(self, position: int, batch: RecordBatch) -> None:
        pairs, base = self.pairs, self.check.base_offset
        # A batch that compaction emptied keeps a timestamp that no record has any more: an entry may name it or not.
        self.named = max(self.named, batch.max_timestamp)
        largest = max(self.largest, batch.max_timestamp) if batch.count else self.largest
        while self.place < len(pairs) and base + pairs[self.place][1] <= batch.last_offset:
            timestamp, relative = pairs[self.place]
            offset = base + relative
            known = largest if offset >= batch.base_offset or batch.magic < 2 else self.largest
            if known > timestamp:
                self.report(
                    self.place, f"{timestamp} is said to be the largest up to offset {offset}; the log has {known}"
                )
            elif known < timestamp and self.named < timestamp:
                self.report(self.place, f"no record up to offset {offset} has the timestamp {timestamp}")
            self.place += 1
        self.largest = largest

    def finish(self, *, mends: bool) -> None:
        """Entries for which no batch came; and the last one, which a segment that is not written any more must have."""
        for place in range(self.place, len(self.pairs)):
            offset = self.check.base_offset + self.pairs[place][1]
            self.report(place, f"offset {offset} is not in the segment", mends=mends)
        if not mends and self.largest >= 0 and not any(timestamp >= self.largest for timestamp, _ in self.pairs[-1:]):
            self.report(None, f"lacks the segment's largest timestamp, {self.largest}")
