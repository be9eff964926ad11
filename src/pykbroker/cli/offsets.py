"""`pykbroker offsets`: where partitions begin and end, or are at a time; what kafka-get-offsets.sh does."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import add_connection, command, topic_partitions
from pykbroker.cli.output import Report, table
from pykbroker.cli.times import moment_or_ago, text_of
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

MOMENTS = {"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5}
BOTH = ("topic", "partition", "earliest", "latest")
ONE = ("topic", "partition", "offset", "timestamp")


def parser() -> Parser:
    """The command's options."""
    made = command("offsets", "Show where partitions begin and end, or their offsets at a time.")
    add = made.add_argument
    add(
        "topics", metavar="TOPIC[:0,1,…]", nargs="*", type=topic_partitions, help="topics, or partitions (default: all)"
    )
    text = f"{', '.join(MOMENTS)}, 2026-11-25T10:00:00, milliseconds, or how long ago, like 10m"
    add("--time", metavar="TIME", type=_time, help=f"{text} (default: earliest and latest)")
    add("--exclude-internal", action="store_true", help="leave Kafka's own topics out")
    add("--read-committed", action="store_true", help="the end is the last stable offset")
    add_connection(made, offsets)
    return made


def _time(text: str) -> tuple[bool, int]:
    """Whether it is a moment of its own, and the number that stands for it."""
    return (True, MOMENTS[text]) if text in MOMENTS else (False, moment_or_ago(text))


async def offsets(cluster: Cluster, options: argparse.Namespace) -> Report:
    """ListOffsets of the partitions' leaders; a failure is its partition's alone."""
    from pykbroker.cli.topics import topics_of
    from pykbroker.client.offsets import EARLIEST, LATEST, list_offsets
    from pykbroker.protocol.errors import KafkaError

    wanted = dict(options.topics)
    partitions = [
        TopicPartition(topic.name or "", one.partition_index)
        for topic in await topics_of(cluster, list(wanted), exclude_internal=options.exclude_internal)
        for one in topic.partitions
        if wanted.get(topic.name or "") is None or one.partition_index in (wanted[topic.name or ""] or ())
    ]
    missing = [
        TopicPartition(name, index)
        for name, indexes in wanted.items()
        for index in indexes or ()
        if (name, index) not in partitions
    ]
    partitions = sorted([*partitions, *missing])
    if options.time is None:
        moments = {"earliest": EARLIEST, "latest": LATEST}
    else:
        named, moment = options.time
        moments = {"offset": moment if named or moment >= 0 else max(0, time.time_ns() // 1_000_000 + moment)}
    rows: dict[TopicPartition, dict[str, Any]] = {
        one: {"topic": one.topic, "partition": one.partition} for one in partitions
    }
    failures: dict[str, KafkaError] = {}
    for column, moment in moments.items():
        answers = await list_offsets(cluster, partitions, moment, committed=options.read_committed)
        for one, answer in answers.items():
            if isinstance(answer, KafkaError):
                failures[str(one)] = answer
                rows.pop(one, None)
            elif options.time is None:
                rows[one] |= {column: answer.offset}
            else:
                offset = answer.offset if answer.offset >= 0 else None
                rows[one] |= {column: offset, "timestamp": text_of(answer.timestamp)}
    report = table(BOTH if options.time is None else ONE, rows.values(), "" if failures else "no partitions")
    report.failures = list(failures.items())
    return report
