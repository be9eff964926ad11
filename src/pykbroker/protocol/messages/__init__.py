"""Kafka's messages, one file per API key; a file is imported when its API is first used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.message import Message


@cache
def message_classes(key: int) -> tuple[type[Message], type[Message]]:
    """Request and response of an API. Raises ValueError for a key that Kafka doesn't have."""
    module = ApiKey(key).name.lower()
    name = "".join(word.capitalize() for word in module.split("_"))
    found = import_module(f"{__name__}.{module}")
    return cast(type[Message], getattr(found, f"{name}Request")), cast(type[Message], getattr(found, f"{name}Response"))


def request_class(key: int) -> type[Message]:
    """The request of an API. Raises ValueError for a key that Kafka doesn't have."""
    return message_classes(key)[0]


def response_class(key: int) -> type[Message]:
    """The response of an API. Raises ValueError for a key that Kafka doesn't have."""
    return message_classes(key)[1]
