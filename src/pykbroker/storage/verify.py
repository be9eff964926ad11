"""Every invariant of data directories: what `pykbroker verify` says about them.

It only reads, so that a directory which Apache Kafka wrote can be checked as well as one of ours, and it never trusts
one file for what another says.
"""

from __future__ import annotations

import fcntl
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pykbroker.protocol.records.batch import RecordBatch
from pykbroker.protocol.records.control import ControlType, read_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import (
    CLEANER_OFFSETS,
    HIGH_WATERMARKS,
    LOG_START_OFFSETS,
    RECOVERY_POINTS,
    CheckpointFormatError,
    read_offsets,
)
from pykbroker.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT, LeaderEpochs
from pykbroker.storage.log_manager import CLEAN_SHUTDOWN_FILE, LOCK_FILE
from pykbroker.storage.log_segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
)
from pykbroker.storage.meta_properties import (
    META_PROPERTIES,
    PARTITION_METADATA,
    MetaProperties,
    read_meta_properties,
    read_topic_id,
)
from pykbroker.storage.producer_state import SNAPSHOT_SUFFIX, CorruptSnapshot, decode_snapshot
from pykbroker.storage.segment_check import Finding, SegmentCheck

if TYPE_CHECKING:
    from uuid import UUID

_PARTITION = re.compile(r"(.+)-(\d+)")
_MARKED = re.compile(r".*\.[0-9a-f]{32}-(delete|future|stray)")
_FILE = re.compile(r"(\d{20})(\.(?:log|index|timeindex|txnindex|snapshot))")
_UNFINISHED = re.compile(r"\d{20}\.(?:log|index|timeindex|txnindex)\.(cleaned|swap)")


@dataclass(slots=True)
class Bounds:
    """What the files beside a partition's directory say about it; None where they say nothing."""

    clean: bool = True
    recovery_point: int | None = None
    log_start: int | None = None
    high_watermark: int | None = None
    first_dirty: int | None = None


def is_in_use(directory: str) -> bool:
    """Whether a broker holds the directory; it must not be judged while it is written."""
    try:
        fd = os.open(os.path.join(directory, LOCK_FILE), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def verify_directories(directories: Iterable[str], *, deep: bool = False) -> Iterator[Finding]:
    """What is wrong with the data directories of one broker; `deep` decodes every record, too.

    Raises OSError for what can't be read.
    """
    known = _Known()
    for directory in directories:
        yield from _verify_directory(directory, known, deep)


@dataclass(slots=True)
class _Known:
    """What must not contradict itself between partitions and directories."""

    owner: tuple[str, MetaProperties] | None = None
    partitions: dict[TopicPartition, str] = field(default_factory=dict)
    topic_ids: dict[str, tuple[UUID, str]] = field(default_factory=dict)
    topics: dict[UUID, str] = field(default_factory=dict)


def _verify_directory(directory: str, known: _Known, deep: bool) -> Iterator[Finding]:
    clean = os.path.exists(os.path.join(directory, CLEAN_SHUTDOWN_FILE))
    partitions: list[tuple[TopicPartition, str]] = []
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        found = _PARTITION.fullmatch(entry.name)
        if entry.is_dir() and found is not None and _MARKED.fullmatch(entry.name) is None:
            partitions.append((TopicPartition(found[1], int(found[2])), entry.path))
    yield from _verify_owner(directory, known, bool(partitions))
    offsets: dict[str, dict[TopicPartition, int]] = {}
    for name in (RECOVERY_POINTS, LOG_START_OFFSETS, HIGH_WATERMARKS, CLEANER_OFFSETS):
        path = os.path.join(directory, name)
        try:
            offsets[name] = read_offsets(path)
        except CheckpointFormatError as error:
            offsets[name] = {}
            yield Finding(path, None, _without_path(error, path))
        for topic_partition, offset in offsets[name].items():
            if offset < 0:
                yield Finding(path, None, f"{topic_partition} has the offset {offset}")
    for topic_partition, path in partitions:
        if topic_partition in known.partitions:
            yield Finding(path, None, f"the partition is also in {known.partitions[topic_partition]}")
        known.partitions[topic_partition] = path
        yield from _verify_topic_id(path, topic_partition.topic, known)
        bounds = Bounds(
            clean,
            offsets[RECOVERY_POINTS].get(topic_partition),
            offsets[LOG_START_OFFSETS].get(topic_partition),
            offsets[HIGH_WATERMARKS].get(topic_partition),
            offsets[CLEANER_OFFSETS].get(topic_partition),
        )
        yield from verify_partition(path, bounds, deep=deep)


def _without_path(error: Exception, path: str) -> str:
    return str(error).removeprefix(path).strip()


def _verify_owner(directory: str, known: _Known, has_partitions: bool) -> Iterator[Finding]:
    path = os.path.join(directory, META_PROPERTIES)
    try:
        meta = read_meta_properties(directory)
    except CheckpointFormatError as error:
        yield Finding(path, None, _without_path(error, path))
        return
    if meta is None:
        if has_partitions:
            yield Finding(path, None, "is missing, and there are partitions")
        return
    if meta.broker_id is None or meta.cluster_id is None:
        yield Finding(path, None, f"has no {'broker' if meta.broker_id is None else 'cluster'} id")
    if known.owner is None:
        known.owner = path, meta
    elif (meta.broker_id, meta.cluster_id) != (known.owner[1].broker_id, known.owner[1].cluster_id):
        yield Finding(path, None, f"names another broker or cluster than {known.owner[0]}")


def _verify_topic_id(directory: str, topic: str, known: _Known) -> Iterator[Finding]:
    path = os.path.join(directory, PARTITION_METADATA)
    try:
        topic_id = read_topic_id(directory)
    except CheckpointFormatError as error:
        yield Finding(path, None, _without_path(error, path))
        return
    if topic_id is None:
        return
    other = known.topic_ids.setdefault(topic, (topic_id, path))
    if other[0] != topic_id:
        yield Finding(path, None, f"has another topic id than {other[1]}")
    elif known.topics.setdefault(topic_id, topic) != topic:
        yield Finding(path, None, f"has the topic id of {known.topics[topic_id]}")


def verify_partition(directory: str, bounds: Bounds, *, deep: bool = False) -> list[Finding]:
    """What is wrong with a partition's directory. Raises OSError for what can't be read."""
    return _Partition(directory, bounds, deep).verify()


class _Partition:
    def __init__(self, directory: str, bounds: Bounds, deep: bool) -> None:
        self.directory = directory
        self.bounds = bounds
        self.deep = deep
        self.findings: list[Finding] = []
        self.end = 0
        self.epochs: list[tuple[int, int]] = []
        self.epoch_starts: list[int] = []
        self.unknown_epoch: int | None = None
        self.ongoing: dict[int, int] = {}
        self.indexed: set[tuple[int, int]] = set()
        self.segment: SegmentCheck | None = None

    def report(self, name: str, position: int | None, message: str, *, mends: bool = False) -> None:
        path = os.path.join(self.directory, name) if name else self.directory
        self.findings.append(Finding(path, position, message, mends))

    def verify(self) -> list[Finding]:
        names = set(os.listdir(self.directory))
        bases = sorted(int(name[:20]) for name in names if _FILE.fullmatch(name) and name.endswith(LOG_SUFFIX))
        self._read_epochs()
        self._file_names(names, bases)
        for place, base in enumerate(bases):
            self._segment(base, bases[place + 1] if place + 1 < len(bases) else None)
        start = bases[0] if bases else 0
        self._offsets(start)
        self._epochs()
        self._snapshots(names)
        return self.findings

    def _file_names(self, names: set[str], bases: list[int]) -> None:
        clean = self.bounds.clean
        stems = {f"{base:020d}" for base in bases}
        for name in sorted(names):
            if name.endswith((INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX)) and _FILE.fullmatch(name):
                if name[:20] not in stems:
                    self.report(name, None, "an index without its log", mends=True)
            elif _UNFINISHED.fullmatch(name):
                self.report(name, None, "left by a replacement that did not finish", mends=not clean)
        if not bases:
            self.report("", None, "has no segment", mends=not clean)

    def _segment(self, base: int, following: int | None) -> None:
        check = self.segment = SegmentCheck(self.directory, base, deep=self.deep)
        if base < self.end:
            self.report(os.path.basename(check.path), None, f"begins before {self.end}, where the one before ends")
        self.indexed = {(entry.producer_id, entry.last_offset) for entry in check.aborted_transactions()}
        settled = self.bounds.clean or (following is not None and following <= (self.bounds.recovery_point or 0))
        self.findings += check.run(following, active=following is None, clean=settled, seen=self._seen)
        self.end = max(self.end, check.next_offset)

    def _seen(self, position: int, batch: RecordBatch) -> None:
        """A batch that is right in itself: does the rest of the partition know what it must know of it?"""
        if batch.leader_epoch >= 0 and batch.leader_epoch != self.unknown_epoch:
            self._know_epoch(position, batch)
        if batch.producer_id < 0 or not batch.is_transactional:
            return
        if not batch.is_control:
            if batch.count:
                self.ongoing.setdefault(batch.producer_id, batch.base_offset)
            return
        marker = read_marker(batch)
        first = self.ongoing.pop(batch.producer_id, None)
        if marker is None or marker.type is not ControlType.ABORT or first is None:
            return
        if (batch.producer_id, batch.last_offset) not in self.indexed:
            message = f"the aborted transaction of producer {batch.producer_id} is not in {TXN_INDEX_SUFFIX}"
            self._report_batch(position, message, mends=not self.bounds.clean)

    def _know_epoch(self, position: int, batch: RecordBatch) -> None:
        if batch.base_offset < (self.bounds.log_start or 0):
            return
        place = bisect_right(self.epoch_starts, batch.base_offset) - 1
        # What is below the first entry was deleted when epochs were last told, and may be there still.
        if (place < 0 and self.epochs) or (place >= 0 and self.epochs[place][0] == batch.leader_epoch):
            return
        self.unknown_epoch = batch.leader_epoch
        self._report_batch(
            position,
            f"leader epoch {batch.leader_epoch} at offset {batch.base_offset} is not as in {LEADER_EPOCH_CHECKPOINT}",
            mends=not self.bounds.clean,
        )

    def _report_batch(self, position: int, message: str, *, mends: bool = False) -> None:
        assert self.segment is not None
        self.report(os.path.basename(self.segment.path), position, message, mends=mends)

    def _offsets(self, first: int) -> None:
        """log start ≤ high watermark, recovery point and first dirty offset ≤ end."""
        bounds, end = self.bounds, self.end
        parent = os.path.dirname(self.directory)
        name = os.path.basename(self.directory)
        for file, offset, mends in (
            (LOG_START_OFFSETS, bounds.log_start, False),
            (RECOVERY_POINTS, bounds.recovery_point, not bounds.clean),
            (HIGH_WATERMARKS, bounds.high_watermark, not bounds.clean),
            (CLEANER_OFFSETS, bounds.first_dirty, True),
        ):
            if offset is not None and offset > end:
                message = f"{name} has {offset}, and its log ends at {end}"
                self.findings.append(Finding(os.path.join(parent, file), None, message, mends))
        start = max(bounds.log_start or 0, first)
        if bounds.high_watermark is not None and bounds.high_watermark < start:
            message = f"{name} has {bounds.high_watermark}, and its log starts at {start}"
            self.findings.append(Finding(os.path.join(parent, HIGH_WATERMARKS), None, message, not bounds.clean))

    def _read_epochs(self) -> None:
        epochs = LeaderEpochs(self.directory)
        path = os.path.join(self.directory, LEADER_EPOCH_CHECKPOINT)
        try:
            epochs.load()
        except CheckpointFormatError as error:
            self.report(LEADER_EPOCH_CHECKPOINT, None, _without_path(error, path))
        self.epochs = epochs.entries
        self.epoch_starts = [start for _, start in self.epochs]

    def _epochs(self) -> None:
        for epoch, start in self.epochs:
            if epoch < 0 or start < 0 or start > self.end:
                message = f"epoch {epoch} begins at {start}, and the log ends at {self.end}"
                self.report(LEADER_EPOCH_CHECKPOINT, None, message, mends=not self.bounds.clean)

    def _snapshots(self, names: set[str]) -> None:
        for name in sorted(names):
            if not (name.endswith(SNAPSHOT_SUFFIX) and _FILE.fullmatch(name)):
                continue
            offset = int(name[:20])
            if offset > self.end:
                message = f"is of offset {offset}, and the log ends at {self.end}"
                self.report(name, None, message, mends=not self.bounds.clean)
            try:
                with open(os.path.join(self.directory, name), "rb") as file:
                    entries = decode_snapshot(file.read())
            except CorruptSnapshot as error:
                self.report(name, None, str(error), mends=not self.bounds.clean)
                continue
            for place, entry in enumerate(entries):
                first = entry.current_txn_first_offset
                if entry.last_offset >= offset or (first is not None and first >= offset):
                    self.report(name, 10 + 46 * place, f"producer {entry.producer_id} is ahead of offset {offset}")
