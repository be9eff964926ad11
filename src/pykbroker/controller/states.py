"""The states of partitions and of replicas as the controller sees them, and the ways between them.

A change that stands in no line of the tables is an error: the controller then steps down rather than go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from pykbroker.protocol.topic_partition import TopicPartition


class PartitionPhase(Enum):
    """A partition, by whether it has a leader."""

    NON_EXISTENT = "NonExistent"
    NEW = "New"
    ONLINE = "Online"
    OFFLINE = "Offline"


class ReplicaPhase(Enum):
    """A replica, by whether its broker can serve it and whether it is being deleted."""

    NON_EXISTENT = "NonExistent"
    NEW = "New"
    ONLINE = "Online"
    OFFLINE = "Offline"
    DELETION_STARTED = "DeletionStarted"
    DELETION_SUCCESSFUL = "DeletionSuccessful"
    DELETION_INELIGIBLE = "DeletionIneligible"


_P, _R = PartitionPhase, ReplicaPhase

PARTITION_TRANSITIONS: tuple[tuple[PartitionPhase, str, PartitionPhase], ...] = (
    (_P.NON_EXISTENT, "assigned", _P.NEW),
    (_P.NON_EXISTENT, "read with a live leader", _P.ONLINE),
    (_P.NON_EXISTENT, "read without a live leader", _P.OFFLINE),
    (_P.NEW, "first leader", _P.ONLINE),
    (_P.NEW, "topic is deleted", _P.OFFLINE),
    (_P.ONLINE, "another leader", _P.ONLINE),
    (_P.ONLINE, "leader is gone", _P.OFFLINE),
    (_P.OFFLINE, "elected", _P.ONLINE),
    (_P.OFFLINE, "still nobody", _P.OFFLINE),
    (_P.OFFLINE, "topic is deleted", _P.NON_EXISTENT),
)

REPLICA_TRANSITIONS: tuple[tuple[ReplicaPhase, str, ReplicaPhase], ...] = (
    (_R.NON_EXISTENT, "assigned", _R.NEW),
    (_R.NON_EXISTENT, "read, broker is live", _R.ONLINE),
    (_R.NON_EXISTENT, "read, broker is dead", _R.OFFLINE),
    (_R.NEW, "partition has a leader", _R.ONLINE),
    (_R.NEW, "broker or disk is gone", _R.OFFLINE),
    (_R.ONLINE, "told again", _R.ONLINE),
    (_R.ONLINE, "broker or disk is gone", _R.OFFLINE),
    (_R.OFFLINE, "broker is back", _R.ONLINE),
    (_R.OFFLINE, "still gone", _R.OFFLINE),
    (_R.OFFLINE, "deletion begins", _R.DELETION_STARTED),
    (_R.OFFLINE, "can't be deleted now", _R.DELETION_INELIGIBLE),
    (_R.DELETION_STARTED, "deleted", _R.DELETION_SUCCESSFUL),
    (_R.DELETION_STARTED, "failed or dead", _R.DELETION_INELIGIBLE),
    (_R.DELETION_SUCCESSFUL, "forgotten", _R.NON_EXISTENT),
    (_R.DELETION_INELIGIBLE, "tried again", _R.OFFLINE),
    (_R.DELETION_INELIGIBLE, "broker is back", _R.ONLINE),
)

_PARTITION_WAYS = {(before, after) for before, _, after in PARTITION_TRANSITIONS}
_REPLICA_WAYS = {(before, after) for before, _, after in REPLICA_TRANSITIONS}


class IllegalTransition(Exception):
    """A partition or replica can't go from its state to the one wanted."""


class Phases:
    """Every partition's and replica's state; what isn't known is NonExistent."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, PartitionPhase] = {}
        self._replicas: dict[tuple[TopicPartition, int], ReplicaPhase] = {}

    def partition(self, tp: TopicPartition) -> PartitionPhase:
        """A partition's state."""
        return self._partitions.get(tp, PartitionPhase.NON_EXISTENT)

    def replica(self, tp: TopicPartition, broker: int) -> ReplicaPhase:
        """A replica's state."""
        return self._replicas.get((tp, broker), ReplicaPhase.NON_EXISTENT)

    def move(self, tp: TopicPartition, after: PartitionPhase) -> None:
        """Changes a partition's state; raises IllegalTransition."""
        before = self.partition(tp)
        if (before, after) not in _PARTITION_WAYS:
            raise IllegalTransition(f"partition {tp} can't go from {before.value} to {after.value}")
        self._partitions[tp] = after
        if after is PartitionPhase.NON_EXISTENT:
            del self._partitions[tp]

    def move_replica(self, tp: TopicPartition, broker: int, after: ReplicaPhase) -> None:
        """Changes a replica's state; raises IllegalTransition."""
        before = self.replica(tp, broker)
        if (before, after) not in _REPLICA_WAYS:
            raise IllegalTransition(f"replica {broker} of {tp} can't go from {before.value} to {after.value}")
        self._replicas[tp, broker] = after
        if after is ReplicaPhase.NON_EXISTENT:
            del self._replicas[tp, broker]

    def delete(self, tp: TopicPartition, brokers: Iterable[int]) -> None:
        """Takes a partition whose replicas are deleted out of the tables."""
        for broker in brokers:
            self.move_replica(tp, broker, ReplicaPhase.DELETION_SUCCESSFUL)
            self.move_replica(tp, broker, ReplicaPhase.NON_EXISTENT)
        self.move(tp, PartitionPhase.NON_EXISTENT)

    def drop_replica(self, tp: TopicPartition, broker: int) -> None:
        """A replica that a reassignment took away: offline, deleted, forgotten."""
        if self.replica(tp, broker) is not ReplicaPhase.OFFLINE:
            self.move_replica(tp, broker, ReplicaPhase.OFFLINE)
        for after in (ReplicaPhase.DELETION_STARTED, ReplicaPhase.DELETION_SUCCESSFUL, ReplicaPhase.NON_EXISTENT):
            self.move_replica(tp, broker, after)
