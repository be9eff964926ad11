"""The field types that a message is declared with: one line per field, in the order of the wire.

A field is called with the versions that have it; everything else is a keyword with Kafka's word. It says what is on the
wire and gives the construct for one version; it never reads or writes bytes itself. To mypy it is a descriptor of the
value's type; in the object a plain slot stands in its place.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload
from uuid import UUID

from pykbroker.protocol.versions import Versions

if TYPE_CHECKING:
    from pykbroker.protocol.message import Struct
    from pykbroker.protocol.primitives import WireType

T = TypeVar("T")
E = TypeVar("E")
S = TypeVar("S", bound="Struct")

UNSET: Any = object()
_versions = cache(Versions)
ZERO_UUID = UUID(int=0)
"""Kafka's "no id"."""


class SizedSlice(Protocol):
    """Record bytes that live elsewhere, such as in a file: their number is known, and they can be read if they must."""

    def __len__(self) -> int: ...

    def read(self) -> bytes:
        """All the bytes."""


class Field(Generic[T]):
    """What every field has: versions, nullable versions, default, `ignorable`, tag, and its own flexible versions."""

    __slots__ = ("default", "flexible", "ignorable", "nullable", "tag", "versions")

    empty: Any = None
    """The default where the declaration gives none."""

    def __init__(
        self,
        versions: str = "0+",
        *,
        nullable: str | None = None,
        default: Any = UNSET,
        ignorable: bool = False,
        tag: int | None = None,
        flexible: str | None = None,
    ) -> None:
        self.versions = _versions(versions)
        self.nullable = _versions(nullable)
        self.default = self.empty if default is UNSET else default
        self.ignorable = ignorable
        self.tag = tag
        self.flexible = None if flexible is None else _versions(flexible)

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...
    def __get__(self, instance: object | None, owner: Any) -> Self | T:
        return self

    def __set__(self, instance: object, value: T) -> None: ...

    def fresh(self) -> Any:
        """The default, never shared where it is mutable."""
        return self.default

    def construct(self, version: int, flexible: bool) -> WireType:
        """The wire type in one version of the message."""
        raise NotImplementedError

    def is_flexible(self, version: int, flexible: bool) -> bool:
        """Whether this field is coded compactly: as the message is, unless it says otherwise."""
        return flexible if self.flexible is None else version in self.flexible


class Number(Field[T]):
    """A field of fixed width, by its letter in `struct`."""

    __slots__ = ()

    letter: str
    empty: Any = 0

    def construct(self, version: int, flexible: bool) -> WireType:
        """The wire type: the same in all versions."""
        return _fixed(self.letter)


@cache
def _fixed(letter: str) -> WireType:
    from pykbroker.protocol.primitives import Fixed

    return Fixed(letter)


class Bool(Number[bool]):
    """One byte; anything but 0 is true."""

    __slots__ = ()
    letter, empty = "?", False


class Int8(Number[int]):
    """One byte, signed."""

    __slots__ = ()
    letter = "b"


class Int16(Number[int]):
    """Two bytes, signed."""

    __slots__ = ()
    letter = "h"


class UInt16(Number[int]):
    """Two bytes, unsigned."""

    __slots__ = ()
    letter = "H"


class Int32(Number[int]):
    """Four bytes, signed."""

    __slots__ = ()
    letter = "l"


class UInt32(Number[int]):
    """Four bytes, unsigned."""

    __slots__ = ()
    letter = "L"


class Int64(Number[int]):
    """Eight bytes, signed."""

    __slots__ = ()
    letter = "q"


class Float64(Number[float]):
    """Eight bytes, IEEE 754."""

    __slots__ = ()
    letter, empty = "d", 0.0


class Uuid(Field[UUID]):
    """Sixteen bytes; all zero means none."""

    __slots__ = ()
    empty = ZERO_UUID

    def construct(self, version: int, flexible: bool) -> WireType:
        """The wire type: the same in all versions."""
        return _uuid()


@cache
def _uuid() -> WireType:
    from pykbroker.protocol.primitives import Uuid16

    return Uuid16()


class String(Field[T]):
    """UTF-8 text of at most 32767 bytes."""

    __slots__ = ()
    empty = ""

    @overload
    def __init__(
        self: String[str],
        versions: str = ...,
        *,
        default: str = ...,
        ignorable: bool = ...,
        tag: int = ...,
        flexible: str = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: String[str | None],
        versions: str = ...,
        *,
        nullable: str,
        default: str | None = ...,
        ignorable: bool = ...,
        tag: int = ...,
        flexible: str = ...,
    ) -> None: ...
    def __init__(self, versions: str = "0+", **rest: Any) -> None:
        super().__init__(versions, **rest)

    def construct(self, version: int, flexible: bool) -> WireType:
        """Length as int16, or as varint plus one; then the bytes."""
        from pykbroker.protocol.primitives import Text

        return Text(self.is_flexible(version, flexible), version in self.nullable)


class Bytes(Field[T]):
    """Bytes that are copied out of the frame."""

    __slots__ = ()
    empty = b""

    @overload
    def __init__(
        self: Bytes[bytes],
        versions: str = ...,
        *,
        default: bytes = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Bytes[bytes | None],
        versions: str = ...,
        *,
        nullable: str,
        default: bytes | None = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    def __init__(self, versions: str = "0+", **rest: Any) -> None:
        super().__init__(versions, **rest)

    def construct(self, version: int, flexible: bool) -> WireType:
        """Length as int32, or as varint plus one; then the bytes."""
        from pykbroker.protocol.primitives import Blob

        return Blob(self.is_flexible(version, flexible), version in self.nullable)


class Records(Field[memoryview | None]):
    """Record batches: a part of the frame itself when decoded; bytes or a slice of a file when encoded.

    Empty by default, unlike Kafka: librdkafka refuses a Fetch response with null records.
    """

    __slots__ = ()
    empty = b""

    def __set__(self, instance: object, value: bytes | bytearray | memoryview | SizedSlice | None) -> None: ...

    def construct(self, version: int, flexible: bool) -> WireType:
        """Length as int32, or as varint plus one; then the bytes."""
        from pykbroker.protocol.primitives import RecordBytes

        return RecordBytes(self.is_flexible(version, flexible), version in self.nullable)


class Array(Field[T]):
    """Any number of structs, or of one primitive. Each object has a list of its own."""

    __slots__ = ("element",)
    empty = ()

    @overload
    def __init__(
        self: Array[list[S]],
        element: type[S],
        versions: str = ...,
        *,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[S] | None],
        element: type[S],
        versions: str = ...,
        *,
        nullable: str,
        default: None = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[str]],
        element: type[String[Any]],
        versions: str = ...,
        *,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[str] | None],
        element: type[String[Any]],
        versions: str = ...,
        *,
        nullable: str,
        default: None = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[E]],
        element: type[Field[E]],
        versions: str = ...,
        *,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[E] | None],
        element: type[Field[E]],
        versions: str = ...,
        *,
        nullable: str,
        default: None = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    def __init__(self, element: type[Struct] | type[Field[Any]], versions: str = "0+", **rest: Any) -> None:
        super().__init__(versions, **rest)
        self.element = element

    def fresh(self) -> Any:
        """An empty list, or null where that is the default."""
        return None if self.default is None else []

    def construct(self, version: int, flexible: bool) -> WireType:
        """Count as int32, or as varint plus one; then the elements."""
        from pykbroker.protocol.primitives import Many

        element = self.element() if issubclass(self.element, Field) else self.element
        return Many(element.construct(version, flexible), self.is_flexible(version, flexible), version in self.nullable)


class Nested(Field[T]):
    """One struct. Null by default only where the declaration says so; each object has a struct of its own."""

    __slots__ = ("element",)
    empty = ()

    @overload
    def __init__(
        self: Nested[S],
        element: type[S],
        versions: str = ...,
        *,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Nested[S | None],
        element: type[S],
        versions: str = ...,
        *,
        nullable: str,
        default: None = ...,
        ignorable: bool = ...,
        tag: int = ...,
    ) -> None: ...
    def __init__(self, element: type[Struct], versions: str = "0+", **rest: Any) -> None:
        super().__init__(versions, **rest)
        self.element = element

    def fresh(self) -> Any:
        """A struct of defaults, or null where that is the default."""
        return None if self.default is None else self.element()

    def construct(self, version: int, flexible: bool) -> WireType:
        """The struct itself; where it may be null, after a byte that says whether it is there."""
        from pykbroker.protocol.primitives import Optional

        struct = self.element.construct(version, flexible)
        return Optional(struct) if version in self.nullable else struct


def same(one: Any, other: Any) -> bool:
    """Equality of two field values, in which a tuple equals a list; a view equals the bytes that it shows anyway."""
    if isinstance(one, tuple) or isinstance(other, tuple):
        return isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and list(one) == list(other)
    return bool(one == other)
