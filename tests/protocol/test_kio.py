"""Against an independent codec, both ways: every API and version that kio knows."""

import dataclasses
import importlib
import io
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given

from pykbroker.protocol.api_keys import ApiKey

kio_serial = pytest.importorskip("kio.serial")


@cache
def theirs(cls, version):
    """kio's reader and writer, or None where it lacks the version."""
    kind = "request" if cls.__name__.endswith("Request") else "response"
    try:
        module = importlib.import_module(f"kio.schema.{ApiKey(cls.key).name.lower()}.v{version}.{kind}")
    except ModuleNotFoundError:
        return None
    entity = getattr(module, cls.__name__)
    return kio_serial.entity_reader(entity), kio_serial.entity_writer(entity)


def their_leaves(entity):
    """What `made.leaves` gives, of theirs: times and errors as the numbers that they are on the wire."""
    for field in dataclasses.fields(entity):
        inner = getattr(entity, field.name)
        if isinstance(inner, tuple):
            yield len(inner)
        for each in inner if isinstance(inner, tuple) else [inner]:
            if dataclasses.is_dataclass(each):
                yield from their_leaves(each)
            elif isinstance(each, timedelta):
                yield each // timedelta(milliseconds=1)
            elif isinstance(each, datetime):
                yield (each - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
            else:
                yield each


def test_equal_bytes_both_ways(api_message, version, made):
    if theirs(api_message, version) is None:
        return  # test_coverage demands golden bytes instead.
    read, write = theirs(api_message, version)
    made.compiled(api_message, version)

    @made.settings
    @given(made.values(api_message, version, True))
    def check(value):
        raw = value.encode(version)
        entity, size = read(raw, 0)
        assert size == len(raw)
        assert list(made.leaves(value, version)) == list(their_leaves(entity))
        out = io.BytesIO()
        write(out, entity)
        assert out.getvalue() == raw
        again = api_message.decode(out.getvalue(), version)
        assert again == value
        assert again.encode(version) == raw

    check()
