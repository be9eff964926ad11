"""System calls on log files: few descriptors for many files, and which errors pass by themselves.

It knows neither segments nor directories. Whether a directory goes offline is the log manager's to decide.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Protocol
from weakref import ref

MOST_OPEN_FILES = 1024
"""Segment files kept open at most; a quarter of the process's descriptors where that is less."""
_FEWEST_OPEN_FILES = 16
_AT_ONCE = 8192
_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_TEMPORARY = frozenset((errno.ENOSPC, errno.EDQUOT, *_DESCRIPTORS))


class LostWrites(OSError):
    """An fsync, or taking a failed write back, failed: what is on the disk isn't known. Never passes by itself."""


def is_temporary(error: OSError) -> bool:
    """Whether an error passes when there is room (or a descriptor) again; nothing that was written is in doubt."""
    return error.errno in _TEMPORARY and not isinstance(error, LostWrites)


def remove_tree(directory: str) -> None:
    """Removes a directory and everything in it, as far as that goes."""
    import shutil  # Costly to import, and rarely needed.

    shutil.rmtree(directory, ignore_errors=True)


def sync_fd(fd: int) -> None:
    """Makes a file durable. Blocks. Raises LostWrites: the kernel may have dropped what it couldn't write."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise LostWrites(error.errno, error.strerror) from error


class LogFile:
    """An open descriptor that closes when its last user is gone: a segment, or a slice being sent."""

    __slots__ = ("fd", "used")

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.used = True
        """Whether it was used since the last look for files to close."""
        self.fd = open_fd(path, os.O_RDWR)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.fd >= 0:
            close(self.fd)  # A default: at the interpreter's end there is no `os` any more.


class Holder(Protocol):
    """Who keeps a file open for the next time, and does without where descriptors are short."""

    held: LogFile | None


class OpenFiles:
    """The files that are kept open; beyond `limit` those not used lately are closed (their slices keep them).

    A holder that is forgotten takes its file along.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._holders: OrderedDict[ref[Holder], None] = OrderedDict()
        self._lock = RLock()
        """Reentrant: a holder may be collected while it is held."""

    def __len__(self) -> int:
        return len(self._holders)

    def open(self, holder: Holder, path: str) -> LogFile:
        """Opens a file that its holder keeps until `close`, or until others need the room. Raises OSError."""
        if len(self._holders) >= self.limit:
            self._make_room()
        file = LogFile(path)
        with self._lock:
            self._holders[ref(holder, self._forget)] = None
            holder.held = file
        return file

    def close(self, holder: Holder) -> None:
        """The holder needs its file no more."""
        if holder.held is not None:
            holder.held = None
            self._forget(ref(holder))

    def close_all(self) -> bool:
        """Closes whatever can be opened again later; whether there was anything."""
        with self._lock:
            found = len(self._holders) > 0
            while self._holders:
                self._drop_oldest()
        return found

    def _forget(self, holder: ref[Holder]) -> None:
        with self._lock:
            self._holders.pop(holder, None)

    def _make_room(self) -> None:
        with self._lock:
            for _ in range(2 * len(self._holders)):
                if len(self._holders) < self.limit:
                    return
                oldest = next(iter(self._holders))
                holder = oldest()
                file = None if holder is None else holder.held
                if file is not None and file.used:
                    file.used = False
                    self._holders.move_to_end(oldest)
                else:
                    self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest, _ = self._holders.popitem(last=False)
        holder = oldest()
        if holder is not None:
            holder.held = None


def _limit() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_OPEN_FILES
    return max(_FEWEST_OPEN_FILES, min(MOST_OPEN_FILES, soft // 4))


OPEN_FILES = OpenFiles(_limit())
"""Those of the process, as its descriptors are."""


def open_fd(path: str, flags: int) -> int:
    """`os.open`, close-on-exec; where descriptors are used up, those kept for later are given up first."""
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno not in _DESCRIPTORS or not OPEN_FILES.close_all():
            raise
    return os.open(path, flags | os.O_CLOEXEC, 0o644)


def read_file(path: str) -> bytes | None:
    """A small file's content, None when there is none; a third of what `open` takes. Raises OSError."""
    try:
        fd = open_fd(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        content = os.read(fd, _AT_ONCE)
        if len(content) < _AT_ONCE:
            return content
        parts = [content]
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
