"""The controller's rules for topics: what may be created, grown and deleted, and what comes of it.

Errors are Kafka's codes with its messages. It never writes, draws no random numbers and knows no clock: ids and the
start of a placement are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import (
    GROUP_METADATA_TOPIC,
    SHARE_GROUP_STATE_TOPIC,
    TRANSACTION_STATE_TOPIC,
    ClusterImage,
    PartitionState,
    TopicImage,
)
from pykbroker.cluster.placement import place, start_of
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.topic import validate_overrides
from pykbroker.controller.leader_election import first_state
from pykbroker.protocol.errors import ErrorCode, KafkaError

DEFAULT = -1
MAX_NAME_LENGTH = 249
MAX_PARTITIONS_PER_REQUEST = 10_000

_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")
_METADATA_TOPIC = "__cluster_metadata"


class Draw(NamedTuple):
    """The randomness of one creation."""

    topic_id: UUID
    start: int
    shift: int


class NewTopic(NamedTuple):
    """A topic that somebody asks for; -1 stands for the broker's default."""

    name: str
    partitions: int = DEFAULT
    replication_factor: int = DEFAULT
    assignments: Sequence[tuple[int, tuple[int, ...]]] = ()
    """Partition index and replicas, where placed by hand."""
    config: Mapping[str, str | None] = MappingProxyType({})


def invalid_name(name: str) -> str | None:
    """Why a topic can't have this name, in Kafka's words; None if it can."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in (".", ".."):
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > MAX_NAME_LENGTH:
        return f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    if _LEGAL.fullmatch(name) is None:
        return (
            f"Topic name is invalid: '{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    return None


def plan_creation(
    image: ClusterImage, config: BrokerConfig, new: NewTopic, draw: Draw, controller_epoch: int
) -> TopicImage:
    """The topic as it will be; raises KafkaError where it must not be."""
    _check_new_name(image, new.name)
    replicas = _placed_by_hand(image, new) if new.assignments else _placed(image, config, new, draw)
    overrides = checked_overrides(config, new.config)
    partitions = {
        index: first_state(nodes, image.brokers, controller_epoch) for index, nodes in sorted(replicas.items())
    }
    return TopicImage(new.name, draw.topic_id, partitions, overrides)


def checked_overrides(config: BrokerConfig, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """A topic's overrides once they are found to be valid; raises INVALID_CONFIG with Kafka's sentence."""
    try:
        return validate_overrides(config, overrides)
    except ConfigError as error:
        stands_alone = error.allowed.startswith(("Null value", "Unknown topic config", "conflict"))
        message = error.allowed if stands_alone else error.kafka_message
        raise KafkaError(ErrorCode.INVALID_CONFIG, message) from None


def _check_new_name(image: ClusterImage, name: str) -> None:
    wrong = invalid_name(name)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong)
    if name == _METADATA_TOPIC:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Creation of internal topic {name} is prohibited.")
    if name in image.topics:
        raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
    if "." in name or "_" in name:
        # Both characters become one in the names of metrics.
        flat = name.replace(".", "_")
        for other in image.topics:
            if other.replace(".", "_") == flat:
                message = f"Topic '{name}' collides with existing topic: {other}"
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, message)


def _placed(image: ClusterImage, config: BrokerConfig, new: NewTopic, draw: Draw) -> dict[int, tuple[int, ...]]:
    if new.replication_factor == 0 or new.replication_factor < DEFAULT:
        message = "Replication factor must be larger than 0, or -1 to use the default value."
        raise KafkaError(ErrorCode.INVALID_REPLICATION_FACTOR, message)
    if new.partitions == 0 or new.partitions < DEFAULT:
        message = "Number of partitions was set to an invalid non-positive value."
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, message)
    count = config.num_partitions if new.partitions == DEFAULT else new.partitions
    factor = config.default_replication_factor if new.replication_factor == DEFAULT else new.replication_factor
    if count > MAX_PARTITIONS_PER_REQUEST:
        raise KafkaError(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
    _check_reachable(image, factor)
    return place(image.brokers.values(), count, factor, start=draw.start, shift=draw.shift)


def _check_reachable(image: ClusterImage, factor: int) -> None:
    if factor > len(image.brokers):
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be "
            f"reached because only {len(image.brokers)} broker(s) are registered.",
        )


def _placed_by_hand(image: ClusterImage, new: NewTopic) -> dict[int, tuple[int, ...]]:
    for asked, what in ((new.replication_factor, "replication factor"), (new.partitions, "numPartitions")):
        if asked != DEFAULT:
            message = f"A manual partition assignment was specified, but {what} was not set to -1."
            raise KafkaError(ErrorCode.INVALID_REQUEST, message)
    replicas: dict[int, tuple[int, ...]] = {}
    factor = None
    for index, nodes in new.assignments:
        if index in replicas:
            message = f"Found multiple manual partition assignments for partition {index}"
            raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message)
        _check_assignment(image, nodes, factor)
        replicas[index], factor = nodes, len(nodes)
    if sorted(replicas) != list(range(len(replicas))):
        message = "partitions should be a consecutive 0-based integer sequence"
        raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message)
    return replicas


def _check_assignment(image: ClusterImage, nodes: tuple[int, ...], factor: int | None) -> None:
    wrong = None
    if not nodes:
        wrong = "The manual partition assignment includes an empty replica list."
    for node in nodes:
        if node not in image.brokers:
            wrong = f"The manual partition assignment includes broker {node}, but no such broker is registered."
        elif nodes.count(node) > 1:
            wrong = f"The manual partition assignment includes the broker {node} more than once."
    if wrong is None and factor is not None and len(nodes) != factor:
        wrong = (
            f"The manual partition assignment includes a partition with {len(nodes)} replica(s), but this is not "
            f"consistent with previous partitions, which have {factor} replica(s)."
        )
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, wrong)


def plan_growth(
    image: ClusterImage,
    name: str,
    count: int,
    assignments: Sequence[tuple[int, ...]] | None,
    shift: int,
    controller_epoch: int,
) -> dict[int, PartitionState]:
    """The partitions to add so that a topic has `count` of them; raises KafkaError."""
    topic = image.topics.get(name)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    known = len(topic.partitions)
    if count == known:
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {known} partition(s).")
    if count < known:
        message = f"The topic {name} currently has {known} partition(s); {count} would not be an increase."
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, message)
    added = count - known
    if added > MAX_PARTITIONS_PER_REQUEST:
        raise KafkaError(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
    first = topic.partitions[min(topic.partitions)].replicas
    if assignments is None:
        _check_reachable(image, len(first))
        start = start_of(image.brokers.values(), first)
        placed = place(image.brokers.values(), added, len(first), start=start, shift=shift, first=known)
    else:
        if len(assignments) != added:
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {added} additional partition(s), but only {len(assignments)} assignment(s) "
                "were specified.",
            )
        for nodes in assignments:
            _check_assignment(image, nodes, len(first))
        placed = {known + index: nodes for index, nodes in enumerate(assignments)}
    return {index: first_state(nodes, image.brokers, controller_epoch) for index, nodes in placed.items()}


def internal_topic(name: str, config: BrokerConfig, live_brokers: int) -> NewTopic:
    """One of Kafka's own topics as it is made by itself; replication is cut down to the brokers that are there.

    Kafka would wait for as many brokers as the factor says, which is how a lone broker with default settings never
    gets its coordinators going.
    """
    overrides: dict[str, str | None] = {"cleanup.policy": "compact"}
    if name == GROUP_METADATA_TOPIC:
        count, factor = config.offsets_topic_num_partitions, config.offsets_topic_replication_factor
        overrides |= {"compression.type": "producer", "segment.bytes": str(config.offsets_topic_segment_bytes)}
        min_isr = None
    elif name == TRANSACTION_STATE_TOPIC:
        count, factor = config.transaction_state_log_num_partitions, config.transaction_state_log_replication_factor
        overrides |= {
            "compression.type": "uncompressed",
            "segment.bytes": str(config.transaction_state_log_segment_bytes),
            "unclean.leader.election.enable": "false",
        }
        min_isr = config.transaction_state_log_min_isr
    elif name == SHARE_GROUP_STATE_TOPIC:
        count = config.share_coordinator_state_topic_num_partitions
        factor = config.share_coordinator_state_topic_replication_factor
        segment_bytes = config.share_coordinator_state_topic_segment_bytes
        overrides = {"cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": str(segment_bytes)}
        min_isr = config.share_coordinator_state_topic_min_isr
    else:
        raise ValueError(f"{name} is no topic of Kafka's own")
    factor = max(1, min(factor, live_brokers))
    if min_isr is not None:
        overrides["min.insync.replicas"] = str(min(min_isr, factor))
    elif config.min_insync_replicas > factor:
        overrides["min.insync.replicas"] = str(factor)
    return NewTopic(name, count, factor, config=overrides)
