"""Keys and values as text, and back: the formats of Kafka's serializers, by short names."""

from __future__ import annotations

import argparse
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

_NUMBERS = {"short": ">h", "integer": ">i", "long": ">q", "float": ">f", "double": ">d"}
FORMATS = ("text", "hex", "base64", *_NUMBERS, "uuid")


def decoder(name: str) -> Callable[[bytes], str]:
    """Bytes to text; raises ValueError for bytes that aren't of the format."""
    if name in _NUMBERS:
        return _number_decoder(_NUMBERS[name], name)
    if name == "hex":
        return bytes.hex
    if name == "base64":
        return lambda data: b64encode(data).decode()
    # Kafka writes a UUID as its text.
    return lambda data: data.decode(errors="replace")


def _number_decoder(layout: str, name: str) -> Callable[[bytes], str]:
    def decode(data: bytes) -> str:
        try:
            return str(struct.unpack(layout, data)[0])
        except struct.error:
            raise ValueError(f"{len(data)} bytes are no {name}") from None

    return decode


def encoder(name: str) -> Callable[[str], bytes]:
    """Text to bytes; raises ValueError for text that isn't of the format."""
    if name in _NUMBERS:
        return _number_encoder(_NUMBERS[name], name)
    if name == "hex":
        return bytes.fromhex
    if name == "base64":
        return lambda text: b64decode(text, validate=True)
    if name == "uuid":
        return lambda text: str(UUID(text)).encode()
    return lambda text: text.encode(errors="surrogateescape")


def _number_encoder(layout: str, name: str) -> Callable[[str], bytes]:
    convert: Callable[[str], Any] = float if name in ("float", "double") else int

    def encode(text: str) -> bytes:
        try:
            return struct.pack(layout, convert(text))
        except (struct.error, ValueError, OverflowError):
            raise ValueError(f"{text!r} is no {name}") from None

    return encode


def to_json(data: bytes | None) -> Any:
    """Bytes in a document: text where they are UTF-8, otherwise `{"base64": …}`."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def from_json(value: Any) -> bytes | None:
    """The same back; anything else is kept as its JSON. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        return b64decode(value["base64"], validate=True)
    import json

    return json.dumps(value, ensure_ascii=False).encode()


def separator(text: str) -> str:
    r"""A separator, in which `\t`, `\n` and `\0` stand for what can't be typed."""
    if not text:
        raise argparse.ArgumentTypeError("a separator can't be empty")
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("\\0", "\0")
