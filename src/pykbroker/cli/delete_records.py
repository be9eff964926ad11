"""`pykbroker delete-records`: forgets the records before an offset; what kafka-delete-records.sh does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_connection, command, read_text
from pykbroker.cli.output import Report, Table, confirm
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

END = -1
"""The offset that stands for all that there is."""
COLUMNS = ("topic", "partition", "low_watermark")


def parser() -> Parser:
    """The command's options."""
    made = command("delete-records", "Delete the records of partitions up to an offset, for good.")
    made.add_argument(
        "targets",
        metavar="TOPIC:PARTITION:OFFSET",
        nargs="*",
        type=_target,
        help="records before the offset go; `end` is all that there is",
    )
    made.add_argument("--offset-json-file", metavar="FILE", help="the same in a file of Kafka's own form")
    made.add_argument("--yes", action="store_true", help="don't ask")
    add_connection(made, delete_records)
    return made


def _target(text: str) -> tuple[TopicPartition, int]:
    place, _, offset = text.rpartition(":")
    topic, _, index = place.rpartition(":")
    if not topic or not index.isdecimal() or not (offset.isdecimal() or offset in ("end", "-1")):
        raise argparse.ArgumentTypeError(f"{text!r}: expected TOPIC:PARTITION:OFFSET")
    return TopicPartition(topic, int(index)), int(offset) if offset.isdecimal() else END


def _from_file(path: str) -> list[tuple[TopicPartition, int]]:
    """`{"partitions": [{"topic": "t", "partition": 0, "offset": 5}], "version": 1}`."""
    try:
        listed = json.loads(read_text("--offset-json-file", path))["partitions"]
        return [(TopicPartition(str(one["topic"]), int(one["partition"])), int(one["offset"])) for one in listed]
    except (ValueError, KeyError, TypeError):
        shape = '{"partitions": [{"topic": …, "partition": …, "offset": …}]}'
        raise UsageError(f"--offset-json-file {path}: expected {shape}") from None


async def delete_records(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DeleteRecords at the partitions' leaders."""
    from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest

    targets = dict([*options.targets, *(_from_file(options.offset_json_file) if options.offset_json_file else ())])
    if not targets:
        raise UsageError("expected TOPIC:PARTITION:OFFSET")
    if not options.yes:
        listed = ", ".join(f"{one} before {'the end' if at == END else at}" for one, at in targets.items())
        if not confirm(f"Delete the records of {listed}?"):
            raise UsageError(f"records of {len(targets)} partitions would be deleted: --yes says so")

    def build(topics: Mapping[str, list[int]]) -> DeleteRecordsRequest:
        of = DeleteRecordsRequest.Topic
        request = DeleteRecordsRequest(timeout_ms=30_000)
        for name, indexes in topics.items():
            partitions = [
                of.Partition(partition_index=index, offset=targets[TopicPartition(name, index)]) for index in indexes
            ]
            request.topics.append(of(name=name, partitions=partitions))
        return request

    def read(response: Any) -> Iterator[tuple[TopicPartition, int, Any]]:
        for topic in response.topics:
            for one in topic.partitions:
                yield TopicPartition(topic.name, one.partition_index), one.error_code, one.low_watermark

    answers = await cluster.to_leaders(targets, build, read)
    rows = [
        {"topic": one.topic, "partition": one.partition, "low_watermark": answer}
        for one, answer in sorted(answers.items())
        if not isinstance(answer, KafkaError)
    ]
    failures = [(str(one), answer) for one, answer in sorted(answers.items()) if isinstance(answer, KafkaError)]
    return Report(rows, [Table(COLUMNS, rows)] if rows else [], failures)
