"""Who leads and who replicates, changed by hand: ElectLeaders, AlterPartitionReassignments, UnregisterBroker.

The controller alone does it; another broker answers NOT_CONTROLLER.
"""

from __future__ import annotations

from pykbroker.cluster.image import PartitionState
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)
from pykbroker.protocol.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse
from pykbroker.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)
from pykbroker.protocol.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles

Result = ElectLeadersResponse.ReplicaElectionResult
KINDS = (0, 1)
"""Of elections: of the preferred leader, and an unclean one."""


@handles(ElectLeadersRequest, "0-2")
async def elect_leaders(request: ElectLeadersRequest, context: RequestContext) -> ElectLeadersResponse:
    """ElectLeaders 0-2 (KIP-183, KIP-460): preferred leaders, or unclean ones; null topics ask for all partitions.

    Asked for all, partitions that need no election aren't answered.
    """
    if request.election_type not in KINDS:
        return _refused(request)
    wanted = None
    if request.topic_partitions is not None:
        wanted = [TopicPartition(one.topic, index) for one in request.topic_partitions for index in one.partitions]
    answers = await context.services.controller.elect_leaders(wanted, request.election_type)
    if wanted is None:
        answers = {
            tp: error
            for tp, error in answers.items()
            if error is None or error.code is not ErrorCode.ELECTION_NOT_NEEDED
        }
    results = {one.topic: Result(topic=one.topic) for one in request.topic_partitions or ()}
    for tp, error in answers.items():
        code, message = _told(error)
        result = Result.PartitionResult(partition_id=tp.partition, error_code=code, error_message=message)
        results.setdefault(tp.topic, Result(topic=tp.topic)).partition_result.append(result)
    return ElectLeadersResponse(replica_election_results=list(results.values()))


def _refused(request: ElectLeadersRequest) -> ElectLeadersResponse:
    """There is no such kind of election: no partition has one."""
    code, message = ErrorCode.INVALID_REQUEST, f"Unknown election type {request.election_type}"
    part = Result.PartitionResult
    results = [
        Result(
            topic=one.topic,
            partition_result=[
                part(partition_id=index, error_code=code, error_message=message) for index in one.partitions
            ],
        )
        for one in request.topic_partitions or ()
    ]
    return ElectLeadersResponse(error_code=code, replica_election_results=results)


def _told(error: KafkaError | None) -> tuple[ErrorCode, str | None]:
    return (ErrorCode.NONE, None) if error is None else (error.code, error.message)


@handles(AlterPartitionReassignmentsRequest, "0-1")
async def alter_partition_reassignments(
    request: AlterPartitionReassignmentsRequest, context: RequestContext
) -> AlterPartitionReassignmentsResponse:
    """AlterPartitionReassignments 0-1 (KIP-455): other replicas, or null to cancel; answers once it has begun.

    From version 1 on a change of the replication factor can be refused (KIP-860).
    """
    wanted = {
        TopicPartition(topic.name, one.partition_index): None if one.replicas is None else tuple(one.replicas)
        for topic in request.topics
        for one in topic.partitions
    }
    answers = await context.services.controller.alter_reassignments(
        wanted, allow_factor_change=request.allow_replication_factor_change
    )
    responses: dict[str, AlterPartitionReassignmentsResponse.Response] = {}
    for tp, error in answers.items():
        code, message = _told(error)
        response = responses.setdefault(tp.topic, AlterPartitionReassignmentsResponse.Response(name=tp.topic))
        one = response.Partition(partition_index=tp.partition, error_code=code, error_message=message)
        response.partitions.append(one)
    return AlterPartitionReassignmentsResponse(
        responses=list(responses.values()),
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_message=None,
    )


@handles(ListPartitionReassignmentsRequest, "0")
async def list_partition_reassignments(
    request: ListPartitionReassignmentsRequest, context: RequestContext
) -> ListPartitionReassignmentsResponse:
    """ListPartitionReassignments 0 (KIP-455): what is under way; partitions that aren't changing are left out."""
    found = context.services.controller.reassignments()
    if request.topics is not None:
        asked = {TopicPartition(one.name, index) for one in request.topics for index in one.partition_indexes}
        found = {tp: state for tp, state in found.items() if tp in asked}
    topics: dict[str, ListPartitionReassignmentsResponse.Topic] = {}
    for tp, state in found.items():
        topic = topics.setdefault(tp.topic, ListPartitionReassignmentsResponse.Topic(name=tp.topic))
        topic.partitions.append(_under_way(tp.partition, state))
    return ListPartitionReassignmentsResponse(topics=list(topics.values()), error_message=None)


def _under_way(index: int, state: PartitionState) -> ListPartitionReassignmentsResponse.Topic.Partition:
    return ListPartitionReassignmentsResponse.Topic.Partition(
        partition_index=index,
        replicas=list(state.replicas),
        adding_replicas=list(state.adding),
        removing_replicas=list(state.removing),
    )


@handles(UnregisterBrokerRequest, "0")
async def unregister_broker(request: UnregisterBrokerRequest, context: RequestContext) -> UnregisterBrokerResponse:
    """UnregisterBroker 0 (KIP-631): a broker that won't come back. One that is running is refused."""
    context.services.controller.check_unregistered(request.broker_id)
    return UnregisterBrokerResponse(error_message=None)
