"""Fetch sessions as conversations: what a client asks, what it is told, what is evicted (KIP-227)."""

from itertools import count

import pytest

from pykbroker.cluster.fetch_session import (
    EVICTION_SECONDS,
    FetchContext,
    FetchPartition,
    FetchSessionCache,
    PartitionAnswer,
    PartitionKey,
    next_epoch,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError


def asked(*indexes: int, offset: int = 0) -> dict[PartitionKey, FetchPartition]:
    return {("t", index): FetchPartition(("t", index), offset, 1000) for index in indexes}


class Conversation:
    """A client of a session cache."""

    def __init__(self, slots: int = 10) -> None:
        ids = count(1)
        self.cache = FetchSessionCache(slots, lambda: next(ids))

    def fetch(
        self,
        session_id: int = 0,
        epoch: int = 0,
        partitions: dict[PartitionKey, FetchPartition] | None = None,
        forgotten: tuple[PartitionKey, ...] = (),
        now: float = 0,
        privileged: bool = False,
        uses_topic_ids: bool = False,
    ) -> FetchContext:
        return self.cache.context(
            session_id,
            epoch,
            {} if partitions is None else partitions,
            forgotten,
            uses_topic_ids=uses_topic_ids,
            privileged=privileged,
            now=now,
        )


def named(context: FetchContext) -> list[int]:
    return [partition.key[1] for partition in context]


def answered(context: FetchContext, size: int = 0, high_watermark: int = 5, error_code: int = 0) -> list[int]:
    answer = PartitionAnswer(size, high_watermark, 0, error_code)
    return [partition.key[1] for partition in list(context) if context.must_answer(partition, answer)]


def test_without_a_session_every_partition_is_answered() -> None:
    talk = Conversation()
    context = talk.fetch(0, -1, asked(0, 1))
    assert context.session_id == 0
    assert answered(context) == [0, 1]
    assert len(talk.cache) == 0


def test_an_incremental_answer_names_only_news() -> None:
    talk = Conversation()
    first = talk.fetch(partitions=asked(0, 1, 2))
    assert answered(first) == [0, 1, 2]
    session = first.session_id
    assert answered(talk.fetch(session, 1)) == []
    assert answered(talk.fetch(session, 2), high_watermark=6) == [0, 1, 2]
    assert answered(talk.fetch(session, 3), high_watermark=6) == []
    assert answered(talk.fetch(session, 4), size=10, high_watermark=6) == [0, 1, 2]


def test_an_error_is_always_told_and_so_is_its_end() -> None:
    talk = Conversation()
    first = talk.fetch(partitions=asked(0))
    answered(first)
    error = ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert answered(talk.fetch(first.session_id, 1), high_watermark=-1, error_code=error) == [0]
    assert answered(talk.fetch(first.session_id, 2), high_watermark=-1, error_code=error) == [0]
    assert answered(talk.fetch(first.session_id, 3)) == [0]
    assert answered(talk.fetch(first.session_id, 4)) == []


def test_partitions_are_added_changed_and_forgotten() -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0, 1)).session_id
    changed = talk.fetch(session, 1, asked(1, 2, offset=7), forgotten=(("t", 0),))
    assert {partition.key[1]: partition.fetch_offset for partition in changed} == {1: 7, 2: 7}


def test_a_partition_that_returned_records_goes_to_the_end() -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0, 1, 2)).session_id
    context = talk.fetch(session, 1)
    first, second, _ = list(context)
    context.must_answer(first, PartitionAnswer(100, 5, 0))
    context.must_answer(second, PartitionAnswer(0, 5, 0))
    assert named(talk.fetch(session, 2)) == [1, 2, 0]


def test_a_session_with_nothing_left_ends() -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0)).session_id
    emptied = talk.fetch(session, 1, forgotten=(("t", 0),))
    assert (emptied.session_id, len(emptied)) == (0, 0)
    with pytest.raises(KafkaError) as caught:
        talk.fetch(session, 2)
    assert caught.value.code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


@pytest.mark.parametrize("epoch", [2, 3, 0x7FFFFFFF])
def test_another_epoch_than_the_next_is_refused(epoch: int) -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0)).session_id
    with pytest.raises(KafkaError) as caught:
        talk.fetch(session, epoch)
    assert caught.value.code == ErrorCode.INVALID_FETCH_SESSION_EPOCH


def test_a_session_of_names_is_not_continued_by_ids() -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0)).session_id
    with pytest.raises(KafkaError) as caught:
        talk.fetch(session, 1, uses_topic_ids=True)
    assert caught.value.code == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR


@pytest.mark.parametrize("epoch", [0, -1])
def test_a_full_request_closes_the_session_it_names(epoch: int) -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0)).session_id
    assert talk.fetch(session, epoch, asked(0)).session_id != session
    assert len(talk.cache) == (1 if epoch == 0 else 0)


def test_the_cache_is_bounded_and_young_sessions_stay() -> None:
    talk = Conversation(slots=2)
    sessions = [talk.fetch(partitions=asked(0)).session_id for _ in range(2)]
    refused = talk.fetch(partitions=asked(0, 1, 2))
    assert refused.session_id == 0
    assert answered(refused) == [0, 1, 2]
    assert [talk.fetch(session, 1).session_id for session in sessions] == sessions


def test_a_stale_session_makes_room() -> None:
    talk = Conversation(slots=2)
    stale = talk.fetch(partitions=asked(0, 1, 2)).session_id
    fresh = talk.fetch(partitions=asked(0), now=EVICTION_SECONDS).session_id
    assert talk.fetch(partitions=asked(0), now=EVICTION_SECONDS + 1).session_id
    assert talk.fetch(fresh, 1, now=EVICTION_SECONDS + 1).session_id == fresh
    with pytest.raises(KafkaError):
        talk.fetch(stale, 1)


def test_among_old_sessions_in_use_the_smaller_makes_room_for_a_larger() -> None:
    talk = Conversation(slots=2)
    small = talk.fetch(partitions=asked(0)).session_id
    large = talk.fetch(partitions=asked(0, 1, 2)).session_id
    late = EVICTION_SECONDS + 1
    talk.fetch(small, 1, now=late), talk.fetch(large, 1, now=late)
    assert talk.fetch(partitions=asked(0, 1), now=late).session_id
    talk.fetch(large, 2, now=late)
    with pytest.raises(KafkaError):
        talk.fetch(small, 2, now=late)


def test_equals_do_not_take_each_others_place() -> None:
    talk = Conversation(slots=1)
    session = talk.fetch(partitions=asked(0, 1)).session_id
    late = EVICTION_SECONDS + 1
    talk.fetch(session, 1, now=late)
    assert talk.fetch(partitions=asked(0, 1), now=late).session_id == 0
    assert talk.fetch(partitions=asked(0, 1, 2), now=late).session_id > 0


def test_a_session_counts_with_the_partitions_it_has_now() -> None:
    talk = Conversation(slots=2)
    grown, shrunk = (talk.fetch(partitions=asked(0, 1)).session_id for _ in range(2))
    late = EVICTION_SECONDS + 1
    talk.fetch(grown, 1, asked(2), now=late)
    talk.fetch(shrunk, 1, forgotten=(("t", 0),), now=late)
    assert talk.fetch(partitions=asked(0, 1), now=late).session_id > 0
    assert talk.fetch(grown, 2, now=late).session_id == grown
    with pytest.raises(KafkaError):
        talk.fetch(shrunk, 2, now=late)


def test_a_session_of_no_partitions_is_one() -> None:
    talk = Conversation()
    session = talk.fetch(partitions={}).session_id
    assert session > 0
    assert named(talk.fetch(session, 1, asked(3))) == [3]


def test_no_slots_no_sessions() -> None:
    talk = Conversation(slots=0)
    assert talk.fetch(partitions=asked(0)).session_id == 0


def test_a_request_is_overtaken_by_the_next_of_its_session() -> None:
    talk = Conversation()
    session = talk.fetch(partitions=asked(0)).session_id
    first = talk.fetch(session, 1)
    assert not first.overtaken
    second = talk.fetch(session, 2)
    assert (first.overtaken, second.overtaken) == (True, False)
    assert not talk.fetch(0, -1, asked(0)).overtaken


def test_what_was_told_is_no_news_until_an_error() -> None:
    talk = Conversation()
    context = talk.fetch(partitions=asked(0))
    (partition,) = context
    assert not partition.was_told(5, 0)
    context.must_answer(partition, PartitionAnswer(0, 5, 0))
    assert partition.was_told(5, 0)
    assert not partition.was_told(6, 0)
    context.must_answer(partition, PartitionAnswer(0, 5, 0, ErrorCode.NOT_LEADER_OR_FOLLOWER))
    assert not partition.was_told(5, 0)


def test_a_follower_takes_a_consumers_place_and_not_the_reverse() -> None:
    talk = Conversation(slots=1)
    consumer = talk.fetch(partitions=asked(0, 1, 2)).session_id
    follower = talk.fetch(partitions=asked(0), privileged=True).session_id
    assert follower not in (0, consumer)
    assert talk.fetch(partitions=asked(0, 1, 2), now=1).session_id == 0


def test_epochs_wrap_past_zero() -> None:
    assert next_epoch(0x7FFFFFFF) == 1
    assert next_epoch(1) == 2
