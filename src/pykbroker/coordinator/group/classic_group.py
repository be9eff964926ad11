"""A classic group (JoinGroup, SyncGroup, Heartbeat, LeaveGroup): who is in it, in which generation, in which state.

It decides and changes what is volatile: the members of the coming generation, who waits, every deadline. What a
record says (a written generation with its assignments) becomes state in `restore` alone. It never waits or sends.
Rules: Apache Kafka's group coordinator; KIP-62 (timeouts), 134 (initial delay), 345 (static members), 394 (member ids),
559 (protocol checks), 814 (skip the assignment).
"""

from __future__ import annotations

from collections.abc import Collection

from pykbroker.coordinator.group import classic_answers as answers
from pykbroker.coordinator.group.classic_state import ALLOWED, COMPLETING, DEAD, EMPTY, PREPARING, STABLE, GroupState
from pykbroker.coordinator.group.config import GroupConfig
from pykbroker.coordinator.group.group import Committer, Group, GroupKind
from pykbroker.coordinator.group.member import (
    ClassicMember,
    Joiner,
    all_support,
    join_error,
    protocols_of,
    rebalance_timeout_ms,
    select_protocol,
)
from pykbroker.coordinator.group.records import CommittedOffset, StoredGroup, StoredMember, group_record
from pykbroker.coordinator.group.subscriptions import CONSUMER_PROTOCOL, subscribed_topics
from pykbroker.coordinator.result import NEVER, Draft, Now, Parked
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.protocol.topic_partition import TopicPartition

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""How long a member waits in its first JoinGroup before it is given up."""


class ClassicGroup(Group):
    """One group. Methods that may wait return a `Parked`; what they write or release goes into the `Draft`."""

    __slots__ = (
        "config",
        "generation",
        "initial",
        "initial_remaining_ms",
        "leader",
        "members",
        "new_member_added",
        "pending",
        "pending_sync",
        "protocol",
        "protocol_type",
        "rebalance_deadline",
        "state",
        "state_timestamp_ms",
        "static",
        "sync_deadline",
    )

    kind = GroupKind.CLASSIC

    def __init__(self, group_id: str, config: GroupConfig) -> None:
        super().__init__(group_id)
        self.config = config
        self.state = EMPTY
        self.state_timestamp_ms = -1
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, ClassicMember] = {}
        self.static: dict[str, str] = {}
        self.pending: dict[str, float] = {}
        self.pending_sync: set[str] = set()
        self.initial = False
        self.initial_remaining_ms = 0.0
        self.new_member_added = False
        self.rebalance_deadline = NEVER
        self.sync_deadline = NEVER

    # What is asked of it

    def join(self, request: JoinGroupRequest, joiner: Joiner, now: Now, draft: Draft) -> JoinGroupResponse | Parked:
        """JoinGroup. Raises what Kafka answers; the caller makes the answer of it."""
        member_id = request.member_id
        if not self._has_room(member_id):
            self._drop(member_id, ErrorCode.GROUP_MAX_SIZE_REACHED, now, draft)
            return join_error(ErrorCode.GROUP_MAX_SIZE_REACHED, "")
        self._check_protocols(request)
        if not member_id:
            return self._join_unknown(request, joiner, now, draft)
        if member_id in self.pending:
            if request.group_instance_id is not None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            del self.pending[member_id]
            return self._add(member_id, request, joiner, now, draft)
        return self._rejoin(self._known(member_id, request.group_instance_id), request, now, draft)

    def sync(self, request: SyncGroupRequest, now: Now, draft: Draft) -> SyncGroupResponse | Parked:
        """SyncGroup: the leader's brings the assignment, the others' wait for it."""
        member = self._known(request.member_id, request.group_instance_id)
        if request.generation_id != self.generation:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        for given, ours in ((request.protocol_type, self.protocol_type), (request.protocol_name, self.protocol)):
            if given is not None and ours is not None and given != ours:
                raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        if self.state is PREPARING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        self._synced(member)
        if self.state is STABLE:
            self._touch(member, now)
            return answers.assigned(self, member.assignment)
        self._release_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, draft)
        if member.member_id != self.leader:
            member.waiting_sync = Parked(self.group_id, member.member_id)
            self._touch(member, now)
            return member.waiting_sync
        return self._assign(request, member, now, draft)

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int, now: Now) -> ErrorCode:
        """Heartbeat: a session goes on while the group rebalances, and the member is told to rejoin."""
        member = self._known(member_id, instance_id)
        if generation != self.generation:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        self._touch(member, now)
        return ErrorCode.REBALANCE_IN_PROGRESS if self.state is PREPARING else ErrorCode.NONE

    def leave(self, member_id: str, instance_id: str | None, now: Now, draft: Draft) -> ErrorCode:
        """LeaveGroup of one member; an administrator may name a static one by its instance id alone."""
        if not member_id:
            if instance_id is None or instance_id not in self.static:
                return ErrorCode.UNKNOWN_MEMBER_ID
            member_id, instance_id = self.static[instance_id], None
        if member_id not in self.pending:
            try:
                self._known(member_id, instance_id)
            except KafkaError as error:
                return error.code
        self._drop(member_id, ErrorCode.UNKNOWN_MEMBER_ID, now, draft)
        return ErrorCode.NONE

    def check_commit(
        self, committer: Committer, partitions: Collection[TopicPartition], now: Now, *, transactional: bool = False
    ) -> None:
        """Raises unless an OffsetCommit is allowed now; one of a member keeps its session alive.

        A generation of -1 is a consumer that assigns by itself, or an administrator: only while nobody is a member. A
        transaction's may come in any state, and names no member in its old versions.
        """
        member_id, instance_id, generation, _ = committer
        if generation < 0 and self.state is EMPTY:
            return
        if generation < 0 and not member_id and instance_id is None:
            if transactional:
                return
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        member = self._known(member_id, instance_id)
        if generation != self.generation:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        if transactional:
            return
        if self.state is COMPLETING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        self._touch(member, now)

    def check_delete_offsets(self) -> None:
        """Only consumers say which topics they read; of other members' groups nothing is deleted."""
        if self.members and self.protocol_type != CONSUMER_PROTOCOL:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)

    def offsets_idle_since(self, committed: CommittedOffset) -> int | None:
        """KIP-211: from when the last member left; from the commit where nobody was one, or nobody reads the topic."""
        if self.protocol_type is None:
            return committed.commit_timestamp_ms
        if self.state is EMPTY:
            return committed.commit_timestamp_ms if self.state_timestamp_ms < 0 else self.state_timestamp_ms
        told = self.state is STABLE and self.protocol_type == CONSUMER_PROTOCOL and self.subscribed_topics() is not None
        return committed.commit_timestamp_ms if told else None

    def subscribed_topics(self) -> Collection[str] | None:
        """The topics that the consumers in it read; None where one doesn't say it in a known way."""
        return subscribed_topics(self.members.values())

    def expire(self, now: Now, draft: Draft) -> None:
        """Does what is due: ends pending ids and sessions, then the rebalance, then the wait for SyncGroups."""
        for member_id in [m for m, deadline in self.pending.items() if deadline <= now.monotonic]:
            self._drop(member_id, ErrorCode.UNKNOWN_MEMBER_ID, now, draft)
        for member in [m for m in self.members.values() if m.deadline <= now.monotonic]:
            if member.deadline <= now.monotonic:
                self._drop(member.member_id, ErrorCode.UNKNOWN_MEMBER_ID, now, draft)
        if self.rebalance_deadline <= now.monotonic:
            self._rebalance_is_due(now, draft)
        if self.sync_deadline <= now.monotonic:
            self._sync_is_due(now, draft)
        self.deadline = min(
            self.rebalance_deadline,
            self.sync_deadline,
            min(self.pending.values(), default=NEVER),
            min((m.deadline for m in self.members.values()), default=NEVER),
        )

    def abandon(self, parked: Parked, now: Now, draft: Draft) -> None:
        """The connection of a waiting request is gone.

        A member that never was in a generation leaves; any other may come back within its session.
        """
        member = self.members.get(parked.member_id)
        if member is None:
            return
        if member.waiting_join is parked:
            member.waiting_join = None
            if member.is_new and not member.is_static:
                self._drop(member.member_id, ErrorCode.UNKNOWN_MEMBER_ID, now, draft)
                return
        elif member.waiting_sync is parked:
            member.waiting_sync = None
        self._touch(member, now)

    def unload(self, code: ErrorCode, draft: Draft) -> None:
        """Answers all that wait."""
        for member in self.members.values():
            self._release_join(member, code, draft)
            self._release_sync(member, code, draft)

    def check_delete(self) -> None:
        """Only an empty group can be deleted."""
        if self.state is not EMPTY:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)

    def tombstones(self, draft: Draft) -> None:
        """The group's one record; it is dead from here on."""
        self._transition(DEAD)
        draft.records.append(group_record(self.group_id, None))

    # What is shown and stored of it

    @property
    def state_name(self) -> str:
        """The state by Kafka's name."""
        return self.state.value

    @property
    def protocol_name(self) -> str:
        """What kind of members it has: consumers, Connect's workers …"""
        return self.protocol_type or ""

    @property
    def is_unwritten(self) -> bool:
        """Nobody is in it or about to be, and no record of it has been written: it may be forgotten."""
        return self.state is EMPTY and self.generation == 0 and not self.pending

    def stored(self, now: Now, new: dict[str, bytes] | None = None) -> StoredGroup:
        """The group as its record has it, with new assignments where given."""
        return StoredGroup(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=self.leader,
            state_timestamp_ms=now.wall_ms,
            members=[
                StoredMember.of(m, self.protocol, m.assignment if new is None else new.get(m.member_id, b""))
                for m in self.members.values()
            ],
        )

    def restore(self, stored: StoredGroup) -> None:
        """Takes the record for the truth. On the group that has just written it only the assignments are news."""
        self.protocol_type = stored.protocol_type or None
        self.generation = stored.generation
        self.protocol = stored.protocol
        self.leader = stored.leader
        self.state_timestamp_ms = stored.state_timestamp_ms
        before, self.members, self.static = self.members, {}, {}
        for m in stored.members:
            member = before.get(m.member_id)
            if member is None or StoredMember.of(member, stored.protocol, m.assignment) != m:
                member = m.member(stored.protocol)
            member.assignment = m.assignment
            self.members[m.member_id] = member
            if m.group_instance_id is not None:
                self.static[m.group_instance_id] = m.member_id
        self.state = STABLE if self.members else EMPTY

    def loaded(self, now: Now, draft: Draft) -> None:
        """All records are replayed: the sessions begin anew, and a group above the size limit rebalances."""
        for member in self.members.values():
            self._touch(member, now)
        if len(self.members) > self.config.group_max_size:
            self._prepare_rebalance(now, draft)

    # Joining

    def _has_room(self, member_id: str) -> bool:
        """While the group rebalances only those who rejoined count, so that a smaller limit drops the last ones.

        A full group has no room for a static member that comes back without an id either, though it would be no more.
        """
        size = self.config.group_max_size
        if self.state is EMPTY:
            return True
        member = self.members.get(member_id)
        if self.state is PREPARING:
            if member is not None and member.waiting_join is not None:
                return True
            return sum(m.waiting_join is not None for m in self.members.values()) < size
        return member is not None or len(self.members) < size

    def _check_protocols(self, request: JoinGroupRequest) -> None:
        names = [protocol.name for protocol in request.protocols]
        if self.state is EMPTY:
            fits = bool(request.protocol_type) and bool(names)
        else:
            fits = request.protocol_type == self.protocol_type and any(
                all_support(self.members, name) for name in names
            )
        if not fits:
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)

    def _known(self, member_id: str, instance_id: str | None) -> ClassicMember:
        """The member, or the error of one that isn't, or whose instance id another has taken over."""
        if instance_id is not None:
            owner = self.static.get(instance_id)
            if owner is not None and owner != member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
            if owner is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        return member

    def _join_unknown(
        self, request: JoinGroupRequest, joiner: Joiner, now: Now, draft: Draft
    ) -> JoinGroupResponse | Parked:
        instance_id = request.group_instance_id
        member_id = f"{joiner.client_id if instance_id is None else instance_id}-{joiner.uuid}"
        if instance_id is not None and instance_id in self.static:
            return self._replace_static(member_id, instance_id, request, joiner, now, draft)
        if instance_id is None and joiner.requires_known_id:
            self.pending[member_id] = now.after_ms(request.session_timeout_ms)
            self._arm(self.pending[member_id])
            return join_error(ErrorCode.MEMBER_ID_REQUIRED, member_id)
        return self._add(member_id, request, joiner, now, draft)

    def _add(self, member_id: str, request: JoinGroupRequest, joiner: Joiner, now: Now, draft: Draft) -> Parked:
        session_ms = request.session_timeout_ms
        ids = (member_id, request.group_instance_id, joiner.client_id, joiner.client_host)
        member = ClassicMember(*ids, rebalance_timeout_ms(request), session_ms, protocols_of(request))
        if not self.members:
            self.protocol_type = request.protocol_type
        if self.leader is None:
            self.leader = member_id
        self.members[member_id] = member
        if member.group_instance_id is not None:
            self.static[member.group_instance_id] = member_id
        if self.initial:
            self.new_member_added = True
        parked = self._park_join(member, now, draft)
        member.deadline = now.after_ms(NEW_MEMBER_JOIN_TIMEOUT_MS)
        self._arm(member.deadline)
        self._rebalance_or_complete(now, draft)
        return parked

    def _rejoin(
        self, member: ClassicMember, request: JoinGroupRequest, now: Now, draft: Draft
    ) -> JoinGroupResponse | Parked:
        # In CompletingRebalance the first answer may have been lost. In Stable only the leader may ask for a rebalance
        # without news of its own, because it alone sees the topics change. A member that joins after a load was in the
        # middle of a rebalance of which no record is left; Kafka may give it the old generation, and strand partitions.
        current = self.state is COMPLETING or (self.state is STABLE and member.member_id != self.leader)
        if current and not member.is_restored and member.protocols == protocols_of(request):
            self._touch(member, now)
            return self._joined(member)
        parked = self._update(member, request, now, draft)
        self._rebalance_or_complete(now, draft)
        return parked

    def _replace_static(
        self,
        member_id: str,
        instance_id: str,
        request: JoinGroupRequest,
        joiner: Joiner,
        now: Now,
        draft: Draft,
    ) -> JoinGroupResponse | Parked:
        """A new process with a known instance id takes the place of the old one, which is fenced."""
        old_leader = self.leader
        old_id = self.static[instance_id]
        member = self.members[old_id]
        self._release_join(member, ErrorCode.FENCED_INSTANCE_ID, draft)
        self._release_sync(member, ErrorCode.FENCED_INSTANCE_ID, draft)
        self.members = {(member_id if key == old_id else key): value for key, value in self.members.items()}
        self.static[instance_id] = member.member_id = member_id
        member.client_id, member.client_host = joiner.client_id, joiner.client_host
        if old_id in self.pending_sync:
            self.pending_sync.remove(old_id)
            self.pending_sync.add(member_id)
        if self.leader == old_id:
            self.leader = member_id
        parked = self._update(member, request, now, draft)
        if self.state is not STABLE or select_protocol(self.members) != self.protocol:
            # A member id that the leader may be assigning to has gone: CompletingRebalance has to start over.
            self._rebalance_or_complete(now, draft)
            return parked
        member.waiting_join = None
        self._touch(member, now)
        draft.records.append(group_record(self.group_id, self.stored(now)))
        if joiner.skips_assignment:
            return self._joined(member, skip_assignment=True)
        # The answer names the leader as it was, so that a leader that came back doesn't take itself for one:
        # a stable group wouldn't hand out the assignment that it would send.
        answer = self._joined(member, members=False)
        answer.leader = old_leader or ""
        return answer

    def _update(self, member: ClassicMember, request: JoinGroupRequest, now: Now, draft: Draft) -> Parked:
        member.is_restored = False
        member.protocols = protocols_of(request)
        member.rebalance_timeout_ms = rebalance_timeout_ms(request)
        member.session_timeout_ms = request.session_timeout_ms
        return self._park_join(member, now, draft)

    def _park_join(self, member: ClassicMember, now: Now, draft: Draft) -> Parked:
        self._release_join(member, ErrorCode.REBALANCE_IN_PROGRESS, draft)
        parked = member.waiting_join = Parked(self.group_id, member.member_id)
        self._touch(member, now)
        return parked

    def _joined(
        self, member: ClassicMember, *, members: bool = True, skip_assignment: bool = False
    ) -> JoinGroupResponse:
        return answers.joined(self, member, members=members, skip_assignment=skip_assignment)

    # Rebalancing

    def _rebalance_or_complete(self, now: Now, draft: Draft) -> None:
        if self.state is PREPARING:
            self._maybe_complete(now, draft)
        else:
            self._prepare_rebalance(now, draft)

    def _prepare_rebalance(self, now: Now, draft: Draft) -> None:
        """To PreparingRebalance, and on at once if nobody is missing."""
        self.pending_sync.clear()
        self.sync_deadline = NEVER
        if self.state is COMPLETING:
            for member in self.members.values():
                member.assignment = b""
                if member.waiting_sync is not None:
                    self._release_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, draft)
                    self._touch(member, now)
        delay_ms = self.config.group_initial_rebalance_delay_ms
        self.initial = self.state is EMPTY and delay_ms > 0
        self.new_member_added = False
        self._transition(PREPARING)
        timeout_ms = self._rebalance_timeout_ms()
        if self.initial:
            self.initial_remaining_ms = max(timeout_ms - delay_ms, 0)
            timeout_ms = min(delay_ms, timeout_ms)
        self.rebalance_deadline = now.after_ms(timeout_ms)
        self._arm(self.rebalance_deadline)
        self._maybe_complete(now, draft)

    def _rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def _maybe_complete(self, now: Now, draft: Draft) -> None:
        """The barrier: every member has rejoined, and no member id is given out that may yet be used."""
        if self.state is not PREPARING or self.initial or self.pending:
            return
        if all(member.waiting_join is not None for member in self.members.values()):
            self._complete_join(now, draft)

    def _rebalance_is_due(self, now: Now, draft: Draft) -> None:
        """The initial delay goes on while new members come; else those who are missing are left behind."""
        if self.initial and self.new_member_added and self.initial_remaining_ms > 0:
            self.new_member_added = False
            delay_ms = min(self.config.group_initial_rebalance_delay_ms, self.initial_remaining_ms)
            self.initial_remaining_ms -= delay_ms
            self.rebalance_deadline = now.after_ms(delay_ms)
        else:
            self._complete_join(now, draft)

    def _complete_join(self, now: Now, draft: Draft) -> None:
        self.initial = False
        for member in list(self.members.values()):
            if member.waiting_join is None and not member.is_static:
                self._remove(member, ErrorCode.UNKNOWN_MEMBER_ID, draft)
        if self.members and not self._elect_leader():
            # Only static members are left, none of which has come back: wait until one does or its session ends.
            self.rebalance_deadline = now.after_ms(self._rebalance_timeout_ms())
            self._arm(self.rebalance_deadline)
            return
        self.rebalance_deadline = NEVER
        self.generation += 1
        self.state_timestamp_ms = now.wall_ms
        if not self.members:
            self.protocol = self.leader = None
            self._transition(EMPTY)
            draft.records.append(group_record(self.group_id, self.stored(now)))
            return
        self.protocol = select_protocol(self.members)
        self._transition(COMPLETING)
        for member in self.members.values():
            parked, member.waiting_join = member.waiting_join, None
            member.is_new = False
            if parked is not None:
                draft.release(parked, self._joined(member))
            self._touch(member, now)
        self.pending_sync = set(self.members)
        self.sync_deadline = now.after_ms(self._rebalance_timeout_ms())
        self._arm(self.sync_deadline)

    def _elect_leader(self) -> bool:
        """The leader stays if it has rejoined, else the first that has; False if none has."""
        if self.leader is not None and self.members[self.leader].waiting_join is not None:
            return True
        joined = next((m.member_id for m in self.members.values() if m.waiting_join is not None), None)
        self.leader = joined or self.leader
        return joined is not None

    def _assign(self, request: SyncGroupRequest, leader: ClassicMember, now: Now, draft: Draft) -> SyncGroupResponse:
        """The assignment is written, and then answered to all who wait; a member left out has an empty one."""
        assignments = {a.member_id: bytes(a.assignment) for a in request.assignments}
        self._transition(STABLE)
        draft.records.append(group_record(self.group_id, self.stored(now, assignments)))
        for member in self.members.values():
            parked, member.waiting_sync = member.waiting_sync, None
            if parked is not None:
                draft.release(parked, answers.assigned(self, assignments.get(member.member_id, b"")))
                self._touch(member, now)
        self._touch(leader, now)
        return answers.assigned(self, assignments.get(leader.member_id, b""))

    def _synced(self, member: ClassicMember) -> None:
        self.pending_sync.discard(member.member_id)
        if not self.pending_sync:
            self.sync_deadline = NEVER

    def _sync_is_due(self, now: Now, draft: Draft) -> None:
        """Members that have joined and not synced are removed."""
        self.sync_deadline = NEVER
        for member_id in list(self.pending_sync):
            self._remove(self.members[member_id], ErrorCode.UNKNOWN_MEMBER_ID, draft)
        self._prepare_rebalance(now, draft)

    # Leaving

    def _drop(self, member_id: str, code: ErrorCode, now: Now, draft: Draft) -> None:
        """A member, or an id given out, is gone: the group goes on without."""
        self.pending.pop(member_id, None)
        member = self.members.get(member_id)
        if member is not None:
            self._remove(member, code, draft)
            if self.state in (STABLE, COMPLETING):
                self._prepare_rebalance(now, draft)
        self._maybe_complete(now, draft)

    def _remove(self, member: ClassicMember, code: ErrorCode, draft: Draft) -> None:
        self._release_join(member, code, draft)
        self._release_sync(member, code, draft)
        del self.members[member.member_id]
        if member.group_instance_id is not None:
            self.static.pop(member.group_instance_id, None)
        self._synced(member)
        if self.leader == member.member_id:
            self.leader = next(iter(self.members), None)

    def _release_join(self, member: ClassicMember, code: ErrorCode, draft: Draft) -> None:
        parked, member.waiting_join = member.waiting_join, None
        if parked is not None:
            draft.release(parked, join_error(code, parked.member_id))

    def _release_sync(self, member: ClassicMember, code: ErrorCode, draft: Draft) -> None:
        parked, member.waiting_sync = member.waiting_sync, None
        if parked is not None:
            draft.release(parked, SyncGroupResponse(error_code=code))

    # Time and state

    def _touch(self, member: ClassicMember, now: Now) -> None:
        self._arm(member.touch(now))

    def _arm(self, deadline: float) -> None:
        self.deadline = min(self.deadline, deadline)

    def _transition(self, state: GroupState) -> None:
        if (self.state, state) not in ALLOWED:
            raise AssertionError(f"group {self.group_id} can't go from {self.state.value} to {state.value}")
        self.state = state
