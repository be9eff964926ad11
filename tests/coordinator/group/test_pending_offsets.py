"""Offsets of transactions: they count when the marker says so, and until then a stable reader waits."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import UNSTABLE, OffsetToCommit
from pykbroker.coordinator.result import Record
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 0)
ANYBODY = Committer("", None, -1)


def commit_pending(talk: Any, offset: int, producer_id: int = 1, committer: Committer = ANYBODY) -> E:
    result = talk.shard.commit_pending("g", committer, {TP: OffsetToCommit(offset)}, talk.now)
    for record in result.records:
        talk.shard.replay_pending(record, producer_id)
    code: E = result.answer[TP]
    return code


def decide(talk: Any, producer_id: int = 1, *, committed: bool) -> None:
    talk.shard.replay_marker(producer_id, committed=committed)


def offset(talk: Any, *, stable: bool = False) -> Any:
    found = talk.shard.fetch("g", [TP], stable=stable).answer[TP]
    return found if found is None or found is UNSTABLE else found.offset


def test_a_committed_transactions_offset_counts(talk: Any) -> None:
    assert commit_pending(talk, 7) == E.NONE
    assert (offset(talk), offset(talk, stable=True)) == (None, UNSTABLE)
    decide(talk, committed=True)
    assert (offset(talk), offset(talk, stable=True)) == (7, 7)


def test_an_aborted_transactions_offset_never_counts(talk: Any) -> None:
    talk.commit(offset=3)
    commit_pending(talk, 7)
    assert (offset(talk), offset(talk, stable=True)) == (3, UNSTABLE)
    decide(talk, committed=False)
    assert (offset(talk), offset(talk, stable=True)) == (3, 3)


def test_a_group_goes_with_its_only_transaction(talk: Any) -> None:
    commit_pending(talk, 7)
    assert list(talk.shard.groups) == ["g"]
    decide(talk, committed=False)
    assert list(talk.shard.groups) == []


@pytest.mark.parametrize("committed", [False, True])
def test_markers_of_others_change_nothing(talk: Any, committed: bool) -> None:
    commit_pending(talk, 7)
    decide(talk, 2, committed=committed)
    assert (offset(talk), offset(talk, stable=True)) == (None, UNSTABLE)


def test_a_later_plain_commit_stays(talk: Any) -> None:
    commit_pending(talk, 7)
    talk.commit(offset=9)
    assert (offset(talk), offset(talk, stable=True)) == (9, UNSTABLE)
    decide(talk, committed=True)
    assert offset(talk, stable=True) == 9


def test_of_two_transactions_the_later_record_stays(talk: Any) -> None:
    commit_pending(talk, 7, 1)
    commit_pending(talk, 8, 2)
    decide(talk, 2, committed=True)
    assert (offset(talk), offset(talk, stable=True)) == (8, UNSTABLE)
    decide(talk, 1, committed=True)
    assert offset(talk, stable=True) == 8


def test_the_earlier_of_two_may_commit_first(talk: Any) -> None:
    commit_pending(talk, 7, 1)
    commit_pending(talk, 8, 2)
    decide(talk, 1, committed=True)
    assert offset(talk) == 7
    decide(talk, 2, committed=True)
    assert offset(talk, stable=True) == 8


def test_a_transaction_may_commit_again(talk: Any) -> None:
    commit_pending(talk, 7)
    commit_pending(talk, 8)
    decide(talk, committed=True)
    assert offset(talk) == 8


def test_who_says_who_it_is_must_be_that(talk: Any) -> None:
    generation, (first,) = talk.stable(b"1")
    assert commit_pending(talk, 7, committer=Committer(first, None, generation)) == E.NONE
    assert commit_pending(talk, 7) == E.NONE
    for committer, code in (
        (Committer(first, None, generation - 1), E.ILLEGAL_GENERATION),
        (Committer("another", None, generation), E.UNKNOWN_MEMBER_ID),
        (Committer(first, "an instance", generation), E.UNKNOWN_MEMBER_ID),
    ):
        with pytest.raises(KafkaError) as refused:
            commit_pending(talk, 7, committer=committer)
        assert refused.value.code is code


def test_a_generation_of_no_group_and_no_group_at_all(talk: Any) -> None:
    with pytest.raises(KafkaError) as refused:
        commit_pending(talk, 7, committer=Committer("m", None, 1))
    assert refused.value.code is E.ILLEGAL_GENERATION
    with pytest.raises(KafkaError) as refused:
        talk.shard.commit_pending("", ANYBODY, {TP: OffsetToCommit(1)}, talk.now)
    assert refused.value.code is E.INVALID_GROUP_ID


def test_a_rebalance_is_no_obstacle(talk: Any) -> None:
    generation, (first, second) = talk.stable(b"1", b"2")
    talk.join(first)
    talk.join(second)
    assert talk.state() == "CompletingRebalance"
    assert commit_pending(talk, 7, committer=Committer(first, None, generation + 1)) == E.NONE


def test_deletion_takes_pending_offsets_along(talk: Any) -> None:
    for remove in (
        lambda: talk.shard.delete("g"),
        lambda: talk.shard.delete_offsets("g", [TP]),
        lambda: talk.shard.delete_topics(["t"]),
    ):
        commit_pending(talk, 7)
        talk.take(remove())
        assert offset(talk, stable=True) is None
        decide(talk, committed=True)
        assert offset(talk, stable=True) is None


def test_a_tombstone_in_a_transaction_is_one_at_once(talk: Any) -> None:
    talk.commit(offset=3)
    talk.shard.replay_pending(Record(talk.records[-1].key, None), 1)
    assert offset(talk, stable=True) is None


def test_pending_offsets_are_not_listed(talk: Any) -> None:
    commit_pending(talk, 7)
    assert talk.shard.fetch("g", None, stable=True).answer == {}
    talk.commit(offset=3)
    assert talk.shard.fetch("g", None, stable=True).answer == {TP: UNSTABLE}
