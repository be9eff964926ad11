"""Time, restarts and what is asked about transactions."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.coordinator.result import NEVER
from pykbroker.coordinator.transaction.shard import Producer, TransactionFilter, TransactionShard
from pykbroker.coordinator.transaction.transaction_state import COMPLETE_ABORT, ONGOING
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

DAY = 86_400
OTHER = TopicPartition("t", 1)


@pytest.mark.parametrize("version", [0, 2])
def test_what_takes_longer_than_its_timeout_is_aborted(talk: Any, version: int) -> None:
    talk.version = version
    producer = talk.begun()
    talk.add(producer, version=version)
    talk.advance(59.9)
    assert talk.state == "Ongoing"
    talk.advance(10.2)
    assert (talk.state, talk.transaction.producer_epoch) == ("PrepareAbort", producer.epoch + 1)
    assert [one.transactional_id for one in talk.unfinished] == ["an id"]
    talk.complete()
    assert talk.add(producer, version=version) == E.PRODUCER_FENCED


def test_a_timeout_is_over_after_its_last_millisecond(talk: Any) -> None:
    talk.add(talk.begun())
    talk.take(talk.shard.expire(talk.at(60_000)))
    assert talk.state == "Ongoing"
    talk.take(talk.shard.expire(talk.at(60_001)))
    assert talk.state == "PrepareAbort"


def test_each_transaction_has_a_timeout_of_its_own(talk: Any) -> None:
    for talk.id, seconds in (("one", 60), ("other", 200)):
        answer = talk.init(timeout_ms=seconds * 1000)
        talk.add(answer.producer)
    talk.advance(75)
    states = {name: one.state.value for name, one in talk.shard.transactions.items()}
    assert states == {"one": "PrepareAbort", "other": "Ongoing"}
    talk.complete()
    talk.advance(100)
    assert talk.state == "Ongoing"
    talk.advance(36)
    assert talk.state == "PrepareAbort"


def test_a_transaction_that_ended_in_time_is_left_alone(talk: Any) -> None:
    producer = talk.begun()
    for _ in range(5):
        talk.add(producer)
        talk.advance(30)
        talk.end(producer)
        talk.complete()
    talk.advance(3600)
    assert (talk.state, talk.transaction.producer_epoch) == ("CompleteCommit", producer.epoch)


def test_timeouts_survive_a_restart(talk: Any) -> None:
    talk.add(talk.begun())
    talk.advance(50)
    talk.restart()
    assert talk.state == "Ongoing"
    talk.advance(20.2)
    assert talk.state == "PrepareAbort"


def test_ids_that_nobody_uses_are_forgotten(talk: Any) -> None:
    talk.begun()
    talk.advance(7 * DAY - 10)
    assert "an id" in talk.shard.transactions
    talk.advance(10)
    assert talk.shard.transactions == {}
    assert talk.records[-1].value is None
    assert talk.shard.deadline == NEVER
    talk.restart()
    assert talk.shard.transactions == {}


def test_an_open_transaction_is_not_forgotten(talk: Any) -> None:
    producer = talk.init(timeout_ms=2**31 - 1).producer
    talk.add(producer)
    talk.advance(8 * DAY)
    assert talk.state == "Ongoing"


def test_the_longest_timeout_of_all_is_none(talk: Any) -> None:
    """So Kafka tells transactions that somebody else decides (KIP-939)."""
    talk.add(talk.init(timeout_ms=2**31 - 1).producer)
    talk.advance(40 * DAY)
    assert talk.state == "Ongoing"


def test_what_is_added_later_has_no_more_time(talk: Any) -> None:
    producer = talk.begun()
    talk.add(producer)
    talk.advance(50)
    talk.add(producer, [OTHER])
    talk.advance(25)
    assert talk.state == "PrepareAbort"


def test_nothing_is_due_in_an_empty_shard(talk: Any) -> None:
    assert talk.shard.deadline == NEVER


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("committed", [True, False])
def test_a_restart_goes_on_with_what_is_decided(talk: Any, version: int, committed: bool) -> None:
    talk.version = version
    producer = talk.begun()
    talk.add(producer, version=version)
    _, following = talk.end(producer, committed=committed, version=version)
    talk.unfinished.clear()
    talk.restart()
    (decided,) = talk.unfinished
    assert (decided.state, decided.partitions) == (talk.transaction.state, talk.transaction.partitions)
    talk.complete()
    assert talk.state == ("CompleteCommit" if committed else "CompleteAbort")
    if version == 2:
        assert (talk.transaction.producer_id, talk.transaction.producer_epoch) == following
    talk.restart()
    assert talk.unfinished == []


def test_a_completion_that_comes_late_is_void(talk: Any) -> None:
    producer = talk.begun()
    talk.add(producer)
    talk.end(producer)
    (decided,) = talk.unfinished
    talk.complete()
    talk.add(producer)
    written = len(talk.records)
    talk.take(talk.shard.complete(decided, talk.now))
    assert (talk.state, len(talk.records)) == ("Ongoing", written)


def test_a_lone_record_without_an_id_at_hand_is_refused(talk: Any) -> None:
    """The id is fetched before the shard is asked; what happened in between must not matter."""
    with pytest.raises(KafkaError) as refused:
        talk.shard.init_producer_id("an id", 1000, None, None, talk.now)
    assert refused.value.code is E.CONCURRENT_TRANSACTIONS
    assert talk.shard.transactions == {}


def test_filters(talk: Any) -> None:
    producer = talk.begun()
    talk.add(producer)
    talk.advance(30)

    def listed(**filters: Any) -> int:
        return len(talk.shard.list_transactions(TransactionFilter(**filters), talk.now).answer)

    assert listed() == listed(states=[ONGOING.value]) == listed(producer_ids=[producer.id]) == 1
    assert listed(states=[COMPLETE_ABORT.value]) == listed(producer_ids=[producer.id + 1]) == 0
    assert (listed(duration_ms=29_999), listed(duration_ms=30_000)) == (1, 0)
    assert (listed(duration_ms=0), listed(duration_ms=-1)) == (1, 1)
    talk.end(producer)
    talk.complete()
    assert talk.add(producer, []) == E.NONE
    assert (talk.state, listed(duration_ms=0), listed(duration_ms=-1)) == ("Ongoing", 0, 1)
    assert (listed(matches=str.isupper), listed(matches=lambda name: name == "an id")) == (0, 1)
    with pytest.raises(KafkaError) as refused:
        talk.shard.describe("nobody")
    assert refused.value.code is E.TRANSACTIONAL_ID_NOT_FOUND


def test_nobody_waits_in_a_shard(talk: Any) -> None:
    shard: TransactionShard = talk.shard
    assert shard.unload(1).released == {}
    assert talk.end(Producer(1, 1)).code is E.INVALID_PRODUCER_ID_MAPPING
