"""The codecs of record batches: gzip, snappy (xerial framing), lz4 (independent 64 KiB blocks), zstd.

It turns bytes into bytes and bounds what a small input may grow to; which codec a topic wants is not decided here.
cramjam is imported on first use.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from pykbroker.protocol.errors import ErrorCode, KafkaError

if TYPE_CHECKING:
    from types import ModuleType

Buffer = bytes | bytearray | memoryview

MAX_DECOMPRESSED = 128 << 20
"""Bytes that one batch may decompress to. Kafka knows no bound; a port open to anyone needs one."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK = 32 * 1024
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_DESCRIPTOR = b"\x60\x40"  # version 1, independent blocks, no checksums; 64 KiB blocks
_LZ4_BLOCK = 64 * 1024
_LZ4_STORED = 0x80000000


class Compression(IntEnum):
    """The codec bits of a batch's attributes; the names in lower case are the values of `compression.type`."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def compression_named(name: str) -> Compression | None:
    """The codec that a topic's `compression.type` asks for; None for `producer`, which keeps the producer's."""
    if name == "producer":
        return None
    return Compression.NONE if name == "uncompressed" else Compression[name.upper()]


def compress(codec: int, data: Buffer, *, legacy_lz4: bool = False) -> bytes:
    """Compresses one block. `legacy_lz4` writes the wrong header checksum that message format 0 has."""
    if codec == Compression.NONE:
        return bytes(data)
    if codec == Compression.SNAPPY:
        return _compress_snappy(data)
    if codec == Compression.LZ4:
        return _compress_lz4(data, legacy_lz4)
    cramjam = _cramjam()
    if codec == Compression.GZIP:
        return bytes(cramjam.gzip.compress(data))
    if codec == Compression.ZSTD:
        return bytes(cramjam.zstd.compress(data, level=3))
    raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"Unknown compression type id {codec}")


def decompress(codec: int, data: Buffer, limit: int = MAX_DECOMPRESSED) -> Buffer:
    """Decompresses one block of at most `limit` bytes.

    Raises KafkaError(CORRUPT_MESSAGE) for data that doesn't decompress or grows beyond the limit,
    UNSUPPORTED_COMPRESSION_TYPE for a codec number that Kafka doesn't have.
    """
    if codec == Compression.NONE:
        return data
    try:
        if codec == Compression.SNAPPY:
            return _decompress_snappy(data, limit)
        cramjam = _cramjam()
        if codec == Compression.GZIP:
            return _grow(cramjam.gzip.decompress_into, data, limit)
        if codec == Compression.LZ4:
            return _grow(cramjam.lz4.decompress_into, _correct_lz4_checksum(data), limit)
        if codec == Compression.ZSTD:
            return _grow(cramjam.zstd.decompress_into, data, limit)
    except (cramjam_error(), ValueError, struct.error) as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"Cannot decompress {_name(codec)} records: {error}") from None
    raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"Unknown compression type id {codec}")


def cramjam_error() -> type[Exception]:
    """The exception of the codec library."""
    error: type[Exception] = _cramjam().DecompressionError
    return error


def _cramjam() -> ModuleType:
    import cramjam

    return cramjam


def _name(codec: int) -> str:
    return Compression(codec).name.lower()


def _grow(decompress_into: Any, data: Buffer, limit: int) -> Buffer:
    """Decompresses into a buffer that grows while it is too small: no size that the data states is believed."""
    size = min(limit, max(16 * 1024, 8 * len(data)))
    while True:
        output = bytearray(size)
        try:
            return memoryview(output)[: decompress_into(data, output)]
        except cramjam_error() as error:
            if "whole buffer" not in str(error):
                raise
            if size >= limit:
                raise ValueError(f"more than {limit} bytes") from None
        size = min(limit, size * 4)


def _compress_snappy(data: Buffer) -> bytes:
    compress_raw = _cramjam().snappy.compress_raw
    view = memoryview(data)
    pieces = [_XERIAL_HEADER]
    for start in range(0, len(view), _XERIAL_BLOCK):
        block = bytes(compress_raw(view[start : start + _XERIAL_BLOCK]))
        pieces += (len(block).to_bytes(4, "big"), block)
    return b"".join(pieces)


def _decompress_snappy(data: Buffer, limit: int) -> bytes:
    view = memoryview(data)
    if bytes(view[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _decompress_snappy_block(view, limit)
    blocks: list[bytes] = []
    position = len(_XERIAL_HEADER)
    while position < len(view):
        (size,) = struct.unpack_from(">i", view, position)
        position += 4
        if size < 0 or size > len(view) - position:
            raise ValueError(f"a block of {size} bytes where {len(view) - position} are left")
        block = _decompress_snappy_block(view[position : position + size], limit)
        limit -= len(block)
        blocks.append(block)
        position += size
    return b"".join(blocks)


def _decompress_snappy_block(block: memoryview, limit: int) -> bytes:
    snappy = _cramjam().snappy
    size = snappy.decompress_raw_len(block)
    if size > limit:
        raise ValueError("the decompressed records are too large")
    return bytes(snappy.decompress_raw(block))


def _compress_lz4(data: Buffer, legacy: bool) -> bytes:
    """A frame with the independent-blocks flag, which Kafka's reader insists on and cramjam's own frames lack."""
    compress_block = _cramjam().lz4.compress_block
    view = memoryview(data)
    pieces = [_LZ4_MAGIC, _LZ4_DESCRIPTOR, _lz4_checksum(_LZ4_DESCRIPTOR, legacy)]
    for start in range(0, len(view), _LZ4_BLOCK):
        plain = view[start : start + _LZ4_BLOCK]
        block = bytes(compress_block(plain, store_size=False))
        if len(block) < len(plain):
            pieces += (len(block).to_bytes(4, "little"), block)
        else:
            pieces += ((len(plain) | _LZ4_STORED).to_bytes(4, "little"), bytes(plain))
    pieces.append(bytes(4))
    return b"".join(pieces)


def _correct_lz4_checksum(data: Buffer) -> Buffer:
    """Message format 0's frames carry a header checksum taken over the frame's magic too: put the right one."""
    view = memoryview(data)
    if len(view) < 7 or bytes(view[:4]) != _LZ4_MAGIC:
        return data
    descriptor = bytes(view[4 : 14 if view[4] & 0x08 else 6])
    place = 4 + len(descriptor)
    right = _lz4_checksum(descriptor, legacy=False)
    if (
        len(view) <= place
        or view[place] == right[0]
        or bytes(view[place : place + 1]) != _lz4_checksum(descriptor, True)
    ):
        return data
    return b"".join((view[:place], right, view[place + 1 :]))


def _lz4_checksum(descriptor: bytes, legacy: bool) -> bytes:
    covered = _LZ4_MAGIC + descriptor if legacy else descriptor
    return bytes([(_xxh32(covered) >> 8) & 0xFF])


def _xxh32(data: bytes) -> int:
    """XXH32 with seed 0 of fewer than 16 bytes, which is all that a frame's header needs."""
    mask = 0xFFFFFFFF
    value = 374761393 + len(data)
    words = len(data) // 4 * 4
    for at in range(0, words, 4):
        value = value + int.from_bytes(data[at : at + 4], "little") * 3266489917 & mask
        value = (value << 17 | value >> 15) * 668265263 & mask
    for byte in data[words:]:
        value = value + byte * 374761393 & mask
        value = (value << 11 | value >> 21) * 2654435761 & mask
    value = (value ^ value >> 15) * 2246822519 & mask
    value = (value ^ value >> 13) * 3266489917 & mask
    return value ^ value >> 16
