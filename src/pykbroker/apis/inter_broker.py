"""What brokers ask of each other about the cluster: the controller's word, and a broker that is about to stop.

LeaderAndIsr, UpdateMetadata and StopReplica in every version that Apache Kafka ever had with ZooKeeper.
"""

from __future__ import annotations

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest, ControlledShutdownResponse
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from pykbroker.protocol.messages.update_metadata import UpdateMetadataRequest, UpdateMetadataResponse
from pykbroker.server.control_requests import ControlRequests
from pykbroker.server.request import RequestContext, handles


def _control(context: RequestContext) -> ControlRequests:
    control = context.services.controller.control
    if control is None:
        raise KafkaError(ErrorCode.BROKER_NOT_AVAILABLE)
    return control


@handles(LeaderAndIsrRequest, "0-7")
async def leader_and_isr(request: LeaderAndIsrRequest, context: RequestContext) -> LeaderAndIsrResponse:
    """LeaderAndIsr 0-7: which partitions this broker leads and follows; an older controller is refused."""
    return await _control(context).leader_and_isr(request, context.api_version)


@handles(UpdateMetadataRequest, "0-8")
async def update_metadata(request: UpdateMetadataRequest, context: RequestContext) -> UpdateMetadataResponse:
    """UpdateMetadata 0-8: brokers and partitions as clients are told of them."""
    return await _control(context).update_metadata(request)


@handles(StopReplicaRequest, "0-4")
async def stop_replica(request: StopReplicaRequest, context: RequestContext) -> StopReplicaResponse:
    """StopReplica 0-4: replicas to give up, some with their data."""
    return await _control(context).stop_replica(request)


@handles(ControlledShutdownRequest, "0-3")
async def controlled_shutdown(
    request: ControlledShutdownRequest, context: RequestContext
) -> ControlledShutdownResponse:
    """ControlledShutdown 0-3 (KIP-380): the controller moves a broker's leaders, and names what it still leads."""
    left = await context.services.controller.shut_down_broker(request.broker_id, request.broker_epoch)
    return ControlledShutdownResponse(
        remaining_partitions=[
            ControlledShutdownResponse.RemainingPartition(topic_name=tp.topic, partition_index=tp.partition)
            for tp in left
        ]
    )
