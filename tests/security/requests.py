"""A request of any API and version with something in every field, for tests that walk through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pykbroker.protocol.fields import Array, Nested, String, Uuid
from pykbroker.protocol.messages import message_classes

NAME = "hidden"
TOPIC_ID = UUID("6f6e6520-746f-7069-6320-6f6620736f6d")


def sample(key: int, version: int, *, by_id: bool = False) -> Any:
    """A request that names the topic, group, user or id `hidden` wherever there is a name to give."""
    cls = message_classes(key)[0]
    request = _fill(cls, version, by_id)
    return cls.decode(memoryview(request.encode(version)), version)


def _fill(cls: Any, version: int, by_id: bool) -> Any:
    values: dict[str, Any] = {}
    has_id = "topic_id" in cls.fields and version in cls.fields["topic_id"].versions
    has_name = any(version in cls.fields[one].versions for one in ("name", "topic", "topic_name") if one in cls.fields)
    names_by_id = has_id and (by_id or not has_name)
    for name, field in cls.fields.items():
        if version not in field.versions or field.tag is not None:
            continue
        if isinstance(field, Array):
            values[name] = [_element(field.element, version, by_id)]
        elif isinstance(field, Nested):
            values[name] = _fill(field.element, version, by_id)
        elif isinstance(field, String):
            nameless = names_by_id and name in ("name", "topic") and version in (field.nullable or ())
            values[name] = None if nameless else NAME
        elif name == "resource_type":
            values[name] = 2
        elif isinstance(field, Uuid) and name == "topic_id" and names_by_id:
            values[name] = TOPIC_ID
    return cls(**values)


def _element(element: Any, version: int, by_id: bool) -> Any:
    if isinstance(getattr(element, "fields", None), Mapping):
        return _fill(element, version, by_id)
    return TOPIC_ID if issubclass(element, Uuid) else NAME if issubclass(element, String) else 0


def codes(message: Any) -> set[int]:
    """Every error code in a message, at any depth."""
    found = set()
    for name in message.fields:
        value = getattr(message, name)
        if name in ("error_code", "partition_error_code"):
            found.add(int(value))
        for one in value if isinstance(value, list) else [value]:
            if isinstance(getattr(one, "fields", None), Mapping):
                found |= codes(one)
    return found
