"""What consumer and share groups have in common: a group epoch, members with epochs, a target assignment (KIP-848).

Whatever makes a new assignment necessary bumps the group's epoch; a target assignment is computed for an epoch; each
member is led there by its heartbeats. Volatile are the sessions alone; everything else changes in `replay` of records,
which the kinds write in forms of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from pykbroker.cluster.image import ClusterImage
from pykbroker.coordinator.group.assignment import (
    NOTHING,
    Assignment,
    Assignor,
    GroupSpec,
    MemberSpec,
    metadata_hash,
    topic_ids,
)
from pykbroker.coordinator.group.config import Surroundings
from pykbroker.coordinator.group.group import Group
from pykbroker.coordinator.group.records import CommittedOffset
from pykbroker.coordinator.result import NEVER, Draft, Now
from pykbroker.protocol.errors import ErrorCode, KafkaError

M = TypeVar("M", bound="ModernMember")


FIRST_EPOCH = 1
"""A group begins here, with nothing assigned; 0 is a member's that wants to join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernMember:
    """What a member told of itself, and its epochs. It doesn't change: a record brings another one."""

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    topics: frozenset[str] = frozenset()
    """The topics that it subscribes to by name."""
    epoch: int = 0
    previous_epoch: int = 0
    """A heartbeat with this one may come from a member that missed the last answer."""


class ModernGroup(Group, Generic[M]):
    """One group whose members heartbeat alone: nobody waits for anybody."""

    __slots__ = (
        "epoch",
        "image_seen",
        "members",
        "metadata_hash",
        "sessions",
        "surroundings",
        "target_epoch",
        "target_timestamp_ms",
        "targets",
    )

    def __init__(self, group_id: str, surroundings: Surroundings) -> None:
        super().__init__(group_id)
        self.surroundings = surroundings
        self.epoch = FIRST_EPOCH
        self.metadata_hash = 0
        self.members: dict[str, M] = {}
        self.target_epoch = FIRST_EPOCH
        """The group epoch that `targets` was computed for."""
        self.target_timestamp_ms = 0
        self.targets: dict[str, Assignment] = {}
        self.sessions: dict[str, float] = {}
        """Each member's deadline; volatile."""
        self.image_seen: ClusterImage | None = None
        """The cluster for which `metadata_hash` is known to hold."""

    # What the kinds write and say

    @abstractmethod
    def write_epoch(self, epoch: int, hash_: int, draft: Draft) -> None:
        """Writes the group's epoch and the hash of its topics."""

    @abstractmethod
    def write_target(self, member_id: str, assignment: Assignment, draft: Draft) -> None:
        """Writes a member's target assignment."""

    @abstractmethod
    def write_target_epoch(self, epoch: int, timestamp_ms: int, draft: Draft) -> None:
        """Writes the epoch that all target assignments are for."""

    @abstractmethod
    def fence(self, members: Collection[M], now: Now, draft: Draft) -> None:
        """Takes members out of the group and bumps its epoch."""

    def topics_of(self, member: M) -> frozenset[str]:
        """All topics that a member subscribes to."""
        return member.topics

    # Members

    def member(self, member_id: str) -> M:
        """The member of this id. Raises UNKNOWN_MEMBER_ID."""
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(
                ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {self.group_id}."
            )
        return member

    def with_member(self, updated: M, replaced: str | None = None) -> dict[str, M]:
        """The members with a new or changed one, in place of the one whose instance id it took over."""
        members = {member_id: member for member_id, member in self.members.items() if member_id != replaced}
        members[updated.member_id] = updated
        return members

    def touch(self, member_id: str, now: Now, timeout_ms: int) -> None:
        """Begins a member's session anew."""
        self.sessions[member_id] = now.after_ms(timeout_ms)
        self.deadline = min(self.deadline, self.sessions[member_id])

    def overdue(self, now: Now) -> list[M]:
        """The members whose session is over."""
        late = [member_id for member_id, deadline in self.sessions.items() if deadline <= now.monotonic]
        for member_id in late:
            del self.sessions[member_id]
        return [self.members[member_id] for member_id in late if member_id in self.members]

    # Epochs

    def subscribed(self, members: Mapping[str, M]) -> set[str]:
        """All topics that these members subscribe to."""
        return set().union(*(self.topics_of(member) for member in members.values()))

    def bumped(
        self, members: Mapping[str, M], draft: Draft, *, forced: bool, topics: Collection[str] | None = None
    ) -> int:
        """The group epoch for these members: a new one if that is forced, or if their topics have changed.

        `topics`: what they subscribe to, where that isn't what the group knows so far.
        """
        image = self.surroundings.image()
        hash_ = metadata_hash(self.subscribed(members) if topics is None else topics, image)
        self.image_seen = image
        if not forced and hash_ == self.metadata_hash:
            return self.epoch
        self.write_epoch(self.epoch + 1, hash_, draft)
        return self.epoch + 1

    @property
    def is_stale(self) -> bool:
        """The cluster has changed since the topics were last looked at."""
        return self.image_seen is not self.surroundings.image()

    # The target assignment

    def may_assign(self, interval_ms: int, now: Now) -> bool:
        """Whether the assignment interval since the last target assignment is over."""
        last = self.target_timestamp_ms
        return last == 0 or interval_ms == 0 or now.wall_ms >= last + interval_ms

    def assign(
        self,
        assignor: Assignor,
        epoch: int,
        members: Mapping[str, M],
        now: Now,
        draft: Draft,
        *,
        replaced: Mapping[str, str] | None = None,
        assignable: Mapping[UUID, Collection[int]] | None = None,
        topics_of: Callable[[M], frozenset[str]] | None = None,
    ) -> Mapping[str, Assignment]:
        """Computes the target assignment for an epoch and writes what has changed.

        `replaced`: the former ids of members that took over an instance id. `assignable`: all partitions that may be
        assigned, where those are fewer than the topics have. `topics_of`: what a member subscribes to, where that isn't
        what the group knows so far.
        """
        image = self.surroundings.image()
        replaced = replaced or {}
        topics_of = topics_of or self.topics_of
        specs = {}
        for member_id, member in members.items():
            before = self.targets.get(replaced.get(member_id, member_id), NOTHING)
            topics = topic_ids(topics_of(member), image)
            specs[member_id] = MemberSpec(member_id, member.instance_id, member.rack_id, topics, before)
        partitions: dict[UUID, Collection[int]] = {}
        for topic_id in frozenset().union(*(spec.topics for spec in specs.values())):
            every = image.topics[image.topic_names[topic_id]].partitions
            partitions[topic_id] = sorted(every if assignable is None else assignable.get(topic_id, ()))
        assigned = assignor(GroupSpec(specs, partitions))
        for member_id in specs:
            target = assigned.get(member_id, NOTHING)
            if self.targets.get(member_id) != target:
                self.write_target(member_id, target, draft)
        self.write_target_epoch(epoch, now.wall_ms, draft)
        return assigned

    # What holds for any of them

    @property
    def is_unwritten(self) -> bool:
        """Nobody is in it or about to be, and no record of it has been written: it may be forgotten."""
        written = self.targets or self.epoch != FIRST_EPOCH or self.target_epoch != FIRST_EPOCH
        return not self.members and not self.sessions and not written

    @property
    def state_name(self) -> str:
        """Empty, Assigning (a target is due) or Stable."""
        if not self.members:
            return "Empty"
        return "Assigning" if self.epoch > self.target_epoch else "Stable"

    def subscribed_topics(self) -> Collection[str]:
        """The topics that members read."""
        return self.subscribed(self.members)

    def offsets_idle_since(self, committed: CommittedOffset) -> int | None:
        """Retention counts from the commit on, of topics that nobody reads."""
        return committed.commit_timestamp_ms

    def check_delete(self) -> None:
        """Only an empty group can be deleted."""
        if self.members:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)

    def expire(self, now: Now, draft: Draft) -> None:
        """Fences members whose session is over, all in one epoch."""
        late = self.overdue(now)
        if late:
            self.fence(late, now, draft)
        self.deadline = min(self.sessions.values(), default=NEVER)
