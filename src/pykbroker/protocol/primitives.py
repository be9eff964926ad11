"""Kafka's wire types as constructs that emit their own code, so that `compile()` never stops at one of them.

Each has a plain form (`_parse`, `_build`), which is exact about what is wrong and where, and lines of compiled code,
which are fast and only say that something is wrong. In compiled code `buf`, `pos`, `end`, `write` and `io` are locals;
there a slice may reach over the end: whatever is read after it fails, and the last position is checked. Every type
begins with a head of fixed size, so that neighbouring heads are unpacked in one call. Lengths and counts are checked
against what is left before anything is allocated. Knows no message.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from pykbroker.protocol.cursor import ONE_BYTE, Cursor, Flaw, Writer, uvarint

if TYPE_CHECKING:
    from pykbroker.protocol.construct_types import CodeGen, Construct, FormatField
else:
    from construct import Construct, FormatField

LONGEST_TEXT = 0x7FFF
VARINT = "V"
"""Stands for a compact length among the letters of heads to build."""
EXACT = 1000
"""An array of at most so many elements that is cut off is read up to the very field where it ends."""
ROWS = 4
"""Arrays of fewer structs than this are read one by one."""
SHORT = 128
"""Texts and bytes shorter than this are unpacked from a view, not sliced."""
FEW = 17
"""Arrays of fewer numbers than this are packed by a ready-made `struct.Struct`."""

IMPORTS = """
from pykbroker.protocol.cursor import ONE_BYTE, Flaw, Writer, read_uvarint, uvarint
from pykbroker.protocol.fields import ZERO_UUID
from pykbroker.protocol.primitives import packers, short_bytes, unpackers, uuid_of
new = object.__new__
"""
PARSE, BUILD = "parse_message", "build_message"
"""What the two functions of a compiled module are called."""


def indent(lines: list[str]) -> list[str]:
    """One level deeper."""
    return ["    " + line for line in lines]


def unpacker(code: CodeGen, letters: str) -> str:
    """The name, in the compiled module, of the `unpack_from` for some heads."""
    name = f"unpack_{letters.replace('?', 'o')}"
    code.append(f"{name} = struct.Struct('>{letters}').unpack_from")
    return name


def packer(code: CodeGen, letters: str) -> str:
    """The name, in the compiled module, of the `pack` for some heads."""
    name = f"pack_{letters.replace('?', 'o')}"
    code.append(f"{name} = struct.Struct('>{letters}').pack")
    return name


@lru_cache(64)
def packers(head: str, letter: str) -> list[Any]:
    """`pack` for a count (`head`) and 0, 1, 2 … numbers."""
    return [struct.Struct(f">{head}{n}{letter}").pack for n in range(FEW)]


@lru_cache(64)
def unpackers(letter: str) -> list[Any]:
    """`unpack_from` for 0, 1, 2 … numbers."""
    return [struct.Struct(f">{n}{letter}").unpack_from for n in range(FEW)]


@lru_cache(1)
def short_bytes() -> list[Any]:
    """`unpack_from` for 0, 1, 2 … bytes: out of a view that costs a third of what a slice of it does."""
    return [struct.Struct(f">{n}s").unpack_from for n in range(SHORT)]


@lru_cache(4096)
def uuid_of(raw: bytes) -> UUID:
    """The UUID of 16 bytes; remembered, because few topic ids come again and again."""
    return UUID(bytes=raw)


class WireType(Construct):
    """What each of them has besides construct's own: the size of its head, and lines instead of expressions."""

    head: str
    """The letter in `struct` of what it begins with; empty for a struct."""
    least: int
    """The fewest bytes that a value takes."""
    only_head: ClassVar[bool] = False
    """Whether nothing follows the head, so that other heads may be unpacked with it."""
    has_records = False
    keeps_view = False
    """Whether it is parsed from a memoryview; from bytes otherwise. Set on the whole message alone."""

    def parse_tail(self, code: CodeGen, target: str, head: str) -> list[str]:
        """Lines that set `target`, the head having been read into `head`."""
        return []

    def parse_rows(self, code: CodeGen, values: str, count: str) -> list[str]:
        """Lines that read many of these in one go and set `count` to 0, where that can be done."""
        return []

    def build_split(self, code: CodeGen, source: str) -> tuple[list[str], str, list[str]]:
        """Lines before, the head as an expression, lines that write the rest; only where `built_head` isn't empty."""
        return [], source, []

    @property
    def built_head(self) -> str:
        """The head's letter when built, or VARINT; empty for what writes its head itself."""
        return self.head

    def parse_lines(self, code: CodeGen, target: str) -> list[str]:
        """Lines that set `target` and move `pos`."""
        head = target if type(self) is Fixed else f"head{code.allocateId()}"
        return [*read_heads(code, [(head, self.head)]), *self.parse_tail(code, target, head)]

    def build_lines(self, code: CodeGen, source: str) -> list[str]:
        """Lines that write the value of an expression."""
        before, head, after = self.build_split(code, source)
        return [*before, *write_heads(code, [(head, self.built_head)]), *after]

    def _emitparse(self, code: CodeGen) -> str:
        code.append(IMPORTS)
        code.keeps_view = self.keeps_view
        lines = [*self.parse_lines(code, "value"), "if pos > end: raise Flaw", "return value, pos"]
        code.append("\n".join([f"def {PARSE}(buf, pos, end):", *indent(lines)]))
        return f"{PARSE}(io.buf, io.pos, io.end)"

    def _emitbuild(self, code: CodeGen) -> str:
        code.append(IMPORTS)
        lines = ["write = io.write", *self.build_lines(code, "value")]
        code.append("\n".join([f"def {BUILD}(value, io):", *indent(lines)]))
        return f"{BUILD}(obj, io)"

    def compiled(self) -> tuple[str, Any, Any]:
        """The source, the function that parses and the one that builds, without what construct puts around them."""
        compiled = self.compile()
        names = vars(compiled.module)
        names.update({f"me{i}": linked for i, linked in enumerate(names["linkedinstances"].values())})
        return compiled.source, names[PARSE], names[BUILD]


def link(code: CodeGen, thing: object) -> str:
    """The name that a struct or a class has in the compiled module."""
    code.linkedinstances[id(thing)] = thing
    return f"me{list(code.linkedinstances).index(id(thing))}"


def read_heads(code: CodeGen, heads: list[tuple[str, str]]) -> list[str]:
    """Lines that read neighbouring heads, each into its target, in one call."""
    if not heads:
        return []
    letters = "".join(letter for _, letter in heads)
    if letters == "B":
        return [f"{heads[0][0]} = buf[pos]", "pos += 1"]
    size = struct.calcsize(">" + letters)
    targets = ", ".join(target for target, _ in heads)
    return [f"{targets}{',' if len(heads) == 1 else ''} = {unpacker(code, letters)}(buf, pos)", f"pos += {size}"]


def write_heads(code: CodeGen, heads: list[tuple[str, str]], end: str = "") -> list[str]:
    """Lines that write neighbouring heads, each the value of an expression, in one call; the last may be a varint."""
    if not heads:
        return [f"write({bytes(len(end))!r})"] if end else []
    last, last_letter = heads[-1]
    if last_letter != VARINT:
        values = ", ".join(value for value, _ in heads)
        return [f"write({packer(code, ''.join(letter for _, letter in heads) + end)}({values}))"]
    if len(heads) == 1:
        return [f"write(ONE_BYTE[{last}] if {last} < 128 else uvarint({last}))"]
    (short,) = write_heads(code, [*heads[:-1], (last, "B")])
    return [f"if {last} < 128: {short}", "else:", *indent([*write_heads(code, heads[:-1]), f"write(uvarint({last}))"])]


class Fixed(FormatField, WireType):
    """A number of fixed width."""

    def __init__(self, letter: str) -> None:
        super().__init__(">", letter)
        self.head = letter
        self.least = self.length
        self.packer = struct.Struct(self.fmtstr)

    def _parse(self, stream: Cursor, context: Any, path: Any) -> Any:
        return self.packer.unpack(stream.take(self.length))[0]

    def _build(self, obj: Any, stream: Writer, context: Any, path: Any) -> Any:
        stream.write(self.packer.pack(obj))
        return obj

    _emitparse = WireType._emitparse
    _emitbuild = WireType._emitbuild


class Uuid16(WireType):
    """Sixteen bytes."""

    head, least, only_head = "16s", 16, True

    def _parse(self, stream: Cursor, context: Any, path: Any) -> UUID:
        return uuid_of(bytes(stream.take(16)))

    def _build(self, obj: UUID, stream: Writer, context: Any, path: Any) -> UUID:
        stream.write(obj.bytes)
        return obj

    def parse_tail(self, code: CodeGen, target: str, head: str) -> list[str]:
        """Unpacked bytes become a UUID."""
        return [f"{target} = uuid_of({head})"]

    def build_split(self, code: CodeGen, source: str) -> tuple[list[str], str, list[str]]:
        """A UUID becomes bytes."""
        return [], f"{source}.int.to_bytes(16, 'big')", []


class Counted(WireType):
    """A length, then what it counts. Compact lengths are varints of one more; any negative one (compact: 0) is null."""

    letter = "l"
    longest = 0

    def __init__(self, flexible: bool, nullable: bool) -> None:
        super().__init__()
        self.flexible = flexible
        self.nullable = nullable
        self.head = "B" if flexible else self.letter
        self.bias = int(flexible)
        self.least = struct.calcsize(">" + self.head)
        self.prefix = struct.Struct(">" + self.letter)

    @property
    def built_head(self) -> str:
        """A compact length is no number of fixed size."""
        return VARINT if self.flexible else self.head

    def read_length(self, stream: Cursor) -> int:
        """The length; -1 for null, where null is allowed."""
        start = stream.pos
        n: int = stream.uvarint() - 1 if self.flexible else self.prefix.unpack(stream.take(self.prefix.size))[0]
        if n < 0 and not self.nullable:
            raise Flaw("null where this version has none", start)
        if self.longest and n > self.longest:
            raise Flaw(f"length {n} is more than {self.longest}", start)
        return n

    def write_length(self, n: int, stream: Writer) -> None:
        """The length; -1 for null, where null is allowed."""
        if n < 0 and not self.nullable:
            raise Flaw("null where this version has none")
        if self.longest and n > self.longest:
            raise Flaw(f"length {n} is more than {self.longest}")
        stream.write(uvarint(n + 1) if self.flexible else self.prefix.pack(n))

    def parse_tail(self, code: CodeGen, target: str, head: str) -> list[str]:
        """Null, or what the length counts."""
        lines = []
        if self.flexible:
            lines = [f"if {head} > 127:", f"    {head}, pos = read_uvarint(buf, pos - 1)"]
            if self.longest:
                lines += [f"    if {head} > {self.longest + 1}: raise Flaw"]
        counted = self.parse_counted(code, target, head)
        if self.nullable:
            return [*lines, f"if {head} < {self.bias}:", f"    {target} = None", "else:", *indent(counted)]
        return [*lines, f"if {head} < {self.bias}: raise Flaw", *counted]

    def parse_counted(self, code: CodeGen, target: str, head: str) -> list[str]:
        """Lines that read what is counted; `head` is the length plus the bias."""
        raise NotImplementedError


class Blob(Counted):
    """Bytes, copied."""

    def _parse(self, stream: Cursor, context: Any, path: Any) -> Any:
        n = self.read_length(stream)
        return None if n < 0 else self.decoded(stream.take(n), stream.pos - n)

    def _build(self, obj: Any, stream: Writer, context: Any, path: Any) -> Any:
        if obj is None:
            self.write_length(-1, stream)
        else:
            data = self.encoded(obj)
            self.write_length(len(data), stream)
            self.write_data(data, stream)
        return obj

    def decoded(self, data: bytes | memoryview, at: int) -> Any:
        """The value of some bytes."""
        return bytes(data)

    def encoded(self, value: Any) -> Any:
        """The bytes of a value."""
        return memoryview(value)

    def write_data(self, data: Any, stream: Writer) -> None:
        """What follows the length."""
        stream.write(data)

    from_view, from_short, from_bytes, encoded_code, write_code = "bytes({})", "{}", "{}", "memoryview({})", "write"

    def parse_counted(self, code: CodeGen, target: str, head: str) -> list[str]:
        """A slice."""
        n = f"{head} - 1" if self.flexible else head
        sliced = [
            f"stop = pos + {n}",
            f"{target} = {(self.from_view if code.keeps_view else self.from_bytes).format('buf[pos:stop]')}",
            "pos = stop",
        ]
        if not code.keeps_view or not self.from_short:
            return sliced
        code.append("short = short_bytes()")
        unpacked = self.from_short.format(f"short[{n}](buf, pos)[0]")
        return [f"if {n} < {SHORT}:", f"    {target} = {unpacked}", f"    pos += {n}", "else:", *indent(sliced)]

    def build_split(self, code: CodeGen, source: str) -> tuple[list[str], str, list[str]]:
        """The length of the bytes, plus the bias, as head; null is length -1 and no bytes."""
        name = code.allocateId()
        value, data, n = f"value{name}", f"data{name}", f"n{name}"
        there = [f"{data} = {self.encoded_code.format(value)}", f"{n} = len({data}){' + 1' if self.flexible else ''}"]
        if self.longest:
            there += [f"if {n} > {self.longest + self.bias}: raise Flaw"]
        write = f"{self.write_code}({data})"
        if not self.nullable:
            return [f"{value} = {source}", *there], n, [write]
        before = [f"{value} = {source}", f"if {value} is None: {n} = {self.bias - 1}", "else:", *indent(there)]
        return before, n, [f"if {value} is not None: {write}"]


class Text(Blob):
    """UTF-8; Kafka allows 32767 bytes even where the length could be more."""

    letter = "h"
    longest = LONGEST_TEXT
    from_view, from_short, from_bytes = "str({}, 'utf-8')", "{}.decode()", "{}.decode()"
    encoded_code = "{}.encode()"

    def decoded(self, data: bytes | memoryview, at: int) -> str:
        """The text of some bytes."""
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise Flaw(f"not UTF-8: {error.reason}", at + error.start) from None

    def encoded(self, value: str) -> bytes:
        """The bytes of a text."""
        return value.encode()


class RecordBytes(Blob):
    """Record batches: a slice of the frame itself; built as a piece of its own."""

    has_records = True
    from_view, from_short, encoded_code, write_code = "{}", "", "{}", "io.write_records"

    def decoded(self, data: bytes | memoryview, at: int) -> bytes | memoryview:
        """The view, as it is."""
        return data

    def encoded(self, value: Any) -> Any:
        """The piece, as it is."""
        return value

    def write_data(self, data: Any, stream: Writer) -> None:
        """Kept apart from the other pieces."""
        stream.write_records(data)


class Many(Counted):
    """An array."""

    def __init__(self, element: WireType, flexible: bool, nullable: bool) -> None:
        super().__init__(flexible, nullable)
        self.element = element
        # Kafka checks the count against the bytes left too, as if an element took one at least.
        self.each = max(1, element.least)
        self.has_records = element.has_records

    def _parse(self, stream: Cursor, context: Any, path: Any) -> list[Any] | None:
        start = stream.pos
        n = self.read_length(stream)
        if n < 0:
            return None
        left = stream.end - stream.pos
        if n > left or (n > EXACT and n * self.each > left):
            raise Flaw(f"{n} elements need {n * self.each} bytes, {left} left", start)
        values = []
        for i in range(n):
            try:
                values.append(self.element._parse(stream, context, path))
            except Flaw as flaw:
                flaw.path.append(f"[{i}]")
                raise
        return values

    def _build(self, obj: Any, stream: Writer, context: Any, path: Any) -> Any:
        self.write_length(-1 if obj is None else len(obj), stream)
        for i, value in enumerate(obj or ()):
            try:
                self.element._build(value, stream, context, path)
            except Flaw as flaw:
                flaw.path.append(f"[{i}]")
                raise
        return obj

    def parse_counted(self, code: CodeGen, target: str, head: str) -> list[str]:
        """All numbers of an array in one call; any other element in a loop."""
        lines = [f"{head} -= 1"] if self.flexible else []
        if isinstance(self.element, Fixed):
            letter, size = self.element.head, self.element.length
            code.append(f"unpack_few_{letter} = unpackers({letter!r})")
            return [
                *lines,
                f"if {head} < {FEW}: {target} = [*unpack_few_{letter}[{head}](buf, pos)]",
                "else:",
                f"    if {head} * {size} > end - pos: raise Flaw",
                f"    {target} = [*struct.unpack_from(f'>{{{head}}}{letter}', buf, pos)]",
                f"pos += {head} * {size}",
            ]
        value, values = f"value{code.allocateId()}", f"values{code.allocateId()}"
        return [
            *lines,
            f"if {head} * {self.each} > end - pos: raise Flaw",
            f"{target} = {values} = []",
            *self.element.parse_rows(code, values, head),
            f"for _ in range({head}):",
            *indent(self.element.parse_lines(code, value)),
            f"    {values}.append({value})",
        ]

    @property
    def built_head(self) -> str:
        """Numbers are packed with their count, so that the count is no head."""
        return "" if isinstance(self.element, Fixed) else super().built_head

    def build_split(self, code: CodeGen, source: str) -> tuple[list[str], str, list[str]]:
        """The count, plus the bias, as head; null is count -1. Then a loop."""
        name = code.allocateId()
        value, element, n = f"value{name}", f"element{name}", f"n{name}"
        count = f"{n} = len({value}){' + 1' if self.flexible else ''}"
        loop = [f"for {element} in {value}:", *indent(self.element.build_lines(code, element))]
        if not self.nullable:
            return [f"{value} = {source}", count], n, loop
        null = f"if {value} is None: {n} = {self.bias - 1}"
        return [f"{value} = {source}", null, f"else: {count}"], n, [f"if {value} is not None:", *indent(loop)]

    def build_lines(self, code: CodeGen, source: str) -> list[str]:
        """Count and all numbers in one call, where the elements are numbers."""
        if not isinstance(self.element, Fixed):
            return super().build_lines(code, source)
        letter, value = self.element.head, f"value{code.allocateId()}"
        code.append(f"pack_few_{self.head}_{letter} = packers({self.head!r}, {letter!r})")
        few = f"write(pack_few_{self.head}_{letter}[n](n{' + 1' if self.flexible else ''}, *{value}))"
        count = "write(uvarint(n + 1))" if self.flexible else f"write({packer(code, 'l')}(n))"
        lines = [
            f"n = len({value})",
            f"if n < {FEW}: {few}",
            "else:",
            f"    {count}",
            f"    write(struct.pack(f'>{{n}}{letter}', *{value}))",
        ]
        if not self.nullable:
            return [f"{value} = {source}", *lines]
        null = uvarint(0) if self.flexible else self.prefix.pack(-1)
        return [f"{value} = {source}", f"if {value} is None: write({null!r})", "else:", *indent(lines)]


class Optional(WireType):
    """A struct that may be null: after a byte, negative for null."""

    head = "b"

    def __init__(self, struct: WireType) -> None:
        super().__init__()
        self.struct = struct
        self.least = 1

    @property
    def built_head(self) -> str:
        """It writes the byte itself."""
        return ""

    def _parse(self, stream: Cursor, context: Any, path: Any) -> Any:
        return None if stream.take(1)[0] > 127 else self.struct._parse(stream, context, path)

    def _build(self, obj: Any, stream: Writer, context: Any, path: Any) -> Any:
        stream.write(b"\xff" if obj is None else ONE_BYTE[1])
        if obj is not None:
            self.struct._build(obj, stream, context, path)
        return obj

    def parse_tail(self, code: CodeGen, target: str, head: str) -> list[str]:
        """Null, or the struct."""
        there = indent(self.struct.parse_lines(code, target))
        return [f"if {head} < 0:", f"    {target} = None", "else:", *there]

    def build_lines(self, code: CodeGen, source: str) -> list[str]:
        """The byte, and the struct where there is one."""
        value = f"value{code.allocateId()}"
        there = ["write(ONE_BYTE[1])", *self.struct.build_lines(code, value)]
        return [f"{value} = {source}", f"if {value} is None: write(b'\\xff')", "else:", *indent(there)]
