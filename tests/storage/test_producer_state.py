from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import RecordBatch, batches, build_batch
from pykbroker.protocol.records.control import ControlType, build_marker, read_marker
from pykbroker.storage.producer_state import (
    AppendOrigin,
    CorruptSnapshot,
    ProducerState,
    Verification,
    decode_snapshot,
    encode_snapshot,
)


def batch(offset: int, sequence: int, count: int = 1, *, pid: int = 1, epoch: int = 0, **more: Any) -> RecordBatch:
    built = build_batch(
        [(None, b"")] * count,
        base_offset=offset,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=sequence,
        timestamp=1000 + offset,
        **more,
    )
    return next(batches(built))


def marker(offset: int, kind: ControlType, *, pid: int = 1, epoch: int = 0, coordinator_epoch: int = 0) -> RecordBatch:
    built = next(batches(build_marker(kind, pid, epoch, coordinator_epoch, 5)))
    built.last_offset = built.base_offset = offset
    return built


def state(directory: Path, seen: Sequence[RecordBatch] = ()) -> ProducerState:
    made = ProducerState(str(directory))
    for one in seen:
        made.appended(one)
    return made


def refusal(made: ProducerState, one: RecordBatch, origin: AppendOrigin = AppendOrigin.CLIENT) -> ErrorCode:
    with pytest.raises(KafkaError) as caught:
        made.check(one, origin)
    return caught.value.code


def test_an_unknown_producer_may_begin_anywhere(tmp_path: Path) -> None:
    state(tmp_path).check(batch(0, 77), AppendOrigin.CLIENT)


def test_sequences_must_follow(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, 3)])
    made.check(batch(3, 3), AppendOrigin.CLIENT)
    for sequence in (0, 1, 2, 4, 100):
        assert refusal(made, batch(3, sequence)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_zero_follows_the_largest_sequence(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 2**31 - 2, 2)])
    made.check(batch(2, 0), AppendOrigin.CLIENT)
    wrapped = batch(2, 2**31 - 1, 3)
    made = state(tmp_path, [wrapped])
    assert wrapped.last_sequence == 1
    made.check(batch(5, 2), AppendOrigin.CLIENT)
    assert made.find_duplicate(batch(0, 2**31 - 1, 3)) is not None


def test_window_of_five(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(10 * n, 2 * n, 2) for n in range(7)])
    for n in range(2, 7):
        found = made.find_duplicate(batch(0, 2 * n, 2))
        assert found is not None
        assert (found.first_offset, found.last_offset, found.timestamp) == (10 * n, 10 * n + 1, 1000 + 10 * n)
    assert made.find_duplicate(batch(0, 2, 2)) is None
    assert refusal(made, batch(0, 2, 2)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert made.find_duplicate(batch(0, 12, 1)) is None  # only a part of one
    assert made.find_duplicate(batch(0, 12, 2, epoch=1)) is None


def test_epochs(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, epoch=3)])
    assert refusal(made, batch(1, 1, epoch=2)) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert refusal(made, batch(1, 1, epoch=4)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    made.check(batch(1, 0, epoch=4), AppendOrigin.CLIENT)
    made.check(batch(1, -1, epoch=4), AppendOrigin.COORDINATOR)  # a group coordinator has no sequences


def test_transaction_pins_the_stable_offset(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(5, 0, transactional=True), batch(6, 0, pid=2, transactional=True)])
    assert made.first_ongoing_offset == 5
    assert made.last_stable_offset(9) == 5
    assert refusal(made, batch(7, 1)) is ErrorCode.INVALID_TXN_STATE
    completed = made.appended(marker(7, ControlType.COMMIT))
    assert completed is not None
    assert (completed.first_offset, completed.last_offset, completed.aborted) == (5, 7, False)
    assert made.first_ongoing_offset == 6
    assert made.last_stable_offset(7) == 5  # the marker isn't replicated yet
    assert made.last_stable_offset(8) == 6
    made.appended(marker(8, ControlType.ABORT, pid=2))
    assert made.last_stable_offset(9) == 9


def test_markers_are_fenced(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, epoch=3), marker(1, ControlType.COMMIT, epoch=3, coordinator_epoch=5)])
    for epoch, coordinator_epoch, code in (
        (2, 5, ErrorCode.INVALID_PRODUCER_EPOCH),
        (3, 4, ErrorCode.TRANSACTION_COORDINATOR_FENCED),
    ):
        late = marker(2, ControlType.ABORT, epoch=epoch, coordinator_epoch=coordinator_epoch)
        content = read_marker(late)
        assert content is not None
        with pytest.raises(KafkaError) as caught:
            made.check_marker(late, content)
        assert caught.value.code is code


def test_a_markers_new_epoch_resets_sequences(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, 5), marker(5, ControlType.ABORT, epoch=1)])
    assert refusal(made, batch(6, 5, epoch=1)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    made.check(batch(6, 0, epoch=1), AppendOrigin.CLIENT)


def test_expiry_spares_open_transactions(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0), batch(1, 0, pid=2, transactional=True), batch(90, 0, pid=3)])
    made.expire(1080, 60)
    assert sorted(made.producers) == [2, 3]


def test_empty_snapshot_bytes() -> None:
    assert encode_snapshot([]).hex() == "000148674bc700000000"


def test_snapshot_there_and_back(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, 3), batch(3, 3, 2), batch(9, 0, pid=2, epoch=4, transactional=True)])
    made.take_snapshot()
    assert made.snapshots == [10]
    assert (tmp_path / "00000000000000000010.snapshot").stat().st_size == 10 + 2 * 46
    again = ProducerState(str(tmp_path))
    again.snapshots = [10]
    again.load(0, 10)
    assert again.end_offset == 10
    assert again.first_ongoing_offset == 9
    again.check(batch(10, 5), AppendOrigin.CLIENT)
    assert again.find_duplicate(batch(0, 3, 2)) is not None
    assert again.find_duplicate(batch(0, 0, 3)) is None  # the window begins with one batch
    assert again.producers[2].epoch == 4


def test_every_changed_byte_of_a_snapshot_is_found(tmp_path: Path) -> None:
    good = encode_snapshot(state(tmp_path, [batch(0, 0)]).producers.values())
    decode_snapshot(good)
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 0x40
        with pytest.raises(CorruptSnapshot):
            decode_snapshot(bytes(bad))
        with pytest.raises(CorruptSnapshot):
            decode_snapshot(good[:place])


def test_a_damaged_snapshot_is_replaced_by_an_older_one(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0)])
    made.take_snapshot(1)
    made.take_snapshot(5)
    made.take_snapshot(9)
    path = Path(made.snapshot_path(5))
    path.write_bytes(path.read_bytes()[:-1])
    made.load(0, 8)
    assert made.end_offset == 1
    assert made.snapshots == [1]
    assert sorted(tmp_path.iterdir()) == [Path(made.snapshot_path(1))]


def verified(made: ProducerState, one: RecordBatch, *, bumps_epoch: bool = False) -> Verification | None:
    return made.start_verification(
        one.producer_id, one.producer_epoch, one.base_sequence, bumps_epoch=bumps_epoch, now_ms=1
    )


def test_the_first_batch_of_a_transaction_needs_its_verification(tmp_path: Path) -> None:
    made, first = state(tmp_path), batch(0, 0, transactional=True)
    with pytest.raises(KafkaError) as refused:
        made.check(first, AppendOrigin.CLIENT, None)
    assert refused.value.code is ErrorCode.INVALID_TXN_STATE
    made.check(first, AppendOrigin.CLIENT, verified(made, first))
    made.appended(first)
    assert verified(made, batch(1, 1, transactional=True)) is None
    made.check(batch(1, 1, transactional=True), AppendOrigin.CLIENT, None)
    made.check(batch(1, 0, pid=2), AppendOrigin.CLIENT, None)  # no transaction, nothing to verify


def test_a_verification_that_an_abort_has_overtaken_is_void(tmp_path: Path) -> None:
    made, first = state(tmp_path), batch(1, 0, transactional=True)
    stale = verified(made, first)
    made.appended(marker(0, ControlType.ABORT))
    renewed = verified(made, first)
    assert renewed is not stale
    with pytest.raises(KafkaError) as refused:
        made.check(first, AppendOrigin.CLIENT, stale)
    assert refused.value.code is ErrorCode.INVALID_TXN_STATE
    made.check(first, AppendOrigin.CLIENT, renewed)


@pytest.mark.parametrize(("bumps_epoch", "stays"), [(True, True), (False, False)])
def test_the_next_transactions_verification_outlives_the_marker(tmp_path: Path, bumps_epoch: bool, stays: bool) -> None:
    made = state(tmp_path, [batch(0, 0, transactional=True)])
    following = verified(made, batch(2, 0, epoch=1, transactional=True), bumps_epoch=bumps_epoch)
    made.appended(marker(1, ControlType.COMMIT, epoch=1))
    assert (made.verifications.get(1) is following) is stays


def test_a_verification_of_an_old_epoch_is_refused(tmp_path: Path) -> None:
    made = state(tmp_path, [batch(0, 0, epoch=3)])
    with pytest.raises(KafkaError) as refused:
        verified(made, batch(1, 0, epoch=2, transactional=True))
    assert refused.value.code is ErrorCode.INVALID_PRODUCER_EPOCH


def test_the_first_written_is_the_first_that_was_tried(tmp_path: Path) -> None:
    made = state(tmp_path)
    verification = verified(made, batch(0, 5, transactional=True))
    assert verified(made, batch(0, 9, transactional=True)) is verification
    late = batch(0, 9, transactional=True)
    with pytest.raises(KafkaError) as refused:
        made.check(late, AppendOrigin.CLIENT, verification)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    made.check(batch(0, 5, transactional=True), AppendOrigin.CLIENT, verification)
    assert verified(made, batch(0, 3, epoch=1, transactional=True)) is verification
    assert (verification.epoch, verification.lowest_sequence) == (1, 3) if verification else False


def test_who_bumps_its_epoch_begins_at_0(tmp_path: Path) -> None:
    made, first = state(tmp_path), batch(0, 5, transactional=True)
    verification = verified(made, first, bumps_epoch=True)
    with pytest.raises(KafkaError) as refused:
        made.check(first, AppendOrigin.CLIENT, verification)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.mark.parametrize(("epoch", "refused"), [(0, True), (1, False)])
def test_a_marker_has_a_new_epoch_where_each_transaction_has_one(tmp_path: Path, epoch: int, refused: bool) -> None:
    made = state(tmp_path, [batch(0, 0, transactional=True)])
    one = marker(1, ControlType.COMMIT, epoch=epoch)
    read = read_marker(one)
    assert read is not None
    made.check_marker(one, read, 1)
    if refused:
        with pytest.raises(KafkaError) as caught:
            made.check_marker(one, read, 2)
        assert caught.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    else:
        made.check_marker(one, read, 2)
        made.appended(one)
        made.check_marker(one, read, 2)  # written once more (KAFKA-19999)


def test_verifications_expire(tmp_path: Path) -> None:
    made = state(tmp_path)
    verified(made, batch(0, 0, transactional=True))
    made.expire(10, 10)
    assert made.verifications != {}
    made.expire(11, 10)
    assert made.verifications == {}
