"""One partition as a broker hosts it: who leads in which epoch, the ISR, the high watermark.

It decides up to where records count as committed, which followers belong in the ISR, and which epochs are stale.
Offsets are record offsets, times seconds. It never touches the log and sends nothing: the shell tells it the log's end
and carries its ISR proposals to the controller. Rules: Apache Kafka 3.9 with ZooKeeper, KIP-497 (one ISR change in
flight, the maximal ISR counts meanwhile).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import NO_EPOCH, NO_LEADER, PartitionState
from pykbroker.cluster.replica import UNKNOWN_OFFSET, RemoteReplica
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


class IsrState(Enum):
    """Whether the leader has a change of its ISR in flight."""

    COMMITTED = "Committed"
    EXPANDING = "Expanding"
    SHRINKING = "Shrinking"


COMMITTED, EXPANDING, SHRINKING = IsrState

TRANSITIONS: tuple[tuple[IsrState, str, IsrState], ...] = (
    (COMMITTED, "a follower has reached the high watermark and the leader epoch's start", EXPANDING),
    (COMMITTED, "members lag for longer than `replica.lag.time.max.ms`", SHRINKING),
    (EXPANDING, "the controller has stored it", COMMITTED),
    (EXPANDING, "the controller finds the follower ineligible", COMMITTED),
    (EXPANDING, "another leader epoch begins", COMMITTED),
    (SHRINKING, "the controller has stored it", COMMITTED),
    (SHRINKING, "the controller refuses it for good", COMMITTED),
    (SHRINKING, "another leader epoch begins", COMMITTED),
)
ALLOWED = frozenset((before, after) for before, _, after in TRANSITIONS)


class Proposal(NamedTuple):
    """An ISR change to ask for: the state as it should be, with the epochs that the leader knows."""

    topic_partition: TopicPartition
    state: PartitionState


class Partition:
    """A hosted partition, led or followed. The high watermark is the first offset that isn't committed."""

    __slots__ = (
        "_leading",
        "_pending",
        "epoch_start",
        "followers",
        "high_watermark",
        "isr_state",
        "leading_since",
        "log_end_offset",
        "max_lag",
        "min_insync_replicas",
        "node_id",
        "state",
        "topic_id",
        "topic_partition",
    )

    def __init__(
        self,
        topic_partition: TopicPartition,
        topic_id: UUID,
        node_id: int,
        high_watermark: int,
        log_end_offset: int,
        *,
        max_lag: float = 30.0,
        min_insync_replicas: int = 1,
    ) -> None:
        """`max_lag` is `replica.lag.time.max.ms` in seconds."""
        self.topic_partition = topic_partition
        self.topic_id = topic_id
        self.node_id = node_id
        self.max_lag = max_lag
        self.min_insync_replicas = min_insync_replicas
        self.state = PartitionState(NO_LEADER, NO_EPOCH, (), (), NO_EPOCH, NO_EPOCH)
        self.isr_state = COMMITTED
        self._pending: Proposal | None = None
        self._leading = False
        self.leading_since = NO_EPOCH
        """The leader epoch in which this broker took over, of those in which it has led without a break."""
        self.followers: dict[int, RemoteReplica] = {}
        self.epoch_start = UNKNOWN_OFFSET
        """Where the log ended when this leader epoch began."""
        self.log_end_offset = log_end_offset
        self.high_watermark = min(high_watermark, log_end_offset)

    @property
    def is_leader(self) -> bool:
        """Whether this broker leads it."""
        return self._leading

    @property
    def leader_epoch(self) -> int:
        """The epoch of the last leadership decision; -1 before the first."""
        return self.state.leader_epoch

    @property
    def isr(self) -> tuple[int, ...]:
        """The ISR as it is stored."""
        return self.state.isr

    @property
    def maximal_isr(self) -> tuple[int, ...]:
        """Every member that the ISR may have by now: acks=all waits for all of them (KIP-497)."""
        if self.isr_state is EXPANDING and self._pending is not None:
            return self._pending.state.isr
        return self.state.isr

    # ---- leadership ------------------------------------------------------------------------------------------------

    def become_leader(self, state: PartitionState, now: float = 0.0) -> bool:
        """Takes a leadership decision over; False where it is not newer than what is known (a stale controller's)."""
        if state.leader_epoch <= self.leader_epoch:
            return False
        # An epoch that wasn't heard of may have been another leader's, whom followers have cut their logs for.
        new_leader = not self._leading or state.leader_epoch != self.leader_epoch + 1
        self._take(state)
        self._leading = True
        self.epoch_start = self.log_end_offset
        if new_leader:
            self.leading_since = state.leader_epoch
        others = [node for node in state.replicas if node != self.node_id]
        self.followers = {node: self.followers.get(node) or RemoteReplica(node) for node in others}
        for node, follower in self.followers.items():
            follower.reset(now, self.log_end_offset, in_sync=node in state.isr, new_leader=new_leader)
        self._advance(now)
        return True

    def become_follower(self, state: PartitionState) -> bool:
        """Follows `state.leader`, or nobody where that is -1; False for a stale decision."""
        if state.leader_epoch <= self.leader_epoch:
            return False
        self._take(state)
        self._leading = False
        self.followers = {}
        self.epoch_start = UNKNOWN_OFFSET
        return True

    def _take(self, state: PartitionState) -> None:
        self._settle()
        self.state = state

    # ---- the log ---------------------------------------------------------------------------------------------------

    def appended(self, log_end_offset: int, now: float = 0.0) -> bool:
        """As leader: takes note of the log's new end; True if the high watermark moved."""
        self.log_end_offset = log_end_offset
        return self._advance(now)

    def replicated(self, log_end_offset: int, leader_high_watermark: int) -> bool:
        """As follower: the log's end, and what the leader said of the high watermark; True if it moved."""
        self.log_end_offset = log_end_offset
        known = min(leader_high_watermark, log_end_offset)
        if known <= self.high_watermark:
            return False
        self.high_watermark = known
        return True

    def truncated(self, log_end_offset: int) -> bool:
        """As follower: the log was cut; True if committed records are gone with it, as after an unclean election."""
        self.log_end_offset = log_end_offset
        if self.high_watermark <= log_end_offset:
            return False
        self.high_watermark = log_end_offset
        return True

    def restarted(self, log_start_offset: int) -> None:
        """As follower: the log begins anew at an offset that is the leader's log start."""
        self.log_end_offset = self.high_watermark = log_start_offset

    def _advance(self, now: float) -> bool:
        """The high watermark is the smallest end among the maximal ISR and those about to join it.

        It stands still while the ISR is smaller than `min.insync.replicas` (KIP-966, from 3.7 on).
        """
        lowest = self.log_end_offset
        if self.followers:
            if self._is_under_min_isr():
                return False
            members = self.maximal_isr
            for follower in self.followers.values():
                end = follower.log_end_offset
                if end < lowest and (
                    follower.id in members or follower.is_caught_up(self.log_end_offset, now, self.max_lag)
                ):
                    lowest = end
        if lowest <= self.high_watermark:
            return False
        self.high_watermark = lowest
        return True

    def low_watermark(self, log_start_offset: int, live: Container[int]) -> int:
        """What no live replica has any more: DeleteRecords is done when it has reached the offset asked for."""
        starts = (one.log_start_offset for one in self.followers.values() if one.id in live)
        return min(log_start_offset, *starts, log_start_offset)

    def preferred_reader(self, racks: Mapping[int, str | None], rack: str, offset: int) -> int | None:
        """The replica for a consumer in `rack` to read `offset` from (KIP-392); None for the leader itself.

        `racks` are those of the live brokers. Members of the ISR that have the offset are asked, the leader first
        where it is in the rack, else the one that has most.
        """
        if not rack or racks.get(self.node_id) == rack:
            return None
        fitting = [
            one
            for one in self.followers.values()
            if one.id in self.state.isr
            and racks.get(one.id) == rack
            and one.log_start_offset <= offset <= one.log_end_offset
        ]
        if not fitting:
            return None
        return max(fitting, key=lambda one: (one.log_end_offset, one.last_caught_up)).id

    # ---- followers and the ISR -------------------------------------------------------------------------------------

    def follower_fetched(
        self, broker_id: int, offset: int, log_start_offset: int, leader_end: int, now: float
    ) -> tuple[bool, bool]:
        """A follower fetches from `offset` on: whether that moves the high watermark, and its own log's start.

        The follower is one of `followers`; the caller has checked that the offset is in the log and doesn't diverge.
        """
        follower = self.followers[broker_id]
        before, start = follower.log_end_offset, follower.log_start_offset
        follower.fetched(offset, log_start_offset, leader_end, now)
        moved = before != offset and self._advance(now)
        return moved, start != log_start_offset

    def propose_expansion(self, broker_id: int) -> Proposal | None:
        """The ISR with a follower that has caught up; None where it hasn't, is a member, or a change is in flight."""
        follower = self.followers.get(broker_id)
        if follower is None or self.isr_state is not COMMITTED or broker_id in self.state.isr:
            return None
        if follower.log_end_offset < max(self.high_watermark, self.epoch_start):
            return None
        return self._propose(EXPANDING, (*self.state.isr, broker_id))

    def lagging(self, now: float) -> tuple[int, ...]:
        """The members of the ISR that haven't been caught up for `max_lag`. The leader is none of them."""
        found = []
        for node in self.state.isr:
            follower = self.followers.get(node)
            if follower is not None and not follower.is_caught_up(self.log_end_offset, now, self.max_lag):
                found.append(node)
        return tuple(found)

    def propose_shrinking(self, now: float) -> Proposal | None:
        """The ISR without those that lag; None where nobody does or a change is in flight."""
        if not self._leading or self.isr_state is not COMMITTED:
            return None
        lagging = self.lagging(now)
        if not lagging:
            return None
        return self._propose(SHRINKING, tuple(node for node in self.state.isr if node not in lagging))

    def _propose(self, isr_state: IsrState, isr: tuple[int, ...]) -> Proposal:
        self._become(isr_state)
        self._pending = Proposal(self.topic_partition, self.state._replace(isr=isr))
        return self._pending

    def is_pending(self, proposal: Proposal) -> bool:
        """Whether this is the change in flight: a newer leader epoch has made others void."""
        return self._pending is proposal

    def stored(self, proposal: Proposal, partition_epoch: int, now: float) -> bool:
        """The controller has stored a proposal; True if the high watermark moved. A void one changes nothing."""
        if not self.is_pending(proposal) or partition_epoch < self.state.partition_epoch:
            return False
        self._settle()
        self.state = proposal.state._replace(partition_epoch=partition_epoch)
        return self._advance(now)

    def refused(self, proposal: Proposal, now: float) -> bool:
        """The proposal will not be stored: the ISR is what it was; True if the high watermark moved."""
        if not self.is_pending(proposal):
            return False
        self._settle()
        return self._advance(now)

    def _settle(self) -> None:
        if self.isr_state is not COMMITTED:
            self._become(COMMITTED)
        self._pending = None

    def _become(self, isr_state: IsrState) -> None:
        if (self.isr_state, isr_state) not in ALLOWED:
            raise RuntimeError(f"{self.topic_partition}: {self.isr_state.value} to {isr_state.value}")
        self.isr_state = isr_state

    # ---- checks ----------------------------------------------------------------------------------------------------

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """Fences a client with another epoch in mind (KIP-320); -1 asks nothing.

        Raises FENCED_LEADER_EPOCH for an older one, UNKNOWN_LEADER_EPOCH for one that is not known here yet.
        """
        if current_leader_epoch in (NO_EPOCH, self.state.leader_epoch):
            return
        if current_leader_epoch < self.state.leader_epoch:
            raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH)
        raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH)

    def check_follower(self, broker_id: int, current_leader_epoch: int) -> None:
        """Raises what a broker is answered that is no replica here: UNKNOWN_LEADER_EPOCH where it has an epoch in mind.

        It may have heard of a reassignment earlier than this leader.
        """
        if broker_id not in self.followers:
            asked = current_leader_epoch != NO_EPOCH
            raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH if asked else ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def _min_isr(self) -> int:
        """More than there are replicas at all isn't asked for: a topic of one replica takes acks=all."""
        return min(self.min_insync_replicas, len(self.state.replicas))

    def _is_under_min_isr(self) -> bool:
        return len(self.state.isr) < self._min_isr()

    def check_min_insync(self) -> None:
        """Refuses acks=all below `min.insync.replicas`, before anything is appended: NOT_ENOUGH_REPLICAS."""
        if self._is_under_min_isr():
            raise KafkaError(ErrorCode.NOT_ENOUGH_REPLICAS)

    def check_min_insync_after_append(self) -> None:
        """What is committed, but by too few: NOT_ENOUGH_REPLICAS_AFTER_APPEND."""
        if len(self.maximal_isr) < self._min_isr():
            raise KafkaError(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
