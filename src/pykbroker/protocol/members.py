"""construct.Struct for a declared class: fills slots, keeps no context, and emits flat code for all it contains.

Tagged fields are read and written by the plain form, and only where there are any. Knows no message.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pykbroker.protocol.cursor import AbsentField, Cursor, Flaw, Writer, uvarint
from pykbroker.protocol.fields import Array, Field, Nested, Uuid, same
from pykbroker.protocol.primitives import ROWS, Fixed, WireType, indent, link, read_heads, write_heads

if TYPE_CHECKING:
    from pykbroker.protocol.construct_types import CodeGen
    from pykbroker.protocol.message import Struct

WRONG_VALUE = (struct.error, TypeError, AttributeError, ValueError, OverflowError)
"""What the primitives raise when a field holds something that isn't of its type."""


class Members(WireType):
    """The fields of a struct in one version, in order, then the tagged ones."""

    head = ""

    def __init__(self, cls: type[Struct], version: int, flexible: bool) -> None:
        super().__init__()
        self.cls, self.flexible = cls, flexible
        present = {name: field for name, field in cls.fields.items() if version in field.versions}
        wire = {name: field.construct(version, flexible) for name, field in present.items()}
        self.tagged = {
            field.tag: (name, field, wire[name])
            for name, field in sorted(present.items(), key=lambda item: item[1].tag or 0)
            if field.tag is not None
        }
        self.subcons = {name: wire[name] for name, field in present.items() if field.tag is None}
        self.absent = {name: field for name, field in cls.fields.items() if name not in self.subcons}
        self.refused = {
            name: field for name, field in cls.fields.items() if name not in present and not field.ignorable
        }
        self.least = sum(subcon.least for subcon in self.subcons.values()) + int(flexible)
        self.has_records = any(subcon.has_records for subcon in self.subcons.values())

    # ---- plain

    def _parse(self, stream: Cursor, context: Any, path: Any) -> Any:
        obj = self.cls.__new__(self.cls)
        for name, field in self.absent.items():
            setattr(obj, name, field.fresh())
        for name, subcon in self.subcons.items():
            try:
                setattr(obj, name, subcon._parse(stream, context, path))
            except Flaw as flaw:
                flaw.path.append(f".{name}")
                raise
        obj.unknown_tags = ()
        if self.flexible:
            self._parse_tags(obj, stream)
        return obj

    def _parse_tags(self, obj: Any, stream: Cursor) -> None:
        unknown = []
        for _ in range(stream.uvarint()):
            tag, size = stream.uvarint(), stream.uvarint()
            start = stream.pos
            if tag not in self.tagged:
                unknown.append((tag, bytes(stream.take(size))))
                continue
            name, _field, subcon = self.tagged[tag]
            try:
                setattr(obj, name, subcon._parse(stream, None, None))
                if stream.pos != start + size:
                    raise Flaw(f"tagged field takes {stream.pos - start} bytes, not {size}", start)
            except Flaw as flaw:
                flaw.path.append(f".{name}")
                raise
        obj.unknown_tags = tuple(sorted(unknown, key=lambda pair: pair[0]))

    def parse_tags_at(self, obj: Any, buf: bytes | memoryview, pos: int) -> int:
        """For compiled code: reads the tagged fields at a position, and returns the position after them."""
        stream = Cursor(buf, pos)
        self._parse_tags(obj, stream)
        return stream.pos

    def _build(self, obj: Any, stream: Writer, context: Any, path: Any) -> Any:
        if type(obj) is not self.cls:
            raise Flaw(f"{type(obj).__qualname__} where {self.cls.__qualname__} belongs")
        for name, field in self.refused.items():
            if not same(getattr(obj, name), field.fresh()):
                flaw = AbsentField("is set, but this version has no such field")
                flaw.path.append(f".{name}")
                raise flaw
        for name, subcon in self.subcons.items():
            _build_field(subcon, name, getattr(obj, name), stream)
        if self.flexible:
            self.build_tags(obj, stream)
        return obj

    def build_tags(self, obj: Any, stream: Writer) -> None:
        """The tagged fields that differ from their defaults, and the unknown ones that the object holds."""
        tags = list(obj.unknown_tags)
        for tag, (name, field, subcon) in self.tagged.items():
            value = getattr(obj, name)
            if not same(value, field.fresh()):
                part = Writer()
                _build_field(subcon, name, value, part)
                tags.append((tag, part.joined()))
        tags.sort(key=lambda pair: pair[0])
        stream.write(uvarint(len(tags)))
        for tag, data in tags:
            stream.write(uvarint(tag))
            stream.write(uvarint(len(data)))
            stream.write(data)

    # ---- compiled

    def parse_lines(self, code: CodeGen, target: str) -> list[str]:
        """Flat lines: a run of heads at a time, then what each counts."""
        obj = f"obj{code.allocateId()}"
        lines = blank(code, f"{target} = {obj}", obj, self.cls, self.absent)
        heads: list[tuple[str, str]] = []
        later: list[str] = []
        for name, subcon in self.subcons.items():
            place, head = f"{obj}.{name}", f"head{code.allocateId()}"
            if not subcon.head:
                lines += [*read_heads(code, heads), *later, *subcon.parse_lines(code, place)]
                heads, later = [], []
                continue
            tail = subcon.parse_tail(code, place, head)
            heads.append((head if tail else place, subcon.head))
            later += tail
            if tail and not subcon.only_head:
                lines += [*read_heads(code, heads), *later]
                heads, later = [], []
        if self.flexible:
            heads.append(("tags", "B"))
            later.append(f"if tags: pos = {link(code, self)}.parse_tags_at({obj}, buf, pos - 1)")
        return [*lines, *read_heads(code, heads), *later]

    def parse_rows(self, code: CodeGen, values: str, count: str) -> list[str]:
        """Structs of numbers alone: all of them by one iterator, until one has tagged fields."""
        if not self.subcons or not all(type(subcon) is Fixed for subcon in self.subcons.values()):
            return []
        obj, letters = f"obj{code.allocateId()}", "".join(subcon.head for subcon in self.subcons.values())
        places = ", ".join(f"{obj}.{name}" for name in self.subcons)
        if self.flexible:
            letters += "B"
            places += ", tags"
        rows = f"rows_{letters.replace('?', 'o')}"
        code.append(f"{rows} = struct.Struct('>{letters}').iter_unpack")
        each = [
            *blank(code, obj, obj, self.cls, self.absent),
            f"{places}{',' if len(letters) == 1 else ''} = row",
            *(["if tags: break"] if self.flexible else []),
            f"{values}.append({obj})",
        ]
        done = [f"pos += {count} * {self.least}", f"{count} = 0"]
        if self.flexible:
            done = ["else:", *indent(done), f"if {count}: {values}.clear()"]
        loop = [f"for row in {rows}(buf[pos:pos + {count} * {self.least}]):", *indent(each), *done]
        return [f"if {count} >= {ROWS}:", *indent(loop)]

    def build_lines(self, code: CodeGen, source: str) -> list[str]:
        """Flat lines: what each field must not be or becomes, a run of heads at a time, then what each counts."""
        obj = source if source.isidentifier() else f"obj{code.allocateId()}"
        lines = [] if obj == source else [f"{obj} = {source}"]
        lines.append(f"if {obj}.__class__ is not {link(code, self.cls)}: raise Flaw")
        for name, field in self.refused.items():
            lines.append(f"if {differs(f'{obj}.{name}', field)}: raise Flaw")
        run: list[tuple[str, str]] = []
        for name, subcon in self.subcons.items():
            place = f"{obj}.{name}"
            if not subcon.built_head:
                lines += [*write_heads(code, run), *subcon.build_lines(code, place)]
                run = []
                continue
            before, head, after = subcon.build_split(code, place)
            lines += before
            run.append((head, subcon.built_head))
            if after:
                lines += [*write_heads(code, run), *after]
                run = []
        if not self.flexible:
            return [*lines, *write_heads(code, run)]
        tagged = [f"{obj}.unknown_tags", *(differs(f"{obj}.{name}", field) for name, field, _ in self.tagged.values())]
        there = [*write_heads(code, run), f"{link(code, self)}.build_tags({obj}, io)"]
        return [*lines, f"if {' or '.join(tagged)}:", *indent(there), "else:", *indent(write_heads(code, run, "x"))]


def _build_field(subcon: WireType, name: str, value: Any, stream: Writer) -> None:
    try:
        subcon._build(value, stream, None, None)
    except Flaw as flaw:
        flaw.path.append(f".{name}")
        raise
    except WRONG_VALUE as error:
        wrong = Flaw(f"can't be {repr(value)[:80]}: {error}")
        wrong.path.append(f".{name}")
        raise wrong from None


def blank(code: CodeGen, targets: str, obj: str, cls: type[Struct], fields: dict[str, Field[Any]]) -> list[str]:
    """Lines that make an object with the defaults of some of its fields."""
    lines = [f"{targets} = new({link(code, cls)})", f"{obj}.unknown_tags = ()"]
    for name, field in fields.items():
        if isinstance(field, Nested) and field.default is not None:
            inner = f"obj{code.allocateId()}"
            lines += blank(code, f"{obj}.{name} = {inner}", inner, field.element, field.element.fields)
        else:
            lines.append(f"{obj}.{name} = {_fresh(field)}")
    return lines


def _fresh(field: Field[Any]) -> str:
    """The default of a field that isn't a struct, as an expression."""
    if isinstance(field, Array) and field.default is not None:
        return "[]"
    return "ZERO_UUID" if isinstance(field, Uuid) else repr(field.default)


def differs(source: str, field: Field[Any]) -> str:
    """Whether an expression isn't the field's default, as an expression."""
    if field.default is None:
        return f"{source} is not None"
    if isinstance(field, Array):
        return f"({source} is None or len({source}))"
    if isinstance(field, Uuid):
        return f"{source}.int"
    if isinstance(field, Nested):
        inner = [differs(f"{source}.{name}", each) for name, each in field.element.fields.items()]
        return f"({' or '.join([f'{source} is None', *inner, f'{source}.unknown_tags'])})"
    return f"{source} != {field.default!r}"
