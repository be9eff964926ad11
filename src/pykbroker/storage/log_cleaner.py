"""Compaction: chooses the log that has most to gain, cleans it, notes how far it got.

Blocking; `run_once` runs in a thread while the logs are written and read. When it runs, and what becomes of a directory
whose disk fails, is decided elsewhere.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from threading import Event
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import CLEANER_OFFSETS, CheckpointFormatError, read_offsets, write_offsets
from pykbroker.storage.cleaner_round import CleanCounts, CleaningRound
from pykbroker.storage.cleaner_swap import CleaningAborted
from pykbroker.storage.offset_map import OffsetMap

if TYPE_CHECKING:
    from pykbroker.storage.log import UnifiedLog
    from pykbroker.storage.log_segment import LogSegment

logger = logging.getLogger(__name__)

_LONGEST_NAP = 0.3


class CleaningFailed(KafkaError):
    """The disk failed while a log was cleaned; `directory` is the log's, `error` what the disk said."""

    def __init__(self, directory: str, error: OSError) -> None:
        super().__init__(ErrorCode.KAFKA_STORAGE_ERROR, f"Cannot clean {directory}: {error}")
        self.directory = directory
        self.error = error


@dataclass(slots=True)
class CleanResult:
    """What `run_once` did."""

    topic_partition: TopicPartition
    first_dirty: int
    """Where the dirty part began."""
    end_offset: int
    """Where it begins now."""
    seconds: float
    counts: CleanCounts


@dataclass(slots=True)
class Candidate:
    """A log as the cleaner sees it. Offsets begin segments, but for `first_dirty`."""

    log: UnifiedLog
    first_dirty: int
    first_uncleanable: int
    clean_bytes: int
    dirty_bytes: int
    overdue: bool
    """Whether records have waited for longer than `max.compaction.lag.ms`."""

    @property
    def ratio(self) -> float:
        """The dirty part of what can be cleaned."""
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is worth a cleaning."""
        return self.dirty_bytes > 0 and (self.overdue or self.ratio > self.log.config.min_cleanable_dirty_ratio)


class Throttle:
    """Bounds bytes a second by waiting; it counts from its making."""

    def __init__(
        self, bytes_per_second: float, monotonic: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        self._rate = bytes_per_second
        self._monotonic = monotonic
        self._wait = wait
        self._start = monotonic()
        self._bytes = 0

    def __call__(self, size: int) -> None:
        """Waits until so many more bytes are within the bound, but a third of a second at most."""
        self._bytes += size
        if self._rate < inf:
            early = self._bytes / self._rate - (self._monotonic() - self._start)
            if early > 0:
                self._wait(min(early, _LONGEST_NAP))

    @property
    def is_early(self) -> bool:
        """Whether the bound asks for more waiting."""
        return self._rate < inf and self._bytes / self._rate > self._monotonic() - self._start


class LogCleaner:
    """Cleans compacted logs one at a time. `logs` gives those that there are, as a LogManager does.

    The other arguments are `log.cleaner.dedupe.buffer.size`, `log.cleaner.io.buffer.load.factor`,
    `log.cleaner.io.buffer.size` and `log.cleaner.io.max.bytes.per.second`.
    """

    def __init__(
        self,
        logs: Iterable[UnifiedLog],
        *,
        dedupe_buffer_size: int = 134_217_728,
        load_factor: float = 0.9,
        io_buffer_size: int = 524_288,
        max_bytes_per_second: float = inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dedupe_buffer_size = dedupe_buffer_size
        self.load_factor = load_factor
        self.io_buffer_size = io_buffer_size
        self.max_bytes_per_second = max_bytes_per_second
        self.uncleanable: dict[TopicPartition, UnifiedLog] = {}
        """Logs that hold what can't be cleaned; they are left alone until they are opened anew."""
        self._logs = logs
        self._monotonic = monotonic
        self._stopped = Event()
        self._known: dict[TopicPartition, UnifiedLog] = {}
        self._checkpoints: dict[str, dict[TopicPartition, int]] = {}

    def stop(self) -> None:
        """Ends a round that is under way soon, undone; none begins any more. From any thread."""
        self._stopped.set()

    def run_once(self, now_ms: int, high_watermarks: Mapping[TopicPartition, int] | None = None) -> CleanResult | None:
        """Cleans the filthiest log once; None when no log is due.

        Records at and above a partition's high watermark are left alone; without the mapping all of a log counts as
        replicated. Blocks for as long as reading and writing the log takes. Raises CleaningFailed.
        """
        self._forget_the_gone()
        candidates = [found for log in self._logs if (found := self._look_at(log, now_ms, high_watermarks))]
        for candidate in sorted(candidates, key=lambda found: found.ratio, reverse=True):
            if self._stopped.is_set():
                return None
            result = self._try(candidate, now_ms)
            if result is not None:
                return result
        return None

    # -- choice ------------------------------------------------------------------------------------------------

    def _look_at(
        self, log: UnifiedLog, now_ms: int, high_watermarks: Mapping[TopicPartition, int] | None
    ) -> Candidate | None:
        """The log as a candidate, if it is due."""
        topic_partition = log.topic_partition
        if not log.config.compact or log.closed or self.uncleanable.get(topic_partition) is log:
            return None
        self.uncleanable.pop(topic_partition, None)
        high_watermark = log.log_end_offset
        if high_watermarks is not None:
            high_watermark = high_watermarks.get(topic_partition, log.log_start_offset)
        shape = _shape(log)
        try:
            found = candidate(log, self.first_dirty_offset(log), high_watermark, now_ms)
        except (KafkaError, ValueError) as error:
            self._give_up(log, error)
            return None
        except OSError as error:
            if _was_taken_away(log, shape, error):
                return None
            raise CleaningFailed(log.directory, error) from error
        return found if found.is_due else None

    def first_dirty_offset(self, log: UnifiedLog) -> int:
        """Up to where a log is clean, by the checkpoint; its start where that can't be right."""
        topic_partition = log.topic_partition
        offsets = self._checkpoint_of(log)
        known = self._known.get(topic_partition)
        if known is not None and known is not log:
            offsets[topic_partition] = 0  # a topic made again under the name
        self._known[topic_partition] = log
        truncated_to, log.truncated_to = log.truncated_to, None
        if truncated_to is not None and topic_partition in offsets:
            offsets[topic_partition] = min(offsets[topic_partition], truncated_to)
        offset = offsets.get(topic_partition, log.log_start_offset)
        return offset if log.log_start_offset <= offset <= log.log_end_offset else log.log_start_offset

    # -- cleaning ----------------------------------------------------------------------------------------------

    def _try(self, candidate: Candidate, now_ms: int) -> CleanResult | None:
        log = candidate.log
        shape = _shape(log)
        try:
            return self._clean(candidate, now_ms)
        except CleaningAborted as aborted:
            logger.info("%s", aborted)
        except OSError as error:
            if not _was_taken_away(log, shape, error):
                raise CleaningFailed(log.directory, error) from error
            logger.info("%s changed while it was cleaned", log.topic_partition)
        except Exception as error:
            if not log.closed and candidate.log.truncated_to is None:
                self._give_up(log, error)
        return None

    def _give_up(self, log: UnifiedLog, error: Exception) -> None:
        logger.error("%s is not cleaned any more: %s: %s", log.topic_partition, type(error).__name__, error)
        self.uncleanable[log.topic_partition] = log

    def _clean(self, candidate: Candidate, now_ms: int) -> CleanResult:
        log = candidate.log
        start = self._monotonic()
        throttle = Throttle(self.max_bytes_per_second, self._monotonic, self._stopped.wait)

        def proceed(size: int) -> None:
            throttle(size)
            while throttle.is_early and not self._stopped.is_set():
                throttle(0)
            if self._stopped.is_set():
                raise CleaningAborted(f"The cleaning of {log.topic_partition} was stopped")

        first_dirty, first_uncleanable = candidate.first_dirty, candidate.first_uncleanable
        cleaning = CleaningRound(
            log, first_dirty, first_uncleanable, now_ms, proceed=proceed, buffer_size=self.io_buffer_size
        )
        offsets = OffsetMap(self.dedupe_buffer_size, self.load_factor, first_uncleanable - first_dirty)
        try:
            end = cleaning.build_map(offsets)
            if end <= first_dirty:
                raise ValueError(f"a batch has more keys than log.cleaner.dedupe.buffer.size holds, {offsets.capacity}")
            cleaning.copy(offsets)
        finally:
            offsets.close()
        self._checkpoint(log, end)
        seconds = self._monotonic() - start
        counts = cleaning.counts
        logger.info(
            "Cleaned %s from %d to %d in %.1f s: %d bytes became %d",
            *(log.topic_partition, first_dirty, end, seconds),
            *(candidate.clean_bytes + candidate.dirty_bytes, counts.bytes_written),
        )
        return CleanResult(log.topic_partition, first_dirty, end, seconds, counts)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def _checkpoint_of(self, log: UnifiedLog) -> dict[TopicPartition, int]:
        """The cleaner's offsets of the data directory that a log lies in; a broken file counts as empty."""
        home = os.path.dirname(log.directory)
        found = self._checkpoints.get(home)
        if found is None:
            try:
                found = read_offsets(os.path.join(home, CLEANER_OFFSETS))
            except CheckpointFormatError as error:
                logger.warning("All compacted logs are cleaned from their start: %s", error)
                found = {}
            self._checkpoints[home] = found
        return found

    def _checkpoint(self, log: UnifiedLog, end: int) -> None:
        offsets = self._checkpoint_of(log)
        offsets[log.topic_partition] = end
        write_offsets(os.path.join(os.path.dirname(log.directory), CLEANER_OFFSETS), offsets)

    def _forget_the_gone(self) -> None:
        """Topics that were deleted leave no offsets behind for others of their name."""
        gone = self._known.keys() - {log.topic_partition for log in self._logs}
        for topic_partition in gone:
            del self._known[topic_partition]
            self.uncleanable.pop(topic_partition, None)
        for home, offsets in self._checkpoints.items():
            if [True for topic_partition in gone if offsets.pop(topic_partition, None) is not None]:
                try:
                    write_offsets(os.path.join(home, CLEANER_OFFSETS), offsets)
                except OSError as error:  # Of a directory that has failed with all its logs, most likely.
                    logger.warning("%s keeps offsets of logs that are gone: %s", home, error)


def candidate(log: UnifiedLog, first_dirty: int, high_watermark: int, now_ms: int) -> Candidate:
    """What could be cleaned of a log: up to the active segment, the last stable offset, and `min.compaction.lag.ms`."""
    segments = log.segments
    active = segments[-1]
    bound = min(active.base_offset, max(log.producers.first_undecided(high_watermark), log.log_start_offset))
    dirty = [segment for segment in _from(segments, first_dirty) if segment is not active]
    lag = log.config.min_compaction_lag_ms
    if lag > 0:
        young = (segment.base_offset for segment in dirty if segment.largest_timestamp() > now_ms - lag)
        bound = min(bound, next(young, bound))
    first_uncleanable = _from(segments, max(bound, first_dirty))[0].base_offset
    cleanable = [
        segment
        for segment in _from(segments, min(first_dirty, first_uncleanable))
        if segment.base_offset < first_uncleanable
    ]
    begin = cleanable[0].base_offset if cleanable else first_uncleanable
    clean = [segment for segment in segments if segment.base_offset < begin]
    until = now_ms - log.config.max_compaction_lag_ms
    overdue = any(0 < segment.first_timestamp() < until for segment in dirty) if until > 0 else False
    dirty_bytes = sum(segment.size for segment in cleanable)
    clean_bytes = sum(segment.size for segment in clean)
    return Candidate(log, first_dirty, first_uncleanable, clean_bytes, dirty_bytes, overdue)


def _shape(log: UnifiedLog) -> tuple[int, int]:
    """What truncation and retention change before they take files away."""
    return log.generation, log.segments[0].base_offset


def _was_taken_away(log: UnifiedLog, shape: tuple[int, int], error: OSError) -> bool:
    """Whether a file isn't there because the log was closed, cut or lost old segments: no fault of the disk."""
    return log.closed or (isinstance(error, FileNotFoundError) and _shape(log) != shape)


def _from(segments: list[LogSegment], offset: int) -> list[LogSegment]:
    """The segment that holds an offset and all later ones."""
    place = next((place for place, segment in enumerate(segments) if segment.base_offset > offset), len(segments))
    return segments[max(place - 1, 0) :]
