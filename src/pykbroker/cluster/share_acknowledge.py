"""What a member of a share group says about the records that it holds: accepted, released, rejected, renewed.

One answer covers a run of records, alike or each by itself. A request's first mistake ends it, and nothing of it counts
(KIP-932; 1222: renewed locks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pykbroker.cluster.in_flight import ACKNOWLEDGED, ACQUIRED, ARCHIVED, AVAILABLE, NOBODY, InFlight, InFlightBatch
from pykbroker.cluster.share_partition import Change, SharePartition
from pykbroker.protocol.errors import ErrorCode, KafkaError

GAP, ACCEPT, RELEASE, REJECT, RENEW = range(5)
"""Kinds of answers. A gap is an offset at which the member found no record."""

OUTCOME = {GAP: ARCHIVED, ACCEPT: ACKNOWLEDGED, RELEASE: AVAILABLE, REJECT: ARCHIVED}


class Answer(NamedTuple):
    """A member's answer for the records first…last: of one kind, or of one for each."""

    first: int
    last: int
    kinds: Sequence[int]

    def kind(self, offset: int) -> int:
        """The answer for one record."""
        return self.kinds[offset - self.first] if len(self.kinds) > 1 else self.kinds[0]


def check(answers: Sequence[Answer], *, renewing: bool | None) -> None:
    """Refuses with INVALID_REQUEST what no version of the request allows.

    `renewing`: whether the request is marked as one that renews; None in versions that don't know of it.
    """
    previous = -1
    for first, last, kinds in answers:
        fits = len(kinds) in (1, last - first + 1)
        known = all(GAP <= kind <= (REJECT if renewing is None else RENEW) for kind in kinds)
        if first > last or first < previous or not fits or not known or (RENEW in kinds and not renewing):
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        previous = last


def acknowledge(partition: SharePartition, member_id: str, answers: Sequence[Answer], now: float) -> Change:
    """Begins the changes that a member's answers ask for.

    Raises INVALID_RECORD_STATE for records that it doesn't hold, INVALID_REQUEST for records never handed out; then
    nothing has changed, but for locks renewed before the mistake.
    """
    change = Change()
    try:
        for answer in answers:
            if answer.last >= partition.start_offset:
                for batch in _batches(partition, answer):
                    if batch.last >= partition.start_offset:
                        _answer(partition, member_id, answer, batch, change, now)
    except KafkaError:
        partition.complete(change, False, now)
        raise
    return change


def _batches(partition: SharePartition, answer: Answer) -> list[InFlightBatch]:
    """The batches that an answer is about."""
    floor = partition.batches.floor(answer.first)
    if floor is None and answer.first < partition.start_offset <= answer.last:
        floor = partition.batches.floor(partition.start_offset)
    if floor is None:
        raise _invalid("Batch record not found. The request batch offsets are not found in the cache.")
    batches = partition.batches.between(floor.first, answer.last)
    for which, offset in (("first", answer.first), ("last", answer.last)):
        if offset > batches[-1].last:
            text = f"Batch record not found. The {which} offset in request is past acquired records."
            raise KafkaError(ErrorCode.INVALID_REQUEST, text)
    return batches


def _answer(
    partition: SharePartition, member_id: str, answer: Answer, batch: InFlightBatch, change: Change, now: float
) -> None:
    whole = batch.whole
    if whole is not None:
        _check_holder(whole, member_id)
        moved = batch.first < partition.start_offset <= batch.last
        if batch.within(answer.first, answer.last) and len(answer.kinds) == 1 and not moved:
            _apply(partition, answer.kinds[0], batch.first, batch.last, whole, change, now)
            return
        batch.split()
    for offset, record in batch.records(max(answer.first, partition.start_offset), answer.last):
        if record.state is not ACQUIRED:
            raise _invalid("The offset cannot be acknowledged. The offset is not acquired.")
        if record.member_id != member_id:
            raise _invalid("Member is not the owner of offset")
        _apply(partition, answer.kind(offset), offset, offset, record, change, now)


def _check_holder(whole: InFlight, member_id: str) -> None:
    if whole.member_id == NOBODY:
        raise _invalid("The batch cannot be acknowledged. The batch is not in the acquired state.")
    if whole.member_id != member_id:
        raise _invalid("Member is not the owner of batch record")


def _apply(
    partition: SharePartition, kind: int, first: int, last: int, records: InFlight, change: Change, now: float
) -> None:
    if kind == RENEW:
        if not partition.config.renew:
            raise _invalid("Renewing acquisition locks is not enabled for the group.")
        records.deadline = partition.lock_until(now)
        return
    partition.give_up(change, first, last, records, OUTCOME[kind])


def _invalid(text: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD_STATE, text)
