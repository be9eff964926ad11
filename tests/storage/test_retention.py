"""Which segments go, and what becomes of their files and of who reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_manager import LogManager
from pykbroker.storage.log_segment import LogSegment
from pykbroker.storage.retention import expired

NOW = 1_700_000_000_000
Append = Callable[..., Any]


@dataclass
class Segment:
    base_offset: int
    size: int = 100
    time: int = NOW

    def largest_timestamp(self) -> int:
        return self.time


def oldest(*segments: Segment, start: int = 0, end: int = 1000, high_watermark: int = 1000, **config: Any) -> int:
    config.setdefault("retention_ms", -1)
    return expired(
        segments,
        LogConfig(**config),
        NOW,
        log_start_offset=start,
        log_end_offset=end,
        high_watermark=high_watermark,
    ).oldest


THREE = (Segment(0), Segment(10), Segment(20))


@pytest.mark.parametrize(
    ("start", "gone"),
    [(0, 0), (9, 0), (10, 1), (15, 1), (20, 2), (25, 2)],
)
def test_by_log_start(start: int, gone: int) -> None:
    assert oldest(*THREE, start=start) == gone
    assert oldest(*THREE, start=start, cleanup_policy=("compact",)) == gone


@pytest.mark.parametrize(
    ("limit", "gone"),
    [(-1, 0), (300, 0), (201, 0), (200, 1), (101, 1), (100, 2), (1, 2), (0, 3)],
)
def test_by_size(limit: int, gone: int) -> None:
    assert oldest(*THREE, retention_bytes=limit) == gone
    assert oldest(*THREE, retention_bytes=limit, cleanup_policy=("compact",)) == 0
    assert oldest(*THREE, retention_bytes=limit, cleanup_policy=("compact", "delete")) == gone


def test_by_time() -> None:
    aged = Segment(0, time=NOW - 11), Segment(10, time=NOW - 10), Segment(20, time=NOW)
    assert [oldest(*aged, retention_ms=limit) for limit in (-1, 11, 10, 9, 0)] == [0, 0, 1, 2, 2]
    assert oldest(*aged, retention_ms=10, cleanup_policy=("compact",)) == 0


def test_the_first_that_stays_keeps_all_behind_it() -> None:
    assert oldest(Segment(0, time=NOW + 1), Segment(10, time=0), Segment(20, time=0), retention_ms=1) == 0


def test_the_last_segment_goes_unless_it_is_empty() -> None:
    assert oldest(Segment(0, time=0), retention_ms=1) == 1
    assert oldest(Segment(0, time=0), Segment(1000, size=0, time=0), retention_ms=1) == 1
    assert oldest(Segment(0, size=0, time=0), retention_ms=1, end=0, high_watermark=0) == 0


@pytest.mark.parametrize(("high_watermark", "gone"), [(9, 0), (10, 1), (29, 2), (30, 3)])
def test_none_above_the_high_watermark(high_watermark: int, gone: int) -> None:
    old = tuple(Segment(base, time=0) for base in (0, 10, 20))
    assert oldest(*old, end=30, high_watermark=high_watermark, retention_ms=1) == gone
    assert oldest(*old, end=30, high_watermark=high_watermark, retention_bytes=0) == gone


# -- the log -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rolled(logs: Any, append: Append) -> UnifiedLog:
    """Segments at 0, 2, 4 and the active one at 6, an hour between two."""
    log: UnifiedLog = logs.create(retention_ms=3_600_000 * 2)
    for hour in range(4):
        time = NOW - 3_600_000 * (3 - hour)
        append(log, b"a", timestamp=time, epoch=hour)
        append(log, b"b", timestamp=time, producer_id=7, producer_epoch=0, base_sequence=hour, epoch=hour)
        if hour < 3:
            log.roll(NOW)
    return log


def test_files_are_marked_and_the_log_begins_later(rolled: UnifiedLog, logs: Any, read_all: Append) -> None:
    found = rolled.expire(NOW + 1, 8)
    assert found == (2, (f"retention.ms={rolled.config.retention_ms}",))
    assert rolled.log_start_offset == 4
    gone = rolled.drop_hidden_segments()
    assert [segment.base_offset for segment in gone] == [0, 2]
    names = sorted(path.name for path in logs.directory.iterdir())
    assert [name for name in names if name.startswith(("0" * 20, "0" * 19 + "2"))] == [
        f"{base:020d}{suffix}.deleted" for base in (0, 2) for suffix in (".index", ".log", ".timeindex")
    ]
    assert [record.offset for record in read_all(rolled)] == [4, 5, 6, 7]
    assert rolled.epochs.entries == [(2, 4), (3, 6)]
    assert rolled.producers.snapshots == [4, 6]
    with pytest.raises(KafkaError) as caught:
        rolled.read(3, 100, upper_bound=8)
    assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    for segment in gone:
        segment.delete()
    assert not list(logs.directory.glob("*.deleted"))


@pytest.mark.parametrize("clean", [True, False])
def test_the_log_after_a_restart(rolled: UnifiedLog, logs: Any, read_all: Append, clean: bool) -> None:
    rolled.expire(NOW + 1, 8)
    rolled.drop_hidden_segments()
    again = logs.reopen(rolled, clean=clean)
    assert (again.log_start_offset, again.log_end_offset) == (4, 8)
    assert [record.offset for record in read_all(again)] == [4, 5, 6, 7]
    assert not list(logs.directory.glob("*.deleted"))


def test_a_log_that_has_expired_wholly_begins_a_new_segment(rolled: UnifiedLog, logs: Any, append: Append) -> None:
    assert rolled.expire(NOW + 10**9, 8).oldest == 4
    assert len(rolled.drop_hidden_segments()) == 4
    assert (rolled.log_start_offset, rolled.log_end_offset) == (8, 8)
    assert rolled.expire(NOW + 10**9, 8).oldest == 0
    assert append(rolled, b"next").first_offset == 8
    entry = rolled.active_producers()[0]
    assert (entry.producer_id, entry.last_sequence) == (7, 3)
    again = logs.reopen(rolled, clean=False)
    assert (again.log_start_offset, again.log_end_offset) == (8, 9)


def test_a_changed_config_counts_at_the_next_check(rolled: UnifiedLog) -> None:
    assert rolled.expire(NOW - 3_600_000, 8).oldest == 0
    rolled.config = rolled.config.replace(retention_ms=-1, retention_bytes=rolled.segments[-1].size)
    assert rolled.expire(NOW - 3_600_000, 8).oldest == 3


def test_a_reader_in_the_middle_of_a_deleted_segment_finishes(rolled: UnifiedLog) -> None:
    records = rolled.read(0, 1 << 20, upper_bound=8).records
    assert records is not None
    before = records.read()
    rolled.expire(NOW + 1, 8)
    for segment in rolled.drop_hidden_segments():
        segment.delete()
    assert records.read() == before


def test_a_reader_that_meets_the_deletion_is_told_that_the_offset_is_gone(
    rolled: UnifiedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OSError] = []
    rolled.on_error = lambda _, error: told.append(error)
    first = rolled.segments[0]
    real = type(first).locate

    def locate(segment: Any, offset: int) -> Any:
        if segment is first:
            rolled.expire(NOW + 1, 8)
            for gone in rolled.drop_hidden_segments():
                gone.delete()
        return real(segment, offset)

    monkeypatch.setattr(type(first), "locate", locate)
    with pytest.raises(KafkaError) as caught:
        rolled.read(0, 100, upper_bound=8)
    assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    assert not told


# -- the manager -------------------------------------------------------------------------------------------------


def test_files_go_after_the_delay(tmp_path: Path, append: Append) -> None:
    manager = LogManager([tmp_path], LogConfig(), clock=lambda: NOW)
    manager.open()
    log = manager.get_or_create(TopicPartition("t", 0), UUID(int=1), LogConfig(file_delete_delay_ms=1000))
    append(log, b"x")
    log.roll(NOW)
    log.raise_log_start(1)
    assert manager.next_deletion_ms is None
    assert manager.drop_hidden_segments(log, NOW) == 1
    assert manager.next_deletion_ms == NOW + 1000
    assert manager.delete_due_files(NOW + 999) == 0
    assert len(list(tmp_path.glob("t-0/*.deleted"))) == 3
    assert manager.delete_due_files(NOW + 1000) == 1
    assert not list(tmp_path.glob("t-0/*.deleted"))
    assert manager.next_deletion_ms is None
    manager.close(sync=False)


def test_two_threads_remove_due_files_one_after_the_other(
    tmp_path: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = LogManager([tmp_path], LogConfig(), clock=lambda: NOW)
    manager.open()
    log = manager.get_or_create(TopicPartition("t", 0), UUID(int=1), LogConfig(file_delete_delay_ms=0))
    for place in (1, 2):
        append(log, b"x")
        log.roll(NOW)
        log.raise_log_start(place)
        assert manager.drop_hidden_segments(log, NOW) == 1
    original, counts = LogSegment.delete, []
    other = Thread(target=lambda: counts.append(manager.delete_due_files(NOW)))

    def delete(self: LogSegment) -> None:
        if other.ident is None:
            other.start()
            other.join(0.02)
        original(self)

    monkeypatch.setattr(LogSegment, "delete", delete)
    counts.append(manager.delete_due_files(NOW))
    other.join()
    assert sorted(counts) == [0, 2]
    manager.close(sync=False)
