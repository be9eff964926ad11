"""`pykbroker transactions`: open and past transactions, and ending those that hang; what kafka-transactions.sh does."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, number, partition
from pykbroker.cli.output import Change, Progress, Report, changes, table
from pykbroker.cli.times import duration, text_of
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

LIST = ("transactional_id", "coordinator", "producer_id", "state")
DESCRIBE = (
    *("transactional_id", "coordinator", "producer_id", "producer_epoch", "state", "timeout_ms"),
    *("started", "duration_ms", "partitions"),
)
PRODUCERS = (
    *("partition", "producer_id", "producer_epoch", "coordinator_epoch", "last_sequence", "last_timestamp"),
    "current_txn_start_offset",
)
HANGING = ("topic", "partition", "producer_id", "producer_epoch", "coordinator_epoch", "start_offset", "last_timestamp")
MAX_TIMEOUT = 15 * 60_000
"""transaction.max.timeout.ms, unless brokers say otherwise: no transaction is open for longer, if all is well."""
UNKNOWN_COORDINATOR_EPOCH = 0


def parser() -> Parser:
    """The command's options."""
    made = command("transactions", "Transactions: kafka-transactions.sh, spelled for people.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List transactions.")
    add = verb.add_argument
    add("--state", metavar="NAME", action="append", default=[], help="only these, like Ongoing (may be repeated)")
    add("--producer-id", metavar="N", type=number, action="append", default=[], help="only of these producers")
    add("--longer-than", metavar="TIME", type=duration, help="only those open for longer, like 10m")
    add("--pattern", metavar="REGEX", help="only transactional ids like this")
    verb = add_verb(verbs, "describe", describe, "Show transactions with their partitions.")
    verb.add_argument("ids", metavar="ID", nargs="+", help="transactional ids")
    verb = add_verb(verbs, "producers", producers, "Show the producers that a partition knows.")
    verb.add_argument("partitions", metavar="TOPIC:PARTITION", nargs="+", type=partition, help="the partitions")
    verb = add_verb(verbs, "abort", abort, "End a transaction of a partition that its coordinator has forgotten.")
    add = verb.add_argument
    add("partition", metavar="TOPIC:PARTITION", type=partition, help="the partition")
    add("--start-offset", metavar="N", type=number, help="where the transaction begins, as `find-hanging` says it")
    add("--producer-id", metavar="N", type=number, help="its producer, where there is more than one")
    verb = add_verb(verbs, "find-hanging", find_hanging, "Find transactions that no coordinator will end.")
    add = verb.add_argument
    add("--topic", metavar="TOPIC", action="append", help="look at this topic (may be repeated; default: all)")
    add("--broker", metavar="ID", type=number, help="look at the partitions that this broker leads")
    add("--longer-than", metavar="TIME", type=duration, default=MAX_TIMEOUT, help="open for longer (default 15m)")
    verb = add_verb(verbs, "terminate", terminate, "Abort the open transaction of a transactional id, and fence it.")
    verb.add_argument("ids", metavar="ID", nargs="+", help="transactional ids")
    return made


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Of all coordinators."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.list_transactions import ListTransactionsRequest

    request = ListTransactionsRequest(state_filters=options.state, producer_id_filters=options.producer_id)
    if options.longer_than is not None:
        request.duration_filter = options.longer_than
    request.transactional_id_pattern = options.pattern
    await cluster.metadata([])
    rows: list[dict[str, Any]] = []
    for node in sorted(cluster.brokers):
        answer = await cluster.node(node, request)
        raise_for(answer.error_code, f"broker {node}")
        if answer.unknown_state_filters:
            raise UsageError(f"--state {answer.unknown_state_filters[0]}: the brokers know no such state")
        rows += (
            {
                "transactional_id": one.transactional_id,
                "coordinator": node,
                "producer_id": one.producer_id,
                "state": one.transaction_state,
            }
            for one in answer.transaction_states
        )
    return table(LIST, sorted(rows, key=lambda row: str(row["transactional_id"])), "no transactions")


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Each from its coordinator."""
    return table(DESCRIBE, [await _described(cluster, name) for name in options.ids])


async def _described(cluster: Cluster, transactional_id: str) -> dict[str, Any]:
    from pykbroker.client.cluster import TRANSACTION, raise_for
    from pykbroker.protocol.messages.describe_transactions import DescribeTransactionsRequest

    request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
    (one,) = (await cluster.coordinator(TRANSACTION, transactional_id, request)).transaction_states
    raise_for(one.error_code, _missing(one.error_code, transactional_id))
    started = one.transaction_start_time_ms
    return {
        "transactional_id": transactional_id,
        "coordinator": await cluster.find_coordinator(TRANSACTION, transactional_id),
        "producer_id": one.producer_id,
        "producer_epoch": one.producer_epoch,
        "state": one.transaction_state,
        "timeout_ms": one.transaction_timeout_ms,
        "started": text_of(started),
        "duration_ms": _now() - started if started >= 0 else None,
        "partitions": [f"{topic.topic}-{index}" for topic in one.topics for index in topic.partitions],
    }


def _missing(code: int, transactional_id: str) -> str | None:
    missing = code == ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
    return f"there is no transactional id {transactional_id}" if missing else None


def _now() -> int:
    return time.time_ns() // 1_000_000


async def producers(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DescribeProducers of the partitions' leaders."""
    rows: list[dict[str, Any]] = []
    for one, found in (await _producers(cluster, options.partitions)).items():
        if isinstance(found, KafkaError):
            raise KafkaError(found.code, f"{one}: {found.message or 'no producers to see'}")
        rows += (_producer_row(one, producer) for producer in found.active_producers)
    return table(PRODUCERS, rows, "no producers")


def _producer_row(one: TopicPartition, producer: Any) -> dict[str, Any]:
    start = producer.current_txn_start_offset
    return {
        "partition": str(one),
        "producer_id": producer.producer_id,
        "producer_epoch": producer.producer_epoch,
        "coordinator_epoch": producer.coordinator_epoch,
        "last_sequence": producer.last_sequence,
        "last_timestamp": text_of(producer.last_timestamp),
        "current_txn_start_offset": start if start >= 0 else None,
    }


async def _producers(cluster: Cluster, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Any]:
    from pykbroker.protocol.messages.describe_producers import DescribeProducersRequest

    def build(topics: Mapping[str, list[int]]) -> DescribeProducersRequest:
        of = DescribeProducersRequest.Topic
        return DescribeProducersRequest(
            topics=[of(name=name, partition_indexes=indexes) for name, indexes in topics.items()]
        )

    def read(response: Any) -> Iterator[tuple[TopicPartition, int, Any]]:
        for topic in response.topics:
            for one in topic.partitions:
                yield TopicPartition(topic.name, one.partition_index), one.error_code, one

    return await cluster.to_leaders(partitions, build, read)


async def abort(cluster: Cluster, options: argparse.Namespace) -> Report:
    """WriteTxnMarkers to the leader, as a coordinator would send it (KIP-664)."""
    one: TopicPartition = options.partition
    found = (await _producers(cluster, [one]))[one]
    if isinstance(found, KafkaError):
        raise KafkaError(found.code, f"{one}: {found.message or 'no producers to see'}")
    chosen = [
        producer
        for producer in found.active_producers
        if producer.current_txn_start_offset >= 0
        and options.start_offset in (None, producer.current_txn_start_offset)
        and options.producer_id in (None, producer.producer_id)
    ]
    if len(chosen) != 1:
        said = "no open transaction like that" if not chosen else "more than one: say --start-offset or --producer-id"
        raise UsageError(f"{one}: {said}")
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersRequest

    of = WriteTxnMarkersRequest.Marker
    (producer,) = chosen

    def build(topics: Mapping[str, list[int]]) -> WriteTxnMarkersRequest:
        marker = of(
            producer_id=producer.producer_id,
            producer_epoch=producer.producer_epoch,
            coordinator_epoch=max(producer.coordinator_epoch, UNKNOWN_COORDINATOR_EPOCH),
            topics=[of.Topic(name=name, partition_indexes=indexes) for name, indexes in topics.items()],
        )
        return WriteTxnMarkersRequest(markers=[marker])

    def read(response: Any) -> Iterator[tuple[TopicPartition, int, Any]]:
        for topic in response.markers[0].topics:
            for answer in topic.partitions:
                yield TopicPartition(topic.name, answer.partition_index), answer.error_code, answer

    answer = (await cluster.to_leaders([one], build, read))[one]
    error = error_of(answer.code, answer.message) if isinstance(answer, KafkaError) else None
    said = f"aborted the transaction of producer {producer.producer_id} in {one}"
    return changes("partition", [Change(str(one), said, error, {"producer_id": producer.producer_id})])


async def find_hanging(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Open in a partition for longer than any may be, and unknown to, or not open at, its coordinator."""
    partitions = await _partitions(cluster, options.topic, options.broker)
    progress = Progress("looked at partitions", len(partitions))
    oldest = _now() - options.longer_than
    suspects: list[tuple[TopicPartition, Any]] = []
    for start in range(0, len(partitions), 500):
        for one, found in (await _producers(cluster, partitions[start : start + 500])).items():
            if not isinstance(found, KafkaError):
                suspects += (
                    (one, producer)
                    for producer in found.active_producers
                    if producer.current_txn_start_offset >= 0 and producer.last_timestamp < oldest
                )
        progress(min(start + 500, len(partitions)))
    progress.end()
    open_there = await _open_partitions(cluster, {producer.producer_id for _, producer in suspects})
    rows = [
        {
            "topic": one.topic,
            "partition": one.partition,
            "producer_id": producer.producer_id,
            "producer_epoch": producer.producer_epoch,
            "coordinator_epoch": producer.coordinator_epoch,
            "start_offset": producer.current_txn_start_offset,
            "last_timestamp": text_of(producer.last_timestamp),
        }
        for one, producer in suspects
        if str(one) not in open_there.get(producer.producer_id, ())
    ]
    return table(HANGING, rows, "no hanging transactions")


async def _partitions(cluster: Cluster, topics: Sequence[str] | None, broker: int | None) -> list[TopicPartition]:
    from pykbroker.cli.topics import topics_of

    return sorted(
        TopicPartition(topic.name or "", one.partition_index)
        for topic in await topics_of(cluster, topics or ())
        for one in topic.partitions
        if broker in (None, one.leader_id)
    )


async def _open_partitions(cluster: Cluster, producer_ids: set[int]) -> dict[int, set[str]]:
    """The partitions of the open transactions of these producers, as their coordinators have them.

    Raises KafkaError where one can't say: what it doesn't name would be taken for hanging.
    """
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.list_transactions import ListTransactionsRequest

    found: dict[int, set[str]] = {}
    if producer_ids:
        for node in sorted(cluster.brokers):
            answer = await cluster.node(node, ListTransactionsRequest(producer_id_filters=sorted(producer_ids)))
            raise_for(answer.error_code, f"broker {node}")
            for one in answer.transaction_states:
                described = await _described(cluster, one.transactional_id)
                found.setdefault(one.producer_id, set()).update(described["partitions"])
    return found


async def terminate(cluster: Cluster, options: argparse.Namespace) -> Report:
    """A new epoch for the id: what is open is aborted, and whoever has it is fenced (KIP-588)."""
    from pykbroker.client.cluster import COORDINATOR_MOVED, TRANSACTION, Backoff, error_of
    from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest

    done: list[Change] = []
    for name in options.ids:
        await _described(cluster, name)
        request = InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=60_000)
        backoff = Backoff(cluster.settings.timeout)
        while True:
            answer = await cluster.coordinator(TRANSACTION, name, request)
            waits = answer.error_code in (*COORDINATOR_MOVED, ErrorCode.CONCURRENT_TRANSACTIONS)
            if not waits or not await backoff.wait():
                break
        error = error_of(answer.error_code) if answer.error_code else None
        done.append(Change(name, f"ended what {name} had open, and fenced it", error))
    return changes("transactional_id", done)
