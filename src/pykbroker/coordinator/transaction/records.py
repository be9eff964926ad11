"""The records of `__transaction_state`: how a transactional id is written, and how it is read again.

transaction.version says in which version of the value; all are read. Keys of other kinds are handed back as None.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import NamedTuple

from pykbroker.coordinator.result import Record
from pykbroker.coordinator.transaction.transaction_state import EMPTY, Transaction, TransactionState
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.stored.transaction_log import TransactionLogKey, TransactionLogValue
from pykbroker.protocol.topic_partition import TopicPartition

KEY = 0
FLEXIBLE_VALUE = 1
"""The version of values from transaction.version 1 on (KIP-915)."""

_PREFIX = struct.Struct(">h")
_STATES = tuple(TransactionState)


class TransactionEntry(NamedTuple):
    """A transactional id's record; no transaction is a tombstone."""

    transactional_id: str
    transaction: Transaction | None


def transaction_record(transactional_id: str, transaction: Transaction | None, transaction_version: int = 0) -> Record:
    """Writes what is known of an id, or with None its tombstone."""
    key = _PREFIX.pack(KEY) + TransactionLogKey(transactional_id=transactional_id).encode(0)
    if transaction is None:
        return Record(key, None)
    version = FLEXIBLE_VALUE if transaction_version >= 1 else 0
    value = TransactionLogValue(
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=transaction.state.id,
        transaction_partitions=None if transaction.state is EMPTY else _by_topic(transaction),
        transaction_last_update_timestamp_ms=transaction.update_ms,
        transaction_start_timestamp_ms=transaction.start_ms,
    )
    if version:
        value.previous_producer_id = transaction.previous_producer_id
        value.next_producer_id = transaction.next_producer_id
        value.client_transaction_version = transaction.version
    return Record(key, _PREFIX.pack(version) + value.encode(version))


def _by_topic(transaction: Transaction) -> list[TransactionLogValue.TransactionPartition]:
    topics: dict[str, list[int]] = defaultdict(list)
    for tp in sorted(transaction.partitions):
        topics[tp.topic].append(tp.partition)
    return [
        TransactionLogValue.TransactionPartition(topic=topic, partition_ids=indexes)
        for topic, indexes in topics.items()
    ]


def read_record(record: Record) -> TransactionEntry | None:
    """What a record says; None for a kind that this coordinator doesn't know. Raises MalformedMessage."""
    if _prefix(record.key) != KEY:
        return None
    transactional_id = TransactionLogKey.decode(record.key, 0, _PREFIX.size).transactional_id
    if record.value is None:
        return TransactionEntry(transactional_id, None)
    version = _prefix(record.value)
    if not 0 <= version <= TransactionLogValue.versions.high:
        raise MalformedMessage(f"a value of version {version}; known are 0 to {TransactionLogValue.versions.high}")
    value = TransactionLogValue.decode(record.value, version, _PREFIX.size)
    if not 0 <= value.transaction_status < len(_STATES):
        raise MalformedMessage(f"a transaction in state {value.transaction_status}")
    return TransactionEntry(transactional_id, _transaction(transactional_id, value))


def _transaction(transactional_id: str, value: TransactionLogValue) -> Transaction:
    partitions = frozenset(
        TopicPartition(one.topic, index) for one in value.transaction_partitions or () for index in one.partition_ids
    )
    return Transaction(
        transactional_id,
        value.producer_id,
        value.producer_epoch,
        _STATES[value.transaction_status],
        value.transaction_timeout_ms,
        partitions,
        value.transaction_start_timestamp_ms,
        value.transaction_last_update_timestamp_ms,
        value.previous_producer_id,
        value.next_producer_id,
        value.client_transaction_version,
    )


def _prefix(data: bytes) -> int:
    if len(data) < _PREFIX.size:
        raise MalformedMessage(f"a key or value of {len(data)} bytes has no type or version")
    number: int = _PREFIX.unpack_from(data)[0]
    return number
