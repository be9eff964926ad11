"""Offsets: who may commit in which state, what is written, what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.coordinator.result import Record
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 0)


def test_a_group_that_nobody_joins_commits_with_generation_minus_one(talk: Any) -> None:
    assert talk.commit(metadata="mine", leader_epoch=3) == E.NONE
    committed = talk.committed()
    assert (committed.offset, committed.leader_epoch, committed.metadata) == (5, 3, "mine")
    assert committed.commit_timestamp_ms == talk.now.wall_ms
    assert talk.state() == "Empty"
    assert talk.committed(group="h") is None


@pytest.mark.parametrize(
    ("member_id", "generation", "code"),
    [
        ("client-1", 1, E.NONE),
        ("client-1", 0, E.ILLEGAL_GENERATION),
        ("client-1", -1, E.ILLEGAL_GENERATION),
        ("client-9", 1, E.UNKNOWN_MEMBER_ID),
        ("", 1, E.UNKNOWN_MEMBER_ID),
        ("", -1, E.UNKNOWN_MEMBER_ID),
    ],
)
def test_who_may_commit_in_a_group_with_members(talk: Any, member_id: str, generation: int, code: E) -> None:
    talk.stable(b"")
    assert talk.commit(member_id, generation) == code


def test_a_commit_of_a_generation_needs_its_group(talk: Any) -> None:
    assert talk.commit("client-1", 1) == E.GROUP_ID_NOT_FOUND
    assert talk.shard.groups == {}


def test_commits_while_the_group_rebalances(talk: Any) -> None:
    generation, (first, second) = talk.stable(b"1", b"2")
    talk.join(first)
    assert talk.commit(second, generation) == E.NONE
    talk.join(second)
    assert talk.state() == "CompletingRebalance"
    assert talk.commit(second, generation + 1) == E.REBALANCE_IN_PROGRESS


def test_a_commit_keeps_the_session_alive(talk: Any) -> None:
    generation, (first,) = talk.stable(b"1")
    talk.advance(9)
    talk.commit(first, generation)
    talk.advance(9)
    assert talk.heartbeat(first, generation) == E.NONE


def test_metadata_has_a_limit_in_characters(new_conversation: Any) -> None:
    talk = new_conversation(offset_metadata_max_bytes=4)
    assert talk.commit(metadata="ööööö") == E.OFFSET_METADATA_TOO_LARGE
    assert (talk.records, talk.shard.groups) == ([], {})
    assert talk.commit(metadata="öö") == E.NONE
    assert talk.commit(metadata=None) == E.NONE
    assert talk.committed().metadata == ""


@pytest.mark.parametrize(
    ("asked", "version", "timestamp", "expiry"),
    [({}, 3, None, -1), ({"commit_timestamp_ms": 77}, 3, 77, -1), ({"retention_ms": 1000}, 1, None, 1000)],
)
def test_times_of_older_commits(talk: Any, asked: dict[str, int], version: int, timestamp: Any, expiry: int) -> None:
    now = talk.now.wall_ms
    talk.commit(**asked)
    assert talk.records[-1].value[:2] == version.to_bytes(2, "big")
    committed = talk.restarted().fetch("g", None).answer[TP]
    assert committed.commit_timestamp_ms == (now if timestamp is None else timestamp)
    assert committed.expire_timestamp_ms == (-1 if expiry < 0 else now + expiry)


def test_the_longest_retention(talk: Any) -> None:
    talk.commit(retention_ms=(1 << 63) - 1)
    assert talk.restarted().fetch("g", None).answer[TP].expire_timestamp_ms == (1 << 63) - 1


def test_deleting_a_group_leaves_tombstones_alone(talk: Any) -> None:
    talk.commit()
    talk.commit(topic="u")
    assert talk.take(talk.shard.delete("g")) == E.NONE
    assert [record.value for record in talk.records[-3:]] == [None] * 3
    assert talk.restarted().groups == talk.shard.groups == {}
    assert talk.committed() is None
    assert talk.take(talk.shard.delete("g")) == E.GROUP_ID_NOT_FOUND


def test_a_group_with_members_is_not_deleted(talk: Any) -> None:
    talk.stable(b"")
    assert talk.take(talk.shard.delete("g")) == E.NON_EMPTY_GROUP
    talk.advance(10)
    assert talk.take(talk.shard.delete("g")) == E.NONE


def test_offsets_of_a_topic_that_is_gone(talk: Any) -> None:
    talk.commit()
    talk.commit(topic="u")
    talk.commit(group="h")
    talk.take(talk.shard.delete_topics({"t"}))
    assert talk.committed() is None
    assert talk.committed(topic="u").offset == 5
    assert (talk.state("g"), talk.state("h")) == ("Empty", "")


def test_deleting_offsets_of_a_topic_that_is_subscribed_to(talk: Any) -> None:
    subscription = b"\x00\x01\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff\x00\x00\x00\x00"
    generation, (member,) = talk.stable(b"", protocols={"range": subscription})
    talk.commit(member, generation)
    talk.commit(member, generation, topic="u")
    other = TopicPartition("u", 0)
    codes = talk.take(talk.shard.delete_offsets("g", [TP, other]))
    assert codes == {TP: E.GROUP_SUBSCRIBED_TO_TOPIC, other: E.NONE}
    assert list(talk.shard.fetch("g", None).answer) == [TP]


def test_members_that_do_not_say_what_they_subscribe_to(talk: Any) -> None:
    talk.stable(b"", protocols={"range": b"\x00"})
    with pytest.raises(KafkaError):
        talk.shard.delete_offsets("g", [TP])


@pytest.mark.parametrize(("group", "code"), [("g", E.NON_EMPTY_GROUP), ("h", E.GROUP_ID_NOT_FOUND)])
def test_deleting_offsets_that_cannot_be(talk: Any, group: str, code: E) -> None:
    talk.stable(b"", protocol_type="connect")
    with pytest.raises(KafkaError) as refused:
        talk.shard.delete_offsets(group, [TP])
    assert refused.value.code == code


def test_records_are_kafka_s(talk: Any) -> None:
    talk.commit(group="gr", metadata="m", leader_epoch=7)
    key, value = talk.records[-1]
    assert key == b"\x00\x01\x00\x02gr\x00\x01t\x00\x00\x00\x00"
    stamp = talk.now.wall_ms.to_bytes(8, "big")
    assert value == b"\x00\x03" + (5).to_bytes(8, "big") + b"\x00\x00\x00\x07\x00\x01m" + stamp
    talk.take(talk.shard.delete("gr"))
    assert talk.records[-1] == (b"\x00\x02\x00\x02gr", None)


def test_keys_of_other_kinds_are_passed_over(talk: Any) -> None:
    talk.shard.replay(Record(b"\x00\x63\x00\x01g", b"\x00\x00"))
    assert talk.shard.groups == {}


def test_describing_and_listing(talk: Any) -> None:
    talk.stable(b"assigned")
    talk.commit(group="offsets")
    stable = talk.shard.describe("g").answer
    (member,) = stable.members
    assert (stable.group_state, stable.protocol_type, stable.protocol_data) == ("Stable", "consumer", "range")
    assert (member.client_id, member.client_host) == ("client", "/127.0.0.1")
    assert (member.member_metadata, member.member_assignment) == (b"about me", b"assigned")
    with pytest.raises(KafkaError, match="Group nothing not found"):
        talk.shard.describe("nothing")

    def listed(states: list[str], types: list[str]) -> list[str]:
        return [group.group_id for group in talk.shard.list_groups(states, types).answer]

    assert listed([], []) == ["g", "offsets"]
    assert listed(["stable", "Dead"], ["Classic"]) == ["g"]
    assert listed(["Empty"], []) == ["offsets"]
    assert listed([], ["consumer"]) == []
    talk.join(member.member_id)
    assert talk.shard.describe("g").answer.members[0].member_metadata == b""
