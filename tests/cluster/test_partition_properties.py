"""Whatever happens in whatever order: what was once committed stays, and stays what it is.

Three brokers with real partition rules and logs that are lists, a controller, and a network that loses answers and
delays decisions: stale leaders go on until they hear of it. Elections are from the ISR alone.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykbroker.cluster.image import NO_LEADER, PartitionState
from pykbroker.cluster.partition import Partition, Proposal
from pykbroker.cluster.replica import truncation_offset
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.leader_epochs import LeaderEpochs

TP = TopicPartition("t", 0)
BROKERS = (1, 2, 3)
BROKER = st.sampled_from(BROKERS)
Entry = tuple[int, int]
"""A record: the leader epoch in which it was appended, and a value that no other has."""


class Epochs(LeaderEpochs):
    """Leader epochs without a file."""

    def _store(self, entries: list[tuple[int, int]]) -> None:
        self._set(entries)


class Broker:
    """A log that survives, and the rules that don't."""

    def __init__(self, node_id: int) -> None:
        self.id = node_id
        self.log: list[Entry] = []
        self.epochs = Epochs("")
        self.checkpoint = 0
        self.alive = True
        self.start()

    def start(self) -> None:
        self.partition = Partition(TP, UUID(int=1), self.id, self.checkpoint, len(self.log), max_lag=30.0)

    def cut(self, offset: int) -> None:
        self.epochs.truncate_from_end(min(offset, len(self.log)))
        del self.log[offset:]
        self.partition.truncated(len(self.log))


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.brokers = {node: Broker(node) for node in BROKERS}
        self.state = PartitionState(1, 0, BROKERS, BROKERS, 0, 1)
        self.proposals: list[tuple[Broker, Proposal]] = []
        self.committed: list[Entry] = []
        self.seen: dict[tuple[int, int], int] = {}
        self.now = 0.0
        self.values = 0
        for node in BROKERS:
            self.deliver(node)

    # ---- the controller --------------------------------------------------------------------------------------------

    def decide(self, leader: int, isr: tuple[int, ...]) -> None:
        self.state = self.state._replace(
            leader=leader,
            isr=isr,
            leader_epoch=self.state.leader_epoch + 1,
            partition_epoch=self.state.partition_epoch + 1,
        )

    def live(self, nodes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(node for node in nodes if self.brokers[node].alive)

    @rule(node=BROKER)
    def elect(self, node: int) -> None:
        """A preferred election, or a controlled shutdown's."""
        if node in self.live(self.state.isr):
            self.decide(node, self.state.isr)

    @rule(node=BROKER)
    def deliver(self, node: int) -> None:
        """LeaderAndIsr arrives, perhaps late, perhaps again."""
        broker = self.brokers[node]
        if not broker.alive:
            return
        partition = broker.partition
        if self.state.leader != node:
            partition.become_follower(self.state)
        elif partition.become_leader(self.state, self.now):
            broker.epochs.assign(self.state.leader_epoch, len(broker.log))

    @rule(node=BROKER)
    def kill(self, node: int) -> None:
        """The session ends at once; what the broker knew is gone but for its log and an old checkpoint."""
        broker = self.brokers[node]
        if not broker.alive:
            return
        broker.alive = False
        self.proposals = [one for one in self.proposals if one[0] is not broker]
        others = tuple(one for one in self.state.isr if one != node)
        if self.state.leader == node:
            live = self.live(others)
            self.decide(live[0] if live else NO_LEADER, others if live else self.state.isr)
        elif node in self.state.isr and others:
            self.decide(self.state.leader, others)

    @rule(node=BROKER)
    def restart(self, node: int) -> None:
        broker = self.brokers[node]
        if broker.alive:
            return
        broker.alive = True
        broker.start()
        if self.state.leader == NO_LEADER and node in self.state.isr:
            self.decide(node, (node,))

    # ---- producers and time ----------------------------------------------------------------------------------------

    @rule(node=BROKER, count=st.integers(1, 3))
    def append(self, node: int, count: int) -> None:
        """To whoever believes to lead, stale or not."""
        broker = self.brokers[node]
        if broker.alive and broker.partition.is_leader:
            for _ in range(count):
                self.values += 1
                broker.log.append((broker.partition.leader_epoch, self.values))
            broker.partition.appended(len(broker.log), self.now)

    @rule(node=BROKER)
    def write_checkpoint(self, node: int) -> None:
        self.brokers[node].checkpoint = self.brokers[node].partition.high_watermark

    @rule(seconds=st.sampled_from((1.0, 40.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for broker in self.brokers.values():
            if broker.alive:
                self.submit(broker, broker.partition.propose_shrinking(self.now))

    # ---- replication -----------------------------------------------------------------------------------------------

    @rule(node=BROKER, lost=st.booleans(), limit=st.integers(1, 4))
    def fetch(self, node: int, lost: bool, limit: int) -> None:
        """A follower's fetch; its answer may be lost after the leader has drawn its conclusions."""
        follower = self.brokers[node]
        leader = self.brokers.get(follower.partition.state.leader)
        if not follower.alive or leader is None or not leader.alive or follower.partition.is_leader:
            return
        if not leader.partition.is_leader or leader.partition.leader_epoch != follower.partition.leader_epoch:
            return
        offset, latest = len(follower.log), follower.epochs.latest
        if latest is not None:
            epoch, end = leader.epochs.end_offset(latest, len(leader.log))
            if epoch < latest or end < offset:
                if not lost:
                    self.diverge(follower, epoch, end)
                return
        if offset > len(leader.log):
            if not lost:
                follower.cut(len(leader.log))
            return
        leader.partition.follower_fetched(node, offset, 0, len(leader.log), self.now)
        self.submit(leader, leader.partition.propose_expansion(node))
        if lost:
            return
        for entry in leader.log[offset : offset + limit]:
            follower.epochs.assign(entry[0], len(follower.log))
            follower.log.append(entry)
        follower.partition.replicated(len(follower.log), leader.partition.high_watermark)

    def diverge(self, follower: Broker, epoch: int, end: int) -> None:
        own_epoch, own_end = follower.epochs.end_offset(epoch, len(follower.log))
        follower.cut(
            truncation_offset(epoch, end, own_epoch, own_end, len(follower.log), follower.partition.high_watermark)
        )

    # ---- ISR changes -----------------------------------------------------------------------------------------------

    def submit(self, broker: Broker, proposal: Proposal | None) -> None:
        if proposal is not None:
            self.proposals.append((broker, proposal))

    @precondition(lambda self: cast("Cluster", self).proposals)
    @rule(lost=st.booleans())
    def store(self, lost: bool) -> None:
        """The oldest proposal reaches the store; the answer may be lost, and then it is asked again."""
        broker, proposal = self.proposals[0]
        if not broker.partition.is_pending(proposal):
            self.proposals.pop(0)
            return
        wanted, known = proposal.state, self.state
        repeated = wanted.leader_epoch == known.leader_epoch and wanted.isr == known.isr
        if not repeated:
            if (wanted.leader_epoch, wanted.partition_epoch) != (known.leader_epoch, known.partition_epoch):
                self.proposals.pop(0)  # Superseded: the leader stays as it is until it hears more.
                return
            if set(wanted.isr) - set(known.isr) - set(self.live(wanted.isr)):
                self.proposals.pop(0)
                broker.partition.refused(proposal, self.now)
                return
            self.state = known._replace(isr=wanted.isr, partition_epoch=known.partition_epoch + 1)
        if not lost:
            self.proposals.pop(0)
            broker.partition.stored(proposal, self.state.partition_epoch, self.now)

    # ---- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def what_is_committed_stays(self) -> None:
        for broker in self.brokers.values():
            if broker.alive:
                visible = broker.log[: broker.partition.high_watermark]
                assert len(visible) == broker.partition.high_watermark
                common = min(len(visible), len(self.committed))
                assert visible[:common] == self.committed[:common], f"broker {broker.id} shows another history"
                if broker.partition.is_leader:
                    self.committed += visible[common:]

    @invariant()
    def every_member_has_all_of_it(self) -> None:
        for node in self.state.isr:
            log = self.brokers[node].log
            assert log[: len(self.committed)] == self.committed, f"member {node} lacks committed records"

    @invariant()
    def a_leaders_high_watermark_never_goes_back(self) -> None:
        for broker in self.brokers.values():
            partition = broker.partition
            if broker.alive and partition.is_leader:
                before = self.seen.get((broker.id, partition.leading_since), 0)
                assert partition.high_watermark >= before
                self.seen[broker.id, partition.leading_since] = partition.high_watermark

    @invariant()
    def at_most_one_leads_in_an_epoch(self) -> None:
        epochs = [one.partition.leader_epoch for one in self.brokers.values() if one.alive and one.partition.is_leader]
        assert len(epochs) == len(set(epochs))


WALKS = int(os.environ.get("PYKBROKER_WALKS", "250"))
"""How many random histories: each is up to a hundred steps of a kind that hypothesis is too slow to walk."""


@pytest.mark.slow
def test_random_histories() -> None:
    seed = int(os.environ.get("PYKBROKER_SEED", "1"))
    for number in range(WALKS):
        random = Random(seed * 1_000_003 + number)
        cluster = Cluster()
        try:
            for _ in range(random.choice((30, 100))):
                _step(cluster, random)
                cluster.what_is_committed_stays()
                cluster.every_member_has_all_of_it()
                cluster.a_leaders_high_watermark_never_goes_back()
                cluster.at_most_one_leads_in_an_epoch()
        except AssertionError as error:
            raise AssertionError(f"history {number} of seed {seed}: {error}") from error


def _step(cluster: Cluster, random: Random) -> None:
    """One thing happens; replication more often than faults."""
    node = random.choice(BROKERS)
    lost = random.random() < 0.2
    what = random.choices(STEPS, WEIGHTS)[0]
    if what == "fetch":
        cluster.fetch(node, lost, random.randint(1, 4))
    elif what == "store":
        if cluster.proposals:
            cluster.store(random.random() < 0.4)
    elif what == "append":
        cluster.append(node, random.randint(1, 3))
    elif what == "wait":
        cluster.wait(random.choice((1.0, 40.0)))
    else:
        getattr(cluster, what)(node)


STEPS = ("fetch", "store", "append", "wait", "deliver", "kill", "restart", "elect", "write_checkpoint")
WEIGHTS = (30, 10, 10, 6, 14, 3, 6, 2, 3)

TestCluster: Any = pytest.mark.slow(Cluster.TestCase)
TestCluster.settings = settings(
    max_examples=int(os.environ.get("PYKBROKER_EXAMPLES", "12")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
