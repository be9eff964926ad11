"""`pykbroker cluster status`: brokers, controller, each partition with its leader, its ISR, the lag of its replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.cli.output import Report, Table
from pykbroker.client.errors import ClientError
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest

if TYPE_CHECKING:
    from pykbroker.client.cluster import Cluster
    from pykbroker.protocol.messages.metadata import MetadataResponse

DEBUGGING_REPLICA = -2
"""Asks a replica itself, leader or not, for its log's end."""
LATEST = -1
BROKERS = ("broker", "host", "port", "rack", "controller", "leads", "follows")
PARTITIONS = ("topic", "partition", "leader", "leader_epoch", "replicas", "isr", "lag", "state")
HEALTHY = "ok"

Ends = Mapping[tuple[str, int], Mapping[int, int]]
"""By topic and partition: where each replica's log ends."""


async def status(cluster: Cluster) -> Report:
    """The cluster as it is now; the exit status says nothing about its health."""
    metadata = await cluster.metadata(None)
    ends = await _ends(cluster, metadata)
    partitions = [
        _partition(topic.name or "", one, ends.get((topic.name or "", one.partition_index), {}))
        for topic in sorted(metadata.topics, key=lambda topic: topic.name or "")
        for one in sorted(topic.partitions, key=lambda one: one.partition_index)
    ]
    brokers = [
        {
            "broker": one.node_id,
            "host": one.host,
            "port": one.port,
            "rack": one.rack,
            "controller": one.node_id == metadata.controller_id,
            "leads": sum(partition["leader"] == one.node_id for partition in partitions),
            "follows": sum(
                one.node_id in partition["replicas"] and partition["leader"] != one.node_id for partition in partitions
            ),
        }
        for one in sorted(metadata.brokers, key=lambda one: one.node_id)
    ]
    counts = {
        "under_replicated": sum(partition["under_replicated"] for partition in partitions),
        "offline": sum(partition["offline"] for partition in partitions),
    }
    document = {
        "cluster_id": metadata.cluster_id,
        "controller": metadata.controller_id,
        "brokers": brokers,
        "partitions": partitions,
        **counts,
    }
    head = (
        f"cluster {metadata.cluster_id}: {len(brokers)} brokers, {len(partitions)} partitions, "
        f"{counts['under_replicated']} under-replicated, {counts['offline']} offline"
    )
    rows = [{**one, "lag": _lag_text(one["lag"])} for one in partitions]
    return Report(document, [head, Table(BROKERS, brokers), *([Table(PARTITIONS, rows)] if rows else [])])


def _partition(topic: str, one: Any, ends: Mapping[int, int]) -> dict[str, Any]:
    live = [node for node in one.replica_nodes if node not in one.offline_replicas]
    offline = one.leader_id < 0
    under = len(one.isr_nodes) < len(one.replica_nodes) or len(live) < len(one.replica_nodes)
    state = "offline" if offline else "under-replicated" if under else HEALTHY
    if state == HEALTHY and one.leader_id != one.replica_nodes[0]:
        state = "not led by preferred"
    end = ends.get(one.leader_id)
    lag = {
        str(node): end - ends[node] if end is not None and node in ends else None
        for node in one.replica_nodes
        if node != one.leader_id
    }
    return {
        "topic": topic,
        "partition": one.partition_index,
        "leader": None if offline else one.leader_id,
        "leader_epoch": one.leader_epoch,
        "replicas": list(one.replica_nodes),
        "isr": list(one.isr_nodes),
        "lag": lag,
        "under_replicated": under,
        "offline": offline,
        "state": state,
    }


def _lag_text(lag: Mapping[str, int | None]) -> str:
    """How far followers are behind, by broker where they are; `?` for one that doesn't say."""
    behind = [f"{node}:{'?' if records is None else records}" for node, records in lag.items() if records != 0]
    return " ".join(behind) if behind else "0" if lag else ""


async def _ends(cluster: Cluster, metadata: MetadataResponse) -> Ends:
    """Asks every broker for its replicas' ends; one that doesn't answer, or is no pykbroker or Kafka, is left out."""
    hosted: dict[int, dict[str, list[int]]] = {}
    for topic in metadata.topics:
        for one in topic.partitions:
            for node in one.replica_nodes:
                hosted.setdefault(node, {}).setdefault(topic.name or "", []).append(one.partition_index)
    ends: dict[tuple[str, int], dict[int, int]] = {}
    for node in sorted(hosted.keys() & cluster.brokers.keys()):
        try:
            answer = await cluster.node(node, _request(hosted[node].items()))
        except (ClientError, KafkaError):
            continue
        for topic in answer.topics:
            for one in topic.partitions:
                if one.error_code == 0:
                    ends.setdefault((topic.name, one.partition_index), {})[node] = one.offset
    return ends


def _request(topics: Iterable[tuple[str, list[int]]]) -> ListOffsetsRequest:
    asked = [
        ListOffsetsRequest.Topic(
            name=name,
            partitions=[ListOffsetsRequest.Topic.Partition(partition_index=one, timestamp=LATEST) for one in indexes],
        )
        for name, indexes in topics
    ]
    return ListOffsetsRequest(replica_id=DEBUGGING_REPLICA, topics=asked)
