"""Committed offsets of a group for a client: read, written, by partition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pykbroker.client.cluster import GROUP, Cluster, by_topic, error_of, raise_for
from pykbroker.client.connection import Versioned
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.topic_partition import TopicPartition

BY_NAME = 9
"""The highest version of OffsetCommit and OffsetFetch in which topics go by their names."""


class Membership(NamedTuple):
    """Who commits; the defaults are those of somebody outside the group."""

    generation: int = -1
    member_id: str = ""


async def committed(
    cluster: Cluster, group: str, partitions: Collection[TopicPartition] | None = None
) -> dict[TopicPartition, int]:
    """The committed offsets, of all partitions for None; what has none is left out. Raises KafkaError."""
    topics = None if partitions is None else by_topic(partitions)

    def build(version: int) -> Message:
        if version < 8:
            plain = OffsetFetchRequest.Topic
            old = None if topics is None else [plain(name=name, partition_indexes=at) for name, at in topics.items()]
            return OffsetFetchRequest(group_id=group, topics=old)
        of = OffsetFetchRequest.Group
        asked = None if topics is None else [of.Topic(name=name, partition_indexes=at) for name, at in topics.items()]
        return OffsetFetchRequest(groups=[of(group_id=group, topics=asked)])

    answer = await cluster.coordinator(GROUP, group, Versioned(ApiKey.OFFSET_FETCH, build, BY_NAME))
    found = answer.groups[0] if answer.groups else answer
    raise_for(found.error_code)
    offsets: dict[TopicPartition, int] = {}
    for topic in found.topics:
        for one in topic.partitions:
            raise_for(one.error_code, f"{topic.name}-{one.partition_index}")
            if one.committed_offset >= 0:
                offsets[TopicPartition(topic.name, one.partition_index)] = one.committed_offset
    return offsets


async def commit(
    cluster: Cluster,
    group: str,
    offsets: Mapping[TopicPartition, int],
    membership: Membership = Membership(),  # noqa: B008  # immutable
    purpose: str = "",
) -> dict[TopicPartition, KafkaError | None]:
    """Commits offsets; the error of each partition, or None."""
    of = OffsetCommitRequest.Topic
    request = OffsetCommitRequest(
        group_id=group, generation_id_or_member_epoch=membership.generation, member_id=membership.member_id
    )
    for name, indexes in by_topic(offsets).items():
        partitions = [
            of.Partition(
                partition_index=index, committed_offset=offsets[TopicPartition(name, index)], committed_metadata=""
            )
            for index in indexes
        ]
        request.topics.append(of(name=name, partitions=partitions))
    versioned = Versioned(ApiKey.OFFSET_COMMIT, lambda _: request, BY_NAME)
    answer = await cluster.coordinator(GROUP, group, versioned, purpose=purpose)
    return {
        TopicPartition(topic.name, one.partition_index): error_of(one.error_code) if one.error_code else None
        for topic in answer.topics
        for one in topic.partitions
    }
