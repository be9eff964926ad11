"""The assignors of consumer groups, by the names that members and `group.consumer.assignors` know: uniform and range.

Both spread partitions evenly and are deterministic. `uniform` is sticky: it moves no more than balance asks for.
`range` gives each member neighbouring partitions, the same of every topic, so that topics can be joined (KIP-848).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

from pykbroker.coordinator.group.assignment import Assignment, Assignor, GroupSpec, MemberSpec, TopicIdPartition

MAX_ROUNDS = 16
"""How often at most all topics of members with different subscriptions are gone through."""


def uniform(group: GroupSpec) -> Mapping[str, Assignment]:
    """As many partitions for each member as for any other, as far as subscriptions allow."""
    return _even(group) if group.is_homogeneous else _balanced(group)


def range_(group: GroupSpec) -> Mapping[str, Assignment]:
    """Of each topic, a run of neighbouring partitions for each subscriber; the first ones have one more.

    Static members come first, by instance id, so that a restart changes nothing.
    """
    members = sorted(group.members.values(), key=_range_order)
    subscribers = _subscribers(members)
    assigned: dict[str, list[TopicIdPartition]] = {member.member_id: [] for member in members}
    for topic_id, readers in subscribers.items():
        partitions = group.partitions[topic_id]
        ordered = sorted(partitions)
        each, more = divmod(len(ordered), len(readers))
        start = 0
        for index, reader in enumerate(readers):
            end = start + each + (index < more)
            assigned[reader.member_id] += [TopicIdPartition(topic_id, one) for one in ordered[start:end]]
            start = end
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


ASSIGNORS: Mapping[str, Assignor] = {"uniform": uniform, "range": range_}


def _range_order(member: MemberSpec) -> tuple[bool, str]:
    return member.instance_id is None, member.instance_id or member.member_id


def _subscribers(members: Iterable[MemberSpec]) -> dict[UUID, list[MemberSpec]]:
    subscribers: dict[UUID, list[MemberSpec]] = defaultdict(list)
    for member in members:
        for topic_id in sorted(member.topics):
            subscribers[topic_id].append(member)
    return subscribers


def _kept(group: GroupSpec) -> dict[str, list[TopicIdPartition]]:
    """What each member may keep: partitions that exist, of topics that it subscribes to, that no other has."""
    seen: set[TopicIdPartition] = set()
    kept: dict[str, list[TopicIdPartition]] = {}
    exists = {topic_id: frozenset(partitions) for topic_id, partitions in group.partitions.items()}
    for member_id in sorted(group.members):
        member = group.members[member_id]
        mine = sorted(
            tp for tp in member.assigned - seen if tp.topic_id in member.topics and tp.partition in exists[tp.topic_id]
        )
        seen.update(mine)
        kept[member_id] = mine
    return kept


def _unassigned(group: GroupSpec, kept: Mapping[str, Iterable[TopicIdPartition]]) -> list[TopicIdPartition]:
    taken = {tp for partitions in kept.values() for tp in partitions}
    every = (
        TopicIdPartition(topic_id, one) for topic_id in sorted(group.partitions) for one in group.partitions[topic_id]
    )
    return [tp for tp in every if tp not in taken]


def _even(group: GroupSpec) -> dict[str, Assignment]:
    """All subscribe to the same: everybody keeps up to a fair share, and what is left goes to who has too little.

    A share with one more goes first to those who have it already.
    """
    assigned = _kept(group)
    free = _unassigned(group, assigned)
    total = len(free) + sum(map(len, assigned.values()))
    share, extra = divmod(total, len(assigned)) if assigned else (0, 0)
    for member_id in sorted(assigned, key=lambda one: (-len(assigned[one]), one)):
        mine = assigned[member_id]
        quota = share
        if extra and len(mine) > share:
            quota, extra = share + 1, extra - 1
        free += mine[quota:]
        del mine[quota:]
    free.sort()
    free.reverse()
    for member_id in sorted(assigned, key=lambda one: (len(assigned[one]), one)):
        mine = assigned[member_id]
        while free and len(mine) < share:
            mine.append(free.pop())
    for member_id in sorted(assigned, key=lambda one: (len(assigned[one]), one)):
        if not free:
            break
        assigned[member_id].append(free.pop())
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _balanced(group: GroupSpec) -> dict[str, Assignment]:
    """Subscriptions differ: what is free goes to the subscriber with least, then partitions move from most to least."""
    assigned = {member_id: set(partitions) for member_id, partitions in _kept(group).items()}
    subscribers = {
        topic_id: sorted(member.member_id for member in readers)
        for topic_id, readers in _subscribers(group.members.values()).items()
    }
    free: dict[UUID, list[TopicIdPartition]] = defaultdict(list)
    for tp in _unassigned(group, assigned):
        free[tp.topic_id].append(tp)

    def scarcity(topic_id: UUID) -> tuple[float, int, UUID]:
        """Topics with many partitions for few readers first: the others can make up for it."""
        readers = len(subscribers[topic_id])
        return -len(group.partitions[topic_id]) / readers, readers, topic_id

    order = sorted(subscribers, key=scarcity)
    for topic_id in order:
        for tp in free[topic_id]:
            assigned[min(subscribers[topic_id], key=lambda one: (len(assigned[one]), one))].add(tp)
    for _ in range(MAX_ROUNDS):
        moved = [topic_id for topic_id in order if _level(topic_id, subscribers[topic_id], assigned)]
        if not moved:
            break
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _level(topic_id: UUID, readers: list[str], assigned: Mapping[str, set[TopicIdPartition]]) -> bool:
    """Moves a topic's partitions from readers with most to readers with least; whether any moved."""
    mine = {one: sorted(tp for tp in assigned[one] if tp.topic_id == topic_id) for one in readers}
    moved = False
    while True:
        least = min(readers, key=lambda one: (len(assigned[one]), one))
        givers = [one for one in readers if mine[one]]
        most = max(givers, key=lambda one: (len(assigned[one]), one), default=least)
        if len(assigned[most]) - len(assigned[least]) <= 1:
            return moved
        tp = mine[most].pop()
        mine[least].append(tp)
        assigned[most].remove(tp)
        assigned[least].add(tp)
        moved = True
