"""Offsets that are kept no longer, by the group's state and kind (KIP-211), and groups that then have nothing left."""

from __future__ import annotations

from typing import Any

import pytest
from tests.coordinator.conversation import Conversation

from pykbroker.coordinator.group.offsets import OffsetToCommit
from pykbroker.protocol.consumer_protocol import Subscription
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.topic_partition import TopicPartition

MINUTE = 60.0


@pytest.fixture
def talk() -> Conversation:
    """A retention of an hour, looked at every minute."""
    talk = Conversation(offsets_retention_minutes=60, offsets_retention_check_interval_ms=60_000)
    talk.take(talk.shard.loaded(talk.now))
    return talk


def subscribes(*topics: str) -> dict[str, bytes]:
    return {"range": b"\x00\x00" + Subscription(topics=list(topics)).encode(0)}


def test_without_members_from_the_commit_on(talk: Any) -> None:
    talk.commit(topic="t")
    talk.advance(40 * MINUTE)
    talk.commit(topic="u")
    talk.advance(21 * MINUTE)
    assert (talk.committed(topic="t"), talk.committed(topic="u").offset) == (None, 5)
    talk.advance(40 * MINUTE)
    assert talk.shard.groups == talk.restarted().groups == {}
    assert talk.records[-1] == (b"\x00\x02\x00\x01g", None)


def test_a_commit_may_say_how_long(talk: Any) -> None:
    talk.commit(topic="t", retention_ms=120_000)
    talk.commit(topic="u", retention_ms=5 * 3_600_000)
    talk.advance(3 * MINUTE)
    assert talk.committed(topic="t") is None
    talk.advance(120 * MINUTE)
    assert talk.committed(topic="u").offset == 5
    talk.advance(180 * MINUTE)
    assert talk.shard.groups == {}


def test_after_the_last_member_from_its_leaving_on(talk: Any) -> None:
    generation, (member_id,) = talk.stable(b"", session=1800, protocols=subscribes("t"))
    talk.commit(member_id, generation, topic="t")
    talk.advance(25 * MINUTE)
    assert talk.leave(member_id) == E.NONE
    talk.advance(50 * MINUTE)
    assert talk.committed(topic="t").offset == 5
    talk.advance(11 * MINUTE)
    assert talk.shard.groups == {}


def test_what_members_read_stays_and_the_rest_goes(talk: Any) -> None:
    generation, (member_id,) = talk.stable(b"", session=1800, protocols=subscribes("t"))
    talk.commit(member_id, generation, topic="t")
    talk.commit(member_id, generation, topic="u")
    for _ in range(5):
        talk.advance(20 * MINUTE)
        assert talk.heartbeat(member_id, generation) == E.NONE
    assert (talk.committed(topic="t").offset, talk.committed(topic="u")) == (5, None)


def test_members_that_are_no_consumers_keep_all(talk: Any) -> None:
    generation, (member_id,) = talk.stable(b"", session=1800, protocol_type="connect")
    talk.commit(member_id, generation, topic="t")
    for _ in range(5):
        talk.advance(20 * MINUTE)
        assert talk.heartbeat(member_id, generation) == E.NONE
    assert talk.committed(topic="t").offset == 5


def test_what_a_transaction_may_change_stays(talk: Any) -> None:
    talk.commit(topic="t")
    talk.shard.replay_pending(talk.records[-1], 7)
    talk.advance(70 * MINUTE)
    assert talk.committed(topic="t").offset == 5
    talk.shard.replay_marker(7, committed=False)
    talk.advance(2 * MINUTE)
    assert talk.shard.groups == {}


def test_an_empty_group_goes_without_offsets(talk: Any) -> None:
    _, (member_id,) = talk.stable(b"", session=30)
    talk.leave(member_id)
    assert talk.state() == "Empty"
    talk.advance(2 * MINUTE)
    assert talk.shard.groups == talk.restarted().groups == {}


def test_more_than_one_group_in_one_look(talk: Any) -> None:
    for name in ("a", "b"):
        offsets = {TopicPartition("t", index): OffsetToCommit(1) for index in range(3)}
        for tp, offset in offsets.items():
            talk.commit(group=name, topic=tp.topic, offset=offset.offset)
    talk.advance(62 * MINUTE)
    assert talk.shard.groups == {}
