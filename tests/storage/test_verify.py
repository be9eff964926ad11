"""Each thing that can be wrong in a data directory is found, with its file and its byte."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import AppendOrigin
from pykbroker.storage.log_manager import LogManager
from pykbroker.storage.verify import Finding, is_in_use, verify_directories

NOW = 1_700_000_000_000
TP = TopicPartition("t", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with one partition of three segments: batches of five records each, an aborted transaction."""
    folder = tmp_path / "data"
    manager = open_manager(folder)
    manager.write_identity(1, "cluster")
    log = manager.get_or_create(TP, UUID(int=5), manager.default_config)
    for number in range(30):
        batch = build_batch([(b"k", b"v" * 50)] * 5, timestamp=NOW + number)
        log.append_as_leader(batch, number // 20, NOW)
    transaction: dict[str, Any] = {"producer_id": 9, "producer_epoch": 0, "base_sequence": 0, "transactional": True}
    log.append_as_leader(build_batch([(None, b"x")], timestamp=NOW + 30, **transaction), 1, NOW)
    log.append_as_leader(build_marker(ControlType.ABORT, 9, 0, 0, NOW + 31), 1, NOW, origin=AppendOrigin.COORDINATOR)
    manager.close({TP: log.log_end_offset})
    return folder


def open_manager(folder: Path) -> LogManager:
    manager = LogManager([folder], LogConfig(segment_bytes=5000, index_interval_bytes=500), clock=lambda: NOW)
    manager.open()
    return manager


def findings(*folders: Path, deep: bool = False) -> list[Finding]:
    return list(verify_directories([str(folder) for folder in folders], deep=deep))


def segment(data: Path, place: int, suffix: str) -> Path:
    return sorted((data / "t-0").glob(f"*.{suffix}"))[place]


def patch(path: Path, position: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(position if position >= 0 else os.stat(path).st_size + position)
        file.write(content)


def test_nothing_is_wrong(data: Path) -> None:
    assert len(list((data / "t-0").glob("*.log"))) == 3
    assert findings(data, deep=True) == []


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "file", "position", "words"),
    [
        (lambda d: patch(segment(d, 0, "log"), 100, b"\xff"), "00.log", 0, "stored crc"),
        (lambda d: patch(segment(d, 1, "log"), 8, b"\xff\xff"), ".log", 0, "batch length"),
        (lambda d: patch(segment(d, 1, "log"), 7, b"\x01"), ".log", 0, "offset 1 where"),
        (lambda d: os.truncate(segment(d, 2, "log"), 400), ".log", None, "bytes that are no whole batch"),
        (lambda d: patch(segment(d, 0, "index"), 15, b"\x01"), "00.index", 8, "no batch begins at position"),
        (lambda d: patch(segment(d, 0, "index"), 11, b"\x00"), "00.index", 8, "not ascending"),
        (lambda d: patch(segment(d, 0, "index"), -4, b"\x7f"), "00.index", None, "not within the log"),
        (lambda d: os.truncate(segment(d, 0, "index"), 13), "00.index", None, "13 bytes, no multiple of 8"),
        (lambda d: os.truncate(segment(d, 0, "index"), 800), "00.index", None, "bytes of zeros at the end"),
        (lambda d: segment(d, 0, "index").unlink(), "00.index", None, "is missing"),
        (lambda d: patch(segment(d, 0, "timeindex"), 7, b"\xff"), "00.timeindex", 0, "has the timestamp"),
        (lambda d: patch(segment(d, 0, "timeindex"), 7, b"\x00"), "00.timeindex", 0, "is said to be the largest"),
        (lambda d: patch(segment(d, 0, "timeindex"), 18, b"\x00"), "00.timeindex", 12, "not ascending"),
        (lambda d: patch(segment(d, 0, "timeindex"), -4, b"\x70"), "00.timeindex", None, "is not in the segment"),
        (lambda d: os.truncate(segment(d, 0, "timeindex"), 12), "00.timeindex", None, "lacks the segment's largest"),
        (lambda d: patch(segment(d, 0, "txnindex"), 9, b"\x08"), ".txnindex", 0, "no abort marker of producer 8"),
        (lambda d: os.truncate(segment(d, 0, "txnindex"), 33), ".txnindex", None, "33 bytes, no multiple of 34"),
        (lambda d: segment(d, 0, "txnindex").unlink(), ".log", None, "the aborted transaction of producer 9"),
        (lambda d: patch(segment(d, -1, "snapshot"), 20, b"\xff"), ".snapshot", None, "checksum"),
        (lambda d: (d / "t-0" / ("9" * 20 + ".snapshot")).write_bytes(b""), "9.snapshot", None, "is of offset"),
        (lambda d: (d / "t-0" / "leader-epoch-checkpoint").write_text("0\n1\n0 0\n"), ".log", None, "leader epoch 1"),
        (lambda d: (d / "t-0" / "leader-epoch-checkpoint").write_text("0\n2\n0 0\n"), "checkpoint", None, "promises 2"),
        (lambda d: (d / "t-0" / "partition.metadata").write_text("topic_id: ?"), ".metadata", None, "no topic id"),
        (lambda d: (d / "t-0" / ("0" * 20 + ".log.swap")).touch(), ".swap", None, "did not finish"),
        (lambda d: (d / "meta.properties").write_text("version=7\n"), "meta.properties", None, "version 7"),
        (lambda d: (d / "meta.properties").unlink(), "meta.properties", None, "is missing"),
        (lambda d: (d / "meta.properties").write_text("version=0\nbroker.id=1\n"), "properties", None, "no cluster"),
        (lambda d: checkpoint(d, "recovery-point"), "recovery-point-offset-checkpoint", None, "its log ends at 152"),
        (lambda d: checkpoint(d, "log-start"), "log-start-offset-checkpoint", None, "its log ends at 152"),
        (lambda d: checkpoint(d, "replication"), "replication-offset-checkpoint", None, "its log ends at 152"),
        (lambda d: checkpoint(d, "replication", "-1"), "replication-offset-checkpoint", None, "the offset -1"),
        (lambda d: checkpoint(d, "recovery-point", "x"), "recovery-point-offset-checkpoint", None, "the line"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(data: Path, damage: Damage, file: str, position: int | None, words: str) -> None:
    damage(data)
    found = [finding for finding in findings(data) if words in finding.message]
    assert found, findings(data)
    assert found[0].path.endswith(file)
    assert position is None or found[0].position == position
    assert not found[0].mends


def checkpoint(data: Path, name: str, offset: str = "999") -> None:
    (data / f"{name}-offset-checkpoint").write_text(f"0\n1\nt 0 {offset}\n")


def test_a_torn_tail_after_a_crash_is_repaired_by_the_next_start(data: Path) -> None:
    (data / ".kafka_cleanshutdown").unlink()
    last = segment(data, 2, "log")
    os.truncate(last, 400)
    found = findings(data)
    assert found[0].path == str(last)
    assert [finding for finding in found if not finding.mends] == []
    assert "the next start repairs this" in str(found[0])
    manager = open_manager(data)
    end = next(iter(manager)).log_end_offset
    manager.close({TP: end})
    assert findings(data) == []


def test_preallocated_indexes_after_a_crash(data: Path) -> None:
    for suffix in ("index", "timeindex"):
        os.truncate(segment(data, 2, suffix), 24_000)
    assert len(findings(data)) == 2
    (data / ".kafka_cleanshutdown").unlink()
    assert findings(data) == []


def test_records_that_contradict_their_header(data: Path) -> None:
    batch = bytearray(build_batch([(None, b"x")] * 2, timestamp=NOW, base_offset=152))
    batch[60] = 1
    from pykbroker.protocol.records.checksum import crc32c

    batch[17:21] = crc32c(batch[21:]).to_bytes(4, "big")
    with open(segment(data, 2, "log"), "ab") as file:
        file.write(batch)
    assert not any("after the last record" in finding.message for finding in findings(data))
    assert any("after the last record" in finding.message for finding in findings(data, deep=True))


def test_directories_that_contradict_each_other(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "t-0").mkdir(parents=True)
    (other / "t-0" / "partition.metadata").write_text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABg")
    (other / "meta.properties").write_text("version=0\nbroker.id=2\ncluster.id=cluster\n")
    messages = [finding.message for finding in findings(data, other)]
    assert messages[0].startswith("names another broker")
    assert messages[1].startswith("the partition is also in")
    assert messages[2].startswith("has another topic id")


def test_a_directory_in_use(data: Path) -> None:
    assert not is_in_use(str(data))
    manager = open_manager(data)
    assert is_in_use(str(data))
    manager.close()
    assert not is_in_use(str(data))
