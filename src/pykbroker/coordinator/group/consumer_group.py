"""A consumer group (KIP-848): members that heartbeat, a target assignment, and who has which partition now.

It holds what the records say, answers what follows from that, and ends sessions. What a heartbeat comes to is decided
in `consumer_groups`, a member's next step in `consumer_member`; `consumer_classic` has the members that speak the
classic protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import Enum

from pykbroker.coordinator.group import consumer_records as records
from pykbroker.coordinator.group.assignment import NOTHING, Assignment, TopicIdPartition
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.consumer_member import UNRELEASED, UNREVOKED, ConsumerMember
from pykbroker.coordinator.group.group import Committer, GroupKind
from pykbroker.coordinator.group.modern_group import ModernGroup
from pykbroker.coordinator.group.topic_patterns import ResolvedPattern
from pykbroker.coordinator.result import NEVER, Draft, Now
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


class ConsumerGroupState(Enum):
    """Kafka's names, as ConsumerGroupDescribe and ListGroups spell them."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"
    DEAD = "Dead"


EMPTY, ASSIGNING, RECONCILING, STABLE, DEAD = ConsumerGroupState

TRANSITIONS: tuple[tuple[ConsumerGroupState, str, ConsumerGroupState], ...] = (
    (EMPTY, "a member joins and gets its target at once", STABLE),
    (EMPTY, "a member joins within the assignment interval", ASSIGNING),
    (EMPTY, "the group is deleted, or becomes a classic one", DEAD),
    (ASSIGNING, "a heartbeat after the assignment interval computes the target", RECONCILING),
    (ASSIGNING, "the target is what all members have", STABLE),
    (ASSIGNING, "the last member is gone", EMPTY),
    (ASSIGNING, "its last member without the classic protocol is gone: it becomes a classic group", DEAD),
    (RECONCILING, "the last member has arrived at the target", STABLE),
    (RECONCILING, "the group's epoch is bumped", ASSIGNING),
    (RECONCILING, "the last member is gone", EMPTY),
    (RECONCILING, "its last member without the classic protocol is gone: it becomes a classic group", DEAD),
    (STABLE, "the group's epoch is bumped", ASSIGNING),
    (STABLE, "the epoch is bumped, and the target computed at once", RECONCILING),
    (STABLE, "the last member is gone", EMPTY),
    (STABLE, "its last member without the classic protocol is gone: it becomes a classic group", DEAD),
)
"""From, why, to: the state follows from epochs and members, nobody sets it."""

Downgrade = Callable[["ConsumerGroup", Collection[ConsumerMember], Now, Draft], bool]
"""Makes a classic group of it without these members, where all others speak the classic protocol; whether it did."""


class ConsumerGroup(ModernGroup[ConsumerMember]):
    """One group."""

    __slots__ = ("config", "downgrade", "has_legacy_record", "owners", "patterns", "rebalances", "static", "waits")

    kind = GroupKind.CONSUMER

    def __init__(self, group_id: str, config: GroupConfig, surroundings: Surroundings, downgrade: Downgrade) -> None:
        super().__init__(group_id, surroundings)
        self.config = config
        self.downgrade = downgrade
        self.static: dict[str, str] = {}
        """Member ids by group instance id."""
        self.owners: dict[TopicIdPartition, str] = {}
        """Who has a partition, or has yet to give it up."""
        self.patterns: dict[str, ResolvedPattern] = {}
        self.has_legacy_record = False
        self.rebalances: dict[str, tuple[float, int]] = {}
        """Until when a member has to give partitions up, and the epoch in which it was told so; volatile."""
        self.waits: dict[str, float] = {}
        """Until when a classic member has to send JoinGroup or SyncGroup; volatile."""

    # Settings, which the group's own config may override

    @property
    def session_timeout_ms(self) -> int:
        """`consumer.session.timeout.ms`."""
        return self._setting("consumer.session.timeout.ms", self.config.group_consumer_session_timeout_ms)

    @property
    def heartbeat_interval_ms(self) -> int:
        """`consumer.heartbeat.interval.ms`."""
        return self._setting("consumer.heartbeat.interval.ms", self.config.group_consumer_heartbeat_interval_ms)

    @property
    def assignment_interval_ms(self) -> int:
        """`consumer.assignment.interval.ms`: at least this long from one target assignment to the next."""
        return self._setting("consumer.assignment.interval.ms", self.config.group_consumer_assignment_interval_ms)

    def _setting(self, name: str, default: int) -> int:
        value = self.surroundings.group_config(self.group_id).get(name)
        return default if value is None else int(value)

    # What it shows

    @property
    def state(self) -> ConsumerGroupState:
        """The state that follows from epochs and members."""
        if not self.members:
            return EMPTY
        if self.epoch > self.target_epoch:
            return ASSIGNING
        arrived = all(member.is_reconciled_to(self.target_epoch) for member in self.members.values())
        return STABLE if arrived else RECONCILING

    @property
    def state_name(self) -> str:
        """The state by Kafka's name."""
        return self.state.value

    @property
    def protocol_name(self) -> str:
        """The members are consumers."""
        return "consumer"

    def topics_of(self, member: ConsumerMember) -> frozenset[str]:
        """By name, and by regular expression as far as it is resolved."""
        return subscribed_by(member, self.patterns)

    def preferred_assignor(self, members: Iterable[ConsumerMember]) -> str:
        """What most members ask for, else the first of `group.consumer.assignors`."""
        votes: dict[str, int] = {}
        for member in members:
            if member.assignor is not None:
                votes[member.assignor] = votes.get(member.assignor, 0) + 1
        return max(votes, key=lambda name: votes[name], default=self.config.group_consumer_assignors[0])

    def static_member(self, instance_id: str | None) -> ConsumerMember | None:
        """The member with this instance id."""
        return None if instance_id is None else self.members.get(self.static.get(instance_id, ""))

    def subscribers(self, pattern: str) -> int:
        """How many members subscribe to a regular expression."""
        return sum(member.pattern == pattern for member in self.members.values())

    def waits_for_others(self, member: ConsumerMember) -> bool:
        """Whether some of a member's target is still another's."""
        if member.state is not UNRELEASED:
            return False
        target = self.targets.get(member.member_id, NOTHING)
        return any(tp not in member.assigned and tp in self.owners for tp in target)

    # What it allows

    def check_commit(
        self, committer: Committer, partitions: Collection[TopicPartition], now: Now, *, transactional: bool = False
    ) -> None:
        """A member commits in its epoch, or in an older one what it had then already (KIP-1251)."""
        member_id, instance_id, epoch = committer[:3]
        if epoch < 0 and not self.members:
            return
        if transactional and epoch == -1 and not member_id and instance_id is None:
            return
        member = self.member(member_id)
        if not transactional and member.classic is None and committer.version < FIRST_COMMIT_VERSION:
            raise KafkaError(
                ErrorCode.UNSUPPORTED_VERSION,
                "OffsetCommit version 9 or above must be used by members using the consumer group protocol",
            )
        if epoch == member.epoch:
            return
        stale = ErrorCode.STALE_MEMBER_EPOCH if member.classic is None else ErrorCode.ILLEGAL_GENERATION
        if transactional:
            stale = ErrorCode.ILLEGAL_GENERATION
        if epoch > member.epoch:
            raise KafkaError(stale, f"Received member epoch {epoch} is newer than current member epoch {member.epoch}.")
        image = self.surroundings.image()
        for tp in partitions:
            topic = image.topics.get(tp.topic)
            one = None if topic is None else TopicIdPartition(topic.topic_id, tp.partition)
            since = None if one is None else member.assigned.get(one, member.revoking.get(one))
            if since is None:
                raise KafkaError(stale, f"Partition {tp} is not assigned or pending revocation for member.")
            if epoch < since:
                raise KafkaError(
                    stale, f"Received member epoch {epoch} is older than assignment epoch {since} for partition {tp}."
                )

    def check_fetch(self, member_id: str | None, epoch: int) -> None:
        """A member fetches in its epoch."""
        if member_id is None and epoch < 0:
            return
        member = self.member(member_id or "")
        if epoch != member.epoch:
            code = ErrorCode.STALE_MEMBER_EPOCH if member.classic is None else ErrorCode.ILLEGAL_GENERATION
            raise KafkaError(
                code, f"The received member epoch {epoch} does not match the expected member epoch {member.epoch}."
            )

    # What it writes

    def write_epoch(self, epoch: int, hash_: int, draft: Draft) -> None:
        """The group's epoch; the record that Kafka 4.0 had instead of the hash goes with it."""
        draft.records.append(records.epoch_record(self.group_id, epoch, hash_))
        if self.has_legacy_record:
            draft.records.append(records.legacy_tombstone(self.group_id))

    def write_target(self, member_id: str, assignment: Assignment, draft: Draft) -> None:
        """A member's target."""
        draft.records.append(records.target_record(self.group_id, member_id, assignment))

    def write_target_epoch(self, epoch: int, timestamp_ms: int, draft: Draft) -> None:
        """The targets' epoch."""
        draft.records.append(records.target_epoch_record(self.group_id, epoch, timestamp_ms))

    def tombstones(self, draft: Draft) -> None:
        """All that is written of the group."""
        draft.records += records.group_tombstones(self.group_id, self.members, self.patterns)

    # Leaving

    def fence(self, members: Collection[ConsumerMember], now: Now, draft: Draft) -> None:
        """Takes members out, all in one epoch; the rest may then be a classic group."""
        if not members or self.downgrade(self, members, now, draft):
            return
        gone = {member.member_id for member in members}
        for member in members:
            draft.records += records.member_tombstones(self.group_id, member.member_id)
            self.forget_time(member.member_id)
        left = {member_id: member for member_id, member in self.members.items() if member_id not in gone}
        in_use = {member.pattern for member in left.values()}
        unused = {member.pattern for member in members} - in_use - {""}
        draft.records += [records.pattern_tombstone(self.group_id, pattern) for pattern in sorted(unused)]
        self.bumped(left, draft, forced=True)

    # Time

    def forget_time(self, member_id: str) -> None:
        """Nothing is waited for of a member any more."""
        self.sessions.pop(member_id, None)
        self.rebalances.pop(member_id, None)
        self.waits.pop(member_id, None)

    def time_rebalance(self, member: ConsumerMember, now: Now) -> None:
        """One that has to give partitions up has its rebalance timeout for it; a classic one has to rejoin instead."""
        if member.state is UNREVOKED and member.classic is None:
            deadline = now.after_ms(member.rebalance_timeout_ms)
            self.rebalances[member.member_id] = (deadline, member.epoch)
            self.deadline = min(self.deadline, deadline)
        else:
            self.rebalances.pop(member.member_id, None)

    def wait_for(self, member: ConsumerMember, timeout_ms: int, now: Now, *, anew: bool = True) -> None:
        """A classic member has so long for its next JoinGroup or SyncGroup."""
        if anew or member.member_id not in self.waits:
            self.waits[member.member_id] = now.after_ms(timeout_ms)
            self.deadline = min(self.deadline, self.waits[member.member_id])

    def expire(self, now: Now, draft: Draft) -> None:
        """Fences, in one epoch, whose session is over, who holds a rebalance up, who doesn't join or sync in time."""
        late = {member.member_id: member for member in self.overdue(now)}
        for member_id, (deadline, epoch) in list(self.rebalances.items()):
            if deadline <= now.monotonic:
                del self.rebalances[member_id]
                member = self.members.get(member_id)
                if member is not None and member.epoch == epoch and member.state is UNREVOKED:
                    late[member_id] = member
        for member_id, deadline in list(self.waits.items()):
            if deadline <= now.monotonic:
                del self.waits[member_id]
                if member_id in self.members:
                    late[member_id] = self.members[member_id]
        self.fence(list(late.values()), now, draft)
        self.deadline = min(
            min(self.sessions.values(), default=NEVER),
            min((deadline for deadline, _ in self.rebalances.values()), default=NEVER),
            min(self.waits.values(), default=NEVER),
        )

    def loaded(self, now: Now, draft: Draft) -> None:
        """Every record is replayed: sessions and rebalance timeouts begin anew."""
        for member in self.members.values():
            classic = member.classic
            self.touch(
                member.member_id, now, self.session_timeout_ms if classic is None else classic.session_timeout_ms
            )
            self.time_rebalance(member, now)

    # What the records say

    def put_member(self, member: ConsumerMember) -> None:
        """A member is as its record says; partitions that it has are its own."""
        old = self.members.get(member.member_id)
        if old is not None:
            self._release(old)
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static[member.instance_id] = member.member_id
        for tp in (*member.assigned, *member.revoking):
            self.owners[tp] = member.member_id

    def remove_member(self, member_id: str) -> None:
        """A member's metadata record is void."""
        member = self.members.pop(member_id, None)
        if member is None:
            return
        self._release(member)
        if member.instance_id is not None and self.static.get(member.instance_id) == member_id:
            del self.static[member.instance_id]

    def reset_member(self, member_id: str) -> None:
        """A member's assignment record is void."""
        member = self.members.get(member_id)
        if member is not None:
            self.put_member(replace(member, epoch=-1, previous_epoch=-1, assigned={}, revoking={}))

    def _release(self, member: ConsumerMember) -> None:
        for tp in (*member.assigned, *member.revoking):
            if self.owners.get(tp) == member.member_id:
                del self.owners[tp]

    @property
    def is_unwritten(self) -> bool:
        """Nobody is in it or about to be, and no record of it has been written: it may be forgotten."""
        return super().is_unwritten and not self.patterns


FIRST_COMMIT_VERSION = 9
"""OffsetCommit's first version for members of consumer groups."""


def subscribed_by(member: ConsumerMember, patterns: Mapping[str, ResolvedPattern]) -> frozenset[str]:
    """All topics that a member subscribes to; an expression that isn't resolved matches none."""
    resolved = patterns.get(member.pattern) if member.pattern else None
    return member.topics if resolved is None else member.topics | resolved.topics
