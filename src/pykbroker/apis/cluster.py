"""DescribeCluster: the cluster's id, its controller and its brokers."""

from __future__ import annotations

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from pykbroker.server.authorized_operations import CLUSTER_OPERATIONS, NOT_ASKED
from pykbroker.server.request import RequestContext, handles

BROKERS, CONTROLLERS = 1, 2


@handles(DescribeClusterRequest, "0-2")
async def describe_cluster(request: DescribeClusterRequest, context: RequestContext) -> DescribeClusterResponse:
    """DescribeCluster 0-2 (KIP-700): brokers with addresses that this connection can use.

    Controllers (KIP-919) aren't described by a broker's listener. No broker is ever fenced here (KIP-1073).
    """
    if request.endpoint_type != BROKERS:
        code = ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
        message = f"Unsupported endpoint type {request.endpoint_type}"
        if request.endpoint_type == CONTROLLERS:
            code = ErrorCode.MISMATCHED_ENDPOINT_TYPE
            message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
        return DescribeClusterResponse(error_code=code, error_message=message)
    cache = context.services.metadata
    return DescribeClusterResponse(
        cluster_id=cache.image.cluster_id,
        controller_id=cache.image.controller_id,
        brokers=[
            DescribeClusterResponse.Broker(broker_id=broker.id, host=broker.host, port=broker.port, rack=broker.rack)
            for broker in cache.brokers_for(context)
        ],
        cluster_authorized_operations=(
            CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else NOT_ASKED
        ),
    )
