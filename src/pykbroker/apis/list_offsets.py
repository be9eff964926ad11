"""ListOffsets and OffsetForLeaderEpoch: offsets by timestamp and by leader epoch."""

from __future__ import annotations

from collections import Counter

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from pykbroker.protocol.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.replica import Replica
from pykbroker.server.request import RequestContext, handles

Asked = ListOffsetsRequest.Topic.Partition
Answer = ListOffsetsResponse.Topic.Partition

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6
FIRST_VERSION = {
    LATEST: 0,
    EARLIEST: 0,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""The version from which on a negative timestamp has its meaning (KIP-734, KIP-405, KIP-1005, KIP-1023)."""
FIRST_WITH_LEADER_EPOCH = 4
FIRST_WITH_OFFSET_NOT_AVAILABLE = 5
NEVER = 1 << 15
CONSUMER = -1
"""The replica id of who isn't a broker."""
READ_COMMITTED = 1
DEBUGGING_REPLICA = -2


@handles(ListOffsetsRequest, "0-11")
async def list_offsets(request: ListOffsetsRequest, context: RequestContext) -> ListOffsetsResponse:
    """ListOffsets 0-11. A timestamp's offset is that of the very record, not of its batch; -1 and -1 where none is.

    Nothing at or above the high watermark (read_committed: the last stable offset) is found. Version 0 lists the
    segments' offsets before a time. A partition named twice is INVALID_REQUEST, as in Kafka.
    """
    named = Counter((topic.name, asked.partition_index) for topic in request.topics for asked in topic.partitions)
    topics = []
    for topic in request.topics:
        answers = {}
        for asked in topic.partitions:
            answer = answers[asked.partition_index] = Answer(partition_index=asked.partition_index)
            try:
                if named[topic.name, asked.partition_index] > 1 and context.api_version > 0:
                    raise KafkaError(ErrorCode.INVALID_REQUEST)
                if asked.timestamp < 0 and context.api_version < FIRST_VERSION.get(asked.timestamp, NEVER):
                    raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
                replica = _replica(request, TopicPartition(topic.name, asked.partition_index), context)
                replica.partition.check_leader_epoch(asked.current_leader_epoch)
                _find(answer, asked, replica, _visible_end(request, replica), context)
            except KafkaError as error:
                answer.error_code = error.code
        topics.append(ListOffsetsResponse.Topic(name=topic.name, partitions=list(answers.values())))
    return ListOffsetsResponse(topics=topics)


def _replica(request: ListOffsetsRequest, tp: TopicPartition, context: RequestContext) -> Replica:
    """The leader's replica; tools that look at replicas (-2) are answered by a follower, too."""
    manager = context.services.replica_manager
    found = manager.find(tp) if request.replica_id == DEBUGGING_REPLICA else None
    return manager.leader(tp) if found is None else found


def _visible_end(request: ListOffsetsRequest, replica: Replica) -> int:
    """Where the log ends for who asks: other brokers and debugging tools see it all."""
    if request.replica_id != CONSUMER:
        return replica.log.log_end_offset
    committed_only = request.isolation_level == READ_COMMITTED
    return replica.last_stable_offset if committed_only else replica.partition.high_watermark


def _find(answer: Answer, asked: Asked, replica: Replica, end: int, context: RequestContext) -> None:
    log, timestamp, version, epoch = replica.log, asked.timestamp, context.api_version, -1
    if version == 0:
        now_ms = context.services.clock.now_ms()
        answer.old_style_offsets = log.legacy_offsets_before(timestamp, asked.max_num_offsets, end, now_ms=now_ms)
        return
    if timestamp == LATEST:
        _check_available(replica, end, context)
        answer.offset, epoch = end, replica.partition.leader_epoch
    elif timestamp in (EARLIEST, EARLIEST_LOCAL):
        answer.offset, epoch = log.log_start_offset, log.epochs.epoch_at(log.log_start_offset)
    elif timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return  # Nothing is tiered here: Kafka answers offset -1 then.
    else:
        newest = timestamp == MAX_TIMESTAMP
        found = log.max_timestamp_offset(log.log_end_offset) if newest else log.offset_for_timestamp(timestamp, end)
        if found is None or found.offset >= end:  # The newest record is not looked for among the visible ones alone.
            _check_available(replica, end, context)
            return
        answer.timestamp, answer.offset, epoch = found.timestamp, found.offset, found.leader_epoch
    if version >= FIRST_WITH_LEADER_EPOCH:
        answer.leader_epoch = epoch


def _check_available(replica: Replica, end: int, context: RequestContext) -> None:
    """A new leader doesn't know yet what is committed of the epochs before its own (KIP-207): the client asks again."""
    if end < replica.partition.epoch_start:
        known = context.api_version >= FIRST_WITH_OFFSET_NOT_AVAILABLE
        raise KafkaError(ErrorCode.OFFSET_NOT_AVAILABLE if known else ErrorCode.LEADER_NOT_AVAILABLE)


@handles(OffsetForLeaderEpochRequest, "0-4")
async def offset_for_leader_epoch(
    request: OffsetForLeaderEpochRequest, context: RequestContext
) -> OffsetForLeaderEpochResponse:
    """OffsetForLeaderEpoch 0-4 (KIP-320): where the largest epoch not above the one asked for ends; -1 if unknown."""
    topics = []
    for topic in request.topics:
        answers = []
        for asked in topic.partitions:
            answer = OffsetForLeaderEpochResponse.Topic.Partition(partition=asked.partition)
            try:
                replica = context.services.replica_manager.leader(TopicPartition(topic.topic, asked.partition))
                replica.partition.check_leader_epoch(asked.current_leader_epoch)
                answer.leader_epoch, answer.end_offset = replica.log.end_offset_for_epoch(asked.leader_epoch)
            except KafkaError as error:
                answer.error_code = error.code
            answers.append(answer)
        topics.append(OffsetForLeaderEpochResponse.Topic(topic=topic.topic, partitions=answers))
    return OffsetForLeaderEpochResponse(topics=topics)
