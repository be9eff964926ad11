"""Transactions as conversations: epochs, ends, retries, fencing; the answers are Apache Kafka 4.3's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykbroker.coordinator.transaction.shard import NO_PRODUCER, Producer
from pykbroker.coordinator.transaction.transaction_state import (
    ALLOWED,
    LAST_EPOCH,
    MAX_EPOCH,
    TRANSITIONS,
    Transaction,
    TransactionState,
)
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

TP, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def at_epoch(talk: Any, epoch: int) -> Producer:
    """The same producer after many epochs."""
    talk.shard.transactions["an id"] = replace(talk.transaction, producer_epoch=epoch)
    return Producer(talk.transaction.producer_id, epoch)


def test_the_numbers_in_records_are_kafkas() -> None:
    assert [state.id for state in TransactionState] == [0, 1, 2, 3, 4, 5, 6]
    assert {before for before, _, _ in TRANSITIONS} == set(TransactionState) - {TransactionState.DEAD}


def test_no_other_transition_happens() -> None:
    begun = Transaction("t", 1, 0)
    for state in TransactionState:
        if (state, TransactionState.COMPLETE_COMMIT) not in ALLOWED:
            with pytest.raises(AssertionError):
                replace(begun, state=state)._to(TransactionState.COMPLETE_COMMIT)


def test_a_new_producer_begins_at_epoch_0_and_fences_its_predecessor(talk: Any) -> None:
    first = talk.begun()
    assert first == Producer(100, 0)
    second = talk.begun()
    assert second == Producer(100, 1)
    for other in (first, Producer(100, 2)):
        assert talk.add(other) == E.PRODUCER_FENCED
        assert talk.end(other).code == E.PRODUCER_FENCED
        assert talk.end(other, version=2).code == E.PRODUCER_FENCED
    assert talk.add(second) == E.NONE


def test_an_id_that_nobody_knows(talk: Any) -> None:
    assert talk.add(Producer(1, 0)) == E.INVALID_PRODUCER_ID_MAPPING
    assert talk.end(Producer(1, 0)).code == E.INVALID_PRODUCER_ID_MAPPING
    producer = talk.begun()
    assert talk.add(Producer(producer.id + 1, 0)) == E.INVALID_PRODUCER_ID_MAPPING
    assert talk.end(Producer(producer.id + 1, 0)).code == E.INVALID_PRODUCER_ID_MAPPING


def test_the_empty_id_is_nobodys(talk: Any) -> None:
    for ask in (
        lambda: talk.shard.add_partitions("", Producer(1, 0), [TP], 2, talk.now),
        lambda: talk.shard.end("", Producer(1, 0), 2, None, talk.now, committed=True),
    ):
        with pytest.raises(KafkaError) as refused:
            ask()
        assert refused.value.code is E.INVALID_REQUEST


def test_a_fresh_producer_id_is_taken_only_where_it_is_needed(talk: Any) -> None:
    shard = talk.shard
    assert (shard.wants_producer_id("an id"), shard.wants_producer_id("an id", ends=True)) == (True, False)
    producer = talk.begun()
    assert (shard.wants_producer_id("an id"), shard.wants_producer_id("an id", ends=True)) == (False, False)
    at_epoch(talk, LAST_EPOCH)
    assert (shard.wants_producer_id("an id"), shard.wants_producer_id("an id", ends=True)) == (True, True)
    talk.add(Producer(producer.id, LAST_EPOCH))
    assert (shard.wants_producer_id("an id"), shard.wants_producer_id("an id", ends=True)) == (False, True)


@pytest.mark.parametrize(("committed", "end"), [(True, "Commit"), (False, "Abort")])
def test_one_transaction_in_one_epoch(talk: Any, committed: bool, end: str) -> None:
    producer = talk.begun()
    assert talk.add(producer) == E.NONE
    assert talk.add(producer, [OTHER]) == E.NONE
    written = len(talk.records)
    assert talk.add(producer, [TP]) == E.NONE
    assert len(talk.records) == written, "what is known is not written again"
    assert (talk.state, talk.transaction.partitions) == ("Ongoing", {TP, OTHER})
    assert talk.end(producer, committed=committed) == (E.NONE, NO_PRODUCER)
    assert talk.state == f"Prepare{end}"
    assert talk.end(producer, committed=committed).code == E.CONCURRENT_TRANSACTIONS
    assert talk.end(producer, committed=not committed).code == E.INVALID_TXN_STATE
    assert talk.add(producer) == E.CONCURRENT_TRANSACTIONS
    assert talk.init().code == E.CONCURRENT_TRANSACTIONS
    talk.complete()
    assert (talk.state, talk.transaction.partitions) == (f"Complete{end}", frozenset())
    assert talk.end(producer, committed=committed) == (E.NONE, NO_PRODUCER)
    assert talk.end(producer, committed=not committed).code == E.INVALID_TXN_STATE
    assert talk.add(producer) == E.NONE
    assert talk.transaction.producer_epoch == producer.epoch


@pytest.mark.parametrize("committed", [True, False])
def test_what_has_not_begun_has_no_end(talk: Any, committed: bool) -> None:
    assert talk.end(talk.begun(), committed=committed).code == E.INVALID_TXN_STATE


@pytest.mark.parametrize("committed", [True, False])
def test_each_transaction_has_an_epoch_of_its_own(talk: Any, committed: bool) -> None:
    producer = talk.begun()
    for _ in range(3):
        talk.add(producer, version=2)
        code, following = talk.end(producer, committed=committed, version=2)
        assert (code, following) == (E.NONE, Producer(producer.id, producer.epoch + 1))
        assert talk.transaction.producer_epoch == following.epoch, "the markers have the next epoch"
        assert talk.end(producer, committed=committed, version=2).code == E.CONCURRENT_TRANSACTIONS
        assert talk.end(producer, committed=not committed, version=2).code == E.INVALID_TXN_STATE
        assert talk.end(following, committed=committed, version=2).code == E.PRODUCER_FENCED
        talk.complete()
        assert talk.end(producer, committed=committed, version=2) == (E.NONE, following), "an answer that was missed"
        assert talk.end(producer, committed=not committed, version=2).code == E.INVALID_TXN_STATE
        assert talk.add(producer, version=2) == E.PRODUCER_FENCED
        older = Producer(producer.id, producer.epoch - 1)
        assert talk.end(older, committed=committed, version=2).code == E.PRODUCER_FENCED
        producer = following


def test_ends_without_a_transaction_in_its_own_epoch(talk: Any) -> None:
    """The table of KIP-890's second part: what is at rest may be aborted once more, which bumps the epoch."""
    producer = talk.begun()
    stale = Producer(producer.id, producer.epoch - 1)
    assert talk.end(stale, committed=False, version=2).code == E.PRODUCER_FENCED
    assert talk.end(producer, committed=True, version=2).code == E.INVALID_TXN_STATE
    for expected in (1, 2):
        code, producer = talk.end(producer, committed=False, version=2)
        assert (code, producer.epoch) == (E.NONE, expected)
        assert talk.transaction.partitions == frozenset()
        assert talk.transaction.start_ms == talk.now.wall_ms
        talk.complete()
        assert talk.state == "CompleteAbort"
    assert talk.end(producer, committed=True, version=2).code == E.INVALID_TXN_STATE
    talk.add(producer, version=2)
    _, producer = talk.end(producer, committed=True, version=2)
    talk.complete()
    assert talk.end(producer, committed=True, version=2).code == E.INVALID_TXN_STATE
    assert talk.end(producer, committed=False, version=2).code == E.NONE


@pytest.mark.parametrize("committed", [True, False])
def test_when_epochs_are_used_up_the_end_brings_another_id(talk: Any, committed: bool) -> None:
    talk.begun()
    producer = at_epoch(talk, LAST_EPOCH)
    talk.add(producer, version=2)
    code, following = talk.end(producer, committed=committed, version=2)
    assert (code, following.epoch) == (E.NONE, 0)
    assert following.id != producer.id
    assert (talk.transaction.producer_id, talk.transaction.producer_epoch) == (producer.id, MAX_EPOCH)
    talk.restart()
    talk.complete()
    assert (talk.transaction.producer_id, talk.transaction.producer_epoch) == following
    assert talk.transaction.previous_producer_id == producer.id
    assert talk.end(producer, committed=committed, version=2) == (E.NONE, following)
    assert talk.end(producer, committed=not committed, version=2).code == E.INVALID_TXN_STATE
    older = Producer(producer.id, producer.epoch - 1)
    assert talk.end(older, committed=committed, version=2).code == E.INVALID_PRODUCER_ID_MAPPING
    assert talk.add(following, version=2) == E.NONE


def test_when_epochs_are_used_up_initializing_brings_another_id(talk: Any) -> None:
    known = talk.begun()
    exhausted = at_epoch(talk, LAST_EPOCH)
    code, fresh = talk.init(exhausted)
    assert (code, fresh.epoch) == (E.NONE, 0)
    assert fresh.id != known.id
    assert talk.init(exhausted) == (E.NONE, fresh), "the same request come twice"
    at_epoch(talk, LAST_EPOCH)
    assert talk.init().producer.id not in (known.id, fresh.id)


@pytest.mark.parametrize("version", [0, 2])
def test_initializing_aborts_what_is_under_way(version: int, talk: Any) -> None:
    talk.version = version
    first = talk.begun()
    talk.add(first, version=version)
    assert talk.init().code == E.CONCURRENT_TRANSACTIONS
    assert (talk.state, talk.transaction.producer_epoch) == ("PrepareAbort", first.epoch + 1)
    assert talk.init().code == E.CONCURRENT_TRANSACTIONS
    talk.complete()
    assert talk.state == "CompleteAbort"
    assert talk.init().producer == Producer(first.id, first.epoch + 2)


def test_the_last_epoch_of_all_is_the_coordinators(talk: Any) -> None:
    talk.begun()
    producer = at_epoch(talk, LAST_EPOCH)
    talk.add(producer, version=2)
    assert talk.init().code == E.CONCURRENT_TRANSACTIONS
    assert talk.transaction.producer_epoch == MAX_EPOCH
    assert talk.end(producer, committed=False, version=2).code == E.CONCURRENT_TRANSACTIONS
    talk.restart()
    talk.complete()
    code, following = talk.end(producer, committed=False, version=2)
    assert (code, following.epoch) == (E.NONE, 0), "nobody else gets the last epoch"
    assert following.id != producer.id
    assert talk.end(producer, committed=True, version=2).code == E.INVALID_TXN_STATE
    assert talk.add(Producer(producer.id, MAX_EPOCH), version=2) == E.INVALID_PRODUCER_ID_MAPPING
    assert talk.init() == (E.NONE, Producer(following.id, 1))


def test_a_timeout_may_use_up_the_last_epoch(talk: Any) -> None:
    talk.begun()
    producer = at_epoch(talk, LAST_EPOCH)
    talk.add(producer, version=2)
    talk.advance(100)
    assert (talk.state, talk.transaction.producer_epoch) == ("PrepareAbort", MAX_EPOCH)
    talk.complete()
    assert (talk.transaction.producer_epoch, talk.transaction.previous_producer_id) == (0, producer.id)
    assert talk.transaction.producer_id != producer.id


def test_in_one_epoch_the_last_of_all_stays_until_somebody_initializes(old_talk: Any) -> None:
    old_talk.begun()
    producer = at_epoch(old_talk, LAST_EPOCH)
    old_talk.add(producer)
    assert old_talk.init().code == E.CONCURRENT_TRANSACTIONS
    old_talk.complete()
    assert (old_talk.transaction.producer_id, old_talk.transaction.producer_epoch) == (producer.id, MAX_EPOCH)
    assert old_talk.end(producer, committed=False).code == E.PRODUCER_FENCED
    answer = old_talk.init()
    assert (answer.code, answer.producer.epoch) == (E.NONE, 0)
    assert answer.producer.id != producer.id


def test_a_producer_goes_on_after_an_error(talk: Any) -> None:
    producer = talk.begun()
    code, following = talk.init(producer)
    assert (code, following) == (E.NONE, Producer(producer.id, producer.epoch + 1))
    assert talk.init(producer) == (E.NONE, following), "the same request come twice"
    third = talk.init(following).producer
    assert talk.init(producer).code == E.PRODUCER_FENCED
    assert talk.init(following) == (E.NONE, third)
    other = talk.begun()
    assert talk.init(producer).code == E.PRODUCER_FENCED
    assert talk.init(following).code == E.PRODUCER_FENCED
    assert talk.init(Producer(other.id + 1, other.epoch)).code == E.PRODUCER_FENCED
    assert talk.init(other).code == E.NONE


@pytest.mark.parametrize(("version", "answer"), [(0, E.PRODUCER_FENCED), (2, E.NONE)])
def test_who_was_too_slow_goes_on_where_each_transaction_has_an_epoch(talk: Any, version: int, answer: E) -> None:
    talk.version = version
    producer = talk.begun()
    talk.add(producer, version=version)
    talk.advance(75)
    talk.complete()
    code, following = talk.init(producer)
    assert (code, following.epoch) == (answer, producer.epoch + 1 if answer is E.NONE else NO_PRODUCER.epoch)
    talk.begun()
    assert (talk.state, talk.transaction.start_ms) == ("Empty", -1)


def test_an_id_given_up_before_its_last_epoch_is_fenced(talk: Any) -> None:
    talk.begun()
    exhausted = at_epoch(talk, LAST_EPOCH)
    fresh = talk.init(exhausted).producer
    assert talk.init(Producer(exhausted.id, fresh.epoch)).code == E.PRODUCER_FENCED
    assert talk.init(exhausted) == (E.NONE, fresh)


def test_verification_changes_nothing(talk: Any) -> None:
    producer = talk.begun()
    talk.add(producer)
    written = len(talk.records)
    codes = talk.take(talk.shard.verify_partitions("an id", producer, [TP, OTHER]))
    assert codes == {TP: E.NONE, OTHER: E.TRANSACTION_ABORTABLE}
    assert len(talk.records) == written
