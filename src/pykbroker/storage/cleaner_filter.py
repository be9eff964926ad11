"""Which records of a batch survive compaction, and the batch with the others cut out of it.

Batches are bytes here and stay so wherever all of their records survive: of a record only its length, its offset, its
key and whether it has a value are decoded. Offsets, sequences, producer and leader epoch of a batch are never changed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from pykbroker.protocol.records.batch import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    CRC_AT,
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    CorruptBatch,
    RecordBatch,
)
from pykbroker.protocol.records.checksum import crc32c
from pykbroker.protocol.records.compression import compress, decompress
from pykbroker.protocol.records.record import NO_TIMESTAMP, encode_varint

Buffer = bytes | bytearray | memoryview
_U32 = struct.Struct(">I")


Span = tuple[int, int, int, bytes | None, bool]
"""A record in the bytes of its batch: where its length stands, its end, offset delta, key, whether it has a value."""


def body_of(batch: RecordBatch) -> bytes:
    """The records of a batch of magic 2, decompressed. Raises KafkaError for data that doesn't decompress."""
    body: Buffer = batch.view[HEADER_SIZE : batch.size]
    if batch.compression and batch.count:
        body = decompress(batch.compression, body)
    return bytes(body)


def spans_of(batch: RecordBatch, body: bytes) -> list[Span]:
    """Where the records of a batch lie in its body. Raises CorruptBatch for bytes that are no records."""
    spans: list[Span] = []
    position = 0
    try:
        for _ in range(batch.count):
            start = position
            byte, position = body[position], position + 1
            if byte < 0x80:
                size = (byte >> 1) ^ -(byte & 1)
            elif body[position] < 0x80:
                size, position = (byte & 0x7F | body[position] << 7) >> 1, position + 1
            else:
                size, position = _varint(body, start)
            stop = position + size
            position += 1
            while body[position] >= 0x80:  # the timestamp
                position += 1
            position += 1
            byte = body[position]
            if byte < 0x80:
                delta, position = byte >> 1, position + 1
            else:
                delta, position = _varint(body, position)
            byte = body[position]
            if byte < 0x80:
                length, position = (byte >> 1) ^ -(byte & 1), position + 1
            else:
                length, position = _varint(body, position)
            key = None
            if length >= 0:
                key = body[position : position + length]
                position += length
            # zig-zag: the lowest bit is the sign, and no length but null's is negative
            spans.append((start, stop, delta, key, not body[position] & 1))
            if size < 0 or position >= stop:
                raise CorruptBatch(f"{batch!r} has a record of {size} bytes that its fields don't fit into")
            position = stop
    except IndexError:
        raise CorruptBatch(f"{batch!r} holds fewer records than it says") from None
    if position != len(body):
        raise CorruptBatch(f"{batch!r} has {len(body) - position} bytes after its last record")
    return spans


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


class RecordFilter(NamedTuple):
    """What decides about the records of one round."""

    newest_offset: Callable[[bytes], int]
    """The newest offset of a key, -1 for one that the round doesn't know."""
    latest_offset: int
    """Records after it are kept: the round didn't get so far."""
    now_ms: int
    delete_retention_ms: int

    def delete_horizon(self, batch: RecordBatch) -> int | None:
        """From when on (ms) the tombstones or the marker of a batch can go; None when no cleaning has met it yet."""
        return batch.base_timestamp if batch.attributes & DELETE_HORIZON_BIT and batch.magic > 1 else None

    def keeps(self, offset: int, key: bytes | None, has_value: bool, keep_tombstones: bool) -> bool:
        """Whether a record stays: it is the newest of its key, and no tombstone whose time has come."""
        if offset > self.latest_offset:
            return True
        if key is None:
            return False
        return offset >= self.newest_offset(key) and (has_value or keep_tombstones)

    def filtered(self, batch: RecordBatch, *, marker_is_empty: bool) -> Buffer | None:
        """A batch of magic 2 with what stays of it, the very same bytes if that is all; None when nothing stays.

        Tombstones, and a marker without data (`marker_is_empty`), get their delete horizon when they have none.
        """
        if not batch.count:
            return None
        horizon = self.delete_horizon(batch)
        if batch.is_control and (horizon is not None or not marker_is_empty):
            return batch.view[: batch.size]
        body = body_of(batch)
        spans = kept = spans_of(batch, body)
        if not batch.is_control:
            kept = self._kept(batch, spans, horizon is None or self.now_ms < horizon)
        if not kept:
            return None
        if horizon is None and (batch.is_control or not all(span[4] for span in kept)):
            return rebuilt(batch, body, kept, self.now_ms + self.delete_retention_ms)
        return batch.view[: batch.size] if len(kept) == len(spans) else rebuilt(batch, body, kept, None)

    def _kept(self, batch: RecordBatch, spans: list[Span], keep_tombstones: bool) -> list[Span]:
        base, latest, newest = batch.base_offset, self.latest_offset, self.newest_offset
        return [
            span
            for span in spans
            if base + span[2] > latest
            or (span[3] is not None and base + span[2] >= newest(span[3]) and (span[4] or keep_tombstones))
        ]


def rebuilt(batch: RecordBatch, body: bytes, kept: list[Span], horizon: int | None) -> bytes:
    """A batch with these of its records. A new delete horizon (ms) takes the base timestamp's place."""
    base = batch.base_timestamp
    append_time = batch.is_log_append_time
    max_timestamp = batch.max_timestamp if append_time else NO_TIMESTAMP
    pieces: list[bytes] = []
    for start, stop, *_ in kept:
        position = _varint(body, start)[1] + 1
        delta, after = _varint(body, position)
        timestamp = batch.max_timestamp if append_time else base + delta
        max_timestamp = max(max_timestamp, timestamp)
        if horizon is None:
            pieces.append(body[start:stop])
        else:
            moved = encode_varint(timestamp - horizon)
            size = 1 + len(moved) + stop - after
            pieces += (encode_varint(size), b"\0", moved, body[after:stop])
    records = b"".join(pieces)
    if batch.compression:
        records = compress(batch.compression, records)
    attributes = batch.attributes if horizon is None else batch.attributes | DELETE_HORIZON_BIT
    return _with_header(
        batch, records, len(kept), attributes=attributes, base=base if horizon is None else horizon, most=max_timestamp
    )


def emptied(batch: RecordBatch) -> bytes:
    """A batch without records, kept for its offsets, its producer's sequence and epoch."""
    attributes = batch.attributes & ~(CODEC_MASK | DELETE_HORIZON_BIT)
    return _with_header(batch, b"", 0, attributes=attributes, base=NO_TIMESTAMP, most=batch.max_timestamp)


def _with_header(batch: RecordBatch, records: bytes, count: int, *, attributes: int, base: int, most: int) -> bytes:
    data = bytearray(HEADER_SIZE + len(records))
    HEADER.pack_into(
        data,
        0,
        batch.base_offset,
        len(data) - LOG_OVERHEAD,
        batch.leader_epoch,
        2,
        0,
        attributes,
        batch.last_offset_delta,
        base,
        most,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        count,
    )
    data[HEADER_SIZE:] = records
    _U32.pack_into(data, CRC_AT, crc32c(memoryview(data)[ATTRIBUTES_AT:]))
    return bytes(data)


def filtered_legacy(record_filter: RecordFilter, batch: RecordBatch, *, keep_tombstones: bool) -> Buffer | None:
    """The same for an entry of magic 0 or 1, which has no delete horizon: its segment's age says it."""
    from pykbroker.protocol.records.message_set import build_message_set

    records = list(batch.records())
    kept = [
        record
        for record in records
        if record_filter.keeps(record.offset, record.key, record.value is not None, keep_tombstones)
    ]
    if len(kept) == len(records):
        return batch.view[: batch.size]
    if not kept:
        return None
    return build_message_set(kept, batch.magic, batch.compression, batch.attributes & LOG_APPEND_TIME_BIT)
