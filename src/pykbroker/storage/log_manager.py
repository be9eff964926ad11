"""The logs of a broker, in its data directories: their checkpoints, a clean end.

It opens, makes and removes logs. Which partitions this broker should have is not decided here.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import (
    HIGH_WATERMARKS,
    LOG_START_OFFSETS,
    RECOVERY_POINTS,
    CheckpointFormatError,
    replace_file,
    write_offsets,
)
from pykbroker.storage.data_directories import DataDirectories
from pykbroker.storage.data_directory import (
    CLEAN_SHUTDOWN_FILE,
    LOCK_FILE,
    DataDirectory,
    DataDirectoryError,
    InconsistentDirectory,
    LockedDirectory,
)
from pykbroker.storage.files import is_temporary, remove_tree
from pykbroker.storage.future_logs import (
    DELETE_SUFFIX,
    FUTURE_SUFFIX,
    finish_replacements,
    future_partition,
    marked_name,
    remove_mark,
    write_mark,
)
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_loader import load_log
from pykbroker.storage.log_reader import LogReader
from pykbroker.storage.log_segment import LogSegment

if TYPE_CHECKING:
    from uuid import UUID

    from pykbroker.config.topic import LogConfig

__all__ = [
    "CLEAN_SHUTDOWN_FILE",
    "LOCK_FILE",
    "DataDirectoryError",
    "InconsistentDirectory",
    "LockedDirectory",
    "LogManager",
    "OfflineDirectory",
]

logger = logging.getLogger(__name__)

STRAY_SUFFIX = "-stray"
_PARTITION = re.compile(r"(.+)-(\d+)")
_MARKED = re.compile(r".*\.[0-9a-f]{32}-(delete|future|stray)")
_CLEAN_CONTENT = b'{"version":0,"brokerEpoch":-1}'


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class OfflineDirectory(NamedTuple):
    """A directory that an error has taken out of use, and the partitions that were in it."""

    path: str
    error: OSError
    partitions: list[TopicPartition]


class LogManager(DataDirectories):
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
        super().__init__(dirs)
        self.default_config = default_config
        self._logs: dict[TopicPartition, UnifiedLog] = {}
        self._homes: dict[TopicPartition, DataDirectory] = {}
        self._futures: dict[TopicPartition, UnifiedLog] = {}
        """Logs that will replace those in `_logs`, from another directory."""
        self._preferred: dict[TopicPartition, str] = {}
        """Where somebody wants a log that isn't there yet."""
        self._clock = clock
        self._checkpoints = Lock()
        self._deleting = Lock()
        """Held while due files are removed: two that do so would take each other's."""
        self._offline: set[TopicPartition] = set()
        self._deleted: deque[tuple[int, DataDirectory, list[LogSegment]]] = deque()
        self.cordoned: Collection[str] = ()
        """The directories in which no new log is made: `cordoned.log.dirs` (KIP-1066)."""

    # -- opening and closing -----------------------------------------------------------------------------------

    def open(self, configs: Callable[[str], LogConfig] | None = None) -> None:
        """Loads every log, recovering what needs it; `configs` gives a topic's settings. Blocks on the disk.

        A directory that can't be read is offline afterwards: see `take_failures`. Raises DataDirectoryError.
        """
        self.lock()
        if len(self._dirs) > 1:
            for path in finish_replacements(directory.path for directory in self._dirs):
                logger.warning("%s has been replaced in another directory: it is removed", path)
        for directory in self._dirs:
            try:
                self._open_directory(directory, configs)
            except OSError as error:
                self._fail(directory, error)

    def _open_directory(self, directory: DataDirectory, configs: Callable[[str], LogConfig] | None) -> None:
        directory.take_clean_mark()
        directory.read_checkpoints()
        for entry in sorted(os.scandir(directory.path), key=lambda entry: entry.name):
            if not entry.is_dir():
                continue
            if entry.name.endswith(DELETE_SUFFIX) and _MARKED.fullmatch(entry.name):
                remove_tree(entry.path)
                continue
            future = future_partition(entry.name)
            topic_partition = future or _topic_partition(entry.name)
            if topic_partition is not None:
                self._load(
                    directory, topic_partition, entry.path, configs, self._logs if future is None else self._futures
                )

    def _load(
        self,
        directory: DataDirectory,
        topic_partition: TopicPartition,
        path: str,
        configs: Callable[[str], LogConfig] | None,
        logs: dict[TopicPartition, UnifiedLog],
    ) -> None:
        if topic_partition in logs:
            raise InconsistentDirectory(f"{topic_partition} is in {logs[topic_partition].directory} and {path}")
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
        log.on_error = self._log_failed
        logs[topic_partition] = log
        if logs is self._logs:
            self._homes[topic_partition] = directory

    def close(
        self, high_watermarks: Mapping[TopicPartition, int] | None = None, *, sync: bool = True
    ) -> dict[str, OSError]:
        """A clean shutdown: closes all logs, writes the checkpoints, then the mark. Blocks on fsync.

        `sync=False` is for directories that are removed next. Returns the directories where that failed: they have
        no mark, and are recovered at the next start.
        """
        unclean: dict[str, OSError] = {}
        for log in self._all():
            try:
                log.close(sync=sync)
            except OSError as error:
                unclean[os.path.dirname(log.directory)] = error
        if sync:
            try:
                self.checkpoint_high_watermarks(high_watermarks or {})
                self.checkpoint_logs()
            except OSError as error:
                unclean.update({directory.path: error for directory in self._usable()})
            unclean.update({directory.path: error for directory, error in self._failures})
            for directory in self._usable():
                if directory.path not in unclean:
                    try:
                        replace_file(directory.file(CLEAN_SHUTDOWN_FILE), _CLEAN_CONTENT)
                    except OSError as error:
                        unclean[directory.path] = error
        self.unlock()
        return unclean

    # -- failing directories -----------------------------------------------------------------------------------

    def is_offline(self, topic_partition: TopicPartition) -> bool:
        """Whether a partition's log is in a directory that failed while the broker ran."""
        return topic_partition in self._offline

    def take_failures(self) -> list[OfflineDirectory]:
        """Takes the directories offline that failed since the last call, and their logs with them.

        Their files are not touched again. To be called by the logs' writer: no append may run meanwhile.
        """
        found: list[OfflineDirectory] = []
        while self._failures:
            directory, error = self._failures.popleft()
            if directory.offline:
                continue
            directory.offline = True
            lost = [tp for tp, home in list(self._homes.items()) if home is directory]
            for topic_partition in lost:
                del self._homes[topic_partition]
                self._logs.pop(topic_partition).abandon()
            for future in [one for one in self._futures.values() if os.path.dirname(one.directory) == directory.path]:
                self._futures.pop(future.topic_partition).abandon()
            self._offline.update(lost)
            found.append(OfflineDirectory(directory.path, error, lost))
        return found

    def report(self, log_directory: str, error: OSError) -> None:
        """Says that work on the log in a directory failed, by others than the log itself. From any thread."""
        home = os.path.dirname(log_directory)
        for directory in self._usable():
            if directory.path == home and not is_temporary(error):
                self._fail(directory, error)

    def _log_failed(self, log: LogReader, error: OSError) -> None:
        found = self._futures.get(log.topic_partition)
        if log is found:
            self.report(found.directory, error)
        elif log is self._logs.get(log.topic_partition) and not is_temporary(error):
            self._fail(self._homes[log.topic_partition], error)

    def abandon(self) -> None:
        """Lets go of everything at once, as a crash does: nothing is flushed, written or marked."""
        for log in self._all():
            log.abandon()
        self.unlock()

    # -- logs --------------------------------------------------------------------------------------------------

    def get(self, topic_partition: TopicPartition) -> UnifiedLog | None:
        """The log of a partition that has one here."""
        return self._logs.get(topic_partition)

    def __iter__(self) -> Iterator[UnifiedLog]:
        return iter(list(self._logs.values()))

    def __len__(self) -> int:
        return len(self._logs)

    def get_or_create(
        self, topic_partition: TopicPartition, topic_id: UUID | None, config: LogConfig, *, is_new: bool = True
    ) -> UnifiedLog:
        """The partition's log, made in the directory with the fewest if there is none. Waits for no disk.

        A partition that isn't new may have its log in a directory that is offline: then no other one is made.
        Raises KafkaError: INCONSISTENT_TOPIC_ID for a log of another topic of that name, KAFKA_STORAGE_ERROR.
        """
        log = self._logs.get(topic_partition)
        if log is not None:
            if topic_id is not None and topic_id.int:
                log.set_topic_id(topic_id)
            return log
        if topic_partition in self._offline or (not is_new and len(self._usable()) < len(self._dirs)):
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"The directory of {topic_partition} is offline")
        wanted = self._preferred.pop(topic_partition, None)
        directory = next((one for one in self._usable() if one.path == wanted), None) or self._roomiest()
        log = self._create(directory, str(topic_partition), topic_partition, topic_id, config)
        self._logs[topic_partition], self._homes[topic_partition] = log, directory
        return log

    def _create(
        self,
        directory: DataDirectory,
        name: str,
        topic_partition: TopicPartition,
        topic_id: UUID | None,
        config: LogConfig,
    ) -> UnifiedLog:
        path = directory.file(name)
        try:
            log = UnifiedLog.create(topic_partition, path, config, topic_id, self._clock())
        except OSError as error:
            # A name that is taken is no fault of the disk, but a log that this broker doesn't know.
            if not (is_temporary(error) or isinstance(error, FileExistsError)):
                self._fail(directory, error)
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Cannot make {path}: {error.strerror}") from error
        log.on_error = self._log_failed
        return log

    def _roomiest(self) -> DataDirectory:
        usable = [one for one in self._usable() if one.path not in self.cordoned]
        if not usable:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "All data directories are offline or cordoned")
        if len(usable) == 1:
            return usable[0]
        counts = dict.fromkeys((directory.path for directory in usable), 0)
        for home in list(self._homes.values()):
            if home.path in counts:
                counts[home.path] += 1
        return min(usable, key=lambda directory: counts[directory.path])

    def set_aside(self, topic_partition: TopicPartition) -> None:
        """Gives a log up that belongs to no topic: its directory stays, with a name that marks it (KAFKA-15355)."""
        self.drop_future(topic_partition)
        self.detach(topic_partition, STRAY_SUFFIX)

    def detach(self, topic_partition: TopicPartition, mark: str = DELETE_SUFFIX) -> UnifiedLog | None:
        """The first half of `delete`, quick: the log is nobody's and its directory has a name that marks it."""
        self._offline.discard(topic_partition)
        log = self._logs.pop(topic_partition, None)
        if log is None:
            return None
        home = self._homes.pop(topic_partition)
        try:
            log.rename_for_deletion(home.file(marked_name(topic_partition, mark)))
            self._forget(home, topic_partition)
        except OSError as error:
            if not is_temporary(error):
                self._fail(home, error)
            raise
        return log

    def delete(self, topic_partition: TopicPartition) -> None:
        """Removes a partition's log and everything of it on disk; a log that isn't there is fine. Slow: in a thread."""
        self.drop_future(topic_partition)
        log = self.detach(topic_partition)
        if log is not None:
            log.remove_files()

    # -- moving to another directory ---------------------------------------------------------------------------

    def check_destination(self, path: str) -> None:
        """Refuses a directory that no log may move to.

        Raises KafkaError: LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR, INVALID_REPLICA_ASSIGNMENT for one that is cordoned.
        """
        found = self._at(path)
        if found is None:
            raise KafkaError(ErrorCode.LOG_DIR_NOT_FOUND, f"Log directory {path} is not in log.dirs")
        if found.offline:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Log directory {path} is offline")
        if path in self.cordoned:
            raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"Log directory {path} is cordoned")

    def prefer(self, topic_partition: TopicPartition, path: str) -> None:
        """Has a log that isn't there yet made in one of the directories."""
        self._preferred[topic_partition] = path

    def future(self, topic_partition: TopicPartition) -> UnifiedLog | None:
        """The log that will replace a partition's, where it is on its way to another directory."""
        return self._futures.get(topic_partition)

    def create_future(self, topic_partition: TopicPartition, path: str) -> None:
        """Makes the empty log that will replace a partition's. Blocks on fsync. Raises KafkaError.

        None is made while a directory is offline: it might hold one already.
        """
        log = self._logs[topic_partition]
        if len(self._usable()) < len(self._dirs):
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "A data directory is offline")
        directory = self._at(path)
        assert directory is not None, "the destination was checked"
        name = marked_name(topic_partition, FUTURE_SUFFIX)
        future = self._create(directory, name, topic_partition, log.topic_id, log.config)
        try:
            remove_mark(log.directory, sync=True)
            write_mark(future.directory, log.directory)
        except OSError as error:
            future.remove_files()
            self.report(future.directory, error)
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Cannot mark {future.directory}: {error}") from error
        self._futures[topic_partition] = future

    def drop_future(self, topic_partition: TopicPartition) -> None:
        """Gives up a move: what was copied goes, there or not. Slow: in a thread. Raises OSError."""
        future = self._futures.pop(topic_partition, None)
        if future is not None:
            directory = os.path.join(os.path.dirname(future.directory), marked_name(topic_partition, DELETE_SUFFIX))
            future.rename_for_deletion(directory)
            future.remove_files()

    def replace_with_future(self, topic_partition: TopicPartition) -> UnifiedLog:
        """Puts the future log, which ends where the current one does, in its place; the one that was replaced.

        Quick, and nothing may be appended meanwhile. At every moment one of the two is what a start would find. The
        old files are the caller's to remove. Raises OSError.
        """
        log, future = self._logs[topic_partition], self._futures[topic_partition]
        home = self._at(os.path.dirname(future.directory))
        assert home is not None, "it was made there"
        old_home, old_directory = self._homes[topic_partition], log.directory
        try:
            future.replace(log, home.file(str(topic_partition)))
        except OSError as error:
            self.report(future.directory, error)
            raise
        del self._futures[topic_partition]
        self._logs[topic_partition], self._homes[topic_partition] = future, home
        try:
            name = marked_name(topic_partition, DELETE_SUFFIX)
            log.rename_for_deletion(os.path.join(os.path.dirname(old_directory), name))
            remove_mark(future.directory)
        except OSError as error:
            self._fail(old_home, error)
        return log

    def _all(self) -> list[UnifiedLog]:
        return [*self._logs.values(), *self._futures.values()]

    def _forget(self, home: DataDirectory, topic_partition: TopicPartition) -> None:
        """A topic made again under the name must not meet the offsets of the old one."""
        with self._checkpoints:
            for name, offsets in (
                (RECOVERY_POINTS, home.recovery_points),
                (LOG_START_OFFSETS, home.log_starts),
                (HIGH_WATERMARKS, home.high_watermarks),
            ):
                if offsets.pop(topic_partition, None) is not None:
                    write_offsets(home.file(name), offsets)

    # -- retention ---------------------------------------------------------------------------------------------

    def drop_hidden_segments(self, log: UnifiedLog, now_ms: int) -> int:
        """Takes the segments below a log's start out of it, to be deleted after `file.delete.delay.ms`; how many.

        Blocks on a flush that runs. Raises OSError.
        """
        try:
            gone = log.drop_hidden_segments()
        except OSError as error:
            self._log_failed(log, error)
            raise
        home = self._homes.get(log.topic_partition)
        if gone and home is not None:
            self._deleted.append((now_ms + log.config.file_delete_delay_ms, home, gone))
        return len(gone)

    @property
    def next_deletion_ms(self) -> int | None:
        """When the next files of deleted segments are due."""
        return min((due for due, _, _ in list(self._deleted)), default=None)

    def delete_due_files(self, now_ms: int) -> int:
        """Removes the files of deleted segments whose delay is over; of how many segments. Slow: in a thread."""
        count = 0
        with self._deleting:
            for _ in range(len(self._deleted)):
                due, home, segments = self._deleted.popleft()
                if due > now_ms:
                    self._deleted.append((due, home, segments))
                elif not home.offline:
                    try:
                        for segment in segments:
                            segment.delete()
                            count += 1
                    except OSError as error:  # The next start removes what is left.
                        if not is_temporary(error):
                            self._fail(home, error)
        return count

    # -- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_logs(self) -> None:
        """Writes recovery points and log start offsets where they changed. Blocks on fsync. Raises OSError."""
        self.checkpoint_recovery_points()
        self.checkpoint_log_starts()

    def checkpoint_recovery_points(self) -> None:
        """Writes recovery points where they changed. Blocks on fsync. Raises OSError."""

        def write(directory: DataDirectory) -> None:
            points = {log.topic_partition: log.recovery_point for log in self._logs_in(directory)}
            if points != directory.recovery_points:
                write_offsets(directory.file(RECOVERY_POINTS), points)
                directory.recovery_points = points

        with self._checkpoints:
            self._each_directory(write)

    def checkpoint_cut(self, log: UnifiedLog) -> None:
        """After a truncation: what is appended next isn't on the disk, whatever the recovery point on it says.

        Blocks on fsync where that lies above the cut, which is rare. Raises OSError.
        """
        home = self._homes.get(log.topic_partition)
        if home is not None and home.recovery_points.get(log.topic_partition, 0) > log.recovery_point:
            self.checkpoint_recovery_points()

    def checkpoint_log_starts(self) -> None:
        """Writes log start offsets where they changed. Blocks on fsync. Raises OSError."""

        def write(directory: DataDirectory) -> None:
            starts = {
                log.topic_partition: log.log_start_offset
                for log in self._logs_in(directory)
                if log.log_start_offset > log.segments[0].base_offset
            }
            if starts != directory.log_starts:
                write_offsets(directory.file(LOG_START_OFFSETS), starts)
                directory.log_starts = starts

        with self._checkpoints:
            self._each_directory(write)

    def directories(self) -> dict[str, list[UnifiedLog] | None]:
        """Each directory with the logs in it; None for one that is offline."""
        return {one.path: None if one.offline else self._logs_in(one) for one in self._dirs}

    def _logs_in(self, directory: DataDirectory) -> list[UnifiedLog]:
        return [log for log in self._all() if os.path.dirname(log.directory) == directory.path]

    def checkpoint_high_watermarks(self, high_watermarks: Mapping[TopicPartition, int]) -> None:
        """Writes high watermarks where they changed; partitions not mentioned keep theirs. Blocks on fsync.

        Raises OSError.
        """

        def write(directory: DataDirectory) -> None:
            here = {log.topic_partition for log in self._logs_in(directory)}
            merged = {
                topic_partition: offset
                for topic_partition, offset in {**directory.high_watermarks, **high_watermarks}.items()
                if topic_partition in here
            }
            if merged != directory.high_watermarks:
                write_offsets(directory.file(HIGH_WATERMARKS), merged)
                directory.high_watermarks = merged

        with self._checkpoints:
            self._each_directory(write)

    def high_watermark(self, topic_partition: TopicPartition) -> int:
        """The checkpointed high watermark within the log's bounds; 0 without a log."""
        log = self._logs.get(topic_partition)
        if log is None:
            return 0
        offset = self._homes[topic_partition].high_watermarks.get(topic_partition, 0)
        return min(max(offset, log.log_start_offset), log.log_end_offset)

    def flush_dirty(self, now_ms: int) -> int:
        """Flushes the logs that rolled or whose `flush.messages`/`flush.ms` is due; how many. Blocks on fsync.

        A log that can't be flushed tells its directory's error; the others go on.
        """
        due = [log for log in list(self._logs.values()) if not log.closed and log.flush_due(now_ms)]
        for log in due:
            try:
                log.flush(now_ms)
            except OSError:
                continue
        return len(due)

    def expire_producers(self, now_ms: int, expiration_ms: int) -> None:
        """Forgets idle producers in every log (`producer.id.expiration.ms`). Quick; in the loop, not a thread."""
        for log in self:
            if log.producers.producers:
                log.producers.expire(now_ms, expiration_ms)


def _topic_partition(name: str) -> TopicPartition | None:
    """The partition that a directory is named after; None for directories that aren't one's."""
    found = _PARTITION.fullmatch(name)
    if found is None or _MARKED.fullmatch(name):
        return None
    return TopicPartition(found[1], int(found[2]))
