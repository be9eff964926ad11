"""`pykbroker cluster`: the brokers of a cluster; kafka-cluster.sh and kafka-metadata-quorum.sh."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import add_verb, add_verbs, command, number
from pykbroker.cli.output import Change, Report, Table, changes

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

BROKERS = ("broker", "host", "port", "rack", "controller", "fenced")
QUORUM = ("node", "role", "log_end_offset", "lag", "last_caught_up")
METADATA_TOPIC = "__cluster_metadata"


def parser() -> Parser:
    """The command's options."""
    made = command(
        "cluster",
        "The brokers of a cluster, and its controllers. `pykbroker cluster --brokers 3` starts one on this machine.",
    )
    verbs = add_verbs(made)
    add_verb(verbs, "info", info, "Show the cluster's id, its brokers, and which of them is the controller.")
    add_verb(
        verbs, "status", status, "Show brokers and partitions: leaders, ISRs, lags, and what isn't as it should be."
    )
    add_verb(verbs, "quorum", quorum, "Show the controllers that vote on metadata; a cluster on ZooKeeper has none.")
    verb = add_verb(verbs, "unregister", unregister, "Forget a broker that won't come back.")
    verb.add_argument("broker", metavar="ID", type=number, help="the broker's id")
    return made


def main(arguments: Sequence[str]) -> int:
    """Starts a cluster where brokers are to be started; else asks one."""
    if arguments and arguments[0].startswith("--brokers"):
        from pykbroker.cli import local_cluster

        return local_cluster.main(arguments)
    from pykbroker.cli import session

    return session.main(parser(), arguments)


async def status(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Metadata, and where each replica's log ends."""
    from pykbroker.cli import cluster_status

    return await cluster_status.status(cluster)


async def info(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DescribeCluster; Metadata where a broker is too old for it."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.client.connection import Versioned
    from pykbroker.client.errors import NotSupported
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.describe_cluster import DescribeClusterRequest

    def build(version: int) -> Message:
        return DescribeClusterRequest(include_fenced_brokers=version >= 2)

    try:
        answer = await cluster.any(Versioned(ApiKey.DESCRIBE_CLUSTER, build))
    except NotSupported:
        answer = await cluster.metadata([])
        brokers = [(one.node_id, one, False) for one in answer.brokers]
    else:
        raise_for(answer.error_code, answer.error_message)
        brokers = [(one.broker_id, one, one.is_fenced) for one in answer.brokers]
    rows = [
        {
            "broker": node,
            "host": one.host,
            "port": one.port,
            "rack": one.rack,
            "controller": node == answer.controller_id,
            "fenced": fenced,
        }
        for node, one, fenced in sorted(brokers, key=lambda broker: broker[0])
    ]
    document = {"cluster_id": answer.cluster_id, "controller": answer.controller_id, "brokers": rows}
    return Report(document, [f"cluster {answer.cluster_id}", Table(BROKERS, rows)])


async def quorum(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DescribeQuorum of the metadata partition (KIP-595)."""
    from pykbroker.cli.times import text_of
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_quorum import DescribeQuorumRequest

    of = DescribeQuorumRequest.Topic
    topic = of(topic_name=METADATA_TOPIC, partitions=[of.Partition(partition_index=0)])
    answer = await cluster.any(DescribeQuorumRequest(topics=[topic]))
    raise_for(answer.error_code, answer.error_message)
    (partition,) = answer.topics[0].partitions
    raise_for(partition.error_code, partition.error_message)
    states = [(one, "follower") for one in partition.current_voters] + [
        (one, "observer") for one in partition.observers
    ]
    end = next((one.log_end_offset for one, _ in states if one.replica_id == partition.leader_id), None)
    rows: list[dict[str, Any]] = [
        {
            "node": one.replica_id,
            "role": "leader" if one.replica_id == partition.leader_id else role,
            "log_end_offset": one.log_end_offset,
            "lag": None if end is None else end - one.log_end_offset,
            "last_caught_up": text_of(one.last_caught_up_timestamp),
        }
        for one, role in states
    ]
    document = {
        "leader": partition.leader_id,
        "leader_epoch": partition.leader_epoch,
        "high_watermark": partition.high_watermark,
        "nodes": rows,
    }
    head = f"leader {partition.leader_id}, epoch {partition.leader_epoch}, high watermark {partition.high_watermark}"
    return Report(document, [head, Table(QUORUM, rows)])


async def unregister(cluster: Cluster, options: argparse.Namespace) -> Report:
    """UnregisterBroker (KIP-500)."""
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.unregister_broker import UnregisterBrokerRequest

    answer = await cluster.controller(UnregisterBrokerRequest(broker_id=options.broker))
    error = error_of(answer.error_code, answer.error_message) if answer.error_code else None
    return changes("broker", [Change(str(options.broker), f"unregistered broker {options.broker}", error)])
