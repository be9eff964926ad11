"""Control batches: the markers that end a transaction in a partition. Applications never see them."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import RecordBatch, build_batch
from pykbroker.protocol.records.record import Record

_KEY = struct.Struct(">hh")
_VALUE = struct.Struct(">hi")


class ControlType(IntEnum):
    """What a marker says of its transaction."""

    ABORT = 0
    COMMIT = 1


class EndTransactionMarker(NamedTuple):
    """The one record of a control batch."""

    type: ControlType
    coordinator_epoch: int


def build_marker(
    kind: ControlType, producer_id: int, producer_epoch: int, coordinator_epoch: int, timestamp: int
) -> bytes:
    """The batch that a transaction coordinator has written to every partition of a transaction."""
    record = (_KEY.pack(0, kind), _VALUE.pack(0, coordinator_epoch))
    return build_batch(
        [record],
        timestamp=timestamp,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
    )


def read_marker(batch: RecordBatch) -> EndTransactionMarker | None:
    """The marker in a control batch; None for control records of other kinds, which a log stores and ignores.

    Raises KafkaError(INVALID_RECORD) for a marker that is cut short.
    """
    record: Record | None = next(iter(batch.records()), None)
    if record is None:
        return None
    try:
        version, kind = _KEY.unpack_from(record.key or b"")
        if version < 0 or kind not in (ControlType.ABORT, ControlType.COMMIT):
            return None
        _, coordinator_epoch = _VALUE.unpack_from(record.value or b"")
    except struct.error:
        raise KafkaError(ErrorCode.INVALID_RECORD, "A control record is cut short") from None
    return EndTransactionMarker(ControlType(kind), coordinator_epoch)
