"""Who leads next, election by election."""

from pykbroker.cluster.image import PartitionState
from pykbroker.controller.leader_election import (
    elect,
    elect_for_reassignment,
    elect_for_shutdown,
    elect_preferred,
    first_state,
    without_replica,
)

STATE = PartitionState(1, 4, (1, 3), (1, 2, 3), 8, 2)


def test_the_first_live_replica_leads() -> None:
    assert first_state((1, 2), (2,), 3) == PartitionState(2, 0, (2,), (1, 2), 0, 3)
    assert first_state((1, 2), (), 3) == PartitionState(-1, 0, (1, 2), (1, 2), 0, 3)


def test_an_election_takes_a_live_member_of_the_isr() -> None:
    assert elect(STATE, (2, 3), 5) == PartitionState(3, 5, (3,), (1, 2, 3), 8, 5)
    assert elect(STATE, (2,), 5) is None


def test_an_unclean_election_takes_any_live_replica_alone() -> None:
    assert elect(STATE, (2,), 5, unclean=True) == PartitionState(2, 5, (2,), (1, 2, 3), 8, 5)
    assert elect(STATE, (2, 3), 5, unclean=True) == PartitionState(3, 5, (3,), (1, 2, 3), 8, 5), "clean where it can be"
    assert elect(STATE, (), 5, unclean=True) is None


def test_the_preferred_leader_leads_again_if_it_is_in_sync() -> None:
    away = PartitionState(3, 5, (3, 1), (1, 2, 3), 9, 5)
    assert elect_preferred(away, (1, 3), 6) == PartitionState(1, 6, (3, 1), (1, 2, 3), 9, 6)
    assert elect_preferred(away, (3,), 6) is None
    assert elect_preferred(PartitionState(3, 5, (3,), (1, 2, 3), 9, 5), (1, 3), 6) is None


def test_a_broker_that_stops_hands_over_and_leaves_the_isr() -> None:
    assert elect_for_shutdown(STATE, (2, 3), 5) == PartitionState(3, 5, (3,), (1, 2, 3), 8, 5)
    assert elect_for_shutdown(STATE, (2,), 5) is None


def test_a_reassignment_ends_with_a_target_as_leader() -> None:
    state = PartitionState(1, 4, (1, 2, 3, 4), (3, 4, 1, 2), 8, 2, adding=(3, 4), removing=(1, 2))
    ended = elect_for_reassignment(state, (3, 4), (1, 2, 3, 4), 5)
    assert ended is not None
    assert (ended.leader, ended.isr, ended.leader_epoch) == (3, (3, 4), 5)
    kept = elect_for_reassignment(state, (4, 1), (1, 2, 3, 4), 5)
    assert kept is not None
    assert (kept.leader, kept.isr) == (1, (1, 4))
    assert elect_for_reassignment(state, (3, 4), (1, 2), 5) is None


def test_a_replica_that_is_gone_leaves_the_isr_unless_it_is_the_last() -> None:
    assert without_replica(STATE, 3, 5) == PartitionState(1, 5, (1,), (1, 2, 3), 8, 5)
    assert without_replica(STATE, 1, 5) == PartitionState(-1, 5, (3,), (1, 2, 3), 8, 5)
    assert without_replica(STATE, 2, 5) is None
    alone = PartitionState(1, 4, (1,), (1, 2), 8, 2)
    assert without_replica(alone, 1, 5) == PartitionState(-1, 5, (1,), (1, 2), 8, 5)
