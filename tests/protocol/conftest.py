"""Which messages there are, and hypothesis values for any of them in any version."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pykbroker.protocol import consumer_protocol, fields, header
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.message import Message, Struct
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.stored import (
    consumer_group,
    control,
    group_metadata,
    offset_commit,
    share_group,
    share_state,
    transaction_log,
)

settings.register_profile(
    "protocol", max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("unhurried", deadline=None)  # A busy machine isn't a failure.
settings.load_profile("unhurried")

INTEGERS = {
    fields.Int8: (-(2**7), 2**7 - 1),
    fields.Int16: (-(2**15), 2**15 - 1),
    fields.Int32: (-(2**31), 2**31 - 1),
    fields.Int64: (-(2**63), 2**63 - 1),
    fields.UInt16: (0, 2**16 - 1),
    fields.UInt32: (0, 2**32 - 1),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def messages_in(module):
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__
    ]


API_MESSAGES = [cls for key in ApiKey for cls in message_classes(key)]
STORED = (consumer_group, control, group_metadata, offset_commit, share_group, share_state, transaction_log)
OTHER_MESSAGES = [cls for module in (header, consumer_protocol, *STORED) for cls in messages_in(module)]


def one(field, name, version, tame):
    """One value of a field that isn't an array; `tame` keeps to what kio gives a meaning of its own."""
    kind = field if isinstance(field, type) else type(field)
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        if tame and (name == "error_code" or name.endswith("_error_code")):
            low, high = 0, 80
        elif tame and (name.endswith(("_ms", "timestamp", "_timeout"))):
            low, high = 0, 2**31 - 1
        return st.integers(low, high)
    if kind is fields.Bool:
        return st.booleans()
    if kind is fields.Float64:
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind is fields.Uuid:
        return st.uuids()
    if kind is fields.String:
        return TEXT
    if kind in (fields.Bytes, fields.Records):
        return st.binary(max_size=9)
    return values(field.element, version, tame)


@functools.cache
def values(cls: type[Struct], version: int, tame: bool = False) -> st.SearchStrategy:
    """Objects with any value in the fields that the version has, and the defaults in the others."""
    parts = {}
    for name, field in cls.fields.items():
        if version not in field.versions:
            continue
        if isinstance(field, fields.Array):
            part = st.lists(one_element(field.element, name, version, tame), max_size=2)
        else:
            part = one(field, name, version, tame)
        parts[name] = st.none() | part if version in field.nullable else part
    return st.fixed_dictionaries(parts).map(lambda chosen: cls(**chosen))


def one_element(element, name, version, tame):
    return values(element, version, tame) if issubclass(element, Struct) else one(element, name, version, tame)


def leaves(value: Struct, version: int, leaving_out: str = "nothing") -> Iterator[object]:
    """All values of a message in the order of their declaration, and how many there are in each array."""
    for name, field in type(value).fields.items():
        if version not in field.versions or name.endswith(leaving_out):
            continue
        inner = getattr(value, name)
        if isinstance(inner, (list, tuple)):
            yield len(inner)
        for each in inner if isinstance(inner, (list, tuple)) else [inner]:
            if isinstance(each, Struct):
                yield from leaves(each, version, leaving_out)
            else:
                yield bytes(each) if isinstance(each, memoryview) else each


def full(cls: type[Struct], version: int) -> Struct:
    """An object in which every field that the version has differs from its default."""
    chosen = {}
    for name, field in cls.fields.items():
        if version in field.versions:
            many = range(2) if isinstance(field, fields.Array) else None
            chosen[name] = [full_one(field.element, version) for _ in many] if many else full_one(field, version)
    return cls(**chosen)


def nonzero(field: fields.Field) -> object:
    """A value that isn't the field's default, as the field's oldest version has it."""
    value = full_one(field.element if isinstance(field, fields.Array) else field, field.versions.low)
    if isinstance(field, fields.Array):
        return [value]
    return value != field.default if isinstance(field, fields.Bool) else value


def lengthened(value: Struct, version: int) -> int:
    """Gives each innermost array of structs five elements; how many such arrays there are."""
    found = 0
    for name, field in type(value).fields.items():
        inner = getattr(value, name)
        if isinstance(inner, Struct):
            found += lengthened(inner, version)
        elif isinstance(field, fields.Array) and inner and isinstance(inner[0], Struct):
            deeper = sum(lengthened(each, version) for each in inner)
            if not deeper:
                inner.extend(full(field.element, version) for _ in range(3))
            found += deeper or 1
    return found


def full_one(field, version):
    if isinstance(field, type) and issubclass(field, Struct):
        return full(field, version)
    kind = field if isinstance(field, type) else type(field)
    if kind is fields.Nested:
        return full(field.element, version)
    samples = {
        fields.String: "é1",
        fields.Bool: True,
        fields.Bytes: b"\1",
        fields.Records: b"\1\2",
        fields.Float64: 1.5,
    }
    return fields.UUID(int=5) if kind is fields.Uuid else samples.get(kind, 7)


def compiled(cls: type[Message], version: int):
    """The codec, compiled whether or not it was used before."""
    codec = cls.codec(version)
    if codec.source is None:
        codec.compile()
    return codec


@pytest.fixture(scope="session")
def made():
    """`made.values(cls, version)`, `made.full(cls, version)`, `made.compiled(cls, version)`."""
    return SimpleNamespace(
        values=values,
        full=full,
        leaves=leaves,
        nonzero=nonzero,
        lengthened=lengthened,
        compiled=compiled,
        settings=settings.get_profile("protocol"),
        named={cls.__name__: cls for cls in API_MESSAGES + OTHER_MESSAGES},
    )


@pytest.fixture(scope="session")
def reference():
    """The folder of Kafka's definitions, where it lies beside the checkout."""
    folder = Path(__file__).parents[2].parent / "shared" / "protocol"
    if not folder.is_dir():
        pytest.skip(f"no reference definitions at {folder}")
    return folder


def pytest_generate_tests(metafunc):
    """`message` and `version` run over all messages; `api_message` over those of API keys alone."""
    for argument, classes in (("message", API_MESSAGES + OTHER_MESSAGES), ("api_message", API_MESSAGES)):
        if argument in metafunc.fixturenames and "version" in metafunc.fixturenames:
            pairs = [(cls, version) for cls in classes for version in cls.versions]
            names = [f"{cls.__name__}-{version}" for cls, version in pairs]
            metafunc.parametrize((argument, "version"), pairs, ids=names)
        elif argument in metafunc.fixturenames:
            metafunc.parametrize(argument, classes, ids=[cls.__name__ for cls in classes])
