"""Records of `__transaction_state`: bytes as Apache Kafka writes them, and all versions read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykbroker.coordinator.result import Record
from pykbroker.coordinator.transaction.records import read_record, transaction_record
from pykbroker.coordinator.transaction.transaction_state import EMPTY, ONGOING, Transaction
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.topic_partition import TopicPartition

FULL = Transaction(
    "t",
    7,
    3,
    ONGOING,
    60_000,
    frozenset([TopicPartition("a", 1), TopicPartition("a", 0), TopicPartition("b", 2)]),
    1,
    2,
    6,
    8,
    2,
)


def test_bytes_of_version_0() -> None:
    record = transaction_record("t", replace(FULL, partitions=frozenset([TopicPartition("a", 1)])), 0)
    assert record.key == bytes.fromhex("0000 0001 74")
    assert record.value == bytes.fromhex(
        "0000 0000000000000007 0003 0000ea60 01 00000001 0001 61 00000001 00000001 0000000000000002 0000000000000001"
    )


@pytest.mark.parametrize("version", [1, 2])
def test_all_comes_back_but_the_last_epoch(version: int) -> None:
    entry = read_record(transaction_record("t", replace(FULL, last_epoch=5), version))
    assert entry is not None
    assert entry == ("t", FULL)


def test_version_0_has_no_place_for_some() -> None:
    entry = read_record(transaction_record("t", FULL, 0))
    assert entry is not None
    assert entry.transaction == replace(FULL, previous_producer_id=-1, next_producer_id=-1, version=0)


def test_at_rest_without_partitions() -> None:
    begun = Transaction("t", 7, 0, EMPTY, 1000)
    for version, null in ((0, b"\xff\xff\xff\xff"), (1, b"\0")):
        record = transaction_record("t", begun, version)
        assert record.value is not None
        assert record.value[17 : 17 + len(null)] == null
        entry = read_record(record)
        assert entry is not None
        assert entry.transaction == begun


def test_a_tombstone() -> None:
    entry = read_record(transaction_record("t", None))
    assert entry == ("t", None)


def test_other_keys_are_passed_over() -> None:
    assert read_record(Record(b"\0\x01rest", b"")) is None


@pytest.mark.parametrize(
    "record",
    [
        Record(b"", b""),
        Record(transaction_record("t", FULL).key, b"\0"),
        Record(transaction_record("t", FULL).key, b"\0\x09"),
        Record(transaction_record("t", FULL).key, b"\0\0\0"),
        Record(transaction_record("t", FULL).key, bytes.fromhex("0000" + 15 * "00" + "09" + 24 * "00")),
    ],
)
def test_what_cannot_be_read(record: Record) -> None:
    with pytest.raises(MalformedMessage):
        read_record(record)
