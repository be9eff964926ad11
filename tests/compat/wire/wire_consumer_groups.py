"""Conversations about consumer groups of the newer protocol (KIP-848), and OffsetDelete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wire_groups import join, joined
from wire_talk import Talk, conversation

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from pykbroker.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.offset_delete import OffsetDeleteRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest

Owned = ConsumerGroupHeartbeatRequest.TopicPartition


def beat(talk: Talk, member: str = "m", epoch: int = 0, **fields: Any) -> ConsumerGroupHeartbeatRequest:
    if epoch == 0:
        names = {} if "subscribed_topic_regex" in fields else {"subscribed_topic_names": []}
        fields = {"rebalance_timeout_ms": 30000, "topic_partitions": [], **names, **fields}
    return ConsumerGroupHeartbeatRequest(group_id=talk.name, member_id=member, member_epoch=epoch, **fields)


def await_loaded(talk: Talk) -> None:
    """Apache Kafka names a coordinator that hasn't heard of it, or is loading yet."""
    talk.await_code(beat(talk, epoch=-1), 1, ErrorCode.GROUP_ID_NOT_FOUND)


def say(talk: Talk, label: str, request: ConsumerGroupHeartbeatRequest) -> None:
    """As the broker may be told to have members hurry, its heartbeat interval is shown as there or not."""
    answer = talk.ask(request)
    if answer is not None:
        answer.heartbeat_interval_ms = min(answer.heartbeat_interval_ms, 1)
    talk.note(label, answer)


@conversation(0, 1)
def consumer_group_heartbeat(talk: Talk) -> None:
    await_loaded(talk)
    say(talk, "not a member of a group that isn't there", beat(talk, epoch=1))
    say(talk, "leaves a group that isn't there", beat(talk, epoch=-1))
    for label, fields in {
        "no rebalance timeout": {"rebalance_timeout_ms": -1},
        "no partitions": {"topic_partitions": None},
        "partitions": {"topic_partitions": [Owned(topic_id=UUID(int=1), partitions=[0])]},
        "no subscription": {"subscribed_topic_names": None},
        "an empty instance id": {"instance_id": ""},
        "an empty rack": {"rack_id": ""},
        "an assignor that isn't there": {"server_assignor": "sticky"},
    }.items():
        say(talk, label, beat(talk, **fields))
    say(talk, "an epoch that isn't", beat(talk, epoch=-3))
    say(talk, "a static leave without instance", beat(talk, epoch=-2))
    say(talk, "joins with no topics", beat(talk))
    say(talk, "joins again", beat(talk))
    say(talk, "a topic that isn't there", beat(talk, epoch=1, subscribed_topic_names=[talk.name]))
    say(talk, "the epoch before", beat(talk, epoch=1))
    say(talk, "an epoch to come", beat(talk, epoch=9))
    say(talk, "another member", beat(talk, "n", epoch=2))
    say(talk, "an unknown instance", beat(talk, epoch=2, instance_id="i"))
    say(talk, "a static member", beat(talk, "s", instance_id="i"))
    say(talk, "another with its instance id", beat(talk, "s2", instance_id="i"))
    say(talk, "another with its instance id, later", beat(talk, "s2", epoch=2, instance_id="i"))
    say(talk, "leaves for a while", beat(talk, "s", epoch=-2, instance_id="i"))
    say(talk, "another takes over", beat(talk, "s2", instance_id="i"))
    say(talk, "leaves under a wrong id", beat(talk, "s", epoch=-1, instance_id="i"))
    say(talk, "leaves for good", beat(talk, "s2", epoch=-1, instance_id="i"))
    say(talk, "an unknown member leaves", beat(talk, "n", epoch=-1))
    say(talk, "leaves", beat(talk, epoch=-1))
    if talk.version >= 1:
        say(talk, "a bad expression", beat(talk, "r", subscribed_topic_regex="("))


@conversation(0, 1)
def consumer_group_describe(talk: Talk) -> None:
    await_loaded(talk)
    describe = ConsumerGroupDescribeRequest(group_ids=[talk.name], include_authorized_operations=True)
    talk.say("none", describe)
    talk.ask(beat(talk, instance_id="i", rack_id="r", server_assignor="range"), 1)
    talk.say("a member", describe)
    talk.ask(beat(talk, epoch=-1, instance_id="i"), 1)
    talk.say("empty", describe)
    talk.say("as a classic one", DescribeGroupsRequest(groups=[talk.name]), 6)


@conversation(0, 0)
def consumer_group_and_the_other_apis(talk: Talk) -> None:
    await_loaded(talk)
    talk.ask(beat(talk), 1)
    partition = OffsetCommitRequest.Topic.Partition(partition_index=0, committed_offset=1)
    talk.topic()
    topic = talk.name
    for label, member, epoch in (("its epoch", "m", 1), ("an older", "m", 0), ("a newer", "m", 5), ("nobody", "", -1)):
        commit = OffsetCommitRequest(
            group_id=talk.name,
            member_id=member,
            generation_id_or_member_epoch=epoch,
            topics=[OffsetCommitRequest.Topic(name=topic, partitions=[partition])],
        )
        talk.say(f"commit in {label}", commit, 9)
        group = OffsetFetchRequest.Group(group_id=talk.name, member_id=member or None, member_epoch=epoch, topics=[])
        talk.say(f"fetch in {label}", OffsetFetchRequest(groups=[group]), 9)
    talk.say("heartbeat", HeartbeatRequest(group_id=talk.name, member_id="m", generation_id=1), 4)
    leaving = LeaveGroupRequest.Member(member_id="n")
    talk.say("leave", LeaveGroupRequest(group_id=talk.name, members=[leaving]), 5)
    talk.say("join as a worker", join(talk, protocol_type="connect"), 3)


@conversation(0, 0)
def offset_delete(talk: Talk) -> None:
    await_loaded(talk)
    talk.topic()
    topic = talk.name

    def delete(*names: str) -> OffsetDeleteRequest:
        partitions = [OffsetDeleteRequest.Topic.Partition(partition_index=index) for index in (0, 9)]
        topics = [OffsetDeleteRequest.Topic(name=name, partitions=partitions) for name in names]
        return OffsetDeleteRequest(group_id=talk.name, topics=topics)

    talk.say("no such group", delete(topic))
    partition = OffsetCommitRequest.Topic.Partition(partition_index=0, committed_offset=1)
    commit = OffsetCommitRequest(
        group_id=talk.name, topics=[OffsetCommitRequest.Topic(name=topic, partitions=[partition])]
    )
    talk.ask(commit, 8)
    talk.say("of one that is and one that isn't", delete(topic, "no-such-topic"))
    joined(talk)
    talk.say("of a group with members", delete(topic))
