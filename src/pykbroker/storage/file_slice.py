"""A part of a log file on its way to a socket.

The file stays open for as long as a slice of it lives, so that a reader in the middle of a deleted segment finishes.
"""

from __future__ import annotations

import os

from pykbroker.storage.files import LogFile


class FileSlice:
    """`len(slice)` bytes of a log file from `position` on, to be sent with `os.sendfile` or read."""

    __slots__ = ("_file", "_size", "position")

    def __init__(self, file: LogFile, position: int, size: int) -> None:
        self._file = file
        self._size = size
        self.position = position

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        """The descriptor; valid while this object lives."""
        return self._file.fd

    def read(self) -> bytes:
        """The bytes. Fewer than `len()` come only from a file that was truncated meanwhile."""
        return os.pread(self._file.fd, self._size, self.position)

    def narrowed(self, size: int) -> FileSlice:
        """The first `size` bytes of the same slice."""
        return FileSlice(self._file, self.position, min(size, self._size))

    def part(self, start: int, size: int) -> FileSlice:
        """`size` bytes of the same slice from `start` on."""
        return FileSlice(self._file, self.position + start, max(0, min(size, self._size - start)))

    def read_at(self, start: int, size: int) -> bytes:
        """Some of its bytes; fewer where it ends."""
        return os.pread(self._file.fd, max(0, min(size, self._size - start)), self.position + start)

    def __repr__(self) -> str:
        return f"FileSlice(position={self.position}, size={self._size})"
