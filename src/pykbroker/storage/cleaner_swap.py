"""A cleaned segment: written beside the log as `.cleaned`, then put in the place of the segments that it came from.

The names on the disk say at every moment what is to be done after a crash: `.cleaned` files are given up, `.swap` files
take the place of all segments that they cover, `.deleted` ones go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pykbroker.storage.checkpoints import sync_directory, sync_path, write_all
from pykbroker.storage.files import LostWrites
from pykbroker.storage.log_segment import DELETED_SUFFIX, LogSegment
from pykbroker.storage.transaction_index import AbortedTransaction

if TYPE_CHECKING:
    from pykbroker.protocol.records.batch import RecordBatch
    from pykbroker.storage.log import UnifiedLog

CLEANED_SUFFIX = ".cleaned"
SWAP_SUFFIX = ".swap"
Buffer = bytes | bytearray | memoryview


class CleaningAborted(Exception):
    """The log was closed, truncated or deleted meanwhile; nothing was changed."""


class CleanedSegment:
    """A segment being written. Whoever makes one calls `put_in_place` or `give_up`."""

    def __init__(self, directory: str, base_offset: int, buffer_size: int, index_interval: int) -> None:
        self.segment = LogSegment(directory, base_offset)
        self._buffer_size = buffer_size
        self._interval = index_interval
        self._pending = bytearray()
        self._written = 0
        self._rename(CLEANED_SUFFIX)
        self.segment.delete()  # what a failed attempt may have left
        self.segment.create(0)

    def _rename(self, suffix: str) -> None:
        segment = self.segment
        for holder in (segment, segment.index, segment.time_index, segment.txn_index):
            holder.path = holder.path.removesuffix(CLEANED_SUFFIX).removesuffix(SWAP_SUFFIX) + suffix

    def append(self, data: Buffer, batch: RecordBatch, max_timestamp: int) -> None:
        """Adds a batch; `batch` is the one that it was made from."""
        segment = self.segment
        size = len(data)
        segment.indexed(segment.size, size, batch.last_offset, max_timestamp, self._interval)
        segment.size += size
        self._pending += data
        if len(self._pending) >= self._buffer_size:
            self.write()

    def write(self) -> None:
        """Writes what is pending."""
        if self._pending:
            file = self.segment.file
            write_all(file.fd, self._pending, self._written)
            self._written += len(self._pending)
            self._pending.clear()

    def finish(self, aborted: Iterable[AbortedTransaction], modified_ns: int) -> None:
        """Completes all files and makes them durable. Blocks on fsync."""
        self.write()
        segment = self.segment
        segment.add_time_entry()
        for transaction in aborted:
            segment.txn_index.append(transaction)
        segment.release()
        segment.let_go()
        segment.created_ms = modified_ns // 1_000_000
        os.utime(segment.path, ns=(modified_ns, modified_ns))
        for path in _existing(segment):
            sync_path(path)

    def give_up(self) -> None:
        """Removes the files."""
        self.segment.delete()

    def put_in_place(self, log: UnifiedLog, old: list[LogSegment], generation: int) -> None:
        """Makes it the log's, in the place of `old`. Blocks on fsync, and on a flush that runs.

        Raises CleaningAborted when the log isn't any more what was cleaned, OSError where nothing was changed, and
        LostWrites where only a restart can finish it.
        """
        segment = self.segment
        with log.replacing(old, segment, generation) as agreed:
            if not agreed:
                raise CleaningAborted(f"{log.topic_partition} changed while it was cleaned")
            self._commit(log.directory)
            gone = [path for replaced in old for path in _existing(replaced)]
            try:
                for path in gone:
                    os.rename(path, path + DELETED_SUFFIX)
                for path in _existing(segment):
                    os.rename(path, path.removesuffix(SWAP_SUFFIX))
                self._rename("")
                sync_directory(log.directory)
            except OSError as error:  # half of it is done: only a restart knows what to make of that
                raise LostWrites(error.errno, error.strerror) from error
        for path in gone:
            os.unlink(path + DELETED_SUFFIX)

    def _commit(self, directory: str) -> None:
        """From here on a restart completes the replacement."""
        segment = self.segment
        try:
            for path in _existing(segment):
                os.rename(path, path.removesuffix(CLEANED_SUFFIX) + SWAP_SUFFIX)
            self._rename(SWAP_SUFFIX)
            sync_directory(directory)
        except OSError:
            for suffix in (SWAP_SUFFIX, CLEANED_SUFFIX):
                self._rename(suffix)
                segment.delete()
            raise


def _existing(segment: LogSegment) -> Sequence[str]:
    paths = (segment.path, segment.index.path, segment.time_index.path, segment.txn_index.path)
    return [path for path in paths if os.path.exists(path)]
