"""A log on a disk that is full or breaks: nothing appended is lost, nothing half-written is kept, and it is told."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.control import ControlType
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.files import OPEN_FILES, LostWrites, OpenFiles, is_temporary
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_manager import LogManager

NOW = 1_700_000_000_000
ID = UUID(int=77)
Append = Callable[..., Any]
A, B, C = (TopicPartition(name, 0) for name in "abc")


@pytest.fixture
def log(logs: Any) -> UnifiedLog:
    made: UnifiedLog = logs.create(segment_bytes=250)
    return made


def told(log: UnifiedLog) -> list[OSError]:
    errors: list[OSError] = []
    log.on_error = lambda _, error: errors.append(error)
    return errors


def refused(append: Append, log: UnifiedLog, value: bytes = b"v") -> None:
    with pytest.raises(KafkaError) as caught:
        append(log, value)
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_a_failed_append_wrote_is_cut_back(
    log: UnifiedLog, logs: Any, disk: Any, append: Append, read_all: Append, code: int
) -> None:
    append(log, b"kept")
    errors, size = told(log), log.size
    with disk.failing("pwrite", code, logs.directory, ".log"):
        for _ in range(3):
            refused(append, log)
    assert [error.errno for error in errors] == [code] * 3
    assert (log.log_end_offset, log.size, logs.path(0).stat().st_size) == (1, size, size)
    assert append(log, b"next").first_offset == 1
    again = logs.reopen(log, clean=False)
    assert [record.value for record in read_all(again)] == [b"kept", b"next"]


def test_what_cannot_be_cut_back_is_no_passing_error(log: UnifiedLog, logs: Any, disk: Any, append: Append) -> None:
    errors = told(log)
    with (
        disk.failing("pwrite", errno.ENOSPC, logs.directory, ".log"),
        disk.failing("ftruncate", errno.EIO, logs.directory, ".log"),
    ):
        refused(append, log)
    assert isinstance(errors[0], LostWrites)
    assert not is_temporary(errors[0])


@pytest.mark.parametrize("suffix", [".log", ".index", ".timeindex", ".snapshot.tmp"])
def test_a_roll_that_fails_leaves_nothing(
    log: UnifiedLog, logs: Any, disk: Any, append: Append, read_all: Append, suffix: str
) -> None:
    append(log, b"x" * 100)
    before = sorted(os.listdir(logs.directory))
    with disk.failing("open", errno.ENOSPC, logs.directory, "00000000000000000001" + suffix):
        refused(append, log, b"x" * 100)
    left = set(os.listdir(logs.directory)) - set(before)
    assert not [name for name in left if name.endswith((".log", ".index", ".timeindex"))]
    append(log, b"small")  # still fits into the first segment
    append(log, b"x" * 100)
    assert [segment.base_offset for segment in log.segments] == [0, 2]
    again = logs.reopen(log, clean=False)
    assert [len(record.value) for record in read_all(again)] == [100, 5, 100]


def test_an_epoch_that_cannot_be_noted_takes_no_records(
    log: UnifiedLog, logs: Any, disk: Any, append: Append, read_all: Append
) -> None:
    append(log, b"a")
    with disk.failing("open", errno.ENOSPC, logs.directory, "leader-epoch-checkpoint.tmp"), pytest.raises(KafkaError):
        append(log, b"b", epoch=1)
    assert log.log_end_offset == 1
    append(log, b"c", epoch=1)
    assert [record.value for record in read_all(log)] == [b"a", b"c"]


def test_an_aborted_transaction_is_known_though_its_index_cannot_be_written(
    log: UnifiedLog, logs: Any, disk: Any, append: Append
) -> None:
    from pykbroker.protocol.records.control import build_marker
    from pykbroker.storage.log import AppendOrigin

    errors = told(log)
    append(log, b"t", producer_id=4, producer_epoch=0, base_sequence=0, transactional=True)
    marker = build_marker(ControlType.ABORT, producer_id=4, producer_epoch=0, coordinator_epoch=0, timestamp=NOW)
    with disk.failing("open", errno.ENOSPC, logs.directory, ".txnindex"):
        log.append_as_leader(marker, 0, NOW, origin=AppendOrigin.COORDINATOR)
    assert errors
    assert log.aborted_transactions(0, 10) == [(4, 0)]
    assert not logs.path(0, "txnindex").exists()
    log.flush(NOW)
    assert logs.path(0, "txnindex").stat().st_size == 34


@pytest.mark.parametrize("suffix", [".log", ".index", ".timeindex", "leader-epoch-checkpoint"])
def test_an_fsync_that_fails_moves_no_recovery_point(
    log: UnifiedLog, logs: Any, disk: Any, append: Append, suffix: str
) -> None:
    append(log, b"a")
    errors = told(log)
    with disk.failing("fsync", errno.ENOSPC, logs.directory, suffix), pytest.raises(LostWrites):
        log.flush(NOW)
    assert log.recovery_point == 0
    assert not is_temporary(errors[0])


def test_a_disk_that_cannot_be_read(log: UnifiedLog, logs: Any, disk: Any, append: Append) -> None:
    append(log, b"a")
    append(log, b"b")
    errors = told(log)
    with disk.failing("pread", errno.EIO, logs.directory, ".log"):
        for look in (lambda: log.read(0, 100, upper_bound=2), lambda: log.offset_for_timestamp(NOW, 2)):
            with pytest.raises(KafkaError) as caught:
                look()
            assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert [error.errno for error in errors] == [errno.EIO, errno.EIO]


# -- descriptors -------------------------------------------------------------------------------------------------


def test_descriptors_used_up_by_others_give_ours_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pykbroker.storage.log_segment import LogSegment

    first, second = (LogSegment(str(tmp_path), base) for base in (0, 1))
    for segment in (first, second):
        segment.create(NOW)
    assert first.file.fd >= 0
    real, left = os.open, [OSError(errno.EMFILE, "Too many open files")]

    def scarce(*arguments: Any, **others: Any) -> int:
        if left:
            raise left.pop()
        return real(*arguments, **others)

    monkeypatch.setattr(os, "open", scarce)
    assert second.file.fd >= 0
    assert first.held is None


def test_files_not_used_lately_are_closed(tmp_path: Path) -> None:
    class Holder:
        held = None

    files = OpenFiles(3)
    paths = [tmp_path / str(number) for number in range(5)]
    holders = [Holder() for _ in paths]
    for path in paths:
        path.write_bytes(b"")
    for number in (0, 1, 2):
        files.open(holders[number], str(paths[number])).used = False
    used = holders[0].held
    assert used is not None
    used.used = True
    files.open(holders[3], str(paths[3]))
    assert [holder.held is not None for holder in holders] == [True, False, True, True, False]
    del holders[3]
    assert len(files) == 2
    assert files.close_all()
    assert not files.close_all()


def test_thousands_of_written_partitions_need_few_descriptors(
    tmp_path: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPEN_FILES, "limit", 20)
    OPEN_FILES.close_all()
    manager = LogManager([tmp_path], LogConfig(), clock=lambda: NOW)
    manager.open()
    written = [manager.get_or_create(TopicPartition("t", number), ID, LogConfig()) for number in range(50)]
    for log in written * 2:
        append(log, b"v")
    assert len(OPEN_FILES) == 20
    assert {log.log_end_offset for log in written} == {2}
    manager.close(sync=False)
    assert len(OPEN_FILES) == 0


# -- directories -------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> LogManager:
    made = LogManager([tmp_path / "x", tmp_path / "y"], LogConfig(), clock=lambda: NOW)
    made.open()
    return made


def test_a_directory_goes_offline_alone(two: LogManager, tmp_path: Path, disk: Any, append: Append) -> None:
    a, b = (two.get_or_create(tp, ID, LogConfig()) for tp in (A, B))
    append(a, b"1")
    append(b, b"1")
    woken: list[int] = []
    two.on_failure = lambda: woken.append(1)
    with disk.failing("pwrite", errno.EIO, tmp_path / "x"):
        refused(append, a)
        assert woken
        (offline,) = two.take_failures()
        assert (offline.path, offline.partitions) == (str(tmp_path / "x"), [A])
        assert (two.get(A), two.is_offline(A), two.all_offline) == (None, True, False)
        append(b, b"2")
        for tp, is_new in ((A, True), (A, False), (C, False)):
            with pytest.raises(KafkaError) as caught:
                two.get_or_create(tp, ID, LogConfig(), is_new=is_new)
            assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        assert two.get_or_create(C, ID, LogConfig()).directory.startswith(str(tmp_path / "y"))
        two.checkpoint_logs()
        assert two.close({A: 1, B: 2}) == {}
    assert not (tmp_path / "x" / ".kafka_cleanshutdown").exists()
    assert (tmp_path / "y" / ".kafka_cleanshutdown").exists()
    again = LogManager([tmp_path / "x", tmp_path / "y"], LogConfig())
    again.open()
    assert {log.topic_partition: log.log_end_offset for log in again} == {A: 1, B: 2, C: 0}
    again.unlock()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_checkpoint_that_fails_is_its_directorys_alone(
    two: LogManager, tmp_path: Path, disk: Any, append: Append, code: int
) -> None:
    for tp in (A, B):
        append(two.get_or_create(tp, ID, LogConfig()), b"v")
    with disk.failing("pwrite", code, tmp_path / "x", "replication-offset-checkpoint.tmp"):
        if code == errno.ENOSPC:
            with pytest.raises(OSError, match="No space"):
                two.checkpoint_high_watermarks({A: 1, B: 1})
        else:
            two.checkpoint_high_watermarks({A: 1, B: 1})
    assert two.failed is (code == errno.EIO)
    assert "b 0 1" in (tmp_path / "y" / "replication-offset-checkpoint").read_text()
    two.take_failures()
    two.checkpoint_high_watermarks({A: 1, B: 1})
    assert (tmp_path / "x" / "replication-offset-checkpoint").exists() is (code == errno.ENOSPC)
    two.unlock()


def test_a_log_that_cannot_be_closed_leaves_no_clean_mark(
    two: LogManager, tmp_path: Path, disk: Any, append: Append
) -> None:
    for tp in (A, B):
        append(two.get_or_create(tp, ID, LogConfig()), b"v")
    with disk.failing("open", errno.ENOSPC, tmp_path / "x", ".snapshot.tmp"):
        assert list(two.close({})) == [str(tmp_path / "x")]
    assert not (tmp_path / "x" / ".kafka_cleanshutdown").exists()
    assert (tmp_path / "y" / ".kafka_cleanshutdown").exists()


def test_a_directory_that_cannot_be_read_at_the_start_is_left_out(
    two: LogManager, tmp_path: Path, disk: Any, append: Append
) -> None:
    for tp in (A, B):
        append(two.get_or_create(tp, ID, LogConfig()), b"v")
    two.unlock()
    again = LogManager([tmp_path / "x", tmp_path / "y"], LogConfig())
    with disk.failing("pread", errno.EIO, tmp_path / "x", ".log"):
        again.open()
    assert [offline.path for offline in again.take_failures()] == [str(tmp_path / "x")]
    assert [log.topic_partition for log in again] == [B]
    again.unlock()
