"""`.txnindex` of a segment: the transactions whose abort marker it holds. The file exists only if there are any."""

from __future__ import annotations

import os
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from pykbroker.storage.checkpoints import write_all
from pykbroker.storage.files import open_fd

if TYPE_CHECKING:
    from pykbroker.storage.log_segment import LogSegment
    from pykbroker.storage.producer_state import CompletedTransaction, ProducerState

_ENTRY = Struct(">hqqqq")


class AbortedTransaction(NamedTuple):
    """A transaction that was aborted: its first record's offset, its marker's, and the LSO when it was written."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class TransactionIndex:
    """Aborted transactions ascending by the marker's offset."""

    __slots__ = ("_entries", "_written", "path")

    def __init__(self, path: str, *, exists: bool) -> None:
        self.path = path
        self._entries: list[AbortedTransaction] | None = None if exists else []
        self._written = 0

    @property
    def entries(self) -> list[AbortedTransaction]:
        """All of them. Raises ValueError when the file can't be right: then it is rebuilt from the segment."""
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def _load(self) -> list[AbortedTransaction]:
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        if len(data) % _ENTRY.size:
            raise ValueError(f"{self.path} has {len(data)} bytes, no multiple of {_ENTRY.size}")
        entries: list[AbortedTransaction] = []
        for version, *fields in _ENTRY.iter_unpack(data):
            found = AbortedTransaction(*fields)
            if version != 0 or found.first_offset > found.last_offset:
                raise ValueError(f"{self.path} has a bad entry {found}")
            entries.append(found)
        self._written = len(entries)
        return entries

    def append(self, aborted: AbortedTransaction) -> None:
        """Adds one, in the file at once. After an OSError it is known all the same, and `flush` writes it."""
        self.entries.append(aborted)
        self.flush()

    def flush(self) -> None:
        """Writes what isn't in the file yet, without a sync. Raises OSError."""
        entries, written = self._entries, self._written
        if entries is None or written >= len(entries):
            return
        missing = entries[written:]
        fd = open_fd(self.path, os.O_WRONLY | os.O_CREAT)
        try:
            write_all(fd, b"".join(_ENTRY.pack(0, *aborted) for aborted in missing), written * _ENTRY.size)
        finally:
            os.close(fd)
        self._written = written + len(missing)

    def truncate_to(self, offset: int) -> None:
        """Drops those whose marker is at or after `offset`."""
        self._replace(entry for entry in self.entries if entry.last_offset < offset)

    def start_rebuild(self) -> None:
        """Drops all, readable or not."""
        self._entries = []
        self._written = 0
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def _replace(self, kept: Iterable[AbortedTransaction]) -> None:
        left = list(kept)
        if len(left) < len(self.entries):
            self.flush()
            os.truncate(self.path, len(left) * _ENTRY.size)
            self._entries = left
            self._written = len(left)


def index_transaction(completed: CompletedTransaction, producers: ProducerState, segment: LogSegment) -> None:
    """An aborted transaction goes into the index of the segment that holds its marker."""
    if completed.aborted:
        ongoing = producers.first_ongoing_offset
        stable = completed.last_offset + 1 if ongoing is None else ongoing
        producer_id, first, last, _ = completed
        segment.txn_index.append(AbortedTransaction(producer_id, first, last, stable))
