"""The classic group protocol and the administration of groups; FindCoordinator, which says where a group is served.

A handler fits versions to the coordinator's questions and answers; what a group does is decided in `coordinator`.
"""

from __future__ import annotations

from pykbroker.coordinator.share.state import ShareKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from pykbroker.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.server.authorized_operations import GROUP_OPERATIONS
from pykbroker.server.group_coordinator import GroupCoordinator
from pykbroker.server.request import RequestContext, handles
from pykbroker.server.share_coordinator import ShareCoordinator
from pykbroker.server.transaction_coordinator import TransactionCoordinator

Coordinator = FindCoordinatorResponse.Coordinator
DescribedGroup = DescribeGroupsResponse.Group

GROUP_KEY_TYPE, TRANSACTION_KEY_TYPE, SHARE_KEY_TYPE = range(3)
FIRST_WITH_COORDINATOR_KEYS = 4
FIRST_WITH_SHARE_KEYS = 6
FIRST_WITH_NULL_PROTOCOL = 7
FIRST_WITH_LEAVING_MEMBERS = 3
FIRST_WITH_GROUP_ID_NOT_FOUND = 6


@handles(FindCoordinatorRequest, "0-6")
async def find_coordinator(request: FindCoordinatorRequest, context: RequestContext) -> FindCoordinatorResponse:
    """FindCoordinator 0-6: answers a broker once it serves the key. From 4 on for any number of keys (KIP-699).

    The internal topic is made when it is first needed. From 6 on brokers ask for share-partitions' states (KIP-932).
    """
    if context.api_version >= FIRST_WITH_COORDINATOR_KEYS:
        found = [await _coordinator(key, request.key_type, context) for key in request.coordinator_keys]
        return FindCoordinatorResponse(coordinators=found)
    one = await _coordinator(request.key, request.key_type, context)
    return FindCoordinatorResponse(
        error_code=one.error_code, error_message=one.error_message, node_id=one.node_id, host=one.host, port=one.port
    )


async def _coordinator(key: str, key_type: int, context: RequestContext) -> Coordinator:
    answer = Coordinator(key=key, node_id=-1, host="", port=-1, error_message=None)
    services = context.services
    try:
        coordinator: GroupCoordinator | TransactionCoordinator | ShareCoordinator
        if key_type == GROUP_KEY_TYPE:
            coordinator = services.group_coordinator
        elif key_type == TRANSACTION_KEY_TYPE:
            coordinator = services.transaction_coordinator
        elif key_type == SHARE_KEY_TYPE:
            _check_share_key(key, context.api_version)
            coordinator = services.share_coordinator
        else:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"There is no coordinator of key type {key_type}")
        tp = coordinator.partition_for(key)
        await services.controller.ensure_internal_topic(tp.topic)
        state = services.metadata.partition(coordinator.partition_for(key))
        broker = None if state is None else services.metadata.broker_for(context, state.leader)
        if broker is None:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if broker.id == services.config.node_id and not await coordinator.wait_loaded(key):
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        answer.node_id, answer.host, answer.port = broker.id, broker.host, broker.port
    except KafkaError as error:
        retry = error.code.retriable
        answer.error_code = ErrorCode.COORDINATOR_NOT_AVAILABLE if retry else error.code
        answer.error_message = error.message
    return answer


def _check_share_key(key: str, version: int) -> None:
    if version < FIRST_WITH_SHARE_KEYS:
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    try:
        ShareKey.parse(key)
    except ValueError as error:
        raise KafkaError(ErrorCode.INVALID_REQUEST) from error


@handles(JoinGroupRequest, "0-9")
async def join_group(request: JoinGroupRequest, context: RequestContext) -> JoinGroupResponse:
    """JoinGroup 0-9: answered when the rebalance is through.

    From 4 on a dynamic member is given an id first (KIP-394), 5 has static members (KIP-345), and in 9 a static leader
    that comes back to a stable group is told not to assign (KIP-814).
    """
    response = await context.services.group_coordinator.join(
        request, client_id=context.client_id or "", client_host=context.client_host, version=context.api_version
    )
    if response.protocol_name is None and context.api_version < FIRST_WITH_NULL_PROTOCOL:
        response.protocol_name = ""
    return response


@handles(SyncGroupRequest, "0-5")
async def sync_group(request: SyncGroupRequest, context: RequestContext) -> SyncGroupResponse:
    """SyncGroup 0-5: answered once the leader's assignment is written. 5 names the protocol to be checked (KIP-559)."""
    return await context.services.group_coordinator.sync(request)


@handles(HeartbeatRequest, "0-4")
async def heartbeat(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
    """Heartbeat 0-4: REBALANCE_IN_PROGRESS tells a member to join again."""
    return context.services.group_coordinator.heartbeat(request)


@handles(LeaveGroupRequest, "0-5")
async def leave_group(request: LeaveGroupRequest, context: RequestContext) -> LeaveGroupResponse:
    """LeaveGroup 0-5: one member up to 2, from 3 on any number, static ones by instance id alone too (KIP-345)."""
    coordinator = context.services.group_coordinator
    if context.api_version >= FIRST_WITH_LEAVING_MEMBERS:
        leaving = [(member.member_id, member.group_instance_id) for member in request.members]
        return await coordinator.leave(request.group_id, leaving)
    response = await coordinator.leave(request.group_id, [(request.member_id, None)])
    return LeaveGroupResponse(error_code=response.members[0].error_code)


@handles(DescribeGroupsRequest, "0-6")
async def describe_groups(request: DescribeGroupsRequest, context: RequestContext) -> DescribeGroupsResponse:
    """DescribeGroups 0-6: a group that isn't there is Dead, from 6 on with GROUP_ID_NOT_FOUND (KIP-1043)."""
    groups = []
    for group_id in request.groups:
        try:
            group = await context.services.group_coordinator.describe(group_id)
        except KafkaError as error:
            if error.code is not ErrorCode.GROUP_ID_NOT_FOUND:
                groups.append(DescribedGroup(group_id=group_id, error_code=error.code, error_message=None))
                continue
            group = DescribedGroup(group_id=group_id, group_state="Dead")
            if context.api_version >= FIRST_WITH_GROUP_ID_NOT_FOUND:
                group.error_code, group.error_message = error.code, error.message
        if request.include_authorized_operations:
            group.authorized_operations = GROUP_OPERATIONS
        groups.append(group)
    return DescribeGroupsResponse(groups=groups)


@handles(ListGroupsRequest, "0-5")
async def list_groups(request: ListGroupsRequest, context: RequestContext) -> ListGroupsResponse:
    """ListGroups 0-5: the groups of this broker, from 4 on by state (KIP-518), from 5 on by type (KIP-848)."""
    coordinator = context.services.group_coordinator
    return ListGroupsResponse(groups=await coordinator.list_groups(request.states_filter, request.types_filter))


@handles(DeleteGroupsRequest, "0-2")
async def delete_groups(request: DeleteGroupsRequest, context: RequestContext) -> DeleteGroupsResponse:
    """DeleteGroups 0-2: groups without members, with all their offsets (KIP-229)."""
    results = []
    for group_id in dict.fromkeys(request.groups_names):
        try:
            code = await context.services.share_groups.delete_states(group_id)
            if code is ErrorCode.NONE:
                code = await context.services.group_coordinator.delete(group_id)
        except KafkaError as error:
            code = error.code
        results.append(DeleteGroupsResponse.Result(group_id=group_id, error_code=code))
    return DeleteGroupsResponse(results=results)
