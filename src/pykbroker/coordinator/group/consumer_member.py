"""A member of a consumer group, and how it is led from the partitions that it has to those it shall have (KIP-848).

`reconcile` is the whole of it: a member first gives up what its target lacks, and is told of a partition only when
nobody else has it any more. It decides from what it is given and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from uuid import UUID

from pykbroker.coordinator.group.assignment import Assignment, TopicIdPartition
from pykbroker.coordinator.group.member import Protocols
from pykbroker.coordinator.group.modern_group import ModernMember
from pykbroker.protocol.errors import ErrorCode, KafkaError

LEFT = -1
LEFT_FOR_A_WHILE = -2
"""The epoch of a static member that said it would be back."""


class MemberState(Enum):
    """Kafka's states, by the number that records have."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    UNRELEASED_PARTITIONS = 2
    UNKNOWN = 127

    @classmethod
    def _missing_(cls, value: object) -> MemberState:
        return cls.UNKNOWN


STABLE, UNREVOKED, UNRELEASED, UNKNOWN = MemberState

TRANSITIONS: tuple[tuple[MemberState, str, MemberState], ...] = (
    (STABLE, "it has partitions that its target or its subscription lacks", UNREVOKED),
    (STABLE, "its target has partitions that others haven't released", UNRELEASED),
    (UNREVOKED, "it has given them up, and all of its target is free", STABLE),
    (UNREVOKED, "it has given them up, and others haven't released all of its target", UNRELEASED),
    (UNRELEASED, "others have released the last of its target", STABLE),
    (UNRELEASED, "a newer target or its subscription lacks partitions that it has", UNREVOKED),
    (UNKNOWN, "it rejoins without partitions after a downgrade of the broker, and all of its target is free", STABLE),
    (UNKNOWN, "it rejoins so, and others haven't released all of its target", UNRELEASED),
)
"""From, why, to."""

ALLOWED = frozenset((before, after) for before, _, after in TRANSITIONS) | {(one, one) for one in MemberState}

Held = Mapping[TopicIdPartition, int]
"""Partitions, and the member epoch in which each was assigned (KIP-1251)."""


@dataclass(frozen=True, slots=True)
class ClassicProtocol:
    """What a member that speaks the classic protocol told in JoinGroup."""

    session_timeout_ms: int
    protocols: Protocols


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerMember(ModernMember):
    """A member as its two records have it: what it told of itself, and what it has."""

    rebalance_timeout_ms: int = -1
    pattern: str = ""
    """The regular expression that it subscribes to; empty for none."""
    assignor: str | None = None
    previous_epoch: int = -1
    state: MemberState = STABLE
    assigned: Held = field(default_factory=dict)
    revoking: Held = field(default_factory=dict)
    """What it has yet to give up."""
    classic: ClassicProtocol | None = None
    """Set for one that uses JoinGroup, SyncGroup and Heartbeat."""

    def is_reconciled_to(self, epoch: int) -> bool:
        """Whether it has arrived at the target of that epoch."""
        return self.state is STABLE and self.epoch == epoch

    def at(self, epoch: int, state: MemberState, assigned: Held, revoking: Held) -> ConsumerMember:
        """The member further on. Raises AssertionError for a way that isn't in the table."""
        if (self.state, state) not in ALLOWED:
            raise AssertionError(f"member {self.member_id} can't go from {self.state.name} to {state.name}")
        return replace(self, epoch=epoch, previous_epoch=self.epoch, state=state, assigned=assigned, revoking=revoking)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a member shall be led, and what it says of itself."""

    epoch: int
    partitions: Assignment
    topics: frozenset[UUID]
    """The topics that it subscribes to: a target that is older than its subscription counts only so far."""
    subscription_changed: bool
    owned: Assignment | None
    """The partitions that it says it has; None where it doesn't say."""
    is_released: Callable[[TopicIdPartition], bool]
    """Whether nobody has a partition."""


def reconcile(member: ConsumerMember, target: Target) -> ConsumerMember:
    """The member's next step. Raises FENCED_MEMBER_EPOCH for one in a state that isn't known."""
    if member.state is STABLE:
        if member.epoch != target.epoch:
            return _advance(member, member.epoch, target)
        return _shrunk(member, target) if target.subscription_changed else member
    if member.state is UNREVOKED:
        if _owns_any(target.owned, member.revoking):
            return _shrunk(member, target) if target.subscription_changed else member
        return _advance(member, member.epoch, target)
    if member.state is UNRELEASED:
        return _advance(member, member.epoch, target)
    if target.owned is None or target.owned:
        raise KafkaError(
            ErrorCode.FENCED_MEMBER_EPOCH,
            "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
        )
    return _advance(member, target.epoch, target)


def _owns_any(owned: Assignment | None, partitions: Held) -> bool:
    """A member that doesn't say what it owns is taken to own all."""
    return owned is None or not owned.isdisjoint(partitions)


def _shrunk(member: ConsumerMember, target: Target) -> ConsumerMember:
    """Takes partitions away of topics that it doesn't subscribe to any more, in its present epoch."""
    kept = {tp: epoch for tp, epoch in member.assigned.items() if tp.topic_id in target.topics}
    if len(kept) == len(member.assigned):
        return member
    lost = {tp: epoch for tp, epoch in member.assigned.items() if tp not in kept}
    revoking = {**member.revoking, **lost}
    if _owns_any(target.owned, revoking):
        return member.at(member.epoch, UNREVOKED, kept, revoking)
    return member.at(member.epoch, member.state, kept, member.revoking)


def _advance(member: ConsumerMember, epoch: int, target: Target) -> ConsumerMember:
    """Towards the target: gives up first what it lacks, then takes what nobody has."""
    wanted = {tp for tp in target.partitions if tp.topic_id in target.topics}
    kept = {tp: since for tp, since in member.assigned.items() if tp in wanted}
    lost = {tp: since for tp, since in member.assigned.items() if tp not in wanted}
    if lost and _owns_any(target.owned, lost):
        return member.at(epoch, UNREVOKED, kept, lost)
    missing = wanted - kept.keys()
    free = {tp for tp in missing if tp in member.revoking or target.is_released(tp)}
    assigned = {**kept, **dict.fromkeys(sorted(free), target.epoch)}
    return member.at(target.epoch, STABLE if free == missing else UNRELEASED, assigned, {})
