"""One version of one message: its construct, plain at first and compiled once it is used again and again.

It turns whatever goes wrong below into one exception of the package that names the message, the field and the byte:
compiled code only notices, the plain form parses the same bytes again to say where. Knows no message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykbroker.protocol.cursor import AbsentField, Cursor, Flaw, Writer
from pykbroker.protocol.errors import MalformedMessage, UnbuildableMessage, UnsupportedField

if TYPE_CHECKING:
    from pykbroker.protocol.message import Message

COMPILED_AT = 3
"""Compiling costs milliseconds: the use at which it is done."""
LOCATED = 1 << 20
"""Bytes up to which a malformed message is parsed again to say where: a larger one would hold the event loop up."""


class Codec:
    """Decodes and encodes one version. `source` is the compiled code, once there is some."""

    def __init__(self, cls: type[Message], version: int) -> None:
        if version not in cls.versions:
            raise ValueError(f"{cls.__name__} has versions {cls.versions}, not {version}")
        self.cls, self.version = cls, version
        self.plain = cls.construct(version, version in cls.flexible)
        self.source: str | None = None
        # Other messages are parsed from bytes, of which slices cost less than those of a memoryview. A header stands
        # before a body that may be large.
        self.plain.keeps_view = self.plain.has_records or cls.key < 0
        self.uses = 0
        self.parse: Any = self._parse_plain
        self.build: Any = self._build_plain

    def compile(self) -> None:
        """Replace the plain form by the compiled one, from now on."""
        self.source, self.parse, self.build = self.plain.compiled()

    def _count(self) -> None:
        self.uses += 1
        if self.uses == COMPILED_AT:
            self.compile()

    def _parse_plain(self, buf: bytes | memoryview, pos: int, end: int) -> tuple[Any, int]:
        self._count()
        io = Cursor(buf, pos)
        return self.plain._parse(io, None, None), io.pos

    def _build_plain(self, message: Any, io: Writer) -> None:
        self._count()
        self.plain._build(message, io, None, None)

    def buffer(self, frame: bytes | bytearray | memoryview) -> bytes | memoryview:
        """The frame as the compiled code expects it: a view, or bytes."""
        if self.plain.keeps_view:
            return memoryview(frame)
        return frame if type(frame) is bytes else bytes(frame)

    def decode(self, frame: bytes | bytearray | memoryview, offset: int = 0) -> tuple[Any, int]:
        """The message at an offset, and the offset after it. Raises MalformedMessage."""
        buf = frame if type(frame) is bytes and not self.plain.keeps_view else self.buffer(frame)
        try:
            found: tuple[Any, int] = self.parse(buf, offset, len(buf))
        except Exception:
            io = Cursor(buf, offset)
        else:
            return found
        if len(buf) - offset > LOCATED:
            raise MalformedMessage(f"{self}: {len(buf) - offset} bytes that don't parse, too many to say where")
        try:
            return self.plain._parse(io, None, None), io.pos
        except Flaw as flaw:
            raise MalformedMessage(f"{self}: {flaw.field} at byte {flaw.at}: {flaw.reason}") from None

    def encode(self, message: Message) -> bytes:
        """The message as bytes. Raises UnbuildableMessage."""
        return self._written(message).joined()

    def encode_parts(self, message: Message) -> list[Any]:
        """The message as pieces. Raises UnbuildableMessage."""
        return self._written(message).pieces()

    def write(self, message: Message, io: Writer) -> None:
        """Add the message to what was written before. Raises UnbuildableMessage."""
        parts, records = len(io.parts), len(io.records_at)
        try:
            self.build(message, io)
            return
        except Exception:
            del io.parts[parts:], io.records_at[records:]
        try:
            self.plain._build(message, io, None, None)
        except Flaw as flaw:
            kind = UnsupportedField if isinstance(flaw, AbsentField) else UnbuildableMessage
            raise kind(f"{self}: {flaw.field} {flaw.reason}") from None

    def _written(self, message: Message) -> Writer:
        io = Writer()
        self.write(message, io)
        return io

    def __str__(self) -> str:
        name = self.cls.__name__
        for kind in ("Request", "Response"):
            if self.cls.key >= 0 and name.endswith(kind):
                return f"{name.removesuffix(kind)} v{self.version} {kind.lower()}"
        return f"{name} v{self.version}"
