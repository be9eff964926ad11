"""`pykbroker topics`: what kafka-topics.sh does."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_verb, add_verbs, assignment, command, pair, positive
from pykbroker.cli.output import Change, Report, Table, changes, table
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import Message

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster
    from pykbroker.protocol.messages.metadata import MetadataResponse

TOPIC_RESOURCE = 2
DYNAMIC_TOPIC = 1
"""The source of a config that was set on the topic itself."""
BY_BROKER = -1
"""Partitions or replicas as the broker's default has them (KIP-464)."""
LIST = ("topic", "partitions", "replication_factor")
TOPIC = ("topic", "topic_id", "partitions", "replication_factor", "configs")
PARTITION = ("topic", "partition", "leader", "replicas", "isr", "offline")
_NONE_YET = "no topics yet: `pykbroker topics create NAME` makes one"


def parser() -> Parser:
    """The command's options."""
    made = command("topics", "Topics of a cluster: kafka-topics.sh, spelled for people.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_topics, "List topics.")
    verb.add_argument("--exclude-internal", action="store_true", help="leave Kafka's own topics out")
    _describe_options(add_verb(verbs, "describe", describe, "Show topics with their partitions."))
    verb = add_verb(verbs, "create", create, "Create topics.")
    add = verb.add_argument
    add("topics", metavar="NAME", nargs="+", help="the topics")
    add("--partitions", metavar="N", type=positive, help="how many partitions (default: the broker's num.partitions)")
    add("--replication-factor", metavar="N", type=positive, help="how many replicas (default: the broker's)")
    add("--replica-assignment", metavar="B:B,…", type=assignment, help="the brokers of each partition")
    add("--config", metavar="KEY=VALUE", action="append", type=pair, default=[], help="a config (may be repeated)")
    add("--if-not-exists", action="store_true", help="pass over topics that exist")
    add("--validate-only", action="store_true", help="only say whether it could be done")
    verb = add_verb(verbs, "alter", alter, "Add partitions to topics; for their configs see `pykbroker configs`.")
    add = verb.add_argument
    add("topics", metavar="TOPIC", nargs="+", help="the topics")
    add("--partitions", metavar="N", type=positive, required=True, help="how many partitions in all")
    add("--replica-assignment", metavar="B:B,…", type=assignment, help="the brokers of all partitions")
    add("--if-exists", action="store_true", help="pass over topics that don't exist")
    add("--validate-only", action="store_true", help="only say whether it could be done")
    verb = add_verb(verbs, "delete", delete, "Delete topics with everything in them.")
    verb.add_argument("topics", metavar="TOPIC", nargs="+", help="the topics")
    verb.add_argument("--if-exists", action="store_true", help="pass over topics that don't exist")
    return made


def _describe_options(verb: Parser) -> None:
    add = verb.add_argument
    add("topics", metavar="TOPIC", nargs="*", help="the topics (default: all)")
    add("--exclude-internal", action="store_true", help="leave Kafka's own topics out")
    only = verb.add_mutually_exclusive_group()
    add = only.add_argument
    add("--under-replicated", action="store_true", help="only partitions with replicas out of sync")
    add("--unavailable", action="store_true", help="only partitions without a leader")
    add("--under-min-isr", action="store_true", help="only partitions with fewer in sync than min.insync.replicas")
    add("--at-min-isr", action="store_true", help="only partitions with exactly min.insync.replicas in sync")
    add("--with-overrides", action="store_true", help="only topics with configs of their own")


async def list_topics(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Names, and how large the topics are."""
    found = await topics_of(cluster, (), exclude_internal=options.exclude_internal)
    rows = [_summary(topic) for topic in found]
    return table(LIST, rows, _NONE_YET)


def _summary(topic: Any) -> dict[str, Any]:
    replicas = len(topic.partitions[0].replica_nodes) if topic.partitions else 0
    return {
        "topic": topic.name,
        "partitions": len(topic.partitions),
        "replication_factor": replicas,
        "internal": topic.is_internal,
    }


async def topics_of(
    cluster: Cluster, names: Sequence[str], *, exclude_internal: bool = False
) -> list[MetadataResponse.Topic]:
    """Topics by name, or all; raises KafkaError for one that isn't there or may not be seen."""
    answer = await cluster.metadata(names or None)
    for topic in answer.topics:
        if topic.error_code and names:
            from pykbroker.client.cluster import error_of

            error = error_of(topic.error_code)
            if error.code != ErrorCode.LEADER_NOT_AVAILABLE:
                raise KafkaError(error.code, f"topic {topic.name}: {_said(error.code)}")
    found = sorted(answer.topics, key=lambda topic: topic.name or "")
    return [topic for topic in found if not (exclude_internal and topic.is_internal)]


def _said(code: ErrorCode) -> str:
    return (
        "there is no such topic"
        if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        else code.name.replace("_", " ").lower()
    )


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Topics with ids and configs, and where their partitions are."""
    topics = await topics_of(cluster, options.topics, exclude_internal=options.exclude_internal)
    configs = await topic_configs(cluster, [topic.name or "" for topic in topics])
    document: list[dict[str, Any]] = []
    only_partitions = options.under_replicated or options.unavailable or options.under_min_isr or options.at_min_isr
    for topic in topics:
        name = topic.name or ""
        own = {key: value for key, (value, source) in configs[name].items() if source == DYNAMIC_TOPIC}
        min_isr = int(configs[name].get("min.insync.replicas", ("1", 0))[0] or 1)
        rows = [
            _partition(name, one)
            for one in sorted(topic.partitions, key=lambda one: one.partition_index)
            if _is_chosen(one, options, min_isr, set(cluster.brokers))
        ]
        if (rows or not only_partitions) and (own or not options.with_overrides):
            found = {**_summary(topic), "topic_id": id_text(topic.topic_id), "configs": own}
            document.append({**found, "partition_states": rows})
    text: list[Table | str] = []
    if not only_partitions:
        shown = [
            {**topic, "configs": [f"{key}={value}" for key, value in topic["configs"].items()]} for topic in document
        ]
        text += [Table(TOPIC, shown)] if shown else []
    rows = [row for topic in document for row in topic["partition_states"]]
    if rows and not options.with_overrides:
        text.append(Table(PARTITION, rows))
    nothing = "no such partitions" if only_partitions else "no such topics" if options.with_overrides else _NONE_YET
    notes = [] if document else [nothing]
    return Report(document, text, notes=notes)


def _partition(topic: str, one: Any) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": one.partition_index,
        "leader": one.leader_id if one.leader_id >= 0 else None,
        "leader_epoch": one.leader_epoch,
        "replicas": list(one.replica_nodes),
        "isr": list(one.isr_nodes),
        "offline": list(one.offline_replicas),
    }


def _is_chosen(one: Any, options: argparse.Namespace, min_isr: int, live: set[int]) -> bool:
    in_sync = len(one.isr_nodes)
    if options.under_replicated:
        return in_sync < len(one.replica_nodes)
    if options.unavailable:
        return one.leader_id not in live
    if options.under_min_isr:
        return in_sync < min_isr
    if options.at_min_isr:
        return in_sync == min_isr
    return True


async def topic_configs(cluster: Cluster, names: Sequence[str]) -> dict[str, dict[str, tuple[str | None, int]]]:
    """Value and source of every config, by topic; none where they may not be seen."""
    from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest

    of = DescribeConfigsRequest.Resource
    found: dict[str, dict[str, tuple[str | None, int]]] = {name: {} for name in names}
    resources = [of(resource_type=TOPIC_RESOURCE, resource_name=name, configuration_keys=None) for name in names]
    if resources:
        answer = await cluster.any(DescribeConfigsRequest(resources=resources))
        for result in answer.results:
            configs = result.configs if not result.error_code else ()
            found[result.resource_name] = {one.name: (one.value, one.config_source) for one in configs}
    return found


def id_text(topic_id: Any) -> str | None:
    """An id as Kafka prints it: base64 for URLs, without padding; None for the id of no topic."""
    from base64 import urlsafe_b64encode

    data = bytes(getattr(topic_id, "bytes", topic_id))
    return urlsafe_b64encode(data).decode().rstrip("=") if any(data) else None


async def create(cluster: Cluster, options: argparse.Namespace) -> Report:
    """One request for all of them."""
    from pykbroker.protocol.messages.create_topics import CreateTopicsRequest

    if options.replica_assignment is not None and (options.partitions or options.replication_factor):
        raise UsageError("--replica-assignment stands for --partitions and --replication-factor: leave those out")
    of = CreateTopicsRequest.Topic
    assignments = [
        of.Assignment(partition_index=index, broker_ids=brokers)
        for index, brokers in enumerate(options.replica_assignment or ())
    ]
    request = CreateTopicsRequest(timeout_ms=30_000, validate_only=options.validate_only)
    request.topics = [
        of(
            name=name,
            num_partitions=options.partitions or BY_BROKER,
            replication_factor=options.replication_factor or BY_BROKER,
            assignments=assignments,
            configs=[of.Config(name=key, value=value) for key, value in options.config],
        )
        for name in options.topics
    ]
    answer = await cluster.controller(request)
    pass_over = {ErrorCode.TOPIC_ALREADY_EXISTS} if options.if_not_exists else set()
    verb = "could create" if options.validate_only else "created"
    return _changes(answer.topics, "name", verb, pass_over)


async def alter(cluster: Cluster, options: argparse.Namespace) -> Report:
    """CreatePartitions; an assignment names the brokers of the partitions that are there, too, as in Kafka's tool."""
    from pykbroker.protocol.messages.create_partitions import CreatePartitionsRequest

    present = {topic.name: topic for topic in (await cluster.metadata(options.topics)).topics}
    of = CreatePartitionsRequest.Topic
    request = CreatePartitionsRequest(timeout_ms=30_000, validate_only=options.validate_only)
    for name in options.topics:
        added = None
        if options.replica_assignment is not None:
            new = options.replica_assignment[len(present[name].partitions) :]
            added = [of.Assignment(broker_ids=brokers) for brokers in new]
        request.topics.append(of(name=name, count=options.partitions, assignments=added))
    answer = await cluster.controller(request)
    pass_over = {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION} if options.if_exists else set()
    verb = "could add partitions to" if options.validate_only else "added partitions to"
    return _changes(answer.results, "name", verb, pass_over)


async def delete(cluster: Cluster, options: argparse.Namespace) -> Report:
    """By name; the records are gone for good."""
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest

    def build(version: int) -> Message:
        request = DeleteTopicsRequest(timeout_ms=30_000)
        if version >= 6:
            request.topics = [DeleteTopicsRequest.Topic(name=name) for name in options.topics]
        else:
            request.topic_names = options.topics
        return request

    answer = await cluster.controller(Versioned(ApiKey.DELETE_TOPICS, build))
    pass_over = {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION} if options.if_exists else set()
    return _changes(answer.responses, "name", "deleted", pass_over)


def _changes(results: Iterable[Any], name: str, verb: str, pass_over: set[ErrorCode]) -> Report:
    from pykbroker.client.cluster import error_of

    def each() -> Iterator[Change]:
        for result in results:
            topic = getattr(result, name)
            error = error_of(result.error_code, result.error_message) if result.error_code else None
            if error is not None and error.code in pass_over:
                yield Change(topic, f"passed over topic {topic}", also={"changed": False})
            else:
                yield Change(topic, f"{verb} topic {topic}", error, {"changed": error is None})

    return changes("topic", each())
