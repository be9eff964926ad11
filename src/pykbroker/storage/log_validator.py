"""What a leader accepts from a client, and the batch as it goes into the log.

A batch whose format and codec fit is stored as it came, with offset and epoch written into it; else it is built anew.
It never looks at a log: sequences and epochs are the producer state's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import (
    CONTROL_BIT,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    MAGIC_AT,
    CorruptBatch,
    RecordBatch,
    assign,
    build_batch,
    stamp_log_append_time,
)
from pykbroker.protocol.records.compression import Compression, compression_named
from pykbroker.protocol.records.message_set import check_complete
from pykbroker.protocol.records.record import Record
from pykbroker.storage.producer_state import AppendOrigin

if TYPE_CHECKING:
    from pykbroker.config.topic import LogConfig

Buffer = bytes | bytearray | memoryview

LATEST_PRODUCE = 1 << 15
"""A request version above all others: for callers that aren't Produce."""
_FIRST_PRODUCE_OF_MAGIC_2 = 3
_FIRST_PRODUCE_OF_ZSTD = 7
_LZ4_FRAME = b"\x04\x22\x4d\x18"
_LZ4_INDEPENDENT_BLOCKS = 0x20


class InvalidRecords(KafkaError):
    """Records of a batch that are refused; the whole batch is. `record_errors`: (index in the batch, why)."""

    def __init__(self, code: ErrorCode, message: str, record_errors: list[tuple[int, str]]) -> None:
        super().__init__(code, message)
        self.record_errors = record_errors


@dataclass(slots=True)
class Validated:
    """A batch ready to be given its place: a header over `data`, and the broker's time if it was stamped (else -1)."""

    batch: RecordBatch
    data: Buffer
    log_append_time: int


def validate(
    records: Buffer, config: LogConfig, origin: AppendOrigin, now_ms: int, request_version: int = LATEST_PRODUCE
) -> Validated:
    """Checks what a Produce request (or a coordinator) brings for one partition; offsets are still the producer's.

    Raises KafkaError: CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP,
    UNSUPPORTED_COMPRESSION_TYPE; InvalidRecords where single records are at fault.
    """
    view = memoryview(records)
    if len(view) <= MAGIC_AT:
        if not len(view):
            raise _invalid("Produce requests must have a record batch")
        raise CorruptBatch(f"{len(view)} bytes are too few for a batch")
    if view[MAGIC_AT] != 2:
        return _validate_legacy(view, config, now_ms, request_version)
    batch = RecordBatch(view)
    size = batch.size
    if size > config.max_message_bytes:
        raise _too_large(size, config)
    if size < HEADER_SIZE or size > len(view):
        raise CorruptBatch(f"A batch of {size} bytes in {len(view)}")
    if size < len(view):
        raise _invalid("Produce requests must have exactly one record batch per partition")
    batch.check_crc()
    if origin is AppendOrigin.CLIENT:
        _check_client_batch(batch, request_version)
    codec = compression_named(config.compression_type)
    if codec is not None and codec != batch.compression and not batch.is_control:
        return _rebuild(batch, codec, config, origin, now_ms)
    if config.message_timestamp_type == "LogAppendTime":
        if origin is AppendOrigin.CLIENT and config.compact:
            _check_records(batch, list(batch.records()), config, now_ms, check_time=False)
        return _stamp(batch, records, now_ms)
    if origin is AppendOrigin.CLIENT:
        _check_times_and_keys(batch, config, now_ms)
    return Validated(batch, records, -1)


def give_place(validated: Validated, base_offset: int, leader_epoch: int) -> Buffer:
    """Writes base offset and epoch into the batch, in place where the memory allows it; returns what to store."""
    data = validated.data
    if isinstance(data, bytes) or (isinstance(data, memoryview) and data.readonly):
        data = bytearray(data)
    assign(data, base_offset, leader_epoch)
    batch = validated.batch
    batch.last_offset += base_offset - batch.base_offset
    batch.base_offset = base_offset
    batch.leader_epoch = leader_epoch
    return data


def _check_client_batch(batch: RecordBatch, request_version: int) -> None:
    if batch.base_offset:
        raise _invalid(f"The baseOffset of the record batch should be 0, but it is {batch.base_offset}")
    delta = batch.last_offset
    if batch.count <= 0 or delta < 0 or delta + 1 != batch.count:
        raise _invalid(f"A batch of {batch.count} records has the last offset delta {delta}")
    attributes = batch.attributes
    if attributes & CONTROL_BIT:
        raise _invalid("Clients are not allowed to write control records")
    if attributes & LOG_APPEND_TIME_BIT:
        raise KafkaError(
            ErrorCode.INVALID_TIMESTAMP,
            "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.",
        )
    codec = attributes & 0x07
    if codec >= Compression.ZSTD:
        _check_codec(codec, request_version)
    elif codec == Compression.LZ4:
        _check_lz4_frame(batch.view[HEADER_SIZE : HEADER_SIZE + 5])
    if batch.producer_id >= 0:
        if batch.base_sequence < 0:
            raise _invalid(f"Invalid sequence number {batch.base_sequence} in record batch with producerId")
    elif batch.is_transactional:
        raise _invalid("A transactional batch without a producer id")


def _check_lz4_frame(head: memoryview) -> None:
    """Kafka's readers know no frames whose blocks need those before them, and it fails over one that is produced."""
    if head[:4] == _LZ4_FRAME and not head[4] & _LZ4_INDEPENDENT_BLOCKS:
        raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, "An LZ4 frame whose blocks depend on each other")


def _check_codec(codec: int, request_version: int) -> None:
    if codec > Compression.ZSTD:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"Unknown compression type id {codec}")
    if request_version < _FIRST_PRODUCE_OF_ZSTD:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
            f"Produce requests with version {request_version} are not allowed to use ZStandard compression",
        )


def _time_bounds(config: LogConfig, now_ms: int) -> tuple[int, int]:
    """The oldest and the newest CreateTime allowed; the release before 3.6's one setting bounds both sides."""
    difference = config.message_timestamp_difference_max_ms
    before = min(config.message_timestamp_before_max_ms, difference)
    after = min(config.message_timestamp_after_max_ms, difference)
    return now_ms - before, now_ms + after


def _check_times_and_keys(batch: RecordBatch, config: LogConfig, now_ms: int) -> None:
    """Opens the batch only where its header can't settle the question."""
    oldest, newest = _time_bounds(config, now_ms)
    if config.compact or batch.max_timestamp > newest or (oldest > 0 and batch.max_timestamp >= 0):
        _check_records(batch, list(batch.records()), config, now_ms)


def _check_records(
    batch: RecordBatch, records: list[Record], config: LogConfig, now_ms: int, *, check_time: bool = True
) -> None:
    if batch.magic > 1 and len(records) != batch.count:
        raise _invalid(f"{len(records)} records where the header says {batch.count}")
    if config.compact:
        keyless = [
            (place, "Compacted topic cannot accept message without key")
            for place, record in enumerate(records)
            if record.key is None
        ]
        if keyless:
            raise InvalidRecords(
                ErrorCode.INVALID_RECORD, "One or more records have been rejected due to record errors", keyless
            )
    if not check_time:
        return
    oldest, newest = _time_bounds(config, now_ms)
    late = [
        (
            place,
            f"Timestamp {record.timestamp} of message with offset {record.offset} is out of range. "
            f"The timestamp should be within [{oldest}, {newest}]",
        )
        for place, record in enumerate(records)
        if record.timestamp >= 0 and not oldest <= record.timestamp <= newest
    ]
    if late:
        raise InvalidRecords(
            ErrorCode.INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp", late
        )


def _stamp(batch: RecordBatch, records: Buffer, now_ms: int) -> Validated:
    data = bytearray(records) if isinstance(records, bytes) or memoryview(records).readonly else records
    stamp_log_append_time(data, batch.attributes, now_ms)
    return Validated(RecordBatch(memoryview(data)), data, now_ms)


def _rebuild(batch: RecordBatch, codec: int, config: LogConfig, origin: AppendOrigin, now_ms: int) -> Validated:
    """The same records with the topic's codec."""
    records = list(batch.records())
    stamped = config.message_timestamp_type == "LogAppendTime"
    if origin is AppendOrigin.CLIENT:
        _check_records(batch, records, config, now_ms, check_time=not stamped)
    data = build_batch(
        records,
        base_offset=batch.base_offset,
        compression=codec,
        producer_id=batch.producer_id,
        producer_epoch=batch.producer_epoch,
        base_sequence=batch.base_sequence,
        transactional=batch.is_transactional,
        log_append_time=now_ms if stamped else None,
    )
    return _rebuilt(data, config, now_ms if stamped else -1)


def _validate_legacy(view: memoryview, config: LogConfig, now_ms: int, request_version: int) -> Validated:
    """Messages of format 0 or 1 become one batch of magic 2, as in Kafka since 3.0."""
    if request_version >= _FIRST_PRODUCE_OF_MAGIC_2:
        raise _invalid(f"Produce requests with version {request_version} are only allowed to contain magic 2")
    if view[MAGIC_AT] > 2:
        raise CorruptBatch(f"Unknown magic {view[MAGIC_AT]}")
    stamped = config.message_timestamp_type == "LogAppendTime"
    records: list[Record] = []
    codec, magic = 0, view[MAGIC_AT]
    for entry in check_complete(view):
        if entry.size > config.max_message_bytes:
            raise _too_large(entry.size, config)
        if entry.magic != magic:
            raise _invalid("Messages of different formats in one set")
        if entry.is_log_append_time:
            raise KafkaError(
                ErrorCode.INVALID_TIMESTAMP,
                "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.",
            )
        codec = entry.compression or codec
        first = len(records)
        records += [
            record._replace(offset=first + place, timestamp=now_ms if stamped else record.timestamp)
            for place, record in enumerate(entry.records())
        ]
        _check_records(entry, records[first:], config, now_ms, check_time=not stamped)
    wanted = compression_named(config.compression_type)
    data = build_batch(
        records, compression=codec if wanted is None else wanted, log_append_time=now_ms if stamped else None
    )
    return _rebuilt(data, config, now_ms if stamped else -1)


def _rebuilt(data: bytes, config: LogConfig, log_append_time: int) -> Validated:
    if len(data) > config.max_message_bytes:
        raise _too_large(len(data), config)
    return Validated(RecordBatch(memoryview(data)), data, log_append_time)


def _invalid(message: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, message)


def _too_large(size: int, config: LogConfig) -> KafkaError:
    return KafkaError(
        ErrorCode.MESSAGE_TOO_LARGE,
        f"The record batch size is {size} bytes, more than the maximum of {config.max_message_bytes}",
    )
