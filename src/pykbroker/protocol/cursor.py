"""Where a message is read from and written to: a position in a frame, and a list of pieces.

A Cursor never copies: record bytes come out as a view of the frame. A Writer never copies either until the pieces are
joined, and record pieces aren't joined at all. Both are streams as far as construct needs one.
"""

from __future__ import annotations

from typing import Any, cast

from pykbroker.protocol.fields import SizedSlice

ONE_BYTE = [bytes([n]) for n in range(256)]


class Flaw(Exception):
    """What is wrong, at which byte, and (as it passes through the structs) in which field."""

    def __init__(self, reason: str = "", at: int = -1) -> None:
        super().__init__(reason, at)
        self.reason = reason
        self.at = at
        self.path: list[str] = []

    @property
    def field(self) -> str:
        """The path from the message to the field: `topics[0].partitions[2].fetch_offset`."""
        return "".join(reversed(self.path)).removeprefix(".")


class AbsentField(Flaw):
    """A value is set that the version can't carry."""


class Cursor:
    """A position in a frame; `buf`, `pos` and `end` are open to compiled code."""

    __slots__ = ("buf", "end", "pos")

    def __init__(self, buf: bytes | memoryview, pos: int = 0) -> None:
        self.buf = buf
        self.pos = pos
        self.end = len(buf)

    def take(self, size: int) -> bytes | memoryview:
        """The next bytes, as a slice of the frame. Raises Flaw where fewer are left."""
        start, stop = self.pos, self.pos + size
        if stop > self.end:
            raise Flaw(f"needs {size} bytes, {self.end - start} left", start)
        self.pos = stop
        return self.buf[start:stop]

    def read(self, size: int) -> bytes:
        """The next bytes, copied: a stream's `read`."""
        return bytes(self.take(size))

    def tell(self) -> int:
        """The position."""
        return self.pos

    def seek(self, pos: int) -> None:
        """Go to a position."""
        self.pos = pos

    def uvarint(self) -> int:
        """An unsigned varint of at most 32 bits."""
        start = self.pos
        try:
            value, self.pos = read_uvarint(self.buf, start)
        except IndexError:
            raise Flaw(f"needs {self.end - start + 1} bytes, {self.end - start} left", start) from None
        return value


def read_uvarint(buf: bytes | memoryview, start: int) -> tuple[int, int]:
    """The unsigned varint at `start`, and the position after it. Raises IndexError where it is cut off, and Flaw."""
    value = buf[start]
    if value < 0x80:
        return value, start + 1
    value = value & 0x7F | buf[start + 1] << 7
    if value < 0x4000:
        return value, start + 2
    value = value & 0x3FFF | buf[start + 2] << 14
    if value < 0x20_0000:
        return value, start + 3
    value = value & 0x1F_FFFF | buf[start + 3] << 21
    if value < 0x1000_0000:
        return value, start + 4
    last = buf[start + 4]
    if last > 0x0F:
        raise Flaw("unsigned varint of more than 32 bits", start)
    return value & 0x0FFF_FFFF | last << 28, start + 5


def uvarint(value: int) -> bytes:
    """A number as an unsigned varint."""
    if value < 0x80:
        return ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Writer:
    """The pieces of a message in order; `write` adds one. Positions of record pieces are kept."""

    __slots__ = ("parts", "records_at", "write")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.write = self.parts.append
        self.records_at: list[int] = []

    def write_records(self, records: bytes | bytearray | memoryview | SizedSlice) -> None:
        """Add record bytes, which stay a piece of their own."""
        self.records_at.append(len(self.parts))
        self.parts.append(records)

    def joined(self) -> bytes:
        """Everything in one, record bytes read and copied."""
        for at in self.records_at:
            if not isinstance(self.parts[at], (bytes, bytearray, memoryview)):
                self.parts[at] = cast(SizedSlice, self.parts[at]).read()
        return b"".join(self.parts)

    def pieces(self) -> list[Any]:
        """Record bytes as they were given, and what stands between them joined; no empty pieces."""
        if not self.records_at:
            return [b"".join(self.parts)]
        pieces, start = [], 0
        for at in self.records_at:
            pieces += [b"".join(self.parts[start:at]), self.parts[at]]
            start = at + 1
        pieces.append(b"".join(self.parts[start:]))
        return [piece for piece in pieces if len(piece)]
