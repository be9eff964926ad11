"""Conversations that a cluster on a ZooKeeper has between its brokers: what isn't from its controller is refused.

Apache Kafka 4 has none of these APIs, so they are held with an older one alone.
"""

from __future__ import annotations

from typing import Any

from wire_talk import Talk, older

from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrRequest
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest
from pykbroker.protocol.messages.update_metadata import UpdateMetadataRequest

STALE: dict[str, dict[str, int]] = {
    "an older controller": {"controller_epoch": 0},
    "an older broker": {"controller_epoch": 1, "broker_epoch": 0},
}


def stale(talk: Talk, request: Any, since: int, **fields: Any) -> None:
    """A request with the epoch of a controller that was, and from `since` on of a broker that was."""
    for label, epochs in STALE.items():
        if "broker_epoch" not in epochs or talk.version >= since:
            talk.say(label, request(controller_id=1, **epochs, **fields))


@older(0, 7)
def leader_and_isr(talk: Talk) -> None:
    talk.topic()
    state = LeaderAndIsrRequest.PartitionState(
        topic_name=talk.name, partition_index=0, controller_epoch=0, leader=1, isr=[1], replicas=[1]
    )
    if talk.version < 2:
        stale(talk, LeaderAndIsrRequest, 2, ungrouped_partition_states=[state], live_leaders=[])
    else:
        topic = LeaderAndIsrRequest.TopicState(topic_name=talk.name, partition_states=[state])
        stale(talk, LeaderAndIsrRequest, 2, topic_states=[topic], live_leaders=[])


@older(0, 4)
def stop_replica(talk: Talk) -> None:
    talk.topic()
    if talk.version == 0:
        part = StopReplicaRequest.UngroupedPartition(topic_name=talk.name)
        stale(talk, StopReplicaRequest, 1, ungrouped_partitions=[part])
    elif talk.version < 3:
        named = StopReplicaRequest.Topic(name=talk.name, partition_indexes=[0])
        stale(talk, StopReplicaRequest, 1, topics=[named])
    else:
        state = StopReplicaRequest.TopicState.PartitionState(partition_index=0, leader_epoch=0)
        topic = StopReplicaRequest.TopicState(topic_name=talk.name, partition_states=[state])
        stale(talk, StopReplicaRequest, 1, topic_states=[topic])


@older(0, 8)
def update_metadata(talk: Talk) -> None:
    stale(talk, UpdateMetadataRequest, 5, live_brokers=[])


@older(0, 3)
def controlled_shutdown(talk: Talk) -> None:
    talk.say("an unknown broker", ControlledShutdownRequest(broker_id=99))
    if talk.version >= 2:
        talk.say("an older broker", ControlledShutdownRequest(broker_id=1, broker_epoch=0))
