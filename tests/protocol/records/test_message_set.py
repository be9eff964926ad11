import gzip
import struct
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import CorruptBatch, batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.records.message_set import build_message_set, check_complete, down_convert, encode_message
from pykbroker.protocol.records.record import Record

Outcome = Callable[[Callable[[], object]], ErrorCode | None]

LEGACY_CODECS = [Compression.NONE, Compression.GZIP, Compression.SNAPPY, Compression.LZ4]
optional_bytes = st.none() | st.binary(max_size=50)


def records_of(data: bytes) -> list[Record]:
    return [record for entry in check_complete(data) for record in entry.records()]


def test_format_0_bytes() -> None:
    body = b"\0\0" + struct.pack(">i", 1) + b"k" + struct.pack(">i", -1)
    expected = struct.pack(">qiI", 7, 4 + len(body), crc32(body)) + body
    assert encode_message(0, 7, -1, b"k", None) == expected
    assert len(expected) - 12 == 14 + 1
    assert records_of(expected) == [Record(7, -1, b"k", None)]


def test_format_1_has_a_timestamp() -> None:
    message = encode_message(1, 7, 1234, None, b"v")
    assert len(message) - 12 == 22 + 1
    assert records_of(message) == [Record(7, 1234, None, b"v")]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", LEGACY_CODECS)
@given(st.lists(st.tuples(optional_bytes, optional_bytes, st.integers(0, 2**40)), min_size=1, max_size=6))
def test_sets_there_and_back(magic: int, codec: int, triples: list[tuple[bytes | None, bytes | None, int]]) -> None:
    records = [
        Record(100 + 2 * place, timestamp if magic else -1, key, value)
        for place, (key, value, timestamp) in enumerate(triples)
    ]
    assert records_of(build_message_set(records, magic, codec)) == records


def test_wrapper_of_format_1_has_relative_offsets_and_the_last_as_its_own() -> None:
    data = build_message_set([Record(10, 5, None, b"a"), Record(12, 6, None, b"b")], 1, Compression.GZIP)
    (wrapper,) = batches(data)
    assert (wrapper.base_offset, wrapper.max_timestamp, wrapper.count) == (12, 6, -1)


def test_wrapper_stamped_by_a_broker_overrides_timestamps() -> None:
    inner = encode_message(1, 0, 5, None, b"a")
    wrapper = encode_message(1, 3, 99, None, inner, 0x08)
    # a stamped, uncompressed message has its own time
    assert records_of(wrapper)[0].timestamp == 99
    from pykbroker.protocol.records.compression import compress

    stamped = encode_message(1, 3, 99, None, compress(Compression.GZIP, inner), 0x09)
    assert records_of(stamped) == [Record(3, 99, None, b"a")]


def test_crc_is_checked() -> None:
    message = bytearray(encode_message(1, 7, 1234, None, b"v"))
    message[-1] ^= 1
    with pytest.raises(CorruptBatch, match="Record is corrupt"):
        check_complete(message)


@pytest.mark.parametrize("magic", [0, 1])
def test_a_cut_set_is_corrupt(magic: int) -> None:
    message = encode_message(magic, 7, 1234, b"k", b"v")
    for end in range(len(message)):
        with pytest.raises(CorruptBatch):
            check_complete(message[:end])


@pytest.mark.parametrize("magic", [0, 1])
@given(st.data())
def test_changed_bytes_never_escape(outcome: Outcome, magic: int, data: st.DataObject) -> None:
    message = bytearray(
        build_message_set([Record(0, 0, b"k", b"v" * 9)] * 2, magic, data.draw(st.sampled_from([0, 1, 2])))
    )
    message[data.draw(st.integers(17, len(message) - 1))] = data.draw(st.integers(0, 255))
    code = outcome(lambda: [list(entry.records()) for entry in batches(message)])
    assert code in (None, ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_RECORD, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)


def test_nested_wrappers_are_corrupt() -> None:
    inner = build_message_set([Record(0, 0, None, b"x")], 1, Compression.GZIP)
    outer = encode_message(1, 0, 0, None, gzip.compress(inner), 1)
    with pytest.raises(CorruptBatch):
        records_of(outer)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", LEGACY_CODECS)
def test_down_conversion(magic: int, codec: int) -> None:
    records = [Record(offset, 1000 + offset, b"k", b"v%d" % offset, (("h", b""),)) for offset in range(5, 9)]
    stored = build_batch(records, base_offset=5, compression=codec, producer_id=1, producer_epoch=0, base_sequence=0)
    converted = records_of(down_convert(stored, magic, 7))
    first = 5 if codec else 7
    assert converted == [
        Record(record.offset, record.timestamp if magic else -1, record.key, record.value)
        for record in records
        if record.offset >= first
    ]


def test_down_conversion_leaves_out_markers_and_incomplete_batches() -> None:
    data = build_batch([(None, b"a")]) + build_marker(ControlType.COMMIT, 1, 0, 0, 5)
    whole = down_convert(data + build_batch([(None, b"b")], base_offset=2)[:-1], 1, 0)
    assert [record.value for record in records_of(whole)] == [b"a"]


def test_down_conversion_keeps_what_is_old_enough() -> None:
    old = encode_message(0, 0, -1, None, b"old")
    assert down_convert(old, 1, 0) == old


def test_down_conversion_keeps_the_brokers_time() -> None:
    stored = build_batch([(None, b"a")], timestamp=5, log_append_time=77)
    (entry,) = batches(down_convert(stored, 1, 0))
    assert entry.is_log_append_time
    assert entry.max_timestamp == 77


def test_zstd_cannot_be_converted() -> None:
    with pytest.raises(KafkaError) as caught:
        down_convert(build_batch([(None, b"a")], compression=Compression.ZSTD), 1, 0)
    assert caught.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
