"""A partition's life at random: brokers that die, return, stop, join and leave the ISR; reassignments begun, replaced,
cancelled and ended. After each decision the state is one that may be told to brokers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykbroker.cluster.image import NO_LEADER, PartitionState
from pykbroker.controller.leader_election import (
    elect,
    elect_for_reassignment,
    elect_for_shutdown,
    elect_preferred,
    first_state,
    without_replica,
)
from pykbroker.controller.reassignment import begun, ended, is_caught_up, origin, target

BROKERS = (1, 2, 3, 4, 5)
EPOCH = 7
nodes = st.sampled_from(BROKERS)
replica_lists = st.lists(nodes, min_size=1, max_size=4, unique=True).map(tuple)


class PartitionWalk(RuleBasedStateMachine):
    """`kept` holds the brokers that have every committed record: whoever was in the ISR all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.live = set(BROKERS)
        self.state = first_state((1, 2, 3), self.live, EPOCH)
        self.kept = set(self.state.isr)

    def decide(self, new: PartitionState | None) -> bool:
        """Takes a decision over; the store counts its versions, rules don't."""
        if new is None:
            return False
        assert new.leader_epoch == self.state.leader_epoch + 1
        assert new.partition_epoch == self.state.partition_epoch
        assert new.controller_epoch == EPOCH
        self.state = new._replace(partition_epoch=new.partition_epoch + 1)
        self.kept &= set(new.isr)
        return True

    @invariant()
    def it_may_be_told(self) -> None:
        state = self.state
        assert state.leader == NO_LEADER or state.leader in state.isr
        assert state.isr
        assert set(state.isr) <= set(state.replicas)
        for listed in (state.isr, state.replicas, state.adding, state.removing):
            assert len(set(listed)) == len(listed)
        assert set(state.adding) | set(state.removing) <= set(state.replicas)
        assert not set(state.adding) & set(state.removing)

    @invariant()
    def a_member_of_the_isr_has_everything(self) -> None:
        assert self.kept
        assert self.state.leader == NO_LEADER or self.state.leader in self.kept, "clean elections lose nothing"

    @rule(node=nodes)
    def dies(self, node: int) -> None:
        self.live.discard(node)
        if self.state.leader == node:
            self.decide(without_replica(self.state, node, EPOCH))
            self.decide(elect(self.state, self.live, EPOCH))
        elif node in self.state.isr:
            self.decide(without_replica(self.state, node, EPOCH))

    @rule(node=nodes)
    def comes(self, node: int) -> None:
        self.live.add(node)
        if self.state.leader == NO_LEADER and self.decide(elect(self.state, self.live, EPOCH)):
            assert self.state.leader in self.live

    @rule(node=nodes)
    def stops(self, node: int) -> None:
        staying = self.live - {node}
        if self.state.leader == node and self.decide(elect_for_shutdown(self.state, staying, EPOCH)):
            assert self.state.leader in staying
            assert node not in self.state.isr

    @rule()
    def gets_its_preferred_leader(self) -> None:
        if self.state.leader != NO_LEADER and self.decide(elect_preferred(self.state, self.live, EPOCH)):
            assert self.state.leader == self.state.replicas[0]

    @rule(data=st.data())
    def catches_up(self, data: st.DataObject) -> None:
        """The leader's own decision: the ISR grows, the leader epoch stays."""
        behind = [node for node in self.state.replicas if node in self.live and node not in self.state.isr]
        if behind and self.state.leader != NO_LEADER:
            node = data.draw(st.sampled_from(behind))
            self.state = self.state._replace(
                isr=(*self.state.isr, node), partition_epoch=self.state.partition_epoch + 1
            )
            self.kept.add(node)

    @rule(wanted=replica_lists)
    def is_reassigned(self, wanted: tuple[int, ...]) -> None:
        before = origin(self.state)
        # Whoever has the committed records stays assigned until those that are to come have them as well.
        if set(self.state.isr) & (set(wanted) | set(before)):
            self.change(wanted)
            assert target(self.state) == wanted
            assert set(origin(self.state)) == set(before)

    def change(self, wanted: tuple[int, ...]) -> None:
        """An override leaves replicas out: one of them that led is replaced at once."""
        new = begun(self.state, wanted, EPOCH)
        if new.leader not in new.isr:
            led = next((node for node in new.replicas if node in self.live and node in new.isr), NO_LEADER)
            new = new._replace(leader=led)
        self.decide(new)

    @precondition(lambda self: self.state.adding or self.state.removing)
    @rule()
    def is_cancelled(self) -> None:
        before = origin(self.state)
        if set(self.state.isr) & set(before):
            self.change(before)
            assert set(target(self.state)) == set(before)
            self.state = ended(self.state)
            assert set(self.state.replicas) == set(before)

    @precondition(lambda self: self.state.adding or self.state.removing)
    @rule()
    def arrives(self) -> None:
        if not is_caught_up(self.state):
            return
        wanted = target(self.state)
        if self.decide(elect_for_reassignment(self.state, wanted, self.live, EPOCH)):
            self.state = ended(self.state)
            assert self.state.leader in wanted
            assert self.state.replicas == wanted
            assert not self.state.adding
            assert not self.state.removing


TestPartitionWalk = pytest.mark.slow(PartitionWalk.TestCase)
TestPartitionWalk.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
