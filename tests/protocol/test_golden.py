"""Bytes written down from Kafka's definitions, for the versions that kio lacks; and that no version is without a proof.

A line of golden.jsonl holds the values and the bytes, the latter by another program than ours: fields in order, two
elements in each array, tagged fields in order of their tags.
"""

import importlib.util
import json
from pathlib import Path
from uuid import UUID

import pytest

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.fields import Array, Nested

GOLDEN = [json.loads(line) for line in Path(__file__).with_name("golden.jsonl").read_text().splitlines()]
PROVEN = {(each["message"], each["version"]) for each in GOLDEN}


def built(cls, values):
    """An object of JSON values."""
    return cls(**{name: value_of(cls.fields[name], value) for name, value in values.items()})


def value_of(field, value):
    if isinstance(field, Array):
        return [value_of(field.element, each) for each in value]
    if isinstance(field, Nested):
        return built(field.element, value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind == "uuid":
            return UUID(text)
        if kind in ("bytes", "records"):
            return bytes.fromhex(text)
    return built(field, value) if isinstance(value, dict) else value


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{each['message']}-{each['version']}" for each in GOLDEN])
def test_golden_bytes(golden, made):
    cls, version, raw = made.named[golden["message"]], golden["version"], bytes.fromhex(golden["bytes"])
    value = built(cls, golden["values"])
    assert value.encode(version) == raw
    assert cls.decode(raw, version) == value
    assert made.compiled(cls, version)
    assert value.encode(version) == raw
    assert cls.decode(raw, version) == value


def test_every_version_has_a_proof(message, version):
    if (message.__name__, version) in PROVEN:
        return
    pytest.importorskip("kio")
    kind = "request" if message.__name__.endswith("Request") else "response"
    module = f"kio.schema.{ApiKey(message.key).name.lower()}.v{version}"
    assert importlib.util.find_spec(module), "neither kio nor golden bytes prove it"
    assert importlib.util.find_spec(f"{module}.{kind}")
