"""One segment of a log: `<base>.log` with its indexes; appending, locating, scanning, cutting.

It keeps bytes at positions. Which offsets may come, when to roll and what is visible is the log's to decide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import NamedTuple, TypeVar

from pykbroker.protocol.records.batch import (
    HEADER_SIZE,
    LOG_OVERHEAD,
    MIN_BATCH_LENGTH,
    MIN_SCAN,
    CorruptBatch,
    RecordBatch,
)
from pykbroker.storage.checkpoints import sync_path, write_all
from pykbroker.storage.file_slice import FileSlice
from pykbroker.storage.files import OPEN_FILES, LogFile, LostWrites, open_fd, sync_fd
from pykbroker.storage.sparse_index import OffsetIndex, TimeIndex
from pykbroker.storage.transaction_index import TransactionIndex

T = TypeVar("T")

LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".index"
TIME_INDEX_SUFFIX = ".timeindex"
TXN_INDEX_SUFFIX = ".txnindex"
DELETED_SUFFIX = ".deleted"
SEGMENT_SUFFIXES = (LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX)

MAX_RELATIVE_OFFSET = 0x7FFFFFFF
_HEADERS_AT_ONCE = 8 * 1024
_BATCHES_AT_ONCE = 1 << 20
_SCAN = Struct(">qiibIhi")  # a batch's header up to lastOffsetDelta


class Located(NamedTuple):
    """Where a batch lies in its segment's file."""

    position: int
    size: int
    base_offset: int
    last_offset: int


class LogSegment:
    """A segment; its file is opened when it is first needed."""

    __slots__ = (
        "__weakref__",
        "_bytes_since_index",
        "_first_timestamp",
        "_pinned",
        "base_offset",
        "created_ms",
        "held",
        "index",
        "jitter_ms",
        "max_timestamp",
        "max_timestamp_offset",
        "path",
        "size",
        "tail",
        "time_index",
        "txn_index",
    )

    def __init__(self, directory: str, base_offset: int, *, has_txn_index: bool = False) -> None:
        stem = os.path.join(directory, f"{base_offset:020d}")
        self.path = stem + LOG_SUFFIX
        self.base_offset = base_offset
        self.index = OffsetIndex(stem + INDEX_SUFFIX)
        self.time_index = TimeIndex(stem + TIME_INDEX_SUFFIX)
        self.txn_index = TransactionIndex(stem + TXN_INDEX_SUFFIX, exists=has_txn_index)
        self.size = 0
        self.created_ms = 0
        self.jitter_ms = 0
        self.max_timestamp = -1
        self.max_timestamp_offset = base_offset
        self._first_timestamp: int | None = None
        self._bytes_since_index = 0
        self.held: LogFile | None = None
        self._pinned = False
        self.tail: Located | None = None
        """The batch appended last, for which most readers wait."""

    # -- files -------------------------------------------------------------------------------------------------

    def create(self, now_ms: int) -> None:
        """Makes the files of an empty segment; an OSError leaves none of them."""
        try:
            os.close(open_fd(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            self.index.create()
            self.time_index.create()
        except OSError:
            self._take_back(self.delete)  # An empty segment in the middle of the offsets would end the log there.
            raise
        self.created_ms = now_ms

    def open_existing(self) -> None:
        """Takes size and age from the file, the largest timestamp from the time index."""
        stat = os.stat(self.path)
        self.size = stat.st_size
        self.created_ms = int(stat.st_mtime * 1000)
        if self.size:
            last = self.time_index.last()
            if last is not None:
                self.max_timestamp = last[0]
                self.max_timestamp_offset = self.base_offset + last[1]

    @property
    def file(self) -> LogFile:
        """The open log file. Keep it in a variable while it is used: others may need the descriptor."""
        file = self.held
        if file is None:
            return OPEN_FILES.open(self, self.path)
        file.used = True
        return file

    def release(self) -> None:
        """After a roll: indexes leave memory."""
        self.index.release()
        self.time_index.release()

    def let_go(self) -> None:
        """Closes the file as soon as no slice of it is being sent; it is opened again when it is needed."""
        if not self._pinned:
            OPEN_FILES.close(self)

    def pin(self) -> None:
        """From now on it can be read whatever becomes of its files' names: it is about to be replaced."""
        self._pinned = True
        file = self.file
        OPEN_FILES.close(self)
        self.held = file
        self.index.pin()
        self.time_index.pin()
        _ = self.txn_index.entries

    def moved(self, directory: str) -> None:
        """Its directory was renamed."""
        for holder in self._holders():
            holder.path = os.path.join(directory, os.path.basename(holder.path))

    def flush(self) -> None:
        """Makes everything written so far durable. Blocks on fsync; may run in a thread while others append."""
        file = self.held
        if file is not None:
            sync_fd(file.fd)
        else:
            sync_path(self.path)
        self.index.flush()
        self.time_index.flush()
        for path in (self.index.path, self.time_index.path):
            sync_path(path)
        if self.txn_index.entries:
            self.txn_index.flush()
            sync_path(self.txn_index.path)

    def delete(self) -> None:
        """Removes the files; slices being sent keep theirs open."""
        self.let_go()
        for holder in self._holders():
            try:
                os.unlink(holder.path)
            except FileNotFoundError:
                pass

    def mark_deleted(self, directory: str) -> None:
        """Renames the files, in the directory where they are now, so that nobody takes them for the log's.

        A crash before they are removed is finished at the next start.
        """
        self.let_go()
        self.moved(directory)
        for holder in self._holders():
            if holder.path.endswith(DELETED_SUFFIX):
                continue  # An earlier call came so far.
            marked = holder.path + DELETED_SUFFIX
            try:
                os.rename(holder.path, marked)
            except FileNotFoundError:
                continue
            holder.path = marked

    def _holders(self) -> tuple[LogSegment | OffsetIndex | TimeIndex | TransactionIndex, ...]:
        """Who knows the path of a file."""
        return self, self.index, self.time_index, self.txn_index

    # -- appending ---------------------------------------------------------------------------------------------

    def append(self, data: bytes | bytearray | memoryview, last_offset: int, max_timestamp: int, interval: int) -> None:
        """Writes batches at the end, and index entries every `interval` bytes. OSError leaves the segment as it was."""
        position = self.size
        file = self.file
        try:
            written = os.pwrite(file.fd, data, position)
            if written != len(data):
                write_all(file.fd, memoryview(data)[written:], position + written)
        except OSError:
            self._take_back(lambda: os.ftruncate(file.fd, position))
            raise
        self.size = position + len(data)
        self.indexed(position, len(data), last_offset, max_timestamp, interval)

    def _take_back(self, undo: Callable[[], None]) -> None:
        try:
            undo()
        except OSError as error:
            raise LostWrites(error.errno, error.strerror) from error

    def indexed(self, position: int, size: int, last_offset: int, max_timestamp: int, interval: int) -> None:
        """Accounts for bytes at a position: an append, or its replay when the indexes are rebuilt."""
        if max_timestamp > self.max_timestamp:
            self.max_timestamp = max_timestamp
            self.max_timestamp_offset = last_offset
        if position == 0:
            self._first_timestamp = max_timestamp
        if self._bytes_since_index > interval:
            self.index.append(last_offset - self.base_offset, position)
            self.add_time_entry()
            self._bytes_since_index = 0
        self._bytes_since_index += size

    def add_time_entry(self) -> None:
        """The largest timestamp so far, unless it is there already: with an offset entry, at a roll, at a close."""
        if self.max_timestamp < 0:
            return
        last = self.time_index.last()
        if last is None or last[0] < self.max_timestamp:
            self.time_index.append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)

    def first_timestamp(self) -> int:
        """The largest timestamp of the first batch, by which `segment.ms` counts; -1 without one."""
        if self._first_timestamp is None:
            first = next(self.headers(0), None)
            if first is None:
                return -1
            self._first_timestamp = first[1].max_timestamp
        return self._first_timestamp

    def largest_timestamp(self) -> int:
        """Of its records (ms); without one, when the file was last written. What retention goes by."""
        return self.max_timestamp if self.max_timestamp >= 0 else int(os.stat(self.path).st_mtime * 1000)

    def has_room(self, last_offset: int, index_bytes: int) -> bool:
        """Whether both indexes take another entry and the offset fits into them."""
        entries = index_bytes // 8
        if last_offset - self.base_offset > MAX_RELATIVE_OFFSET:
            return False
        return len(self.index) < entries and len(self.time_index) < index_bytes // 12 - 1

    # -- looking up --------------------------------------------------------------------------------------------

    def locate(self, offset: int) -> Located | None:
        """The first batch whose last offset is ≥ `offset`. Raises CorruptBatch where the file holds no batch."""
        tail = self.tail
        if tail is not None and tail.base_offset <= offset <= tail.last_offset:
            return tail
        found = self.index.floor(offset - self.base_offset)
        if found is None:
            return self._scan_for(offset, 0)
        try:
            return self._scan_for(offset, found[1])
        except CorruptBatch:
            return self._scan_for(offset, 0)  # the index was a bad hint

    def _scan_for(self, offset: int, position: int) -> Located | None:
        file = self.file  # a local reference keeps the descriptor from being closed meanwhile
        fd = file.fd
        unpack = _SCAN.unpack_from
        end = self.size
        while position + MIN_SCAN <= end:
            chunk = os.pread(fd, _HEADERS_AT_ONCE, position)
            if len(chunk) < _HEADERS_AT_ONCE:
                chunk += b"\0"  # the smallest message of format 0 is a byte shorter than what is unpacked
            limit = len(chunk) - _SCAN.size
            at = 0
            while at <= limit:
                base, length, _, magic, _, _, delta = unpack(chunk, at)
                if length < MIN_BATCH_LENGTH or position + at + length + LOG_OVERHEAD > end:
                    raise CorruptBatch(f"{self.path} has no batch at position {position + at}")
                last = base + delta if magic > 1 else base
                if last >= offset:
                    return Located(position + at, length + LOG_OVERHEAD, base, last)
                at += length + LOG_OVERHEAD
            if at == 0:
                break
            position += at
        return None

    def end_position(self, offset: int) -> int:
        """Where the first batch that has records at or above `offset` begins; the file's size if there is none."""
        found = self.locate(offset)
        return self.size if found is None else found.position

    def slice(self, position: int, size: int) -> FileSlice:
        """A part of the file."""
        return FileSlice(self.file, position, size)

    def headers(self, position: int) -> Iterator[tuple[int, RecordBatch]]:
        """Position and header of each batch from a position on; the records are not read.

        Raises CorruptBatch where the file holds no batch.
        """
        file = self.file  # a local reference keeps the descriptor from being closed meanwhile
        fd = file.fd
        while position + MIN_SCAN <= self.size:
            chunk = memoryview(os.pread(fd, _HEADERS_AT_ONCE, position))
            at = 0
            while at + HEADER_SIZE <= len(chunk) or (at < len(chunk) and position + len(chunk) >= self.size):
                header = RecordBatch(chunk[at : at + HEADER_SIZE])
                if header.size < LOG_OVERHEAD + MIN_BATCH_LENGTH or position + at + header.size > self.size:
                    raise CorruptBatch(f"{self.path} has no batch at position {position + at}")
                yield position + at, header
                at += header.size
            if at == 0:
                return
            position += at

    def read_batches(self, position: int, end: int | None = None) -> Iterator[tuple[int, RecordBatch]]:
        """Position and batch, records included, in large reads; stops before an incomplete batch.

        Raises CorruptBatch at a length or magic that can't be; checks no checksum.
        """
        file = self.file  # a local reference keeps the descriptor from being closed meanwhile
        fd = file.fd
        stop = self.size if end is None else end
        wanted = _BATCHES_AT_ONCE
        while stop - position >= MIN_SCAN:
            chunk = memoryview(os.pread(fd, min(wanted, stop - position), position))
            at = 0
            while len(chunk) - at >= MIN_SCAN:
                size = int.from_bytes(chunk[at + 8 : at + 12], "big", signed=True) + LOG_OVERHEAD
                if size < LOG_OVERHEAD + MIN_BATCH_LENGTH:
                    raise CorruptBatch(f"{self.path} has a batch of {size} bytes at position {position + at}")
                if position + at + size > stop:
                    return
                if size > len(chunk) - at:
                    wanted = max(_BATCHES_AT_ONCE, size)
                    break
                yield position + at, RecordBatch(chunk[at : at + size])
                at += size
            if at == 0 and len(chunk) < min(wanted, stop - position) and len(chunk) < _BATCHES_AT_ONCE:
                return  # the file is shorter than it was
            position += at

    def read_batch(self, position: int, size: int) -> RecordBatch:
        """The batch at a position."""
        file = self.file
        return RecordBatch(memoryview(os.pread(file.fd, size, position)))

    # -- cutting and rebuilding --------------------------------------------------------------------------------

    def truncate_to(self, offset: int) -> int:
        """Drops the batches that have records at or above `offset`; returns how many bytes went."""
        position = self.end_position(offset)
        gone = self.size - position
        self.cut(position)
        self._cut_indexes(offset - self.base_offset)
        self.txn_index.truncate_to(offset)
        self._restore_timestamps()
        return gone

    def cut(self, position: int) -> None:
        """Drops the bytes from a position on, nothing else."""
        file = self.file
        os.ftruncate(file.fd, position)
        self.size = position
        self.tail = None

    def _cut_indexes(self, relative_offset: int) -> None:
        for index, place in ((self.index, 0), (self.time_index, 1)):
            count = len(index)
            while count and index.get(count - 1)[place] >= relative_offset:
                count -= 1
            index.keep(count)

    def _restore_timestamps(self) -> None:
        last = self.time_index.last()
        self.max_timestamp, self.max_timestamp_offset = -1, self.base_offset
        start = 0
        if last is not None:
            self.max_timestamp, self.max_timestamp_offset = last[0], self.base_offset + last[1]
            start = self.end_position(self.max_timestamp_offset)
        for _, header in self.headers(start):
            if header.max_timestamp > self.max_timestamp:
                self.max_timestamp = header.max_timestamp
                self.max_timestamp_offset = header.last_offset
        self._bytes_since_index = 0
        if self.size == 0:
            self._first_timestamp = None

    def start_rebuild(self) -> None:
        """Empties the indexes, for a replay of every batch through `indexed`."""
        self.index.start_rebuild()
        self.time_index.start_rebuild()
        self.txn_index.start_rebuild()
        self.max_timestamp, self.max_timestamp_offset = -1, self.base_offset
        self._bytes_since_index = 0
        self._first_timestamp = None

    def next_offset(self) -> int:
        """The offset after the last batch; the base offset when there is none. Raises CorruptBatch."""
        last = self.index.last()
        following = self.base_offset
        for _, header in self.headers(last[1] if last is not None else 0):
            following = header.last_offset + 1
        return following


def fitting(found: Iterable[T], limit: int, size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Batches, or records, in groups of at most `limit` bytes, one at least: none spans two appends."""
    group: list[T] = []
    total = 0
    for one in found:
        size = size_of(one)
        if group and total + size > limit:
            yield group
            group, total = [], 0
        group.append(one)
        total += size
    yield group
