"""Every message in every version: plain and compiled agree, and what is cut off or mutated raises one exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.cursor import Cursor, Flaw, Writer
from pykbroker.protocol.errors import MalformedMessage, UnsupportedField
from pykbroker.protocol.message import Struct


def built(build, value):
    """What building gives, with no second try by the plain form."""
    out = Writer()
    build(value, out)
    return out.joined()


def outcome(codec, parse, raw):
    """What parsing gives, with no second try: the value and where it ended, or that it failed."""
    buf = codec.buffer(raw)
    try:
        return parse(buf, 0, len(buf))
    except Exception:
        return None


def plain_parse(codec):
    """The plain form, called as the compiled one is."""

    def parse(buf, pos, end):
        io = Cursor(buf, pos)
        return codec.plain._parse(io, None, None), io.pos

    return parse


def test_plain_equals_compiled(message, version, made):
    codec = made.compiled(message, version)

    @made.settings
    @given(made.values(message, version), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3))
    def check(value, mutations):
        raw = built(codec.build, value)
        assert built(lambda value, out: codec.plain._build(value, out, None, None), value) == raw
        assert value.encode(version) == raw
        assert b"".join(value.encode_parts(version)) == raw
        assert outcome(codec, codec.parse, raw) == (value, len(raw))
        assert outcome(codec, plain_parse(codec), raw) == (value, len(raw))
        assert message.decode_from(b"--" + raw + b"after", version, 2) == (value, len(raw) + 2)
        mutated = bytearray(raw)
        for at, byte in mutations if raw else ():
            mutated[at % len(raw)] = byte
        # Not a number isn't equal to itself, but looks the same.
        assert shown(outcome(codec, codec.parse, mutated)) == shown(outcome(codec, plain_parse(codec), mutated))

    check()


def test_long_arrays(message, version, made):
    """Compiled code reads many structs of numbers in one go, unless one of them has tagged fields."""
    codec, value = made.compiled(message, version), made.full(message, version)
    made.lengthened(value, version)
    for tagged in (0, 4) if version in message.flexible else (None,):
        if tagged is not None:
            tag_innermost(value, tagged)
        raw = built(codec.build, value)
        again = outcome(codec, codec.parse, raw)
        assert again == (value, len(raw))
        assert outcome(codec, plain_parse(codec), raw) == again
        for size in range(max(0, len(raw) - 40), len(raw)):
            assert outcome(codec, codec.parse, raw[:size]) is None


def tag_innermost(value, at):
    """Puts an unknown tagged field into one element of each long array."""
    for name in value.fields:
        inner = getattr(value, name)
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, Struct):
                tag_innermost(each, at)
        if isinstance(inner, list) and len(inner) == 5:
            inner[at].unknown_tags = ((77, b"later"),)


def structs_in(value, version):
    """The message, and every struct that it holds in a version."""
    yield value
    for name, field in value.fields.items():
        inner = getattr(value, name) if version in field.versions else None
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, Struct):
                yield from structs_in(each, version)


def test_fields_that_the_version_lacks(message, version, made):
    """Ignorable ones are dropped, any other value than the default is refused, by both forms."""
    codec, value = made.compiled(message, version), made.full(message, version)
    raw = value.encode(version)
    for holder in structs_in(value, version):
        for name, field in holder.fields.items():
            if version in field.versions:
                continue
            setattr(holder, name, made.nonzero(field))
            if field.ignorable:
                assert built(codec.build, value) == raw
            else:
                with pytest.raises(Flaw):
                    built(codec.build, value)
                with pytest.raises(UnsupportedField, match=f"{name} is set, but this version has no such field"):
                    value.encode(version)
            setattr(holder, name, field.fresh())
    assert built(codec.build, value) == raw


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
        assert outcome(codec, codec.parse, raw[:size]) is None
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
