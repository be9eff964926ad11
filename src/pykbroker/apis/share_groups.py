"""Share groups: their members' heartbeats, their descriptions, their offsets (KIP-932)."""

from __future__ import annotations

from pykbroker.cluster.features import SHARE_VERSION
from pykbroker.coordinator.group.share_groups import Caller
from pykbroker.coordinator.share.state import ShareKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.alter_share_group_offsets import (
    AlterShareGroupOffsetsRequest,
    AlterShareGroupOffsetsResponse,
)
from pykbroker.protocol.messages.delete_share_group_offsets import (
    DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse,
)
from pykbroker.protocol.messages.describe_share_group_offsets import (
    DescribeShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsResponse,
)
from pykbroker.protocol.messages.share_group_describe import ShareGroupDescribeRequest, ShareGroupDescribeResponse
from pykbroker.protocol.messages.share_group_heartbeat import ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.authorized_operations import GROUP_OPERATIONS
from pykbroker.server.request import RequestContext, handles
from pykbroker.server.share_groups import has_lag

OffsetsGroup = DescribeShareGroupOffsetsResponse.Group

MAX_MEMBER_ID = 36
NO_OFFSET = -1
FIRST_WITH_LAG = 1


@handles(ShareGroupHeartbeatRequest, "1")
async def share_group_heartbeat(
    request: ShareGroupHeartbeatRequest, context: RequestContext
) -> ShareGroupHeartbeatResponse:
    """ShareGroupHeartbeat 1: joins, goes on, leaves; the answer has the assignment where the member may not know it."""
    _check_served(context)
    if not request.member_id or len(request.member_id) > MAX_MEMBER_ID:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Invalid member id in the request.")
    caller = Caller(context.client_id or "", context.client_host)
    return await context.services.share_groups.heartbeat(request, caller)


@handles(ShareGroupDescribeRequest, "1")
async def share_group_describe(
    request: ShareGroupDescribeRequest, context: RequestContext
) -> ShareGroupDescribeResponse:
    """ShareGroupDescribe 1: state, epochs, members with their assignments; ids that can't be one come first."""
    groups = []
    for group_id in sorted(request.group_ids, key=bool):
        try:
            _check_served(context)
            if not group_id:
                raise KafkaError(ErrorCode.INVALID_GROUP_ID)
            group = await context.services.share_groups.describe(group_id)
            if request.include_authorized_operations:
                group.authorized_operations = GROUP_OPERATIONS
        except KafkaError as error:
            group = ShareGroupDescribeResponse.Group(
                group_id=group_id, error_code=error.code, error_message=error.message
            )
        groups.append(group)
    return ShareGroupDescribeResponse(groups=groups)


@handles(DescribeShareGroupOffsetsRequest, "0-1")
async def describe_share_group_offsets(
    request: DescribeShareGroupOffsetsRequest, context: RequestContext
) -> DescribeShareGroupOffsetsResponse:
    """DescribeShareGroupOffsets 0-1: where groups start, null topics for all that they read; from 1 on with the lag.

    A group or a partition without any state has no start (KIP-1226: the lag leaves out what is done beyond the start).
    """
    groups = []
    for asked in request.groups:
        try:
            _check_served(context)
            groups.append(await _offsets(asked, context))
        except KafkaError as error:
            groups.append(OffsetsGroup(group_id=asked.group_id, error_code=error.code, error_message=error.message))
    return DescribeShareGroupOffsetsResponse(groups=groups)


async def _offsets(asked: DescribeShareGroupOffsetsRequest.Group, context: RequestContext) -> OffsetsGroup:
    metadata = context.services.metadata
    if asked.topics is None:
        begun = await context.services.share_groups.begun(asked.group_id)
        wanted = {metadata.topic_name(topic_id) or "": parts for topic_id, parts in begun.items()}
        wanted.pop("", None)
    else:
        wanted = {topic.topic_name: list(topic.partitions) for topic in asked.topics}
    found: list[OffsetsGroup.Topic] = []
    missing: list[OffsetsGroup.Topic] = []
    for name, partitions in wanted.items():
        topic = metadata.topic(name)
        answer = OffsetsGroup.Topic(topic_name=name, topic_id=ZERO_UUID if topic is None else topic.topic_id)
        for index in partitions:
            part = OffsetsGroup.Topic.Partition(partition_index=index, start_offset=NO_OFFSET)
            if topic is not None:
                await _fill(part, ShareKey(asked.group_id, topic.topic_id, index), name, context)
            answer.partitions.append(part)
        (missing if topic is None else found).append(answer)
    return OffsetsGroup(group_id=asked.group_id, topics=[*found, *missing])


async def _fill(part: OffsetsGroup.Topic.Partition, key: ShareKey, topic: str, context: RequestContext) -> None:
    """The start, and how far it is from there to the partition's end."""
    state = await context.services.share_groups.summary(key)
    if not has_lag(state):
        part.start_offset, part.leader_epoch = state.start_offset, state.leader_epoch
        return
    try:
        end = await context.services.share_groups.end_offset(TopicPartition(topic, key.partition))
    except KafkaError as error:
        part.start_offset, part.error_code, part.error_message = 0, error.code, error.message
        return
    part.start_offset, part.leader_epoch = state.start_offset, state.leader_epoch
    if context.api_version >= FIRST_WITH_LAG:
        part.lag = end - state.start_offset - state.completed_count


@handles(AlterShareGroupOffsetsRequest, "0")
async def alter_share_group_offsets(
    request: AlterShareGroupOffsetsRequest, context: RequestContext
) -> AlterShareGroupOffsetsResponse:
    """AlterShareGroupOffsets 0: an empty group begins anew at these offsets; one that isn't there comes to be."""
    _check_served(context)
    _check_group(request.group_id)
    return AlterShareGroupOffsetsResponse(
        responses=await context.services.share_groups.alter_offsets(request.group_id, request.topics)
    )


@handles(DeleteShareGroupOffsetsRequest, "0")
async def delete_share_group_offsets(
    request: DeleteShareGroupOffsetsRequest, context: RequestContext
) -> DeleteShareGroupOffsetsResponse:
    """DeleteShareGroupOffsets 0: an empty group forgets topics."""
    _check_served(context)
    _check_group(request.group_id)
    names = [topic.topic_name for topic in request.topics]
    return DeleteShareGroupOffsetsResponse(
        responses=await context.services.share_groups.delete_offsets(request.group_id, names)
    )


def _check_group(group_id: str) -> None:
    if not group_id:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID)


def _check_served(context: RequestContext) -> None:
    if not context.services.metadata.image.features.level(SHARE_VERSION):
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
