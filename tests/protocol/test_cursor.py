import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.cursor import Cursor, Flaw, Writer, uvarint


@given(st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_uvarint_round_trip(number, rest):
    raw = uvarint(number)
    assert len(raw) == max(1, (number.bit_length() + 6) // 7)
    io = Cursor(raw + rest)
    assert io.uvarint() == number
    assert io.tell() == len(raw)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x10", b"\x80" * 9])
def test_bad_uvarints(raw):
    with pytest.raises(Flaw):
        Cursor(raw).uvarint()


def test_a_cursor_is_a_stream_that_never_reads_short():
    io = Cursor(memoryview(b"abcdef"), 1)
    assert io.read(2) == b"bc"
    assert isinstance(io.take(1), memoryview)
    with pytest.raises(Flaw, match="needs 3 bytes, 2 left"):
        io.take(3)
    io.seek(0)
    assert io.read(6) == b"abcdef"


class Slice:
    """Stands for a part of a file."""

    def __len__(self):
        return 4

    def read(self):
        return b"file"


def test_record_pieces_stay_as_they_are():
    out, part, view = Writer(), Slice(), memoryview(b"view")
    out.write(b"a")
    out.write(b"b")
    out.write_records(part)
    out.write_records(view)
    out.write_records(b"")
    out.write(b"c")
    pieces = out.pieces()
    assert pieces == [b"ab", part, view, b"c"]
    assert pieces[2] is view
    assert out.joined() == b"abfileviewc"
