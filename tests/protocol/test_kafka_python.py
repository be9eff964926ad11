"""Against kafka-python's codec, which has old versions that kio lacks: equal bytes, and equal values in equal order."""

import importlib
from functools import cache

import pytest
from hypothesis import given

from pykbroker.protocol.messages.api_versions import ApiVersionsResponse

pytest.importorskip("kafka.protocol.api_message", reason="kafka-python 3 isn't installed")

BITS = "authorized_operations"
"""What kafka-python shows as a set of the bits' numbers; the bytes are compared all the same."""
MODULES = ("admin", "consumer", "metadata", "producer", "sasl")


@cache
def theirs(name):
    """kafka-python's class, or None."""
    for module in MODULES:
        found = getattr(importlib.import_module(f"kafka.protocol.{module}"), name, None)
        if found is not None:
            return found
    return None


def their_leaves(value, field, version):
    """What `made.leaves` gives, of theirs."""
    for each in field._fields:
        if not each.for_version_q(version) or each.name.endswith(BITS):
            continue
        inner = getattr(value, each.name)
        if inner is not None and each.is_struct_array():
            yield len(inner)
            for one in inner:
                yield from their_leaves(one, each, version)
        elif inner is not None and each.is_struct():
            yield from their_leaves(inner, each, version)
        elif isinstance(inner, (list, set, tuple)):
            yield len(inner)
            yield from inner
        else:
            yield bytes(inner) if isinstance(inner, memoryview) else inner


def test_equal_bytes_and_values(api_message, version, made):
    cls = theirs(api_message.__name__)
    if cls is None or version > cls.max_version:
        return

    @made.settings
    @given(made.values(api_message, version))
    def check(value):
        if isinstance(value, ApiVersionsResponse):
            value.error_code = 0  # Any other is taken for version 0 there, whatever was asked for.
        raw = value.encode(version)
        their = cls.decode(raw, version=version)
        their._header = None
        assert their.encode(version=version) == raw
        assert list(made.leaves(value, version, BITS)) == list(their_leaves(their, cls._struct, version))

    check()
