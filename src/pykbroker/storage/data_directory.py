"""One entry of `log.dirs`: its lock, its clean-shutdown mark, its checkpoints.

Which logs lie in it, and when it goes offline, is the log manager's to decide.
"""

from __future__ import annotations

import fcntl
import os

from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import (
    HIGH_WATERMARKS,
    LOG_START_OFFSETS,
    RECOVERY_POINTS,
    CheckpointFormatError,
    read_offsets,
)

LOCK_FILE = ".lock"
CLEAN_SHUTDOWN_FILE = ".kafka_cleanshutdown"


class DataDirectoryError(Exception):
    """A data directory that can't be used; the message names it and says why."""


class LockedDirectory(DataDirectoryError):
    """Another broker holds the directory."""


class InconsistentDirectory(DataDirectoryError):
    """The directory is another broker's, another cluster's, or two directories contradict each other."""


class DataDirectory:
    """One entry of `log.dirs`."""

    __slots__ = ("high_watermarks", "lock_fd", "log_starts", "offline", "path", "recovery_points", "was_clean")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_fd = -1
        self.was_clean = False
        self.offline = False
        """Whether an error has taken it out of use: its files are not touched again."""
        self.recovery_points: dict[TopicPartition, int] = {}
        self.log_starts: dict[TopicPartition, int] = {}
        self.high_watermarks: dict[TopicPartition, int] = {}

    def file(self, name: str) -> str:
        """The path of one of its own files."""
        return os.path.join(self.path, name)

    def lock(self) -> None:
        """Takes it, making it where it is missing. Raises LockedDirectory, DataDirectoryError."""
        try:
            os.makedirs(self.path, exist_ok=True)
            fd = os.open(self.file(LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DataDirectoryError(f"Cannot use the data directory {self.path}: {error.strerror}") from error
        try:
            # Kafka's lock belongs to a process; the other one also keeps two brokers of one process apart.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise LockedDirectory(f"The data directory {self.path} is in use by another broker") from None
        self.lock_fd = fd

    def unlock(self) -> None:
        """Gives it back."""
        if self.lock_fd >= 0:
            fcntl.flock(self.lock_fd, fcntl.LOCK_UN)  # Closing alone leaves it to a process that was forked meanwhile.
            os.close(self.lock_fd)
            self.lock_fd = -1

    def read_checkpoints(self) -> None:
        """A broken recovery-point or log-start file counts as empty; a broken high-watermark file is an error."""
        self.recovery_points = _offsets_or_none(self.file(RECOVERY_POINTS))
        self.log_starts = _offsets_or_none(self.file(LOG_START_OFFSETS))
        try:
            self.high_watermarks = read_offsets(self.file(HIGH_WATERMARKS))
        except CheckpointFormatError as error:
            raise DataDirectoryError(str(error)) from None

    def take_clean_mark(self) -> None:
        """Notes the mark and removes it: a crash while logs are loaded is unclean."""
        try:
            os.unlink(self.file(CLEAN_SHUTDOWN_FILE))
            self.was_clean = True
        except FileNotFoundError:
            self.was_clean = False


def _offsets_or_none(path: str) -> dict[TopicPartition, int]:
    try:
        return read_offsets(path)
    except CheckpointFormatError:
        return {}
