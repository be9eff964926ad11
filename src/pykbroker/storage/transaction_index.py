"""`.txnindex` of a segment: the transactions whose abort marker it holds. The file exists only if there are any."""

from __future__ import annotations

import os
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from pykbroker.storage.checkpoints import write_all

_ENTRY = Struct(">hqqqq")


class AbortedTransaction(NamedTuple):
    """A transaction that was aborted: its first record's offset, its marker's, and the LSO when it was written."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class TransactionIndex:
    """Aborted transactions ascending by the marker's offset."""

    __slots__ = ("_entries", "path")

    def __init__(self, path: str, *, exists: bool) -> None:
        self.path = path
        self._entries: list[AbortedTransaction] | None = None if exists else []

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
        return entries

    def append(self, aborted: AbortedTransaction) -> None:
        """Adds one, in the file at once."""
        entries = self.entries
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, _ENTRY.pack(0, *aborted), len(entries) * _ENTRY.size)
        finally:
            os.close(fd)
        entries.append(aborted)

    def truncate_to(self, offset: int) -> None:
        """Drops those whose marker is at or after `offset`."""
        self._replace(entry for entry in self.entries if entry.last_offset < offset)

    def start_rebuild(self) -> None:
        """Drops all, readable or not."""
        self._entries = []
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def _replace(self, kept: Iterable[AbortedTransaction]) -> None:
        left = list(kept)
        if len(left) < len(self.entries):
            os.truncate(self.path, len(left) * _ENTRY.size)
            self._entries = left
