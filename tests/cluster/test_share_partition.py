"""A share-partition as a conversation: what members get, what they say about it, what is stored (KIP-932)."""

from __future__ import annotations

import pytest

from pykbroker.cluster.in_flight import ACKNOWLEDGED, ACQUIRED, ARCHIVED, AVAILABLE, NEVER, RecordState, StateBatch
from pykbroker.cluster.share_acknowledge import ACCEPT, GAP, REJECT, RELEASE, RENEW, Answer, acknowledge, check
from pykbroker.cluster.share_acquire import Acquired, Fetched, Wanted, aborted_batches, acquire
from pykbroker.cluster.share_partition import ACTIVE, FAILED, FENCED, LOADING, ShareConfig, SharePartition
from pykbroker.protocol.errors import ErrorCode, KafkaError

LOCK = 30.0
CONFIG = ShareConfig()


class Conversation:
    """Members of a group at one share-partition, over a log of batches of ten records."""

    def __init__(self, *stored: StateBatch, start: int = 0, config: ShareConfig = CONFIG) -> None:
        self.partition = SharePartition(0, config)
        self.partition.load(start, 0, stored)
        self.log = [Fetched(first, first + 9) for first in range(0, 200, 10)]
        self.stored: list[StateBatch] = []

    def fetch(
        self,
        member: str = "m1",
        *,
        most: int = 500,
        size: int = 500,
        exact: bool = False,
        end: int = 20,
        aborted: tuple[tuple[int, int], ...] = (),
        now: float = 0,
    ) -> list[Acquired]:
        offset = self.partition.next_fetch_offset()
        read = [batch for batch in self.log if batch.last_offset >= offset and batch.base_offset < end]
        return acquire(self.partition, Wanted(member, most, size, exact), offset, read, aborted, now)

    def answer(self, *answers: Answer, member: str = "m1", stored: bool = True, now: float = 0) -> bool:
        change = acknowledge(self.partition, member, answers, now)
        self.stored += change.batches
        return self.partition.complete(change, stored, now)

    def refused(self, *answers: Answer, member: str = "m1") -> tuple[ErrorCode, str | None]:
        with pytest.raises(KafkaError) as error:
            acknowledge(self.partition, member, answers, 0)
        return error.value.code, error.value.message

    def offsets(self) -> tuple[int, int]:
        return self.partition.start_offset, self.partition.end_offset

    def states(self) -> list[tuple[int, int, RecordState, int]]:
        return [
            (first, last, records.state, records.deliveries)
            for batch in self.partition.batches
            for first, last, records in batch.runs()
        ]


def accept(first: int, last: int) -> Answer:
    return Answer(first, last, [ACCEPT])


def release(first: int, last: int) -> Answer:
    return Answer(first, last, [RELEASE])


# What a member gets


def test_a_fetch_acquires_whole_batches_once() -> None:
    group = Conversation()
    assert group.fetch() == [Acquired(0, 19, 1)]
    assert group.offsets() == (0, 19)
    assert group.partition.next_fetch_offset() == 20
    assert group.fetch("m2") == []


def test_the_last_batch_comes_whole_even_where_fewer_records_are_wanted() -> None:
    assert Conversation().fetch(most=5) == [Acquired(0, 9, 1)]
    assert Conversation().fetch(most=11) == [Acquired(0, 19, 1)]


def test_with_a_record_limit_no_record_more_is_acquired() -> None:
    group = Conversation()
    assert group.fetch(most=5, exact=True) == [Acquired(0, 4, 1)]
    assert group.states()[4:6] == [(4, 4, ACQUIRED, 1), (5, 5, AVAILABLE, 0)]
    assert group.fetch("m2", most=3, exact=True) == [Acquired(5, 7, 1)]
    assert group.fetch("m3", most=3, exact=True) == [Acquired(8, 9, 1), Acquired(10, 10, 1)]


def test_a_large_portion_is_cut_where_batches_begin() -> None:
    assert Conversation().fetch(size=15, end=60) == [Acquired(0, 19, 1), Acquired(20, 39, 1), Acquired(40, 59, 1)]


def test_no_more_than_the_limit_is_in_flight() -> None:
    group = Conversation(config=ShareConfig(max_locks=15))
    assert group.fetch(end=200) == [Acquired(0, 19, 1)]
    assert not group.partition.may_acquire()
    group.answer(release(3, 4))
    assert group.partition.may_acquire()
    assert group.fetch(end=200) == [Acquired(3, 4, 2)]
    assert not group.partition.may_acquire()


def test_nothing_wanted_nothing_read_or_not_yet_loaded_is_nothing_acquired() -> None:
    group = Conversation()
    assert group.fetch(most=0) == []
    assert acquire(group.partition, Wanted("m1", 1, 1), 0, [], (), 0) == []
    loading = SharePartition(0, ShareConfig())
    assert acquire(loading, Wanted("m1", 1, 1), 0, [Fetched(0, 9)], (), 0) == []


def test_a_batch_that_began_before_the_start_offset_is_acquired_from_there() -> None:
    group = Conversation(start=5)
    assert group.fetch() == [Acquired(5, 19, 1)]


def test_records_that_compaction_took_away_are_archived() -> None:
    group = Conversation()
    group.fetch()
    group.answer(release(0, 19))
    group.log = [batch for batch in group.log if batch.base_offset >= 10]
    assert group.fetch() == [Acquired(10, 19, 2)]
    assert group.states()[9:11] == [(9, 9, ARCHIVED, 1), (10, 10, ACQUIRED, 2)]


# What it says about them


def test_what_is_accepted_moves_the_start_offset() -> None:
    group = Conversation()
    group.fetch()
    assert group.answer(accept(0, 4))
    assert group.offsets() == (5, 19)
    assert not group.answer(accept(10, 14))
    assert group.partition.completed_count == 5
    assert group.answer(accept(5, 9))
    assert group.offsets() == (15, 19)
    assert group.partition.completed_count == 0
    assert group.answer(Answer(15, 19, [REJECT]))
    assert group.offsets() == (20, 20)
    assert group.partition.next_fetch_offset() == 20


def test_what_is_stored_is_what_changed() -> None:
    group = Conversation()
    group.fetch()
    group.answer(accept(0, 19))
    assert group.stored == [StateBatch(0, 19, ACKNOWLEDGED, 1)]
    group.fetch(end=30)
    group.answer(Answer(20, 22, [ACCEPT, RELEASE, GAP]), Answer(23, 29, [REJECT]))
    assert group.stored[1:5] == [
        StateBatch(20, 20, ACKNOWLEDGED, 1),
        StateBatch(21, 21, AVAILABLE, 1),
        StateBatch(22, 22, ARCHIVED, 1),
        StateBatch(23, 23, ARCHIVED, 1),
    ]


def test_what_is_released_is_delivered_again_and_counted() -> None:
    group = Conversation()
    group.fetch(end=10)
    group.answer(release(0, 9))
    assert group.fetch("m2", end=10) == [Acquired(0, 9, 2)]


def test_after_the_last_delivery_a_released_record_is_archived() -> None:
    group = Conversation(config=ShareConfig(delivery_limit=2))
    group.fetch(end=10)
    group.answer(release(0, 9))
    group.fetch(end=10)
    assert group.answer(release(0, 9))
    assert group.stored[-1] == StateBatch(0, 9, ARCHIVED, 2)
    assert group.offsets() == (10, 10)


def test_records_that_failed_come_in_smaller_portions_and_at_last_alone() -> None:
    group = Conversation()
    for _ in range(3):
        assert group.fetch(end=10)[0].size == 10
        group.answer(release(0, 9))
    assert group.fetch() == [Acquired(0, 4, 4)]
    group.answer(release(0, 4))
    assert group.fetch() == [Acquired(0, 0, 5)]
    assert group.fetch() == [Acquired(1, 1, 5)]


def test_what_failed_often_isn_t_mixed_with_other_records() -> None:
    group = Conversation()
    group.fetch(size=10)
    group.answer(release(12, 15))
    for _ in range(2):
        group.fetch()
        group.answer(release(12, 15))
    group.answer(release(0, 9))
    assert group.fetch() == [Acquired(0, 9, 2)]
    assert group.fetch(end=40) == [Acquired(12, 15, 4)]
    assert group.fetch(end=40) == [Acquired(20, 39, 1)]


def test_a_change_counts_once_it_is_stored() -> None:
    group = Conversation()
    group.fetch(end=10)
    change = acknowledge(group.partition, "m1", [accept(0, 9)], 0)
    assert group.offsets() == (0, 9)
    assert group.refused(accept(0, 9)) == (
        ErrorCode.INVALID_RECORD_STATE,
        "The batch cannot be acknowledged. The batch is not in the acquired state.",
    )
    assert group.partition.complete(change, True, 0)
    assert group.offsets() == (10, 10)


def test_what_can_t_be_stored_is_the_member_s_again() -> None:
    group = Conversation()
    group.fetch(end=10)
    assert not group.answer(accept(0, 9), stored=False)
    assert group.states() == [(0, 9, ACQUIRED, 1)]
    assert group.partition.completed_count == 0
    assert group.answer(accept(0, 9))


def test_a_lock_that_runs_out_while_a_change_is_stored_is_over_if_that_fails() -> None:
    group = Conversation()
    group.fetch(end=10)
    change = acknowledge(group.partition, "m1", [accept(0, 9)], 0)
    assert group.partition.expire(LOCK) == []
    group.partition.complete(change, False, LOCK)
    assert group.states() == [(0, 9, AVAILABLE, 1)]
    assert group.partition.next_fetch_offset() == 0


def test_nobody_answers_for_another_s_records() -> None:
    group = Conversation()
    group.fetch()
    state = ErrorCode.INVALID_RECORD_STATE
    assert group.refused(accept(0, 19), member="m2") == (state, "Member is not the owner of batch record")
    group.answer(accept(3, 3))
    assert group.refused(accept(4, 4), member="m2") == (state, "Member is not the owner of offset")
    assert group.refused(accept(3, 3)) == (state, "The offset cannot be acknowledged. The offset is not acquired.")


def test_nobody_answers_for_records_never_handed_out() -> None:
    group = Conversation()
    text = "Batch record not found. The request batch offsets are not found in the cache."
    assert group.refused(accept(0, 0)) == (ErrorCode.INVALID_RECORD_STATE, text)
    group.fetch()
    text = "Batch record not found. The {} offset in request is past acquired records."
    assert group.refused(accept(20, 21)) == (ErrorCode.INVALID_REQUEST, text.format("first"))
    assert group.refused(accept(10, 21)) == (ErrorCode.INVALID_REQUEST, text.format("last"))


def test_a_mistake_takes_back_what_the_request_asked_for_before() -> None:
    group = Conversation()
    group.fetch()
    group.refused(accept(0, 5), accept(30, 31))
    assert {state for _, _, state, _ in group.states()} == {ACQUIRED}
    assert group.partition.completed_count == 0


def test_what_lies_below_the_start_offset_is_passed_over() -> None:
    group = Conversation()
    group.fetch()
    group.answer(accept(0, 4))
    group.answer(accept(0, 2))
    assert group.answer(accept(5, 19))
    assert group.offsets() == (20, 20)


@pytest.mark.parametrize(
    ("answers", "renewing"),
    [
        ([Answer(5, 4, [ACCEPT])], None),
        ([Answer(5, 9, [ACCEPT]), Answer(3, 4, [ACCEPT])], None),
        ([Answer(5, 9, [])], None),
        ([Answer(5, 9, [ACCEPT, ACCEPT])], None),
        ([Answer(5, 9, [-1])], None),
        ([Answer(5, 9, [RENEW])], None),
        ([Answer(5, 9, [RENEW])], False),
        ([Answer(5, 9, [RENEW + 1])], True),
    ],
)
def test_answers_that_make_no_sense_are_refused(answers: list[Answer], renewing: bool | None) -> None:
    with pytest.raises(KafkaError) as error:
        check(answers, renewing=renewing)
    assert error.value.code is ErrorCode.INVALID_REQUEST


def test_answers_that_make_sense_pass() -> None:
    check([Answer(0, 1, [ACCEPT, GAP]), Answer(2, 9, [REJECT])], renewing=None)
    check([Answer(0, 1, [RENEW, RELEASE])], renewing=True)


# Locks


def test_a_lock_runs_out_and_the_records_are_available_again() -> None:
    group = Conversation()
    group.fetch(end=10, now=1)
    assert group.partition.deadline == 1 + LOCK
    assert group.partition.expire(LOCK) == []
    assert group.partition.expire(1 + LOCK) == [StateBatch(0, 9, AVAILABLE, 1)]
    assert group.partition.deadline == NEVER
    assert group.fetch("m2", end=10) == [Acquired(0, 9, 2)]


def test_the_lock_of_the_last_delivery_runs_out_into_the_archive() -> None:
    group = Conversation(config=ShareConfig(delivery_limit=2))
    group.fetch(end=10)
    group.partition.expire(LOCK)
    group.fetch(end=10, now=LOCK)
    assert group.partition.expire(2 * LOCK) == [StateBatch(0, 9, ARCHIVED, 2)]
    assert group.partition.advance()
    assert group.offsets() == (10, 10)


def test_each_record_of_a_split_batch_has_its_lock() -> None:
    group = Conversation()
    group.fetch(end=10)
    group.answer(Answer(0, 4, [RENEW]), now=10)
    assert group.partition.expire(LOCK) == [StateBatch(offset, offset, AVAILABLE, 1) for offset in range(5, 10)]
    assert group.partition.deadline == 10 + LOCK


def test_a_renewed_lock_is_nothing_to_store() -> None:
    group = Conversation()
    group.fetch(end=10)
    group.answer(Answer(0, 9, [RENEW]), now=20)
    assert group.stored == []
    assert group.partition.expire(LOCK) == []
    assert group.partition.deadline == 20 + LOCK


def test_a_group_may_forbid_renewing() -> None:
    group = Conversation(config=ShareConfig(renew=False))
    group.fetch(end=10)
    text = "Renewing acquisition locks is not enabled for the group."
    assert group.refused(Answer(0, 9, [RENEW])) == (ErrorCode.INVALID_RECORD_STATE, text)


def test_a_member_that_leaves_gives_back_what_it_holds() -> None:
    group = Conversation()
    group.fetch("m1", end=10)
    group.fetch("m2")
    change = group.partition.leave("m1")
    assert change.batches == [StateBatch(0, 9, AVAILABLE, 1)]
    group.partition.complete(change, True, 0)
    assert group.partition.next_fetch_offset() == 0
    assert group.fetch("m3") == [Acquired(0, 9, 2)]


# The log


def test_the_log_s_new_beginning_moves_the_start_offset() -> None:
    group = Conversation()
    group.partition.log_starts_at(7)
    assert group.offsets() == (7, 7)
    group.partition.log_starts_at(5)
    assert group.offsets() == (7, 7)
    assert group.fetch() == [Acquired(7, 19, 1)]


def test_what_is_held_below_the_log_s_beginning_is_archived_when_it_comes_back() -> None:
    group = Conversation()
    group.fetch(end=10)
    group.fetch("m2")
    group.answer(release(0, 9))
    group.partition.log_starts_at(15)
    assert group.offsets() == (15, 19)
    assert group.states() == [(0, 9, ARCHIVED, 1), (10, 19, ACQUIRED, 1)]
    expired = group.partition.expire(LOCK)
    assert expired[4:6] == [StateBatch(14, 14, ARCHIVED, 1), StateBatch(15, 15, AVAILABLE, 1)]
    assert group.fetch() == [Acquired(15, 19, 2)]


def test_a_member_that_leaves_after_the_log_moved_gives_back_what_is_left() -> None:
    group = Conversation()
    group.fetch(end=10)
    group.partition.log_starts_at(8)
    change = group.partition.leave("m1")
    assert [(batch.first, batch.state) for batch in change.batches][7:] == [(7, 4), (8, 0), (9, 0)]
    assert group.partition.completed_count == 0


def test_records_that_are_dealt_with_and_gone_aren_t_counted_twice() -> None:
    group = Conversation()
    group.fetch()
    group.answer(accept(5, 12))
    assert group.partition.completed_count == 8
    group.partition.log_starts_at(10)
    assert group.partition.completed_count == 3
    group.partition.log_starts_at(40)
    assert group.offsets() == (40, 40)
    assert group.partition.completed_count == 0


# read_committed


def test_records_of_aborted_transactions_are_archived_not_delivered() -> None:
    group = Conversation()
    group.log = [
        Fetched(0, 3),
        Fetched(4, 5, producer_id=7, transactional=True),
        Fetched(6, 7, producer_id=8, transactional=True),
        Fetched(8, 8, producer_id=7, transactional=True, abort=True),
        Fetched(9, 9, producer_id=7, transactional=True),
    ]
    assert group.fetch(aborted=((7, 4),)) == [Acquired(0, 3, 1), Acquired(6, 9, 1)]
    assert group.states()[4:6] == [(4, 4, ARCHIVED, 1), (5, 5, ARCHIVED, 1)]
    assert group.answer(accept(0, 3), accept(6, 9))
    assert group.offsets() == (10, 10)


def test_a_producer_s_batches_are_aborted_from_the_transaction_s_first_offset_to_its_marker() -> None:
    fetched = [
        Fetched(0, 0, 7, True),
        Fetched(1, 1, 7, True),
        Fetched(2, 2, 7, True, abort=True),
        Fetched(3, 3, 7, True),
        Fetched(4, 4, 7),
        Fetched(5, 5),
    ]
    assert [batch.base_offset for batch in aborted_batches(fetched, [(7, 1), (9, 0)])] == [1]


# What was stored


def test_a_stored_state_goes_on_where_it_was() -> None:
    group = Conversation(StateBatch(5, 9, ACKNOWLEDGED, 1), StateBatch(10, 12, AVAILABLE, 3), start=5)
    assert group.offsets() == (10, 12)
    assert group.partition.next_fetch_offset() == 10
    assert group.partition.life is ACTIVE


def test_what_no_stored_batch_tells_of_is_fetched_again() -> None:
    group = Conversation(StateBatch(10, 14, ACKNOWLEDGED, 1), StateBatch(30, 39, AVAILABLE, 1))
    assert group.offsets() == (0, 39)
    assert group.partition.completed_count == 5
    assert group.fetch(end=50) == [
        Acquired(0, 9, 1),
        Acquired(15, 29, 1),
        Acquired(30, 39, 2),
        Acquired(40, 49, 1),
    ]
    assert group.answer(accept(0, 9))
    assert group.offsets() == (15, 49)


def test_a_gap_is_fetched_piece_by_piece() -> None:
    group = Conversation(StateBatch(30, 39, ACKNOWLEDGED, 1))
    assert group.partition.next_fetch_offset() == 0
    assert group.fetch(end=10) == [Acquired(0, 9, 1)]
    assert group.partition.next_fetch_offset() == 10
    assert not group.answer(accept(3, 9))
    assert group.answer(accept(0, 2))
    assert group.partition.start_offset == 10
    assert group.fetch(end=30) == [Acquired(10, 29, 1)]
    assert group.partition.next_fetch_offset() == 40
    assert group.answer(accept(10, 29))
    assert group.offsets() == (30, 39)


def test_a_stored_state_that_makes_no_sense_is_refused() -> None:
    for bad in (StateBatch(3, 9, ACKNOWLEDGED, 1), StateBatch(9, 8, ACKNOWLEDGED, 1)):
        partition = SharePartition(0, ShareConfig())
        with pytest.raises(KafkaError):
            partition.load(5, 0, [bad])
        assert partition.life is FAILED


def test_a_share_partition_s_life_has_one_direction() -> None:
    partition = SharePartition(0, ShareConfig())
    assert partition.life is LOADING
    partition.become(FENCED)
    with pytest.raises(AssertionError):
        partition.become(ACTIVE)
