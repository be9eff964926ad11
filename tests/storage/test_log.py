import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.storage.log import AppendOrigin, UnifiedLog
from pykbroker.storage.log_segment import LogSegment

NOW = 1_700_000_000_000
Append = Callable[..., Any]


def names(log: UnifiedLog) -> list[str]:
    return sorted(os.listdir(log.directory))


def bases(log: UnifiedLog) -> list[int]:
    return [segment.base_offset for segment in log.segments]


def code_of(call: Callable[[], object]) -> ErrorCode:
    with pytest.raises(KafkaError) as caught:
        call()
    return caught.value.code


# -- appending ---------------------------------------------------------------------------------------------------


def test_a_new_log_is_empty(logs: Any) -> None:
    log = logs.create()
    assert (log.log_start_offset, log.log_end_offset, log.size, log.latest_epoch) == (0, 0, 0, None)
    assert names(log) == [f"{0:020d}.{suffix}" for suffix in ("index", "log", "timeindex")]
    assert log.read(0, 100, upper_bound=0).records is None


def test_offsets_are_consecutive(logs: Any, append: Append, read_all: Append) -> None:
    log = logs.create()
    first = append(log, b"a", b"b", b"c", epoch=4)
    second = append(log, b"d", epoch=4)
    assert (first.first_offset, first.last_offset, first.count, first.log_append_time) == (0, 2, 3, -1)
    assert (second.first_offset, second.last_offset, second.max_timestamp) == (3, 3, NOW)
    assert [(record.offset, record.value) for record in read_all(log)] == list(enumerate([b"a", b"b", b"c", b"d"]))
    assert log.latest_epoch == 4


def test_a_batch_is_patched_in_the_callers_memory(logs: Any) -> None:
    log = logs.create()
    log.append_as_leader(build_batch([(None, b"0")]), 0, NOW)
    frame = bytearray(b"frame" + build_batch([(None, b"1")]))
    log.append_as_leader(memoryview(frame)[5:], 7, NOW)
    (batch,) = batches(memoryview(frame)[5:])
    assert (batch.base_offset, batch.leader_epoch) == (1, 7)
    data = logs.path(0).read_bytes()
    assert data.endswith(frame[5:])


def test_bytes_and_read_only_views_are_left_as_they_were(logs: Any) -> None:
    log = logs.create()
    log.append_as_leader(build_batch([(None, b"0")]), 0, NOW)
    for config in ({}, {"message_timestamp_type": "LogAppendTime"}):
        log.config = log.config.replace(**config)
        given = build_batch([(None, b"1")])
        copy = bytes(bytearray(given))
        log.append_as_leader(given, 7, NOW)
        log.append_as_leader(memoryview(given), 7, NOW)
        assert given == copy


def test_what_was_appended_is_in_the_file_when_append_returns(logs: Any, append: Append) -> None:
    log = logs.create()
    append(log, b"x" * 100)
    assert logs.path(0).stat().st_size == log.size > 100


def test_log_append_time(logs: Any, append: Append, read_all: Append) -> None:
    log = logs.create(message_timestamp_type="LogAppendTime")
    info = append(log, b"a", b"b", timestamp=5, now=NOW)
    assert info.log_append_time == info.max_timestamp == NOW
    assert [record.timestamp for record in read_all(log)] == [NOW, NOW]


def test_a_closed_log_refuses(logs: Any, append: Append) -> None:
    log = logs.create()
    log.close()
    log.close()
    assert code_of(lambda: append(log, b"a")) is ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_a_failing_disk_leaves_the_log_as_it_was(
    logs: Any, append: Append, read_all: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs.create()
    append(log, b"kept")
    size = log.size
    original = os.pwrite

    def half_then_full(fd: int, data: Any, position: int) -> int:
        if position != size:
            raise OSError(28, "No space left on device")
        return original(fd, bytes(data)[:30], position)

    monkeypatch.setattr(os, "pwrite", half_then_full)
    assert code_of(lambda: append(log, b"lost" * 20)) is ErrorCode.KAFKA_STORAGE_ERROR
    monkeypatch.undo()
    assert logs.path(0).stat().st_size == log.size == size
    assert append(log, b"next").first_offset == 1
    assert [record.value for record in read_all(log)] == [b"kept", b"next"]


def test_short_writes_are_continued(
    logs: Any, append: Append, read_all: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs.create()
    original = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, position: original(fd, bytes(data)[:7], position))
    append(log, b"x" * 100)
    monkeypatch.undo()
    assert [record.value for record in read_all(log)] == [b"x" * 100]


# -- rolling -----------------------------------------------------------------------------------------------------


def test_rolls_by_size(logs: Any, append: Append, read_all: Append) -> None:
    log = logs.create(segment_bytes=500)
    for place in range(10):
        append(log, b"%d" % place * 150)
    assert bases(log) == [0, 2, 4, 6, 8]
    assert all(segment.size <= 500 for segment in log.segments)
    assert f"{4:020d}.snapshot" in names(log)
    assert [record.offset for record in read_all(log)] == list(range(10))
    assert code_of(lambda: append(log, b"x" * 500)) is ErrorCode.RECORD_LIST_TOO_LARGE
    assert log.log_end_offset == 10


def test_rolls_by_the_records_time(logs: Any, append: Append) -> None:
    log = logs.create(segment_ms=1000)
    append(log, b"a", timestamp=NOW)
    append(log, b"b", timestamp=NOW + 1000)
    assert bases(log) == [0]
    append(log, b"c", timestamp=NOW + 1001)
    append(log, b"d", timestamp=NOW + 1002)
    assert bases(log) == [0, 2]


def test_rolls_by_age_without_timestamps(logs: Any, append: Append) -> None:
    log = logs.create(segment_ms=1000)
    append(log, b"a", timestamp=-1, now=NOW + 5000)
    append(log, b"b", timestamp=-1, now=NOW + 1000)
    assert bases(log) == [0]
    append(log, b"c", timestamp=-1, now=NOW + 1001)
    assert bases(log) == [0, 2]


def test_jitter_rolls_earlier(logs: Any, append: Append) -> None:
    log = logs.create(segment_ms=1000, segment_jitter_ms=500)
    append(log, b"a")
    log.roll(NOW)
    assert 0 <= log.segments[-1].jitter_ms < 500
    log.segments[-1].jitter_ms = 400
    append(log, b"b", timestamp=NOW)
    append(log, b"c", timestamp=NOW + 601)
    assert bases(log) == [0, 1, 2]


def test_a_compacted_topic_rolls_in_time_for_its_compaction(logs: Any) -> None:
    log = logs.create(segment_ms=1000, max_compaction_lag_ms=10)
    assert log.segment_ms == 1000
    log.config = log.config.replace(cleanup_policy=("compact",))
    assert log.segment_ms == 10


def test_rolls_when_an_index_is_full(logs: Any, append: Append, read_all: Append) -> None:
    log = logs.create(segment_index_bytes=48, index_interval_bytes=0)
    for place in range(12):
        append(log, b"x", timestamp=NOW + place)
    # 48 bytes are four time entries, one of them reserved for the roll; the first append makes none
    assert bases(log) == [0, 4, 8]
    assert len(read_all(log)) == 12
    for segment in log.segments[:-1]:
        assert os.stat(segment.time_index.path).st_size <= 48


def test_rolls_when_offsets_outgrow_the_index(logs: Any) -> None:
    log = logs.create()
    log.append_as_follower(build_batch([(None, b"a")], base_offset=0), NOW)
    log.append_as_follower(build_batch([(None, b"b")], base_offset=2**31 - 1), NOW)
    assert bases(log) == [0]
    log.append_as_follower(build_batch([(None, b"c")], base_offset=2**31), NOW)
    assert bases(log) == [0, 2**31]


def test_an_empty_segment_is_not_rolled(logs: Any, append: Append) -> None:
    log = logs.create()
    log.roll(NOW)
    append(log, b"a")
    log.roll(NOW)
    log.roll(NOW)
    assert bases(log) == [0, 1]


def test_index_entries(logs: Any, append: Append) -> None:
    """The example of the format's description: the last offset of the set, where it begins, the largest time so far."""
    log = logs.create(index_interval_bytes=100)
    append(log, b"x" * 100, timestamp=50)
    position = log.size
    append(log, b"a", b"b", timestamp=20)
    append(log, b"c", timestamp=10)
    segment = log.segments[0]
    assert [segment.index.get(n) for n in range(len(segment.index))] == [(2, position)]
    assert [segment.time_index.get(n) for n in range(len(segment.time_index))] == [(50, 0)]


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.fixture
def three_segments(logs: Any, append: Append) -> UnifiedLog:
    """Offsets 0..17 in batches of three, two batches a segment."""
    log = logs.create(index_interval_bytes=50)
    for place in range(0, 18, 3):
        append(log, *(b"%d" % (place + n) for n in range(3)))
        if place % 6 == 3:
            log.roll(NOW)
    return log


@pytest.mark.parametrize("offset", range(18))
def test_a_read_begins_with_the_batch_that_holds_the_offset(three_segments: UnifiedLog, offset: int) -> None:
    answer = three_segments.read(offset, 1 << 20, upper_bound=18)
    assert answer.records is not None
    found = list(batches(answer.records.read()))
    assert found[0].base_offset == offset // 3 * 3
    assert found[-1].last_offset == offset // 6 * 6 + 5


@pytest.mark.parametrize("bound", range(19))
@pytest.mark.parametrize("offset", [0, 4, 11, 17])
def test_nothing_at_or_above_the_upper_bound_is_read(three_segments: UnifiedLog, offset: int, bound: int) -> None:
    records = three_segments.read(offset, 1 << 20, upper_bound=bound).records
    found = [] if records is None else list(batches(records.read()))
    assert all(batch.last_offset < bound for batch in found)
    if bound // 3 > offset // 3:
        assert found


def test_reads_beyond_the_ends(three_segments: UnifiedLog) -> None:
    assert three_segments.read(18, 100, upper_bound=18).records is None
    three_segments.raise_log_start(4)
    for offset in (-1, 3, 19):
        assert code_of(lambda at=offset: three_segments.read(at, 1, upper_bound=18)) is ErrorCode.OFFSET_OUT_OF_RANGE
    assert three_segments.read(4, 100, upper_bound=18).log_start_offset == 4


def test_limits(three_segments: UnifiedLog) -> None:
    whole = three_segments.read(0, 1 << 20, upper_bound=18).records
    assert whole is not None
    first = next(batches(whole.read())).size
    for limit in (0, 1, first - 1, first):
        records = three_segments.read(0, limit, upper_bound=18).records
        assert records is not None
        assert len(records) == first
    records = three_segments.read(0, first + 10, upper_bound=18).records
    assert records is not None
    assert len(records) == first + 10
    assert three_segments.read(0, first - 1, upper_bound=18, min_one_message=False).records is None
    assert three_segments.read(0, first, upper_bound=18, min_one_message=False).records is not None


def test_offsets_that_compaction_removed_give_the_next(logs: Any) -> None:
    log = logs.create()
    for base in (0, 10, 30):
        log.append_as_follower(build_batch([(None, b"x")], base_offset=base), NOW)
        log.roll(NOW)
    for offset, expected in ((0, 0), (1, 10), (10, 10), (11, 30), (29, 30)):
        records = log.read(offset, 100, upper_bound=31).records
        assert records is not None
        assert next(batches(records.read())).base_offset == expected


def test_a_reader_of_a_deleted_log_finishes(logs: Any, append: Append) -> None:
    log = logs.create()
    append(log, b"x" * 1000)
    records = log.read(0, 1 << 20, upper_bound=1).records
    assert records is not None
    log.rename_for_deletion(log.directory + ".0-delete")
    log.remove_files()
    assert not os.path.exists(log.directory)
    assert [record.value for batch in batches(records.read()) for record in batch.records()] == [b"x" * 1000]


def test_a_damaged_index_is_only_a_bad_hint(logs: Any, append: Append, read_all: Append) -> None:
    log = logs.create(index_interval_bytes=0)
    for place in range(10):
        append(log, b"%d" % place)
    index = log.segments[0].index
    index.keep(0)
    index.append(3, 33)
    assert [record.offset for record in read_all(log, 5)] == [5, 6, 7, 8, 9]


# -- producers and transactions ----------------------------------------------------------------------------------


def produce(append: Append, log: UnifiedLog, sequence: int, *values: bytes, pid: int = 1, epoch: int = 0) -> Any:
    return append(log, *values, producer_id=pid, producer_epoch=epoch, base_sequence=sequence)


def test_a_duplicate_is_answered_with_its_first_offsets(logs: Any, append: Append) -> None:
    log = logs.create()
    produce(append, log, 0, b"a", b"b")
    produce(append, log, 2, b"c")
    again = produce(append, log, 0, b"a", b"b")
    assert again.duplicate
    assert (again.first_offset, again.last_offset, again.count, again.max_timestamp) == (0, 1, 2, NOW)
    assert log.log_end_offset == 3


def test_out_of_order_appends_nothing(logs: Any, append: Append) -> None:
    log = logs.create()
    produce(append, log, 0, b"a")
    code = code_of(lambda: produce(append, log, 5, b"b"))
    assert code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.log_end_offset == 1
    assert [entry.producer_id for entry in log.active_producers()] == [1]


@pytest.mark.parametrize("clean", [True, False])
def test_sequences_survive_a_restart(logs: Any, append: Append, clean: bool) -> None:
    log = logs.create()
    for place in range(4):
        produce(append, log, place, b"x")
        log.roll(NOW)
    log = logs.reopen(log, clean=clean)
    assert produce(append, log, 3, b"x").duplicate
    assert code_of(lambda: produce(append, log, 5, b"x")) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produce(append, log, 4, b"x").first_offset == 4


def write_transaction(log: UnifiedLog, pid: int, sequence: int, kind: ControlType | None) -> None:
    data = build_batch(
        [(None, b"t")], producer_id=pid, producer_epoch=0, base_sequence=sequence, transactional=True, timestamp=NOW
    )
    log.append_as_leader(data, 0, NOW)
    if kind is not None:
        end_transaction(log, pid, kind)


def end_transaction(log: UnifiedLog, pid: int, kind: ControlType) -> None:
    log.append_as_leader(build_marker(kind, pid, 0, 0, NOW), 0, NOW, origin=AppendOrigin.COORDINATOR)


@pytest.mark.parametrize("restart", ["none", "clean", "unclean"])
def test_aborted_transactions(logs: Any, restart: str) -> None:
    log = logs.create()
    write_transaction(log, 1, 0, None)  # offset 0, ends at 5
    write_transaction(log, 2, 0, ControlType.ABORT)  # 1, 2
    write_transaction(log, 2, 1, ControlType.COMMIT)  # 3, 4
    log.roll(NOW)
    end_transaction(log, 1, ControlType.ABORT)  # 5
    write_transaction(log, 3, 0, None)  # 6
    if restart != "none":
        log = logs.reopen(log, clean=restart == "clean")
    assert log.first_unstable_offset == 6
    assert log.last_stable_offset(7) == 6
    assert log.aborted_transactions(0, 7) == [(1, 0), (2, 1)]
    assert log.aborted_transactions(0, 1) == [(1, 0)]
    assert log.aborted_transactions(3, 7) == [(1, 0)]
    assert log.aborted_transactions(6, 7) == []
    assert [segment.txn_index.entries[0].last_stable_offset for segment in log.segments] == [0, 6]


@pytest.mark.parametrize("restart", ["none", "clean"])
def test_what_is_read_names_the_aborted_transactions_up_to_the_next_index_entry(logs: Any, restart: str) -> None:
    log = logs.create(index_interval_bytes=1, segment_bytes=1000)
    for number in range(10):
        write_transaction(log, 1, number, ControlType.ABORT)
    assert len(log.segments) == 2
    if restart != "none":
        log = logs.reopen(log, clean=True)

    def named(offset: int, max_bytes: int) -> list[int]:
        read = log.read(offset, max_bytes, upper_bound=log.log_end_offset)
        return [first for _, first in log.aborted_in(read)]

    second = log.segments[1].base_offset
    assert named(0, 1) == [0]
    assert named(3, 1) == [2]  # What is read is the marker; the index's next entry is for the batch behind it.
    assert named(0, 200) == [0, 2]
    assert named(0, 10_000) == list(range(0, second, 2))
    assert named(second, 10_000) == list(range(second - second % 2, 20, 2))
    assert named(20, 10_000) == []


def test_clients_write_no_markers(logs: Any) -> None:
    log = logs.create()
    code = code_of(lambda: log.append_as_leader(build_marker(ControlType.COMMIT, 1, 0, 0, NOW), 0, NOW))
    assert code is ErrorCode.INVALID_RECORD


# -- followers, epochs, truncation -------------------------------------------------------------------------------


def test_a_follower_appends_as_received(logs: Any, append: Append, tmp_path: Any) -> None:
    leader = logs.create()
    for epoch in (1, 1, 4):
        append(leader, b"a", b"b", epoch=epoch)
    records = leader.read(0, 1 << 20, upper_bound=6).records
    assert records is not None
    data = records.read()
    from pykbroker.config.topic import LogConfig
    from pykbroker.protocol.topic_partition import TopicPartition

    follower = UnifiedLog.create(
        TopicPartition("topic", 0), str(tmp_path / "follower"), LogConfig(max_message_bytes=10), None, NOW
    )
    info = follower.append_as_follower(data + data[:40], NOW)
    assert info is not None
    assert (info.first_offset, info.last_offset, follower.log_end_offset) == (0, 5, 6)
    assert (tmp_path / "follower" / f"{0:020d}.log").read_bytes() == data
    assert follower.epochs.entries == [(1, 0), (4, 4)]
    assert code_of(lambda: follower.append_as_follower(data, NOW)) is ErrorCode.OFFSET_OUT_OF_RANGE
    bad = bytearray(build_batch([(None, b"x")], base_offset=6))
    bad[-1] ^= 1
    assert code_of(lambda: follower.append_as_follower(bad, NOW)) is ErrorCode.CORRUPT_MESSAGE
    assert follower.append_as_follower(data[:30], NOW) is None


def test_epochs(logs: Any, append: Append) -> None:
    log = logs.create()
    log.assign_epoch(2)
    append(log, b"a", epoch=2)
    log.assign_epoch(5)
    append(log, b"b", epoch=5)
    assert log.end_offset_for_epoch(2) == (2, 1)
    assert log.end_offset_for_epoch(4) == (2, 1)
    assert log.end_offset_for_epoch(5) == (5, 2)
    assert log.end_offset_for_epoch(6) == (-1, -1)


@pytest.mark.parametrize("offset", range(19))
def test_truncation(three_segments: UnifiedLog, append: Append, read_all: Append, offset: int) -> None:
    log = three_segments
    log.truncate_to(offset, NOW)
    end = offset // 3 * 3 if offset < 18 else 18
    assert [record.offset for record in read_all(log, upper_bound=1 << 40 if offset % 3 == 0 else end)] == list(
        range(end)
    )
    assert log.log_end_offset == (offset if offset < 18 else 18)
    assert all(segment.base_offset <= offset for segment in log.segments)
    info = append(log, b"new")
    assert read_all(log, info.first_offset)[0].value == b"new"


def test_truncation_forgets_producers(logs: Any, append: Append) -> None:
    log = logs.create()
    for place in range(6):
        produce(append, log, place, b"x")
        if place == 2:
            log.roll(NOW)
    log.truncate_to(4, NOW)
    assert log.producers.producers[1].last_sequence == 3
    assert log.recovery_point == 0
    assert produce(append, log, 4, b"y").first_offset == 4


def test_truncation_of_everything(three_segments: UnifiedLog, append: Append) -> None:
    log = three_segments
    log.truncate_fully(100, NOW)
    assert (log.log_start_offset, log.log_end_offset, log.recovery_point) == (100, 100, 100)
    assert log.latest_epoch is None
    assert append(log, b"x").first_offset == 100
    log.truncate_to(7, NOW)
    assert (log.log_start_offset, log.log_end_offset) == (7, 7)
    assert sorted(name for name in names(log) if name.endswith(".log")) == [f"{7:020d}.log"]


# -- durability --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [3, 100])
def test_readers_meet_no_file_that_is_being_cut_away(
    three_segments: UnifiedLog, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    log, told, met = three_segments, [], []
    log.on_error = lambda failing, error: told.append(error)
    before = log.log_end_offset
    original = LogSegment.delete

    def delete(self: LogSegment) -> None:
        original(self)
        for start in range(before):
            try:
                log.read(start, 1 << 20, upper_bound=before)
            except KafkaError as error:
                met.append(error.code)

    monkeypatch.setattr(LogSegment, "delete", delete)
    (log.truncate_fully if offset == 100 else log.truncate_to)(offset)
    assert not told
    assert set(met) <= {ErrorCode.OFFSET_OUT_OF_RANGE}


def test_a_cut_that_fails_is_told_and_can_be_done_again(
    three_segments: UnifiedLog, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, told = three_segments, []
    log.on_error = lambda failing, error: told.append(error)

    def fail(self: LogSegment, now_ms: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(LogSegment, "create", fail)
        with pytest.raises(OSError, match="Input/output"):
            log.truncate_fully(100)
    assert [error.errno for error in told] == [errno.EIO]
    log.truncate_fully(100)
    assert append(log, b"x").first_offset == 100


def test_flush_raises_the_recovery_point(three_segments: UnifiedLog) -> None:
    log = three_segments
    assert log.recovery_point == 0
    assert log.flush_due(NOW)  # it was rolled
    log.flush(NOW)
    assert log.recovery_point == 18
    assert not log.flush_due(NOW)


def test_flush_is_due_by_messages_and_time(logs: Any, append: Append) -> None:
    log = logs.create(flush_messages=3)
    append(log, b"a", b"b")
    assert not log.flush_due(NOW)
    append(log, b"c")
    assert log.flush_due(NOW)
    log.config = log.config.replace(flush_messages=100, flush_ms=50)
    assert not log.flush_due(NOW + 49)
    assert log.flush_due(NOW + 50)
    log.flush(NOW + 50)
    append(log, b"d")
    assert not log.flush_due(NOW + 99)
    assert log.flush_due(NOW + 100)


def test_a_topic_id_is_given_once(logs: Any) -> None:
    log = logs.create()
    assert log.topic_id is None
    log.set_topic_id(UUID(int=5))
    log.set_topic_id(UUID(int=5))
    assert code_of(lambda: log.set_topic_id(UUID(int=6))) is ErrorCode.INCONSISTENT_TOPIC_ID
    assert "partition.metadata" in names(log)


def test_a_transaction_below_the_log_start_pins_no_more_than_that(logs: Any) -> None:
    log = logs.create()
    write_transaction(log, 1, 0, None)
    log.append_as_leader(build_batch([(None, b"x")] * 4), 0, NOW)
    log.raise_log_start(3)
    assert log.first_unstable_offset == 3
    assert log.last_stable_offset(5) == 3
    assert log.last_stable_offset(2) == 2


def test_only_the_segment_that_is_written_keeps_its_file_open(logs: Any, append: Append, read_all: Append) -> None:
    def open_logs() -> list[str]:
        descriptors = Path("/proc/self/fd")
        names = [os.readlink(link) for link in descriptors.iterdir() if os.path.lexists(link)]
        return [name for name in names if str(logs.directory) in name]

    log = logs.create()
    for _ in range(5):
        append(log, b"x")
        log.roll(NOW)
    append(log, b"x")
    log.flush(NOW)
    assert open_logs() == [str(logs.path(5))]
    assert len(read_all(log)) == 6
    log.offset_for_timestamp(NOW + 1, 6)
    log.offset_for_timestamp(NOW, 6)
    assert len(open_logs()) <= 2
    log.flush(NOW)
    log = logs.reopen(log, clean=False)
    assert [name for name in open_logs() if not name.endswith("deleted)")] == []


@pytest.mark.slow
def test_flushing_in_a_thread_while_the_log_is_written(logs: Any, append: Append) -> None:
    log = logs.create(segment_bytes=5000, index_interval_bytes=100, segment_index_bytes=500)
    failures: list[BaseException] = []
    done = threading.Event()

    def flush() -> None:
        try:
            while not done.is_set():
                log.flush(NOW)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        for place in range(3000):
            append(log, b"x" * 100, b"y", epoch=place // 500)
            offset = place * 7919 % log.log_end_offset
            records = log.read(offset, 500, upper_bound=log.log_end_offset).records
            assert records is not None
            first = next(batches(records.read()))
            assert first.base_offset <= offset <= first.last_offset
    finally:
        done.set()
        thread.join()
    assert failures == []
    log.flush(NOW)
    written = {path.name: path.read_bytes() for path in logs.directory.glob("*index")}
    logs.reopen(log, clean=False)
    active = f"{log.segments[-1].base_offset:020d}"
    for path in logs.directory.glob("*index"):
        assert path.name.startswith(active) or path.read_bytes() == written[path.name]
