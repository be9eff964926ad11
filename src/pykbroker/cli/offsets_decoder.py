"""The records of `__consumer_offsets` as JSON, spelled as Kafka's dump tool spells them."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from uuid import UUID

from pykbroker.protocol import consumer_protocol
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.message import Message, Struct
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.stored import consumer_group, group_metadata, offset_commit, share_group

DELETED = "<DELETE>"
_CONSUMER = "consumer"


def _types() -> dict[int, tuple[type[Message], type[Message]]]:
    """Key and value of each type of record; a key's type is its first number."""
    found: dict[int, dict[bool, type[Message]]] = {}
    for module in (offset_commit, group_metadata, consumer_group, share_group):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message:
                found.setdefault(kind.key, {})[name.endswith("Key")] = kind
    known = {key: (pair[True], pair[False]) for key, pair in found.items() if len(pair) == 2}
    # A key of type 0 is laid out, and its value too, as those of type 1 are.
    known[0] = known[1]
    return known


class OffsetsDecoder:
    """Makes key and value of a record readable."""

    def __init__(self) -> None:
        self._types = _types()

    def __call__(self, record: Record) -> tuple[str | None, str | None]:
        """The texts for key and value; a value of None has none to show."""
        if record.key is None:
            return f"Error at offset {record.offset}, skipping. The message has no key", None
        number = int.from_bytes(record.key[:2], "big", signed=True)
        known = self._types.get(number)
        if known is None:
            return f"Unknown record type {number} at offset {record.offset}, skipping.", None
        key_type, value_type = known
        try:
            key = key_type.decode(record.key, 0, 2)
            shown = _dumped({"type": str(number), "data": _plain(key, 0)})
            if record.value is None:
                return shown, DELETED
            version = int.from_bytes(record.value[:2], "big", signed=True)
            value = value_type.decode(record.value, version, 2)
            return shown, _dumped({"version": str(version), "data": _value(value, version)})
        except (MalformedMessage, ValueError) as error:
            return f"Error at offset {record.offset}, skipping. {error}", None


def _value(value: Message, version: int) -> dict[str, Any]:
    shown = _plain(value, version)
    if isinstance(value, group_metadata.GroupMetadataValue) and value.protocol_type == _CONSUMER:
        for member, one in zip(shown["members"], value.members, strict=True):
            member["subscription"] = _embedded(one.subscription, consumer_protocol.Subscription)
            member["assignment"] = _embedded(one.assignment, consumer_protocol.Assignment)
    return shown


def _embedded(data: bytes, kind: type[Message]) -> Any:
    """What consumers told each other; the bytes where it isn't of that form."""
    version = int.from_bytes(data[:2], "big", signed=True)
    try:
        return _plain(kind.decode(data, version, 2), version)
    except (MalformedMessage, ValueError):
        return b64encode(data).decode()


def _plain(struct: Struct, version: int) -> dict[str, Any]:
    """The fields that a version has, by Kafka's names; tagged ones only where they differ from their default."""
    shown: dict[str, Any] = {}
    for name, field in struct.fields.items():
        if version not in field.versions:
            continue
        value = getattr(struct, name)
        if field.tag is not None and value == field.fresh():
            continue
        shown[_camel(name)] = _shown(value, version)
    return shown


def _shown(value: Any, version: int) -> Any:
    if isinstance(value, Struct):
        return _plain(value, version)
    if isinstance(value, list):
        return [_shown(item, version) for item in value]
    if isinstance(value, UUID):
        return urlsafe_b64encode(value.bytes).rstrip(b"=").decode()
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _dumped(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
