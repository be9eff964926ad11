import pytest

from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import RecordBatch, batches, build_batch
from pykbroker.protocol.records.control import ControlType, EndTransactionMarker, build_marker, read_marker


@pytest.mark.parametrize("kind", list(ControlType))
def test_marker_there_and_back(kind: ControlType) -> None:
    (batch,) = batches(build_marker(kind, 4, 2, 9, 1000))
    assert batch.is_control
    assert batch.is_transactional
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (4, 2, -1)
    assert read_marker(batch) == EndTransactionMarker(kind, 9)


def test_marker_bytes() -> None:
    (batch,) = batches(build_marker(ControlType.COMMIT, 4, 2, 9, 1000))
    (record,) = batch.records()
    assert (record.key, record.value) == (b"\0\0\0\1", b"\0\0\0\0\0\x09")


def _control(key: bytes, value: bytes) -> RecordBatch:
    (batch,) = batches(build_batch([(key, value)], control=True))
    return batch


def test_other_control_records_are_none() -> None:
    assert read_marker(_control(b"\0\0\0\2", b"leader change")) is None


def test_a_short_marker_is_invalid() -> None:
    with pytest.raises(KafkaError, match="cut short"):
        read_marker(_control(b"\0\0\0\1", b"\0"))
