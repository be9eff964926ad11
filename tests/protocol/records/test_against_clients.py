"""What two clients' own record classes write is read here, and what is written here is read there."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.records.message_set import build_message_set, check_complete, down_convert
from pykbroker.protocol.records.record import Record

LEGACY = [(magic, codec) for magic in (0, 1) for codec in Compression if codec < Compression.LZ4 + magic]
"""Neither client writes lz4 in format 0; nobody has zstd in either."""

some_bytes = st.none() | st.binary(max_size=30) | st.binary(min_size=100, max_size=200).map(lambda piece: piece * 40)
headers = st.lists(st.tuples(st.text(max_size=9), some_bytes), max_size=3).map(tuple)
timestamps = st.integers(0, 2**45)
thorough = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@st.composite
def records(draw: st.DrawFn, legacy: bool = False) -> list[Record]:
    """Records with gaps between their offsets, and timestamps in any order."""
    gaps = draw(st.lists(st.integers(1, 200), min_size=1, max_size=8))
    return [
        Record(
            sum(gaps[1 : place + 1]),
            draw(timestamps),
            draw(some_bytes),
            draw(some_bytes),
            () if legacy else draw(headers),
        )
        for place in range(len(gaps))
    ]


@pytest.fixture(scope="module", params=["aiokafka", "kafka"])
def client(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A client's record classes."""
    pytest.importorskip(request.param, reason=f"{request.param} isn't installed")
    module = {name: import_module(f"{request.param}.record.{name}_records") for name in ("default", "legacy", "memory")}
    return SimpleNamespace(
        batch=module["default"].DefaultRecordBatchBuilder,
        message_set=module["legacy"].LegacyRecordBatchBuilder,
        read=module["memory"].MemoryRecords,
        codec=import_module(f"{request.param}.codec"),
    )


def needs(client: SimpleNamespace, codec: Compression) -> None:
    """Skips where the client lacks the library for a codec."""
    if codec and not getattr(client.codec, f"has_{codec.name.lower()}")():
        pytest.skip(f"the client has no library for {codec.name.lower()}")


def theirs(client: SimpleNamespace, data: bytes) -> list[Record]:
    found: list[Record] = []
    memory = client.read(data)
    while memory.has_next():
        batch = memory.next_batch()
        assert batch.validate_crc()
        for record in batch:
            timestamp = -1 if record.timestamp is None else record.timestamp
            found.append(
                Record(
                    record.offset,
                    timestamp,
                    as_bytes(record.key),
                    as_bytes(record.value),
                    tuple((name, as_bytes(value)) for name, value in record.headers),
                )
            )
    return found


def as_bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


@pytest.mark.parametrize("codec", list(Compression))
def test_batches(client: SimpleNamespace, codec: Compression) -> None:
    needs(client, codec)

    @thorough
    @given(records(), st.booleans(), st.integers(0, 2**62), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1))
    def check(wanted: list[Record], transactional: bool, producer: int, epoch: int, sequence: int) -> None:
        written = client.batch(
            magic=2,
            compression_type=int(codec),
            is_transactional=int(transactional),
            producer_id=producer,
            producer_epoch=epoch,
            base_sequence=sequence,
            batch_size=1 << 24,
        )
        for record in wanted:
            written.append(record.offset, record.timestamp, record.key, record.value, list(record.headers))
        (batch,) = batches(bytes(written.build()))
        # The header says all of this without a record being looked at.
        batch.check_crc()
        assert (batch.base_offset, batch.last_offset, batch.count) == (0, wanted[-1].offset, len(wanted))
        assert (batch.base_timestamp, batch.max_timestamp) == (wanted[0].timestamp, max(r.timestamp for r in wanted))
        assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (producer, epoch, sequence)
        assert batch.is_transactional == transactional
        assert batch.last_sequence == (sequence + wanted[-1].offset) % 2**31
        assert list(batch.records()) == wanted
        built = build_batch(
            wanted,
            compression=codec,
            producer_id=producer,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=transactional,
        )
        assert theirs(client, built) == wanted
        if not codec:
            assert built == bytes(written.build())[:12] + built[12:16] + bytes(written.build())[16:]

    check()


@pytest.mark.parametrize(("magic", "codec"), LEGACY)
def test_message_sets(client: SimpleNamespace, magic: int, codec: Compression) -> None:
    needs(client, codec)

    @thorough
    @given(records(legacy=True))
    def check(wanted: list[Record]) -> None:
        written = client.message_set(magic=magic, compression_type=int(codec), batch_size=1 << 24)
        for record in wanted:
            written.append(record.offset, record.timestamp, record.key, record.value)
        expected = wanted if magic else [record._replace(timestamp=-1) for record in wanted]
        data = bytes(written.build())
        ours = [record for entry in check_complete(data) for record in entry.records()]
        # A producer leaves a wrapper's own offset at 0, from which the inner ones are counted in format 1.
        first = ours[0].offset
        assert [record._replace(offset=record.offset - first) for record in ours] == expected
        built = build_message_set(wanted, magic, codec)
        assert theirs(client, built) == expected
        if not codec:
            assert built == data

    check()


@pytest.mark.parametrize(("magic", "codec"), LEGACY)
def test_down_converted(client: SimpleNamespace, magic: int, codec: Compression) -> None:
    needs(client, codec)

    @thorough
    @given(records(), st.integers(0, 2**40))
    def check(wanted: list[Record], base: int) -> None:
        moved = [record._replace(offset=record.offset + base) for record in wanted]
        data = down_convert(build_batch(moved, base_offset=base, compression=codec), magic, 0)
        assert theirs(client, data) == [
            record._replace(headers=(), timestamp=record.timestamp if magic else -1) for record in moved
        ]

    check()


@pytest.mark.parametrize("kind", list(ControlType))
def test_markers(client: SimpleNamespace, kind: ControlType) -> None:
    memory = client.read(build_marker(kind, 4, 2, 9, 1000))
    batch = memory.next_batch()
    assert batch.is_control_batch
    assert batch.is_transactional
    (record,) = batch
    assert bytes(record.key) == b"\0\0\0" + bytes([kind])
