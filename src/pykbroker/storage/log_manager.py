"""The data directories of a broker: whose they are, which logs they hold, their checkpoints, a clean end.

It opens, makes and removes logs. Which partitions this broker should have is not decided here.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import (
    HIGH_WATERMARKS,
    LOG_START_OFFSETS,
    RECOVERY_POINTS,
    CheckpointFormatError,
    read_offsets,
    replace_file,
    write_offsets,
)
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_loader import load_log
from pykbroker.storage.meta_properties import (
    META_PROPERTIES,
    MetaProperties,
    read_meta_properties,
    write_meta_properties,
)

if TYPE_CHECKING:
    from uuid import UUID

    from pykbroker.config.topic import LogConfig

LOCK_FILE = ".lock"
CLEAN_SHUTDOWN_FILE = ".kafka_cleanshutdown"
DELETE_SUFFIX = "-delete"
STRAY_SUFFIX = "-stray"
_MAX_NAME = 255
_PARTITION = re.compile(r"(.+)-(\d+)")
_MARKED = re.compile(r".*\.[0-9a-f]{32}-(delete|future|stray)")
_CLEAN_CONTENT = b'{"version":0,"brokerEpoch":-1}'


class DataDirectoryError(Exception):
    """A data directory that can't be used; the message names it and says why."""


class LockedDirectory(DataDirectoryError):
    """Another broker holds the directory."""


class InconsistentDirectory(DataDirectoryError):
    """The directory is another broker's, another cluster's, or two directories contradict each other."""


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class _DataDirectory:
    """One entry of `log.dirs`."""

    __slots__ = ("high_watermarks", "lock_fd", "log_starts", "path", "recovery_points", "was_clean")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_fd = -1
        self.was_clean = False
        self.recovery_points: dict[TopicPartition, int] = {}
        self.log_starts: dict[TopicPartition, int] = {}
        self.high_watermarks: dict[TopicPartition, int] = {}

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def lock(self) -> None:
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
        if self.lock_fd >= 0:
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


class LogManager:
    """All logs of a broker: `lock`, look at `identity`, `open`, serve, `close`.

    `clock` gives wall-clock milliseconds. Methods that block on the disk say so; they may run in a thread while the
    event loop appends to logs.
    """

    def __init__(
        self,
        dirs: Iterable[str | os.PathLike[str]],
        default_config: LogConfig,
        *,
        clock: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self.default_config = default_config
        self._dirs = [_DataDirectory(os.path.abspath(path)) for path in dirs]
        self._logs: dict[TopicPartition, UnifiedLog] = {}
        self._homes: dict[TopicPartition, _DataDirectory] = {}
        self._clock = clock
        self._locked = False
        self._checkpoints = Lock()

    # -- whose directories -------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Takes all directories, making those that are missing. Raises LockedDirectory or DataDirectoryError."""
        if self._locked:
            return
        try:
            for directory in self._dirs:
                directory.lock()
        except DataDirectoryError:
            self.unlock()
            raise
        self._locked = True

    def unlock(self) -> None:
        """Gives the directories back without any of a clean end: what a crash does."""
        for directory in self._dirs:
            directory.unlock()
        self._locked = False

    def identity(self) -> MetaProperties | None:
        """What `meta.properties` says, the same in all directories; None when all are new. Usable before `open`.

        Raises InconsistentDirectory where two contradict each other or one can't be understood.
        """
        known: MetaProperties | None = None
        for directory in self._dirs:
            meta = self._read_meta(directory)
            if meta is None:
                continue
            if known is None:
                known = meta
            elif (meta.broker_id, meta.cluster_id) != (known.broker_id, known.cluster_id):
                raise InconsistentDirectory(
                    f"{directory.file(META_PROPERTIES)} has broker.id={meta.broker_id}, cluster.id={meta.cluster_id}; "
                    f"another data directory has broker.id={known.broker_id}, cluster.id={known.cluster_id}"
                )
        return known

    def write_identity(self, broker_id: int, cluster_id: str) -> None:
        """Completes `meta.properties` in every directory. Raises InconsistentDirectory where it says otherwise.

        Blocks on fsync where something is written.
        """
        for directory in self._dirs:
            meta = self._read_meta(directory) or MetaProperties()
            if meta.broker_id == broker_id and meta.cluster_id == cluster_id:
                continue
            for key, stored, wanted in (
                ("broker.id", meta.broker_id, broker_id),
                ("cluster.id", meta.cluster_id, cluster_id),
            ):
                if stored is not None and stored != wanted:
                    raise InconsistentDirectory(f"{directory.file(META_PROPERTIES)} has {key}={stored}, not {wanted}")
            write_meta_properties(directory.path, MetaProperties(broker_id, cluster_id, meta.others))

    def _read_meta(self, directory: _DataDirectory) -> MetaProperties | None:
        try:
            return read_meta_properties(directory.path)
        except CheckpointFormatError as error:
            raise InconsistentDirectory(str(error)) from None

    # -- opening and closing -----------------------------------------------------------------------------------

    def open(self, configs: Callable[[str], LogConfig] | None = None) -> None:
        """Loads every log, recovering what needs it; `configs` gives a topic's settings. Blocks on the disk.

        Raises DataDirectoryError, OSError.
        """
        self.lock()
        for directory in self._dirs:
            directory.take_clean_mark()
            directory.read_checkpoints()
            for entry in sorted(os.scandir(directory.path), key=lambda entry: entry.name):
                if not entry.is_dir():
                    continue
                if entry.name.endswith(DELETE_SUFFIX) and _MARKED.fullmatch(entry.name):
                    _remove_tree(entry.path)
                    continue
                topic_partition = _topic_partition(entry.name)
                if topic_partition is not None:
                    self._load(directory, topic_partition, entry.path, configs)

    def _load(
        self,
        directory: _DataDirectory,
        topic_partition: TopicPartition,
        path: str,
        configs: Callable[[str], LogConfig] | None,
    ) -> None:
        if topic_partition in self._logs:
            raise InconsistentDirectory(f"{topic_partition} is in {self._logs[topic_partition].directory} and {path}")
        config = self.default_config if configs is None else configs(topic_partition.topic)
        try:
            log = load_log(
                topic_partition,
                path,
                config,
                self._clock(),
                clean=directory.was_clean,
                recovery_point=directory.recovery_points.get(topic_partition, 0),
                log_start_offset=directory.log_starts.get(topic_partition, 0),
            )
        except CheckpointFormatError as error:
            raise DataDirectoryError(str(error)) from None
        self._logs[topic_partition] = log
        self._homes[topic_partition] = directory

    def close(self, high_watermarks: Mapping[TopicPartition, int] | None = None, *, sync: bool = True) -> None:
        """A clean shutdown: closes all logs, writes the checkpoints, then the mark. Blocks on fsync.

        `sync=False` is for directories that are removed next.
        """
        for log in list(self._logs.values()):
            log.close(sync=sync)
        if sync:
            if high_watermarks is not None:
                self.checkpoint_high_watermarks(high_watermarks)
            self.checkpoint_recovery_points()
            for directory in self._dirs:
                replace_file(directory.file(CLEAN_SHUTDOWN_FILE), _CLEAN_CONTENT)
        self.unlock()

    # -- logs --------------------------------------------------------------------------------------------------

    def get(self, topic_partition: TopicPartition) -> UnifiedLog | None:
        """The log of a partition that has one here."""
        return self._logs.get(topic_partition)

    def __iter__(self) -> Iterator[UnifiedLog]:
        return iter(list(self._logs.values()))

    def __len__(self) -> int:
        return len(self._logs)

    def get_or_create(self, topic_partition: TopicPartition, topic_id: UUID | None, config: LogConfig) -> UnifiedLog:
        """The partition's log, made in the directory with the fewest if there is none. Waits for no disk.

        Raises KafkaError: INCONSISTENT_TOPIC_ID for a log of another topic of that name, KAFKA_STORAGE_ERROR.
        """
        log = self._logs.get(topic_partition)
        if log is not None:
            if topic_id is not None and topic_id.int:
                log.set_topic_id(topic_id)
            return log
        directory = self._roomiest()
        path = directory.file(str(topic_partition))
        try:
            log = UnifiedLog.create(topic_partition, path, config, topic_id, self._clock())
        except OSError as error:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Cannot make {path}: {error.strerror}") from error
        self._logs[topic_partition] = log
        self._homes[topic_partition] = directory
        return log

    def _roomiest(self) -> _DataDirectory:
        if len(self._dirs) == 1:
            return self._dirs[0]
        counts = dict.fromkeys((directory.path for directory in self._dirs), 0)
        for home in self._homes.values():
            counts[home.path] += 1
        return min(self._dirs, key=lambda directory: counts[directory.path])

    def set_aside(self, topic_partition: TopicPartition) -> None:
        """Gives a log up that belongs to no topic: its directory stays, with a name that marks it (KAFKA-15355)."""
        self.detach(topic_partition, STRAY_SUFFIX)

    def detach(self, topic_partition: TopicPartition, mark: str = DELETE_SUFFIX) -> UnifiedLog | None:
        """The first half of `delete`, quick: the log is nobody's and its directory has a name that marks it."""
        log = self._logs.pop(topic_partition, None)
        if log is None:
            return None
        home = self._homes.pop(topic_partition)
        suffix = f".{os.urandom(16).hex()}{mark}"
        log.rename_for_deletion(home.file(str(topic_partition)[: _MAX_NAME - len(suffix)] + suffix))
        self._forget(home, topic_partition)
        return log

    def delete(self, topic_partition: TopicPartition) -> None:
        """Removes a partition's log and everything of it on disk; a log that isn't there is fine. Slow: in a thread."""
        log = self.detach(topic_partition)
        if log is not None:
            log.remove_files()

    def _forget(self, home: _DataDirectory, topic_partition: TopicPartition) -> None:
        """A topic made again under the name must not meet the offsets of the old one."""
        with self._checkpoints:
            for name, offsets in (
                (RECOVERY_POINTS, home.recovery_points),
                (LOG_START_OFFSETS, home.log_starts),
                (HIGH_WATERMARKS, home.high_watermarks),
            ):
                if offsets.pop(topic_partition, None) is not None:
                    write_offsets(home.file(name), offsets)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_recovery_points(self) -> None:
        """Writes recovery points and log start offsets where they changed. Blocks on fsync."""
        with self._checkpoints:
            for directory in self._dirs:
                logs = [log for log in list(self._logs.values()) if self._homes.get(log.topic_partition) is directory]
                points = {log.topic_partition: log.recovery_point for log in logs}
                starts = {
                    log.topic_partition: log.log_start_offset
                    for log in logs
                    if log.log_start_offset > log.segments[0].base_offset
                }
                if points != directory.recovery_points:
                    write_offsets(directory.file(RECOVERY_POINTS), points)
                    directory.recovery_points = points
                if starts != directory.log_starts:
                    write_offsets(directory.file(LOG_START_OFFSETS), starts)
                    directory.log_starts = starts

    def checkpoint_high_watermarks(self, high_watermarks: Mapping[TopicPartition, int]) -> None:
        """Writes high watermarks where they changed; partitions not mentioned keep theirs. Blocks on fsync."""
        with self._checkpoints:
            for directory in self._dirs:
                merged = {
                    topic_partition: offset
                    for topic_partition, offset in {**directory.high_watermarks, **high_watermarks}.items()
                    if self._homes.get(topic_partition) is directory
                }
                if merged != directory.high_watermarks:
                    write_offsets(directory.file(HIGH_WATERMARKS), merged)
                    directory.high_watermarks = merged

    def high_watermark(self, topic_partition: TopicPartition) -> int:
        """The checkpointed high watermark within the log's bounds; 0 without a log."""
        log = self._logs.get(topic_partition)
        if log is None:
            return 0
        offset = self._homes[topic_partition].high_watermarks.get(topic_partition, 0)
        return min(max(offset, log.log_start_offset), log.log_end_offset)

    def flush_dirty(self, now_ms: int) -> int:
        """Flushes the logs that rolled or whose `flush.messages`/`flush.ms` is due; how many. Blocks on fsync."""
        due = [log for log in list(self._logs.values()) if not log.closed and log.flush_due(now_ms)]
        for log in due:
            log.flush(now_ms)
        return len(due)

    def expire_producers(self, now_ms: int, expiration_ms: int) -> None:
        """Forgets idle producers in every log (`producer.id.expiration.ms`). Quick; in the loop, not a thread."""
        for log in self._logs.values():
            if log.producers.producers:
                log.producers.expire(now_ms, expiration_ms)


def _topic_partition(name: str) -> TopicPartition | None:
    """The partition that a directory is named after; None for directories that aren't one's."""
    found = _PARTITION.fullmatch(name)
    if found is None or _MARKED.fullmatch(name):
        return None
    return TopicPartition(found[1], int(found[2]))


def _remove_tree(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
