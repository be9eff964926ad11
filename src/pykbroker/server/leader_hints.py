"""Where a client that came to the wrong broker has to go: the leader, in its partition's answer (KIP-951)."""

from __future__ import annotations

from typing import Any

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext

MOVED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)
"""What readers are answered who came to the wrong broker, or with an old epoch."""


def name_leader(response: Any, answer: Any, tp: TopicPartition, context: RequestContext) -> None:
    """Names the leader in a partition's answer and its address, once, in the response; both have Kafka's fields for it.

    A replica knows it first: the metadata follow a little later.
    """
    metadata, replica = context.services.metadata, context.services.replica_manager.find(tp)
    state = metadata.partition(tp) if replica is None else replica.partition.state
    if state is None:
        return
    answer.current_leader = type(answer).CurrentLeader(leader_id=state.leader, leader_epoch=state.leader_epoch)
    address = metadata.broker_for(context, state.leader)
    if address is not None and all(known.node_id != address.id for known in response.node_endpoints):
        response.node_endpoints.append(
            type(response).NodeEndpoint(node_id=address.id, host=address.host, port=address.port, rack=address.rack)
        )
