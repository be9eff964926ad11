"""The phases of partitions and replicas, held to their tables."""

import pytest

from pykbroker.controller.states import (
    PARTITION_TRANSITIONS,
    REPLICA_TRANSITIONS,
    IllegalTransition,
    PartitionPhase,
    Phases,
    ReplicaPhase,
)
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 0)


@pytest.mark.parametrize("before", PartitionPhase)
@pytest.mark.parametrize("after", PartitionPhase)
def test_partitions_go_the_ways_of_the_table_alone(before: PartitionPhase, after: PartitionPhase) -> None:
    phases = Phases()
    phases._partitions[TP] = before
    if (before, after) in {(one, other) for one, _, other in PARTITION_TRANSITIONS}:
        phases.move(TP, after)
        assert phases.partition(TP) is after
    else:
        with pytest.raises(IllegalTransition, match=f"t-0 can't go from {before.value} to {after.value}"):
            phases.move(TP, after)


@pytest.mark.parametrize("before", ReplicaPhase)
@pytest.mark.parametrize("after", ReplicaPhase)
def test_replicas_go_the_ways_of_the_table_alone(before: ReplicaPhase, after: ReplicaPhase) -> None:
    phases = Phases()
    phases._replicas[TP, 1] = before
    if (before, after) in {(one, other) for one, _, other in REPLICA_TRANSITIONS}:
        phases.move_replica(TP, 1, after)
        assert phases.replica(TP, 1) is after
    else:
        with pytest.raises(IllegalTransition, match=f"replica 1 of t-0 can't go from {before.value} to {after.value}"):
            phases.move_replica(TP, 1, after)


def test_what_is_gone_takes_no_room() -> None:
    phases = Phases()
    phases.move(TP, PartitionPhase.NEW)
    phases.move_replica(TP, 1, ReplicaPhase.NEW)
    phases.drop_replica(TP, 1)
    phases.move(TP, PartitionPhase.OFFLINE)
    phases.move(TP, PartitionPhase.NON_EXISTENT)
    assert not phases._partitions
    assert not phases._replicas
