"""Message formats 0 and 1: reading what old producers send, writing what old consumers can read.

The log itself is written in magic 2 alone, as Kafka does since 3.0; this module never touches offsets of the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import (
    LOG_APPEND_TIME_BIT,
    Buffer,
    CorruptBatch,
    RecordBatch,
    batches,
)
from pykbroker.protocol.records.compression import Compression, compress, decompress
from pykbroker.protocol.records.record import NO_TIMESTAMP, Record

_I32 = struct.Struct(">i")
_I64 = struct.Struct(">q")
_ENTRY = struct.Struct(">qiI")
_KEY_AT = {0: 18, 1: 26}


def encode_message(
    magic: int, offset: int, timestamp: int, key: Buffer | None, value: Buffer | None, attributes: int = 0
) -> bytes:
    """One entry of a message set of magic 0 or 1."""
    pieces: list[Buffer] = [bytes((magic, attributes))]
    if magic:
        pieces.append(_I64.pack(timestamp))
    for field in (key, value):
        pieces += (_I32.pack(-1),) if field is None else (_I32.pack(len(field)), field)
    body = b"".join(pieces)
    return _ENTRY.pack(offset, len(body) + 4, crc32(body)) + body


def read_messages(entry: RecordBatch) -> Iterator[Record]:
    """The records of one entry: itself, or what its wrapper holds with absolute offsets and true timestamps.

    Raises KafkaError(CORRUPT_MESSAGE) where lengths contradict each other.
    """
    key, value = _fields(entry)
    codec = entry.compression
    if codec == Compression.NONE:
        yield Record(entry.base_offset, entry.max_timestamp, key, value)
        return
    if codec == Compression.ZSTD:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"Magic {entry.magic} does not support zstd")
    if value is None:
        raise CorruptBatch("A compressed message without a value")
    inner = list(_inner_entries(decompress(codec, value), entry.magic))
    if not inner:
        raise CorruptBatch("A compressed message holds no messages")
    # From magic 1 on inner offsets count from 0 and the wrapper has the last one's absolute offset; offsets that
    # a producer left all at 0 in magic 0 are put right by the log when it assigns its own.
    shift = entry.base_offset - inner[-1].base_offset if entry.magic else 0
    append_time = entry.is_log_append_time
    for message in inner:
        key, value = _fields(message)
        timestamp = entry.max_timestamp if append_time else message.max_timestamp
        yield Record(message.base_offset + shift, timestamp, key, value)


def _inner_entries(data: Buffer, magic: int) -> Iterator[RecordBatch]:
    end = 0
    for message in batches(data):
        if message.magic != magic or message.compression:
            raise CorruptBatch(f"A compressed message of magic {magic} holds {message!r}")
        end += message.size
        yield message
    if end != len(data):
        raise CorruptBatch(f"{len(data) - end} bytes after the last inner message")


def _fields(entry: RecordBatch) -> tuple[bytes | None, bytes | None]:
    view = entry.view
    fields: list[bytes | None] = []
    position = _KEY_AT[entry.magic]
    for _ in range(2):
        if position + 4 > entry.size:
            raise CorruptBatch("A message is cut short")
        (size,) = _I32.unpack_from(view, position)
        position += 4
        if size < 0:
            fields.append(None)
            continue
        if size > entry.size - position:
            raise CorruptBatch(f"A field of {size} bytes where {entry.size - position} are left")
        fields.append(bytes(view[position : position + size]))
        position += size
    if position != entry.size:
        raise CorruptBatch(f"{entry.size - position} bytes after a message's value")
    return fields[0], fields[1]


def down_convert(records: Buffer, to_magic: int, from_offset: int) -> bytes:
    """What is stored, in message format 0 (Fetch 0-1) or 1 (Fetch 2-3).

    Control batches, headers and producers are dropped; in format 0 timestamps too. Records below `from_offset` are
    dropped where they aren't compressed. An incomplete batch at the end is left out. Raises
    KafkaError(UNSUPPORTED_COMPRESSION_TYPE) for zstd.
    """
    pieces: list[Buffer] = []
    for batch in batches(records):
        if batch.is_control:
            continue
        if batch.magic <= to_magic:
            pieces.append(batch.view[: batch.size])
            continue
        codec = batch.compression
        if codec == Compression.ZSTD:
            raise KafkaError(
                ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "Down-conversion of zstd-compressed batches is not supported"
            )
        kept = [record for record in batch.records() if codec or record.offset >= from_offset]
        if kept:
            stamp = LOG_APPEND_TIME_BIT if to_magic and batch.is_log_append_time else 0
            pieces.append(build_message_set(kept, to_magic, codec, stamp))
    return b"".join(pieces)


def build_message_set(records: Sequence[Record], magic: int, codec: int = 0, attributes: int = 0) -> bytes:
    """The records in one message set: entries one after the other, or one wrapper when `codec` compresses."""
    if not codec:
        return b"".join(
            encode_message(magic, record.offset, record.timestamp, record.key, record.value, attributes)
            for record in records
        )
    first = records[0].offset if magic else 0
    inner = b"".join(
        encode_message(magic, record.offset - first, record.timestamp, record.key, record.value, attributes)
        for record in records
    )
    timestamp = max((record.timestamp for record in records), default=NO_TIMESTAMP)
    value = compress(codec, inner, legacy_lz4=magic == 0)
    return encode_message(magic, records[-1].offset, timestamp, None, value, attributes | codec)


def check_complete(records: Buffer) -> list[RecordBatch]:
    """All entries of a produced set, their checksums right and nothing left over.

    Raises CorruptBatch otherwise.
    """
    entries: list[RecordBatch] = []
    end = 0
    for entry in batches(records):
        entry.check_crc()
        entries.append(entry)
        end += entry.size
    if end != len(records) or not entries:
        raise CorruptBatch(f"{len(records) - end} of {len(records)} bytes are no complete message")
    return entries
