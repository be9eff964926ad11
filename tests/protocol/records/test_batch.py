from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import (
    HEADER_SIZE,
    CorruptBatch,
    RecordBatch,
    assign,
    batches,
    build_batch,
    stamp_log_append_time,
)
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.record import Record

Outcome = Callable[[Callable[[], object]], ErrorCode | None]

VECTOR = bytes.fromhex(
    "0000000000000005 0000003a 00000003 02 bbcc4115 0000 00000000 0000018bcfe56800 0000018bcfe56800"
    "ffffffffffffffff ffff ffffffff 00000001 10 00 00 00 01 04 6869 00".replace(" ", "")
)

REFUSALS = (None, ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_RECORD, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)

optional_bytes = st.none() | st.binary(max_size=50)
pairs = st.lists(st.tuples(optional_bytes, optional_bytes), min_size=1, max_size=8)


def test_vector_is_built() -> None:
    built = build_batch([(None, b"hi")], base_offset=5, leader_epoch=3, timestamp=1_700_000_000_000)
    assert built == VECTOR


def test_vector_is_read() -> None:
    (batch,) = batches(VECTOR)
    batch.check_crc()
    assert (batch.base_offset, batch.last_offset, batch.next_offset, batch.leader_epoch) == (5, 5, 6, 3)
    assert (batch.magic, batch.crc, batch.count, batch.size) == (2, 0xBBCC4115, 1, 70)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence) == (-1, -1, -1, -1)
    assert batch.timestamp_type == "CreateTime"
    assert list(batch.records()) == [Record(5, 1_700_000_000_000, None, b"hi")]


def test_crc_covers_what_follows_it_alone() -> None:
    for position in range(len(VECTOR)):
        if position in range(8, 12) or position == 16:
            continue  # length and magic change what is read at all
        changed = bytearray(VECTOR)
        changed[position] ^= 1
        batch = RecordBatch(memoryview(changed))
        if position < 17:
            batch.check_crc()
        else:
            with pytest.raises(CorruptBatch, match="Record is corrupt"):
                batch.check_crc()


@given(pairs, st.sampled_from(Compression), st.integers(0, 2**40))
def test_pairs_there_and_back(given_pairs: list[tuple[bytes | None, bytes | None]], codec: int, base: int) -> None:
    (batch,) = batches(build_batch(given_pairs, base_offset=base, timestamp=7, compression=codec))
    batch.check_crc()
    assert batch.compression == codec
    assert batch.last_offset == base + len(given_pairs) - 1
    assert list(batch.records()) == [Record(base + n, 7, key, value) for n, (key, value) in enumerate(given_pairs)]


def test_records_keep_offsets_timestamps_and_headers() -> None:
    records = [Record(10, 500, b"a", None, (("h", b"1"), ("h", None))), Record(14, 300, None, b"b")]
    (batch,) = batches(build_batch(records, base_offset=10))
    assert list(batch.records()) == records
    assert (batch.base_timestamp, batch.max_timestamp, batch.last_offset, batch.count) == (500, 500, 14, 2)


def test_producer_fields_and_flags() -> None:
    built = build_batch(
        [(b"k", b"v")] * 3, producer_id=9, producer_epoch=2, base_sequence=2**31 - 2, transactional=True, control=True
    )
    (batch,) = batches(built)
    assert batch.is_transactional
    assert batch.is_control
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (9, 2, 2**31 - 2)
    assert batch.last_sequence == 0  # 0 follows 2³¹-1


def test_empty_batch_as_compaction_leaves_it() -> None:
    (batch,) = batches(build_batch([], base_offset=20, last_offset=25, timestamp=3))
    assert (batch.count, batch.base_offset, batch.last_offset) == (0, 20, 25)
    assert list(batch.records()) == []


def test_assign_needs_no_new_crc() -> None:
    data = bytearray(build_batch([(None, b"v")] * 4))
    assign(data, 1000, 17)
    (batch,) = batches(data)
    batch.check_crc()
    assert (batch.base_offset, batch.last_offset, batch.leader_epoch) == (1000, 1003, 17)


def test_log_append_time_is_stamped_with_a_new_crc() -> None:
    data = bytearray(build_batch([(None, b"v")] * 2, timestamp=5, compression=Compression.GZIP))
    stamp_log_append_time(data, Compression.GZIP, 777)
    (batch,) = batches(data)
    batch.check_crc()
    assert batch.is_log_append_time
    assert [record.timestamp for record in batch.records()] == [777, 777]


def test_several_batches_and_an_incomplete_one() -> None:
    one, two = build_batch([(None, b"1")]), build_batch([(None, b"2")], base_offset=1)
    both = one + two
    for end in range(len(both) + 1):
        found = [batch.base_offset for batch in batches(both[:end])]
        assert found == [0, 1][: (end >= len(one)) + (end == len(both))]


@pytest.mark.parametrize("length", [-1, 0, 13, -(2**31)])
def test_impossible_length(length: int) -> None:
    data = bytearray(VECTOR)
    data[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(CorruptBatch, match="less than the smallest"):
        list(batches(data))


def test_unknown_magic() -> None:
    data = bytearray(VECTOR)
    data[16] = 3
    with pytest.raises(CorruptBatch, match="Unknown magic 3"):
        list(batches(data))


@given(st.binary(max_size=120))
def test_garbage_never_escapes(outcome: Outcome, garbage: bytes) -> None:
    assert outcome(lambda: [list(batch.records()) for batch in batches(garbage)]) in REFUSALS


@given(st.integers(17, 69), st.integers(0, 255))
def test_a_changed_byte_never_escapes(outcome: Outcome, position: int, value: int) -> None:
    data = bytearray(VECTOR)
    data[position] = value
    assert outcome(lambda: [list(batch.records()) for batch in batches(data)]) in REFUSALS


@pytest.mark.parametrize("codec", list(Compression))
def test_the_header_is_read_without_the_records(codec: Compression) -> None:
    whole = build_batch([(b"k", b"v" * 50)] * 3, base_offset=10, timestamp=5, compression=codec)
    unreadable = bytearray(whole)
    unreadable[HEADER_SIZE:] = b"\xff" * (len(whole) - HEADER_SIZE)
    (batch,) = batches(unreadable)
    assert (batch.count, batch.base_offset, batch.last_offset) == (3, 10, 12)
    assert (batch.base_timestamp, batch.max_timestamp, batch.compression) == (5, 5, codec)
    assert batch.computed_crc() != batch.crc
    with pytest.raises(KafkaError):
        list(batch.records())
