"""Opens a log from what lies in its directory, after whatever happened to the process that wrote it.

After a clean shutdown files are believed; otherwise everything from the recovery point's segment on is read again,
the log is cut at the first bad or incomplete batch, and indexes, epochs and producer state are built anew.
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import CorruptBatch
from pykbroker.storage.leader_epochs import LeaderEpochs
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_segment import (
    DELETED_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    MAX_RELATIVE_OFFSET,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
    LogSegment,
)
from pykbroker.storage.meta_properties import read_topic_id
from pykbroker.storage.producer_state import SNAPSHOT_SUFFIX, ProducerState
from pykbroker.storage.transaction_index import index_transaction

if TYPE_CHECKING:
    from pykbroker.config.topic import LogConfig
    from pykbroker.protocol.topic_partition import TopicPartition

CLEANED_SUFFIX = ".cleaned"
SWAP_SUFFIX = ".swap"
_INDEX_SUFFIXES = (INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX)
_FILE = re.compile(r"(\d{20})(\.(?:log|index|timeindex|txnindex|snapshot))(\.(?:deleted|cleaned|swap))?")


def load_log(
    topic_partition: TopicPartition,
    directory: str,
    config: LogConfig,
    now_ms: int,
    *,
    clean: bool,
    recovery_point: int = 0,
    log_start_offset: int = 0,
) -> UnifiedLog:
    """The log in a directory; `recovery_point` and `log_start_offset` are the checkpoints'.

    Blocks for as long as recovery reads. Raises OSError, and CheckpointFormatError for a broken epoch file.
    """
    return _Loader(topic_partition, directory, config, now_ms).load(clean, recovery_point, log_start_offset)


class _Loader:
    def __init__(self, topic_partition: TopicPartition, directory: str, config: LogConfig, now_ms: int) -> None:
        self.topic_partition = topic_partition
        self.directory = directory
        self.config = config
        self.now_ms = now_ms
        self.epochs = LeaderEpochs(directory)
        self.producers = ProducerState(directory)
        self.damaged: list[LogSegment] = []
        self.replayed = False

    def load(self, clean: bool, recovery_point: int, log_start_offset: int) -> UnifiedLog:
        names = _finish_replacements(self.directory)
        segments = self._open_segments(names)
        self.producers.snapshots = sorted(_offset(name) for name in names if name.endswith(SNAPSHOT_SUFFIX))
        self.epochs.load()
        start = max(log_start_offset, segments[0].base_offset if segments else 0)
        if not segments:
            end = start
        elif clean:
            end = self._open_clean(segments)
        else:
            end = self._recover(segments, recovery_point)
        if segments and end < start:
            for segment in segments:
                segment.delete()
            segments = []
            self.epochs.clear()
            self.producers.clear(start)
            for snapshot in self.producers.snapshots.copy():
                self.producers.delete_snapshot(snapshot)
        if not segments:
            segment = LogSegment(self.directory, start)
            segment.create(self.now_ms)
            segments = [segment]
            end = start
        self.epochs.loaded(end)
        self.epochs.truncate_from_start(start)
        log = UnifiedLog(
            self.topic_partition,
            self.directory,
            self.config,
            topic_id=read_topic_id(self.directory),
            segments=segments,
            epochs=self.epochs,
            producers=self.producers,
            log_start_offset=start,
            log_end_offset=end,
            recovery_point=end if clean else min(recovery_point, end),
        )
        self._drop_stray_snapshots(segments, end)
        if not self.replayed or self.producers.end_offset != end:
            log.restore_producers()
        for segment in segments:
            segment.release()
            segment.let_go()
        return log

    def _open_segments(self, names: set[str]) -> list[LogSegment]:
        """Segments ascending; index files without a log are removed, missing or bad ones made again."""
        bases = sorted(_offset(name) for name in names if name.endswith(LOG_SUFFIX))
        stems = {f"{base:020d}" for base in bases}
        for name in names:
            if name.endswith(_INDEX_SUFFIXES) and name[:20] not in stems:
                os.unlink(os.path.join(self.directory, name))
        segments: list[LogSegment] = []
        for base in bases:
            stem = f"{base:020d}"
            segment = LogSegment(self.directory, base, has_txn_index=stem + TXN_INDEX_SUFFIX in names)
            segment.open_existing()
            segments.append(segment)
        self.damaged = [
            segment
            for segment in segments
            if segment.size
            and not (
                names.issuperset(segment.path[-24:-4] + suffix for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX))
                and _indexes_sane(segment)
            )
        ]
        return segments

    def _open_clean(self, segments: list[LogSegment]) -> int:
        """The log's end after a clean shutdown. A file that isn't as it was left is recovered after all."""
        for segment in self.damaged:
            self._replay(segments, segment, check=False)
        try:
            return segments[-1].next_offset()
        except CorruptBatch:
            return self._recover(segments, segments[-1].base_offset)

    def _recover(self, segments: list[LogSegment], recovery_point: int) -> int:
        """Reads what may not be whole, cuts behind the last good batch; returns the log's end."""
        bases = [segment.base_offset for segment in segments]
        first = max(bisect_right(bases, recovery_point) - 1, 0)
        for segment in self.damaged:
            if segment.base_offset < bases[first]:
                self._replay(segments, segment, check=False)
        following = bases[first]
        for place in range(first, len(segments)):
            following, whole = self._replay(segments, segments[place], check=True)
            if not whole:
                for later in segments[place + 1 :]:
                    later.delete()
                del segments[place + 1 :]
                break
        return following

    def _replay(self, segments: list[LogSegment], segment: LogSegment, *, check: bool) -> tuple[int, bool]:
        """Reads a segment into empty indexes; `check` cuts it at the first batch that is not whole and right.

        Returns the offset after the last batch and whether nothing had to be cut.
        """
        self._producers_before(segments, segment)
        interval = self.config.index_interval_bytes
        limit = segment.base_offset + MAX_RELATIVE_OFFSET + 1
        for later in segments:
            if later.base_offset > segment.base_offset:
                limit = min(limit, later.base_offset)
        segment.start_rebuild()
        following = segment.base_offset
        end = 0
        try:
            for position, batch in segment.read_batches(0):
                if check:
                    batch.check_crc()
                if not following <= batch.base_offset <= batch.last_offset < limit:
                    raise CorruptBatch(f"{batch!r} where offset {following} was expected")
                completed = self.producers.appended(batch)
                segment.indexed(position, batch.size, batch.last_offset, batch.max_timestamp, interval)
                if completed is not None:
                    index_transaction(completed, self.producers, segment)
                if batch.leader_epoch > (-1 if self.epochs.latest is None else self.epochs.latest):
                    self.epochs.assign(batch.leader_epoch, batch.base_offset)
                following = batch.last_offset + 1
                end = position + batch.size
        except KafkaError:
            pass  # a bad batch ends the log
        whole = end == segment.size
        if check and not whole:
            segment.cut(end)
        segment.add_time_entry()
        segment.index.flush()
        segment.time_index.flush()
        return following, whole

    def _producers_before(self, segments: list[LogSegment], segment: LogSegment) -> None:
        """Brings the producer state to a segment's beginning: a transaction that it ends may have begun before."""
        producers = self.producers
        if producers.end_offset == segment.base_offset and self.replayed:
            return
        self.replayed = True
        producers.load(segments[0].base_offset, segment.base_offset, keep=True)
        for earlier, following in pairwise(segments):
            if following.base_offset <= producers.end_offset or earlier.base_offset >= segment.base_offset:
                continue
            position = earlier.end_position(producers.end_offset)
            for _, batch in earlier.read_batches(position):
                producers.appended(batch)
        producers.end_offset = segment.base_offset

    def _drop_stray_snapshots(self, segments: list[LogSegment], end: int) -> None:
        """Snapshots beyond the end go, and those that begin no segment, but for the newest."""
        snapshots = self.producers.snapshots
        bases = {segment.base_offset for segment in segments}
        newest = max((offset for offset in snapshots if offset <= end), default=-1)
        for offset in snapshots.copy():
            if offset > end or (offset not in bases and offset != newest):
                self.producers.delete_snapshot(offset)


def _offset(name: str) -> int:
    return int(name[:20])


def _indexes_sane(segment: LogSegment) -> bool:
    """Whether the indexes of a segment can be what was written; `False` has them made again."""
    try:
        if any(entry.first_offset < 0 for entry in segment.txn_index.entries):
            return False
        last = segment.index.last()
        if last is not None and not (last[0] >= 0 and 0 <= last[1] < segment.size):
            return False
        newest = segment.time_index.last()
        if newest is not None and not (newest[0] >= 0 and newest[1] >= 0):
            return False
        return segment.index.is_whole() and segment.time_index.is_whole()
    except (ValueError, struct.error):
        return False


def _finish_replacements(directory: str) -> set[str]:
    """Completes or undoes a replacement of segments that a crash interrupted; the names of the log's files then."""
    names = {name for name in os.listdir(directory) if _FILE.fullmatch(name)}
    cleaned = {name for name in names if name.endswith(CLEANED_SUFFIX)}
    gone = cleaned | {name for name in names if name.endswith(DELETED_SUFFIX)}
    if cleaned:
        unfinished = min(_offset(name) for name in cleaned)
        gone |= {name for name in names if name.endswith(SWAP_SUFFIX) and _offset(name) >= unfinished}
    swaps = {name for name in names - gone if name.endswith(SWAP_SUFFIX)}
    logs = [name for name in swaps if name.endswith(LOG_SUFFIX + SWAP_SUFFIX)]
    if logs:
        first = min(_offset(name) for name in logs)
        following = max(max(_next_offset(directory, name), _offset(name) + 1) for name in logs)
        gone |= {
            name
            for name in names - gone - swaps
            if not name.endswith(SNAPSHOT_SUFFIX) and first <= _offset(name) < following
        }
    # A crash meanwhile: parts of an unfinished replacement mustn't outlive the sign that it is one, and a log that
    # has its place covers nothing any more.
    for name in sorted(gone, key=lambda name: (not name.endswith(SWAP_SUFFIX), name)):
        os.unlink(os.path.join(directory, name))
    for name in sorted(swaps, key=lambda name: (not name.endswith(LOG_SUFFIX + SWAP_SUFFIX), name)):
        os.replace(os.path.join(directory, name), os.path.join(directory, name.removesuffix(SWAP_SUFFIX)))
    return {name.removesuffix(SWAP_SUFFIX) for name in names - gone}


def _next_offset(directory: str, name: str) -> int:
    segment = LogSegment(directory, _offset(name))
    segment.path = os.path.join(directory, name)
    segment.size = os.stat(segment.path).st_size
    following = segment.base_offset
    for _, header in segment.headers(0):
        following = header.last_offset + 1
    return following
