import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import encode_message
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog

NOW = 1_700_000_000_000
Append = Callable[..., Any]


def append_times(log: UnifiedLog, *timestamps: int, epoch: int = 0, compression: int = 0) -> None:
    records = [Record(place, time, None, b"v") for place, time in enumerate(timestamps)]
    log.append_as_leader(build_batch(records, compression=compression), epoch, NOW)


@pytest.fixture
def log(logs: Any) -> UnifiedLog:
    made: UnifiedLog = logs.create(index_interval_bytes=0)
    append_times(made, 100, 150, 120, epoch=1)  # 0 1 2
    append_times(made, 110, 130, epoch=1)  # 3 4
    made.roll(NOW)
    append_times(made, 140, 300, epoch=2, compression=Compression.GZIP)  # 5 6
    append_times(made, 200, 300, epoch=3)  # 7 8
    return made


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, (0, 100, 1)),
        (100, (0, 100, 1)),
        (101, (1, 150, 1)),
        (150, (1, 150, 1)),
        (151, (6, 300, 2)),
        (300, (6, 300, 2)),
        (301, None),
    ],
)
def test_the_very_record_is_found(log: UnifiedLog, timestamp: int, expected: tuple[int, int, int] | None) -> None:
    assert log.offset_for_timestamp(timestamp, 9) == expected


def test_what_is_hidden_is_not_found(log: UnifiedLog) -> None:
    assert log.offset_for_timestamp(151, 6) is None
    assert log.offset_for_timestamp(151, 5) is None
    assert log.offset_for_timestamp(0, 0) is None
    log.raise_log_start(2)
    assert log.offset_for_timestamp(101, 9) == (2, 120, 1)
    log.raise_log_start(7)
    assert log.offset_for_timestamp(0, 9) == (7, 200, 3)


def test_largest_timestamp(log: UnifiedLog, logs: Any) -> None:
    assert log.max_timestamp_offset(9) == (6, 300, 2)
    assert log.max_timestamp_offset(6) == (1, 150, 1)
    assert log.max_timestamp_offset(1) == (0, 100, 1)
    assert log.max_timestamp_offset(0) is None
    log.raise_log_start(7)
    assert log.max_timestamp_offset(9) == (8, 300, 3)


@pytest.mark.parametrize("clean", [True, False])
def test_after_a_restart(log: UnifiedLog, logs: Any, clean: bool) -> None:
    again = logs.reopen(log, clean=clean)
    assert again.offset_for_timestamp(101, 9) == (1, 150, 1)
    assert again.max_timestamp_offset(9) == (6, 300, 2)


def test_an_empty_log_and_records_without_time(logs: Any) -> None:
    log = logs.create()
    assert log.offset_for_timestamp(0, 0) is None
    assert log.max_timestamp_offset(0) is None
    log.append_as_leader(encode_message(0, 0, -1, None, b"v"), 0, NOW, request_version=0)
    assert log.max_timestamp_offset(1) is None
    assert log.offset_for_timestamp(0, 1) is None


def test_log_append_time_finds_the_first(logs: Any) -> None:
    log = logs.create(message_timestamp_type="LogAppendTime")
    append_times(log, 1, 2, 3)
    assert log.max_timestamp_offset(3) == (0, NOW, 0)
    assert log.offset_for_timestamp(5, 3) == (0, NOW, 0)


def test_offsets_before_for_old_clients(log: UnifiedLog) -> None:
    first, second = log.segments
    os.utime(first.path, (10, 10))
    os.utime(second.path, (20, 20))
    assert log.legacy_offsets_before(-1, 9) == [9, 5, 0]
    assert log.legacy_offsets_before(-1, 1) == [9]
    assert log.legacy_offsets_before(-2, 9) == [0]
    assert log.legacy_offsets_before(20_000, 9) == [5, 0]
    assert log.legacy_offsets_before(19_999, 9) == [0]
    assert log.legacy_offsets_before(9_999, 9) == []
    assert log.legacy_offsets_before(-1, 9, upper_bound=7) == [7, 5, 0]
    assert log.legacy_offsets_before(40_000, 9, now_ms=30_000) == [9, 5, 0]
    log.raise_log_start(3)
    assert log.legacy_offsets_before(-2, 9) == [3]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(
    appends=st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.booleans()), max_size=12),
    interval=st.sampled_from([0, 100, 4096]),
    data=st.data(),
)
def test_like_a_search_through_a_list(
    tmp_path_factory: pytest.TempPathFactory,
    appends: list[tuple[list[int], bool]],
    interval: int,
    data: st.DataObject,
) -> None:
    directory = str(tmp_path_factory.mktemp("log") / "t-0")
    log = UnifiedLog.create(TopicPartition("t", 0), directory, LogConfig(index_interval_bytes=interval), None, NOW)
    model: list[int] = []
    for timestamps, roll in appends:
        append_times(log, *timestamps)
        model += timestamps
        if roll:
            log.roll(NOW)
    start = data.draw(st.integers(0, len(model)))
    bound = data.draw(st.integers(start, len(model)))
    log.raise_log_start(start)
    visible = [(offset, time) for offset, time in enumerate(model) if start <= offset < bound]
    for wanted in range(0, 52, 5):
        expected = next(((offset, time, 0) for offset, time in visible if time >= wanted), None)
        assert log.offset_for_timestamp(wanted, bound) == expected
    largest = max((time for _, time in visible), default=None)
    first = next(((offset, time, 0) for offset, time in visible if time == largest), None)
    assert log.max_timestamp_offset(bound) == first
