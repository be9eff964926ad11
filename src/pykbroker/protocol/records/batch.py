"""Record batches of magic 2: their 61-byte header, their records, how to build one and how to patch one in place.

Entries of the older message formats, which old logs still hold, appear as batches too; what is particular to them
stands in `message_set`. Nothing here decides whether a batch is acceptable: a log does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.checksum import crc32c
from pykbroker.protocol.records.compression import Compression, compress, decompress
from pykbroker.protocol.records.record import NO_TIMESTAMP, Record, decode_records, encode_record

Buffer = bytes | bytearray | memoryview

HEADER = struct.Struct(">qiibIhiqqqhii")
"""baseOffset, batchLength, partitionLeaderEpoch, magic, crc, attributes, lastOffsetDelta, baseTimestamp, maxTimestamp,
producerId, producerEpoch, baseSequence, count."""
HEADER_SIZE = HEADER.size
LOG_OVERHEAD = 12
"""Bytes in front of what batchLength counts."""
MIN_SCAN = 17
"""Bytes of an entry up to and including magic: fewer are a torn tail (Kafka's HEADER_SIZE_UP_TO_MAGIC)."""
MIN_BATCH_LENGTH = 14
"""The smallest batchLength that any format can have (an empty v0 message)."""
MAGIC_AT = 16
CRC_AT = 17
ATTRIBUTES_AT = 21
MAX_TIMESTAMP_AT = 35
PRODUCER_AT = 43
"""Of producer id, epoch and base sequence."""

CODEC_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1
NO_LEADER_EPOCH = -1

_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_LEGACY_V1 = struct.Struct(">qiIbbq")
_LEGACY_V0 = struct.Struct(">qiIbb")


class CorruptBatch(KafkaError):
    """Bytes that are no batch: a length that can't be, an unknown magic, a wrong checksum."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.CORRUPT_MESSAGE, message)


class RecordBatch:
    """The header of one batch over the bytes that hold it; records are decoded when they are asked for.

    For an entry of magic 0 or 1 `base_offset` is the entry's own offset (of a compressed one: its last record's),
    `count` is -1 and the producer's fields are those of no producer. Raises CorruptBatch when `view` is too short.
    """

    __slots__ = (
        "attributes",
        "base_offset",
        "base_sequence",
        "base_timestamp",
        "count",
        "crc",
        "last_offset",
        "leader_epoch",
        "magic",
        "max_timestamp",
        "producer_epoch",
        "producer_id",
        "size",
        "view",
    )

    base_offset: int
    last_offset: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int
    size: int
    view: memoryview

    def __init__(self, view: memoryview) -> None:
        if len(view) < MIN_SCAN:
            raise CorruptBatch(f"{len(view)} bytes are too few for a batch")
        self.magic = view[MAGIC_AT]
        if self.magic != 2:
            self._read_legacy(view)
            return
        if len(view) < HEADER_SIZE:
            raise CorruptBatch(f"{len(view)} bytes are too few for a batch's header")
        (
            self.base_offset,
            length,
            self.leader_epoch,
            _,
            self.crc,
            self.attributes,
            last_offset_delta,
            self.base_timestamp,
            self.max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            self.count,
        ) = HEADER.unpack_from(view)
        self.last_offset = self.base_offset + last_offset_delta
        self.size = length + LOG_OVERHEAD
        self.view = view

    def _read_legacy(self, view: memoryview) -> None:
        if self.magic > 1:
            raise CorruptBatch(f"Unknown magic {self.magic}")
        timestamp = NO_TIMESTAMP
        layout = _LEGACY_V1 if self.magic else _LEGACY_V0
        if len(view) < layout.size:
            raise CorruptBatch(f"{len(view)} bytes are too few for a message")
        self.base_offset, length, self.crc, _, self.attributes, *rest = layout.unpack_from(view)
        if rest:
            timestamp = rest[0]
        self.last_offset = self.base_offset
        self.leader_epoch = NO_LEADER_EPOCH
        self.base_timestamp = self.max_timestamp = timestamp
        self.producer_id = NO_PRODUCER_ID
        self.producer_epoch = NO_PRODUCER_EPOCH
        self.base_sequence = NO_SEQUENCE
        self.count = -1
        self.size = length + LOG_OVERHEAD
        self.view = view

    @property
    def next_offset(self) -> int:
        """The offset that follows the batch."""
        return self.last_offset + 1

    @property
    def last_offset_delta(self) -> int:
        """Last offset minus base offset."""
        return self.last_offset - self.base_offset

    @property
    def compression(self) -> int:
        """The codec's number; compare with `Compression`."""
        return self.attributes & CODEC_MASK

    @property
    def is_log_append_time(self) -> bool:
        """Whether every record's timestamp is the broker's, kept in `max_timestamp`."""
        return bool(self.attributes & LOG_APPEND_TIME_BIT) and self.magic > 0

    @property
    def timestamp_type(self) -> str:
        """`LogAppendTime` or `CreateTime`, as `message.timestamp.type` has it."""
        return "LogAppendTime" if self.is_log_append_time else "CreateTime"

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return self.magic > 1 and bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        """Whether it holds a marker instead of records for applications."""
        return self.magic > 1 and bool(self.attributes & CONTROL_BIT)

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record, wrapping from 2³¹-1 to 0; -1 without a producer."""
        if self.base_sequence < 0:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF

    def computed_crc(self) -> int:
        """The checksum that the bytes have: CRC-32C of what follows the field, CRC-32 for the older formats."""
        if self.magic > 1:
            return crc32c(self.view[ATTRIBUTES_AT : self.size])
        return crc32(self.view[MAGIC_AT : self.size])

    def check_crc(self) -> None:
        """Raises CorruptBatch when the bytes are not those that the producer summed up, or fewer."""
        if self.size > len(self.view):
            raise CorruptBatch(f"A batch of {self.size} bytes where {len(self.view)} are left")
        computed = self.computed_crc()
        if computed != self.crc:
            raise CorruptBatch(f"Record is corrupt (stored crc = {self.crc}, computed crc = {computed})")

    def records(self) -> Iterator[Record]:
        """The records, decompressed. Raises KafkaError for data that is no records."""
        if self.magic < 2:
            from pykbroker.protocol.records.message_set import read_messages

            return read_messages(self)
        body: Buffer = self.view[HEADER_SIZE : self.size]
        if self.compression:
            body = decompress(self.compression, body)
        append_time = self.max_timestamp if self.is_log_append_time else None
        base_timestamp = self.base_timestamp
        return decode_records(body, self.count, self.base_offset, base_timestamp, append_time)

    def __repr__(self) -> str:
        return (
            f"RecordBatch(offsets {self.base_offset}..{self.last_offset}, {self.size} bytes, magic {self.magic}, "
            f"leader epoch {self.leader_epoch}, producer {self.producer_id})"
        )


def batches(records: Buffer) -> Iterator[RecordBatch]:
    """The batches in a buffer, in order; an incomplete one at the end is left out, as clients do.

    Raises CorruptBatch at a length that no batch can have or an unknown magic.
    """
    view = memoryview(records)
    position = 0
    end = len(view)
    while end - position >= MIN_SCAN:
        (length,) = _I32.unpack_from(view, position + 8)
        if length < MIN_BATCH_LENGTH:
            raise CorruptBatch(f"A batch length of {length} is less than the smallest possible, {MIN_BATCH_LENGTH}")
        following = position + LOG_OVERHEAD + length
        if following > end:
            return
        batch = RecordBatch(view[position:following])
        yield batch
        position = following


def assign(batch: bytearray | memoryview, base_offset: int, leader_epoch: int) -> None:
    """Writes the leader's base offset and epoch into a batch of magic 2; its CRC doesn't cover them."""
    _I64.pack_into(batch, 0, base_offset)
    _I32.pack_into(batch, LOG_OVERHEAD, leader_epoch)


def stamp_log_append_time(batch: bytearray | memoryview, attributes: int, timestamp: int) -> None:
    """Makes one batch of magic 2 carry the broker's time for all of its records, with a new CRC."""
    struct.pack_into(">h", batch, ATTRIBUTES_AT, attributes | LOG_APPEND_TIME_BIT)
    _I64.pack_into(batch, MAX_TIMESTAMP_AT, timestamp)
    _U32.pack_into(batch, CRC_AT, crc32c(memoryview(batch)[ATTRIBUTES_AT:]))


def build_batch(
    records: Sequence[Record | tuple[bytes | None, bytes | None]],
    *,
    base_offset: int = 0,
    timestamp: int = NO_TIMESTAMP,
    compression: int = Compression.NONE,
    leader_epoch: int = NO_LEADER_EPOCH,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    transactional: bool = False,
    control: bool = False,
    log_append_time: int | None = None,
    last_offset: int | None = None,
) -> bytes:
    """A batch of magic 2.

    Pairs of key and value get consecutive offsets from `base_offset` and `timestamp` (ms); a Record keeps its own
    offset, timestamp and headers. `log_append_time` (ms) marks the batch as stamped by the broker. No records give
    an empty batch, as compaction leaves behind, which needs `last_offset`.
    """
    full = [
        item if isinstance(item, Record) else Record(base_offset + place, timestamp, item[0], item[1])
        for place, item in enumerate(records)
    ]
    base_timestamp = full[0].timestamp if full else timestamp
    body = b"".join(encode_record(item, item.offset - base_offset, item.timestamp - base_timestamp) for item in full)
    if compression:
        body = compress(compression, body)
    attributes = int(compression) | (transactional and TRANSACTIONAL_BIT) | (control and CONTROL_BIT)
    max_timestamp = max((item.timestamp for item in full), default=timestamp)
    if log_append_time is not None:
        attributes |= LOG_APPEND_TIME_BIT
        max_timestamp = log_append_time
    if last_offset is None:
        last_offset = full[-1].offset if full else base_offset
    batch = bytearray(HEADER_SIZE + len(body))
    HEADER.pack_into(
        batch,
        0,
        base_offset,
        len(batch) - LOG_OVERHEAD,
        leader_epoch,
        2,
        0,
        attributes,
        last_offset - base_offset,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        len(full),
    )
    batch[HEADER_SIZE:] = body
    _U32.pack_into(batch, CRC_AT, crc32c(memoryview(batch)[ATTRIBUTES_AT:]))
    return bytes(batch)
