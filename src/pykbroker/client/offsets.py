"""ListOffsets for a client: the offset at a moment, by partition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pykbroker.client.cluster import Cluster
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from pykbroker.protocol.topic_partition import TopicPartition

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5


class OffsetAt(NamedTuple):
    """An offset with its record's timestamp (ms); -1 where there is none."""

    offset: int
    timestamp: int


async def list_offsets(
    cluster: Cluster, partitions: Collection[TopicPartition], timestamp: int, *, committed: bool = False
) -> dict[TopicPartition, OffsetAt | KafkaError]:
    """The first offset at or after a timestamp (ms), or one of the moments above; offset -1 where there is none.

    `committed`: the end is the last stable offset, not the high watermark.
    """

    def build(topics: Mapping[str, list[int]]) -> ListOffsetsRequest:
        of = ListOffsetsRequest.Topic
        request = ListOffsetsRequest(replica_id=-1, isolation_level=int(committed), timeout_ms=30_000)
        request.topics = [
            of(name=name, partitions=[of.Partition(partition_index=index, timestamp=timestamp) for index in indexes])
            for name, indexes in topics.items()
        ]
        return request

    def read(response: ListOffsetsResponse) -> Iterator[tuple[TopicPartition, int, Any]]:
        for topic in response.topics:
            for one in topic.partitions:
                offset = one.old_style_offsets[0] if one.old_style_offsets else one.offset
                yield TopicPartition(topic.name, one.partition_index), one.error_code, OffsetAt(offset, one.timestamp)

    return await cluster.to_leaders(partitions, build, read)
