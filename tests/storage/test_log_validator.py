from typing import Any

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import RecordBatch, batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import build_message_set, encode_message
from pykbroker.protocol.records.record import Record
from pykbroker.storage.log_validator import InvalidRecords, Validated, give_place, validate
from pykbroker.storage.producer_state import AppendOrigin

NOW = 1_700_000_000_000


def check(data: Any, version: int = 9, origin: AppendOrigin = AppendOrigin.CLIENT, **config: Any) -> Validated:
    return validate(data, LogConfig(**config), origin, NOW, version)


def refusal(data: Any, version: int = 9, **config: Any) -> ErrorCode:
    with pytest.raises(KafkaError) as caught:
        check(data, version, **config)
    return caught.value.code


def stored(validated: Validated, base_offset: int = 100, epoch: int = 3) -> RecordBatch:
    (batch,) = batches(give_place(validated, base_offset, epoch))
    batch.check_crc()
    header = validated.batch
    assert (header.base_offset, header.last_offset, header.leader_epoch) == (
        batch.base_offset,
        batch.last_offset,
        batch.leader_epoch,
    )
    assert (batch.base_offset, batch.leader_epoch) == (base_offset, epoch)
    return batch


def changed(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    """The batch with bytes replaced and the checksum put right."""
    from pykbroker.protocol.records.checksum import crc32c

    mutable = bytearray(data)
    for place, new in changes:
        mutable[place : place + len(new)] = new
    mutable[17:21] = crc32c(memoryview(mutable)[21:]).to_bytes(4, "big")
    return bytes(mutable)


GOOD = build_batch([(b"k", b"v"), (None, b"w")], timestamp=NOW)


def test_a_good_batch_is_kept_as_it_came() -> None:
    validated = check(GOOD)
    assert validated.data is GOOD
    assert bytes(give_place(validated, 0, -1)) == GOOD
    assert [record.value for record in stored(check(GOOD)).records()] == [b"v", b"w"]


@pytest.mark.parametrize("epoch", [-1, 0, 77])
def test_any_leader_epoch_of_a_client_is_accepted(epoch: int) -> None:
    check(build_batch([(None, b"v")], leader_epoch=epoch, timestamp=NOW))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.INVALID_RECORD),
        (GOOD[:16], ErrorCode.CORRUPT_MESSAGE),
        (GOOD[:60], ErrorCode.CORRUPT_MESSAGE),
        (GOOD[:-1], ErrorCode.CORRUPT_MESSAGE),
        (GOOD[:-1] + b"?", ErrorCode.CORRUPT_MESSAGE),
        (GOOD + GOOD, ErrorCode.INVALID_RECORD),
        (changed(GOOD, (0, (1).to_bytes(8, "big"))), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (57, bytes(4))), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (57, b"\0\0\0\3")), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (23, b"\xff\xff\xff\xff")), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (21, b"\0\x20")), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (21, b"\0\x10")), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (21, b"\0\x08")), ErrorCode.INVALID_TIMESTAMP),
        (changed(GOOD, (21, b"\0\5")), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (changed(GOOD, (43, (5).to_bytes(8, "big"))), ErrorCode.INVALID_RECORD),
        (changed(GOOD, (8, b"\xff\xff\xff\xff")), ErrorCode.CORRUPT_MESSAGE),
        (changed(GOOD, (16, b"\3")), ErrorCode.INVALID_RECORD),
    ],
)
def test_refusals(data: bytes, code: ErrorCode) -> None:
    assert refusal(data) is code


def test_size() -> None:
    check(GOOD, max_message_bytes=len(GOOD))
    assert refusal(GOOD, max_message_bytes=len(GOOD) - 1) is ErrorCode.MESSAGE_TOO_LARGE


def test_zstd_is_for_produce_7_and_later() -> None:
    data = build_batch([(None, b"v")], compression=Compression.ZSTD, timestamp=NOW)
    check(data, 7)
    assert refusal(data, 6) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


@pytest.mark.parametrize("codec", list(Compression))
@pytest.mark.parametrize("time_type", ["CreateTime", "LogAppendTime"])
def test_compacted_topics_want_keys(codec: Compression, time_type: str) -> None:
    config = {"cleanup_policy": ("compact",), "message_timestamp_type": time_type}
    good = build_batch([(b"k", b"v"), (b"", None)], compression=codec, timestamp=NOW)
    check(good, **config)
    bad = build_batch([(b"k", b"v"), (None, b"v"), (None, b"v")], compression=codec, timestamp=NOW)
    with pytest.raises(InvalidRecords) as caught:
        check(bad, **config)
    assert caught.value.code is ErrorCode.INVALID_RECORD
    assert [place for place, _ in caught.value.record_errors] == [1, 2]
    check(bad, origin=AppendOrigin.COORDINATOR, **config)


def test_timestamps_in_bounds() -> None:
    def data(*timestamps: int) -> bytes:
        return build_batch([Record(place, time, None, b"") for place, time in enumerate(timestamps)])

    hour = 3_600_000
    check(data(0, -1, NOW + hour))  # Kafka's default: an hour ahead, any time back
    with pytest.raises(InvalidRecords) as caught:
        check(data(NOW, NOW + hour + 1))
    assert caught.value.code is ErrorCode.INVALID_TIMESTAMP
    assert [place for place, _ in caught.value.record_errors] == [1]
    check(data(NOW - 50, -1), message_timestamp_before_max_ms=50)
    assert refusal(data(NOW, NOW - 51), message_timestamp_before_max_ms=50) is ErrorCode.INVALID_TIMESTAMP
    assert refusal(data(NOW + 51), message_timestamp_difference_max_ms=50) is ErrorCode.INVALID_TIMESTAMP
    check(data(NOW + hour * 99), message_timestamp_type="LogAppendTime")


@pytest.mark.parametrize("codec", list(Compression))
def test_log_append_time(codec: Compression) -> None:
    data = bytearray(build_batch([(None, b"a"), (None, b"b")], timestamp=5, compression=codec))
    validated = check(data, message_timestamp_type="LogAppendTime")
    assert validated.data is data
    assert validated.log_append_time == NOW
    assert [record.timestamp for record in stored(validated).records()] == [NOW, NOW]


@pytest.mark.parametrize("wanted", ["uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"])
@pytest.mark.parametrize("codec", list(Compression))
def test_compression_type(codec: Compression, wanted: str) -> None:
    records = [Record(place, NOW - place, b"k", b"v" * 50, (("h", b"x"),)) for place in range(4)]
    data = build_batch(records, compression=codec, producer_id=5, producer_epoch=1, base_sequence=7, transactional=True)
    batch = stored(check(data, compression_type=wanted))
    names = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "producer": codec}
    assert batch.compression == names[wanted]
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence) == (5, 1, 7, 10)
    assert batch.is_transactional
    assert [record._replace(offset=record.offset - 100) for record in batch.records()] == records


def test_lz4_frames_whose_blocks_depend_on_each_other() -> None:
    """Java's consumers fail over them, so Kafka does at once."""
    data = build_batch([(None, b"v" * 99)], compression=Compression.LZ4)
    assert data[61:65] == bytes.fromhex("04224d18")
    assert refusal(changed(data, (65, bytes([data[65] & ~0x20])))) is ErrorCode.UNKNOWN_SERVER_ERROR


def test_recompression_checks_what_it_opens() -> None:
    body_count_wrong = changed(GOOD, (23, b"\0\0\0\2"), (57, b"\0\0\0\3"))
    assert refusal(body_count_wrong, compression_type="gzip") is ErrorCode.INVALID_RECORD
    garbage = changed(build_batch([(None, b"v" * 99)], compression=Compression.GZIP), (65, b"garbage"))
    assert refusal(garbage, compression_type="zstd") is ErrorCode.CORRUPT_MESSAGE
    big = build_batch([(None, b"v" * 5000)], compression=Compression.GZIP, timestamp=NOW)
    assert refusal(big, compression_type="uncompressed", max_message_bytes=1000) is ErrorCode.MESSAGE_TOO_LARGE


# -- message formats 0 and 1 -------------------------------------------------------------------------------------

OLD = [Record(9, NOW, b"k", b"v"), Record(9, NOW + 1, None, b"w")]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Compression.NONE, Compression.GZIP, Compression.SNAPPY, Compression.LZ4])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_formats_become_one_batch(magic: int, codec: Compression, version: int) -> None:
    batch = stored(check(build_message_set(OLD, magic, codec), version))
    assert (batch.magic, batch.count, batch.compression) == (2, 2, codec)
    times = [NOW, NOW + 1] if magic else [-1, -1]
    assert list(batch.records()) == [Record(100, times[0], b"k", b"v"), Record(101, times[1], None, b"w")]


def test_old_formats_on_special_topics() -> None:
    data = build_message_set(OLD, 1)
    validated = check(data, 2, message_timestamp_type="LogAppendTime")
    assert validated.log_append_time == NOW
    assert {record.timestamp for record in stored(validated).records()} == {NOW}
    assert stored(check(data, 2, compression_type="zstd")).compression == Compression.ZSTD
    assert refusal(data, 2, cleanup_policy=("compact",)) is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize(
    ("data", "version", "code"),
    [
        (build_message_set(OLD, 1), 3, ErrorCode.INVALID_RECORD),
        (build_message_set(OLD, 1)[:-1], 2, ErrorCode.CORRUPT_MESSAGE),
        (build_message_set(OLD, 1)[:-1] + b"?", 2, ErrorCode.CORRUPT_MESSAGE),
        (encode_message(1, 0, NOW, None, b"v", 0x08), 2, ErrorCode.INVALID_TIMESTAMP),
        (encode_message(1, 0, NOW, None, b"v", 0x04), 2, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (encode_message(1, 0, NOW + 9**9, None, b"v"), 2, ErrorCode.INVALID_TIMESTAMP),
        (build_message_set(OLD, 1) + GOOD, 2, ErrorCode.INVALID_RECORD),
        (changed(GOOD, (16, b"\3")), 2, ErrorCode.CORRUPT_MESSAGE),
    ],
)
def test_refusals_of_old_formats(data: bytes, version: int, code: ErrorCode) -> None:
    assert refusal(data, version) is code


def test_old_messages_have_the_same_bound() -> None:
    data = encode_message(1, 0, NOW, None, b"v" * 100)
    assert refusal(data, 2, max_message_bytes=120) is ErrorCode.MESSAGE_TOO_LARGE


def test_every_changed_byte_is_refused() -> None:
    for place in range(len(GOOD)):
        bad = bytearray(GOOD)
        bad[place] ^= 0x21
        if place in range(12, 16):
            check(bad)  # the leader epoch is the leader's
        else:
            with pytest.raises(KafkaError):
                check(bad)
