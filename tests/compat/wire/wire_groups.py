"""Conversations about groups and their offsets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wire_talk import Talk, conversation, older

from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest
from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest

UNKNOWN_ID = UUID(int=7 << 64 | 7)
# Version 0 of the consumer protocol, no topics, no user data: Apache Kafka looks into it.
SUBSCRIPTION = ASSIGNMENT = b"\0\0" + b"\0\0\0\0" + b"\xff\xff\xff\xff"


def join(talk: Talk, member: str = "", **options: Any) -> JoinGroupRequest:
    names = options.pop("protocols", ["range"])
    protocols = [JoinGroupRequest.Protocol(name=name, metadata=SUBSCRIPTION) for name in names]
    fields = {"group_id": talk.name, "session_timeout_ms": 10000, "rebalance_timeout_ms": 10000}
    return JoinGroupRequest(
        **(fields | {"member_id": member, "protocol_type": "consumer", "protocols": protocols} | options)
    )


def joined(talk: Talk, version: int = 9, **options: Any) -> tuple[str, int]:
    """Join alone and sync: the member id and the generation."""
    answer = talk.ask(join(talk, **options), version)
    if answer.error_code == 79:
        answer = talk.ask(join(talk, member=answer.member_id, **options), version)
    assert answer.error_code == 0, answer
    assignment = SyncGroupRequest.Assignment(member_id=answer.member_id, assignment=ASSIGNMENT)
    sync = SyncGroupRequest(
        group_id=talk.name,
        generation_id=answer.generation_id,
        member_id=answer.member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[assignment],
    )
    assert talk.ask(sync, 5).error_code == 0
    talk.mask(answer.member_id, "<member>")
    return answer.member_id, answer.generation_id


@conversation(0, 6)
def find_coordinator(talk: Talk) -> None:
    def say(label: str, key: str, kind: int) -> None:
        keys = {"coordinator_keys": [key]} if talk.version >= 4 else {"key": key}
        talk.say(label, FindCoordinatorRequest(key_type=kind, **keys))

    talk.mask("127.0.0.1", "<host>")
    say("group", talk.name, 0)
    say("empty key", "", 0)
    if talk.version >= 1:
        say("bogus type", talk.name, 9)
    if talk.version >= 4:
        talk.say("two", FindCoordinatorRequest(key_type=0, coordinator_keys=[talk.name, f"{talk.name}-b"]))
        talk.say("none", FindCoordinatorRequest(key_type=0, coordinator_keys=[]))


@conversation(2, 9, older=0)
def join_errors(talk: Talk) -> None:
    talk.say("session too short", join(talk, session_timeout_ms=10))
    talk.say("session too long", join(talk, session_timeout_ms=10_000_000))
    talk.say("empty group id", join(talk, group_id=""))
    talk.say("unknown member", join(talk, member="nobody"))
    talk.say("no protocol", join(talk, protocols=[]))
    talk.say("no protocol type", join(talk, protocol_type=""))
    required = talk.ask(join(talk))
    talk.mask(required.member_id, "<member>")
    talk.note("without a member id", required)
    if required.error_code == 79:
        talk.say("with the given id", join(talk, member=required.member_id))
    talk.say("other protocol type", join(talk, protocol_type="connect"))
    talk.say("other protocol", join(talk, protocols=["sticky"]))


@conversation(0, 5)
def sync_errors(talk: Talk) -> None:
    def say(label: str, generation: int, member: str, **options: Any) -> None:
        names = {"protocol_type": "consumer", "protocol_name": "range"} | options
        fields = {"group_id": talk.name, "generation_id": generation, "member_id": member, "assignments": []} | names
        talk.say(label, SyncGroupRequest(**fields))

    say("unknown group", 1, "nobody")
    say("empty group id", 1, "nobody", group_id="")
    member, generation = joined(talk)
    say("fine", generation, member)
    say("unknown member", generation, "nobody")
    say("old generation", generation - 1, member)
    say("generation to come", generation + 1, member)
    if talk.version >= 5:
        say("other protocol", generation, member, protocol_name="sticky")
        say("other protocol type", generation, member, protocol_type="connect")
    if talk.version >= 3:
        say("unknown instance", generation, member, group_instance_id="nobody")


@conversation(0, 4)
def heartbeat_errors(talk: Talk) -> None:
    def say(label: str, generation: int, member: str, **options: Any) -> None:
        fields = {"group_id": talk.name, "generation_id": generation, "member_id": member} | options
        talk.say(label, HeartbeatRequest(**fields))

    say("unknown group", 1, "nobody")
    say("empty group id", 1, "nobody", group_id="")
    member, generation = joined(talk)
    say("fine", generation, member)
    say("unknown member", generation, "nobody")
    say("old generation", generation - 1, member)
    if talk.version >= 3:
        say("unknown instance", generation, member, group_instance_id="nobody")


@conversation(0, 5)
def leave_errors(talk: Talk) -> None:
    def say(label: str, member: str, group: str | None = None, instance: str | None = None) -> None:
        entry = LeaveGroupRequest.Member(member_id=member, group_instance_id=instance)
        fields = {"members": [entry]} if talk.version >= 3 else {"member_id": member}
        talk.say(label, LeaveGroupRequest(group_id=talk.name if group is None else group, **fields))

    say("unknown group", "nobody")
    say("empty group id", "nobody", group="")
    member, _ = joined(talk)
    say("unknown member", "nobody")
    if talk.version >= 3:
        say("unknown instance", "", instance="nobody")
    say("fine", member)
    say("again", member)


@conversation(5, 9)
def static_members(talk: Talk) -> None:
    member, generation = joined(talk, talk.version, group_instance_id="instance")
    answer = talk.ask(join(talk, group_instance_id="instance"))
    talk.mask(answer.member_id, "<second member>")
    talk.note("the instance again", answer)
    first = {"group_id": talk.name, "generation_id": generation, "group_instance_id": "instance"}
    talk.say("heartbeat of the first", HeartbeatRequest(member_id=member, **first), 4)
    talk.say("heartbeat of the second", HeartbeatRequest(member_id=answer.member_id, **first), 4)
    talk.say("join of the first", join(talk, member=member, group_instance_id="instance"))
    entry = LeaveGroupRequest.Member(member_id="", group_instance_id="instance")
    talk.say("leave by instance", LeaveGroupRequest(group_id=talk.name, members=[entry]), 5)


def commit(talk: Talk, offset: int, topic_id: UUID, **options: Any) -> OffsetCommitRequest:
    part = OffsetCommitRequest.Topic.Partition(
        partition_index=options.pop("partition", 0),
        committed_offset=offset,
        committed_metadata=options.pop("metadata", "note"),
    )
    topic = OffsetCommitRequest.Topic(name=talk.name + options.pop("suffix", ""), topic_id=topic_id, partitions=[part])
    return OffsetCommitRequest(**({"group_id": talk.name, "topics": [topic]} | options))


@conversation(2, 10, older=1)
def offset_commit_errors(talk: Talk) -> None:
    topic_id = talk.topic()

    def say(label: str, offset: int = 1, topic_id: UUID = topic_id, **options: Any) -> None:
        talk.say(label, commit(talk, offset, topic_id, **options))

    say("no group yet, no generation")
    say("no group yet, a generation", group_id=f"{talk.name}-b", generation_id_or_member_epoch=1, member_id="nobody")
    say("empty group id", group_id="")
    say("unknown partition", partition=7)
    say("unknown topic", 1, UNKNOWN_ID, suffix="-unknown")
    say("long metadata", metadata="x" * 5000)
    say("negative offset", -5)
    say("null metadata", metadata=None)
    member, generation = joined(talk)
    say("no generation", 2)
    say("fine", 3, generation_id_or_member_epoch=generation, member_id=member)
    say("unknown member", 4, generation_id_or_member_epoch=generation, member_id="nobody")
    say("old generation", 5, generation_id_or_member_epoch=generation - 1, member_id=member)
    say("generation to come", 6, generation_id_or_member_epoch=generation + 1, member_id=member)


@conversation(1, 10)
def offset_fetch(talk: Talk) -> None:
    topic_id = talk.topic(partitions=2)
    talk.ask(commit(talk, 7, topic_id), 7)

    def say(label: str, group: str, partitions: list[int] | None, suffix: str = "", topic: UUID = topic_id) -> None:
        if talk.version >= 8:
            asked = OffsetFetchRequest.Group(group_id=group, topics=None)
            if partitions is not None:
                entry = OffsetFetchRequest.Group.Topic(
                    name=talk.name + suffix, topic_id=topic, partition_indexes=partitions
                )
                asked = OffsetFetchRequest.Group(group_id=group, topics=[entry])
            talk.say(label, OffsetFetchRequest(groups=[asked]))
            return
        topics = None
        if partitions is not None:
            topics = [OffsetFetchRequest.Topic(name=talk.name + suffix, partition_indexes=partitions)]
        talk.say(label, OffsetFetchRequest(group_id=group, topics=topics))

    say("committed", talk.name, [0, 1])
    say("unknown partition", talk.name, [7])
    say("unknown topic", talk.name, [0], suffix="-unknown", topic=UNKNOWN_ID)
    say("unknown group", f"{talk.name}-b", [0])
    say("empty group id", "", [0])
    if talk.version >= 2:
        say("all", talk.name, None)
        say("all of an unknown group", f"{talk.name}-b", None)


@older(0, 0)
def offsets_of_the_first_version(talk: Talk) -> None:
    """Apache Kafka 3.9 keeps these in its ZooKeeper."""
    topic_id = talk.topic()
    talk.say("committed", commit(talk, 7, topic_id))
    asked = OffsetFetchRequest.Topic(name=talk.name, partition_indexes=[0])
    talk.say("fetched", OffsetFetchRequest(group_id=talk.name, topics=[asked]))
    talk.say("fetched in another version", OffsetFetchRequest(group_id=talk.name, topics=[asked]), 1)
    talk.say("nothing committed", OffsetFetchRequest(group_id=f"{talk.name}-b", topics=[asked]))


@conversation(0, 6)
def describe_groups(talk: Talk) -> None:
    talk.say("unknown", DescribeGroupsRequest(groups=[talk.name]))
    talk.ask(DeleteGroupsRequest(groups_names=[""]), 2)
    talk.say("empty id", DescribeGroupsRequest(groups=[""]))
    member, _ = joined(talk)
    talk.say("stable", DescribeGroupsRequest(groups=[talk.name]))
    entry = LeaveGroupRequest.Member(member_id=member)
    talk.ask(LeaveGroupRequest(group_id=talk.name, members=[entry]), 5)
    talk.say("empty", DescribeGroupsRequest(groups=[talk.name]))
    if talk.version >= 3:
        talk.say("operations", DescribeGroupsRequest(groups=[talk.name], include_authorized_operations=True))


@conversation(0, 5)
def list_groups(talk: Talk) -> None:
    joined(talk)

    def say(label: str, **filters: Any) -> None:
        answer = talk.ask(ListGroupsRequest(**filters))
        answer.groups = [group for group in answer.groups if group.group_id == talk.name]
        talk.note(label, answer)

    say("all")
    if talk.version >= 4:
        say("stable", states_filter=["Stable"])
        say("in lower case", states_filter=["stable"])
        say("empty", states_filter=["Empty"])
        say("no such state", states_filter=["Bogus"])
    if talk.version >= 5:
        say("classic", types_filter=["classic"])
        say("consumer", types_filter=["Consumer"])
        say("no such type", types_filter=["bogus"])


@conversation(0, 2)
def delete_groups(talk: Talk) -> None:
    talk.say("unknown", DeleteGroupsRequest(groups_names=[talk.name]))
    talk.ask(DeleteGroupsRequest(groups_names=[""]))
    talk.say("empty id", DeleteGroupsRequest(groups_names=[""]))
    member, _ = joined(talk)
    talk.say("in use", DeleteGroupsRequest(groups_names=[talk.name]))
    talk.ask(LeaveGroupRequest(group_id=talk.name, members=[LeaveGroupRequest.Member(member_id=member)]), 5)
    talk.say("empty", DeleteGroupsRequest(groups_names=[talk.name]))
    talk.say("again", DeleteGroupsRequest(groups_names=[talk.name]))
