import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pykbroker.cli import main
from pykbroker.config.topic import LogConfig
from pykbroker.coordinator.group.records import CommittedOffset, offset_record
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.records.message_set import build_message_set
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import AppendOrigin, UnifiedLog
from pykbroker.storage.log_cleaner import LogCleaner
from pykbroker.storage.log_manager import LogManager

NOW = 1_700_000_000_000
RESOURCE = Path(__file__).parent / "kafka-3.9.1.tar.xz"


def write_codecs(log: UnifiedLog) -> None:
    """Every codec, every shape of record, several segments, two leader epochs."""
    shapes = [Record(0, NOW, None, b"v"), Record(1, NOW + 2, b"k", None), Record(2, NOW + 1, b"", b"", (("h", None),))]
    shapes.append(Record(3, NOW, "ключ".encode(), b"x" * 400, (("a", b"1"), ("ü", b""))))
    for number in range(25):
        batch = build_batch(shapes, compression=number % 5)
        log.append_as_leader(batch, number // 15, NOW)
    old = [Record(place, NOW + place, b"k", b"v" * 50) for place in range(4)]
    for magic in (0, 1):
        for codec in (Compression.NONE, Compression.GZIP, Compression.LZ4):
            for entry in batches(build_at(log, old, magic, codec)):
                log.append_as_follower(entry.view, NOW)


def build_at(log: UnifiedLog, records: list[Record], magic: int, codec: int) -> bytes:
    """A message set of an old format at the log's end, as an old log holds it."""
    end = log.log_end_offset
    placed = [record._replace(offset=end + place) for place, record in enumerate(records)]
    return build_message_set(placed, magic, codec)


def write_transactions(log: UnifiedLog) -> None:
    """Idempotent and transactional batches of two producers, markers of both kinds, one left open."""
    sequences = {7: 0, 8: 0, 9: 0}

    def send(producer: int, *, transactional: bool = True) -> None:
        values = [(None, b"%d-%d" % (producer, sequences[producer])) for _ in range(3)]
        batch = build_batch(
            values,
            timestamp=NOW,
            producer_id=producer,
            producer_epoch=1,
            base_sequence=sequences[producer],
            transactional=transactional,
            compression=Compression.ZSTD,
        )
        sequences[producer] += 3
        log.append_as_leader(batch, 0, NOW)

    def end(producer: int, kind: ControlType) -> None:
        marker = build_marker(kind, producer, 1, 5, NOW)
        log.append_as_leader(marker, 0, NOW, origin=AppendOrigin.COORDINATOR)

    for number in range(12):
        send(7)
        send(8)
        send(9, transactional=False)
        end(7, ControlType.ABORT if number % 2 else ControlType.COMMIT)
        send(8)
        end(8, ControlType.COMMIT if number % 3 else ControlType.ABORT)
    send(7)


def write_compacted(log: UnifiedLog) -> None:
    """Keys that come again in every codec, tombstones, transactions of both endings; cleaned."""
    sequence = 0
    for number in range(60):
        value = None if number % 7 == 0 else b"%d" % number * 30
        pairs = [(b"k%d" % ((number + place) % 9), value) for place in range(3)]
        log.append_as_leader(build_batch(pairs, timestamp=NOW + number, compression=number % 5), 0, NOW)
        if number % 6 == 0:
            batch = build_batch(
                pairs, timestamp=NOW, producer_id=7, producer_epoch=1, base_sequence=sequence, transactional=True
            )
            sequence += 3
            log.append_as_leader(batch, 0, NOW)
            kind = ControlType.ABORT if number % 12 else ControlType.COMMIT
            log.append_as_leader(build_marker(kind, 7, 1, 5, NOW), 0, NOW, origin=AppendOrigin.COORDINATOR)
    log.roll(NOW)
    before = log.size
    assert LogCleaner([log]).run_once(NOW) is not None
    assert log.size < before
    log.append_as_leader(build_batch([(b"k", b"after")], timestamp=NOW + 60), 0, NOW)


def write_offsets(log: UnifiedLog) -> None:
    for number in range(10):
        committed = CommittedOffset(number, 3, "metadata", NOW) if number < 9 else None
        record = offset_record("group", TopicPartition("topic", number % 3), committed)
        batch = build_batch([(record.key, record.value)], timestamp=NOW)
        log.append_as_leader(batch, 0, NOW, origin=AppendOrigin.COORDINATOR)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that this project wrote, after a clean end."""
    folder = tmp_path_factory.mktemp("ours")
    config = LogConfig(segment_bytes=3000, index_interval_bytes=200, compression_type="producer")
    manager = LogManager([folder], config, clock=lambda: NOW)
    manager.write_identity(1, "MkU3OEVBNTcwNTJENDM2Qk")
    manager.open()

    def log(topic: str, config: LogConfig = config) -> UnifiedLog:
        return manager.get_or_create(TopicPartition(topic, 0), None, config)

    write_codecs(log("codecs"))
    write_transactions(log("transactions"))
    write_offsets(log("__consumer_offsets"))
    write_compacted(
        log("compacted", LogConfig(segment_bytes=3000, index_interval_bytes=200, cleanup_policy=["compact"]))
    )
    trimmed = log("trimmed")
    write_transactions(trimmed)
    trimmed.raise_log_start(trimmed.segments[2].base_offset + 1)
    for gone in trimmed.drop_hidden_segments():
        gone.delete()
    manager.close({log.topic_partition: log.log_end_offset for log in manager})
    return folder


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories that Apache Kafka wrote: `killed` and `clean`. See make_kafka_data."""
    folder = tmp_path_factory.mktemp("theirs")
    with tarfile.open(RESOURCE) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `pykbroker` with words; its status, and what it wrote to stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
