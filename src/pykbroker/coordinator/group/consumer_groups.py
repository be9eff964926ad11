"""The consumer groups of a shard: what a ConsumerGroupHeartbeat comes to, who may join, what is described (KIP-848).

A heartbeat writes what the member told, bumps the group's epoch where that changes what is to be assigned, computes the
target for a new epoch, and leads the member a step on. Nothing here changes a group but in `replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pykbroker.coordinator.group import consumer_records as records
from pykbroker.coordinator.group.assignment import NOTHING, Assignment, by_topic, topic_ids
from pykbroker.coordinator.group.assignors import ASSIGNORS
from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.consumer_group import ConsumerGroup, subscribed_by
from pykbroker.coordinator.group.consumer_member import (
    LEFT,
    LEFT_FOR_A_WHILE,
    ConsumerMember,
    Target,
    reconcile,
)
from pykbroker.coordinator.group.consumer_replay import RECORD_TYPES, record_group, replay
from pykbroker.coordinator.group.consumer_requests import (
    check_epoch,
    check_fenced,
    check_heartbeat,
    check_released,
    check_room,
    is_full,
    owned_by,
    told,
)
from pykbroker.coordinator.group.describe import DescribedConsumerGroup, described_consumer_group
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.migration import Migration
from pykbroker.coordinator.group.topic_patterns import ResolvedPattern, compiled, resolve
from pykbroker.coordinator.result import Draft, Now, Record
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

Request = ConsumerGroupHeartbeatRequest
Response = ConsumerGroupHeartbeatResponse


def _sees_all(topic: str) -> bool:
    return True


class Caller(NamedTuple):
    """What the connection tells of who heartbeats; `uuid` is the id of a member that brings none."""

    client_id: str
    client_host: str
    uuid: str
    version: int = 1
    may_see: Callable[[str], bool] = _sees_all
    """Whether it is allowed to Describe a topic: a regular expression stands for no others."""


@dataclass(slots=True)
class Step:
    """A decision about one member, on its way."""

    group: ConsumerGroup
    now: Now
    draft: Draft
    member: ConsumerMember
    """As it was, or as it begins."""
    updated: ConsumerMember
    """With what it told."""
    replaced: str | None = None
    """The member whose instance id it has taken over."""
    epoch: int = 0
    owned: Assignment | None = None
    patterns: Mapping[str, ResolvedPattern] = field(default_factory=dict)
    subscription_changed: bool = False

    @property
    def members(self) -> dict[str, ConsumerMember]:
        """The group's members with this one."""
        return self.group.with_member(self.updated, self.replaced)

    def topics_of(self, member: ConsumerMember) -> frozenset[str]:
        """What a member subscribes to, newly resolved expressions included."""
        return subscribed_by(member, self.patterns)


class ConsumerGroups:
    """What is asked of consumer groups. Methods raise what Kafka answers."""

    def __init__(self, groups: Groups, config: GroupConfig, surroundings: Surroundings) -> None:
        self._groups = groups
        self._config = config
        self._surroundings = surroundings
        self.migration = Migration(groups, config, surroundings)

    def made(self, group_id: str) -> ConsumerGroup:
        """A group that isn't kept yet."""
        return ConsumerGroup(group_id, self._config, self._surroundings, self.migration.downgrade)

    # Heartbeats

    def heartbeat(self, request: Request, caller: Caller, now: Now, draft: Draft) -> Response:
        """ConsumerGroupHeartbeat: joins with epoch 0, leaves with -1 or (a static member that comes back) -2."""
        check_heartbeat(request, caller.version, self._config.group_consumer_assignors)
        if request.member_epoch in (LEFT, LEFT_FOR_A_WHILE):
            return self._leave(request, now, draft)
        joins = request.member_epoch == 0
        if request.subscribed_topic_regex:
            compiled(request.subscribed_topic_regex)
        group = self._found(request.group_id, draft, now, joins=joins)
        member_id = request.member_id or caller.uuid
        check_room(group, member_id, self._config.group_consumer_max_size)
        owned = None if request.topic_partitions is None else owned_by(request)
        step = self.begin(group, member_id, request.instance_id, now, draft, joins=joins)
        check_epoch(step.member, request.member_epoch, owned)
        step.owned = owned
        step.updated = told(step.member, request, caller.client_id, caller.client_host)
        self.subscribe(step, caller.may_see)
        updated = self.advance(step)
        self._groups.keep(group)
        if step.replaced is not None:
            group.forget_time(step.replaced)
        group.touch(member_id, now, group.session_timeout_ms)
        answer = Response(
            member_id=member_id, member_epoch=updated.epoch, heartbeat_interval_ms=group.heartbeat_interval_ms
        )
        if joins or is_full(request) or updated.assigned != step.member.assigned:
            answer.assignment = Response.Assignment(
                topic_partitions=[
                    Response.TopicPartition(topic_id=topic_id, partitions=partitions)
                    for topic_id, partitions in by_topic(updated.assigned).items()
                ]
            )
        return answer

    def _found(self, group_id: str, draft: Draft, now: Now, *, joins: bool) -> ConsumerGroup:
        """The group; a member that joins makes it, or makes it of a classic one."""
        group = self._groups.get(group_id)
        if isinstance(group, ConsumerGroup):
            return group
        if group is None:
            if not joins:
                raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Consumer group {group_id} not found.")
            return self.made(group_id)
        if not joins or not isinstance(group, ClassicGroup):
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a consumer group.")
        made = self.made(group_id)
        for record in self.migration.upgrade(group, now, draft):
            replay(made, record)
        for member in made.members.values():
            if member.classic is not None:
                made.touch(member.member_id, now, member.classic.session_timeout_ms)
        return made

    def begin(
        self,
        group: ConsumerGroup,
        member_id: str,
        instance_id: str | None,
        now: Now,
        draft: Draft,
        *,
        joins: bool,
        classic: bool = False,
    ) -> Step:
        """Finds the member, makes a new one, or puts it in the place of the one that had its instance id.

        One that speaks the new protocol takes an instance id over only once its owner has left for a while.
        """
        static, replaced = group.static_member(instance_id), None
        if joins and static is not None:
            if not classic and static.classic is None:
                check_released(static, member_id)
            replaced = static.member_id
            member = _taken_over(group, static, member_id, draft)
        elif joins:
            member = group.members.get(member_id) or ConsumerMember(member_id=member_id)
        elif instance_id is None:
            member = group.member(member_id)
        elif static is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
        else:
            check_fenced(static, member_id, instance_id)
            member = static
        return Step(group, now, draft, member, member, replaced, group.epoch, None, dict(group.patterns))

    def subscribe(self, step: Step, may_see: Callable[[str], bool]) -> None:
        """Writes what the member told, resolves expressions where they or the topics have changed, bumps the epoch."""
        group, member, updated = step.group, step.member, step.updated
        if updated != member:
            step.draft.records.append(records.member_record(group.group_id, updated))
        topics_changed = updated.topics != member.topics
        pattern_changed = updated.pattern != member.pattern
        step.subscription_changed = topics_changed or pattern_changed
        resolved_anew = self._resolve(step, may_see)
        if step.subscription_changed or resolved_anew or group.is_stale:
            members = step.members
            topics = {topic for each in members.values() for topic in step.topics_of(each)}
            forced = step.subscription_changed or resolved_anew
            step.epoch = group.bumped(members, step.draft, forced=forced, topics=topics)

    def _resolve(self, step: Step, may_see: Callable[[str], bool]) -> bool:
        """Resolves what isn't, and all once topics have come or gone; whether an expression stands for others now.

        All are resolved again after `group.consumer.regex.refresh.interval.ms`, too: who may see what may have changed.
        """
        group = step.group
        wanted = {member.pattern for member in step.members.values()} - {""}
        unused = [pattern for pattern in group.patterns if pattern not in wanted]
        if not wanted and not unused:
            return False
        image, seen = self._surroundings.image(), group.image_seen
        oldest_ms = step.now.wall_ms - self._config.group_consumer_regex_refresh_interval_ms
        expired = any(resolved.timestamp_ms < oldest_ms for resolved in group.patterns.values())
        everything = expired or seen is None or seen.topics.keys() != image.topics.keys()
        due = sorted(wanted if everything else wanted - group.patterns.keys())
        found = resolve(due, image.topics.keys(), may_see, step.now.wall_ms)
        changed = False
        for pattern, resolved in found.items():
            old = group.patterns.get(pattern)
            differs = old is None or old.topics != resolved.topics
            changed |= differs and (bool(resolved.topics) or old is not None)
            if differs or expired:
                step.draft.records.append(
                    records.pattern_record(group.group_id, pattern, resolved.topics, resolved.timestamp_ms)
                )
        step.draft.records += [records.pattern_tombstone(group.group_id, pattern) for pattern in unused]
        kept = {pattern: resolved for pattern, resolved in group.patterns.items() if pattern in wanted}
        step.patterns = {**kept, **found}
        return changed

    def advance(self, step: Step) -> ConsumerMember:
        """Computes the target where one is due, and leads the member towards it."""
        group, updated = step.group, step.updated
        target_epoch, target = group.target_epoch, group.targets.get(step.replaced or updated.member_id, NOTHING)
        if target_epoch < step.epoch and group.may_assign(group.assignment_interval_ms, step.now):
            members = step.members
            assigned = group.assign(
                ASSIGNORS[group.preferred_assignor(members.values())],
                step.epoch,
                members,
                step.now,
                step.draft,
                replaced=None if step.replaced is None else {updated.member_id: step.replaced},
                topics_of=step.topics_of,
            )
            target_epoch, target = step.epoch, assigned.get(updated.member_id, NOTHING)
        return self.reconcile(step, target_epoch, target)

    def reconcile(self, step: Step, target_epoch: int, target: Assignment) -> ConsumerMember:
        """Leads the member a step towards a target."""
        group, updated = step.group, step.updated
        if not step.subscription_changed and updated.is_reconciled_to(target_epoch):
            return updated
        led = reconcile(
            updated,
            Target(
                target_epoch,
                target,
                topic_ids(step.topics_of(updated), self._surroundings.image()),
                step.subscription_changed,
                step.owned,
                lambda tp: tp not in group.owners,
            ),
        )
        if led != updated:
            step.draft.records.append(records.current_record(group.group_id, led))
            group.time_rebalance(led, step.now)
        return led

    def _leave(self, request: Request, now: Now, draft: Draft) -> Response:
        group = self._groups.find(request.group_id, ConsumerGroup)
        answer = Response(member_id=request.member_id, member_epoch=request.member_epoch)
        if request.instance_id is None:
            group.fence([group.member(request.member_id)], now, draft)
            return answer
        member = group.static_member(request.instance_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {request.instance_id} is unknown.")
        check_fenced(member, request.member_id, request.instance_id)
        if request.member_epoch == LEFT:
            group.fence([member], now, draft)
            return answer
        away = replace(member, epoch=LEFT_FOR_A_WHILE, assigned=dict.fromkeys(member.assigned, 0), revoking={})
        draft.records.append(records.current_record(group.group_id, away))
        return answer

    # Describing

    def describe(self, group_id: str) -> DescribedConsumerGroup:
        """ConsumerGroupDescribe. Raises GROUP_ID_NOT_FOUND where there is none, or one of another kind."""
        return described_consumer_group(self._groups.find(group_id, ConsumerGroup), self._surroundings.image())

    # What the records say

    @property
    def replays(self) -> Mapping[int, Callable[[Record], None]]:
        """What takes a record for the truth, by the type in its key."""
        return dict.fromkeys(RECORD_TYPES, self._replay)

    def _replay(self, record: Record) -> None:
        group_id = record_group(record)
        group = self._groups.of_kind(group_id, ConsumerGroup)
        if group is None:
            if record.value is None:
                return
            group = self._groups.keep(self.made(group_id))
        if not replay(group, record):
            del self._groups[group_id]


def _taken_over(group: ConsumerGroup, static: ConsumerMember, member_id: str, draft: Draft) -> ConsumerMember:
    """A new process with a known instance id: it has what the old one had."""
    taken = replace(static, member_id=member_id, epoch=0, previous_epoch=0)
    draft.records += records.member_tombstones(group.group_id, static.member_id)
    draft.records += [
        records.member_record(group.group_id, taken),
        records.target_record(group.group_id, member_id, group.targets.get(static.member_id, NOTHING)),
        records.current_record(group.group_id, taken),
    ]
    return taken
