"""One record inside a batch of magic 2: varints, key, value, headers.

It knows bytes, not batches: offsets and timestamps are deltas to what the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError

NO_TIMESTAMP = -1


class Record(NamedTuple):
    """A record as an application knows it. The timestamp is in milliseconds since the epoch, -1 without one."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def encode_varint(value: int) -> bytes:
    """A signed integer of up to 64 bits, zig-zag, seven bits a byte, lowest first."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_record(record: Record, offset_delta: int, timestamp_delta: int) -> bytes:
    """The record with its length in front."""
    pieces = [b"\x00", encode_varint(timestamp_delta), encode_varint(offset_delta)]
    for field in (record.key, record.value):
        pieces += (b"\x01",) if field is None else (encode_varint(len(field)), field)
    pieces.append(encode_varint(len(record.headers)))
    for name, value in record.headers:
        encoded = name.encode()
        pieces += (encode_varint(len(encoded)), encoded)
        pieces += (b"\x01",) if value is None else (encode_varint(len(value)), value)
    body = b"".join(pieces)
    return encode_varint(len(body)) + body


def decode_records(
    data: bytes | bytearray | memoryview, count: int, base_offset: int, base_timestamp: int, log_append_time: int | None
) -> Iterator[Record]:
    """The `count` records of a batch, decompressed already. `log_append_time` replaces every timestamp.

    Raises KafkaError(INVALID_RECORD) when a length contradicts the data or bytes are left over.
    """
    buffer = data if isinstance(data, bytes) else bytes(data)
    end = len(buffer)
    position = 0
    try:
        for _ in range(count):
            size, position = _varint(buffer, position)
            stop = position + size
            if size < 0 or stop > end:
                raise _invalid(f"a record of {size} bytes where {end - position} are left")
            timestamp_delta, position = _varint(buffer, position + 1)
            offset_delta, position = _varint(buffer, position)
            key, position = _field(buffer, position, stop)
            value, position = _field(buffer, position, stop)
            header_count, position = _varint(buffer, position)
            headers: tuple[tuple[str, bytes | None], ...] = ()
            if header_count:
                headers, position = _headers(buffer, position, stop, header_count)
            if position != stop:
                raise _invalid(f"a record ends at {position} where its length says {stop}")
            timestamp = base_timestamp + timestamp_delta if log_append_time is None else log_append_time
            yield Record(base_offset + offset_delta, timestamp, key, value, headers)
    except (IndexError, UnicodeDecodeError):
        raise _invalid("a record is cut short or its header's name is not text") from None
    if position != end:
        raise _invalid(f"{end - position} bytes after the last record")


def _varint(buffer: bytes, position: int) -> tuple[int, int]:
    byte = buffer[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value = byte & 0x7F
    shift = 7
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > 63:
            raise _invalid("a varint of more than ten bytes")


def _field(buffer: bytes, position: int, stop: int) -> tuple[bytes | None, int]:
    size, position = _varint(buffer, position)
    if size < 0:
        return None, position
    end = position + size
    if end > stop:
        raise _invalid(f"a field of {size} bytes where {stop - position} are left")
    return buffer[position:end], end


def _headers(buffer: bytes, position: int, stop: int, count: int) -> tuple[tuple[tuple[str, bytes | None], ...], int]:
    if count < 0 or count > stop - position:
        raise _invalid(f"{count} headers where {stop - position} bytes are left")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, position = _field(buffer, position, stop)
        if name is None:
            raise _invalid("a header without a name")
        value, position = _field(buffer, position, stop)
        headers.append((name.decode(), value))
    return tuple(headers), position


def _invalid(reason: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, f"Found invalid record: {reason}")
