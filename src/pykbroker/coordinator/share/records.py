"""The records of `__share_group_state`: snapshots of a share-partition's state, and updates (KIP-932)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.result import Record
from pykbroker.coordinator.share.state import ShareKey, ShareState
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.stored.share_state import (
    ShareSnapshotKey,
    ShareSnapshotValue,
    ShareUpdateKey,
    ShareUpdateValue,
)

SNAPSHOT, UPDATE = 0, 1
VERSION = 0

_PREFIX = struct.Struct(">h")


class ShareUpdate(NamedTuple):
    """A change since the last snapshot."""

    snapshot_epoch: int
    leader_epoch: int
    start_offset: int
    completed_count: int
    batches: tuple[StateBatch, ...]


ShareEntry = tuple[ShareKey, ShareState | ShareUpdate | None]
"""What a record says: None is a tombstone."""


def snapshot_record(key: ShareKey, state: ShareState | None) -> Record:
    """Writes a whole state, or with None its tombstone."""
    key_body = ShareSnapshotKey(group_id=key.group_id, topic_id=key.topic_id, partition=key.partition).encode(VERSION)
    if state is None:
        return Record(_PREFIX.pack(SNAPSHOT) + key_body, None)
    value = ShareSnapshotValue(
        snapshot_epoch=state.snapshot_epoch,
        state_epoch=state.state_epoch,
        leader_epoch=state.leader_epoch,
        start_offset=state.start_offset,
        delivery_complete_count=state.completed_count,
        create_timestamp=state.created_ms,
        write_timestamp=state.written_ms,
        state_batches=[
            ShareSnapshotValue.StateBatch(
                first_offset=first, last_offset=last, delivery_state=one, delivery_count=count
            )
            for first, last, one, count in state.batches
        ],
    )
    return Record(_PREFIX.pack(SNAPSHOT) + key_body, _PREFIX.pack(VERSION) + value.encode(VERSION))


def update_record(key: ShareKey, update: ShareUpdate) -> Record:
    """Writes a change."""
    key_body = ShareUpdateKey(group_id=key.group_id, topic_id=key.topic_id, partition=key.partition).encode(VERSION)
    value = ShareUpdateValue(
        snapshot_epoch=update.snapshot_epoch,
        leader_epoch=update.leader_epoch,
        start_offset=update.start_offset,
        delivery_complete_count=update.completed_count,
        state_batches=[
            ShareUpdateValue.StateBatch(first_offset=first, last_offset=last, delivery_state=one, delivery_count=count)
            for first, last, one, count in update.batches
        ],
    )
    return Record(_PREFIX.pack(UPDATE) + key_body, _PREFIX.pack(VERSION) + value.encode(VERSION))


def read_record(record: Record) -> ShareEntry | None:
    """What a record says; None for a type that isn't known. Raises MalformedMessage."""
    kind = _prefix(record.key)
    if kind == SNAPSHOT:
        snapshot_key = ShareSnapshotKey.decode(record.key, VERSION, _PREFIX.size)
        key = ShareKey(snapshot_key.group_id, snapshot_key.topic_id, snapshot_key.partition)
        return key, None if record.value is None else _read_snapshot(record.value)
    if kind == UPDATE and record.value is not None:
        update_key = ShareUpdateKey.decode(record.key, VERSION, _PREFIX.size)
        return ShareKey(update_key.group_id, update_key.topic_id, update_key.partition), _read_update(record.value)
    return None


def _read_snapshot(data: bytes) -> ShareState:
    value = ShareSnapshotValue.decode(data, _version(data), _PREFIX.size)
    return ShareState(
        value.snapshot_epoch,
        value.state_epoch,
        value.leader_epoch,
        value.start_offset,
        value.delivery_complete_count,
        tuple(
            StateBatch(each.first_offset, each.last_offset, each.delivery_state, each.delivery_count)
            for each in value.state_batches
        ),
        value.create_timestamp,
        value.write_timestamp,
    )


def _read_update(data: bytes) -> ShareUpdate:
    value = ShareUpdateValue.decode(data, _version(data), _PREFIX.size)
    batches = tuple(
        StateBatch(each.first_offset, each.last_offset, each.delivery_state, each.delivery_count)
        for each in value.state_batches
    )
    return ShareUpdate(
        value.snapshot_epoch, value.leader_epoch, value.start_offset, value.delivery_complete_count, batches
    )


def _prefix(data: bytes) -> int:
    if len(data) < _PREFIX.size:
        raise MalformedMessage(f"a key or value of {len(data)} bytes has no type or version")
    number: int = _PREFIX.unpack_from(data)[0]
    return number


def _version(data: bytes) -> int:
    version = _prefix(data)
    if version != VERSION:
        raise MalformedMessage(f"a value of version {version}; known is {VERSION}")
    return version
