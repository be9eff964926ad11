"""Conversations with consumer groups (KIP-848): joining, rebalancing, leaving, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.coordinator.consumers import Cluster, Consumer, Owned, settle

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import OffsetToCommit
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


def told(answer: Any) -> list[tuple[int, list[int]]] | None:
    if answer.assignment is None:
        return None
    return [(one.topic_id.int, one.partitions) for one in answer.assignment.topic_partitions]


def test_the_first_member_gets_all_at_once() -> None:
    talk = Cluster({"t": 3})
    answer = talk.full("a")
    assert (answer.error_code, answer.member_id, answer.member_epoch, answer.heartbeat_interval_ms) == (0, "a", 2, 5000)
    assert told(answer) == [(1, [0, 1, 2])]
    assert talk.state() == "Stable"
    again = talk.beat("a", 2)
    assert (again.member_epoch, told(again)) == (2, None)
    assert told(talk.full("a", 2)) == [(1, [0, 1, 2])]


def test_a_partition_changes_hands_in_three_heartbeats() -> None:
    talk = Cluster({"t": 2})
    talk.full("a")
    talk.advance(2)
    second = talk.full("b")
    assert (second.member_epoch, told(second), talk.state()) == (3, [], "Reconciling")
    revoke = talk.beat("a", 2)
    assert (revoke.member_epoch, told(revoke)) == (2, [(1, [0])])
    assert told(talk.beat("b", 3)) is None
    done = talk.beat("a", 2, topic_partitions=[Owned(topic_id=talk.image.topics["t"].topic_id, partitions=[0])])
    assert (done.member_epoch, told(done)) == (3, None)
    assert told(talk.beat("b", 3)) == [(1, [1])]
    assert talk.state() == "Stable"


def test_targets_are_not_computed_within_the_assignment_interval() -> None:
    talk = Cluster({"t": 2})
    talk.full("a")
    second = talk.full("b")
    assert (second.member_epoch, told(second), talk.state()) == (2, [], "Assigning")
    talk.group_config["consumer.assignment.interval.ms"] = 0
    assert talk.beat("b", 2).member_epoch == 3


def test_topics_that_come_grow_and_go() -> None:
    talk = Cluster()
    member = Consumer(talk, "a", topics=("t", "u"))
    settle(talk, [member])
    assert (member.epoch, member.partitions) == (2, set())
    talk.create("t", 1)
    settle(talk, [member])
    assert (member.epoch, member.partitions) == (3, {("t", 0)})
    talk.create("t", 2)
    talk.create("u", 1)
    talk.create("of no interest", 1)
    settle(talk, [member])
    assert (member.epoch, member.partitions) == (4, {("t", 0), ("t", 1), ("u", 0)})
    talk.delete("t")
    settle(talk, [member])
    assert (member.epoch, member.partitions) == (5, {("u", 0)})
    talk.racks(broker_1="r")
    settle(talk, [member])
    assert member.epoch == 6


def test_a_subscription_changes() -> None:
    talk = Cluster({"t": 1, "u": 1})
    member = Consumer(talk, "a")
    settle(talk, [member])
    held = [Owned(topic_id=tp.topic_id, partitions=[tp.partition]) for tp in member.owned]
    talk.advance(2)
    answer = talk.beat("a", member.epoch, subscribed_topic_names=["u"], topic_partitions=held)
    assert told(answer) == []
    answer = talk.beat("a", member.epoch, topic_partitions=[])
    assert (answer.member_epoch, told(answer)) == (3, [(2, [0])])


def test_within_the_interval_a_changed_subscription_takes_away_at_once() -> None:
    talk = Cluster({"t": 1, "u": 1})
    talk.full("a", topics=["t", "u"])
    answer = talk.full("a", 2, topics=["u"])
    assert (answer.member_epoch, told(answer)) == (2, [(2, [0])])


def test_sessions_end() -> None:
    talk = Cluster({"t": 2})
    first, second = Consumer(talk, "a"), Consumer(talk, "b")
    settle(talk, [first, second])
    for _ in range(11):
        talk.advance(4.5)
        first.beat()
    assert list(talk.group().members) == ["a"]
    settle(talk, [first], 1)
    assert first.partitions == {("t", 0), ("t", 1)}
    assert second.beat() == E.UNKNOWN_MEMBER_ID
    talk.advance(100)
    assert talk.state() == "Empty"


def test_a_group_has_timeouts_of_its_own() -> None:
    talk = Cluster({"t": 1})
    talk.group_config.update({"consumer.session.timeout.ms": 50_000, "consumer.heartbeat.interval.ms": 7000})
    assert talk.full("a").heartbeat_interval_ms == 7000
    talk.advance(49)
    assert talk.state() == "Stable"
    talk.advance(2)
    assert talk.state() == "Empty"


def test_who_does_not_revoke_in_time_is_fenced() -> None:
    talk = Cluster({"t": 2})
    slow, second = Consumer(talk, "a", rebalance_timeout_ms=10_000), Consumer(talk, "b")
    settle(talk, [slow])
    codes = []
    while not codes or codes[-1] == E.NONE:
        talk.advance(2)
        codes.append(slow.beat(revokes=False))
        second.beat()
    assert codes[-1] == E.UNKNOWN_MEMBER_ID
    assert 6 <= len(codes) <= 8
    settle(talk, [second])
    assert second.partitions == {("t", 0), ("t", 1)}


def test_leaving() -> None:
    talk = Cluster({"t": 2})
    first, second = Consumer(talk, "a"), Consumer(talk, "b")
    settle(talk, [first, second])
    assert first.leave() == E.NONE
    settle(talk, [second])
    assert second.partitions == {("t", 0), ("t", 1)}
    assert second.leave() == E.NONE
    assert talk.state() == "Empty"
    assert talk.take(talk.shard.delete("g")) == E.NONE
    assert talk.shard.groups == talk.restarted().groups == {}


def test_epochs_are_checked() -> None:
    talk = Cluster({"t": 2})
    talk.full("a")
    assert talk.beat("a", 3).error_code == E.FENCED_MEMBER_EPOCH
    assert talk.beat("a", 1).error_code == E.FENCED_MEMBER_EPOCH
    assert talk.beat("b", 2).error_code == E.UNKNOWN_MEMBER_ID
    assert talk.beat("a", 2, group="h").error_code == E.GROUP_ID_NOT_FOUND
    # The answer with epoch 2 was lost: the member still is in the one before, and has nothing.
    assert talk.group().members["a"].previous_epoch == 0
    assert told(talk.full("a", 0)) == [(1, [0, 1])]


def test_the_epoch_before_is_allowed_to_one_that_missed_an_answer() -> None:
    talk = Cluster({"t": 1})
    talk.full("a")
    talk.create("t", 2)
    talk.advance(2)
    assert talk.beat("a", 2).member_epoch == 3
    assert talk.beat("a", 2).error_code == E.FENCED_MEMBER_EPOCH
    held = [Owned(topic_id=talk.image.topics["t"].topic_id, partitions=[0])]
    assert told(talk.full("a", 2, topic_partitions=held)) == [(1, [0, 1])]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"member_id": ""}, E.INVALID_REQUEST),
        ({"group": ""}, E.INVALID_REQUEST),
        ({"instance_id": " "}, E.INVALID_REQUEST),
        ({"rack_id": ""}, E.INVALID_REQUEST),
        ({"rebalance_timeout_ms": -1}, E.INVALID_REQUEST),
        ({"topic_partitions": None}, E.INVALID_REQUEST),
        ({"topics": None}, E.INVALID_REQUEST),
        ({"epoch": -2}, E.INVALID_REQUEST),
        ({"epoch": -3}, E.INVALID_REQUEST),
        ({"server_assignor": "sticky"}, E.UNSUPPORTED_ASSIGNOR),
        ({"topics": None, "subscribed_topic_regex": "("}, E.INVALID_REGULAR_EXPRESSION),
    ],
)
def test_what_a_first_heartbeat_must_say(fields: dict[str, Any], code: E) -> None:
    talk = Cluster({"t": 1})
    member_id, epoch = fields.pop("member_id", "a"), fields.pop("epoch", 0)
    answer = talk.full(member_id, epoch, **fields)
    assert (answer.error_code, talk.records) == (code, [])
    assert answer.error_message
    assert talk.shard.groups == {}


def test_older_members_are_given_an_id() -> None:
    talk = Cluster({"t": 1})
    answer = talk.full("", version=0)
    assert answer.error_code == E.NONE
    assert answer.member_id.startswith("uuid-")


def test_a_group_has_a_size() -> None:
    talk = Cluster({"t": 1}, group_consumer_max_size=1)
    talk.full("a")
    assert talk.full("b").error_code == E.GROUP_MAX_SIZE_REACHED
    assert talk.full("a").error_code == E.NONE


def test_regular_expressions() -> None:
    talk = Cluster({"topic-1": 1, "other": 1, "a-topic-1": 1})
    member = Consumer(talk, "a", topics=None, subscribed_topic_regex="topic.*")
    settle(talk, [member])
    assert member.partitions == {("topic-1", 0)}
    talk.create("topic-2", 2)
    settle(talk, [member])
    assert member.partitions == {("topic-1", 0), ("topic-2", 0), ("topic-2", 1)}
    talk.delete("topic-1")
    settle(talk, [member])
    assert member.partitions == {("topic-2", 0), ("topic-2", 1)}
    assert talk.group().patterns["topic.*"].topics == {"topic-2"}
    epoch = member.epoch
    talk.create("else", 1)
    settle(talk, [member])
    assert member.epoch == epoch
    member.leave()
    assert talk.group().patterns == {}


def test_expressions_are_resolved_again_as_what_may_be_seen_changes() -> None:
    talk = Cluster({"topic-1": 1, "topic-2": 1}, group_consumer_regex_refresh_interval_ms=20_000)
    talk.hidden = {"topic-2"}
    member = Consumer(talk, "a", topics=None, subscribed_topic_regex="topic.*")
    settle(talk, [member])
    assert member.partitions == {("topic-1", 0)}
    talk.hidden = {"topic-1"}
    talk.advance(20)
    settle(talk, [member])
    assert member.partitions == {("topic-2", 0)}
    first = talk.group().patterns["topic.*"].timestamp_ms
    epoch = member.epoch
    talk.advance(20)
    settle(talk, [member])
    assert (member.epoch, talk.group().patterns["topic.*"].timestamp_ms > first) == (epoch, True)


def test_settings_that_change_while_it_runs() -> None:
    talk = Cluster({"t": 1})
    talk.full("a")
    talk.config.group_consumer_max_size = 1
    talk.config.group_consumer_heartbeat_interval_ms = 77
    assert talk.full("b").error_code == E.GROUP_MAX_SIZE_REACHED
    assert talk.full("a").heartbeat_interval_ms == 77


def test_a_member_has_names_and_an_expression() -> None:
    talk = Cluster({"t": 1, "u": 1, "v": 1})
    first = Consumer(talk, "a", topics=("t",), subscribed_topic_regex="u|w")
    second = Consumer(talk, "b", topics=None, subscribed_topic_regex="u|w")
    settle(talk, [first])
    assert first.partitions == {("t", 0), ("u", 0)}
    settle(talk, [first, second])
    assert (first.partitions, second.partitions) == ({("t", 0)}, {("u", 0)})
    talk.advance(2)
    talk.full("a", first.epoch, subscribed_topic_regex="")
    assert talk.group().patterns.keys() == {"u|w"}
    talk.full("b", second.epoch, topics=None, subscribed_topic_regex="v")
    assert talk.group().patterns.keys() == {"v"}


def test_the_assignor_of_most_members() -> None:
    talk = Cluster({"t": 3, "u": 3})
    members = [
        Consumer(talk, name, topics=("t", "u"), server_assignor=assignor)
        for name, assignor in (("a", "range"), ("b", "range"), ("c", "uniform"))
    ]
    settle(talk, members)
    assert members[0].partitions == {("t", 0), ("u", 0)}
    described = talk.shard.consumer_describe("g").answer
    assert (described.assignor_name, described.group_state) == ("range", "Stable")
    assert [member.member_type for member in described.members] == [1, 1, 1]


def test_static_members_come_back() -> None:
    talk = Cluster({"t": 4})
    static, other = Consumer(talk, "a", instance_id="i"), Consumer(talk, "b")
    settle(talk, [static, other])
    before, epoch = static.partitions, talk.group().epoch
    assert talk.full("c", instance_id="i").error_code == E.UNRELEASED_INSTANCE_ID
    assert static.leave(-2) == E.NONE
    settle(talk, [other], 2)
    assert len(other.partitions) == 2
    back = Consumer(talk, "c", instance_id="i")
    assert back.beat() == E.NONE
    assert (back.partitions, talk.group().epoch) == (before, epoch)
    assert talk.beat("a", epoch, instance_id="i").error_code == E.FENCED_INSTANCE_ID
    assert talk.beat("a", epoch, instance_id="j").error_code == E.UNKNOWN_MEMBER_ID
    assert back.leave(-1) == E.NONE
    settle(talk, [other])
    assert len(other.partitions) == 4
    assert talk.beat("c", -2, instance_id="i").error_code == E.UNKNOWN_MEMBER_ID


def test_a_static_member_that_leaves_for_a_while_gives_up_what_it_was_to() -> None:
    talk = Cluster({"t": 2})
    static, other = Consumer(talk, "a", instance_id="i"), Consumer(talk, "b")
    static.beat()
    talk.advance(1.5)
    other.beat()
    static.beat(revokes=False)
    assert len(talk.group().members["a"].revoking) == 1
    static.leave(-2)
    settle(talk, [other], 2)
    assert len(other.partitions) == 1


def test_who_never_had_what_it_was_told_need_not_give_it_up() -> None:
    talk = Cluster({"t": 2})
    first, second = Consumer(talk, "a"), Consumer(talk, "b")
    first.beat()
    talk.advance(1.5)
    second.beat()
    answer = talk.beat("a", first.epoch, topic_partitions=[])
    assert (answer.member_epoch, talk.group().members["a"].state.name) == (second.epoch, "STABLE")


def test_a_static_member_that_stays_away_is_fenced() -> None:
    talk = Cluster({"t": 2})
    static, other = Consumer(talk, "a", instance_id="i"), Consumer(talk, "b")
    settle(talk, [static, other])
    static.leave(-2)
    for _ in range(10):
        talk.advance(5)
        other.beat()
    settle(talk, [other])
    assert len(other.partitions) == 2


def commit(talk: Cluster, member_id: str, epoch: int, partition: int = 0, version: int = 9) -> E:
    try:
        offsets = {TopicPartition("t", partition): OffsetToCommit(1)}
        answer = talk.take(talk.shard.commit("g", Committer(member_id, None, epoch, version), offsets, talk.now))
    except KafkaError as error:
        return error.code
    return E(answer[TopicPartition("t", partition)])


def test_commits_by_epoch() -> None:
    talk = Cluster({"t": 2})
    first, second = Consumer(talk, "a"), Consumer(talk, "b")
    settle(talk, [first, second])
    ((_, kept),) = first.partitions
    assert first.epoch == 3
    assert commit(talk, "a", 3) == E.NONE
    assert commit(talk, "a", 4) == E.STALE_MEMBER_EPOCH
    assert commit(talk, "a", 2, kept) == E.NONE  # assigned in that epoch already (KIP-1251)
    assert commit(talk, "a", 2, 1 - kept) == E.STALE_MEMBER_EPOCH
    assert commit(talk, "a", 1, kept) == E.STALE_MEMBER_EPOCH
    assert commit(talk, "nobody", 3) == E.UNKNOWN_MEMBER_ID
    assert commit(talk, "", -1) == E.UNKNOWN_MEMBER_ID
    assert commit(talk, "a", 3, version=8) == E.UNSUPPORTED_VERSION
    first.leave()
    second.leave()
    assert commit(talk, "", -1) == E.NONE


def test_a_restart_gives_a_member_its_rebalance_timeout_once_more() -> None:
    talk = Cluster({"t": 2})
    first, second = Consumer(talk, "a"), Consumer(talk, "b")
    first.beat()
    talk.advance(1.5)
    second.beat()
    first.beat(revokes=False)
    talk.shard = talk.restarted()
    talk.take(talk.shard.loaded(talk.now))
    for _ in range(4):
        talk.advance(14)
        assert (first.beat(revokes=False), second.beat()) == (E.NONE, E.NONE)
    talk.advance(5)
    assert list(talk.group().members) == ["b"]


def test_what_a_member_is_to_give_up_it_may_commit_in_the_epoch_in_which_it_got_it() -> None:
    talk = Cluster({"t": 3})
    first, second = Consumer(talk, "a", topics=("t", "u")), Consumer(talk, "b", topics=("t", "u"))
    first.beat()
    talk.create("u", 1)
    talk.advance(1.5)
    first.beat()
    talk.advance(1.5)
    second.beat()
    first.beat(revokes=False)
    member = talk.group().members["a"]
    given_up = next(tp.partition for tp in member.revoking if talk.name(tp)[0] == "t")
    assert (member.state.name, member.epoch) == ("UNREVOKED_PARTITIONS", 3)
    assert commit(talk, "a", 2, given_up) == E.NONE
    assert commit(talk, "a", 1, given_up) == E.STALE_MEMBER_EPOCH


def test_a_target_that_is_older_than_the_subscription_counts_only_so_far() -> None:
    talk = Cluster({"t": 1, "u": 1})
    first, second = Consumer(talk, "a", topics=("t", "u")), Consumer(talk, "b", topics=("t", "u"))
    first.beat()
    talk.advance(1.5)
    second.beat()
    first.beat()
    first.beat()
    ((topic, _),) = (talk.name(tp) for tp in talk.group().targets["b"])
    (other,) = {"t", "u"} - {topic}
    talk.beat("b", second.epoch, subscribed_topic_names=[other], topic_partitions=[])
    assert talk.state() == "Assigning"
    assert talk.group().members["b"].assigned == {}


def fetch(talk: Cluster, member_id: str | None, epoch: int) -> E:
    try:
        talk.shard.fetch("g", None, member=(member_id, epoch))
    except KafkaError as error:
        return error.code
    return E.NONE


def test_fetches_by_epoch() -> None:
    talk = Cluster({"t": 2})
    Consumer(talk, "a").beat()
    assert fetch(talk, None, -1) == E.NONE
    assert fetch(talk, "a", 2) == E.NONE
    assert fetch(talk, "a", 1) == E.STALE_MEMBER_EPOCH
    assert fetch(talk, "b", 2) == E.UNKNOWN_MEMBER_ID


def test_offsets_of_topics_that_are_read_stay() -> None:
    talk = Cluster({"t": 1, "u": 1}, offsets_retention_minutes=1, offsets_retention_check_interval_ms=1000)
    talk.take(talk.shard.loaded(talk.now))
    member = Consumer(talk, "a")
    member.beat()
    assert commit(talk, "a", member.epoch) == E.NONE
    offsets = {TopicPartition("u", 0): OffsetToCommit(1)}
    talk.take(talk.shard.commit("g", Committer("a", None, member.epoch), offsets, talk.now))
    answer = talk.take(talk.shard.delete_offsets("g", [TopicPartition("t", 0)]))
    assert answer == {TopicPartition("t", 0): E.GROUP_SUBSCRIBED_TO_TOPIC}
    for _ in range(30):
        talk.advance(5)
        member.beat()
    assert list(talk.shard.offsets.of("g")) == [TopicPartition("t", 0)]
    member.leave()
    talk.advance(120)
    assert talk.shard.groups == {}
    assert talk.restarted().groups == {}


def test_a_load_goes_on_where_it_was() -> None:
    talk = Cluster({"t": 2})
    first = Consumer(talk, "a")
    settle(talk, [first])
    talk.advance(2)
    second = Consumer(talk, "b")
    second.beat()
    first.beat(revokes=False)
    talk.shard = talk.restarted()
    talk.take(talk.shard.loaded(talk.now))
    settle(talk, [first, second])
    assert (len(first.partitions), len(second.partitions)) == (1, 1)
    talk.shard = talk.restarted()
    talk.take(talk.shard.loaded(talk.now))
    talk.advance(50)
    assert talk.state() == "Empty"
