"""How a Kafka message is declared, and what its objects are: slots, defaults, equality, `decode` and `encode`.

One class per message serves all its versions: what a version lacks holds its default. Nothing is built at import;
a version's construct is made on first use and compiled on repeated use (see `codec`). Knows no API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from pykbroker.protocol.fields import (
    ZERO_UUID,
    Array,
    Bool,
    Bytes,
    Field,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Nested,
    Records,
    SizedSlice,
    String,
    UInt16,
    UInt32,
    Uuid,
    same,
)
from pykbroker.protocol.versions import Versions

if TYPE_CHECKING:
    from pykbroker.protocol.codec import Codec
    from pykbroker.protocol.members import Members

__all__ = [
    "ZERO_UUID",
    "Array",
    "Bool",
    "Bytes",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Message",
    "Nested",
    "Piece",
    "Records",
    "SizedSlice",
    "String",
    "Struct",
    "UInt16",
    "UInt32",
    "Uuid",
    "as_bytes",
]

Piece: TypeAlias = bytes | bytearray | memoryview | SizedSlice
"""What an encoded message consists of: bytes to write, or a slice to send."""


def as_bytes(piece: Piece) -> bytes | bytearray | memoryview:
    """A piece as bytes, for who can't send slices of files."""
    return piece if isinstance(piece, (bytes, bytearray, memoryview)) else piece.read()


OFTEN = 8
"""A class made this many times by keywords gets an `__init__` of its own."""


class Declared(type):
    """Takes the fields out of a class body, in order, and puts slots of the same names in their place.

    `key`, `versions` and `flexible` are properties of the class, so that a message may have a field called `key`.
    """

    fields: dict[str, Field[Any]]
    _made: int
    _codecs: dict[int, Codec]
    _declared: tuple[int, Versions, Versions]

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        *,
        key: int = -1,
        versions: str | None = None,
        flexible: str | None = None,
    ) -> Declared:
        """Options of a message: its API key (or a record key's type), its versions, and which of them are flexible."""
        fields = {name: value for name, value in body.items() if isinstance(value, Field)}
        rest = {name: value for name, value in body.items() if name not in fields}
        slots = rest.pop("__slots__", tuple(fields))
        made = super().__new__(cls, name, bases, {**rest, "__slots__": slots, "fields": fields})
        made._made = 0
        if versions is not None:
            made._declared = key, Versions(versions), Versions(flexible)
            made._codecs = {}
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, body)

    @property
    def key(cls) -> int:
        """The API key; for the key of a stored record, its type; -1 for anything else."""
        return cls._declared[0]

    @property
    def versions(cls) -> Versions:
        """From 0 to the newest that is declared."""
        return cls._declared[1]

    @property
    def flexible(cls) -> Versions:
        """The versions with compact lengths and tagged fields."""
        return cls._declared[2]


class Struct(metaclass=Declared):
    """A group of fields; its objects take each as a keyword. `unknown_tags` holds undeclared tagged fields."""

    __slots__ = ("unknown_tags",)

    fields: ClassVar[dict[str, Field[Any]]]
    unknown_tags: tuple[tuple[int, bytes], ...]

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        for name, field in cls.fields.items():
            setattr(self, name, values.pop(name) if name in values else field.fresh())
        self.unknown_tags = values.pop("unknown_tags", ())
        if values:
            raise TypeError(f"{cls.__qualname__} has no field {', '.join(values)}")
        cls._made += 1
        if cls._made == OFTEN:
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and all(same(getattr(self, name), getattr(other, name)) for name in self.fields)
            and self.unknown_tags == other.unknown_tags
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.fields]
        if self.unknown_tags:
            shown.append(f"unknown_tags={self.unknown_tags!r}")
        return f"{type(self).__qualname__}({', '.join(shown)})"

    @classmethod
    def construct(cls, version: int, flexible: bool) -> Members:
        """The construct of this struct in one version of its message."""
        from pykbroker.protocol.members import Members

        return Members(cls, version, flexible)


def _constructor(cls: type[Struct]) -> Any:
    """`Struct.__init__` for one class, with no loop: three times as fast."""
    names: dict[str, Any] = {"unset": object()}
    parameters, lines = [], []
    for number, (name, field) in enumerate(cls.fields.items()):
        if isinstance(field, (Array, Nested)) and field.default is not None:
            names[f"fresh{number}"] = field.fresh if isinstance(field, Nested) else list
            parameters.append(f"{name}=unset")
            lines.append(f"    self.{name} = fresh{number}() if {name} is unset else {name}")
        else:
            names[f"default{number}"] = field.default
            parameters.append(f"{name}=default{number}")
            lines.append(f"    self.{name} = {name}")
    head = f"def __init__(self, *, {', '.join([*parameters, 'unknown_tags=()'])}):"
    exec("\n".join([head, *lines, "    self.unknown_tags = unknown_tags"]), names)
    return names["__init__"]


class Message(Struct, versions="none"):
    """A whole request, response, header, record key or record value."""

    __slots__ = ()

    @classmethod
    def codec(cls, version: int) -> Codec:
        """What reads and writes one version. Raises ValueError for a version that isn't declared."""
        found = cls._codecs.get(version)
        if found is None:
            from pykbroker.protocol.codec import Codec

            found = cls._codecs[version] = Codec(cls, version)
        return found

    @classmethod
    def decode(cls, buffer: bytes | bytearray | memoryview, version: int, offset: int = 0) -> Self:
        """The message that starts at `offset`; bytes after its end are ignored, as Kafka ignores them.

        A `records` field shows the buffer itself. Raises MalformedMessage, which names the field and its byte.
        """
        codec = cls._codecs.get(version) or cls.codec(version)
        message: Self = codec.decode(buffer, offset)[0]
        return message

    @classmethod
    def decode_from(cls, buffer: bytes | bytearray | memoryview, version: int, offset: int = 0) -> tuple[Self, int]:
        """As `decode`, with the offset of the first byte after the message."""
        return cls.codec(version).decode(buffer, offset)

    def encode(self, version: int) -> bytes:
        """The message as bytes. Raises UnbuildableMessage for a value that this version can't carry."""
        return type(self).codec(version).encode(self)

    def encode_parts(self, version: int) -> list[Piece]:
        """The message in order of the wire, each `records` value as it was given, everything else joined."""
        return type(self).codec(version).encode_parts(self)
