"""`pykbroker log-dirs`: what lies in brokers' data directories; what kafka-log-dirs.sh does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import add_verb, add_verbs, command, number
from pykbroker.cli.output import Report, Table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

DIRECTORIES = ("broker", "log_dir", "error", "replicas", "size", "total_bytes", "usable_bytes")
REPLICAS = ("broker", "log_dir", "topic", "partition", "size", "offset_lag", "is_future")


def parser() -> Parser:
    """The command's options."""
    made = command("log-dirs", "Data directories of brokers, and the size of what is in them.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "describe", describe, "Show directories, or with --topic or --replicas what is in them.")
    verb.add_argument("--broker", metavar="ID", type=number, action="append", help="only this one (may be repeated)")
    verb.add_argument("--topic", metavar="TOPIC", action="append", help="only this one (may be repeated)")
    verb.add_argument("--replicas", action="store_true", help="every replica")
    return made


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DescribeLogDirs of each broker."""
    from pykbroker.cli.topics import topics_of
    from pykbroker.client.cluster import error_of, raise_for
    from pykbroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest

    asked = None
    if options.topic:
        asked = [
            DescribeLogDirsRequest.Topic(
                topic=topic.name or "", partitions=[one.partition_index for one in topic.partitions]
            )
            for topic in await topics_of(cluster, options.topic)
        ]
    else:
        await cluster.metadata([])
    document: list[dict[str, Any]] = []
    for broker in options.broker or sorted(cluster.brokers):
        answer = await cluster.node(broker, DescribeLogDirsRequest(topics=asked))
        raise_for(answer.error_code, f"broker {broker}")
        for result in answer.results:
            replicas = [
                _replica(broker, result.log_dir, topic.name, one)
                for topic in sorted(result.topics, key=lambda topic: topic.name)
                for one in sorted(topic.partitions, key=lambda one: one.partition_index)
            ]
            document.append(
                {
                    "broker": broker,
                    "log_dir": result.log_dir,
                    "error": error_of(result.error_code).code.name if result.error_code else None,
                    "size": sum(replica["size"] for replica in replicas),
                    "total_bytes": result.total_bytes if result.total_bytes >= 0 else None,
                    "usable_bytes": result.usable_bytes if result.usable_bytes >= 0 else None,
                    "replicas": replicas,
                }
            )
    if options.topic or options.replicas:
        rows = [replica for directory in document for replica in directory["replicas"]]
        return Report(document, [Table(REPLICAS, rows)] if rows else [], notes=[] if rows else ["no replicas"])
    rows = [{**directory, "replicas": len(directory["replicas"])} for directory in document]
    return Report(document, [Table(DIRECTORIES, rows)])


def _replica(broker: int, log_dir: str, topic: str, one: Any) -> dict[str, Any]:
    return {
        "broker": broker,
        "log_dir": log_dir,
        "topic": topic,
        "partition": one.partition_index,
        "size": one.partition_size,
        "offset_lag": one.offset_lag,
        "is_future": one.is_future_key,
    }
