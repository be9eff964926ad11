from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.record import Record, decode_records, encode_record, encode_varint

Outcome = Callable[[Callable[[], object]], ErrorCode | None]

optional_bytes = st.none() | st.binary(max_size=200)
records = st.builds(
    Record,
    offset=st.integers(0, 2**31 - 1),
    timestamp=st.integers(-(2**40), 2**45),
    key=optional_bytes,
    value=optional_bytes,
    headers=st.lists(st.tuples(st.text(max_size=10), optional_bytes), max_size=3).map(tuple),
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (64, "8001"),
        (-64, "7f"),
        (-65, "8101"),
        (2**63 - 1, "feffffffffffffffff01"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_varint(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded


@given(st.lists(records, max_size=5))
def test_what_is_encoded_is_decoded(given_records: list[Record]) -> None:
    data = b"".join(encode_record(record, record.offset, record.timestamp) for record in given_records)
    assert list(decode_records(data, len(given_records), 0, 0, None)) == given_records


@given(records, st.data())
def test_a_cut_record_is_invalid(record: Record, data: st.DataObject) -> None:
    encoded = encode_record(record, record.offset, record.timestamp)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(KafkaError) as caught:
        list(decode_records(encoded[:cut], 1, 0, 0, None))
    assert caught.value.code is ErrorCode.INVALID_RECORD


@given(st.binary(max_size=60))
def test_garbage_is_invalid_or_records(outcome: Outcome, garbage: bytes) -> None:
    code = outcome(lambda: list(decode_records(garbage, 3, 0, 0, None)))
    assert code in (None, ErrorCode.INVALID_RECORD)


def test_bytes_left_over_are_invalid() -> None:
    data = encode_record(Record(0, 0, None, b"x"), 0, 0) + b"\0"
    with pytest.raises(KafkaError, match="1 bytes after the last record"):
        list(decode_records(data, 1, 0, 0, None))


def test_log_append_time_is_every_records_timestamp() -> None:
    data = encode_record(Record(0, 5, None, b"x"), 0, 5)
    assert [record.timestamp for record in decode_records(data, 1, 7, 0, 99)] == [99]
