"""`pykbroker elect-leaders`: has partitions elect their leaders; what kafka-leader-election.sh does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from pykbroker.cli.options import UsageError, add_connection, command, read_text, topic_partitions
from pykbroker.cli.output import Change, Report, changes
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

TYPES = {"preferred": 0, "unclean": 1}


def parser() -> Parser:
    """The command's options."""
    made = command("elect-leaders", "Give partitions their preferred leader back, or with --type unclean any at all.")
    add = made.add_argument
    add("topics", metavar="TOPIC[:0,1,…]", nargs="*", type=topic_partitions, help="topics, or some of their partitions")
    add("--all", action="store_true", help="all partitions")
    add("--path-to-json-file", metavar="FILE", help="partitions in a file of Kafka's own form")
    text = "preferred (the default), or unclean: a replica that lacks records, where no other is there"
    add("--type", choices=TYPES, default="preferred", metavar="TYPE", help=text)
    add_connection(made, elect_leaders)
    return made


def _from_file(path: str) -> list[TopicPartition]:
    try:
        listed = json.loads(read_text("--path-to-json-file", path))["partitions"]
        return [TopicPartition(str(one["topic"]), int(one["partition"])) for one in listed]
    except (ValueError, KeyError, TypeError):
        shape = '{"partitions": [{"topic": …, "partition": …}]}'
        raise UsageError(f"--path-to-json-file {path}: expected {shape}") from None


async def elect_leaders(cluster: Cluster, options: argparse.Namespace) -> Report:
    """ElectLeaders (KIP-460); a leader that is the preferred one already is no error."""
    from pykbroker.client.cluster import by_topic, error_of, raise_for
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.elect_leaders import ElectLeadersRequest

    given = sum((bool(options.topics), options.all, options.path_to_json_file is not None))
    if given != 1:
        raise UsageError("expected TOPIC, --all or --path-to-json-file, one of them")
    partitions: Collection[TopicPartition] | None = None
    if options.path_to_json_file is not None:
        partitions = _from_file(options.path_to_json_file)
    elif options.topics:
        partitions = await _named(cluster, options.topics)

    def build(version: int) -> Message:
        request = ElectLeadersRequest(election_type=TYPES[options.type])
        if partitions is None:
            request.topic_partitions = None
        else:
            of = ElectLeadersRequest.TopicPartition
            request.topic_partitions = [of(topic=name, partitions=at) for name, at in by_topic(partitions).items()]
        return request

    answer = await cluster.controller(Versioned(ApiKey.ELECT_LEADERS, build))
    raise_for(answer.error_code)
    done = []
    for result in answer.replica_election_results:
        for one in result.partition_result:
            name = f"{result.topic}-{one.partition_id}"
            needless = one.error_code == ErrorCode.ELECTION_NOT_NEEDED
            error = error_of(one.error_code, one.error_message) if one.error_code and not needless else None
            said = f"{name} has its leader already" if needless else f"{name} has elected its leader"
            done.append(Change(name, said, error, {"elected": not one.error_code}))
    report = changes("partition", sorted(done, key=lambda change: change.name))
    # Asked for all, Kafka answers of those that had to elect.
    report.notes = [] if done else ["no partition had to elect"]
    return report


async def _named(cluster: Cluster, topics: Collection[tuple[str, tuple[int, ...] | None]]) -> list[TopicPartition]:
    from pykbroker.cli.topics import topics_of

    present = {topic.name: topic for topic in await topics_of(cluster, sorted({name for name, _ in topics}))}
    return sorted(
        {
            TopicPartition(name, index)
            for name, indexes in topics
            for index in (indexes or [one.partition_index for one in present[name].partitions])
        }
    )
