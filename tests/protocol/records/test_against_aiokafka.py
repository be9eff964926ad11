"""What another implementation writes is read here, and what is written here is read there."""

from typing import Any

import pytest

from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import build_message_set, check_complete, down_convert
from pykbroker.protocol.records.record import Record

pytest.importorskip("aiokafka", reason="aiokafka isn't installed")

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

RECORDS = [
    Record(0, 1000, b"key", b"value" * 30, (("a", b"1"), ("b", None))),
    Record(1, 900, None, b"", ()),
    Record(2, 5_000_000, b"", None, ()),
    Record(3, 1001, b"k" * 300, b"v" * 3000, ()),
]
OLD = [Record(record.offset, record.timestamp, record.key, record.value or b"x") for record in RECORDS]
LEGACY = [(magic, codec) for magic in (0, 1) for codec in Compression if codec < Compression.LZ4 + magic]
"""aiokafka refuses lz4 in format 0; nobody has zstd in either."""


def theirs(data: bytes) -> list[Record]:
    found: list[Record] = []
    memory = MemoryRecords(data)
    while memory.has_next():
        batch = memory.next_batch()
        assert batch.validate_crc()
        for record in batch:
            timestamp = -1 if record.timestamp is None else record.timestamp
            found.append(
                Record(record.offset, timestamp, record.key, record.value, tuple((k, v) for k, v in record.headers))
            )
    return found


@pytest.mark.parametrize("codec", list(Compression))
def test_batches(codec: Compression) -> None:
    written = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=int(codec),
        is_transactional=1,
        producer_id=7,
        producer_epoch=3,
        base_sequence=11,
        batch_size=1 << 20,
    )
    for record in RECORDS:
        written.append(record.offset, record.timestamp, record.key, record.value, list(record.headers))
    (batch,) = batches(bytes(written.build()))
    batch.check_crc()
    assert list(batch.records()) == RECORDS
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence) == (7, 3, 11, 14)
    assert (batch.is_transactional, batch.compression, batch.max_timestamp) == (True, codec, 5_000_000)
    assert theirs(build_batch(RECORDS, compression=codec)) == RECORDS


@pytest.mark.parametrize(("magic", "codec"), LEGACY)
def test_message_sets(magic: int, codec: Compression) -> None:
    written: Any = LegacyRecordBatchBuilder(magic=magic, compression_type=int(codec), batch_size=1 << 20)
    for record in OLD:
        written.append(record.offset, record.timestamp, record.key, record.value)
    expected = OLD if magic else [record._replace(timestamp=-1) for record in OLD]
    data = bytes(written.build())
    ours = [record for entry in check_complete(data) for record in entry.records()]
    # a producer leaves a wrapper's own offset at 0, from which the inner ones are counted in format 1
    first = ours[0].offset
    assert [record._replace(offset=record.offset - first) for record in ours] == expected
    assert theirs(build_message_set(OLD, magic, codec)) == expected


@pytest.mark.parametrize(("magic", "codec"), LEGACY)
def test_down_converted(magic: int, codec: Compression) -> None:
    moved = [record._replace(offset=record.offset + 500) for record in RECORDS]
    data = down_convert(build_batch(moved, base_offset=500, compression=codec), magic, 0)
    assert theirs(data) == [
        record._replace(headers=(), timestamp=record.timestamp if magic else -1) for record in moved
    ]
