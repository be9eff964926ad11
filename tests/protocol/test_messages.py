"""Every message in every version: plain and compiled agree, and what is cut off or mutated raises one exception."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.cursor import Writer
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.message import Struct


def built(build, value):
    """What building gives, with no second try by the plain form."""
    out = Writer()
    build(value, out)
    return out.joined()


def outcome(codec, parse, raw):
    """What parsing gives, with no second try: the value and where it ended, or that it failed."""
    io = codec.cursor(raw)
    try:
        return parse(io), io.pos
    except Exception:
        return None


def test_plain_equals_compiled(message, version, made):
    codec = made.compiled(message, version)
    plain_parse = partial(codec.plain._parse, context=None, path=None)
    compiled_parse = partial(codec.parse, this=None)

    @made.settings
    @given(made.values(message, version), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3))
    def check(value, mutations):
        raw = built(lambda value, out: codec.build(value, out, None), value)
        assert built(lambda value, out: codec.plain._build(value, out, None, None), value) == raw
        assert value.encode(version) == raw
        assert b"".join(value.encode_parts(version)) == raw
        assert outcome(codec, compiled_parse, raw) == (value, len(raw))
        assert outcome(codec, plain_parse, raw) == (value, len(raw))
        assert message.decode_from(b"--" + raw + b"after", version, 2) == (value, len(raw) + 2)
        mutated = bytearray(raw)
        for at, byte in mutations if raw else ():
            mutated[at % len(raw)] = byte
        # Not a number isn't equal to itself, but looks the same.
        assert shown(outcome(codec, compiled_parse, mutated)) == shown(outcome(codec, plain_parse, mutated))

    check()


def shown(result):
    return result and (*made_plain(result[0]), result[1])


def made_plain(value):
    """A struct as text in which a view shows its bytes."""
    if isinstance(value, Struct):
        return [(name, made_plain(getattr(value, name))) for name in [*value.fields, "unknown_tags"]]
    if isinstance(value, list):
        return [made_plain(each) for each in value]
    return bytes(value) if isinstance(value, memoryview) else repr(value)


def test_cut_anywhere_is_malformed(message, version, made):
    codec = made.compiled(message, version)
    raw = made.full(message, version).encode(version)
    assert message.decode(raw, version) == made.full(message, version)
    for size in range(len(raw)):
        assert outcome(codec, partial(codec.parse, this=None), raw[:size]) is None
        with pytest.raises(MalformedMessage) as caught:
            message.decode(raw[:size], version)
        assert str(caught.value).startswith(f"{codec}: ")


def test_nothing_stops_compilation(message, version, made):
    source = made.compiled(message, version).source
    functions = source[source.index("new = object.__new__") :]
    assert "linkedparsers" not in functions
    assert "linkedbuilders" not in functions


def test_unknown_tags_are_kept(message, version, made):
    if version not in message.flexible:
        return
    value = made.full(message, version)
    value.unknown_tags = ((77, b"later"), (1000, b""))
    again = message.decode(value.encode(version), version)
    assert again == value
    assert again.unknown_tags == ((77, b"later"), (1000, b""))
