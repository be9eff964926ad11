import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.storage import compaction

from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.records.message_set import build_message_set
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import CLEANER_OFFSETS, read_offsets
from pykbroker.storage.cleaner_round import CleaningRound
from pykbroker.storage.log import AppendOrigin, UnifiedLog
from pykbroker.storage.log_cleaner import CleaningFailed, LogCleaner
from pykbroker.storage.offset_map import OffsetMap

NOW = 1_700_000_000_000
TP = TopicPartition("topic", 0)


class CompactedLogs:
    """Makes compacted logs with small segments and fills them."""

    def __init__(self, logs: Any) -> None:
        self.logs = logs
        self.directory = logs.directory

    def create(self, **config: Any) -> UnifiedLog:
        config = {"cleanup_policy": ["compact"], "min_cleanable_dirty_ratio": 0.0, **config}
        log: UnifiedLog = self.logs.create(**config)
        return log

    def reopen(self, log: UnifiedLog, *, clean: bool) -> UnifiedLog:
        opened: UnifiedLog = self.logs.reopen(log, clean=clean, recovery_point=log.recovery_point)
        return opened

    def cleaned_up(self) -> bool:
        """Whether no file is left of a replacement."""
        return not [path for path in self.directory.iterdir() if path.suffix in (".cleaned", ".swap", ".deleted")]


@pytest.fixture
def compacted(logs: Any) -> CompactedLogs:
    return CompactedLogs(logs)


def put(log: UnifiedLog, *pairs: tuple[bytes | None, bytes | None], now: int = NOW, **batch: Any) -> None:
    log.append_as_leader(build_batch(pairs, timestamp=now, **batch), 0, now)


def fill(log: UnifiedLog, segments: int = 3) -> None:
    """Segments of two batches each, in which the same two keys come again and again; then an empty active one."""
    for number in range(segments):
        put(log, (b"a", b"%d" % number), (b"b", b"%d" % number))
        put(log, (b"only %d" % number, b""))
        log.roll(NOW)


def finish_transaction(log: UnifiedLog, kind: ControlType, producer_id: int) -> None:
    marker = build_marker(kind, producer_id, 0, 0, NOW)
    log.append_as_leader(bytearray(marker), 0, NOW, origin=AppendOrigin.COORDINATOR)


def pairs(log: UnifiedLog) -> list[tuple[int, bytes | None, bytes | None]]:
    return [(record.offset, record.key, record.value) for record in compaction.records(compaction.stored(log))]


def offsets(log: UnifiedLog) -> list[int]:
    return [offset for offset, _, _ in pairs(log)]


def test_the_newest_record_of_a_key_stays(compacted: CompactedLogs, read_all: Callable[..., list[Record]]) -> None:
    log = compacted.create()
    fill(log)
    put(log, (b"a", b"in the active segment"))
    result = LogCleaner([log]).run_once(NOW)
    assert result is not None
    assert (result.first_dirty, result.end_offset) == (0, 9)
    assert (result.counts.segments_before, result.counts.segments_after, result.counts.keys) == (3, 1, 5)
    assert offsets(log) == [2, 5, 6, 7, 8, 9]
    assert [segment.base_offset for segment in log.segments] == [0, 9]
    assert [record.offset for record in read_all(log)] == [2, 5, 6, 7, 8, 9]
    assert compacted.cleaned_up()
    assert read_offsets(str(compacted.directory.parent / CLEANER_OFFSETS)) == {TP: 9}
    for clean in (True, False):
        log = compacted.reopen(log, clean=clean)
        assert [record.offset for record in read_all(log)] == [2, 5, 6, 7, 8, 9]


def test_nothing_to_clean(compacted: CompactedLogs) -> None:
    log = compacted.create()
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW) is None
    put(log, (b"a", b"1"), (b"a", b"2"))
    assert cleaner.run_once(NOW) is None, "the active segment is never cleaned"
    log.roll(NOW)
    assert cleaner.run_once(NOW) is not None
    assert cleaner.run_once(NOW) is None, "all of it is clean"


def test_a_log_that_is_not_compacted(compacted: CompactedLogs) -> None:
    log = compacted.create(cleanup_policy=["delete"])
    fill(log)
    assert LogCleaner([log]).run_once(NOW) is None


def test_dirty_ratio(compacted: CompactedLogs) -> None:
    log = compacted.create(min_cleanable_dirty_ratio=0.5)
    fill(log, 4)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW) is not None, "all of it is dirty"
    put(log, (b"a", b""))
    log.roll(NOW)
    assert cleaner.run_once(NOW) is None, "a small part of it"
    fill(log, 6)
    assert cleaner.run_once(NOW) is not None


def test_the_filthiest_log_comes_first(tmp_path: Path, compacted: CompactedLogs) -> None:
    first = compacted.create()
    fill(first)
    cleaner = LogCleaner([first])
    assert cleaner.run_once(NOW) is not None
    fill(first, 1)
    other = UnifiedLog.create(TopicPartition("other", 0), str(tmp_path / "other-0"), first.config, None, NOW)
    fill(other)
    cleaner = LogCleaner([first, other])
    order = [result.topic_partition.topic for _ in range(2) if (result := cleaner.run_once(NOW)) is not None]
    assert order == ["other", "topic"]


def test_what_is_not_replicated_or_undecided_is_left_alone(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log, 4)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW, {}) is None
    result = cleaner.run_once(NOW, {TP: 7})
    assert result is not None
    assert result.end_offset == 6, "the high watermark lies in the segment that begins there"
    assert offsets(log) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_an_open_transaction_holds_cleaning_up(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log, 1)
    put(log, (b"a", b"open"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    fill(log, 2)
    cleaner = LogCleaner([log])
    result = cleaner.run_once(NOW)
    assert result is not None
    assert result.end_offset == 3
    finish_transaction(log, ControlType.COMMIT, 7)
    log.roll(NOW)
    result = cleaner.run_once(NOW)
    assert result is not None
    assert result.end_offset == log.log_end_offset


def test_young_records_wait(compacted: CompactedLogs) -> None:
    log = compacted.create(min_compaction_lag_ms=1000)
    put(log, (b"a", b"1"))
    log.roll(NOW)
    put(log, (b"a", b"2"), now=NOW + 500)
    log.roll(NOW)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW + 900) is None
    result = cleaner.run_once(NOW + 1000)
    assert result is not None
    assert result.end_offset == 1
    result = cleaner.run_once(NOW + 1500)
    assert result is not None
    assert result.end_offset == 2
    assert offsets(log) == [1]


def test_old_records_are_cleaned_whatever_the_ratio(compacted: CompactedLogs) -> None:
    log = compacted.create(min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=1000)
    put(log, (b"a", b"1"), (b"a", b"2"))
    log.roll(NOW)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW + 1000) is None
    assert cleaner.run_once(NOW + 1001) is not None


@pytest.mark.parametrize("codec", list(Compression))
def test_tombstones_go_after_their_time(compacted: CompactedLogs, codec: Compression) -> None:
    log = compacted.create(delete_retention_ms=1000)
    put(log, (b"a", b"1"), (b"b", b"1"), compression=codec)
    put(log, (b"a", None), (b"b", b"2"), compression=codec, now=NOW + 5)
    log.roll(NOW)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW + 10) is not None
    assert pairs(log) == [(2, b"a", None), (3, b"b", b"2")]
    (batch,) = compaction.stored(log)
    assert (batch.horizon, batch.codec) == (NOW + 1010, codec)
    assert {record.timestamp for record in batch.records} == {NOW + 5}
    for now, left in ((NOW + 1009, [2, 3, 4]), (NOW + 1010, [3, 5])):
        put(log, (b"c", b""))
        log.roll(NOW)
        assert cleaner.run_once(now) is not None
        assert offsets(log) == left


def test_headers_and_timestamps_survive(compacted: CompactedLogs) -> None:
    log = compacted.create()
    wanted = Record(1, NOW - 40_000, b"b" * 300, b"v" * 20_000, (("header", b"x"), ("none", None)))
    records = [Record(0, NOW, b"a", b"1"), wanted, Record(2, NOW - 5, b"c", None)]
    log.append_as_leader(build_batch(records), 0, NOW)
    put(log, (b"a", b"2"))
    log.roll(NOW)
    assert LogCleaner([log]).run_once(NOW) is not None
    assert compaction.records(compaction.stored(log))[:2] == [wanted, records[2]]
    (_, batch), _ = list(log.segments[0].read_batches(0))
    assert (batch.max_timestamp, batch.last_offset, batch.count) == (NOW - 5, 2, 2)


def test_aborted_data_goes_and_then_its_marker(compacted: CompactedLogs) -> None:
    log = compacted.create(delete_retention_ms=100)
    put(log, (b"a", b"1"))
    put(log, (b"a", b"aborted"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    finish_transaction(log, ControlType.ABORT, 7)
    put(log, (b"z", b""))
    log.roll(NOW)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW) is not None
    assert offsets(log) == [0, 3]
    assert log.aborted_transactions(0, log.log_end_offset) == [(7, 1)]
    assert [batch.base_offset for batch in compaction.stored(log)] == [0, 1, 2, 3], "the producer's sequence is kept"
    del log.producers.producers[7]
    expected = [(NOW, [0, 2], None), (NOW + 1, [0, 2], NOW + 101), (NOW + 101, [0], None)]
    for now, left, horizon in expected:
        put(log, (b"z", b""))
        log.roll(NOW)
        assert cleaner.run_once(now) is not None
        found = [batch for batch in compaction.stored(log) if batch.base_offset < 3]
        assert [batch.base_offset for batch in found] == left
        assert found[-1].horizon == horizon
    assert log.aborted_transactions(0, log.log_end_offset) == []


def test_a_full_map_ends_the_round(compacted: CompactedLogs) -> None:
    log = compacted.create()
    for number in range(30):
        put(log, (b"%d" % (number % 20), b""))
    log.roll(NOW)
    cleaner = LogCleaner([log], dedupe_buffer_size=24 * 12)
    ends = []
    while (result := cleaner.run_once(NOW)) is not None:
        ends.append(result.end_offset)
    assert ends == [9, 18, 27, 30]
    assert offsets(log) == list(range(10, 30))


def test_a_batch_that_no_map_holds_is_given_up(compacted: CompactedLogs, caplog: pytest.LogCaptureFixture) -> None:
    log = compacted.create()
    put(log, *((b"%d" % number, b"") for number in range(20)))
    log.roll(NOW)
    cleaner = LogCleaner([log], dedupe_buffer_size=24 * 12)
    assert cleaner.run_once(NOW) is None
    assert cleaner.uncleanable == {TP: log}
    assert "log.cleaner.dedupe.buffer.size" in caplog.text


def test_a_corrupt_log_is_left_as_it_is(compacted: CompactedLogs, caplog: pytest.LogCaptureFixture) -> None:
    log = compacted.create()
    fill(log)
    damaged = Path(log.segments[1].path)
    content = bytearray(damaged.read_bytes())
    content[70] ^= 1
    damaged.write_bytes(content)
    cleaner = LogCleaner([log])
    with caplog.at_level(logging.ERROR):
        assert cleaner.run_once(NOW) is None
        assert cleaner.run_once(NOW) is None
    assert len(caplog.records) == 1
    assert len(log.segments) == 4
    assert damaged.read_bytes() == content
    assert compacted.cleaned_up()


def test_the_checkpoint_is_believed_within_the_log(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log)
    assert LogCleaner([log]).run_once(NOW) is not None
    assert LogCleaner([log]).first_dirty_offset(log) == 9
    checkpoint = compacted.directory.parent / CLEANER_OFFSETS
    checkpoint.write_text("0\n1\ntopic 0 10\n")
    assert LogCleaner([log]).first_dirty_offset(log) == 0
    checkpoint.write_text("nonsense")
    assert LogCleaner([log]).first_dirty_offset(log) == 0
    cleaner = LogCleaner([log])
    checkpoint.write_text("0\n1\ntopic 0 9\n")
    log.truncate_to(5)
    fill(log)
    assert cleaner.first_dirty_offset(log) == 5, "what came after a truncation is dirty"


def test_a_topic_made_again_is_dirty_from_its_start(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log)
    logs = [log]
    cleaner = LogCleaner(logs)
    assert cleaner.run_once(NOW) is not None
    log.rename_for_deletion(str(compacted.directory) + ".deleted")
    logs[0] = compacted.create()
    fill(logs[0])
    assert cleaner.first_dirty_offset(logs[0]) == 0
    logs.clear()
    assert cleaner.run_once(NOW) is None
    assert read_offsets(str(compacted.directory.parent / CLEANER_OFFSETS)) == {}


def test_offsets_of_gone_logs_that_cannot_be_written_hold_nothing_up(
    compacted: CompactedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = compacted.create()
    fill(log)
    logs = [log]
    cleaner = LogCleaner(logs)
    assert cleaner.run_once(NOW) is not None
    logs.clear()
    (compacted.directory.parent / f"{CLEANER_OFFSETS}.tmp").mkdir()
    assert cleaner.run_once(NOW) is None


def test_bytes_a_second(compacted: CompactedLogs) -> None:
    clock = 0.0
    log = compacted.create()
    fill(log)
    size = log.size
    cleaner = LogCleaner([log], max_bytes_per_second=100, monotonic=lambda: clock)

    def wait(seconds: float) -> bool:
        nonlocal clock
        clock += seconds
        return False

    cleaner._stopped.wait = wait  # type: ignore[assignment]
    result = cleaner.run_once(NOW)
    assert result is not None
    moved = result.counts.bytes_read + result.counts.bytes_written
    assert clock == pytest.approx(moved / 100)
    assert result.counts.bytes_read == 2 * size


def test_stopping(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log)
    cleaner = LogCleaner([log], max_bytes_per_second=0.001)
    cleaner._stopped.wait = lambda seconds: cleaner.stop() or True  # type: ignore[assignment, func-returns-value]
    assert cleaner.run_once(NOW) is None
    assert len(log.segments) == 4
    assert compacted.cleaned_up()


@pytest.mark.parametrize("what", ["truncate", "delete", "retention"])
def test_the_log_changes_while_it_is_cleaned(
    compacted: CompactedLogs, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    log = compacted.create(segment_bytes=400)
    fill(log, 5)
    original = os.utime
    before = pairs(log)

    def change(*args: Any, **keywords: Any) -> None:
        original(*args, **keywords)
        monkeypatch.setattr(os, "utime", original)
        if what == "truncate":
            log.truncate_to(13)
        elif what == "delete":
            log.rename_for_deletion(str(compacted.directory) + ".gone")
        else:
            log.raise_log_start(3)
            for segment in log.drop_hidden_segments():
                segment.delete()

    monkeypatch.setattr(os, "utime", change)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW) is None
    assert not cleaner.uncleanable
    left = {"truncate": before[:12], "delete": before, "retention": before[3:]}[what]
    assert pairs(log) == left
    if what != "delete":
        assert compacted.cleaned_up()
        log.roll(NOW)
        assert cleaner.run_once(NOW) is not None


@pytest.mark.parametrize("what", ["truncate", "retention"])
def test_files_that_went_before_they_were_read_are_no_fault_of_the_disk(
    compacted: CompactedLogs, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    log = compacted.create(segment_bytes=400)
    fill(log, 5)
    original = CleaningRound.build_map

    def change(self: CleaningRound, found: OffsetMap) -> int:
        end = original(self, found)
        monkeypatch.setattr(CleaningRound, "build_map", original)
        if what == "truncate":
            log.truncate_fully(100, NOW)
        else:
            log.raise_log_start(6)
            for segment in log.drop_hidden_segments():
                segment.delete()
        return end

    monkeypatch.setattr(CleaningRound, "build_map", change)
    cleaner = LogCleaner([log])
    assert cleaner.run_once(NOW) is None
    assert not cleaner.uncleanable
    assert compacted.cleaned_up()
    fill(log)
    assert cleaner.run_once(NOW) is not None


def test_readers_and_the_writer_go_on_while_segments_are_replaced(
    compacted: CompactedLogs, monkeypatch: pytest.MonkeyPatch, read_all: Callable[..., list[Record]]
) -> None:
    log = compacted.create()
    fill(log, 4)
    wanted = [8, 2, 5, 9, 10, 11]
    original = os.rename
    seen = 0

    def rename(source: str, target: str) -> None:
        nonlocal seen
        original(source, target)
        seen += 1
        put(log, (b"new %d" % seen, b""))
        log.roll(NOW)
        for start in (0, 4, 8):
            found = {record.offset for record in read_all(log, start)}
            assert {offset for offset in wanted if offset >= start} <= found
        assert log.offset_for_timestamp(NOW, log.log_end_offset) is not None

    monkeypatch.setattr(os, "rename", rename)
    assert LogCleaner([log]).run_once(NOW) is not None
    assert seen > 6
    assert offsets(log) == sorted([*wanted, *range(12, 12 + seen)])
    assert [segment.base_offset for segment in log.segments] == [0, *range(12, 13 + seen)]


def test_a_reader_in_the_middle_of_a_replaced_segment_finishes(compacted: CompactedLogs) -> None:
    log = compacted.create()
    fill(log)
    answer = log.read(0, 1 << 20, upper_bound=log.log_end_offset)
    assert answer.records is not None
    content = Path(log.segments[0].path).read_bytes()
    assert LogCleaner([log]).run_once(NOW) is not None
    assert answer.records.read() == content


def test_a_failing_disk(compacted: CompactedLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    log = compacted.create()
    fill(log)
    before = pairs(log)

    def fail(*args: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", fail)
        with pytest.raises(CleaningFailed) as caught:
            LogCleaner([log]).run_once(NOW)
    assert caught.value.directory == log.directory
    assert compacted.cleaned_up()
    assert pairs(log) == before
    assert LogCleaner([log]).run_once(NOW) is not None


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Compression.NONE, Compression.GZIP, Compression.SNAPPY])
def test_the_older_message_formats(compacted: CompactedLogs, magic: int, codec: Compression) -> None:
    log = compacted.create(delete_retention_ms=1000)
    time = NOW if magic else -1
    for keys in ((b"a", b"b", b"c"), (b"b", b"d", b"a"), (b"d", b"e", b"f")):
        records = [Record(log.log_end_offset + n, time, key, b"" if key < b"f" else None) for n, key in enumerate(keys)]
        log.append_as_follower(build_message_set(records, magic, codec), NOW)
        log.roll(NOW)
    for segment in log.segments[:-1]:
        os.utime(segment.path, (NOW / 1000, NOW / 1000))
    wanted = [(2, b"c", b""), (3, b"b", b""), (5, b"a", b""), (6, b"d", b""), (7, b"e", b""), (8, b"f", None)]
    assert LogCleaner([log]).run_once(NOW) is not None
    assert pairs(log) == wanted
    assert {record.timestamp for record in compaction.records(compaction.stored(log))} == {time}
    log.append_as_follower(build_message_set([Record(9, time, b"e", b"")], magic), NOW)
    log.roll(NOW)
    os.utime(log.segments[1].path, (NOW / 1000 + 2, NOW / 1000 + 2))
    assert LogCleaner([log]).run_once(NOW) is not None
    assert pairs(log) == [*wanted[:4], wanted[5], (9, b"e", b"")], "what is as new as the clean part keeps tombstones"


@pytest.mark.slow
def test_a_crash_at_every_file_operation(compacted: CompactedLogs) -> None:
    """Whatever the last operation was: what opens then has all that compaction keeps, and can be compacted."""
    call = 0
    crashed = True
    while crashed:
        log = compacted.create(segment_bytes=400, index_interval_bytes=0)
        fill(log, 5)
        put(log, (b"a", b"aborted"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
        finish_transaction(log, ControlType.ABORT, 7)
        log.roll(NOW)
        before = compaction.stored(log)
        must = compaction.survivors(before, 0, log.log_end_offset, {15}, NOW)
        try:
            with compaction.crash_at(call):
                LogCleaner([log]).run_once(NOW)
            crashed = False
        except compaction.Crash:
            pass
        log = compacted.reopen(log, clean=False)
        left = compaction.records(compaction.stored(log))
        assert set(must) <= set(left) <= set(compaction.records(before)), call
        assert log.log_end_offset == 17
        assert compacted.cleaned_up()
        cleaner = LogCleaner([log])
        if cleaner.run_once(NOW) is not None or not crashed:
            assert compaction.records(compaction.stored(log)) == must
        log.close()
        log.remove_files()
        (compacted.directory.parent / CLEANER_OFFSETS).unlink(missing_ok=True)
        call += 1
    assert call > 30
