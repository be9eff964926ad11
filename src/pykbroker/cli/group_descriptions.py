"""Groups of every type, asked of their coordinators and brought to one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.client.cluster import Cluster

CLASSIC = "classic"
CONSUMER = "consumer"
SHARE = "share"
STREAMS = "streams"
DEAD = "Dead"
"""The state of a group that isn't there: not yet, or not any more."""
INACTIVE = ("Empty", DEAD, "NotReady")


@dataclass
class ListedGroup:
    """A group as a coordinator lists it; older brokers know neither state nor type."""

    group: str
    type: str
    protocol: str
    state: str
    coordinator: int


@dataclass
class GroupMember:
    """A member, and what it reads."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    partitions: list[TopicPartition] = field(default_factory=list)
    epoch: int | None = None


@dataclass
class DescribedGroup:
    """A group with its members."""

    group: str
    type: str
    state: str
    coordinator: int
    assignor: str
    members: list[GroupMember] = field(default_factory=list)
    epoch: int | None = None
    assignment_epoch: int | None = None


async def list_groups(cluster: Cluster) -> list[ListedGroup]:
    """All groups that the user may see, by name. Raises KafkaError of a coordinator that has none to tell."""
    from pykbroker.client.cluster import COORDINATOR_MOVED, raise_for
    from pykbroker.client.nursery import open_nursery
    from pykbroker.protocol.messages.list_groups import ListGroupsRequest

    await cluster.metadata([])
    found: list[ListedGroup] = []

    async def ask(node: int) -> None:
        answer = await cluster.node(node, ListGroupsRequest())
        if answer.error_code not in COORDINATOR_MOVED:
            raise_for(answer.error_code, f"broker {node}")
        for group in answer.groups:
            listed = ListedGroup(
                group.group_id, group.group_type.lower() or CLASSIC, group.protocol_type, group.group_state, node
            )
            found.append(listed)

    async with open_nursery() as nursery:
        for node in cluster.brokers:
            nursery.start_soon(ask, node)
    return sorted(found, key=lambda group: group.group)


async def chosen_groups(
    cluster: Cluster, names: Sequence[str], everyone: bool, *, new: bool = False
) -> list[ListedGroup]:
    """The groups of these names, or all.

    Raises KafkaError(GROUP_ID_NOT_FOUND) for one that isn't there, unless it may be `new`.
    """
    listed = {group.group: group for group in await list_groups(cluster)}
    if everyone:
        return list(listed.values())
    for name in names:
        if name not in listed and new:
            listed[name] = ListedGroup(name, CLASSIC, "", DEAD, -1)
        if name not in listed:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"there is no group {name}")
    return [listed[name] for name in names]


async def describe_groups(cluster: Cluster, listed: Sequence[ListedGroup]) -> list[DescribedGroup]:
    """The same groups with their members. Raises KafkaError."""
    asked = {SHARE: _share, CONSUMER: _consumer, STREAMS: _streams}
    return [
        DescribedGroup(group.group, CLASSIC, DEAD, -1, "")
        if group.state == DEAD
        else await asked.get(group.type, _classic)(cluster, group)
        for group in listed
    ]


async def _classic(cluster: Cluster, listed: ListedGroup) -> DescribedGroup:
    from pykbroker.client.group_member import assigned_partitions
    from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest

    group = await _one(cluster, listed, DescribeGroupsRequest(groups=[listed.group]))
    is_consumer = group.protocol_type in ("consumer", "")
    members = [
        GroupMember(
            one.member_id,
            one.group_instance_id,
            one.client_id,
            one.client_host,
            assigned_partitions(one.member_assignment) if is_consumer else [],
        )
        for one in group.members
    ]
    return DescribedGroup(listed.group, CLASSIC, group.group_state, listed.coordinator, group.protocol_data, members)


async def _consumer(cluster: Cluster, listed: ListedGroup) -> DescribedGroup:
    from pykbroker.protocol.messages.consumer_group_describe import ConsumerGroupDescribeRequest

    return _modern(listed, await _one(cluster, listed, ConsumerGroupDescribeRequest(group_ids=[listed.group])))


async def _share(cluster: Cluster, listed: ListedGroup) -> DescribedGroup:
    from pykbroker.protocol.messages.share_group_describe import ShareGroupDescribeRequest

    return _modern(listed, await _one(cluster, listed, ShareGroupDescribeRequest(group_ids=[listed.group])))


def _modern(listed: ListedGroup, group: Any) -> DescribedGroup:
    members = [
        GroupMember(
            one.member_id,
            getattr(one, "instance_id", None),
            one.client_id,
            one.client_host,
            [TopicPartition(of.topic_name, at) for of in one.assignment.topic_partitions for at in of.partitions],
            one.member_epoch,
        )
        for one in group.members
    ]
    return DescribedGroup(
        listed.group,
        listed.type,
        group.group_state,
        listed.coordinator,
        group.assignor_name,
        members,
        group.group_epoch,
        group.assignment_epoch,
    )


async def _streams(cluster: Cluster, listed: ListedGroup) -> DescribedGroup:
    """A streams group's tasks, as the partitions of the topics that their subtopologies read."""
    from pykbroker.protocol.messages.streams_group_describe import StreamsGroupDescribeRequest

    group = await _one(cluster, listed, StreamsGroupDescribeRequest(group_ids=[listed.group]))
    subtopologies = group.topology.subtopologies or () if group.topology is not None else ()
    sources = {each.subtopology_id: each.source_topics for each in subtopologies}
    members = [
        GroupMember(
            one.member_id,
            one.instance_id,
            one.client_id,
            one.client_host,
            [
                TopicPartition(topic, at)
                for task in one.assignment.active_tasks
                for topic in sources.get(task.subtopology_id, ())
                for at in task.partitions
            ],
            one.member_epoch,
        )
        for one in group.members
    ]
    return DescribedGroup(
        listed.group,
        STREAMS,
        group.group_state,
        listed.coordinator,
        "",
        members,
        group.group_epoch,
        group.assignment_epoch,
    )


async def _one(cluster: Cluster, listed: ListedGroup, request: Any) -> Any:
    from pykbroker.client.cluster import GROUP, raise_for

    (group,) = (await cluster.coordinator(GROUP, listed.group, request)).groups
    raise_for(group.error_code, getattr(group, "error_message", None) or f"group {listed.group}")
    return group


async def share_offsets(
    cluster: Cluster, group: str, topics: Mapping[str, Sequence[int]] | None = None
) -> dict[TopicPartition, tuple[int, int]]:
    """Start offset and lag of a share group's partitions, -1 where they aren't known. Raises KafkaError."""
    from pykbroker.client.cluster import GROUP, raise_for
    from pykbroker.protocol.messages.describe_share_group_offsets import DescribeShareGroupOffsetsRequest

    of = DescribeShareGroupOffsetsRequest.Group
    asked = None if topics is None else [of.Topic(topic_name=name, partitions=[*at]) for name, at in topics.items()]
    request = DescribeShareGroupOffsetsRequest(groups=[of(group_id=group, topics=asked)])
    (answer,) = (await cluster.coordinator(GROUP, group, request)).groups
    raise_for(answer.error_code, answer.error_message or f"group {group}")
    found: dict[TopicPartition, tuple[int, int]] = {}
    for topic in answer.topics:
        for one in topic.partitions:
            raise_for(one.error_code, one.error_message)
            found[TopicPartition(topic.topic_name, one.partition_index)] = (one.start_offset, one.lag)
    return found
