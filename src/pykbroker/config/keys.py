"""The form in which config keys are declared: name, type, default, update mode, valid values, each in one place.

A key is a class attribute; an object of that class holds the values under the same names, with types that mypy
infers. It parses, checks and formats values as Kafka does. It never reads a file and knows no key by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, overload

T = TypeVar("T")

READ_ONLY = "read-only"
PER_BROKER = "per-broker"
CLUSTER_WIDE = "cluster-wide"

_UNSET: Any = object()

MAX_LONG = (1 << 63) - 1


class ConfigError(ValueError):
    """A value that a key can't have; its text is one line with the key, the value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {value!r}: {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed

    @property
    def kafka_message(self) -> str:
        """The sentence that Kafka's admin APIs answer."""
        return f"Invalid value {self.value} for configuration {self.key}: {self.allowed}"


class Key(Generic[T]):
    """One declared key. It has no `__set__`, so that an object's own values are plain attributes."""

    __slots__ = ("attribute", "default", "mode", "name", "ours", "removed", "source", "valid")
    kind: ClassVar[str] = ""
    sensitive: ClassVar[bool] = False

    def __init__(
        self,
        default: Any,
        mode: str = READ_ONLY,
        *,
        valid: str = "",
        ours: Any = _UNSET,
        name: str = "",
        removed: bool = False,
        source: str | None = None,
    ) -> None:
        """Declares a key.

        `default` is Kafka's, `ours` the one that this broker has instead; `valid` is in the notation of Kafka's
        documentation (`[1,...]`, `[a, b]`); `removed` says that Kafka 4 no longer has the key;
        `source` names the broker key behind a topic's default.
        """
        self.default = default
        self.mode = mode
        self.valid = valid
        self.ours = default if ours is _UNSET else ours
        self.name = name
        self.attribute = ""
        self.removed = removed
        self.source = source

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        if not self.name:
            self.name = attribute.replace("_", ".")

    @overload
    def __get__(self, instance: None, owner: type) -> Key[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.ours

    def parse(self, text: str) -> Any:
        """The value that a text stands for; raises ConfigError where it stands for none or for one that isn't valid."""
        value = self._convert(text.strip())
        wrong = complaint(value, self.valid) if self.valid else None
        if wrong:
            raise ConfigError(self.name, text, wrong)
        return value

    def _convert(self, text: str) -> Any:
        return text

    def format(self, value: Any) -> str | None:
        """The text that DescribeConfigs shows for a value; None for a key that isn't set."""
        return None if value is None else str(value)


class Integer(Key[T]):
    """A number of at most `bits` bits."""

    __slots__ = ()
    bits: ClassVar[int] = 32

    def _convert(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(self.name, text, f"Not a number of type {self.kind.upper()}") from None
        if not -(1 << (self.bits - 1)) <= value < 1 << (self.bits - 1) or "_" in text:
            raise ConfigError(self.name, text, f"Not a number of type {self.kind.upper()}")
        return value


class Int(Integer[T]):
    """A 32-bit number."""

    __slots__ = ()
    kind = "int"

    @overload
    def __init__(self: Int[int], default: int, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: Int[int], default: None, mode: str = ..., *, ours: int, **options: Any) -> None: ...
    @overload
    def __init__(self: Int[int | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)


class Long(Integer[T]):
    """A 64-bit number."""

    __slots__ = ()
    kind = "long"
    bits = 64

    @overload
    def __init__(self: Long[int], default: int, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: Long[int | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)


class Short(Integer[T]):
    """A 16-bit number."""

    __slots__ = ()
    kind = "short"
    bits = 16

    @overload
    def __init__(self: Short[int], default: int, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: Short[int | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)


class Double(Key[float]):
    """A floating-point number, shown as Java shows it."""

    __slots__ = ()
    kind = "double"

    def _convert(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(self.name, text, "Not a number of type DOUBLE") from None

    def format(self, value: Any) -> str | None:
        """`1.7976931348623157E308`, where Python has `e+308`."""
        return None if value is None else repr(float(value)).replace("e+", "E").replace("e", "E")


class Boolean(Key[bool]):
    """`true` or `false`, in any case of letters."""

    __slots__ = ()
    kind = "boolean"

    def _convert(self, text: str) -> bool:
        lowered = text.lower()
        if lowered not in ("true", "false"):
            raise ConfigError(self.name, text, "Expected value to be either true or false")
        return lowered == "true"

    def format(self, value: Any) -> str | None:
        """In small letters."""
        return None if value is None else ("true" if value else "false")


class String(Key[T]):
    """A text."""

    __slots__ = ()
    kind = "string"

    @overload
    def __init__(self: String[str], default: str, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: String[str | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)


class Class(Key[T]):
    """The name of a Java class, kept as a text."""

    __slots__ = ()
    kind = "class"

    @overload
    def __init__(self: Class[str], default: str, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: Class[str | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)


class Password(Key[T]):
    """A text that is never shown."""

    __slots__ = ()
    kind = "password"
    sensitive = True

    @overload
    def __init__(self: Password[str], default: str, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: Password[str | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: Any, mode: str = READ_ONLY, **options: Any) -> None:
        super().__init__(default, mode, **options)

    def parse(self, text: str) -> Any:
        """The text as it is, blanks included."""
        return text


class List(Key[T]):
    """Texts with commas between them, held as a tuple."""

    __slots__ = ()
    kind = "list"

    @overload
    def __init__(self: List[tuple[str, ...]], default: str, mode: str = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: List[tuple[str, ...] | None], default: None, mode: str = ..., **options: Any) -> None: ...
    def __init__(self, default: str | None, mode: str = READ_ONLY, **options: Any) -> None:
        if "ours" in options:
            options["ours"] = split(options["ours"])
        super().__init__(None if default is None else split(default), mode, **options)

    def _convert(self, text: str) -> tuple[str, ...]:
        return split(text)

    def format(self, value: Any) -> str | None:
        """With commas and no blanks."""
        return None if value is None else ",".join(value)


def split(text: str) -> tuple[str, ...]:
    """The parts between commas, without blanks around them; nothing for an empty text."""
    return tuple([part.strip() for part in text.split(",")]) if text.strip() else ()


DURATION = re.compile(r"by_duration:P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", re.IGNORECASE)


def complaint(value: Any, valid: str) -> str | None:
    """What is wrong with a value, in Kafka's words, by a notation like `[0,...,1]`, `[1,...] or -1`, `[a, b]`."""
    notation, _, also = valid.partition(" or ")
    if also and str(value) == also:
        return None
    if notation.startswith("[partitionId]"):
        ok = value == ("*",) or all(_is_replica(part) for part in value)
        return None if ok else f"Must be * or {notation}"
    parts = [part.strip() for part in notation.strip("[]").split(",")]
    if "..." in parts:
        if value < float(parts[0]):
            return f"Value must be at least {parts[0]}"
        if len(parts) > 2 and value > float(parts[2]):
            return f"Value must be no more than {parts[2]}"
        return None
    if "by_duration" in notation and DURATION.fullmatch(str(value)):
        return None
    values = value if isinstance(value, tuple) else (value,)
    if len(values) == len(set(values)) and all(one in parts for one in values):
        return None
    return f"String must be one of: {', '.join(parts)}"


def _is_replica(text: str) -> bool:
    partition, colon, broker = text.partition(":")
    return bool(colon) and partition.isdecimal() and broker.isdecimal()


def keys_of(owner: type) -> dict[str, Key[Any]]:
    """The keys that a class and its bases declare, by Kafka's name, in the order of declaration."""
    found: dict[str, Key[Any]] = {}
    for base in reversed(owner.__mro__):
        for value in vars(base).values():
            if isinstance(value, Key):
                found[value.name] = value
    return found


def nearest(name: str, known: Mapping[str, Any]) -> str | None:
    """The known name most like an unknown one, if any is like it."""
    import difflib

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else None
