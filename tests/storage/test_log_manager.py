import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log_manager import (
    DataDirectoryError,
    InconsistentDirectory,
    LockedDirectory,
    LogManager,
)

NOW = 1_700_000_000_000
ID = UUID(int=77)
A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b-c.d", 0)
Append = Callable[..., Any]


def manager(*directories: Path) -> LogManager:
    return LogManager(directories, LogConfig(), clock=lambda: NOW)


@pytest.fixture
def opened(tmp_path: Path) -> LogManager:
    made = manager(tmp_path)
    made.open()
    return made


def lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines()[2:])


def test_a_cut_below_the_recovery_point_is_noted_at_once(opened: LogManager, tmp_path: Path, append: Append) -> None:
    log = opened.get_or_create(A0, ID, LogConfig())
    for _ in range(3):
        append(log, b"x")
    log.flush(NOW)
    opened.checkpoint_logs()
    log.truncate_to(2)
    opened.checkpoint_cut(log)
    path = tmp_path / "recovery-point-offset-checkpoint"
    assert lines(path) == ["a 0 2"]
    before = path.stat().st_ino
    append(log, b"y")
    log.truncate_to(2)
    opened.checkpoint_cut(log)
    assert path.stat().st_ino == before
    opened.close()


# -- whose directories -------------------------------------------------------------------------------------------


def test_identity(tmp_path: Path) -> None:
    made = manager(tmp_path / "new" / "x", tmp_path / "y")
    made.lock()
    assert made.identity() is None
    made.write_identity(3, "cluster")
    meta = made.identity()
    assert meta is not None
    assert (meta.broker_id, meta.cluster_id) == (3, "cluster")
    made.write_identity(3, "cluster")
    for broker_id, cluster_id, word in ((4, "cluster", "broker.id=3"), (3, "other", "cluster.id=cluster")):
        with pytest.raises(InconsistentDirectory, match=word):
            made.write_identity(broker_id, cluster_id)


def test_directories_that_contradict(tmp_path: Path) -> None:
    for place, name in enumerate(("x", "y")):
        made = manager(tmp_path / name)
        made.lock()
        made.write_identity(place, "cluster")
        made.unlock()
    with pytest.raises(InconsistentDirectory, match=r"broker\.id=1"):
        manager(tmp_path / "x", tmp_path / "y").identity()


def test_a_broken_meta_properties(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text("version=8\n")
    with pytest.raises(InconsistentDirectory, match=str(tmp_path)):
        manager(tmp_path).identity()


def test_two_brokers_of_one_process(opened: LogManager, tmp_path: Path) -> None:
    with pytest.raises(LockedDirectory, match=str(tmp_path)):
        manager(tmp_path).open()
    opened.close()
    again = manager(tmp_path)
    again.open()
    again.unlock()


def _lock(path: str, answer: Any) -> None:
    try:
        manager(Path(path)).lock()
        answer.put("locked")
    except LockedDirectory:
        answer.put("refused")


@pytest.mark.slow
def test_two_processes(opened: LogManager, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_lock, args=(str(tmp_path), answer))
    process.start()
    assert answer.get(timeout=20) == "refused"
    process.join()
    answer.close()
    answer.join_thread()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="Cannot use the data directory"):
        manager(tmp_path / "ok", tmp_path / "file" / "x").lock()
    manager(tmp_path / "ok").lock()  # the lock on the first one was given back


# -- logs --------------------------------------------------------------------------------------------------------


def test_create_append_close_open(opened: LogManager, tmp_path: Path, append: Append, read_all: Append) -> None:
    for topic_partition in (A0, A1, B0):
        log = opened.get_or_create(topic_partition, ID, LogConfig())
        append(log, str(topic_partition).encode())
    assert opened.get_or_create(A0, ID, LogConfig()) is opened.get(A0)
    assert len(opened) == 3
    opened.close({A0: 1, A1: 1, B0: 0})
    assert json.loads((tmp_path / ".kafka_cleanshutdown").read_text()) == {"version": 0, "brokerEpoch": -1}
    assert lines(tmp_path / "recovery-point-offset-checkpoint") == ["a 0 1", "a 1 1", "b-c.d 0 1"]
    assert lines(tmp_path / "replication-offset-checkpoint") == ["a 0 1", "a 1 1", "b-c.d 0 0"]
    again = manager(tmp_path)
    asked: list[str] = []
    configs = {"a": LogConfig(segment_bytes=5), "b-c.d": LogConfig()}
    again.open(lambda topic: asked.append(topic) or configs[topic])
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    assert sorted(asked) == ["a", "a", "b-c.d"]
    for log in again:
        assert log.topic_id == ID
        assert log.recovery_point == 1
        assert [record.value for record in read_all(log)] == [str(log.topic_partition).encode()]
    found = again.get(A1)
    assert found is not None
    assert found.config.segment_bytes == 5
    assert [again.high_watermark(one) for one in (A0, B0, TopicPartition("x", 0))] == [1, 0, 0]


def test_after_a_crash(opened: LogManager, tmp_path: Path, append: Append, read_all: Append) -> None:
    log = opened.get_or_create(A0, ID, LogConfig())
    append(log, b"flushed")
    log.flush(NOW)
    opened.checkpoint_recovery_points()
    append(log, b"not flushed")
    opened.unlock()
    again = manager(tmp_path)
    again.open()
    log = again.get(A0)
    assert log is not None
    assert log.recovery_point == 1
    assert [record.value for record in read_all(log)] == [b"flushed", b"not flushed"]


def test_another_topic_of_the_name(opened: LogManager) -> None:
    opened.get_or_create(A0, ID, LogConfig())
    with pytest.raises(KafkaError) as caught:
        opened.get_or_create(A0, UUID(int=78), LogConfig())
    assert caught.value.code is ErrorCode.INCONSISTENT_TOPIC_ID


def test_a_partition_that_cannot_be_made(opened: LogManager, tmp_path: Path) -> None:
    (tmp_path / "a-0").mkdir()
    with pytest.raises(KafkaError) as caught:
        opened.get_or_create(A0, ID, LogConfig())
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR


def test_deletion_leaves_nothing_behind(opened: LogManager, tmp_path: Path, append: Append) -> None:
    log = opened.get_or_create(A0, ID, LogConfig())
    opened.get_or_create(A1, ID, LogConfig())
    append(log, b"x")
    log.raise_log_start(1)
    opened.checkpoint_high_watermarks({A0: 1, A1: 0})
    opened.checkpoint_logs()
    assert lines(tmp_path / "log-start-offset-checkpoint") == ["a 0 1"]
    opened.delete(A0)
    opened.delete(A0)
    assert opened.get(A0) is None
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a-1"]
    for name in ("log-start-offset", "replication-offset", "recovery-point-offset"):
        assert "a 0" not in (tmp_path / f"{name}-checkpoint").read_text()
    again = opened.get_or_create(A0, UUID(int=5), LogConfig())
    assert again.log_end_offset == 0
    assert opened.high_watermark(A0) == 0


def test_a_deletion_that_was_interrupted_is_finished_at_the_start(opened: LogManager, tmp_path: Path) -> None:
    opened.get_or_create(TopicPartition("t" * 249, 12), ID, LogConfig())
    assert opened.detach(TopicPartition("t" * 249, 12)) is not None
    (left,) = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert len(left) == 255
    assert left.endswith("-delete")
    opened.close()
    again = manager(tmp_path)
    again.open()
    assert len(again) == 0
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    hexadecimal = "0" * 32
    for name in ("lost+found", "a-x", f"a-0.{hexadecimal}-future", f"a-0.{hexadecimal}-stray", "-0"):
        (tmp_path / name).mkdir()
    made = manager(tmp_path)
    made.open()
    assert len(made) == 0
    assert (tmp_path / "lost+found").exists()


def test_a_topic_with_dashes_and_digits(tmp_path: Path, opened: LogManager) -> None:
    tricky = TopicPartition("a-1-delete", 3)
    opened.get_or_create(tricky, ID, LogConfig())
    opened.close()
    again = manager(tmp_path)
    again.open()
    assert again.get(tricky) is not None


def test_several_directories(tmp_path: Path, append: Append) -> None:
    made = manager(tmp_path / "x", tmp_path / "y")
    made.open()
    for partition in range(5):
        append(made.get_or_create(TopicPartition("t", partition), ID, LogConfig()), b"v")
    counts = [len(list((tmp_path / name).glob("t-*"))) for name in "xy"]
    assert counts == [3, 2]
    made.close({TopicPartition("t", partition): 1 for partition in range(5)})
    assert [len(lines(tmp_path / name / "replication-offset-checkpoint")) for name in "xy"] == counts
    again = manager(tmp_path / "y", tmp_path / "x")
    again.open()
    assert len(again) == 5
    again.unlock()
    os.rename(tmp_path / "x" / "t-0", tmp_path / "y" / "t-0")
    (tmp_path / "x" / "t-0").mkdir()
    with pytest.raises(InconsistentDirectory, match="t-0"):
        manager(tmp_path / "x", tmp_path / "y").open()


# -- checkpoints -------------------------------------------------------------------------------------------------


def test_broken_checkpoints(tmp_path: Path, opened: LogManager, append: Append) -> None:
    append(opened.get_or_create(A0, ID, LogConfig()), b"x")
    opened.close({A0: 1})
    for name in ("recovery-point-offset-checkpoint", "log-start-offset-checkpoint"):
        (tmp_path / name).write_text("0\n7\n")
    made = manager(tmp_path)
    made.open()
    assert made.get(A0) is not None
    made.unlock()
    (tmp_path / "replication-offset-checkpoint").write_text("nonsense")
    with pytest.raises(DataDirectoryError, match="replication-offset-checkpoint"):
        manager(tmp_path).open()


def test_high_watermarks_stay_within_the_log(tmp_path: Path, opened: LogManager, append: Append) -> None:
    log = opened.get_or_create(A0, ID, LogConfig())
    append(log, b"1", b"2")
    opened.checkpoint_high_watermarks({A0: 99})
    assert opened.high_watermark(A0) == 2
    opened.checkpoint_high_watermarks({A0: 0})
    log.raise_log_start(1)
    assert opened.high_watermark(A0) == 1


def test_flushing_what_is_due(opened: LogManager, append: Append) -> None:
    rolled = opened.get_or_create(A0, ID, LogConfig())
    opened.get_or_create(A1, ID, LogConfig())
    append(rolled, b"x")
    assert opened.flush_dirty(NOW) == 0
    rolled.roll(NOW)
    assert opened.flush_dirty(NOW) == 1
    assert rolled.recovery_point == 1
    assert opened.flush_dirty(NOW) == 0


def test_producers_expire(opened: LogManager, append: Append) -> None:
    log = opened.get_or_create(A0, ID, LogConfig())
    append(log, b"x", producer_id=5, producer_epoch=0, base_sequence=0)
    opened.expire_producers(NOW + 999, 1000)
    assert len(log.active_producers()) == 1
    opened.expire_producers(NOW + 1000, 1000)
    assert log.active_producers() == []


def test_an_end_without_a_sync_leaves_no_mark(opened: LogManager, tmp_path: Path, append: Append) -> None:
    append(opened.get_or_create(A0, ID, LogConfig()), b"x")
    opened.close(sync=False)
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    manager(tmp_path).lock()


def test_no_log_is_made_in_a_cordoned_directory(tmp_path: Path) -> None:
    made = manager(tmp_path / "x", tmp_path / "y")
    made.open()
    made.cordoned = (str(tmp_path / "x"),)
    logs = [made.get_or_create(tp, ID, LogConfig()) for tp in (A0, A1)]
    assert {os.path.dirname(log.directory) for log in logs} == {str(tmp_path / "y")}
    assert {path: len(found or ()) for path, found in made.directories().items()} == {
        str(tmp_path / "x"): 0,
        str(tmp_path / "y"): 2,
    }
    made.cordoned = (str(tmp_path / "x"), str(tmp_path / "y"))
    with pytest.raises(KafkaError) as caught:
        made.get_or_create(B0, ID, LogConfig())
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    made.close(sync=False)
