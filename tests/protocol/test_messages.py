"""Every message in every version: plain and compiled agree, and what is cut off or mutated raises one exception."""

from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.cursor import Cursor, Writer
from pykbroker.protocol.errors import MalformedMessage


def plain_bytes(codec, value):
    out = Writer()
    codec.plain._build(value, out, None, None)
    return out.joined()


def outcome(parse, raw):
    """What parsing gives: the value and where it ended, or that it failed."""
    io = Cursor(raw)
    try:
        return parse(io), io.pos
    except Exception:
        return None


def test_plain_equals_compiled(message, version, made):
    codec = made.compiled(message, version)

    @made.settings
    @given(made.values(message, version), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3))
    def check(value, mutations):
        raw = value.encode(version)
        assert plain_bytes(codec, value) == raw
        assert b"".join(value.encode_parts(version)) == raw
        assert message.decode(raw, version) == value
        assert message.decode_from(b"--" + raw + b"after", version, 2) == (value, len(raw) + 2)
        mutated = bytearray(raw)
        for at, byte in mutations if raw else ():
            mutated[at % len(raw)] = byte
        for view in (bytes(mutated), memoryview(mutated)):
            plain = outcome(lambda io: codec.plain._parse(io, None, None), view)
            assert repr(outcome(lambda io: codec.parse(io, None), view)) == repr(plain) or plain == outcome(
                lambda io: codec.parse(io, None), view
            )

    check()


def test_cut_anywhere_is_malformed(message, version, made):
    codec = made.compiled(message, version)
    raw = made.full(message, version).encode(version)
    assert message.decode(raw, version) == made.full(message, version)
    for size in range(len(raw)):
        assert outcome(lambda io: codec.parse(io, None), raw[:size]) is None
        try:
            message.decode(raw[:size], version)
        except MalformedMessage as error:
            assert str(codec) in str(error)
        else:
            raise AssertionError(f"{size} of {len(raw)} bytes were enough")


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
