"""Consumer groups (KIP-848): members heartbeat, the broker assigns; what comes of it is decided in `coordinator`."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

from pykbroker.cluster.features import GROUP_VERSION
from pykbroker.coordinator.group.consumer_groups import Caller
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
)
from pykbroker.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.server.authorized_operations import GROUP_OPERATIONS
from pykbroker.server.request import RequestContext, handles

DescribedGroup = ConsumerGroupDescribeResponse.Group


@handles(ConsumerGroupHeartbeatRequest, "0-1")
async def consumer_group_heartbeat(
    request: ConsumerGroupHeartbeatRequest, context: RequestContext
) -> ConsumerGroupHeartbeatResponse:
    """ConsumerGroupHeartbeat 0-1: joins, goes on, leaves. In 1 members make their ids themselves (KIP-1082).

    1 also subscribes by regular expression, in RE2's syntax; it stands for topics that the member may Describe.
    """
    if not _is_served(context):
        return ConsumerGroupHeartbeatResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    caller = Caller(
        context.client_id or "",
        context.client_host,
        str(uuid4()),
        context.api_version,
        partial(context.authorize, Operation.DESCRIBE, ResourceType.TOPIC),
    )
    try:
        return await context.services.group_coordinator.ask(
            request.group_id, lambda shard, now: shard.consumer_heartbeat(request, caller, now)
        )
    except KafkaError as error:
        return ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=error.message)


@handles(ConsumerGroupDescribeRequest, "0-1")
async def consumer_group_describe(
    request: ConsumerGroupDescribeRequest, context: RequestContext
) -> ConsumerGroupDescribeResponse:
    """ConsumerGroupDescribe 0-1: epochs, members, what each has and shall have; in 1 which protocol it speaks."""
    groups = []
    for group_id in request.group_ids:
        try:
            group = await _described(group_id, context)
        except KafkaError as error:
            groups.append(DescribedGroup(group_id=group_id, error_code=error.code, error_message=error.message))
            continue
        if request.include_authorized_operations:
            group.authorized_operations = GROUP_OPERATIONS
        groups.append(group)
    return ConsumerGroupDescribeResponse(groups=groups)


async def _described(group_id: str, context: RequestContext) -> DescribedGroup:
    if not _is_served(context):
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
    if not group_id:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID)
    coordinator = context.services.group_coordinator
    return await coordinator.ask(group_id, lambda shard, now: shard.consumer_describe(group_id))


def _is_served(context: RequestContext) -> bool:
    """Whether `group.coordinator.rebalance.protocols` and the feature `group.version` allow the protocol."""
    services = context.services
    enabled = "consumer" in services.config.group_coordinator_rebalance_protocols
    return enabled and services.metadata.image.features.level(GROUP_VERSION) >= 1
