"""What the offset index and the time index of a segment share: ascending pairs of fixed size in an append-only file.

The index of the segment being written is kept in memory and written out when it is flushed or released: after a
crash it is rebuilt from the log in any case. Other segments' indexes are searched in the file and hold no memory.
"""

from __future__ import annotations

import os
from struct import Struct
from threading import Lock

from pykbroker.storage.checkpoints import write_all
from pykbroker.storage.files import open_fd

_FILES = Lock()
"""One index is written out at a time: a flush in a thread must not meet the writer's own at a roll."""


class SparseIndex:
    """Pairs whose first number ascends strictly. Files that Kafka left preallocated end at their first zero pair."""

    __slots__ = ("_count", "_entries", "_last", "_written", "path")

    entry: Struct

    def __init__(self, path: str) -> None:
        self.path = path
        self._entries: bytearray | None = None
        self._count: int | None = None
        self._last: bytes | None = None
        """The last pair as it was found while counting."""
        self._written = 0

    def __len__(self) -> int:
        """How many pairs there are."""
        if self._entries is not None:
            return len(self._entries) // self.entry.size
        if self._count is None:
            self._count = self._counted()
        return self._count

    def _counted(self) -> int:
        """The pairs in the file; only one that ends in zeros needs to be read for that."""
        size = self.entry.size
        try:
            count = os.stat(self.path).st_size // size
            if not count:
                return 0
            fd = open_fd(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            last = os.pread(fd, size, (count - 1) * size)
        finally:
            os.close(fd)
        if not any(last):
            return len(self._load()) // size
        self._last = last
        return count

    def is_whole(self) -> bool:
        """Whether the file is a whole number of pairs without a preallocated tail."""
        return os.stat(self.path).st_size == len(self) * self.entry.size

    def create(self) -> None:
        """Makes an empty file and starts with no pairs."""
        fd = open_fd(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.close(fd)
        self._entries = bytearray()
        self._written = 0

    def start_rebuild(self) -> None:
        """Forgets all pairs; the file follows with the next flush."""
        self._entries = bytearray()
        self._written = 1 << 62

    def _load(self) -> bytearray:
        try:
            with open(self.path, "rb") as file:
                data = bytearray(file.read())
        except FileNotFoundError:
            data = bytearray()
        size = self.entry.size
        low, high = 0, len(data) // size
        # The second number of a pair is never zero but in a preallocated tail: find where that begins.
        while low < high:
            middle = (low + high) // 2
            if any(data[middle * size : middle * size + size]):
                low = middle + 1
            else:
                high = middle
        self._written = len(data)
        del data[low * size :]
        if self._written != len(data):
            self._written = 1 << 62
        return data

    def _writable(self) -> bytearray:
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def get(self, place: int) -> tuple[int, int]:
        """The pair at a place of `range(len(index))`."""
        size = self.entry.size
        if self._entries is not None:
            first, second = self.entry.unpack_from(self._entries, place * size)
            return first, second
        fd = open_fd(self.path, os.O_RDONLY)
        try:
            first, second = self.entry.unpack(os.pread(fd, size, place * size))
        finally:
            os.close(fd)
        return first, second

    def last(self) -> tuple[int, int] | None:
        """The last pair."""
        count = len(self)
        if self._entries is None and self._last is not None:
            first, second = self.entry.unpack(self._last)
            return first, second
        return self.get(count - 1) if count else None

    def floor(self, key: int) -> tuple[int, int] | None:
        """The last pair whose first number is not above `key`."""
        count = len(self)
        if not count:
            return None
        if self._entries is not None:
            return self._search(self._entries, 0, count, key)
        fd = open_fd(self.path, os.O_RDONLY)
        try:
            low, high = self._narrow(fd, count, key)
            size = self.entry.size
            return self._search(os.pread(fd, (high - low) * size, low * size), 0, high - low, key)
        finally:
            os.close(fd)

    def _narrow(self, fd: int, count: int, key: int) -> tuple[int, int]:
        """Bisects in the file until one read holds the rest."""
        size = self.entry.size
        low, high = 0, count
        while high - low > 512:
            middle = (low + high) // 2
            if self.entry.unpack(os.pread(fd, size, middle * size))[0] <= key:
                low = middle
            else:
                high = middle
        return low, high

    def _search(self, data: bytes | bytearray, low: int, high: int, key: int) -> tuple[int, int] | None:
        unpack = self.entry.unpack_from
        size = self.entry.size
        start = low
        while low < high:
            middle = (low + high) // 2
            if unpack(data, middle * size)[0] <= key:
                low = middle + 1
            else:
                high = middle
        if low == start:
            return None
        first, second = unpack(data, (low - 1) * size)
        return first, second

    def append(self, first: int, second: int) -> None:
        """Adds a pair; the caller sees to the order."""
        self._writable().extend(self.entry.pack(first, second))

    def keep(self, count: int) -> None:
        """Drops all pairs but the first `count`."""
        entries = self._writable()
        if count * self.entry.size < len(entries):
            del entries[count * self.entry.size :]
            self._written = 1 << 62
            self.flush()

    def flush(self) -> None:
        """Writes what isn't in the file yet, without a sync. May run in a thread while the log is appended to."""
        with _FILES:
            entries = self._entries
            if entries is None or self._written == len(entries):
                return
            end = len(entries)
            anew = self._written > end
            start = 0 if anew else self._written
            fd = open_fd(self.path, os.O_WRONLY | os.O_CREAT)
            try:
                write_all(fd, entries[start:end], start)
                if anew:
                    os.ftruncate(fd, end)
            finally:
                os.close(fd)
            self._written = end

    def pin(self) -> None:
        """Holds all pairs in memory: the file is about to go."""
        self._writable()

    def release(self) -> None:
        """Writes the rest and holds no memory from now on: the segment is not written any more."""
        if self._entries is not None:
            self.flush()
            self._count = len(self._entries) // self.entry.size
            self._last = None
            self._entries = None


class OffsetIndex(SparseIndex):
    """`.index`: (offset - base, file position): a batch that holds this offset starts at or after the position."""

    __slots__ = ()
    entry = Struct(">ii")

    def at_or_after(self, position: int) -> tuple[int, int] | None:
        """The first pair whose position is not below `position`."""
        low, high = 0, len(self)
        if high == 0 or (self.last() or (0, 0))[1] < position:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.get(middle)[1] < position:
                low = middle + 1
            else:
                high = middle
        return self.get(low)


class TimeIndex(SparseIndex):
    """`.timeindex`: (timestamp, offset - base): the largest timestamp up to that offset. A hint, to be verified."""

    __slots__ = ()
    entry = Struct(">qi")
