"""`pykbroker reassign`: moves partitions to other brokers and directories; what kafka-reassign-partitions.sh does.

Plans are Kafka's own JSON. Throttles are configs like any other: see `pykbroker configs`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, number, positive, read_text
from pykbroker.cli.output import Change, Progress, Report, Table, changes, table
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

ANY_DIRECTORY = "any"
LOOK_EVERY = 1.0
LIST = ("topic", "partition", "replicas", "adding", "removing")
VERIFY = ("topic", "partition", "wanted", "replicas", "state")


class Placement(NamedTuple):
    """The brokers of a partition, the preferred leader first, and a directory for each, or `any`."""

    replicas: list[int]
    log_dirs: list[str]

    def by_broker(self) -> list[tuple[int, str]]:
        """Each broker with its directory."""
        return list(zip(self.replicas, self.log_dirs, strict=True))


Plan = dict[TopicPartition, Placement]


def parser() -> Parser:
    """The command's options."""
    made = command("reassign", "Move partitions to other brokers: kafka-reassign-partitions.sh, spelled for people.")
    verbs = add_verbs(made)
    add_verb(verbs, "list", list_verb, "List the reassignments that are under way.")
    verb = add_verb(verbs, "generate", generate, "Propose a plan, as JSON on stdout.")
    add = verb.add_argument
    add("topics", metavar="TOPIC", nargs="+", help="the topics to move")
    add("--brokers", metavar="ID,…", type=_ids, help="where to (default: all brokers)")
    add("--replication-factor", metavar="N", type=positive, help="how many replicas (default: as many as there are)")
    verb = add_verb(verbs, "execute", execute, "Begin what a plan says; prints the plan that would undo it.")
    add = verb.add_argument
    add("plan", metavar="FILE", help="a plan, or - for stdin")
    add("--wait", action="store_true", help="until it is done")
    add("--preserve-replication-factor", action="store_true", help="refuse to change the number of replicas")
    verb = add_verb(verbs, "verify", verify, "Say how far a plan is.")
    verb.add_argument("plan", metavar="FILE", help="a plan, or - for stdin")
    verb = add_verb(verbs, "cancel", cancel, "Stop what is under way, of a plan or of partitions.")
    verb.add_argument("plan", metavar="FILE", help="a plan, or - for stdin")
    return made


def _ids(text: str) -> list[int]:
    return [number(word) for word in text.split(",")]


def read_plan(path: str) -> Plan:
    """The placements in a file of Kafka's form. Raises UsageError."""
    try:
        found: Plan = {}
        for one in json.loads(read_text("plan", path))["partitions"]:
            replicas = [int(broker) for broker in one["replicas"]]
            log_dirs = [str(directory) for directory in one.get("log_dirs") or [ANY_DIRECTORY] * len(replicas)]
            if len(log_dirs) != len(replicas) or len(set(replicas)) != len(replicas) or not replicas:
                raise ValueError
            found[TopicPartition(str(one["topic"]), int(one["partition"]))] = Placement(replicas, log_dirs)
    except (ValueError, KeyError, TypeError):
        shape = '{"version": 1, "partitions": [{"topic": "t", "partition": 0, "replicas": [1, 2]}]}'
        raise UsageError(f"plan {path}: expected {shape}") from None
    return found


def plan_text(plan: Plan) -> str:
    """A plan in Kafka's form, a partition a line."""
    lines = [
        json.dumps({"topic": topic, "partition": index, "replicas": placement.replicas, "log_dirs": placement.log_dirs})
        for (topic, index), placement in sorted(plan.items())
    ]
    body = ",\n    ".join(lines)
    return f'{{"version": 1, "partitions": [\n    {body}\n]}}'


async def _reassignments(cluster: Cluster, plan: Plan | None) -> list[Any]:
    from pykbroker.client.cluster import by_topic, raise_for
    from pykbroker.protocol.messages.list_partition_reassignments import ListPartitionReassignmentsRequest

    of = ListPartitionReassignmentsRequest.Topic
    topics = None if plan is None else [of(name=name, partition_indexes=at) for name, at in by_topic(plan).items()]
    answer = await cluster.controller(ListPartitionReassignmentsRequest(topics=topics))
    raise_for(answer.error_code, answer.error_message)
    return [(topic.name, one) for topic in answer.topics for one in topic.partitions]


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """What the controller has under way."""
    rows = [
        {
            "topic": name,
            "partition": one.partition_index,
            "replicas": list(one.replicas),
            "adding": list(one.adding_replicas),
            "removing": list(one.removing_replicas),
        }
        for name, one in await _reassignments(cluster, None)
    ]
    return table(LIST, rows, "no reassignments under way")


async def generate(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Spreads the topics over the brokers as Kafka spreads new ones; over racks, where all are known."""
    from pykbroker.cli.topics import topics_of
    from pykbroker.cluster.image import BrokerImage
    from pykbroker.cluster.placement import place

    topics = await topics_of(cluster, options.topics)
    chosen = options.brokers or sorted(cluster.brokers)
    unknown = sorted(set(chosen) - cluster.brokers.keys())
    if unknown:
        raise KafkaError(ErrorCode.BROKER_NOT_AVAILABLE, f"there is no broker {unknown[0]}")
    brokers = [BrokerImage(broker, {}, cluster.racks[broker]) for broker in sorted(set(chosen))]
    plan: Plan = {}
    for turn, topic in enumerate(topics):
        replicas = options.replication_factor or len(topic.partitions[0].replica_nodes)
        if replicas > len(brokers):
            message = f"topic {topic.name} has {replicas} replicas, which {len(brokers)} brokers can't hold"
            raise KafkaError(ErrorCode.INVALID_REPLICATION_FACTOR, message)
        for index, ids in place(brokers, len(topic.partitions), replicas, start=turn, shift=turn).items():
            plan[TopicPartition(topic.name or "", index)] = Placement(list(ids), [ANY_DIRECTORY] * len(ids))
    return Report(json.loads(plan_text(plan)), [plan_text(plan)])


async def _present(cluster: Cluster, plan: Plan) -> Plan:
    """Where the partitions of a plan are now. Raises KafkaError for one that isn't there."""
    from pykbroker.cli.topics import topics_of

    found: Plan = {}
    for topic in await topics_of(cluster, sorted({one.topic for one in plan})):
        for state in topic.partitions:
            replicas = list(state.replica_nodes)
            found[TopicPartition(topic.name or "", state.partition_index)] = Placement(
                replicas, [ANY_DIRECTORY] * len(replicas)
            )
    for one in sorted(plan):
        if one not in found:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {one}")
    return {one: found[one] for one in plan}


async def execute(cluster: Cluster, options: argparse.Namespace) -> Report:
    """AlterPartitionReassignments, and AlterReplicaLogDirs where the plan names directories."""
    plan = read_plan(options.plan)
    before = await _present(cluster, plan)
    failures = await _alter(cluster, plan, keep_factor=options.preserve_replication_factor)
    failures += await _move_directories(
        cluster, {one: at for one, at in plan.items() if str(one) not in dict(failures)}
    )
    undo = plan_text(before)
    document = {
        "undo": json.loads(undo),
        "failed": [{"partition": name, "error": error.code.name} for name, error in failures],
    }
    begun = len(plan.keys() - {one for one in plan if str(one) in dict(failures)})
    if not begun:
        return Report(document, [], failures)
    began = f"began to move {begun} partition{'' if begun == 1 else 's'}; to undo it:"
    report = Report(document, [undo], failures, [began])
    if options.wait:
        await _wait(cluster, plan)
        report.notes = [began.replace("began to move", "moved")]
    return report


async def _alter(
    cluster: Cluster, plan: Plan, *, stop: bool = False, keep_factor: bool = False
) -> list[tuple[str, KafkaError]]:
    from pykbroker.client.cluster import by_topic, error_of, raise_for
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.alter_partition_reassignments import AlterPartitionReassignmentsRequest

    def build(version: int) -> Message:
        of = AlterPartitionReassignmentsRequest.Topic
        request = AlterPartitionReassignmentsRequest()
        if keep_factor:
            request.allow_replication_factor_change = False
        for name, indexes in by_topic(plan).items():
            partitions = [
                of.Partition(
                    partition_index=index, replicas=None if stop else plan[TopicPartition(name, index)].replicas
                )
                for index in indexes
            ]
            request.topics.append(of(name=name, partitions=partitions))
        return request

    answer = await cluster.controller(Versioned(ApiKey.ALTER_PARTITION_REASSIGNMENTS, build))
    raise_for(answer.error_code, answer.error_message)
    return [
        (str(TopicPartition(topic.name, one.partition_index)), error_of(one.error_code, one.error_message))
        for topic in answer.responses
        for one in topic.partitions
        if one.error_code
    ]


async def _move_directories(cluster: Cluster, plan: Plan) -> list[tuple[str, KafkaError]]:
    from pykbroker.client.cluster import by_topic, error_of
    from pykbroker.protocol.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest

    wanted: dict[int, dict[str, list[TopicPartition]]] = {}
    for one, placement in plan.items():
        for broker, directory in placement.by_broker():
            if directory != ANY_DIRECTORY:
                wanted.setdefault(broker, {}).setdefault(directory, []).append(one)
    failures: list[tuple[str, KafkaError]] = []
    of = AlterReplicaLogDirsRequest.Dir
    for broker, directories in wanted.items():
        request = AlterReplicaLogDirsRequest(
            dirs=[
                of(path=path, topics=[of.Topic(name=name, partitions=at) for name, at in by_topic(partitions).items()])
                for path, partitions in directories.items()
            ]
        )
        for topic in (await cluster.node(broker, request)).results:
            failures += (
                (f"{topic.topic_name}-{one.partition_index} on broker {broker}", error_of(one.error_code))
                for one in topic.partitions
                # A replica that comes to be there later has its directory from this: not an error (KIP-113).
                if one.error_code not in (ErrorCode.NONE, ErrorCode.REPLICA_NOT_AVAILABLE)
            )
    return failures


async def _under_way(cluster: Cluster, plan: Plan) -> set[TopicPartition]:
    """The partitions that are on their way, between brokers or between directories."""
    moving = {TopicPartition(name, one.partition_index) for name, one in await _reassignments(cluster, plan)}
    for broker, (_, coming) in (await _directories(cluster, plan)).items():
        moving |= {one for one in coming if broker in plan[one].replicas}
    return moving


async def _directories(
    cluster: Cluster, plan: Plan
) -> dict[int, tuple[dict[TopicPartition, str], set[TopicPartition]]]:
    """For each broker of which a plan names directories: where its replicas are, and which are on their way."""
    from pykbroker.client.cluster import by_topic, raise_for
    from pykbroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest

    of = DescribeLogDirsRequest.Topic
    topics = [of(topic=name, partitions=indexes) for name, indexes in by_topic(plan).items()]
    found: dict[int, tuple[dict[TopicPartition, str], set[TopicPartition]]] = {}
    for broker in sorted({broker for at in plan.values() for broker, path in at.by_broker() if path != ANY_DIRECTORY}):
        answer = await cluster.node(broker, DescribeLogDirsRequest(topics=topics))
        raise_for(answer.error_code, f"broker {broker}")
        current, coming = found.setdefault(broker, ({}, set()))
        for result in answer.results:
            for topic in result.topics:
                for one in topic.partitions:
                    partition = TopicPartition(topic.name, one.partition_index)
                    if one.is_future_key:
                        coming.add(partition)
                    else:
                        current[partition] = result.log_dir
    return found


async def _wait(cluster: Cluster, plan: Plan) -> None:
    import trio

    progress = Progress("moved partitions", len(plan))
    while under_way := await _under_way(cluster, plan):
        progress(len(plan) - len(under_way))
        await trio.sleep(LOOK_EVERY)
    progress.end()


async def verify(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Done, under way, or somewhere else; only when all is done the exit status is 0."""
    plan = read_plan(options.plan)
    under_way = await _under_way(cluster, plan)
    directories = await _directories(cluster, plan)
    rows = []
    for one, placement in sorted((await _present(cluster, plan)).items()):
        done = placement.replicas == plan[one].replicas and all(
            path == ANY_DIRECTORY or directories[broker][0].get(one) == path for broker, path in plan[one].by_broker()
        )
        state = "under way" if one in under_way else "done" if done else "elsewhere"
        rows.append(
            {
                "topic": one.topic,
                "partition": one.partition,
                "wanted": plan[one].replicas,
                "replicas": placement.replicas,
                "state": state,
            }
        )
    failures = _not_done(rows)
    return Report(rows, [Table(VERIFY, rows)], failures)


def _not_done(rows: Sequence[dict[str, Any]]) -> list[tuple[str, KafkaError]]:
    waiting = sum(row["state"] == "under way" for row in rows)
    lost = sum(row["state"] == "elsewhere" for row in rows)
    if not waiting and not lost:
        return []
    code = ErrorCode.REASSIGNMENT_IN_PROGRESS if waiting else ErrorCode.INVALID_REPLICA_ASSIGNMENT
    return [("plan", KafkaError(code, f"{waiting} partitions are under way, {lost} are elsewhere"))]


async def cancel(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Null replicas: back to where the partition was."""
    plan = read_plan(options.plan)
    failed = dict(await _alter(cluster, plan, stop=True))
    done = (
        Change(str(one), f"stopped the reassignment of {one}", failed.get(str(one)), {"topic": one.topic})
        for one in sorted(plan)
    )
    return changes("partition", done)
