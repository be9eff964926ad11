"""Conversations with share groups (KIP-932): members, targets, states that begin and go, what is refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.coordinator.shares import LEAVE, Shares

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.share_groups import RETRY_MS, Begin, Heartbeat
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest


def told(beat: Heartbeat) -> list[tuple[int, list[int]]] | None:
    if beat.response.assignment is None:
        return None
    return [(one.topic_id.int, one.partitions) for one in beat.response.assignment.topic_partitions]


def asked(begin: Begin | None) -> dict[int, dict[int, int]]:
    return {} if begin is None else {topic_id.int: dict(offsets) for topic_id, offsets in begin.offsets.items()}


def test_a_member_is_assigned_what_has_begun() -> None:
    talk = Shares({"t": 2})
    first = talk.come()
    assert (first.response.member_id, first.response.member_epoch, told(first)) == ("a", 2, [])
    assert first.response.heartbeat_interval_ms == 5000
    assert asked(first.begin) == {1: {0: -1, 1: -1}}
    assert first.begin is not None
    assert first.begin.state_epoch == 2
    talk.begun(first.begin)
    talk.advance(5)
    second = talk.say("a", 2)
    assert (second.response.member_epoch, told(second)) == (3, [(1, [0, 1])])
    assert second.begin is None
    third = talk.say("a", 3)
    assert (third.response.member_epoch, told(third)) == (3, None)
    assert told(talk.say("a", 3, ["t"])) == [(1, [0, 1])]


def test_partitions_are_shared_among_more_members_than_there_are() -> None:
    talk = Shares({"t": 1})
    talk.started("a", "b", "c")
    for member in "abc":
        assert {talk.name(tp) for tp in talk.group().members[member].assigned} == {("t", 0)}


def test_states_that_don_t_begin_are_asked_for_again() -> None:
    talk = Shares({"t": 1})
    assert asked(talk.come().begin) == {1: {0: -1}}
    talk.advance(5)
    assert talk.say("a", 2).begin is None
    talk.advance(RETRY_MS / 1000)
    assert asked(talk.say("a", 2).begin) == {1: {0: -1}}
    talk.ask(lambda share, draft: share.uninitialized("g", {UUID(int=1): [0]}, draft))
    assert asked(talk.say("a", 2).begin) == {1: {0: -1}}


def test_new_partitions_begin_and_are_assigned() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    talk.create("t", 3)
    beat = talk.say("a", 3)
    assert asked(beat.begin) == {1: {1: -1, 2: -1}}
    talk.begun(beat.begin)
    talk.advance(5)
    assert told(talk.say("a", beat.response.member_epoch)) == [(1, [0, 1, 2])]


def test_who_leaves_or_is_silent_makes_room_for_the_others() -> None:
    talk = Shares({"t": 2})
    talk.started("a", "b")
    epoch = talk.group().epoch
    left = talk.say("b", LEAVE)
    assert (left.response.member_id, left.response.member_epoch) == ("b", -1)
    assert talk.group().epoch == epoch + 1
    assert told(talk.say("a", talk.group().members["a"].epoch)) == [(1, [0, 1])]
    talk.advance(46)
    assert talk.state() == "Empty"
    talk.refused(E.UNKNOWN_MEMBER_ID, "Member a is not a member of group g.", "a", 5)


def test_a_subscription_that_shrinks_takes_partitions_away_at_once() -> None:
    talk = Shares({"t": 1, "u": 1})
    talk.started("a", topics=("t", "u"))
    epoch = talk.group().members["a"].epoch
    assert told(talk.say("a", epoch, ["u"])) == [(2, [0])]


def test_a_restart_knows_all_but_the_time() -> None:
    talk = Shares({"t": 2})
    talk.started("a", "b")
    again = talk.restarted()
    one, other = talk.group(), again.groups["g"]
    for name in ("epoch", "metadata_hash", "members", "targets", "target_epoch", "topics"):
        assert getattr(one, name) == getattr(other, name), name
    again.loaded(talk.now)
    assert set(other.sessions) == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("", 0, ["t"]), "MemberId can't be empty."),
        (("a", 0, []), "SubscribedTopicNames must be set in first request."),
        (("a", 0, None), "SubscribedTopicNames must be set in first request."),
        (("a", -2, None), "MemberEpoch is invalid."),
    ],
)
def test_heartbeats_that_make_no_sense(arguments: Any, text: str) -> None:
    talk = Shares({"t": 1})
    talk.refused(E.INVALID_REQUEST, text, *arguments)
    talk.refused(E.INVALID_REQUEST, "GroupId can't be empty.", "a", 0, ["t"], group="")
    talk.refused(E.INVALID_REQUEST, "RackId can't be empty.", "a", 0, ["t"], rack_id="")


def test_members_and_groups_that_aren_t_there() -> None:
    talk = Shares({"t": 1})
    talk.refused(E.GROUP_ID_NOT_FOUND, "Share group g not found.", "a", 1)
    talk.refused(E.GROUP_ID_NOT_FOUND, "Group g not found.", "a", LEAVE)
    talk.come()
    talk.refused(E.UNKNOWN_MEMBER_ID, "Member b is not a member of group g.", "b", 1)
    talk.full("c", group="other")
    talk.refused(E.GROUP_ID_NOT_FOUND, "Group other is not a share group.", "a", 0, ["t"], group="other")


def test_epochs_fence() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    assert talk.group().members["a"].epoch == 3
    talk.say("a", 2)
    rejoin = "The member must abandon all its partitions and rejoin."
    known = "than the one known by the group coordinator (3)"
    greater = f"The share group member has a greater member epoch (4) {known}. {rejoin}"
    talk.refused(E.FENCED_MEMBER_EPOCH, greater, "a", 4)
    smaller = f"The share group member has a smaller member epoch (1) {known}, and it does not match the previous "
    talk.refused(E.FENCED_MEMBER_EPOCH, f"{smaller}member epoch (2). {rejoin}", "a", 1)


def test_a_full_group_takes_nobody_in() -> None:
    talk = Shares({"t": 1}, group_share_max_size=1)
    talk.come()
    text = "The share group has reached its maximum capacity of 1 members."
    talk.refused(E.GROUP_MAX_SIZE_REACHED, text, "b", 0, ["t"])
    talk.say("a", 2)


def test_a_share_group_has_no_committed_offsets() -> None:
    talk = Shares({"t": 1})
    talk.come()
    with pytest.raises(KafkaError) as error:
        talk.shard.commit("g", Committer("a", None, 2), {}, talk.now)
    assert error.value.code is E.GROUP_ID_NOT_FOUND
    with pytest.raises(KafkaError) as error:
        talk.shard.delete_offsets("g", [])
    assert error.value.code is E.GROUP_ID_NOT_FOUND


def test_it_is_described_and_listed() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    group = talk.ask(lambda share, draft: share.describe("g"))
    assert (group.group_state, group.group_epoch, group.assignment_epoch, group.assignor_name) == (
        "Stable",
        3,
        3,
        "simple",
    )
    (member,) = group.members
    assert (member.member_id, member.member_epoch, member.subscribed_topic_names) == ("a", 3, ["t"])
    (topic,) = member.assignment.topic_partitions
    assert (topic.topic_name, topic.partitions) == ("t", [0])
    (listed,) = talk.take(talk.shard.list_groups([], ["share"]))
    assert (listed.group_id, listed.protocol_type, listed.group_state, listed.group_type) == (
        "g",
        "share",
        "Stable",
        "share",
    )
    with pytest.raises(KafkaError) as error:
        talk.ask(lambda share, draft: share.describe("nobody"))
    assert error.value.code is E.GROUP_ID_NOT_FOUND


# Offsets


def alter(talk: Shares, offsets: dict[str, dict[int, int]]) -> tuple[list[Any], Begin]:
    cls = AlterShareGroupOffsetsRequest.Topic
    topics = [
        cls(
            topic_name=name,
            partitions=[cls.Partition(partition_index=index, start_offset=start) for index, start in parts.items()],
        )
        for name, parts in offsets.items()
    ]
    answers, begin = talk.ask(lambda share, draft: share.alter_offsets("g", topics, talk.now, draft))
    return answers, begin


def test_altered_offsets_begin_states_anew_and_make_a_group() -> None:
    talk = Shares({"t": 2})
    answers, begin = alter(talk, {"t": {0: 7, 5: 1}, "gone": {0: 1}})
    codes = {(a.topic_name, p.partition_index): p.error_code for a in answers for p in a.partitions}
    unknown = E.UNKNOWN_TOPIC_OR_PARTITION
    assert codes == {("t", 0): E.NONE, ("t", 5): unknown, ("gone", 0): unknown}
    assert asked(begin) == {1: {0: 7}}
    talk.begun(begin)
    assert talk.state() == "Empty"
    assert talk.ask(lambda share, draft: share.begun("g")) == {UUID(int=1): [0]}
    assert talk.restarted().groups["g"].topics == talk.group().topics


def test_a_member_doesn_t_begin_again_what_is_being_altered() -> None:
    talk = Shares({"t": 2})
    _, begin = alter(talk, {"t": {0: 7, 1: 3}})
    assert talk.come().begin is None, "it would begin at the log's end"
    talk.begun(begin)
    talk.advance(2)
    assert told(talk.say("a", 2)) == [(1, [0, 1])]


def test_offsets_of_a_group_in_use_stay() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    with pytest.raises(KafkaError) as error:
        alter(talk, {"t": {0: 7}})
    assert error.value.code is E.NON_EMPTY_GROUP
    with pytest.raises(KafkaError) as error:
        talk.ask(lambda share, draft: share.delete_offsets("g", ["t"], draft))
    assert error.value.code is E.NON_EMPTY_GROUP


def test_deleted_offsets_are_deleted_and_then_forgotten() -> None:
    talk = Shares({"t": 2, "u": 1})
    talk.started("a")
    talk.say("a", LEAVE)
    refused, doomed = talk.ask(lambda share, draft: share.delete_offsets("g", ["t", "u", "gone"], draft))
    assert [(one.topic_name, one.error_message) for one in refused] == [
        ("u", "There is no offset information to delete."),
        ("gone", "This server does not host this topic-partition."),
    ]
    assert doomed == {UUID(int=1): [0, 1]}
    assert talk.group().topics.deleting == {UUID(int=1): "t"}
    assert talk.ask(lambda share, draft: share.delete_offsets("g", ["t"], draft)) == ([], {UUID(int=1): [0, 1]})
    talk.ask(lambda share, draft: share.offsets_deleted("g", [UUID(int=1)], draft))
    assert not talk.group().topics


def test_what_begins_anew_is_not_deleted_any_more() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    talk.say("a", LEAVE)
    talk.ask(lambda share, draft: share.delete_offsets("g", ["t"], draft))
    _, begin = alter(talk, {"t": {0: 7}})
    assert talk.group().topics.deleting == {}
    talk.begun(begin)
    talk.ask(lambda share, draft: share.offsets_deleted("g", [UUID(int=1)], draft))
    assert talk.ask(lambda share, draft: share.begun("g")) == {UUID(int=1): [0]}


def test_a_group_is_deleted_after_its_states() -> None:
    talk = Shares({"t": 1})
    talk.started("a")
    assert talk.take(talk.shard.delete("g")) is E.NON_EMPTY_GROUP
    talk.say("a", LEAVE)
    assert talk.ask(lambda share, draft: share.doom("g", draft)) == {UUID(int=1): [0]}
    assert talk.ask(lambda share, draft: share.doom("g", draft)) == {UUID(int=1): [0]}
    assert talk.take(talk.shard.delete("g")) is E.NONE
    assert "g" not in talk.shard.groups
    assert "g" not in talk.restarted().groups
    assert talk.ask(lambda share, draft: share.doom("g", draft)) == {}


def test_a_topic_that_is_gone_and_not_forgotten_yet_bumps_no_epoch() -> None:
    talk = Shares({"t": 1, "u": 1})
    talk.started("a", topics=("t", "u"))
    talk.delete("u")
    talk.create("u", 1)
    epoch = talk.say("a", talk.group().epoch).response.member_epoch
    for _ in range(3):
        talk.advance(2)
        assert talk.say("a", epoch).response.member_epoch == epoch


def test_topics_that_are_gone_are_forgotten() -> None:
    talk = Shares({"t": 1, "u": 1})
    talk.started("a", topics=("t", "u"))
    talk.delete("t")
    talk.take(talk.shard.delete_topics(["t"]))
    assert set(talk.group().topics.initialized) == {UUID(int=2)}
